//! `sensor_msgs/LaserScan`.

use super::{Header, Message, definition, fields};
use crate::cdr::{CdrError, CdrReader, CdrWriter};

/// One sweep of a planar scanner.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LaserScan {
    /// Stamp of the first beam, and the frame in whose xy plane the beams lie.
    pub header: Header,
    /// Direction of the first beam, radians counter-clockwise from x.
    pub angle_min: f32,
    /// Direction of the last beam, radians.
    pub angle_max: f32,
    /// From one beam to the next, radians.
    pub angle_increment: f32,
    /// From one beam to the next, seconds.
    pub time_increment: f32,
    /// From one scan to the next, seconds; 0 where not known.
    pub scan_time: f32,
    /// Ranges below are not to be used, metres.
    pub range_min: f32,
    /// Ranges above are not to be used, metres.
    pub range_max: f32,
    /// Range of each beam, metres; infinite where all is free, NaN where nothing was seen (REP-117).
    pub ranges: Vec<f32>,
    /// Intensity of each beam, or none.
    pub intensities: Vec<f32>,
}

impl Message<'_> for LaserScan {
    const TYPE: &'static str = "sensor_msgs/msg/LaserScan";
    const DEFINITION: &'static str = definition!(
        "std_msgs/Header header\nfloat32 angle_min\nfloat32 angle_max\nfloat32 angle_increment\n\
         float32 time_increment\nfloat32 scan_time\nfloat32 range_min\nfloat32 range_max\n\
         float32[] ranges\nfloat32[] intensities",
        "std_msgs/Header" => fields!(Header),
        "builtin_interfaces/Time" => fields!(Time),
    );

    fn read(reader: &mut CdrReader<'_>) -> Result<Self, CdrError> {
        Ok(Self {
            header: Header::read(reader)?,
            angle_min: reader.f32("angle_min")?,
            angle_max: reader.f32("angle_max")?,
            angle_increment: reader.f32("angle_increment")?,
            time_increment: reader.f32("time_increment")?,
            scan_time: reader.f32("scan_time")?,
            range_min: reader.f32("range_min")?,
            range_max: reader.f32("range_max")?,
            ranges: floats(reader, "ranges")?,
            intensities: floats(reader, "intensities")?,
        })
    }

    fn write(&self, writer: &mut CdrWriter) {
        self.header.write(writer);
        for value in [
            self.angle_min,
            self.angle_max,
            self.angle_increment,
            self.time_increment,
            self.scan_time,
            self.range_min,
            self.range_max,
        ] {
            writer.f32(value);
        }
        for values in [&self.ranges, &self.intensities] {
            writer.len(values.len());
            for value in values {
                writer.f32(*value);
            }
        }
    }
}

fn floats(reader: &mut CdrReader<'_>, field: &'static str) -> Result<Vec<f32>, CdrError> {
    let n = reader.sequence_len(field, 4)?;
    (0..n).map(|_| reader.f32(field)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Result, ensure};

    fn scan() -> LaserScan {
        LaserScan {
            angle_min: -0.5,
            angle_max: 0.5,
            angle_increment: 0.5,
            range_min: 0.1,
            range_max: 20.0,
            ranges: vec![3.0, f32::INFINITY, 7.5],
            ..LaserScan::default()
        }
    }

    #[test]
    fn a_scan_is_read_back_with_its_endless_beams() -> Result<()> {
        ensure!(LaserScan::from_cdr(&scan().to_cdr())? == scan());
        let mut unseen = scan();
        unseen.ranges[1] = f32::NAN;
        let read = LaserScan::from_cdr(&unseen.to_cdr())?;
        ensure!(read.ranges[1].is_nan() && read.ranges[2] == 7.5);
        Ok(())
    }

    #[test]
    fn the_bytes_are_those_of_the_definition() {
        let bytes = scan().to_cdr();
        // Encapsulation, stamp and an empty string padded to 4 come before the seven numbers.
        assert_eq!(bytes[20..24], (-0.5f32).to_le_bytes());
        assert_eq!(bytes[44..48], 20.0f32.to_le_bytes());
        assert_eq!(bytes[48..52], [3, 0, 0, 0]);
        assert_eq!(bytes[64..], [0, 0, 0, 0], "no intensities");
    }

    #[test]
    fn a_torn_scan_is_an_error() {
        let bytes = scan().to_cdr();
        for length in 4..bytes.len() {
            assert!(LaserScan::from_cdr(&bytes[..length]).is_err(), "{length}");
        }
    }
}
