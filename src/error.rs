//! The library's error: one variant a domain, each with the domain's own error inside.

use crate::bag::BagError;
use crate::cdr::CdrError;
use crate::decode::DecodeError;
use crate::image::ImageError;
use crate::network::WeightsError;

/// Any error of this library; `Display` is one sentence that says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An image's bytes do not fit its header, or its encoding is not accepted.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A compressed image could not be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A CDR message is torn or not what its type says.
    #[error(transparent)]
    Cdr(#[from] CdrError),
    /// A weights file cannot be used.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The device that was asked for cannot be used.
    #[error("{reason}")]
    Device {
        /// Why, and what to do.
        reason: String,
    },
    /// The GPU cannot be used, or stopped working.
    #[cfg(feature = "cuda")]
    #[error(transparent)]
    Cuda(#[from] crate::engine::CudaError),
    /// The CPU threads could not be started.
    #[error("the CPU threads could not be started; ask for fewer")]
    Threads {
        /// What the thread pool said.
        #[source]
        source: rayon::ThreadPoolBuildError,
    },
    /// A bag cannot be read or written.
    #[error(transparent)]
    Bag(#[from] BagError),
    /// A tensor has another shape than the operation takes.
    #[error("{what} has shape {got:?}, but {expected} is needed")]
    Shape {
        /// The tensor, by the name that the network gives it.
        what: String,
        /// The shape that is needed, in words or numbers.
        expected: String,
        /// The shape that came.
        got: Vec<usize>,
    },
    /// Candle refused an operation.
    #[error("the tensor operation failed")]
    Tensor(#[from] candle_core::Error),
    /// A computed value is NaN or infinite.
    #[error("the network gave {what} that are not finite; check the weights file")]
    NotFinite {
        /// The values, in words.
        what: &'static str,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file's path as the user gave it.
        path: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// Returns whether the GPU is lost to this process, so that only a new one can go on.
    pub fn is_device_lost(&self) -> bool {
        #[cfg(feature = "cuda")]
        if let Self::Cuda(error) = self {
            return error.is_sticky();
        }
        false
    }

    /// Returns the error of an input or output operation on `path`.
    pub fn file(path: &std::path::Path, source: std::io::Error) -> Self {
        Self::File {
            path: path.display().to_string(),
            source,
        }
    }
}

/// A `Result` with this library's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
