//! Why a bag cannot be read or written.

use std::path::{Path, PathBuf};

/// Why a bag cannot be read or written; `Display` is one sentence that says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum BagError {
    /// The operating system refused to read or write.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The folder to write to is there already.
    #[error("{} exists already; remove it or name another bag", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// A message's time cannot be stored.
    #[error("a message on {topic} has the time {log_time_ns} ns, but MCAP holds none before 1970")]
    Time {
        /// The message's topic.
        topic: String,
        /// Nanoseconds since the epoch.
        log_time_ns: i64,
    },
    /// The MCAP library refused to write.
    #[error("{}: the MCAP file cannot be written: {source}", path.display())]
    Mcap {
        /// The storage file.
        path: PathBuf,
        /// What the library said.
        #[source]
        source: mcap::McapError,
    },
}

impl BagError {
    /// Returns the error of an input or output operation on `path`.
    pub(super) fn file(path: &Path, source: std::io::Error) -> Self {
        let path = path.to_owned();
        Self::File { path, source }
    }

    /// Returns the error of the MCAP library while it wrote `path`.
    pub(super) fn mcap(path: &Path, source: mcap::McapError) -> Self {
        let path = path.to_owned();
        Self::Mcap { path, source }
    }
}
