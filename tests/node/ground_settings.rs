//! What settings of the drivable area do to the grid of a played drive.

use std::ops::Range;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::diagnostics::{status_that, value, watch};
use super::drivable::{AREA, FREE, GRID_TYPE, Published, UNKNOWN, is_of, played, world_node};
use super::drive::{Drive, DriveFrame};
use super::graph::{Graph, Peer};
use super::parameters::{double, set, text};

/// How many cells are free, and how many are decided otherwise.
fn free_and_blocked(grid: &Published) -> [usize; 2] {
    let free = grid.cells.iter().filter(|cell| **cell == FREE).count();
    let unknown = grid.cells.iter().filter(|cell| **cell == UNKNOWN).count();
    [free, grid.cells.len() - free - unknown]
}

#[test]
fn unsure_pixels_and_regions_out_of_touch_are_left_out_as_soon_as_it_is_set() -> Result<()> {
    let graph = Graph::new()?;
    let drive = Drive::record(106, 6, graph.folder())?;
    let _node = world_node(&graph, &[])?;
    let mut peer = graph.peer("vehicle")?;
    peer.subscribe(AREA, GRID_TYPE)?;
    drive.advertise(&mut peer)?;
    let after = |peer: &mut Peer, frames: Range<usize>, settings: &[(&str, f64)]| {
        for (name, value) in settings {
            let results = set(peer, json!([double(name, *value)]))?;
            ensure!(results[0]["successful"] == true, "{name}: {results:?}");
        }
        let mut grid = None;
        for frame in &drive.frames[frames] {
            grid = Some(Published::of(&played(frame, peer, AREA)?)?);
        }
        anyhow::Ok(free_and_blocked(&grid.context("a grid")?))
    };
    let [free, blocked] = after(&mut peer, 0..2, &[])?;
    ensure!(free > 5000 && blocked > 1000, "{free} free, {blocked} not");
    // The camera sees the road from some metres ahead on, so that none of it touches the vehicle.
    let [untouched, walls] = after(&mut peer, 2..4, &[("region.touching_m", 0.5)])?;
    ensure!(
        untouched == 0 && walls > 1000,
        "{untouched} free, {walls} not"
    );
    let [touched, _] = after(&mut peer, 4..6, &[("region.touching_m", 12.0)])?;
    ensure!(touched > 5000, "{touched} free");
    // Another size begins a grid anew, so that the first frames can be taken once more. On this
    // drive the network is sure of most of the road.
    let surely = [
        ("region.touching_m", -1.0),
        ("min_confidence", 1.0),
        ("grid.size_y_m", 43.8),
    ];
    let [surely_free, surely_blocked] = after(&mut peer, 0..2, &surely)?;
    let (all, sure) = (free + blocked, surely_free + surely_blocked);
    ensure!(
        surely_free > 5000 && sure * 10 < all * 9,
        "{sure} of {all} cells"
    );
    Ok(())
}

#[test]
#[allow(
    clippy::print_stdout,
    reason = "the figures are worth more than the pass"
)]
fn a_nod_that_no_transform_tells_is_taken_from_the_image() -> Result<()> {
    /// Frames from which a nod of one a second is known.
    const KNOWN_FROM: usize = 30;
    let graph = Graph::new()?;
    let drive = Drive::record_nodding(106, 40, 0.5, graph.folder())?;
    let _trusting = world_node(&graph, &["-r", "__node:=trusting"])?;
    let _looking = world_node(
        &graph,
        &["-r", "__node:=looking", "-p", "pitch_correction:=image"],
    )?;
    let mut peer = graph.peer("vehicle")?;
    let areas = ["/trusting/drivable_area", "/looking/drivable_area"];
    for area in areas {
        peer.subscribe(area, GRID_TYPE)?;
    }
    drive.advertise(&mut peer)?;
    let mut wrong = [0u64; 2];
    let mut visible = 0u64;
    for (index, frame) in drive.frames.iter().enumerate() {
        let looking = played(frame, &mut peer, areas[1])?;
        let latest = json!({"topic": areas[0], "timeout_s": 5.0});
        let mut trusting = peer.ask("take_latest", latest)?;
        if !is_of(&trusting, frame) {
            trusting = played(frame, &mut peer, areas[0])?;
        }
        if index < KNOWN_FROM {
            continue;
        }
        visible += frame.visible().count() as u64;
        for (wrong, message) in wrong.iter_mut().zip([trusting, looking]) {
            *wrong += wrong_cells(frame, &Published::of(&message)?);
        }
    }
    let [trusting, looking] = wrong.map(|wrong| wrong as f64 / visible as f64);
    println!("wrong cells: {trusting:.3} as TF has it, {looking:.3} corrected");
    ensure!(visible > 100_000, "{visible} cells");
    // The drive is the same each time, but on a busy machine a frame may be played twice.
    ensure!(looking < 0.04, "{looking} wrong");
    ensure!(looking < 0.75 * trusting, "{looking} of {trusting}");
    Ok(())
}

