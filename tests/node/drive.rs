//! A drive of the made world as `ecmnet world` records it, frame by frame, and its truth.

use std::path::Path;

use anyhow::{Context, Result};
use ecmnet_ros::bag::Bag;
use ecmnet_ros::msg::{CameraInfo, Image, Message, OccupancyGrid, Stamp, TfMessage};
use ecmnet_ros::pose::Pose;
use ecmnet_ros::world::{
    CAMERA_INFO_TOPIC, CELL_FREE as ROAD, CELL_OBSTACLE as OBSTACLE, CELL_OTHER_GROUND as OFF_ROAD,
    GRID_TOPIC, GridExtent, IMAGE_TOPIC, World, WorldConfig, record_drive,
};
use serde_json::json;

use super::graph::Peer;
use super::pictures::base64;

/// A camera of the vehicle that drives.
#[derive(Clone, Copy)]
pub(crate) struct Mount {
    /// Begins its topics and frames; `camera` as a recorded drive has it.
    pub(crate) name: &'static str,
    /// Frames a second.
    pub(crate) rate_hz: f64,
    /// How far it looks to the left, degrees.
    pub(crate) yaw_deg: f64,
    /// How far it nods, once a second, degrees; no transform tells.
    pub(crate) nod_deg: f64,
    /// How much later its stamps are than those of the recorded camera, nanoseconds.
    pub(crate) late_ns: i64,
    /// Width and height, pixels.
    pub(crate) size: [u32; 2],
}

impl Mount {
    /// The one camera of most drives.
    pub(crate) const FRONT: Self = Self {
        name: "camera",
        rate_hz: 15.0,
        yaw_deg: 0.0,
        nod_deg: 0.0,
        late_ns: 0,
        size: [1280, 720],
    };

    /// Returns one of its topics, or a frame, by that of the recorded camera.
    fn own(&self, name: &str) -> String {
        name.replace("camera", self.name)
    }

    /// Topics that a peer plays, with their types; transforms first, as a bag has them.
    fn played(&self) -> [(String, &'static str); 4] {
        [
            ("/tf_static".to_owned(), "tf2_msgs/msg/TFMessage"),
            ("/tf".to_owned(), "tf2_msgs/msg/TFMessage"),
            (self.info_topic(), "sensor_msgs/msg/CameraInfo"),
            (self.own(IMAGE_TOPIC), "sensor_msgs/msg/Image"),
        ]
    }

    fn info_topic(&self) -> String {
        // Its own name holds the camera's, too.
        format!("/{}/camera_info", self.name)
    }
}

/// A recorded drive.
pub(crate) struct Drive {
    mount: Mount,
    tf_static: Vec<u8>,
    /// Its frames, in order.
    pub(crate) frames: Vec<DriveFrame>,
}

/// One frame of a drive.
pub(crate) struct DriveFrame {
    /// Its stamp.
    pub(crate) stamp: Stamp,
    /// base_link in odom.
    pub(crate) base_in_odom: Pose,
    /// The true drivable area in base_link.
    pub(crate) truth: OccupancyGrid,
    mount: Mount,
    tf: Vec<u8>,
    camera_info: Vec<u8>,
    image: Vec<u8>,
}

impl Drive {
    /// Records a drive: camera 1.5 m high, 1280x720, 70 degrees wide.
    pub(crate) fn record(seed: u64, frames: u64, folder: &Path) -> Result<Self> {
        Self::record_by(Mount::FRONT, seed, frames, folder)
    }

    /// Records a drive whose camera nods once a second, which no transform tells.
    pub(crate) fn record_nodding(
        seed: u64,
        frames: u64,
        nod_deg: f64,
        folder: &Path,
    ) -> Result<Self> {
        let mount = Mount {
            nod_deg,
            ..Mount::FRONT
        };
        Self::record_by(mount, seed, frames, folder)
    }

    /// Records a drive as [`Drive::record`] does, with so many frames a second.
    pub(crate) fn record_at(seed: u64, frames: u64, rate_hz: f64, folder: &Path) -> Result<Self> {
        let mount = Mount {
            rate_hz,
            ..Mount::FRONT
        };
        Self::record_by(mount, seed, frames, folder)
    }

