//! Several cameras in one node: masks for each, none held up by another, and one network, one set of
//! parameters, one lifecycle.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::diagnostics::{value, watch};
use super::drivable::{AREA, GRID_TYPE};
use super::graph::{Graph, Node, Peer, wait_for};
use super::lifecycle::{ACTIVATE, CONFIGURE, DEACTIVATE, change, waiting_node};
use super::parameters::{set, text};
use super::pictures::{base64, compressed_image, rgb_image};

const CAMERAS: [&str; 2] = ["-p", "cameras:=[front, left]"];
const IMAGE_TYPE: &str = "sensor_msgs/msg/Image";
const OK: u64 = 0;
const STALE: u64 = 3;

fn mask(camera: &str) -> String {
    format!("/ecmnet/{camera}/label_mask")
}

fn image(camera: &str) -> String {
    format!("/{camera}/image")
}

/// Returns an image of a camera's, in its frame.
fn picture(camera: &str, width: usize, height: usize) -> Value {
    let mut picture = rgb_image(width, height);
    picture["header"]["frame_id"] = json!(format!("{camera}_optical_frame"));
    picture
}

/// Starts a node with two cameras and a peer that is both and reads their masks.
fn with_two_cameras(graph: &Graph, ros_arguments: &[&str]) -> Result<(Node, Peer)> {
    let node = graph.running_node(&[&CAMERAS, ros_arguments].concat())?;
    let mut peer = graph.peer("vehicle")?;
    watch(&mut peer)?;
    for camera in ["front", "left"] {
        peer.subscribe_images(&mask(camera))?;
        peer.advertise_images(&image(camera), true)?;
    }
    Ok((node, peer))
}

/// Returns the first status of a camera from now on that `fits`.
fn status_of(
    peer: &mut Peer,
    camera: &str,
    what: &str,
    fits: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let name = format!("/ecmnet: camera {camera}: segmentation");
    let mut last = Value::Null;
    wait_for(what, || {
        let array = peer.take("/diagnostics")?;
        let all = array["status"].as_array().context("a list")?;
        ensure!(all.len() == 2, "a status a camera: {array}");
        let own = all.iter().find(|status| status["name"] == name.as_str());
        last = own.with_context(|| format!("{name} in {array}"))?.clone();
        Ok(fits(&last).then(|| last.clone()))
    })
    .with_context(|| format!("the last status of {camera}: {last}"))
}

fn figure(status: &Value, key: &str) -> u64 {
    value(status, key).parse().unwrap_or(0)
}

#[test]
fn cameras_of_different_sizes_and_rates_have_masks_of_their_own() -> Result<()> {
    let graph = Graph::new()?;
    let (_node, mut peer) = with_two_cameras(&graph, &[])?;
    let sizes = [("front", 96, 64), ("left", 61, 45)];
    for (camera, width, height) in sizes {
        peer.mask_of(
            &image(camera),
            &picture(camera, width, height),
            &mask(camera),
        )?;
    }
    // Two of the one, one of the other, and stamps that interleave.
    for step in 0..6 {
        for (camera, width, height) in sizes {
            if camera == "left" && step % 2 == 1 {
                continue;
            }
            let mut frame = picture(camera, width, height);
            let stamp = json!({"sec": 1_000 + step, "nanosec": 7 * width + step});
            frame["header"]["stamp"] = stamp.clone();
            let fits = |mask: &Value| mask["header"]["stamp"] == stamp;
            let told = peer.publish_until(&image(camera), &frame, &mask(camera), fits)?;
            ensure!(told["header"]["frame_id"] == format!("{camera}_optical_frame"));
            ensure!((&told["width"], &told["height"]) == (&json!(width), &json!(height)));
        }
    }
    for (camera, width, height) in sizes {
        let status = status_of(&mut peer, camera, "the masks' count", |status| {
            value(status, "image_size") == format!("{width}x{height}")
        })?;
        ensure!(status["level"] == OK, "{status}");
        ensure!(value(&status, "image").starts_with(&format!("/{camera}/image (")));
    }
    Ok(())
}

