//! What the drivable area needs beside images: without it masks go on, and the node says what is
//! missing.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::diagnostics::{status_that, value, watch};
use super::drivable::{AREA, CLOUD_TYPE, COSTMAP_POINTS, GRID_TYPE, Published, UNKNOWN};
use super::graph::{Graph, Node, Peer, wait_for};
use super::parameters::{set, text};
use super::pictures::rgb_image;

const MASK: &str = "/ecmnet/label_mask";
const INFO_TYPE: &str = "sensor_msgs/msg/CameraInfo";
const TF_TYPE: &str = "tf2_msgs/msg/TFMessage";

/// A camera of 48 x 32 pixels that sees a wide field.
fn calibration(width: u32, focal: f64, frame_id: &str) -> Value {
    json!({
        "header": {"stamp": "now", "frame_id": frame_id},
        "width": width, "height": 32, "distortion_model": "plumb_bob",
        "d": [0.0, 0.0, 0.0, 0.0, 0.0],
        "k": [focal, 0.0, 23.5, 0.0, focal, 15.5, 0.0, 0.0, 1.0],
    })
}

fn transform(parent: &str, child: &str, stamp: &Value, z: f64) -> Value {
    json!({"transforms": [{
        "header": {"stamp": stamp, "frame_id": parent},
        "child_frame_id": child,
        "transform": {"translation": {"x": 0.0, "y": 0.0, "z": z}, "rotation": {"w": 1.0}},
    }]})
}

/// base_link to a camera 1.5 m over it that looks along x.
fn mounting() -> Value {
    let mut mounting = transform("base_link", "camera_optical_frame", &json!({"sec": 0}), 1.5);
    mounting["transforms"][0]["transform"]["rotation"] =
        json!({"x": -0.5, "y": 0.5, "z": -0.5, "w": 0.5});
    mounting
}

/// A node whose camera's place parameters tell, with one more parameter.
fn mounted_node(graph: &Graph, more: &str) -> Result<Node> {
    let place = ["-p", "grid.frame:=base_link", "-p", "camera.height_m:=1.5"];
    graph.running_node(&[&place[..], &["-p", more]].concat())
}

/// Publishes an image, after its calibration where that is given, and returns the node's next status.
fn status_after_image(peer: &mut Peer, info: Option<&Value>) -> Result<Value> {
    if let Some(info) = info {
        peer.publish("/camera_info", info)?;
    }
    peer.publish("/image", &rgb_image(48, 32))?;
    let taken = peer.ask(
        "take_latest",
        json!({"topic": "/diagnostics", "timeout_s": 1.5}),
    )?;
    Ok(taken["status"][0].clone())
}

/// Publishes images until diagnostics count a reason for which there is no drivable area.
fn stopped_for(peer: &mut Peer, info: Option<&Value>, reason: &str) -> Result<()> {
    let figure = format!("drivable_area.{reason}");
    wait_for(&figure, || {
        let status = status_after_image(peer, info)?;
        Ok((!value(&status, &figure).is_empty()).then_some(()))
    })
}

