//! A drive as a rosbag2 bag: image, labels, camera_info, transforms, odometry and the true
//! drivable area of every frame.

use std::path::Path;

use super::camera::{Intrinsics, optical_in_link};
use super::{World, WorldFrame};
use crate::bag::{BagError, BagWriter, Qos, TopicId};
use crate::msg::{
    self, CameraInfo, Header, Image, Message as _, OccupancyGrid, Odometry, Quaternion, Stamp,
    TfMessage, Transform, TransformStamped, Vector3,
};
use crate::pose::Pose;

/// Topic of the frames, `sensor_msgs/msg/Image`, rgb8.
pub const IMAGE_TOPIC: &str = "/camera/image_raw";
/// Topic of the intrinsics, `sensor_msgs/msg/CameraInfo`, plumb_bob.
pub const CAMERA_INFO_TOPIC: &str = "/camera/camera_info";
/// Topic of the true class ids, `sensor_msgs/msg/Image`, mono8.
pub const LABELS_TOPIC: &str = "/ground_truth/labels";
/// Topic of the true drivable area in base_link, `nav_msgs/msg/OccupancyGrid`.
pub const GRID_TOPIC: &str = "/ground_truth/drivable_area";
/// Topic of pose in odom and velocity in base_link, `nav_msgs/msg/Odometry`.
pub const ODOMETRY_TOPIC: &str = "/odom";

const ODOM: &str = "odom";
const BASE: &str = "base_link";
const CAMERA: &str = "camera_link";
const OPTICAL: &str = "camera_optical_frame";

/// Renders frames `0..frames` of the drive into a new bag at `folder`; `progress` is called after
/// each frame with the number done. Errs if the folder exists or cannot be written.
///
/// The bag's bytes depend on the world's settings and the number of frames alone.
pub fn record_drive(
    world: &World,
    frames: u64,
    folder: &Path,
    mut progress: impl FnMut(u64) + Send,
) -> Result<(), BagError> {
    let mut recorder = Recorder::create(world, folder)?;
    let mut next = (frames > 0).then(|| world.frame(0));
    let mut done = 0;
    while let Some(frame) = next.take() {
        // One frame is packed and written while the next is rendered.
        let (written, rendered) = rayon::join(
            || recorder.write(&frame),
            || (frame.index + 1 < frames).then(|| world.frame(frame.index + 1)),
        );
        written?;
        done += 1;
        progress(done);
        next = rendered;
    }
    recorder.bag.finish()
}

struct Recorder {
    bag: BagWriter,
    image: TopicId,
    camera_info: TopicId,
    labels: TopicId,
    grid: TopicId,
    odometry: TopicId,
    tf: TopicId,
}

impl Recorder {
    fn create(world: &World, folder: &Path) -> Result<Self, BagError> {
        let mut bag = BagWriter::create(folder)?;
        let tf_static = bag.add_topic::<TfMessage>("/tf_static", Qos::LATCHED)?;
        let fixed = TfMessage {
            transforms: vec![
                edge(world.config().start_ns, BASE, CAMERA, &world.camera_in_base),
                edge(world.config().start_ns, CAMERA, OPTICAL, &optical_in_link()),
            ],
        };
        bag.write(tf_static, world.config().start_ns, &fixed)?;
        Ok(Self {
            tf: bag.add_topic::<TfMessage>(
                "/tf",
                Qos {
                    depth: 100,
                    ..Qos::DEFAULT
                },
            )?,
            odometry: bag.add_topic::<Odometry>(ODOMETRY_TOPIC, Qos::DEFAULT)?,
            camera_info: bag.add_topic::<CameraInfo>(CAMERA_INFO_TOPIC, Qos::DEFAULT)?,
            grid: bag.add_topic::<OccupancyGrid>(GRID_TOPIC, Qos::DEFAULT)?,
            labels: bag.add_topic::<Image>(LABELS_TOPIC, Qos::DEFAULT)?,
            image: bag.add_topic::<Image>(IMAGE_TOPIC, Qos::DEFAULT)?,
            bag,
        })
    }