#[test]
fn named_cameras_have_topics_of_their_own_and_share_what_is_one() -> Result<()> {
    let graph = Graph::new()?;
    let _node =
        graph.running_node(&[&CAMERAS[..], &["-r", "~/left/overlay:=/hmi/left"]].concat())?;
    let mut peer = graph.peer("viewer")?;
    let own = [
        "label_mask",
        "confidence",
        "drivable_mask",
        "overlay",
        "costmap/label_mask",
        "costmap/confidence",
        "costmap/points",
        "autoware/mask",
    ];
    let shared = [
        "label_info",
        "drivable_area",
        "obstacle_points",
        "drivable_points",
        "drivable_boundary",
        "free_space_scan",
    ];
    let mut expected: Vec<String> = shared.map(|name| format!("/ecmnet/{name}")).to_vec();
    for name in own {
        expected.push(format!("/ecmnet/front/{name}"));
        if name != "overlay" {
            expected.push(format!("/ecmnet/left/{name}"));
        }
    }
    expected.push("/hmi/left".to_owned());
    for topic in &expected {
        wait_for(topic, || {
            let endpoints = peer.ask("endpoints", json!({ "topic": topic }))?;
            let count = endpoints["publishers"].as_array().map_or(0, Vec::len);
            ensure!(count <= 1, "{topic} has {count} publishers");
            Ok((count == 1).then_some(()))
        })?;
    }
    let topics = peer.ask("topics", json!({}))?;
    let topics = topics.as_object().context("topics")?;
    for name in own {
        let unnamed = format!("/ecmnet/{name}");
        ensure!(!topics.contains_key(&unnamed), "{unnamed}");
    }
    Ok(())
}

#[test]
fn a_camera_a_hundred_times_as_fast_takes_no_frame_from_the_other() -> Result<()> {
    const SLOW: u64 = 6;
    let graph = Graph::new()?;
    // Some 10 masks a second: the slow camera's wait is one frame of the fast one, and its second
    // leaves each of the two six times the time that it takes.
    let (_node, mut peer) = with_two_cameras(&graph, &["-p", "network_size:=256x384"])?;
    for camera in ["front", "left"] {
        peer.mask_of(&image(camera), &picture(camera, 64, 48), &mask(camera))?;
    }
    let before = status_of(&mut peer, "left", "a status", |status| {
        figure(status, "received") > 0
            && figure(status, "segmented") + figure(status, "dropped") == figure(status, "received")
    })?;
    let fast =
        json!({"topic": image("front"), "message": picture("front", 64, 48), "rate_hz": 100.0});
    peer.ask("stream", fast)?;
    let slow = json!({
        "topic": image("left"), "message": picture("left", 80, 60), "rate_hz": 1.0, "count": SLOW,
    });
    peer.ask("stream", slow)?;
    let sent = peer.ask("finish", json!({"topic": image("left")}))?;
    ensure!(sent == SLOW, "{sent} sent");
    let left = status_of(
        &mut peer,
        "left",
        "every frame of the slow camera",
        |status| figure(status, "segmented") == figure(&before, "segmented") + SLOW,
    )?;
    ensure!(
        figure(&left, "dropped") == figure(&before, "dropped"),
        "{left}"
    );
    let sent = peer.ask("stop", json!({"topic": image("front")}))?;
    let front = status_of(
        &mut peer,
        "front",
        "a status that counts every frame",
        |status| {
            let places = figure(status, "segmented") + figure(status, "dropped");
            figure(status, "received") >= sent.as_u64().unwrap_or(0)
                && places == figure(status, "received")
        },
    )?;
    ensure!(
        figure(&front, "dropped") > 0,
        "it keeps up with 100 Hz: {front}"
    );
    ensure!(figure(&front, "segmented") > SLOW, "{front}");
    Ok(())
}

#[test]
fn a_camera_that_sends_rubbish_or_stops_is_told_of_and_the_other_goes_on() -> Result<()> {
    let graph = Graph::new()?;
    let node = graph.running_node(&CAMERAS)?;
    let mut peer = graph.peer("vehicle")?;
    watch(&mut peer)?;
    for camera in ["front", "left"] {
        peer.subscribe_images(&mask(camera))?;
    }
    peer.advertise_images(&image("front"), true)?;
    peer.mask_of(&image("front"), &picture("front", 48, 32), &mask("front"))?;
    let stream =
        json!({"topic": image("front"), "message": picture("front", 48, 32), "rate_hz": 5.0});
    peer.ask("stream", stream)?;
    status_of(
        &mut peer,
        "left",
        "a warning of the one that never came",
        |status| {
            let message = status["message"].as_str().unwrap_or_default();
            status["level"] == 1 && message.starts_with("no image yet on /left/image")
        },
    )?;
    peer.advertise_images(&image("left"), true)?;
    let torn = json!({"topic": image("left"), "bytes": base64(&[0, 1, 0, 0, 9])});
    wait_for("an error of the torn images", || {
        peer.ask("publish_serialized", torn.clone())?;
        let status = status_of(&mut peer, "left", "a status", |_| true)?;
        Ok((status["level"] == 2 && figure(&status, "rejected.cdr") >= 3).then_some(()))
    })?;
    node.wait_for_line("camera left: image dropped (cdr)")?;
    let other = |peer: &mut Peer| {
        status_of(peer, "front", "OK of the other", |status| {
            status["level"] == OK && figure(status, "rejected") == 0
        })
    };
    other(&mut peer)?;
    peer.mask_of(&image("left"), &picture("left", 50, 32), &mask("left"))?;
    status_of(
        &mut peer,
        "left",
        "STALE of the one that stopped",
        |status| status["level"] == STALE,
    )?;
    other(&mut peer)?;
    Ok(())
}

