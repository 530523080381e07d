//! Borrowed camera images: bytes, pixel format and row stride, checked once.

use std::cell::RefCell;
use std::fmt;

mod colour;

/// How the bytes of an image encode its pixels, named as in `sensor_msgs/image_encodings.hpp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// `rgb8`: 3 bytes a pixel.
    Rgb8,
    /// `bgr8`: 3 bytes a pixel.
    Bgr8,
    /// `rgba8`: 4 bytes a pixel, alpha ignored.
    Rgba8,
    /// `bgra8`: 4 bytes a pixel, alpha ignored.
    Bgra8,
    /// `mono8`: 1 byte a pixel.
    Mono8,
    /// `uyvy` and the older name `yuv422`: 4 bytes U Y0 V Y1 for two pixels.
    Uyvy,
    /// `yuyv` and the older name `yuv422_yuy2`: 4 bytes Y0 U Y1 V for two pixels.
    Yuyv,
    /// `nv12`: a luma plane, then a plane of half the rows with U V pairs.
    Nv12,
    /// `nv21`: a luma plane, then a plane of half the rows with V U pairs.
    Nv21,
    /// `nv24`: a luma plane, then a plane of U V pairs at full resolution.
    Nv24,
    /// `bayer_rggb8`.
    BayerRggb8,
    /// `bayer_bggr8`.
    BayerBggr8,
    /// `bayer_gbrg8`.
    BayerGbrg8,
    /// `bayer_grbg8`.
    BayerGrbg8,
}

/// Every encoding name that is accepted, with its format.
const ENCODINGS: [(&str, PixelFormat); 16] = [
    ("rgb8", PixelFormat::Rgb8),
    ("bgr8", PixelFormat::Bgr8),
    ("rgba8", PixelFormat::Rgba8),
    ("bgra8", PixelFormat::Bgra8),
    ("mono8", PixelFormat::Mono8),
    ("uyvy", PixelFormat::Uyvy),
    ("yuv422", PixelFormat::Uyvy),
    ("yuyv", PixelFormat::Yuyv),
    ("yuv422_yuy2", PixelFormat::Yuyv),
    ("nv12", PixelFormat::Nv12),
    ("nv21", PixelFormat::Nv21),
    ("nv24", PixelFormat::Nv24),
    ("bayer_rggb8", PixelFormat::BayerRggb8),
    ("bayer_bggr8", PixelFormat::BayerBggr8),
    ("bayer_gbrg8", PixelFormat::BayerGbrg8),
    ("bayer_grbg8", PixelFormat::BayerGrbg8),
];

impl PixelFormat {
    /// Returns the format of a `sensor_msgs/Image` encoding; errs with the accepted names.
    pub fn from_encoding(encoding: &str) -> Result<Self, ImageError> {
        ENCODINGS
            .iter()
            .find(|(name, _)| *name == encoding)
            .map(|(_, format)| *format)
            .ok_or_else(|| ImageError::Encoding {
                got: encoding.chars().take(64).collect(),
            })
    }

    /// Returns the first of the encoding names that mean this format.
    pub fn encoding(self) -> &'static str {
        ENCODINGS
            .iter()
            .find(|(_, format)| *format == self)
            .map_or("", |(name, _)| name)
    }

    /// Returns the bytes that one row of the first (or only) plane needs for `width` pixels.
    fn row_bytes(self, width: usize) -> usize {
        match self {
            Self::Rgb8 | Self::Bgr8 => 3 * width,
            Self::Rgba8 | Self::Bgra8 => 4 * width,
            Self::Uyvy | Self::Yuyv => 2 * width,
            _ => width,
        }
    }

    /// Returns the rows of `step` bytes that an image of `height` rows holds, all planes together.
    fn plane_rows(self, height: usize) -> usize {
        match self {
            Self::Nv12 | Self::Nv21 => height + height / 2,
            Self::Nv24 => 3 * height,
            _ => height,
        }
    }

    /// Returns the least multiple that the width and the height must be of: `(width, height)`.
    fn size_multiple(self) -> (usize, usize) {
        match self {
            Self::Uyvy | Self::Yuyv => (2, 1),
            Self::Nv12 | Self::Nv21 => (2, 2),
            _ => (1, 1),
        }
    }
}

impl fmt::Display for PixelFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.encoding())
    }
}

