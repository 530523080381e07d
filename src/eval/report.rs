//! The result of an evaluation as one page that needs no other file and no network.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::{ExtendedColorType, ImageFormat, RgbImage};

mod page;
mod plot;

use super::{Confusion, Frame, LabelImage, LatencySample, Summary};
use crate::error::Result;
use crate::labels::{ClassTable, LabelMask};
use crate::overlay::overlay_from_mask;

/// Pictures wider than this are made smaller.
const PICTURE_WIDTH: u32 = 640;
/// Where the colours' share is enough to see the class and the scene.
const OVERLAY_ALPHA: f32 = 0.55;
const JPEG_QUALITY: u8 = 82;

/// What the page shows.
#[derive(Debug)]
pub struct Report<'a> {
    /// The page's heading.
    pub title: &'a str,
    /// Lines below it.
    pub notes: &'a [String],
    /// The scores.
    pub summary: &'a Summary,
    /// Pixels by true and predicted class.
    pub confusion: &'a Confusion,
    /// Names and colours.
    pub classes: &'a ClassTable,
    /// The latency of each frame; plotted in this order.
    pub latencies: &'a [LatencySample],
    /// Pictures from elsewhere, above the frames.
    pub pictures: &'a [ReportPicture],
    /// Frames to show.
    pub frames: &'a [ReportFrame],
}

impl Report<'_> {
    /// Returns the page: HTML with its styles, drawings and pictures inside.
    pub fn to_html(&self) -> String {
        page::html_from_report(self)
    }
}

/// A picture to show as it is, under a heading of its own.
#[derive(Clone, Debug)]
pub struct ReportPicture {
    heading: String,
    uri: String,
}

impl ReportPicture {
    /// Takes the bytes of a PNG or JPEG file, or returns None for any other.
    pub fn new(heading: &str, file: &[u8]) -> Option<Self> {
        let kind = match image::guess_format(file).ok()? {
            ImageFormat::Png => "png",
            ImageFormat::Jpeg => "jpeg",
            _ => return None,
        };
        Some(Self {
            heading: heading.to_owned(),
            uri: format!("data:image/{kind};base64,{}", base64(file)),
        })
    }
}

/// A frame to show: the image, the mask and the truth over it, as data URIs.
#[derive(Clone, Debug)]
pub struct ReportFrame {
    name: String,
    miou: Option<f64>,
    image: String,
    mask: String,
    truth: Option<String>,
}

impl ReportFrame {
    /// Draws a frame with the mask's ids and, where it has one, its truth; pixels of the ignored
    /// id stay as the image has them. `miou` is the frame's own. Errs if a picture cannot be
    /// encoded.
    pub fn new(
        frame: &Frame,
        mask: &LabelImage,
        miou: Option<f64>,
        classes: &ClassTable,
    ) -> Result<Self> {
        let view = frame.picture.view()?;
        let (width, height) = (view.width(), view.height());
        let overlay = |ids: &LabelImage| {
            let mask = LabelMask {
                width,
                height,
                ids: ids.ids.clone(),
            };
            data_uri(
                width,
                height,
                overlay_from_mask(&view, &mask, classes, OVERLAY_ALPHA),
            )
        };
        let image = view.to_rgb8().as_flattened().to_vec();
        Ok(Self {
            name: frame.name.clone(),
            miou,
            image: data_uri(width, height, image)?,
            mask: overlay(mask)?,
            truth: frame.truth.as_ref().map(overlay).transpose()?,
        })
    }
}

/// Returns packed RGB as a JPEG in a data URI, made smaller where it is wide.
fn data_uri(width: usize, height: usize, rgb: Vec<u8>) -> Result<String> {
    let (width, height) = (width as u32, height as u32);
    let mut image = RgbImage::from_raw(width, height, rgb).unwrap_or_default();
    if width > PICTURE_WIDTH {
        let height = (height * PICTURE_WIDTH).div_ceil(width);
        image = image::imageops::resize(&image, PICTURE_WIDTH, height, FilterType::Triangle);
    }
    let mut jpeg = Cursor::new(Vec::new());
    JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY)
        .encode(
            &image,
            image.width(),
            image.height(),
            ExtendedColorType::Rgb8,
        )
        .map_err(|source| crate::decode::DecodeError::Broken { source })?;
    Ok(format!("data:image/jpeg;base64,{}", base64(jpeg.get_ref())))
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let word = three
            .iter()
            .chain(&[0, 0])
            .take(3)
            .fold(0, |word, byte| word << 8 | usize::from(*byte));
        for digit in 0..4 {
            text.push(if digit <= three.len() {
                DIGITS[word >> (18 - 6 * digit) & 63].into()
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        let pairs = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ];
        for (plain, encoded) in pairs {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xff, 0xfe, 0xfd]), "//79");
    }
}