#[test]
fn a_camera_that_changes_its_type_does_not_end_the_other() -> Result<()> {
    let graph = Graph::new()?;
    let node = graph.running_node(&CAMERAS)?;
    let mut peer = graph.peer("vehicle")?;
    for camera in ["front", "left"] {
        peer.subscribe_images(&mask(camera))?;
    }
    peer.advertise_images(&image("front"), true)?;
    let mut file = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(52, 36).write_to(&mut file, image::ImageFormat::Png)?;
    let compressed = compressed_image("png", &file.into_inner());
    // DDS allows a process one type a topic, so each type has a camera of its own.
    for (type_name, frame, width) in [
        (IMAGE_TYPE, picture("left", 48, 32), 48),
        ("sensor_msgs/msg/CompressedImage", compressed, 52),
    ] {
        let mut left = graph.peer("left_camera")?;
        left.advertise(&image("left"), type_name, true)?;
        node.wait_for_line(&format!("subscribed to /left/image ({type_name}"))?;
        wait_for("its mask", || {
            left.publish(&image("left"), &frame)?;
            let latest = json!({"topic": mask("left"), "timeout_s": 2.0});
            Ok((peer.ask("take_latest", latest)?["width"] == width).then_some(()))
        })?;
    }
    peer.mask_of(&image("front"), &picture("front", 53, 32), &mask("front"))?;
    Ok(())
}

#[test]
fn masks_are_those_of_a_node_for_each_camera_bit_for_bit() -> Result<()> {
    let graph = Graph::new()?;
    let (_node, mut peer) = with_two_cameras(&graph, &[])?;
    let sizes = [("front", 160, 120), ("left", 131, 77)];
    let mut alone = Vec::new();
    for (camera, ..) in sizes {
        let name = format!("__node:=only_{camera}");
        let rule = format!("image:={}", image(camera));
        alone.push(graph.running_node(&["-r", &name, "-r", &rule])?);
        peer.subscribe_images(&format!("/only_{camera}/label_mask"))?;
        for node in ["only_", "ecmnet/"] {
            peer.subscribe_images(&format!("/{node}{camera}/confidence"))?;
        }
    }
    for (camera, width, height) in sizes {
        let frame = picture(camera, width, height);
        for output in ["label_mask", "confidence"] {
            let of_both = [
                format!("/ecmnet/{camera}/{output}"),
                format!("/only_{camera}/{output}"),
            ];
            let messages = wait_for(output, || {
                peer.publish(&image(camera), &frame)?;
                let mut messages = Vec::new();
                for topic in &of_both {
                    let latest = json!({"topic": topic, "timeout_s": 2.0});
                    messages.push(peer.ask("take_latest", latest)?);
                }
                let alike = messages[0]["header"] == messages[1]["header"];
                Ok((alike && !messages[0].is_null()).then_some(messages))
            })?;
            ensure!(
                messages[0]["data"] == messages[1]["data"],
                "{camera}/{output}"
            );
            ensure!(messages[0]["width"] == width && messages[0]["height"] == height);
        }
    }
    Ok(())
}

#[test]
fn the_lifecycle_is_that_of_all_cameras() -> Result<()> {
    let graph = Graph::new()?;
    let _node = waiting_node(&graph, &CAMERAS)?;
    let mut peer = graph.peer("vehicle")?;
    for camera in ["front", "left"] {
        peer.ask(
            "advertise",
            json!({"topic": image(camera), "type": IMAGE_TYPE}),
        )?;
        peer.subscribe_images(&mask(camera))?;
    }
    ensure!(change(&mut peer, CONFIGURE)?);
    for width in [48, 50] {
        ensure!(change(&mut peer, ACTIVATE)?);
        for camera in ["front", "left"] {
            peer.mask_of(&image(camera), &picture(camera, width, 32), &mask(camera))?;
        }
        ensure!(change(&mut peer, DEACTIVATE)?);
        for camera in ["front", "left"] {
            while !peer.is_silent(&mask(camera), 0.3)? {}
            peer.publish(&image(camera), &picture(camera, width, 32))?;
        }
        for camera in ["front", "left"] {
            ensure!(
                peer.is_silent(&mask(camera), 1.0)?,
                "{camera} while inactive"
            );
        }
    }
    Ok(())
}