    /// Records a drive as [`Drive::record`] does, by another camera.
    pub(crate) fn record_by(mount: Mount, seed: u64, frames: u64, folder: &Path) -> Result<Self> {
        let [width, height] = mount.size;
        let world = World::new(&WorldConfig {
            seed,
            rate_hz: mount.rate_hz,
            width,
            height,
            yaw_deg: mount.yaw_deg,
            nod_deg: mount.nod_deg,
            nod_hz: 1.0,
            start_ns: WorldConfig::default().start_ns + mount.late_ns,
            hfov_deg: 70.0,
            pixel_aspect: Some(1.0),
            camera_height_m: 1.5,
            grid: GridExtent {
                resolution_m: 0.1,
                ahead_m: 22.0,
                aside_m: 16.0,
            },
            ..WorldConfig::default()
        })?;
        let folder = folder.join(format!("drive_{}", mount.name));
        record_drive(&world, frames, &folder, |_| {})?;
        Self::read(mount, &folder)
    }

    fn read(mount: Mount, folder: &Path) -> Result<Self> {
        let bag = Bag::open(folder)?;
        let topics = [
            "/tf_static",
            "/tf",
            CAMERA_INFO_TOPIC,
            GRID_TOPIC,
            IMAGE_TOPIC,
        ];
        let mut held: [Vec<u8>; 5] = Default::default();
        let mut frames = Vec::new();
        for message in bag.messages(&topics)? {
            held[message.topic] = message.data;
            // A frame's image is its last message.
            if message.topic == 4 {
                let [_, tf, camera_info, grid, image] = &held;
                frames.push(DriveFrame::new(mount, tf, camera_info, grid, image)?);
            }
        }
        let mut fixed = TfMessage::from_cdr(&held[0])?;
        for edge in &mut fixed.transforms {
            edge.header.frame_id = mount.own(&edge.header.frame_id);
            edge.child_frame_id = mount.own(&edge.child_frame_id);
        }
        Ok(Self {
            mount,
            tf_static: fixed.to_cdr(),
            frames,
        })
    }

    /// Advertises the drive's topics and latches what is static.
    pub(crate) fn advertise(&self, peer: &mut Peer) -> Result<()> {
        for (topic, type_name) in self.mount.played() {
            let latched = topic == "/tf_static";
            peer.ask(
                "advertise",
                json!({"topic": topic, "type": type_name, "latched": latched}),
            )?;
        }
        send(peer, "/tf_static", &self.tf_static)
    }
}

impl DriveFrame {
    fn new(mount: Mount, tf: &[u8], camera_info: &[u8], grid: &[u8], image: &[u8]) -> Result<Self> {
        let edges = TfMessage::from_cdr(tf)?.transforms;
        let edge = edges.first().context("an edge")?;
        let (t, r) = (edge.transform.translation, edge.transform.rotation);
        let pose = Pose::from_quaternion([t.x, t.y, t.z], [r.x, r.y, r.z, r.w]);
        let mut camera_info = CameraInfo::from_cdr(camera_info)?;
        let mut image = Image::from_cdr(image)?;
        for header in [&mut camera_info.header, &mut image.header] {
            header.frame_id = mount.own(&header.frame_id);
        }
        Ok(Self {
            stamp: image.header.stamp,
            base_in_odom: pose.context("a pose")?,
            truth: OccupancyGrid::from_cdr(grid)?,
            mount,
            tf: tf.to_vec(),
            camera_info: camera_info.to_cdr(),
            image: image.to_cdr(),
        })
    }

    /// Publishes the frame as the bag has it: pose, calibration, image.
    pub(crate) fn play(&self, peer: &mut Peer) -> Result<()> {
        send(peer, "/tf", &self.tf)?;
        send(peer, &self.mount.info_topic(), &self.camera_info)?;
        send(peer, &self.mount.own(IMAGE_TOPIC), &self.image)
    }

