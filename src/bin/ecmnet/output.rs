//! What the commands write: results, files that are whole or not there, errors as one sentence.

use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, Result};

/// Writes results to standard output; a reader that has gone away (`ecmnet ... | head`) is no error.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("standard output cannot be written")
        }
        _ => Ok(()),
    }
}

/// Writes a file beside its place and moves it there, so that no reader sees half of it; makes
/// its folder where that is missing.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let cannot = || format!("{} cannot be written", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(cannot)?;
    }
    let mut part = OsString::from(path);
    part.push(".part");
    fs::write(&part, bytes).with_context(cannot)?;
    fs::rename(&part, path).with_context(cannot)
}

/// Returns the error and its causes on one line; causes that a message already holds are left out.
pub(crate) fn sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause
            .to_string()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_follow_once_and_lines_are_joined() {
        let error = anyhow::anyhow!("no such\n  file")
            .context("x.png: no such file")
            .context("frame 3");
        assert_eq!(sentence(&error), "frame 3: x.png: no such file");
    }

    #[test]
    fn a_file_is_replaced_whole_and_folders_are_made() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("a/b/report.json");
        write_whole(&path, b"first")?;
        write_whole(&path, b"second")?;
        assert_eq!(fs::read(&path)?, b"second");
        assert_eq!(fs::read_dir(folder.path().join("a/b"))?.count(), 1);
        Ok(())
    }
}
