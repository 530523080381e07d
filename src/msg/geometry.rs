//! Poses and transforms: the `geometry_msgs` that others hold, `tf2_msgs/TFMessage` and
//! `nav_msgs/Odometry`.

use super::{Header, Message, definition, fields};
use crate::cdr::{CdrError, CdrReader, CdrWriter};

/// A vector or point, metres, or metres (radians) a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Vector3 {
    /// Forward in a vehicle's frame, right in an optical one.
    pub x: f64,
    /// Left in a vehicle's frame, down in an optical one.
    pub y: f64,
    /// Up in a vehicle's frame, forward in an optical one.
    pub z: f64,
}

impl Vector3 {
    fn read(reader: &mut CdrReader<'_>) -> Result<Self, CdrError> {
        let [x, y, z] = reader.f64s("vector")?;
        Ok(Self { x, y, z })
    }

    fn write(self, writer: &mut CdrWriter) {
        writer.f64s(&[self.x, self.y, self.z]);
    }
}

/// A rotation as a unit quaternion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quaternion {
    /// First imaginary part.
    pub x: f64,
    /// Second imaginary part.
    pub y: f64,
    /// Third imaginary part.
    pub z: f64,
    /// Real part.
    pub w: f64,
}

impl Default for Quaternion {
    /// Returns the identity, never the all-zero one that planners reject.
    fn default() -> Self {
        Self {
            x: 0.0,
            y: 0.0,
            z: 0.0,
            w: 1.0,
        }
    }
}

impl Quaternion {
    fn read(reader: &mut CdrReader<'_>) -> Result<Self, CdrError> {
        let [x, y, z, w] = reader.f64s("quaternion")?;
        Ok(Self { x, y, z, w })
    }

    fn write(self, writer: &mut CdrWriter) {
        writer.f64s(&[self.x, self.y, self.z, self.w]);
    }
}

/// A position and an orientation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pose {
    /// Position, metres.
    pub position: Vector3,
    /// Orientation.
    pub orientation: Quaternion,
}

impl Pose {
    pub(crate) fn read(reader: &mut CdrReader<'_>) -> Result<Self, CdrError> {
        Ok(Self {
            position: Vector3::read(reader)?,
            orientation: Quaternion::read(reader)?,
        })
    }

    pub(crate) fn write(&self, writer: &mut CdrWriter) {
        self.position.write(writer);
        self.orientation.write(writer);
    }
}

/// A translation and a rotation: the child frame's pose in its parent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Transform {
    /// Translation, metres.
    pub translation: Vector3,
    /// Rotation.
    pub rotation: Quaternion,
}

/// One edge of the transform tree.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TransformStamped {
    /// Stamp, and the parent frame.
    pub header: Header,
    /// The child frame.
    pub child_frame_id: String,
    /// The child's pose in the parent.
    pub transform: Transform,
}

/// Edges of the transform tree, as on `/tf` and `/tf_static`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TfMessage {
    /// The edges.
    pub transforms: Vec<TransformStamped>,
}

impl Message<'_> for TfMessage {
    const TYPE: &'static str = "tf2_msgs/msg/TFMessage";
    const DEFINITION: &'static str = definition!(
        "geometry_msgs/TransformStamped[] transforms",
        "geometry_msgs/TransformStamped" =>
            "std_msgs/Header header\nstring child_frame_id\nTransform transform",
        "std_msgs/Header" => fields!(Header),
        "builtin_interfaces/Time" => fields!(Time),
        "geometry_msgs/Transform" => "Vector3 translation\nQuaternion rotation",
        "geometry_msgs/Vector3" => fields!(Vector3),
        "geometry_msgs/Quaternion" => fields!(Quaternion),
    );

    fn read(reader: &mut CdrReader<'_>) -> Result<Self, CdrError> {
        // The least edge: a stamp, two empty strings and seven floats.
        let n = reader.sequence_len("transforms", 8 + 2 * 4 + 7 * 8)?;
        let transforms = (0..n)
            .map(|_| {
                Ok(TransformStamped {
                    header: Header::read(reader)?,
                    child_frame_id: reader.text("child_frame_id")?.to_owned(),
                    transform: Transform {
                        translation: Vector3::read(reader)?,
                        rotation: Quaternion::read(reader)?,
                    },
                })
            })
            .collect::<Result<_, CdrError>>()?;
        Ok(Self { transforms })
    }

    fn write(&self, writer: &mut CdrWriter) {
        writer.len(self.transforms.len());
        for edge in &self.transforms {
            edge.header.write(writer);
            writer.text(&edge.child_frame_id);
            edge.transform.translation.write(writer);
            edge.transform.rotation.write(writer);
        }
    }
}