#[test]
fn another_network_and_another_time_hold_for_all_cameras() -> Result<()> {
    let graph = Graph::new()?;
    let (node, mut peer) = with_two_cameras(&graph, &["-p", "use_sim_time:=true"])?;
    peer.advertise("/clock", "rosgraph_msgs/msg/Clock", false)?;
    let masks_at = |peer: &mut Peer, sec: i32| -> Result<()> {
        for camera in ["front", "left"] {
            let mut frame = picture(camera, 48, 32);
            let stamp = json!({"sec": sec, "nanosec": 0});
            frame["header"]["stamp"] = stamp.clone();
            wait_for("a mask of that time", || {
                peer.publish("/clock", &json!({ "clock": stamp }))?;
                peer.publish(&image(camera), &frame)?;
                let latest = json!({"topic": mask(camera), "timeout_s": 2.0});
                let told = peer.ask("take_latest", latest)?;
                Ok((told["header"]["stamp"] == stamp).then_some(()))
            })?;
        }
        Ok(())
    };
    masks_at(&mut peer, 1000)?;
    let size = text("network_size", "96x64");
    let answer = set(&mut peer, json!([size]))?;
    ensure!(answer[0]["successful"] == true, "{answer:?}");
    for camera in ["front", "left"] {
        // Pictures of another width, of which the log says what the network sees.
        peer.mask_of(&image(camera), &picture(camera, 49, 32), &mask(camera))?;
        let said =
            format!("camera {camera}: images are 49x32 rgb8 in frame '{camera}_optical_frame'");
        node.wait_for_line(&format!("{said}; the network sees 64x96"))?;
    }
    peer.publish("/clock", &json!({"clock": {"sec": 500, "nanosec": 0}}))?;
    node.wait_for_line("the clock jumped back")?;
    masks_at(&mut peer, 500)?;
    Ok(())
}

#[test]
fn each_camera_is_read_by_the_transport_and_the_qos_that_its_driver_has() -> Result<()> {
    let graph = Graph::new()?;
    let node =
        graph.running_node(&[&CAMERAS[..], &["-p", "image_transport:=compressed"]].concat())?;
    let mut peer = graph.peer("vehicle")?;
    let compressed_type = "sensor_msgs/msg/CompressedImage";
    let mut file = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(50, 40).write_to(&mut file, image::ImageFormat::Png)?;
    let frame = compressed_image("png", &file.into_inner());
    // The one driver calls its topic as image_transport does, the other publishes nothing else.
    for (camera, topic, reliable, said) in [
        ("front", "/front/image/compressed", false, "best effort"),
        ("left", "/left/image", true, "reliable"),
    ] {
        peer.subscribe_images(&mask(camera))?;
        peer.advertise(topic, compressed_type, reliable)?;
        node.wait_for_line(&format!("subscribed to {topic} ({compressed_type}, {said}"))?;
        let told = peer.publish_until(topic, &frame, &mask(camera), |_| true)?;
        ensure!((&told["width"], &told["height"]) == (&json!(50), &json!(40)));
    }
    Ok(())
}

#[test]
fn a_grid_that_cannot_hold_several_cameras_stops_alone_and_says_why() -> Result<()> {
    let graph = Graph::new()?;
    let moving = ["-p", "grid.frame:=base_link"];
    let _node = graph.running_node(&[&CAMERAS[..], &moving].concat())?;
    let mut peer = graph.peer("vehicle")?;
    watch(&mut peer)?;
    peer.subscribe_images(&mask("left"))?;
    peer.subscribe(AREA, GRID_TYPE)?;
    peer.advertise_images(&image("left"), true)?;
    peer.mask_of(&image("left"), &picture("left", 48, 32), &mask("left"))?;
    let status = status_of(&mut peer, "left", "the reason", |status| {
        figure(status, "drivable_area.grid_frame") > 0
    })?;
    let message = status["message"].as_str().unwrap_or_default();
    ensure!(message.contains("no drivable area: grid_frame"), "{status}");
    Ok(())
}
