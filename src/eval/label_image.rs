//! Ground-truth label images: PNG files and messages whose pixel values are class ids.

use std::io::Cursor;

use crate::image::{ImageError, check_size};
use crate::msg::{CompressedImage, Image, Message};

/// Why bytes are no label image.
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    /// The bytes are no PNG, or a broken one.
    #[error("the label is not a whole PNG file: {0}")]
    Png(#[from] png::DecodingError),
    /// The PNG's pixels are no ids.
    #[error("the label PNG holds {got}, but 8-bit grey or palette is needed")]
    PngPixels {
        /// What it holds.
        got: String,
    },
    /// The message's pixels are no ids.
    #[error("the label's encoding is '{got}', but mono8 or 8UC1 is needed")]
    Encoding {
        /// The encoding.
        got: String,
    },
    /// The size is empty, too large, or not what the data holds.
    #[error(transparent)]
    Size(#[from] ImageError),
    /// The message is torn.
    #[error(transparent)]
    Cdr(#[from] crate::cdr::CdrError),
    /// The message's type holds no image.
    #[error("labels of type {got} cannot be read; sensor_msgs/msg/Image or CompressedImage can")]
    Type {
        /// The type.
        got: String,
    },
}

/// Class ids for every pixel of an image, as ground truth gives them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelImage {
    /// Pixels a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Ids, `[height, width]`, rows packed; any value.
    pub ids: Vec<u8>,
}

impl LabelImage {
    /// Returns the ids of an 8-bit grey or palette PNG of at most `max_pixels`; a palette's
    /// places are the ids, its colours are not looked at.
    pub fn from_png(bytes: &[u8], max_pixels: usize) -> Result<Self, LabelError> {
        let mut decoder = png::Decoder::new(Cursor::new(bytes));
        decoder.set_transformations(png::Transformations::IDENTITY);
        let mut reader = decoder.read_info()?;
        let info = reader.info();
        let (width, height) = (info.width as usize, info.height as usize);
        check_size(width, height, max_pixels)?;
        match (info.color_type, info.bit_depth) {
            (png::ColorType::Grayscale | png::ColorType::Indexed, png::BitDepth::Eight) => {}
            (colour, depth) => {
                let got = format!("{colour:?} of {depth:?} bits");
                return Err(LabelError::PngPixels { got });
            }
        }
        let mut ids = vec![0; width * height];
        reader.next_frame(&mut ids)?;
        Ok(Self { width, height, ids })
    }

    /// Returns the ids of a serialised message of type `type_name`: `sensor_msgs/msg/Image`
    /// (mono8 or 8UC1, any step) or `sensor_msgs/msg/CompressedImage` (PNG).
    pub fn from_message(
        type_name: &str,
        message: &[u8],
        max_pixels: usize,
    ) -> Result<Self, LabelError> {
        match type_name {
            Image::TYPE => Self::from_image(&Image::from_cdr(message)?),
            CompressedImage::TYPE => {
                Self::from_png(CompressedImage::from_cdr(message)?.data, max_pixels)
            }
            got => Err(LabelError::Type {
                got: got.to_owned(),
            }),
        }
    }

    fn from_image(image: &Image<'_>) -> Result<Self, LabelError> {
        if !matches!(image.encoding, "mono8" | "8UC1") {
            let got = image.encoding.chars().take(64).collect();
            return Err(LabelError::Encoding { got });
        }
        let mono = Image {
            encoding: "mono8",
            ..image.clone()
        };
        let view = mono.view()?;
        let (width, height) = (view.width(), view.height());
        let mut ids = Vec::with_capacity(width * height);
        for row in view.data().chunks(view.step()).take(height) {
            ids.extend_from_slice(row.get(..width).unwrap_or(row));
        }
        Ok(Self { width, height, ids })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(colour: png::ColorType, depth: png::BitDepth, data: &[u8]) -> anyhow::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 3, 2);
        encoder.set_color(colour);
        encoder.set_depth(depth);
        if colour == png::ColorType::Indexed {
            encoder.set_palette([10, 20, 30].repeat(12));
        }
        encoder.write_header()?.write_image_data(data)?;
        Ok(bytes)
    }

    #[test]
    fn grey_and_palette_files_give_their_values_and_not_their_colours() -> anyhow::Result<()> {
        for colour in [png::ColorType::Grayscale, png::ColorType::Indexed] {
            let file = png(colour, png::BitDepth::Eight, &[0, 1, 2, 9, 10, 11])?;
            let label = LabelImage::from_png(&file, 6)?;
            assert_eq!((label.width, label.height), (3, 2));
            assert_eq!(label.ids, [0, 1, 2, 9, 10, 11]);
            assert!(matches!(
                LabelImage::from_png(&file, 5),
                Err(LabelError::Size(_))
            ));
            assert!(LabelImage::from_png(&file[..file.len() / 2], 6).is_err());
        }
        Ok(())
    }

    #[test]
    fn colours_and_other_depths_are_refused() -> anyhow::Result<()> {
        for (colour, depth, bytes) in [
            (png::ColorType::Rgb, png::BitDepth::Eight, 18),
            (png::ColorType::Grayscale, png::BitDepth::Sixteen, 12),
            (png::ColorType::Indexed, png::BitDepth::Four, 4),
        ] {
            let file = png(colour, depth, &vec![0; bytes])?;
            let error = LabelImage::from_png(&file, 6);
            assert!(
                matches!(error, Err(LabelError::PngPixels { .. })),
                "{error:?}"
            );
        }
        Ok(())
    }

    #[test]
    fn padded_rows_of_a_message_are_packed_and_short_data_is_an_error() -> anyhow::Result<()> {
        let mut image = Image {
            header: Default::default(),
            height: 2,
            width: 2,
            encoding: "8UC1",
            is_bigendian: 0,
            step: 4,
            data: &[1, 2, 99, 99, 3, 4],
        };
        let read = |image: &Image<'_>| LabelImage::from_message(Image::TYPE, &image.to_cdr(), 100);
        assert_eq!(read(&image)?.ids, [1, 2, 3, 4]);
        image.data = &[1, 2, 99, 99, 3];
        assert!(matches!(read(&image), Err(LabelError::Size(_))));
        image.encoding = "rgb8";
        assert!(matches!(read(&image), Err(LabelError::Encoding { .. })));
        let other = LabelImage::from_message("std_msgs/msg/String", &[], 100);
        assert!(matches!(other, Err(LabelError::Type { .. })));
        Ok(())
    }
}