    /// Transforms first and the image last, so that whoever plays the bag has a frame's pose and
    /// intrinsics before its pixels.
    fn write(&mut self, frame: &WorldFrame) -> Result<(), BagError> {
        let ns = frame.stamp_ns;
        let transforms = vec![edge(ns, ODOM, BASE, &frame.base_in_odom)];
        self.bag.write(self.tf, ns, &TfMessage { transforms })?;
        self.bag.write(self.odometry, ns, &odometry(frame))?;
        self.bag
            .write(self.camera_info, ns, &camera_info(ns, &frame.camera))?;
        self.bag.write(self.grid, ns, &grid(frame))?;
        let size = (frame.camera.width, frame.camera.height);
        self.bag.write_cdr(
            self.labels,
            ns,
            &image(ns, size, "mono8", &frame.labels).to_cdr(),
        )?;
        self.bag.write_cdr(
            self.image,
            ns,
            &image(ns, size, "rgb8", &frame.rgb).to_cdr(),
        )
    }
}

fn header(stamp_ns: i64, frame_id: &str) -> Header {
    Header {
        stamp: Stamp::from_ns(stamp_ns),
        frame_id: frame_id.to_owned(),
    }
}

fn vector([x, y, z]: [f64; 3]) -> Vector3 {
    Vector3 { x, y, z }
}

fn quaternion(pose: &Pose) -> Quaternion {
    let [x, y, z, w] = pose.quaternion();
    Quaternion { x, y, z, w }
}

fn edge(stamp_ns: i64, parent: &str, child: &str, pose: &Pose) -> TransformStamped {
    TransformStamped {
        header: header(stamp_ns, parent),
        child_frame_id: child.to_owned(),
        transform: Transform {
            translation: vector(pose.translation),
            rotation: quaternion(pose),
        },
    }
}

fn odometry(frame: &WorldFrame) -> Odometry {
    // The made pose is exact; a zero variance would read as "unknown" to some filters.
    let mut covariance = [0.0; 36];
    for i in 0..6 {
        covariance[i * 7] = 1e-9;
    }
    Odometry {
        header: header(frame.stamp_ns, ODOM),
        child_frame_id: BASE.to_owned(),
        pose: msg::Pose {
            position: vector(frame.base_in_odom.translation),
            orientation: quaternion(&frame.base_in_odom),
        },
        pose_covariance: covariance,
        linear: vector(frame.twist.linear),
        angular: vector(frame.twist.angular),
        twist_covariance: covariance,
    }
}

fn camera_info(stamp_ns: i64, camera: &Intrinsics) -> CameraInfo {
    CameraInfo {
        header: header(stamp_ns, OPTICAL),
        height: camera.height,
        width: camera.width,
        distortion_model: "plumb_bob".to_owned(),
        d: camera.distortion.to_vec(),
        k: camera.k(),
        r: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p: camera.p(),
        ..CameraInfo::default()
    }
}

fn grid(frame: &WorldFrame) -> OccupancyGrid {
    let truth = &frame.truth_grid;
    let [x, y] = truth.origin_m;
    OccupancyGrid {
        header: header(frame.stamp_ns, BASE),
        map_load_time: Stamp::from_ns(frame.stamp_ns),
        resolution: truth.resolution_m as f32,
        width: truth.width,
        height: truth.height,
        origin: msg::Pose {
            position: vector([x, y, 0.0]),
            orientation: Quaternion::default(),
        },
        data: truth.cells.clone(),
    }
}

fn image<'a>(stamp_ns: i64, size: (u32, u32), encoding: &'a str, data: &'a [u8]) -> Image<'a> {
    Image {
        header: header(stamp_ns, OPTICAL),
        height: size.1,
        width: size.0,
        encoding,
        is_bigendian: 0,
        step: (data.len() / size.1.max(1) as usize) as u32,
        data,
    }
}