#[test]
#[allow(
    clippy::print_stdout,
    reason = "the figures are worth more than the pass"
)]
fn a_mounting_a_degree_off_is_told_and_corrected_as_soon_as_it_is_set() -> Result<()> {
    const CORRECTED_FROM: usize = 10;
    let graph = Graph::new()?;
    let drive = Drive::record(106, 50, graph.folder())?;
    // The recorded camera looks straight ahead.
    let mounting =
        ["height_m:=1.5", "x_m:=1.3", "pitch_deg:=-1.0"].map(|at| format!("camera.{at}"));
    let arguments = mounting.iter().flat_map(|setting| ["-p", setting]);
    let _node = world_node(&graph, &arguments.collect::<Vec<_>>())?;
    let mut peer = graph.peer("vehicle")?;
    watch(&mut peer)?;
    peer.subscribe(AREA, GRID_TYPE)?;
    drive.advertise(&mut peer)?;
    let set_to = |peer: &mut Peer, name: &str| -> Result<bool> {
        let results = set(peer, json!([text("pitch_correction", name)]))?;
        Ok(results[0]["successful"] == true)
    };
    let told = |peer: &mut Peer, fits: &dyn Fn(&str) -> bool| {
        let key = "pitch_correction_deg";
        let status = status_that(peer, key, |status| fits(&value(status, key)))?;
        anyhow::Ok(value(&status, key))
    };
    let (mut trusting, mut corrected) = ([0u64; 2], [0u64; 2]);
    for (index, frame) in drive.frames.iter().enumerate() {
        if index == CORRECTED_FROM {
            told(&mut peer, &|deg| deg == "none")?;
            ensure!(!set_to(&mut peer, "horizon")?, "no such correction");
            ensure!(set_to(&mut peer, "vanishing_point")?);
        }
        let grid = Published::of(&played(frame, &mut peer, AREA)?)?;
        let sums = if index < CORRECTED_FROM {
            &mut trusting
        } else if index >= drive.frames.len() - CORRECTED_FROM {
            &mut corrected
        } else {
            continue;
        };
        sums[0] += wrong_cells(frame, &grid);
        sums[1] += frame.visible().count() as u64;
    }
    // One frame's pitch, by predicted labels: at the last it is 0.2 degrees off.
    let close = |deg: &str| deg.parse().is_ok_and(|deg: f64| (deg - 1.0).abs() < 0.35);
    let found_deg = told(&mut peer, &close)?;
    let [trusting, corrected] = [trusting, corrected].map(|[wrong, all]| wrong as f64 / all as f64);
    println!(
        "{found_deg} of 1 degree found; wrong cells: {trusting:.3} as set, {corrected:.3} corrected"
    );
    ensure!(corrected < 0.05, "{corrected} wrong");
    ensure!(corrected < 0.6 * trusting, "{corrected} of {trusting}");
    Ok(())
}

fn wrong_cells(frame: &DriveFrame, grid: &Published) -> u64 {
    let is_wrong = |(point, truth): &([f64; 2], i8)| {
        let cell = grid.at(*point).unwrap_or(UNKNOWN);
        cell == UNKNOWN || (cell == FREE) != (*truth == 0)
    };
    frame.visible().filter(is_wrong).count() as u64
}
