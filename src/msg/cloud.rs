//! `sensor_msgs/PointCloud2` of plain x, y, z points.

use super::{Header, Message, definition, fields};
use crate::cdr::{CdrError, CdrReader, CdrWriter};

/// `PointField`'s FLOAT32.
pub const FLOAT32: u8 = 7;
/// Bytes of a point of three `float32`.
pub const XYZ_STEP: u32 = 12;

/// One channel of a point.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PointField {
    /// Its name, such as `x`.
    pub name: String,
    /// Byte of the point at which it starts.
    pub offset: u32,
    /// Its type: 1 INT8 to 8 FLOAT64.
    pub datatype: u8,
    /// Elements.
    pub count: u32,
}

/// Points in rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PointCloud2 {
    /// Stamp, and the frame of the points.
    pub header: Header,
    /// Rows; 1 where the points are in no order.
    pub height: u32,
    /// Points a row.
    pub width: u32,
    /// What a point holds.
    pub fields: Vec<PointField>,
    /// Whether numbers are big-endian.
    pub is_bigendian: bool,
    /// Bytes from one point to the next.
    pub point_step: u32,
    /// Bytes from one row to the next.
    pub row_step: u32,
    /// The points, `[height, row_step]`.
    pub data: Vec<u8>,
    /// Whether no point is NaN.
    pub is_dense: bool,
}

impl PointCloud2 {
    /// Returns a cloud of x, y and z as `float32`, metres, `width` points a row; points beyond the
    /// last whole row are left out.
    pub fn from_points(header: Header, width: usize, points: &[[f32; 3]]) -> Self {
        let height = points.len().checked_div(width).unwrap_or(0);
        let points = points.get(..width * height).unwrap_or(&[]);
        let fields = ["x", "y", "z"].iter().zip((0..).step_by(4));
        Self {
            header,
            height: height as u32,
            width: width as u32,
            fields: fields
                .map(|(name, offset)| PointField {
                    name: (*name).to_owned(),
                    offset,
                    datatype: FLOAT32,
                    count: 1,
                })
                .collect(),
            is_bigendian: false,
            point_step: XYZ_STEP,
            row_step: XYZ_STEP * width as u32,
            data: points
                .iter()
                .flatten()
                .flat_map(|v| v.to_le_bytes())
                .collect(),
            is_dense: points.iter().flatten().all(|v| v.is_finite()),
        }
    }
}

impl Message<'_> for PointCloud2 {
    const TYPE: &'static str = "sensor_msgs/msg/PointCloud2";
    const DEFINITION: &'static str = definition!(
        "std_msgs/Header header\nuint32 height\nuint32 width\nPointField[] fields\n\
         bool is_bigendian\nuint32 point_step\nuint32 row_step\nuint8[] data\nbool is_dense",
        "std_msgs/Header" => fields!(Header),
        "builtin_interfaces/Time" => fields!(Time),
        "sensor_msgs/PointField" =>
            "uint8 INT8=1\nuint8 UINT8=2\nuint8 INT16=3\nuint8 UINT16=4\nuint8 INT32=5\n\
             uint8 UINT32=6\nuint8 FLOAT32=7\nuint8 FLOAT64=8\n\
             string name\nuint32 offset\nuint8 datatype\nuint32 count",
    );

    fn read(reader: &mut CdrReader<'_>) -> Result<Self, CdrError> {
        let header = Header::read(reader)?;
        let height = reader.u32("height")?;
        let width = reader.u32("width")?;
        // The least field: an empty string, an offset, a type and a count.
        let n = reader.sequence_len("fields", 4 + 1 + 4 + 1 + 4)?;
        let fields = (0..n)
            .map(|_| {
                Ok(PointField {
                    name: reader.text("fields.name")?.to_owned(),
                    offset: reader.u32("fields.offset")?,
                    datatype: reader.u8("fields.datatype")?,
                    count: reader.u32("fields.count")?,
                })
            })
            .collect::<Result<_, CdrError>>()?;
        Ok(Self {
            header,
            height,
            width,
            fields,
            is_bigendian: reader.u8("is_bigendian")? != 0,
            point_step: reader.u32("point_step")?,
            row_step: reader.u32("row_step")?,
            data: reader.byte_sequence("data")?.to_vec(),
            is_dense: reader.u8("is_dense")? != 0,
        })
    }

    fn write(&self, writer: &mut CdrWriter) {
        self.header.write(writer);
        writer.u32(self.height);
        writer.u32(self.width);
        writer.len(self.fields.len());
        for field in &self.fields {
            writer.text(&field.name);
            writer.u32(field.offset);
            writer.u8(field.datatype);
            writer.u32(field.count);
        }
        writer.u8(u8::from(self.is_bigendian));
        writer.u32(self.point_step);
        writer.u32(self.row_step);
        writer.byte_sequence(&self.data);
        writer.u8(u8::from(self.is_dense));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Result, ensure};

    #[test]
    fn a_cloud_of_rows_is_read_back_and_knows_its_missing_points() -> Result<()> {
        let points = [
            [1.0, -2.0, 0.3],
            [f32::NAN; 3],
            [4.0, 5.0, 6.0],
            [0.0; 3],
            [9.0; 3],
        ];
        let cloud = PointCloud2::from_points(Header::default(), 2, &points);
        ensure!((cloud.width, cloud.height, cloud.row_step) == (2, 2, 24));
        ensure!(
            cloud.data.len() == 48 && !cloud.is_dense,
            "the fifth fills no row"
        );
        ensure!(cloud.data[..4] == 1.0f32.to_le_bytes());
        ensure!(PointCloud2::from_cdr(&cloud.to_cdr())? == cloud);
        let none = PointCloud2::from_points(Header::default(), 0, &[]);
        ensure!((none.width, none.height, none.data.len()) == (0, 0, 0));
        Ok(())
    }

    #[test]
    fn the_bytes_are_those_of_the_definition() {
        let cloud = PointCloud2::from_points(Header::default(), 1, &[[1.5, 0.0, -1.0]]);
        let bytes = cloud.to_cdr();
        // Encapsulation, stamp, an empty string padded to 4, height, width, three fields.
        assert_eq!(bytes[4..16], [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(bytes[20..28], [1, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(bytes[28..32], [3, 0, 0, 0]);
        // "x" with its end, padded; offset 0; FLOAT32, padded; one element.
        let x = [
            2, 0, 0, 0, b'x', 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0,
        ];
        assert_eq!(bytes[32..52], x);
        assert_eq!(bytes.last(), Some(&1), "dense");
    }

    #[test]
    fn a_torn_cloud_is_an_error() {
        let bytes = PointCloud2::from_points(Header::default(), 1, &[[0.0; 3]]).to_cdr();
        for length in 4..bytes.len() {
            assert!(PointCloud2::from_cdr(&bytes[..length]).is_err(), "{length}");
        }
    }
}
