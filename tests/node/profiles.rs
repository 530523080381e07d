//! The profiles with those who they are for: a peer takes the YAML file that ships, subscribes and
//! computes by the consumer's published rules, and what it makes of a made drive is held against the
//! drive's truth.
//!
//! The masks are the world weights' (road: IoU 0.99), so that the shares asked for are those of the
//! drivable area's own tests with predicted labels: 95 % decided, 92 % right.

mod autoware;
mod collision_monitor;
mod obstacle_layer;
mod semantic_layer;
mod static_layer;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::drive::Drive;
use super::graph::{Graph, Node, Peer, repository, wait_for};
use super::pictures::bytes_from_base64;

/// The seed of a drive that the weights have not seen: things stand to both sides, and one is before
/// the vehicle for a while.
const DRIVE_UP_TO_SOMETHING: u64 = 110;

/// Of another, on a road with nothing near.
const DRIVE_ON_FREE_ROAD: u64 = 106;

/// Its frames, and how many there are a second: some 4 m lie between them.
const FRAMES: usize = 6;
const RATE_HZ: f64 = 2.0;

/// How far a predicted foot may be from the true one, metres: three cells.
const ASTRAY_M: f64 = 0.3;

/// A node in a profile, a vehicle that drives, and the peer that plans.
struct Contract {
    drive: Drive,
    vehicle: Peer,
    planner: Peer,
    _node: Node,
    _graph: Graph,
}

impl Contract {
    /// Starts a profile's node and the peer that its YAML file is for.
    fn start(profile: &str, program: &str) -> Result<Self> {
        Self::start_on(DRIVE_UP_TO_SOMETHING, profile, program)
    }

    /// Does so for a drive of this seed.
    fn start_on(seed: u64, profile: &str, program: &str) -> Result<Self> {
        let graph = Graph::new()?;
        let drive = Drive::record_at(seed, FRAMES as u64, RATE_HZ, graph.folder())?;
        let node = profile_node(&graph, profile)?;
        let mut planner = graph.peer_of(program, "planner")?;
        let file = match profile {
            "autoware" => "config/profiles/autoware.param.yaml".to_owned(),
            _ => format!("config/nav2/{profile}.yaml"),
        };
        let file = repository().join(file);
        planner.ask("configure", json!({ "file": file }))?;
        let mut vehicle = graph.peer("vehicle")?;
        drive.advertise(&mut vehicle)?;
        Ok(Self {
            drive,
            vehicle,
            planner,
            _node: node,
            _graph: graph,
        })
    }

    /// Plays a frame until the planner has taken in what the node made of it; returns what it tells
    /// then.
    fn show(&mut self, frame: usize) -> Result<Value> {
        let frame = &self.drive.frames[frame];
        let arguments = json!({"at_ns": frame.stamp.as_ns(), "timeout_s": 3.0});
        wait_for("what the planner makes of a frame", || {
            frame.play(&mut self.vehicle)?;
            let told = self.planner.ask("update", arguments.clone())?;
            Ok((!told.is_null()).then_some(told))
        })
    }
}

/// Starts a node as `segment.launch.py profile:=` does, with the world weights.
fn profile_node(graph: &Graph, profile: &str) -> Result<Node> {
    let config = repository().join("config");
    let weights = repository().join("models/ecmnet_world.safetensors");
    let mut command = graph.command(env!("CARGO_BIN_EXE_ecmnet_node").as_ref());
    command
        .args(["--ros-args", "-r", "image:=/camera/image_raw"])
        .arg("--params-file")
        .arg(config.join("ecmnet.param.yaml"))
        .arg("--params-file")
        .arg(config.join(format!("profiles/{profile}.param.yaml")))
        .args(["-p", &format!("weights:={}", weights.display())])
        .args(["-p", "device:=cpu"]);
    let text = fs::read_to_string(config.join("profiles/remappings.yaml"))?;
    let names: BTreeMap<String, BTreeMap<String, String>> = serde_saphyr::from_str(&text)?;
    for (topic, name) in names.get(profile).context("the profile's names")? {
        let rule = format!("{topic}:={name}").replace("{name}", "");
        let rule = rule.replace("{camera}", "0");
        command.args(["-r", &rule]);
    }
    let node = Node::start(&mut command)?;
    node.wait_for_line("outputs: ")?;
    Ok(node)
}

/// A costmap as a peer tells it.
struct Costs {
    origin: [f64; 2],
    cell_m: f64,
    columns: usize,
    cells: Vec<u8>,
}

const FREE: u8 = 0;
const LETHAL: u8 = 254;
const UNKNOWN: u8 = 255;

impl Costs {
    fn of(told: &Value) -> Result<Self> {
        let number = |value: &Value| value.as_f64().context("a number");
        let cells = bytes_from_base64(told["cells"].as_str().context("cells")?);
        let columns = number(&told["columns"])? as usize;
        ensure!(columns > 0 && cells.len() == columns * columns, "{columns}");
        Ok(Self {
            origin: [number(&told["origin"][0])?, number(&told["origin"][1])?],
            cell_m: number(&told["cell_m"])?,
            columns,
            cells,
        })
    }

    /// The cost at a point of odom; `None` out of the window.
    fn at(&self, point: [f64; 2]) -> Option<u8> {
        let [column, row] = [0, 1].map(|i| ((point[i] - self.origin[i]) / self.cell_m).floor());
        let inside = column >= 0.0 && row >= 0.0 && column < self.columns as f64;
        let at = row as usize * self.columns + column as usize;
        inside.then(|| self.cells.get(at).copied()).flatten()
    }

    /// The points that are in the window.
    fn inside(&self, points: impl Iterator<Item = [f64; 2]>) -> impl Iterator<Item = [f64; 2]> {
        points.filter(|point| self.at(*point).is_some())
    }

    /// Whether a cell within [`ASTRAY_M`] of a point has a cost.
    fn has_near(&self, [x, y]: [f64; 2], cost: u8) -> bool {
        let steps = || (-3..=3).map(|step| f64::from(step) * ASTRAY_M / 3.0);
        let mut around = steps().flat_map(|dx| steps().map(move |dy| [x + dx, y + dy]));
        around.any(|point| self.at(point) == Some(cost))
    }

    /// Middles of the cells of a cost.
    fn places(&self, cost: u8) -> impl Iterator<Item = [f64; 2]> {
        let cells = self.cells.iter().enumerate();
        cells.filter(move |(_, c)| **c == cost).map(|(at, _)| {
            let [column, row] = [at % self.columns, at / self.columns];
            [(column, 0), (row, 1)].map(|(n, i)| self.origin[i] + (n as f64 + 0.5) * self.cell_m)
        })
    }
}

/// How many points were asked about, and for how many something is so.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    all: usize,
    so: usize,
}

impl Tally {
    fn add<T>(&mut self, points: impl IntoIterator<Item = T>, is_so: impl Fn(T) -> bool) {
        for point in points {
            self.all += 1;
            self.so += usize::from(is_so(point));
        }
    }

    fn share(self) -> f64 {
        self.so as f64 / self.all.max(1) as f64
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} of {}", self.share(), self.all)
    }
}
