//! `builtin_interfaces/Time` and `std_msgs/Header`.

use crate::cdr::{CdrError, CdrReader, CdrWriter};

/// A point in time as ROS counts it, kept bit for bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Whole seconds since the clock's epoch.
    pub sec: i32,
    /// Nanoseconds within the second.
    pub nanosec: u32,
}

impl Stamp {
    /// Returns the stamp as nanoseconds since the epoch.
    pub fn as_ns(self) -> i64 {
        i64::from(self.sec) * 1_000_000_000 + i64::from(self.nanosec)
    }

    /// Returns the stamp of `ns` nanoseconds since the epoch, held within the seconds' range.
    pub fn from_ns(ns: i64) -> Self {
        let sec = ns
            .div_euclid(1_000_000_000)
            .clamp(i64::from(i32::MIN), i64::from(i32::MAX));
        Self {
            sec: sec as i32,
            nanosec: ns.rem_euclid(1_000_000_000) as u32,
        }
    }

    pub(crate) fn read(reader: &mut CdrReader<'_>) -> Result<Self, CdrError> {
        Ok(Self {
            sec: reader.i32("stamp.sec")?,
            nanosec: reader.u32("stamp.nanosec")?,
        })
    }

    pub(crate) fn write(self, writer: &mut CdrWriter) {
        writer.i32(self.sec);
        writer.u32(self.nanosec);
    }
}

/// When and in which coordinate frame a message's data was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Time of acquisition.
    pub stamp: Stamp,
    /// Coordinate frame; for an image, the camera's optical frame.
    pub frame_id: String,
}

impl Header {
    pub(crate) fn read(reader: &mut CdrReader<'_>) -> Result<Self, CdrError> {
        Ok(Self {
            stamp: Stamp::read(reader)?,
            frame_id: reader.text("frame_id")?.to_owned(),
        })
    }

    pub(crate) fn write(&self, writer: &mut CdrWriter) {
        self.stamp.write(writer);
        writer.text(&self.frame_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_before_the_epoch_keep_their_nanoseconds() {
        for ns in [0, 1, -1, 1_160_000_000_033_333_333, -2_000_000_001] {
            assert_eq!(Stamp::from_ns(ns).as_ns(), ns);
        }
        assert_eq!(
            Stamp::from_ns(-1),
            Stamp {
                sec: -1,
                nanosec: 999_999_999
            }
        );
    }
}
