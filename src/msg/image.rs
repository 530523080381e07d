//! `sensor_msgs/Image` and `sensor_msgs/CompressedImage`; pixels are borrowed.

use super::{Header, Message, definition, fields};
use crate::cdr::{CdrError, CdrReader, CdrWriter};
use crate::image::{ImageError, ImageView, PixelFormat};

/// An uncompressed image whose pixels belong to the message's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image<'a> {
    /// Stamp and optical frame.
    pub header: Header,
    /// Rows.
    pub height: u32,
    /// Pixels a row.
    pub width: u32,
    /// Encoding, named as in `sensor_msgs/image_encodings.hpp`.
    pub encoding: &'a str,
    /// Nonzero where multi-byte channels are big-endian; no meaning for 8-bit encodings.
    pub is_bigendian: u8,
    /// Bytes from one row to the next.
    pub step: u32,
    /// Rows, `step` bytes each.
    pub data: &'a [u8],
}

impl<'a> Image<'a> {
    /// Returns a checked view of the pixels; errs if encoding, size, step and data disagree.
    pub fn view(&self) -> Result<ImageView<'a>, ImageError> {
        let format = PixelFormat::from_encoding(self.encoding)?;
        let [width, height, step] = [self.width, self.height, self.step].map(|n| n as usize);
        ImageView::new(format, width, height, step, self.data)
    }
}

impl<'a> Message<'a> for Image<'a> {
    const TYPE: &'static str = "sensor_msgs/msg/Image";
    const DEFINITION: &'static str = definition!(
        "std_msgs/Header header\nuint32 height\nuint32 width\nstring encoding\n\
         uint8 is_bigendian\nuint32 step\nuint8[] data",
        "std_msgs/Header" => fields!(Header),
        "builtin_interfaces/Time" => fields!(Time),
    );

    fn read(reader: &mut CdrReader<'a>) -> Result<Self, CdrError> {
        Ok(Self {
            header: Header::read(reader)?,
            height: reader.u32("height")?,
            width: reader.u32("width")?,
            encoding: reader.text("encoding")?,
            is_bigendian: reader.u8("is_bigendian")?,
            step: reader.u32("step")?,
            data: reader.byte_sequence("data")?,
        })
    }

    fn write(&self, writer: &mut CdrWriter) {
        self.header.write(writer);
        writer.u32(self.height);
        writer.u32(self.width);
        writer.text(self.encoding);
        writer.u8(self.is_bigendian);
        writer.u32(self.step);
        writer.byte_sequence(self.data);
    }

    fn to_cdr(&self) -> Vec<u8> {
        let mut writer = CdrWriter::with_capacity(self.data.len() + 128);
        self.write(&mut writer);
        writer.into_message()
    }
}

/// A compressed image whose bytes belong to the message's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompressedImage<'a> {
    /// Stamp and optical frame.
    pub header: Header,
    /// The codec as image_transport writes it, such as `jpeg` or `rgb8; jpeg compressed bgr8`.
    pub format: &'a str,
    /// The compressed file.
    pub data: &'a [u8],
}

impl<'a> Message<'a> for CompressedImage<'a> {
    const TYPE: &'static str = "sensor_msgs/msg/CompressedImage";
    const DEFINITION: &'static str = definition!(
        "std_msgs/Header header\nstring format\nuint8[] data",
        "std_msgs/Header" => fields!(Header),
        "builtin_interfaces/Time" => fields!(Time),
    );

    fn read(reader: &mut CdrReader<'a>) -> Result<Self, CdrError> {
        Ok(Self {
            header: Header::read(reader)?,
            format: reader.text("format")?,
            data: reader.byte_sequence("data")?,
        })
    }

    fn write(&self, writer: &mut CdrWriter) {
        self.header.write(writer);
        writer.text(self.format);
        writer.byte_sequence(self.data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(data: &[u8]) -> Image<'_> {
        let header = Header {
            stamp: Default::default(),
            frame_id: "camera_optical_frame".into(),
        };
        let (height, width, step) = (2, 3, 10);
        Image {
            header,
            height,
            width,
            encoding: "bgr8",
            is_bigendian: 1,
            step,
            data,
        }
    }

    #[test]
    fn pixels_are_borrowed_and_the_big_endian_flag_is_ignored() -> anyhow::Result<()> {
        let pixels: Vec<u8> = (0..20).collect();
        let message = image(&pixels).to_cdr();
        let read = Image::from_cdr(&message)?;
        assert_eq!(read, image(&pixels));
        assert!(message.as_ptr_range().contains(&read.data.as_ptr()));
        assert_eq!(read.view()?.to_rgb8()[3], [12, 11, 10]);
        Ok(())
    }

    #[test]
    fn every_cut_of_an_image_message_is_an_error() {
        let message = image(&[0; 20]).to_cdr();
        for n in 0..message.len() {
            assert!(Image::from_cdr(&message[..n]).is_err(), "{n} bytes");
        }
    }

    #[test]
    fn a_hundred_megapixels_in_a_small_message_are_short_data() -> anyhow::Result<()> {
        let claim = Image {
            height: 10_000,
            width: 10_000,
            step: 30_000,
            ..image(&[0; 1000])
        };
        let message = claim.to_cdr();
        let error = Image::from_cdr(&message)?
            .view()
            .expect_err("300 MB are missing");
        assert_eq!(error.reason(), "short_data");
        Ok(())
    }
}
