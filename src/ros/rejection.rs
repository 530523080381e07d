//! Why a frame gives no mask: by what it is counted, and what the log says.

use crate::cdr::CdrError;
use crate::decode::DecodeError;
use crate::image::ImageError;

/// Why a frame gives no mask.
pub(super) struct Rejection {
    /// The word that it is counted under.
    pub reason: &'static str,
    /// What is wrong with it.
    pub sentence: String,
    /// Whether no frame after it can give one, either.
    pub is_final: bool,
}

impl Rejection {
    /// Returns a rejection after which the next frame may be good.
    pub(super) fn of(reason: &'static str, error: impl ToString) -> Self {
        Self {
            reason,
            sentence: error.to_string(),
            is_final: false,
        }
    }
}

impl From<CdrError> for Rejection {
    fn from(error: CdrError) -> Self {
        Self::of("cdr", error)
    }
}

impl From<ImageError> for Rejection {
    fn from(error: ImageError) -> Self {
        Self::of(error.reason(), error)
    }
}

impl From<DecodeError> for Rejection {
    fn from(error: DecodeError) -> Self {
        Self::of(error.reason(), error)
    }
}

impl From<crate::Error> for Rejection {
    fn from(error: crate::Error) -> Self {
        Self {
            is_final: error.is_device_lost(),
            ..Self::of("network", error)
        }
    }
}
