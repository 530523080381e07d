//! A drive of the made world as `ecmnet world` records it, frame by frame, and its truth.

use std::path::Path;

use anyhow::{Context, Result};
use ecmnet_ros::bag::Bag;
use ecmnet_ros::msg::{Image, Message, OccupancyGrid, Stamp, TfMessage};
use ecmnet_ros::pose::Pose;
use ecmnet_ros::world::{
    CAMERA_INFO_TOPIC, CELL_FREE as ROAD, CELL_OBSTACLE as OBSTACLE, CELL_OTHER_GROUND as OFF_ROAD,
    GRID_TOPIC, GridExtent, IMAGE_TOPIC, World, WorldConfig, record_drive,
};
use serde_json::json;

use super::graph::Peer;
use super::pictures::base64;

/// Topics that a peer plays, with their types; transforms first, as a bag has them.
const PLAYED: [(&str, &str); 4] = [
    ("/tf_static", "tf2_msgs/msg/TFMessage"),
    ("/tf", "tf2_msgs/msg/TFMessage"),
    (CAMERA_INFO_TOPIC, "sensor_msgs/msg/CameraInfo"),
    (IMAGE_TOPIC, "sensor_msgs/msg/Image"),
];

/// A recorded drive.
pub(crate) struct Drive {
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
    tf: Vec<u8>,
    camera_info: Vec<u8>,
    image: Vec<u8>,
}

impl Drive {
    /// Records a drive: camera 1.5 m high, 1280x720, 70 degrees wide.
    pub(crate) fn record(seed: u64, frames: u64, folder: &Path) -> Result<Self> {
        Self::record_of(Self::config(seed), frames, folder)
    }

    /// Records a drive whose camera nods once a second, which no transform tells.
    pub(crate) fn record_nodding(
        seed: u64,
        frames: u64,
        nod_deg: f64,
        folder: &Path,
    ) -> Result<Self> {
        let config = WorldConfig {
            nod_deg,
            nod_hz: 1.0,
            ..Self::config(seed)
        };
        Self::record_of(config, frames, folder)
    }

    /// Records a drive with so many frames a second.
    pub(crate) fn record_at(seed: u64, frames: u64, rate_hz: f64, folder: &Path) -> Result<Self> {
        let config = WorldConfig {
            rate_hz,
            ..Self::config(seed)
        };
        Self::record_of(config, frames, folder)
    }

    fn config(seed: u64) -> WorldConfig {
        WorldConfig {
            seed,
            width: 1280,
            height: 720,
            hfov_deg: 70.0,
            pixel_aspect: Some(1.0),
            camera_height_m: 1.5,
            grid: GridExtent {
                resolution_m: 0.1,
                ahead_m: 22.0,
                aside_m: 16.0,
            },
            ..WorldConfig::default()
        }
    }

    fn record_of(config: WorldConfig, frames: u64, folder: &Path) -> Result<Self> {
        let world = World::new(&config)?;
        let folder = folder.join("drive");
        record_drive(&world, frames, &folder, |_| {})?;
        Self::read(&folder)
    }

    fn read(folder: &Path) -> Result<Self> {
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
                frames.push(DriveFrame::new(tf, camera_info, grid, image)?);
            }
        }
        let [tf_static, ..] = held;
        Ok(Self { tf_static, frames })
    }

    /// Advertises the drive's topics and latches what is static.
    pub(crate) fn advertise(&self, peer: &mut Peer) -> Result<()> {
        for (topic, type_name) in PLAYED {
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
    fn new(tf: &[u8], camera_info: &[u8], grid: &[u8], image: &[u8]) -> Result<Self> {
        let edges = TfMessage::from_cdr(tf)?.transforms;
        let edge = edges.first().context("an edge")?;
        let (t, r) = (edge.transform.translation, edge.transform.rotation);
        let pose = Pose::from_quaternion([t.x, t.y, t.z], [r.x, r.y, r.z, r.w]);
        Ok(Self {
            stamp: Image::from_cdr(image)?.header.stamp,
            base_in_odom: pose.context("a pose")?,
            truth: OccupancyGrid::from_cdr(grid)?,
            tf: tf.to_vec(),
            camera_info: camera_info.to_vec(),
            image: image.to_vec(),
        })
    }

    /// Publishes the frame as the bag has it: pose, calibration, image.
    pub(crate) fn play(&self, peer: &mut Peer) -> Result<()> {
        send(peer, "/tf", &self.tf)?;
        send(peer, CAMERA_INFO_TOPIC, &self.camera_info)?;
        send(peer, IMAGE_TOPIC, &self.image)
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