/// Why bytes are not an image; [`ImageError::reason`] is the name that drop counters use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Width or height is zero.
    #[error("the image is empty ({width}x{height})")]
    Empty {
        /// Pixels a row.
        width: usize,
        /// Rows.
        height: usize,
    },
    /// The encoding is none of those that are accepted.
    #[error("encoding '{got}' is not accepted; accepted: {}", accepted_encodings())]
    Encoding {
        /// The encoding that the message names, cut to 64 characters.
        got: String,
    },
    /// A row is shorter than its pixels.
    #[error("step is {got} bytes, but a row of {width} {format} pixels needs {needed}")]
    Step {
        /// The pixel format.
        format: PixelFormat,
        /// Pixels a row.
        width: usize,
        /// Bytes that a row needs.
        needed: usize,
        /// The step that came.
        got: usize,
    },
    /// There are fewer bytes than `step` and `height` claim.
    #[error("data has {got} bytes, but {width}x{height} {format} with this step needs {needed}")]
    Data {
        /// The pixel format.
        format: PixelFormat,
        /// Pixels a row.
        width: usize,
        /// Rows.
        height: usize,
        /// Bytes that the image needs.
        needed: usize,
        /// Bytes that came.
        got: usize,
    },
    /// A chroma-subsampled format with a size that its blocks do not divide.
    #[error("{format} needs an even size, but the image is {width}x{height}")]
    OddSize {
        /// The pixel format.
        format: PixelFormat,
        /// Pixels a row.
        width: usize,
        /// Rows.
        height: usize,
    },
    /// More pixels than the caller allows.
    #[error("{width}x{height} is more than the {max_pixels} pixels that max_pixels allows")]
    TooLarge {
        /// Pixels a row.
        width: usize,
        /// Rows.
        height: usize,
        /// The limit.
        max_pixels: usize,
    },
}

impl ImageError {
    /// Returns a short constant name of the reason, for counters and diagnostics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Empty { .. } => "empty",
            Self::Encoding { .. } => "encoding",
            Self::Step { .. } => "step",
            Self::Data { .. } => "short_data",
            Self::OddSize { .. } => "odd_size",
            Self::TooLarge { .. } => "too_large",
        }
    }
}

/// Errs if `width` x `height` is empty or more than `max_pixels`.
pub fn check_size(width: usize, height: usize, max_pixels: usize) -> Result<(), ImageError> {
    if width == 0 || height == 0 {
        return Err(ImageError::Empty { width, height });
    }
    match width.checked_mul(height) {
        Some(pixels) if pixels <= max_pixels => Ok(()),
        _ => Err(ImageError::TooLarge {
            width,
            height,
            max_pixels,
        }),
    }
}

/// An image whose bytes belong to somebody else; its size, step and length are known to agree.
#[derive(Clone, Copy, Debug)]
pub struct ImageView<'a> {
    format: PixelFormat,
    width: usize,
    height: usize,
    step: usize,
    data: &'a [u8],
}

impl<'a> ImageView<'a> {
    /// Returns a view of `height` rows of `width` pixels, `step` bytes apart.
    ///
    /// Bytes after the last row are ignored. Errs if the size is empty or odd where the format's
    /// chroma needs it even, if `step` is below a row's bytes, or if `data` is short.
    pub fn new(
        format: PixelFormat,
        width: usize,
        height: usize,
        step: usize,
        data: &'a [u8],
    ) -> Result<Self, ImageError> {
        if width == 0 || height == 0 {
            return Err(ImageError::Empty { width, height });
        }
        let (width_multiple, height_multiple) = format.size_multiple();
        if !width.is_multiple_of(width_multiple) || !height.is_multiple_of(height_multiple) {
            return Err(ImageError::OddSize {
                format,
                width,
                height,
            });
        }
        let row_bytes = format.row_bytes(width);
        if step < row_bytes {
            return Err(ImageError::Step {
                format,
                width,
                needed: row_bytes,
                got: step,
            });
        }
        let needed = bytes_needed(format, width, height, step);
        if data.len() < needed {
            return Err(ImageError::Data {
                format,
                width,
                height,
                needed,
                got: data.len(),
            });
        }
        Ok(Self {
            format,
            width,
            height,
            step,
            data,
        })
    }

    /// Returns a view of packed `rgb8` bytes, `[height, width, 3]`; errs as [`ImageView::new`].
    pub fn from_rgb8(width: usize, height: usize, data: &'a [u8]) -> Result<Self, ImageError> {
        Self::new(
            PixelFormat::Rgb8,
            width,
            height,
            width.saturating_mul(3),
            data,
        )
    }

    /// Returns the pixel format.
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// Returns the pixels in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Returns the number of rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Returns the bytes from one row to the next.
    pub fn step(&self) -> usize {
        self.step
    }

