//! `geometry_msgs/PolygonStamped`.

use super::{Header, Message, definition, fields};
use crate::cdr::{CdrError, CdrReader, CdrWriter};

/// A closed outline; the last point is joined to the first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolygonStamped {
    /// Stamp, and the frame of the points.
    pub header: Header,
    /// Corners in order: x, y and z, metres.
    pub points: Vec<[f32; 3]>,
}

impl Message<'_> for PolygonStamped {
    const TYPE: &'static str = "geometry_msgs/msg/PolygonStamped";
    const DEFINITION: &'static str = definition!(
        "std_msgs/Header header\nPolygon polygon",
        "std_msgs/Header" => fields!(Header),
        "builtin_interfaces/Time" => fields!(Time),
        "geometry_msgs/Polygon" => "Point32[] points",
        "geometry_msgs/Point32" => "float32 x\nfloat32 y\nfloat32 z",
    );

    fn read(reader: &mut CdrReader<'_>) -> Result<Self, CdrError> {
        let header = Header::read(reader)?;
        let n = reader.sequence_len("polygon.points", 12)?;
        let points = (0..n)
            .map(|_| {
                let [x, y, z] = ["x", "y", "z"];
                Ok([reader.f32(x)?, reader.f32(y)?, reader.f32(z)?])
            })
            .collect::<Result<_, CdrError>>()?;
        Ok(Self { header, points })
    }

    fn write(&self, writer: &mut CdrWriter) {
        self.header.write(writer);
        writer.len(self.points.len());
        for value in self.points.iter().flatten() {
            writer.f32(*value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Result, ensure};

    #[test]
    fn an_outline_is_read_back_and_torn_it_is_an_error() -> Result<()> {
        let outline = PolygonStamped {
            points: vec![[0.0, 1.0, 0.5], [2.0, -1.0, 0.0], [f32::MAX, 0.0, 0.0]],
            ..PolygonStamped::default()
        };
        let bytes = outline.to_cdr();
        ensure!(PolygonStamped::from_cdr(&bytes)? == outline);
        ensure!(bytes[20..24] == [3, 0, 0, 0] && bytes[28..32] == 1.0f32.to_le_bytes());
        for length in 4..bytes.len() {
            ensure!(
                PolygonStamped::from_cdr(&bytes[..length]).is_err(),
                "{length}"
            );
        }
        Ok(())
    }
}