    /// Returns what the truth says of a point of odom's ground; `None` out of its reach or where the
    /// camera does not see it.
    pub(crate) fn truth_at(&self, [x, y]: [f64; 2]) -> Option<i8> {
        let [x, y, _] = self.base_in_odom.inverse().apply([x, y, 0.0]);
        let grid = &self.truth;
        let cell = f64::from(grid.resolution);
        let column = (x - grid.origin.position.x) / cell;
        let row = (y - grid.origin.position.y) / cell;
        let inside = (0.0..f64::from(grid.width)).contains(&column)
            && (0.0..f64::from(grid.height)).contains(&row);
        let at = row as usize * grid.width as usize + column as usize;
        let value = inside.then(|| grid.data.get(at).copied()).flatten()?;
        (value >= 0).then_some(value)
    }

    /// Whether all that the truth tells of is free within the 0.3 m by which a predicted mask may be
    /// off.
    pub(crate) fn is_amid_free(&self, [x, y]: [f64; 2]) -> bool {
        let steps = || (-3..=3).map(|step| f64::from(step) * 0.1);
        let mut around = steps().flat_map(|dx| steps().map(move |dy| [x + dx, y + dy]));
        around.all(|point| self.truth_at(point) == Some(0))
    }

    /// Returns the middles, on odom's ground, of the visible cells of free road within 20 m of the
    /// vehicle.
    pub(crate) fn visible_road(&self) -> impl Iterator<Item = [f64; 2]> {
        self.visible_that_is(ROAD)
    }

    /// Returns the same of pavements, verges and lawns.
    pub(crate) fn visible_off_road(&self) -> impl Iterator<Item = [f64; 2]> {
        self.visible_that_is(OFF_ROAD)
    }

    /// Returns the same of things that stand.
    pub(crate) fn visible_obstacles(&self) -> impl Iterator<Item = [f64; 2]> {
        self.visible_that_is(OBSTACLE)
    }

    fn visible_that_is(&self, truth: i8) -> impl Iterator<Item = [f64; 2]> {
        let cells = self.visible().filter(move |(_, value)| *value == truth);
        cells.map(|(point, _)| point)
    }

    /// Returns where on odom's ground things that stand begin: visible obstacle cells within 20 m of
    /// the vehicle that are beside visible ground.
    pub(crate) fn feet(&self) -> impl Iterator<Item = [f64; 2]> {
        let step = 1.01 * f64::from(self.truth.resolution);
        let beside = [[step, 0.0], [-step, 0.0], [0.0, step], [0.0, -step]];
        let is_ground =
            move |point| matches!(self.truth_at(point), Some(value) if value < OBSTACLE);
        (self.visible_obstacles())
            .filter(move |[x, y]| beside.iter().any(|[dx, dy]| is_ground([x + dx, y + dy])))
    }

    /// Returns the cells that the truth marks visible within 20 m of the vehicle: their middles on
    /// odom's ground, and what they are.
    pub(crate) fn visible(&self) -> impl Iterator<Item = ([f64; 2], i8)> {
        let grid = &self.truth;
        let cell = f64::from(grid.resolution);
        let cells = grid
            .data
            .iter()
            .enumerate()
            .filter(|(_, value)| **value >= 0);
        cells.filter_map(move |(at, value)| {
            let (row, column) = (at / grid.width as usize, at % grid.width as usize);
            let x = grid.origin.position.x + (column as f64 + 0.5) * cell;
            let y = grid.origin.position.y + (row as f64 + 0.5) * cell;
            // Along the body's z axis onto the ground, as the truth is seen.
            let r = &self.base_in_odom.rotation;
            let z = -(self.base_in_odom.translation[2] + r[2][0] * x + r[2][1] * y) / r[2][2];
            let [ox, oy, _] = self.base_in_odom.apply([x, y, z]);
            (x.hypot(y) <= 20.0).then_some(([ox, oy], *value))
        })
    }
}

fn send(peer: &mut Peer, topic: &str, message: &[u8]) -> Result<()> {
    let bytes = base64(message);
    peer.ask(
        "publish_serialized",
        json!({"topic": topic, "bytes": bytes}),
    )?;
    Ok(())
}