#[test]
fn what_is_missing_for_the_ground_is_counted_and_masks_go_on() -> Result<()> {
    let graph = Graph::new()?;
    let node = graph.running_node(&[])?;
    let mut peer = graph.peer("camera")?;
    watch(&mut peer)?;
    peer.subscribe_images(MASK)?;
    peer.subscribe(AREA, GRID_TYPE)?;
    peer.advertise_images("/image", true)?;
    peer.mask_of("/image", &rgb_image(48, 32), MASK)?;
    stopped_for(&mut peer, None, "no_camera_info")?;
    peer.advertise("/camera_info", INFO_TYPE, false)?;
    for (info, reason) in [
        (
            calibration(64, 30.0, "camera_optical_frame"),
            "camera_info_size",
        ),
        (calibration(48, 0.0, "camera_optical_frame"), "uncalibrated"),
        (calibration(48, 30.0, "another_frame"), "camera_info_frame"),
        (
            calibration(48, 30.0, "camera_optical_frame"),
            "tf_unknown_frame",
        ),
    ] {
        stopped_for(&mut peer, Some(&info), reason)?;
        peer.mask_of("/image", &rgb_image(48, 32), MASK)?;
    }
    for _ in 0..10 {
        peer.mask_of("/image", &rgb_image(48, 32), MASK)?;
    }
    ensure!(peer.is_silent(AREA, 0.5)?, "a grid without transforms");
    let warned = node.written();
    let warnings = (warned.lines())
        .filter(|line| line.contains("no transform from base_link to odom"))
        .count();
    ensure!(warnings == 1, "{warnings} warnings:\n{warned}");
    let status = status_that(&mut peer, "a warning", |status| status["level"] == 1)?;
    let message = status["message"].as_str().unwrap_or_default();
    ensure!(
        message.contains("no drivable area: tf_unknown_frame"),
        "{message}"
    );
    // Once TF answers, the grid comes.
    let latched = json!({"topic": "/tf_static", "type": TF_TYPE, "latched": true});
    peer.ask("advertise", latched)?;
    peer.publish("/tf_static", &mounting())?;
    let fixed = transform("odom", "base_link", &json!({"sec": 0}), 0.0);
    peer.publish("/tf_static", &fixed)?;
    let grid = peer.publish_until("/image", &rgb_image(48, 32), AREA, |_| true)?;
    ensure!(grid["header"]["frame_id"] == "odom");
    Ok(())
}

#[test]
fn a_camera_whose_place_the_parameters_tell_needs_no_transforms() -> Result<()> {
    let graph = Graph::new()?;
    let _node = mounted_node(&graph, "camera.pitch_deg:=10.0")?;
    let mut peer = graph.peer("camera")?;
    peer.subscribe(AREA, GRID_TYPE)?;
    peer.advertise_images("/image", true)?;
    peer.advertise("/camera_info", INFO_TYPE, false)?;
    let info = calibration(48, 30.0, "camera_optical_frame");
    let grid = wait_for("a grid", || {
        peer.publish("/camera_info", &info)?;
        peer.publish("/image", &rgb_image(48, 32))?;
        let grid = peer.ask("take", json!({"topic": AREA, "timeout_s": 2.0}))?;
        Ok((!grid.is_null()).then_some(grid))
    })?;
    ensure!(grid["header"]["frame_id"] == "base_link");
    let grid = Published::of(&grid)?;
    ensure!(grid.columns == 200 && grid.cells.len() == 200 * 200);
    Ok(())
}

#[test]
fn the_vehicles_own_parts_are_not_ground_and_a_picture_that_does_not_fit_is_told_of() -> Result<()>
{
    let graph = Graph::new()?;
    let own = graph.folder().join("all_own.png");
    image::GrayImage::from_pixel(48, 32, image::Luma([255])).save(&own)?;
    let small = graph.folder().join("small.png");
    image::GrayImage::new(40, 32).save(&small)?;
    let _node = mounted_node(&graph, &format!("ego_mask:={}", small.display()))?;
    let mut peer = graph.peer("camera")?;
    watch(&mut peer)?;
    peer.subscribe(AREA, GRID_TYPE)?;
    peer.advertise_images("/image", true)?;
    peer.advertise("/camera_info", INFO_TYPE, false)?;
    let info = calibration(48, 30.0, "camera_optical_frame");
    stopped_for(&mut peer, Some(&info), "ego_mask")?;
    let own = text("ego_mask", &own.display().to_string());
    let results = set(&mut peer, json!([own]))?;
    ensure!(results[0]["successful"] == true, "{results:?}");
    let grid = peer.publish_until("/image", &rgb_image(48, 32), AREA, |_| true)?;
    let grid = Published::of(&grid)?;
    ensure!(grid.cells.iter().all(|cell| *cell == UNKNOWN));
    Ok(())
}

