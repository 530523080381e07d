//! `nav_msgs/OccupancyGrid`.

use super::{Header, Message, Pose, Stamp, definition, fields};
use crate::cdr::{CdrError, CdrReader, CdrWriter};

/// A map of square cells: -1 unknown, 0 free, up to 100 occupied.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OccupancyGrid {
    /// Stamp, and the map's frame.
    pub header: Header,
    /// When the map was loaded.
    pub map_load_time: Stamp,
    /// Side of a cell, metres.
    pub resolution: f32,
    /// Cells along x.
    pub width: u32,
    /// Cells along y.
    pub height: u32,
    /// Pose of the corner of cell (0, 0).
    pub origin: Pose,
    /// Cells, row-major from (0, 0), x fastest.
    pub data: Vec<i8>,
}

impl Message<'_> for OccupancyGrid {
    const TYPE: &'static str = "nav_msgs/msg/OccupancyGrid";
    const DEFINITION: &'static str = definition!(
        "std_msgs/Header header\nMapMetaData info\nint8[] data",
        "std_msgs/Header" => fields!(Header),
        "builtin_interfaces/Time" => fields!(Time),
        "nav_msgs/MapMetaData" =>
            "builtin_interfaces/Time map_load_time\nfloat32 resolution\nuint32 width\n\
             uint32 height\ngeometry_msgs/Pose origin",
        "geometry_msgs/Pose" => fields!(Pose),
        "geometry_msgs/Point" => fields!(Point),
        "geometry_msgs/Quaternion" => fields!(Quaternion),
    );

    fn read(reader: &mut CdrReader<'_>) -> Result<Self, CdrError> {
        Ok(Self {
            header: Header::read(reader)?,
            map_load_time: Stamp::read(reader)?,
            resolution: reader.f32("info.resolution")?,
            width: reader.u32("info.width")?,
            height: reader.u32("info.height")?,
            origin: Pose::read(reader)?,
            data: reader
                .byte_sequence("data")?
                .iter()
                .map(|cell| *cell as i8)
                .collect(),
        })
    }

    fn write(&self, writer: &mut CdrWriter) {
        self.header.write(writer);
        self.map_load_time.write(writer);
        writer.f32(self.resolution);
        writer.u32(self.width);
        writer.u32(self.height);
        self.origin.write(writer);
        writer.len(self.data.len());
        for cell in &self.data {
            writer.u8(*cell as u8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_is_read_back_with_its_unknown_cells() -> anyhow::Result<()> {
        let grid = OccupancyGrid {
            resolution: 0.1,
            width: 3,
            height: 1,
            data: vec![-1, 0, 100],
            ..Default::default()
        };
        assert_eq!(OccupancyGrid::from_cdr(&grid.to_cdr())?, grid);
        Ok(())
    }
}
