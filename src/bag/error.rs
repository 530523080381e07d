//! Why a bag cannot be read or written, and what is broken in one that can.

use std::fmt;
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
    /// The path is no bag that can be read.
    #[error(
        "{} is not a rosbag2 bag ({why}); name a folder with metadata.yaml, or a .mcap or .db3 file",
        path.display()
    )]
    NotABag {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A storage file that `metadata.yaml` lists is not there.
    #[error(
        "{} is listed in metadata.yaml but is not there; put it back, or name one storage file \
         instead of the folder",
        path.display()
    )]
    MissingFile {
        /// The storage file.
        path: PathBuf,
    },
    /// The storage files are compressed as a whole.
    #[error("{} is compressed as a whole; unpack it with `zstd -d` first", path.display())]
    CompressedFile {
        /// The storage file.
        path: PathBuf,
    },
    /// A topic is not in the bag.
    #[error("topic {topic} is not in the bag; there are: {}", list(there))]
    MissingTopic {
        /// The topic that was asked for.
        topic: String,
        /// Each topic that is there, with its type.
        there: Vec<String>,
    },
    /// A topic's messages are serialised in a way that is not read.
    #[error("topic {topic} is serialised as '{got}', and only 'cdr' can be read")]
    Serialization {
        /// The topic.
        topic: String,
        /// The serialisation's name.
        got: String,
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
    /// sqlite refused to open the file or to list its topics.
    #[error("{} cannot be read as a sqlite3 bag: {source}", path.display())]
    Sqlite {
        /// The storage file.
        path: PathBuf,
        /// What the library said.
        #[source]
        source: rusqlite::Error,
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

    /// Returns the error of a path that is no bag.
    pub(super) fn not_a_bag(path: &Path, why: impl Into<String>) -> Self {
        Self::NotABag {
            path: path.to_owned(),
            why: why.into(),
        }
    }
}

/// A part of a storage file that could not be read, while the rest could.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The storage file.
    pub file: PathBuf,
    /// What is wrong and where, as the end of a sentence that starts with the file's name.
    pub what: String,
}

impl Damage {
    pub(super) fn new(file: &Path, what: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            what: what.into(),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.file.display(), self.what)
    }
}

fn list(topics: &[String]) -> String {
    if topics.is_empty() {
        "none".to_owned()
    } else {
        topics.join(", ")
    }
}
