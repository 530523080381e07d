//! `sensor_msgs/CameraInfo`.

use super::{Header, Message, definition, fields};
use crate::cdr::{CdrError, CdrReader, CdrWriter};

/// The part of the sensor that an image shows, in unbinned pixels; all zero means all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegionOfInterest {
    /// First column.
    pub x_offset: u32,
    /// First row.
    pub y_offset: u32,
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
    /// Whether a rectified image was made of it.
    pub do_rectify: bool,
}

/// A camera's calibration (REP-104).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CameraInfo {
    /// Stamp of the image and its optical frame.
    pub header: Header,
    /// Rows that the calibration is for.
    pub height: u32,
    /// Columns that the calibration is for.
    pub width: u32,
    /// `plumb_bob`, `rational_polynomial`, `equidistant` or empty.
    pub distortion_model: String,
    /// Distortion parameters, as many as the model has.
    pub d: Vec<f64>,
    /// Intrinsics of the raw image, row-major 3x3, pixels; K\[0\] is zero where uncalibrated.
    pub k: [f64; 9],
    /// Rectification, row-major 3x3.
    pub r: [f64; 9],
    /// Projection of the rectified image, row-major 3x4, pixels.
    pub p: [f64; 12],
    /// Sensor columns that one pixel sums; zero means one.
    pub binning_x: u32,
    /// Sensor rows that one pixel sums; zero means one.
    pub binning_y: u32,
    /// The part of the sensor that is read out.
    pub roi: RegionOfInterest,
}

impl Message<'_> for CameraInfo {
    const TYPE: &'static str = "sensor_msgs/msg/CameraInfo";
    const DEFINITION: &'static str = definition!(
        "std_msgs/Header header\nuint32 height\nuint32 width\nstring distortion_model\n\
         float64[] d\nfloat64[9] k\nfloat64[9] r\nfloat64[12] p\n\
         uint32 binning_x\nuint32 binning_y\nRegionOfInterest roi",
        "std_msgs/Header" => fields!(Header),
        "builtin_interfaces/Time" => fields!(Time),
        "sensor_msgs/RegionOfInterest" =>
            "uint32 x_offset\nuint32 y_offset\nuint32 height\nuint32 width\nbool do_rectify",
    );

    fn read(reader: &mut CdrReader<'_>) -> Result<Self, CdrError> {
        Ok(Self {
            header: Header::read(reader)?,
            height: reader.u32("height")?,
            width: reader.u32("width")?,
            distortion_model: reader.text("distortion_model")?.to_owned(),
            d: (0..reader.sequence_len("d", 8)?)
                .map(|_| reader.f64("d"))
                .collect::<Result<_, _>>()?,
            k: reader.f64s("k")?,
            r: reader.f64s("r")?,
            p: reader.f64s("p")?,
            binning_x: reader.u32("binning_x")?,
            binning_y: reader.u32("binning_y")?,
            roi: RegionOfInterest {
                x_offset: reader.u32("roi.x_offset")?,
                y_offset: reader.u32("roi.y_offset")?,
                height: reader.u32("roi.height")?,
                width: reader.u32("roi.width")?,
                do_rectify: reader.u8("roi.do_rectify")? != 0,
            },
        })
    }

    fn write(&self, writer: &mut CdrWriter) {
        self.header.write(writer);
        writer.u32(self.height);
        writer.u32(self.width);
        writer.text(&self.distortion_model);
        writer.len(self.d.len());
        writer.f64s(&self.d);
        writer.f64s(&self.k);
        writer.f64s(&self.r);
        writer.f64s(&self.p);
        writer.u32(self.binning_x);
        writer.u32(self.binning_y);
        writer.u32(self.roi.x_offset);
        writer.u32(self.roi.y_offset);
        writer.u32(self.roi.height);
        writer.u32(self.roi.width);
        writer.u8(self.roi.do_rectify.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn camera_info_is_read_back_for_any_number_of_distortion_parameters() -> anyhow::Result<()> {
        for n in [0, 1, 5, 8] {
            let info = CameraInfo {
                distortion_model: "plumb_bob".into(),
                d: vec![0.1; n],
                k: std::array::from_fn(|i| i as f64),
                roi: RegionOfInterest {
                    do_rectify: true,
                    ..Default::default()
                },
                ..Default::default()
            };
            assert_eq!(CameraInfo::from_cdr(&info.to_cdr())?, info);
        }
        Ok(())
    }
}
