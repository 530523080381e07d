//! ROS messages as plain structs that read and write CDR; no ROS installation is needed.
//!
//! Field order and names are the interface definitions' own (common_interfaces, tf2_msgs and
//! vision_msgs of ROS 2 Jazzy). Image data is borrowed from the message's bytes.

pub mod camera_info;
pub mod cloud;
pub mod geometry;
pub mod grid;
pub mod header;
pub mod image;
pub mod label_info;
pub mod polygon;
pub mod scan;

pub use camera_info::CameraInfo;
pub use cloud::{PointCloud2, PointField};
pub use geometry::{Odometry, Pose, Quaternion, TfMessage, Transform, TransformStamped, Vector3};
pub use grid::OccupancyGrid;
pub use header::{Header, Stamp};
pub use image::{CompressedImage, Image};
pub use label_info::{LabelInfo, VisionClass};
pub use polygon::PolygonStamped;
pub use scan::LaserScan;

use crate::cdr::{CdrError, CdrReader, CdrWriter};

/// A message type: its ROS name, its definition and its CDR form.
pub trait Message<'a>: Sized {
    /// The type's name, such as `sensor_msgs/msg/Image`.
    const TYPE: &'static str;

    /// The definition as `ros2msg` text: the type's own fields, then each type that it uses
    /// behind a line of `=` and a line `MSG: package/Type`, as MCAP schemas want it.
    const DEFINITION: &'static str;

    /// Reads the fields in order; errs where the message is torn.
    fn read(reader: &mut CdrReader<'a>) -> Result<Self, CdrError>;

    /// Appends the fields in order.
    fn write(&self, writer: &mut CdrWriter);

    /// Returns the message in serialised bytes, encapsulation header included; errs if torn.
    fn from_cdr(message: &'a [u8]) -> Result<Self, CdrError> {
        Self::read(&mut CdrReader::new(message)?)
    }

    /// Returns the serialised bytes, encapsulation header included.
    fn to_cdr(&self) -> Vec<u8> {
        let mut writer = CdrWriter::default();
        self.write(&mut writer);
        writer.into_message()
    }
}

/// Joins a definition and those that it uses into one `ros2msg` text.
macro_rules! definition {
    ($own:expr $(, $name:literal => $used:expr)* $(,)?) => {
        concat!(
            $own,
            $(
                "\n================================================================================\n",
                "MSG: ", $name, "\n", $used,
            )*
        )
    };
}
pub(crate) use definition;

/// Fields of the types that more than one definition uses, one line a field.
macro_rules! fields {
    (Time) => {
        "int32 sec\nuint32 nanosec"
    };
    (Header) => {
        "builtin_interfaces/Time stamp\nstring frame_id"
    };
    (Vector3) => {
        "float64 x\nfloat64 y\nfloat64 z"
    };
    (Point) => {
        "float64 x\nfloat64 y\nfloat64 z"
    };
    (Quaternion) => {
        "float64 x 0\nfloat64 y 0\nfloat64 z 0\nfloat64 w 1"
    };
    (Pose) => {
        "Point position\nQuaternion orientation"
    };
}
pub(crate) use fields;
