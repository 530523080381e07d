//! The ROS context: made from the process's arguments, with rcl's refusals as errors.

use std::path::{Path, PathBuf};
use std::{env, fs, panic};

use super::arguments::RosArguments;
use super::error::NodeError;

/// Returns the process's ROS context.
///
/// Errs with one sentence if an argument is not known to ROS or is refused by rcl: a parameter
/// file that cannot be read, a malformed rule or parameter.
pub(super) fn create(arguments: &RosArguments) -> Result<r2r::Context, NodeError> {
    if let Some(unknown) = arguments.unknown.first() {
        let reason = format!("'{unknown}' is not an argument that ROS knows");
        return Err(NodeError::Arguments { reason });
    }
    for file in &arguments.params_files {
        fs::File::open(file).map_err(|source| NodeError::ParamsFile {
            path: file.clone(),
            source,
        })?;
    }
    choose_log_directory();
    context_from_process()
}

/// r2r panics with rcl's sentence where rcl refuses the arguments; this makes it an error again.
fn context_from_process() -> Result<r2r::Context, NodeError> {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let made = panic::catch_unwind(r2r::Context::create);
    panic::set_hook(hook);
    made.map_err(|payload| NodeError::Arguments {
        reason: payload
            .downcast_ref::<String>()
            .map_or("rcl gave no reason", |sentence| without_places(sentence))
            .to_owned(),
    })?
    .map_err(NodeError::ros("make the ROS context"))
}

/// Cuts the places in rcl's source off its sentence (`..., at ./src/rcl/arguments.c:406`).
fn without_places(sentence: &str) -> &str {
    sentence.split(", at ").next().unwrap_or(sentence)
}

/// Names a log folder in `ROS_LOG_DIR` where rcl's own choice cannot be written, since rcl would
/// refuse to start: there may be no HOME, or a read-only one.
fn choose_log_directory() {
    let usable = log_directory().is_some_and(|directory| writable(&directory));
    if !usable {
        let directory = env::temp_dir().join("ecmnet_ros_log");
        #[allow(
            unsafe_code,
            reason = "the environment is how rcl learns of the log folder"
        )]
        // SAFETY: the process has only its first thread when the context is made.
        unsafe {
            env::set_var("ROS_LOG_DIR", directory);
        }
    }
}

/// Returns the folder that rcl_logging would choose.
fn log_directory() -> Option<PathBuf> {
    let named = |name| env::var_os(name).filter(|value| !value.is_empty());
    if let Some(directory) = named("ROS_LOG_DIR") {
        return Some(directory.into());
    }
    let home = named("ROS_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(Path::new(&named("HOME")?).join(".ros")));
    Some(home?.join("log"))
}

fn writable(directory: &Path) -> bool {
    let probe = directory.join(format!(".ecmnet_{}", std::process::id()));
    let written = fs::create_dir_all(directory).and_then(|()| fs::write(&probe, []));
    written.and_then(|()| fs::remove_file(&probe)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_of_rcl_loses_its_source_places() {
        let sentence = "Couldn't parse params file: 'x'. Error: ..., at ./a.c:270, at ./b.c:406";
        let short = "Couldn't parse params file: 'x'. Error: ...";
        assert_eq!(without_places(sentence), short);
    }

    #[test]
    fn a_folder_below_a_file_is_not_writable() -> std::io::Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        assert!(!writable(&file.path().join("log")));
        let folder = tempfile::tempdir()?;
        assert!(writable(&folder.path().join("ros/log")));
        Ok(())
    }
}
