//! One frame of an evaluation.

use super::LabelImage;
use crate::decode::{DecodeError, DecodedImage};
use crate::error::{Error, Result};
use crate::image::{ImageView, check_size};
use crate::msg::{CompressedImage, Header, Image, Message};

/// Pixels that an evaluation reads of one picture at most.
pub(super) const MAX_PIXELS: usize = 64_000_000;

/// What the next frame of a source is.
#[derive(Debug)]
pub enum Step {
    /// A frame to segment and score.
    Frame(Box<Frame>),
    /// A frame that is left out.
    Skipped {
        /// Its stamp or file.
        frame: String,
        /// A short constant name of the reason, for counting.
        reason: &'static str,
        /// The reason in words.
        why: String,
    },
}

/// An image with what is known of its classes.
#[derive(Debug)]
pub struct Frame {
    /// The stamp in seconds, or the file.
    pub name: String,
    /// Stamp and coordinate frame; a file has the default.
    pub header: Header,
    /// The pixels.
    pub picture: Picture,
    /// The true classes; `None` where nothing is scored.
    pub truth: Option<LabelImage>,
    /// The classes that a node has published; `None` where the network is run.
    pub recorded: Option<LabelImage>,
}

/// The pixels of an image, owned.
#[derive(Debug)]
pub enum Picture {
    /// A serialised `sensor_msgs/msg/Image`.
    Message(Vec<u8>),
    /// A decoded file.
    Decoded(DecodedImage),
}

impl Picture {
    /// Returns the picture in a serialised message of type `type_name`, an image type; errs if
    /// it is torn, broken or too large.
    pub(super) fn from_message(type_name: &str, message: Vec<u8>) -> Result<Self> {
        let picture = if type_name == CompressedImage::TYPE {
            let file = CompressedImage::from_cdr(&message)?.data;
            Self::Decoded(DecodedImage::from_file_bytes(file, MAX_PIXELS)?)
        } else {
            Self::Message(message)
        };
        let view = picture.view()?;
        check_size(view.width(), view.height(), MAX_PIXELS)?;
        Ok(picture)
    }

    /// Returns the picture in a JPEG or PNG file.
    pub(super) fn from_file_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        DecodedImage::from_file_bytes(bytes, MAX_PIXELS).map(Self::Decoded)
    }

    /// Returns a view of the pixels; errs if encoding, size, step and data disagree.
    pub fn view(&self) -> Result<ImageView<'_>> {
        match self {
            Self::Message(message) => Ok(Image::from_cdr(message)?.view()?),
            Self::Decoded(image) => Ok(image.view()?),
        }
    }
}

/// Returns the name under which frames are counted that this error leaves out.
pub(super) fn reason_from_error(error: &Error) -> &'static str {
    match error {
        Error::Image(error) => error.reason(),
        Error::Decode(error) => error.reason(),
        Error::Cdr(_) => "torn_message",
        _ => "unreadable",
    }
}
