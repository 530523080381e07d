//! One drivable area from several cameras: a made drive is filmed to both sides, and the one grid, the
//! points and the scan are held against what each camera's truth says.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::drivable::{
    AREA, CLEARS, CLOUD_TYPE, FREE, GRID_TYPE, Published, SCAN, UNKNOWN, is_of, played, points,
    world_node,
};
use super::drive::{Drive, DriveFrame, Mount};
use super::graph::{Graph, Node, Peer, wait_for};
use super::parameters::set_one;

const LEFT: Mount = Mount {
    name: "left",
    yaw_deg: 33.0,
    ..Mount::FRONT
};
/// Its frames come 20 ms after the left one's, as those of cameras that nothing triggers together do.
const RIGHT: Mount = Mount {
    name: "right",
    yaw_deg: -33.0,
    late_ns: 20_000_000,
    ..Mount::FRONT
};
const FRAMES: u64 = 7;
/// Frames before the grid is held against the truth: it is fused from several.
const FIRST_SCORED: usize = 4;

/// How a grid fares over the cells that cameras' truths mark visible.
#[derive(Default)]
struct Score {
    visible: u64,
    decided: u64,
    right: u64,
}

impl Score {
    fn add(&mut self, grid: &Published, frame: &DriveFrame) {
        for (point, truth) in frame.visible() {
            let Some(cell) = grid.at(point) else { continue };
            self.visible += 1;
            self.decided += u64::from(cell != UNKNOWN);
            self.right += u64::from(cell != UNKNOWN && (cell == FREE) == (truth == 0));
        }
    }

    /// Returns the shares that are decided, and decided as the truth is.
    fn shares(&self) -> (f64, f64) {
        let share = |part: u64| part as f64 / self.visible.max(1) as f64;
        (share(self.decided), share(self.right))
    }
}

#[test]
#[allow(
    clippy::print_stdout,
    reason = "the figures are worth more than the pass"
)]
fn one_grid_holds_what_cameras_to_both_sides_see() -> Result<()> {
    let graph = Graph::new()?;
    let (_node, [left, right], [mut vehicle, mut other]) = both_sides(&graph, FRAMES, &[])?;
    for (topic, type_name) in [
        (AREA, GRID_TYPE),
        (CLEARS, CLOUD_TYPE),
        (SCAN, "sensor_msgs/msg/LaserScan"),
    ] {
        vehicle.subscribe(topic, type_name)?;
    }
    other.subscribe(AREA, GRID_TYPE)?;
    let mut scores = [Score::default(), Score::default()];
    for (index, (left, right)) in left.frames.iter().zip(&right.frames).enumerate() {
        played(left, &mut vehicle, AREA)?;
        let grid = Published::of(&played(right, &mut other, AREA)?)?;
        if index >= FIRST_SCORED {
            for (score, frame) in scores.iter_mut().zip([left, right]) {
                score.add(&grid, frame);
            }
        }
    }
    for (side, score) in ["left", "right"].into_iter().zip(&scores) {
        let (decided, right) = score.shares();
        println!(
            "{side}: {} cells: {decided:.3} decided, {right:.3} right",
            score.visible
        );
        ensure!(score.visible > 20_000, "{side}: {} cells", score.visible);
        // The issue's bounds for predicted labels of one camera that looks ahead.
        ensure!(
            decided >= 0.95 && right >= 0.92,
            "{side}: {decided} {right}"
        );
    }
    let (last_left, last_right) = (
        left.frames.last().context("a frame")?,
        right.frames.last().context("a frame")?,
    );
    points_and_scan_are_of_both(&mut vehicle, last_right)?;
    // A frame that comes after a newer one of the other camera adds to the grid of that moment.
    last_left.play(&mut vehicle)?;
    let late = wait_for("a grid after the late frame", || {
        let grid = other.ask("take_latest", json!({"topic": AREA, "timeout_s": 5.0}))?;
        if grid.is_null() {
            last_left.play(&mut vehicle)?;
        }
        Ok((!grid.is_null()).then_some(grid))
    })?;
    ensure!(is_of(&late, last_right), "as of the newest frame");
    let mut score = Score::default();
    score.add(&Published::of(&late)?, last_right);
    let (decided, _) = score.shares();
    ensure!(decided >= 0.95, "{decided} of what the other sees is kept");
    Ok(())
}

