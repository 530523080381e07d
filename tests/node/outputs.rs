//! What the node publishes, when, and that no reader can hold it up.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::graph::{Graph, Peer, signal, wait_for};
use super::pictures::{bytes_from_base64, gradient, rgb_image};
use super::weights::CLASSES;

const MASK: &str = "/ecmnet/label_mask";

#[test]
fn all_outputs_of_an_image_agree() -> Result<()> {
    let graph = Graph::new()?;
    let drivable = "drivable_classes:=['class 0', 'class 3']";
    let _node = graph.running_node(&["-p", drivable, "-p", "overlay_alpha:=0.0"])?;
    let mut camera = graph.peer("camera")?;
    let topics = [
        MASK,
        "/ecmnet/confidence",
        "/ecmnet/drivable_mask",
        "/ecmnet/overlay",
    ];
    for topic in topics {
        camera.subscribe_images(topic)?;
    }
    camera.advertise_images("/image", true)?;
    // The subscriptions are matched one by one: go on until an image has given all four.
    let picture = rgb_image(60, 44);
    let [mask, confidence, drivable, overlay] = wait_for("four outputs of one image", || {
        camera.publish("/image", &picture)?;
        let mut messages = Vec::new();
        for topic in topics {
            messages.push(camera.ask("take_latest", json!({"topic": topic, "timeout_s": 2.0}))?);
        }
        let alike =
            |message: &Value| !message.is_null() && message["header"] == messages[0]["header"];
        let complete = messages.iter().all(alike);
        Ok(complete.then(|| messages.try_into().ok()).flatten())
    })?;
    for (message, encoding, step) in [
        (&mask, "mono8", 60),
        (&confidence, "mono8", 60),
        (&drivable, "mono8", 60),
        (&overlay, "rgb8", 180),
    ] {
        assert_eq!(
            (&message["encoding"], &message["step"]),
            (&json!(encoding), &json!(step))
        );
        assert_eq!(
            (&message["width"], &message["height"]),
            (&json!(60), &json!(44))
        );
        assert_eq!(bytes(message).len(), 44 * step);
    }
    let may_drive = |id: &u8| if [0, 3].contains(id) { 255 } else { 0 };
    let expected: Vec<u8> = bytes(&mask).iter().map(may_drive).collect();
    assert_eq!(bytes(&drivable), expected);
    // The largest of K shares is at least 1/K.
    let least = 255 / CLASSES as u8;
    assert!(bytes(&confidence).iter().all(|value| *value >= least));
    assert_eq!(
        bytes(&overlay),
        gradient(60, 44),
        "alpha 0 shows the image alone"
    );
    Ok(())
}

#[test]
fn label_info_is_latched_for_late_subscribers() -> Result<()> {
    let graph = Graph::new()?;
    let _node = graph.running_node(&[])?;
    let mut late = graph.peer("late")?;
    let topic = "/ecmnet/label_info";
    let type_name = "vision_msgs/msg/LabelInfo";
    late.ask(
        "subscribe",
        json!({"topic": topic, "type": type_name, "latched": true}),
    )?;
    let info = late.take(topic)?;
    let classes = info["class_map"].as_array().map_or(0, Vec::len);
    assert_eq!(classes, CLASSES);
    assert_eq!(
        info["class_map"][3],
        json!({"class_id": 3, "class_name": "class 3"})
    );
    assert!(late.is_silent(topic, 2.0)?, "it is sent once");
    Ok(())
}

#[test]
fn nothing_is_computed_for_nobody() -> Result<()> {
    let graph = Graph::new()?;
    let _node = graph.running_node(&[])?;
    let mut camera = graph.peer("camera")?;
    camera.subscribe("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray")?;
    camera.advertise_images("/image", true)?;
    for _ in 0..5 {
        camera.publish("/image", &rgb_image(48, 32))?;
    }
    let status = wait_for("a status that counts the frames", || {
        let status = camera.take("/diagnostics")?["status"][0].take();
        let counted = value(&status, "unwatched") + value(&status, "dropped");
        Ok((counted == 5.0).then_some(status))
    })?;
    assert_eq!(
        (&status["level"], value(&status, "segmented")),
        (&json!(0), 0.0)
    );
    assert!(
        status["message"]
            .as_str()
            .is_some_and(|text| text.starts_with("idle"))
    );
    camera.subscribe_images(MASK)?;
    camera.mask_of("/image", &rgb_image(48, 32), MASK)?;
    Ok(())
}

#[test]
fn a_stalled_reliable_reader_does_not_hold_up_the_others() -> Result<()> {
    let graph = Graph::new()?;
    let _node = graph.running_node(&[])?;
    let mut camera = graph.peer("camera")?;
    let mut stalled = graph.peer("stalled")?;
    for peer in [&mut camera, &mut stalled] {
        peer.subscribe_images(MASK)?;
        peer.subscribe_images("/ecmnet/overlay")?;
    }
    camera.advertise_images("/image", true)?;
    let picture = rgb_image(640, 480);
    camera.mask_of("/image", &picture, MASK)?;
    stalled.take(MASK)?;
    let flowing = masks_of_stream(&mut camera, &picture)?;
    signal(stalled.pid(), "STOP")?;
    let beside_stalled = masks_of_stream(&mut camera, &picture);
    signal(stalled.pid(), "CONT")?;
    let beside_stalled = beside_stalled?;
    // 60 images at 15 Hz, 0.9 MB of overlay each: were the node held up for DDS's 100 ms of
    // blocking time a message, a third would come. Half leaves room for a loaded machine.
    ensure!(
        2 * beside_stalled >= flowing,
        "{beside_stalled} masks beside {flowing}"
    );
    stalled.take(MASK)?;
    Ok(())
}

fn masks_of_stream(camera: &mut Peer, picture: &Value) -> Result<u64> {
    let count = |camera: &mut Peer| -> Result<u64> {
        Ok(camera
            .ask("count", json!({"topic": MASK}))?
            .as_u64()
            .unwrap_or(0))
    };
    let before = count(camera)?;
    let stream = json!({"topic": "/image", "message": picture, "rate_hz": 15.0, "count": 60});
    camera.ask("stream", stream)?;
    camera.ask("finish", json!({"topic": "/image"}))?;
    Ok(count(camera)? - before)
}

fn bytes(image: &Value) -> Vec<u8> {
    bytes_from_base64(image["data"].as_str().unwrap_or_default())
}

/// Returns a figure of a diagnostic status; 0 where it is not there.
fn value(status: &Value, key: &str) -> f64 {
    super::diagnostics::value(status, key)
        .parse()
        .unwrap_or(0.0)
}
