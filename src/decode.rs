//! JPEG and PNG files, decoded with their size checked before anything is allocated.

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};

use crate::image::{ImageError, ImageView, PixelFormat, check_size};

/// Why a compressed image gives no pixels; [`DecodeError::reason`] is the drop counters' name.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes start neither as JPEG nor as PNG.
    #[error("the compressed image is neither JPEG nor PNG")]
    Codec,
    /// The header claims an empty image or more pixels than allowed.
    #[error(transparent)]
    Size(#[from] ImageError),
    /// The file is broken or cut.
    #[error("the compressed image is broken: {source}")]
    Broken {
        /// What the decoder said.
        #[source]
        source: image::ImageError,
    },
}

impl DecodeError {
    /// Returns a short constant name of the reason, for counters and diagnostics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Codec => "codec",
            Self::Size(size) => size.reason(),
            Self::Broken { .. } => "broken_file",
        }
    }
}

/// Pixels that a JPEG or PNG held: packed rows of `rgb8` or `mono8`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedImage {
    format: PixelFormat,
    width: usize,
    height: usize,
    data: Vec<u8>,
}

impl DecodedImage {
    /// Returns the pixels of a JPEG or PNG file of at most `max_pixels`.
    ///
    /// Grey stays `mono8`; colour becomes `rgb8`, alpha is dropped and 16 bits become 8. Errs
    /// on another codec, on a size over the limit (before it is allocated) and on a broken file.
    pub fn from_file_bytes(bytes: &[u8], max_pixels: usize) -> Result<Self, DecodeError> {
        let format = match image::guess_format(bytes) {
            Ok(format @ (ImageFormat::Jpeg | ImageFormat::Png)) => format,
            _ => return Err(DecodeError::Codec),
        };
        let broken = |source| DecodeError::Broken { source };
        let mut decoder = ImageReader::with_format(Cursor::new(bytes), format)
            .into_decoder()
            .map_err(broken)?;
        let (width, height) = decoder.dimensions();
        let (width, height) = (width as usize, height as usize);
        check_size(width, height, max_pixels)?;
        let mut limits = image::Limits::no_limits();
        // Sixteen-bit RGBA is the largest sample that a PNG has; twice it covers filtering rows.
        limits.max_alloc = Some(16 * (max_pixels as u64) + (1 << 20));
        decoder.set_limits(limits).map_err(broken)?;
        let decoded = DynamicImage::from_decoder(decoder).map_err(broken)?;
        let grey = !decoded.color().has_color();
        let (format, data) = if grey {
            (PixelFormat::Mono8, decoded.into_luma8().into_raw())
        } else {
            (PixelFormat::Rgb8, decoded.into_rgb8().into_raw())
        };
        Ok(Self {
            format,
            width,
            height,
            data,
        })
    }

    /// Returns a view of the pixels.
    pub fn view(&self) -> Result<ImageView<'_>, ImageError> {
        let channels = if self.format == PixelFormat::Mono8 {
            1
        } else {
            3
        };
        let step = self.width * channels;
        ImageView::new(self.format, self.width, self.height, step, &self.data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(image: &DynamicImage, format: ImageFormat) -> anyhow::Result<Vec<u8>> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format)?;
        Ok(bytes.into_inner())
    }

    fn gradient() -> DynamicImage {
        DynamicImage::ImageRgb8(image::RgbImage::from_fn(9, 7, |x, y| {
            image::Rgb([20 * x as u8, 30 * y as u8, 99])
        }))
    }

    #[test]
    fn png_is_exact_and_jpeg_is_close() -> anyhow::Result<()> {
        let want = gradient().into_rgb8();
        let png = DecodedImage::from_file_bytes(&file(&gradient(), ImageFormat::Png)?, 63)?;
        assert_eq!(png.data, want.as_raw().as_slice());
        let jpeg = DecodedImage::from_file_bytes(&file(&gradient(), ImageFormat::Jpeg)?, 63)?;
        assert_eq!((jpeg.width, jpeg.height), (9, 7));
        let error: i32 = jpeg
            .data
            .iter()
            .zip(want.as_raw())
            .map(|(a, b)| i32::from(a.abs_diff(*b)))
            .sum();
        // Quality 75 with subsampled chroma: a few levels a channel on a smooth gradient.
        assert!(error / (jpeg.data.len() as i32) < 12, "{error}");
        Ok(())
    }

    #[test]
    fn grey_files_stay_mono() -> anyhow::Result<()> {
        let grey = DynamicImage::ImageLuma8(gradient().into_luma8());
        let decoded = DecodedImage::from_file_bytes(&file(&grey, ImageFormat::Png)?, 63)?;
        assert_eq!(decoded.view()?.format(), PixelFormat::Mono8);
        Ok(())
    }

    #[test]
    fn size_is_checked_before_the_pixels_are_allocated() -> anyhow::Result<()> {
        let mut bomb = file(&gradient(), ImageFormat::Png)?;
        // IHDR holds width and height at bytes 16 to 23; its checksum at 29 must agree.
        bomb[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
        let crc = crc32(&bomb[12..29]);
        bomb[29..33].copy_from_slice(&crc.to_be_bytes());
        let error = DecodedImage::from_file_bytes(&bomb, 16_000_000).expect_err("4 gigapixels");
        assert_eq!(error.reason(), "too_large");
        Ok(())
    }

    #[test]
    fn every_cut_of_a_file_is_an_error() -> anyhow::Result<()> {
        let png = file(&gradient(), ImageFormat::Png)?;
        // The closing IEND chunk (12 bytes) carries no pixels, so a cut there may still decode.
        for n in 0..png.len() - 12 {
            assert!(
                DecodedImage::from_file_bytes(&png[..n], 63).is_err(),
                "{n} bytes"
            );
        }
        assert!(matches!(
            DecodedImage::from_file_bytes(b"GIF89a", 63),
            Err(DecodeError::Codec)
        ));
        Ok(())
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                if crc & 1 == 1 {
                    (crc >> 1) ^ 0xedb8_8320
                } else {
                    crc >> 1
                }
            })
        })
    }
}