#[test]
fn the_grids_rate_is_that_of_all_cameras_together_and_each_ones_masks_come_at_their_own()
-> Result<()> {
    let graph = Graph::new()?;
    let (_node, [left, right], [mut vehicle, mut other]) = both_sides(&graph, 4, &[])?;
    vehicle.subscribe(AREA, GRID_TYPE)?;
    vehicle.subscribe_images("/ecmnet/left/label_mask")?;
    other.subscribe_images("/ecmnet/right/label_mask")?;
    played(&left.frames[0], &mut vehicle, AREA)?;
    played(&right.frames[0], &mut other, "/ecmnet/right/label_mask")?;
    wait_for("the end of what was played", || {
        Ok(vehicle.is_silent(AREA, 1.0)?.then_some(()))
    })?;
    // One grid in a hundred seconds: what comes after the first is not due, whoever's frame it is.
    let rate = |hz: f64| json!({"type": 3, "double_value": hz});
    set_one(&mut vehicle, "drivable_area.max_rate_hz", rate(0.01))?;
    let count = |peer: &mut Peer| -> Result<u64> {
        let count = peer.ask("count", json!({ "topic": AREA }))?;
        count.as_u64().context("a count")
    };
    let before = count(&mut vehicle)?;
    // A frame's ground is looked at before the next frame of any camera: the grids would be there, but of
    // the last one.
    for (left, right) in left.frames.iter().zip(&right.frames).skip(1) {
        played(left, &mut vehicle, "/ecmnet/left/label_mask")?;
        played(right, &mut other, "/ecmnet/right/label_mask")?;
    }
    let grids = count(&mut vehicle)? - before;
    ensure!(grids <= 1, "{grids} grids at one in a hundred seconds");

    set_one(&mut vehicle, "drivable_area.max_rate_hz", rate(0.0))?;
    other.subscribe(AREA, GRID_TYPE)?;
    played(&right.frames[3], &mut other, AREA)?;
    Ok(())
}

/// Starts a node with both cameras, the drives that they film, and a peer that plays each.
fn both_sides(
    graph: &Graph,
    frames: u64,
    ros_arguments: &[&str],
) -> Result<(Node, [Drive; 2], [Peer; 2])> {
    let [left, right] =
        [LEFT, RIGHT].map(|mount| Drive::record_by(mount, 106, frames, graph.folder()));
    let (left, right) = (left?, right?);
    let cameras = [
        "-p",
        "cameras:=[left, right]",
        "-r",
        "left/image:=/left/image_raw",
        "-r",
        "right/image:=/right/image_raw",
    ];
    let node = world_node(graph, &[&cameras, ros_arguments].concat())?;
    let mut vehicle = graph.peer("vehicle")?;
    let mut other = graph.peer("other_side")?;
    left.advertise(&mut vehicle)?;
    right.advertise(&mut other)?;
    Ok((node, [left, right], [vehicle, other]))
}

/// The last points and the last scan tell of either side, though one frame shows one alone.
fn points_and_scan_are_of_both(peer: &mut Peer, last: &DriveFrame) -> Result<()> {
    let mut of_last = |topic: &str| -> Result<Value> {
        wait_for(topic, || {
            let message = peer.ask("take_latest", json!({"topic": topic, "timeout_s": 5.0}))?;
            Ok(is_of(&message, last).then_some(message))
        })
    };
    let to_base = last.base_in_odom.inverse();
    let bearings = points(&of_last(CLEARS)?).into_iter().map(|point| {
        let [x, y, _] = to_base.apply(point);
        y.atan2(x).to_degrees()
    });
    let scan = of_last(SCAN)?;
    let first = scan["angle_min"].as_f64().context("an angle")?;
    let step = scan["angle_increment"].as_f64().context("an angle")?;
    let ranges = scan["ranges"].as_array().context("ranges")?;
    let beams = ranges.iter().enumerate().filter_map(|(beam, range)| {
        range.as_f64()?;
        Some((first + beam as f64 * step).to_degrees())
    });
    // Neither camera sees beyond 2 degrees to its other side, seen from the vehicle's middle 5.
    for (what, bearings) in [
        ("points", bearings.collect::<Vec<f64>>()),
        ("beams", beams.collect()),
    ] {
        let beyond = |side: f64| bearings.iter().filter(|angle| *angle * side > 10.0).count();
        let [left, right] = [beyond(1.0), beyond(-1.0)];
        ensure!(left > 5 && right > 5, "{what}: {left} left, {right} right");
    }
    Ok(())
}