/// A vehicle's estimated pose and velocity.
#[derive(Clone, Debug, PartialEq)]
pub struct Odometry {
    /// Stamp, and the frame of the pose.
    pub header: Header,
    /// The frame of the velocity.
    pub child_frame_id: String,
    /// The child frame's pose in the header's.
    pub pose: Pose,
    /// Covariance of the pose, row-major 6x6.
    pub pose_covariance: [f64; 36],
    /// Linear velocity in the child frame, metres a second.
    pub linear: Vector3,
    /// Angular velocity in the child frame, radians a second.
    pub angular: Vector3,
    /// Covariance of the velocity, row-major 6x6.
    pub twist_covariance: [f64; 36],
}

impl Message<'_> for Odometry {
    const TYPE: &'static str = "nav_msgs/msg/Odometry";
    const DEFINITION: &'static str = definition!(
        "std_msgs/Header header\nstring child_frame_id\n\
         geometry_msgs/PoseWithCovariance pose\ngeometry_msgs/TwistWithCovariance twist",
        "std_msgs/Header" => fields!(Header),
        "builtin_interfaces/Time" => fields!(Time),
        "geometry_msgs/PoseWithCovariance" => "Pose pose\nfloat64[36] covariance",
        "geometry_msgs/Pose" => fields!(Pose),
        "geometry_msgs/Point" => fields!(Point),
        "geometry_msgs/Quaternion" => fields!(Quaternion),
        "geometry_msgs/TwistWithCovariance" => "Twist twist\nfloat64[36] covariance",
        "geometry_msgs/Twist" => "Vector3 linear\nVector3 angular",
        "geometry_msgs/Vector3" => fields!(Vector3),
    );

    fn read(reader: &mut CdrReader<'_>) -> Result<Self, CdrError> {
        Ok(Self {
            header: Header::read(reader)?,
            child_frame_id: reader.text("child_frame_id")?.to_owned(),
            pose: Pose::read(reader)?,
            pose_covariance: reader.f64s("pose.covariance")?,
            linear: Vector3::read(reader)?,
            angular: Vector3::read(reader)?,
            twist_covariance: reader.f64s("twist.covariance")?,
        })
    }

    fn write(&self, writer: &mut CdrWriter) {
        self.header.write(writer);
        writer.text(&self.child_frame_id);
        self.pose.write(writer);
        writer.f64s(&self.pose_covariance);
        self.linear.write(writer);
        self.angular.write(writer);
        writer.f64s(&self.twist_covariance);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transforms_and_odometry_are_read_back() -> anyhow::Result<()> {
        let edge = TransformStamped {
            header: Header {
                stamp: Default::default(),
                frame_id: "odom".into(),
            },
            child_frame_id: "base_link".into(),
            transform: Transform {
                translation: Vector3 {
                    x: 1.0,
                    y: -2.0,
                    z: 0.5,
                },
                rotation: Quaternion::default(),
            },
        };
        let message = TfMessage {
            transforms: vec![edge.clone(), edge],
        };
        assert_eq!(TfMessage::from_cdr(&message.to_cdr())?, message);
        let odometry = Odometry {
            header: Header::default(),
            child_frame_id: "base_link".into(),
            pose: Pose::default(),
            pose_covariance: std::array::from_fn(|i| i as f64),
            linear: Vector3 {
                x: 8.0,
                ..Default::default()
            },
            angular: Vector3 {
                z: 0.1,
                ..Default::default()
            },
            twist_covariance: [0.0; 36],
        };
        assert_eq!(Odometry::from_cdr(&odometry.to_cdr())?, odometry);
        Ok(())
    }

    #[test]
    fn a_claim_of_more_transforms_than_bytes_is_an_error() {
        let message = [0, 1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        assert!(TfMessage::from_cdr(&message).is_err());
    }
}
