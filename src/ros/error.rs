//! Why the node does not start, or ends.

use super::params::ParameterError;

/// An error of the node; `Display` is one sentence that says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The command line cannot be used.
    #[error("the ROS arguments cannot be used: {reason}")]
    Arguments {
        /// What is wrong with them.
        reason: String,
    },
    /// A parameter file cannot be read.
    #[error("the parameter file {path} cannot be read: {source}")]
    ParamsFile {
        /// The file's path as it was given.
        path: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// A parameter has no usable value.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// No weights were named.
    #[error(
        "parameter 'weights' is empty: name a weights file, such as \
         --ros-args -p weights:=models/ecmnet_camvid.safetensors"
    )]
    NoWeights,
    /// The network cannot be made.
    #[error("the network cannot be made: {0}")]
    Segmenter(#[from] crate::Error),
    /// ROS refused something.
    #[error("ROS refused to {what}: {source}")]
    Ros {
        /// What was tried.
        what: &'static str,
        /// What r2r said.
        #[source]
        source: r2r::Error,
    },
    /// The operating system refused something.
    #[error("the operating system refused to {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What it said.
        #[source]
        source: std::io::Error,
    },
    /// The GPU is lost to this process; a new one may go on.
    #[error("the GPU is lost: {reason}; start the node again")]
    GpuLost {
        /// What the engine said.
        reason: String,
    },
    /// A thread of the node ended by itself.
    #[error("the node's {thread} thread has ended by a fault; the lines above say which")]
    Thread {
        /// Its name.
        thread: &'static str,
    },
}

impl NodeError {
    /// Returns the process's exit status: 3 where starting again may help, else 1.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::GpuLost { .. } => 3,
            _ => 1,
        }
    }

    /// Returns a wrapper for r2r's errors of trying `what`.
    pub(super) fn ros(what: &'static str) -> impl Fn(r2r::Error) -> Self {
        move |source| Self::Ros { what, source }
    }

    /// Returns a wrapper for the operating system's errors of trying `what`.
    pub(super) fn system(what: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}
