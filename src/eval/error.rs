//! Why an evaluation cannot go on.

use std::path::{Path, PathBuf};

use super::{LabelError, LabelProblem};
use crate::bag::BagError;

/// Why an evaluation cannot go on; `Display` is one sentence that names the frame or the file.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// A bag cannot be read.
    #[error(transparent)]
    Bag(#[from] BagError),
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// A line of a list or table is not what it should be.
    #[error("{}, line {line}: {needed} is needed", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is needed there.
        needed: String,
    },
    /// A topic holds no images.
    #[error(
        "topic {topic} has type {got}, but images are needed \
         (sensor_msgs/msg/Image or sensor_msgs/msg/CompressedImage)"
    )]
    TopicType {
        /// The topic.
        topic: String,
        /// Its type.
        got: String,
    },
    /// A frame's label cannot be read.
    #[error("frame {frame}: {source}")]
    Label {
        /// The frame's stamp or file.
        frame: String,
        /// What is wrong with it.
        #[source]
        source: LabelError,
    },
    /// A frame's label or recorded mask cannot be compared.
    #[error("frame {frame}: {source}")]
    Comparison {
        /// The frame's stamp or file.
        frame: String,
        /// What is wrong with it.
        #[source]
        source: LabelProblem,
    },
    /// Images and labels do not go together.
    #[error("{why}")]
    NothingToScore {
        /// Why, and what may help.
        why: String,
    },
}

impl EvalError {
    /// Returns the error of reading `path`.
    pub(super) fn file(path: &Path, source: std::io::Error) -> Self {
        let path = path.to_owned();
        Self::File { path, source }
    }

    /// Returns the error of the label of `frame`.
    pub(super) fn label(frame: &str, source: LabelError) -> Self {
        let frame = frame.to_owned();
        Self::Label { frame, source }
    }
}