    /// Returns all bytes, row padding and further planes included.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// Returns the bytes from the first pixel's to the last one's, all planes.
    pub fn used(&self) -> &'a [u8] {
        &self.data[..bytes_needed(self.format, self.width, self.height, self.step)]
    }

    /// Writes row `y` as packed RGB, `[width, 3]`, into `rgb`.
    ///
    /// YUV is BT.601 limited range in OpenCV's fixed-point arithmetic; Bayer is bilinear with
    /// mirrored borders; mono is repeated. Rows past the end repeat the last one.
    pub fn rgb_row(&self, y: usize, rgb: &mut [[u8; 3]]) {
        colour::rgb_row(self, y.min(self.height - 1), rgb);
    }

    /// Returns what writes the green of row `y`, as [`ImageView::rgb_row`] has it, a byte for each column: the
    /// brightness, about.
    pub fn green_rows(&self) -> impl Fn(usize, &mut [u8]) {
        let rgb = RefCell::new(vec![[0; 3]; self.width]);
        move |y, green| {
            let mut rgb = rgb.borrow_mut();
            self.rgb_row(y, &mut rgb);
            for (green, [_, of_pixel, _]) in green.iter_mut().zip(rgb.iter()) {
                *green = *of_pixel;
            }
        }
    }

    /// Returns the whole image as packed RGB, `[height, width, 3]`.
    pub fn to_rgb8(&self) -> Vec<[u8; 3]> {
        let mut rgb = vec![[0; 3]; self.width * self.height];
        for (y, row) in rgb.chunks_exact_mut(self.width).enumerate() {
            self.rgb_row(y, row);
        }
        rgb
    }
}

/// Returns the bytes of an image that is not empty; its last row may end without its padding, except
/// where planes follow one another.
fn bytes_needed(format: PixelFormat, width: usize, height: usize, step: usize) -> usize {
    let rows = format.plane_rows(height);
    (rows - 1)
        .saturating_mul(step)
        .saturating_add(format.row_bytes(width))
}

fn accepted_encodings() -> String {
    ENCODINGS.map(|(name, _)| name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_name_finds_its_format() -> Result<(), ImageError> {
        for (name, format) in ENCODINGS {
            assert_eq!(PixelFormat::from_encoding(name)?, format);
        }
        assert_eq!(PixelFormat::from_encoding("yuv422")?.encoding(), "uyvy");
        Ok(())
    }

    #[test]
    fn unknown_encoding_lists_what_is_accepted() {
        let error = PixelFormat::from_encoding("32FC1").expect_err("a depth image");
        assert_eq!(error.reason(), "encoding");
        let text = error.to_string();
        assert!(
            text.contains("'32FC1'") && text.contains("bayer_grbg8"),
            "{text}"
        );
    }

    #[test]
    fn sizes_and_lengths_are_checked() -> Result<(), ImageError> {
        let bytes = [0; 64];
        let view = |format, w, h, step, n| ImageView::new(format, w, h, step, &bytes[..n]);
        assert!(matches!(
            view(PixelFormat::Rgb8, 0, 2, 0, 0),
            Err(ImageError::Empty { .. })
        ));
        assert!(matches!(
            view(PixelFormat::Rgb8, 3, 2, 8, 64),
            Err(ImageError::Step { .. })
        ));
        assert!(matches!(
            view(PixelFormat::Rgb8, 3, 2, 9, 17),
            Err(ImageError::Data { .. })
        ));
        assert!(matches!(
            view(PixelFormat::Uyvy, 3, 2, 8, 64),
            Err(ImageError::OddSize { .. })
        ));
        assert!(matches!(
            view(PixelFormat::Nv12, 4, 3, 4, 64),
            Err(ImageError::OddSize { .. })
        ));
        assert!(matches!(
            view(PixelFormat::Nv12, 4, 2, 4, 11),
            Err(ImageError::Data { .. })
        ));
        view(PixelFormat::Rgb8, 3, 2, 16, 25)?;
        view(PixelFormat::Nv12, 4, 2, 4, 12)?;
        view(PixelFormat::Nv24, 3, 3, 3, 27)?;
        Ok(())
    }

    #[test]
    fn a_claim_of_more_bytes_than_addresses_is_short_data() {
        let error = ImageView::new(PixelFormat::Mono8, 2, usize::MAX / 2, usize::MAX, &[0; 8]);
        assert!(matches!(error, Err(ImageError::Data { .. })));
        assert!(check_size(usize::MAX, 2, 16_000_000).is_err());
        assert!(check_size(4000, 4000, 16_000_000).is_ok());
    }
}
