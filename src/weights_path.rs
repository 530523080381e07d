//! Where the weights are that come with this package.

use std::env;
use std::path::{Path, PathBuf};

/// The weights that are used where none are named.
pub const DEFAULT_WEIGHTS: &str = "ecmnet_camvid.safetensors";

/// Neither an installation nor a source tree holds the weights.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the weights {name} were not found (looked in {}); name a file with --weights or, for the \
     node, the parameter weights",
    list(looked_in)
)]
pub struct WeightsNotFound {
    /// The file's name.
    pub name: String,
    /// The folders that do not hold it.
    pub looked_in: Vec<PathBuf>,
}

/// Returns the path of the weights `name` among those that come with this package: beside or
/// above the executable, in the package's ament share folder, in the source tree.
pub fn weights_path(name: &str) -> Result<PathBuf, WeightsNotFound> {
    let executable = env::current_exe().and_then(|path| path.canonicalize());
    let executable = executable.unwrap_or_default();
    let prefixes = env::var_os("AMENT_PREFIX_PATH").unwrap_or_default();
    // Cargo sets it for what it runs, wherever it was told to put the executable.
    let source_tree = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let folders = folders(&executable, env::split_paths(&prefixes), source_tree);
    first_with(name, folders)
}

/// An installed executable is in `<prefix>/lib/ecmnet_ros`, a built one in `target/<profile>`,
/// a built test in `target/<profile>/deps`.
fn folders(
    executable: &Path,
    prefixes: impl Iterator<Item = PathBuf>,
    source_tree: Option<PathBuf>,
) -> Vec<PathBuf> {
    let share = |prefix: &Path| prefix.join("share/ecmnet_ros/models");
    let mut folders = Vec::new();
    for above in executable.ancestors().skip(1).take(4) {
        folders.push(above.join("models"));
        folders.push(share(above));
    }
    let named = prefixes.filter(|prefix| !prefix.as_os_str().is_empty());
    folders.extend(named.map(|prefix| share(&prefix)));
    folders.extend(source_tree.map(|tree| tree.join("models")));
    folders
}

fn first_with(name: &str, folders: Vec<PathBuf>) -> Result<PathBuf, WeightsNotFound> {
    let found = folders
        .iter()
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    found.ok_or_else(|| WeightsNotFound {
        name: name.to_owned(),
        looked_in: folders,
    })
}

fn list(folders: &[PathBuf]) -> String {
    let texts: Vec<String> = folders
        .iter()
        .map(|folder| folder.display().to_string())
        .collect();
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_installed_and_sourced_weights_are_found() -> anyhow::Result<()> {
        let root = tempfile::tempdir()?;
        for (executable, weights, prefix, tree) in [
            ("a/target/debug/ecmnet", "a/models", None, None),
            ("b/target/debug/deps/cli-1", "b/models", None, None),
            (
                "c/lib/ecmnet_ros/ecmnet",
                "c/share/ecmnet_ros/models",
                None,
                None,
            ),
            ("d/x/ecmnet", "e/share/ecmnet_ros/models", Some("e"), None),
            ("far/away/target/debug/ecmnet", "f/models", None, Some("f")),
        ] {
            let weights = root.path().join(weights);
            std::fs::create_dir_all(&weights)?;
            std::fs::write(weights.join(DEFAULT_WEIGHTS), "")?;
            let at = |text: &str| root.path().join(text);
            let folders = folders(&at(executable), prefix.map(at).into_iter(), tree.map(at));
            assert_eq!(
                first_with(DEFAULT_WEIGHTS, folders)?,
                weights.join(DEFAULT_WEIGHTS)
            );
        }
        Ok(())
    }

    #[test]
    fn weights_that_are_nowhere_are_an_error_that_says_where_was_looked() {
        let error = weights_path("no_such.safetensors")
            .err()
            .map(|error| error.to_string());
        let text = error.unwrap_or_default();
        assert!(
            text.contains("no_such.safetensors") && text.contains("/models"),
            "{text}"
        );
        assert!(text.contains("--weights"), "{text}");
    }
}