#[test]
fn nothing_of_the_ground_is_received_or_made_for_nobody() -> Result<()> {
    let graph = Graph::new()?;
    let _node = graph.running_node(&[])?;
    let mut peer = graph.peer("camera")?;
    watch(&mut peer)?;
    peer.subscribe_images(MASK)?;
    peer.advertise_images("/image", true)?;
    for _ in 0..5 {
        peer.mask_of("/image", &rgb_image(48, 32), MASK)?;
    }
    let readers = |peer: &mut Peer, topic: &str| -> Result<usize> {
        let endpoints = peer.ask("endpoints", json!({ "topic": topic }))?;
        Ok(endpoints["subscriptions"].as_array().map_or(0, Vec::len))
    };
    for topic in ["/tf", "/tf_static", "/camera_info"] {
        ensure!(readers(&mut peer, topic)? == 0, "{topic}");
    }
    let status = status_that(&mut peer, "a status", |status| {
        value(status, "segmented").parse::<u64>().unwrap_or(0) >= 5
    })?;
    ensure!(
        value(&status, "drivable_area") == "0" && status["level"] == 0,
        "{status}"
    );
    peer.subscribe(COSTMAP_POINTS, CLOUD_TYPE)?;
    for topic in ["/tf", "/tf_static", "/camera_info"] {
        wait_for(
            topic,
            || Ok((readers(&mut peer, topic)? == 1).then_some(())),
        )?;
    }
    Ok(())
}

#[test]
fn a_kept_grid_is_there_before_anybody_reads_it() -> Result<()> {
    let graph = Graph::new()?;
    let _node = mounted_node(&graph, "drivable.enable:=true")?;
    let mut peer = graph.peer("camera")?;
    watch(&mut peer)?;
    peer.advertise_images("/image", true)?;
    peer.advertise("/camera_info", INFO_TYPE, false)?;
    let info = calibration(48, 30.0, "camera_optical_frame");
    wait_for("a grid that nobody reads", || {
        let status = status_after_image(&mut peer, Some(&info))?;
        let made = value(&status, "drivable_area");
        Ok((made.parse::<u64>().unwrap_or(0) > 0).then_some(()))
    })?;
    let mut late = graph.peer("late")?;
    let latched = json!({"topic": AREA, "type": GRID_TYPE, "latched": true});
    late.ask("subscribe", latched)?;
    late.take(AREA)?;
    Ok(())
}

#[test]
fn poses_from_before_a_jump_of_the_clock_are_forgotten() -> Result<()> {
    let graph = Graph::new()?;
    let node = graph.running_node(&["-p", "use_sim_time:=true"])?;
    let mut peer = graph.peer("bag")?;
    watch(&mut peer)?;
    peer.subscribe(AREA, GRID_TYPE)?;
    peer.advertise("/clock", "rosgraph_msgs/msg/Clock", false)?;
    peer.advertise_images("/image", true)?;
    for (topic, type_name) in [("/tf", TF_TYPE), ("/camera_info", INFO_TYPE)] {
        peer.advertise(topic, type_name, topic == "/tf")?;
    }
    let latched = json!({"topic": "/tf_static", "type": TF_TYPE, "latched": true});
    peer.ask("advertise", latched)?;
    peer.publish("/tf_static", &mounting())?;
    let info = calibration(48, 30.0, "camera_optical_frame");
    let play = |peer: &mut Peer, sec: i32, with_pose: bool| -> Result<()> {
        let stamp = json!({"sec": sec, "nanosec": 0});
        peer.publish("/clock", &json!({ "clock": stamp }))?;
        std::thread::sleep(std::time::Duration::from_millis(200));
        if with_pose {
            peer.publish("/tf", &transform("odom", "base_link", &stamp, 0.0))?;
        }
        peer.publish("/camera_info", &info)?;
        let mut frame = rgb_image(48, 32);
        frame["header"]["stamp"] = stamp;
        peer.publish("/image", &frame)
    };
    let grid_of = |peer: &mut Peer, sec: i32| {
        wait_for("a grid", || {
            play(peer, sec, true)?;
            let grid = peer.ask("take_latest", json!({"topic": AREA, "timeout_s": 2.0}))?;
            Ok((grid["header"]["stamp"]["sec"] == sec).then_some(()))
        })
    };
    grid_of(&mut peer, 1000)?;
    play(&mut peer, 500, false)?;
    node.wait_for_line("the clock jumped back")?;
    let status = status_that(&mut peer, "a frame without a pose", |status| {
        let missing = ["tf_unknown_frame", "tf_unconnected"];
        (missing.iter()).any(|reason| !value(status, &format!("drivable_area.{reason}")).is_empty())
    });
    status.context("the poses of the time before hold no more")?;
    grid_of(&mut peer, 500)
}
