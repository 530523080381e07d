//! The latency budget: deadlines, rates, and a clock that jumps back.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::diagnostics::{status_that, value, watch};
use super::graph::{Graph, Peer, wait_for};
use super::parameters::set_one;
use super::pictures::rgb_image;

const MASK: &str = "/ecmnet/label_mask";
const OVERLAY: &str = "/ecmnet/overlay";
const WARN: u64 = 1;

fn figure(status: &Value, key: &str) -> u64 {
    value(status, key).parse().unwrap_or(0)
}

#[test]
fn masks_that_miss_the_deadline_are_published_counted_and_warned_of() -> Result<()> {
    let graph = Graph::new()?;
    // No network takes less than a millisecond on a CPU.
    let _node = graph.running_node(&["-p", "deadline_ms:=1"])?;
    let mut camera = graph.peer("camera")?;
    watch(&mut camera)?;
    camera.subscribe_images(MASK)?;
    camera.advertise_images("/image", true)?;
    let stream = json!({"topic": "/image", "message": rgb_image(96, 64), "rate_hz": 10.0});
    camera.ask("stream", stream)?;
    camera.take(MASK)?;
    let late = status_that(&mut camera, "a warning of late masks", |status| {
        let message = status["message"].as_str().unwrap_or_default();
        status["level"] == WARN && message.ends_with("were later than deadline_ms")
    })?;
    ensure!(figure(&late, "late") > 0, "{late}");
    ensure!(
        figure(&late, "late") <= figure(&late, "segmented"),
        "{late}"
    );
    set_one(
        &mut camera,
        "deadline_ms",
        json!({"type": 2, "integer_value": 0}),
    )?;
    let after = status_that(
        &mut camera,
        "OK once the late ones are out of the window",
        |status| status["level"] == 0,
    )?;
    ensure!(figure(&after, "late") >= figure(&late, "late"), "{after}");
    Ok(())
}

#[test]
fn each_output_is_held_to_its_own_rate_and_frames_that_none_is_due_for_are_not_computed()
-> Result<()> {
    let graph = Graph::new()?;
    let _node = graph.running_node(&["-p", "overlay.max_rate_hz:=4.0"])?;
    let mut camera = graph.peer("camera")?;
    watch(&mut camera)?;
    camera.subscribe_images(MASK)?;
    camera.subscribe_images(OVERLAY)?;
    camera.advertise_images("/image", true)?;
    let stream =
        json!({"topic": "/image", "message": rgb_image(96, 64), "rate_hz": 20.0, "count": 100});
    let count = |camera: &mut Peer, topic: &str| -> Result<u64> {
        let count = camera.ask("count", json!({ "topic": topic }))?;
        Ok(count.as_u64().unwrap_or(0))
    };
    camera.ask("stream", stream.clone())?;
    camera.ask("finish", json!({"topic": "/image"}))?;
    let (masks, overlays) = (count(&mut camera, MASK)?, count(&mut camera, OVERLAY)?);
    // 5 s at 4 Hz, and one at the start; a camera that is held up has fewer.
    ensure!((10..=21).contains(&overlays), "{overlays} overlays");
    ensure!(masks > 2 * overlays, "{masks} masks beside {overlays}");

    set_one(
        &mut camera,
        "label_mask.max_rate_hz",
        json!({"type": 3, "double_value": 2.0}),
    )?;
    camera.ask("stream", stream)?;
    let sent = camera.ask("finish", json!({"topic": "/image"}))?;
    assert_eq!(sent, 100);
    let limited = count(&mut camera, MASK)? - masks;
    ensure!((5..=11).contains(&limited), "{limited} masks at 2 Hz");
    let status = status_that(&mut camera, "a status that counts every frame", |status| {
        let places = [
            "segmented",
            "dropped",
            "unwatched",
            "rejected",
            "rate_limited",
        ];
        let sum: u64 = places.iter().map(|key| figure(status, key)).sum();
        figure(status, "received") == 200 && sum == 200
    })?;
    // Of the second hundred, those that neither output was due for.
    ensure!(figure(&status, "rate_limited") > 50, "{status}");
    Ok(())
}

#[test]
fn a_clock_that_jumps_back_leaves_nothing_of_the_time_before() -> Result<()> {
    let graph = Graph::new()?;
    // Slow enough for a frame in the network and one in the cell when the clock jumps.
    let arguments = ["-p", "use_sim_time:=true", "-p", "network_size:=1024x1536"];
    let node = graph.running_node(&arguments)?;
    let mut bag = graph.peer("bag")?;
    watch(&mut bag)?;
    bag.subscribe_images(MASK)?;
    bag.advertise("/clock", "rosgraph_msgs/msg/Clock", false)?;
    bag.advertise_images("/image", true)?;
    let clock = |sec: i32| json!({"clock": {"sec": sec, "nanosec": 0}});
    let stamped = |sec: i32| {
        let mut frame = rgb_image(48, 32);
        frame["header"]["stamp"] = json!({"sec": sec, "nanosec": 0});
        frame
    };
    bag.publish("/clock", &clock(1000))?;
    wait_for("a mask of the first round", || {
        bag.publish("/clock", &clock(1000))?;
        bag.publish("/image", &stamped(1000))?;
        let answer = bag.ask("take", json!({"topic": MASK, "timeout_s": 2.0}))?;
        Ok((!answer.is_null()).then_some(()))
    })?;
    while !bag.is_silent(MASK, 1.5)? {}
    for _ in 0..3 {
        bag.publish("/image", &stamped(1000))?;
    }
    bag.publish("/clock", &clock(500))?;
    node.wait_for_line("the clock jumped back by 500.000 s")?;
    // One that was slower than the clock.
    bag.publish("/image", &stamped(1000))?;
    for _ in 0..3 {
        bag.publish("/image", &stamped(500))?;
    }
    let mask = bag.take(MASK)?;
    assert_eq!(
        mask["header"]["stamp"]["sec"], 500,
        "a mask of the old time"
    );
    while let Some(mask) = bag
        .ask("take", json!({"topic": MASK, "timeout_s": 1.5}))?
        .as_object()
    {
        assert_eq!(mask["header"]["stamp"]["sec"], 500);
    }
    status_that(&mut bag, "a status that counts every frame", |status| {
        let places = ["segmented", "dropped", "unwatched", "rejected"];
        let sum: u64 = places.iter().map(|key| figure(status, key)).sum();
        figure(status, "dropped") >= 1 && sum == figure(status, "received")
    })?;
    // Alone with the clock, an image of the old time is refused by its stamp.
    bag.publish("/clock", &clock(400))?;
    std::thread::sleep(Duration::from_millis(300));
    bag.publish("/image", &stamped(1000))?;
    status_that(
        &mut bag,
        "a rejection for a stamp of the old time",
        |status| value(status, "rejected.before_jump") == "1",
    )?;
    ensure!(bag.is_silent(MASK, 0.0)?, "a mask of the old time");
    // Latencies and ages are told of the new time alone, and the old stamp is not another clock's.
    ensure!(
        !node.written().contains("another clock"),
        "{}",
        node.written()
    );
    Ok(())
}
