//! `/diagnostics`: the figures add up, and the levels say what is wrong.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::graph::{Graph, Peer, wait_for};
use super::pictures::rgb_image;

const MASK: &str = "/ecmnet/label_mask";
const TOPIC: &str = "/diagnostics";
const STALE: u64 = 3;

/// Returns a value of a diagnostic status; empty where it is not there.
pub(crate) fn value(status: &Value, key: &str) -> String {
    let pairs = status["values"].as_array();
    let pair = pairs.and_then(|pairs| pairs.iter().find(|pair| pair["key"] == key));
    pair.and_then(|pair| pair["value"].as_str())
        .unwrap_or_default()
        .to_owned()
}

/// Subscribes to diagnostics.
pub(crate) fn watch(peer: &mut Peer) -> Result<()> {
    peer.subscribe(TOPIC, "diagnostic_msgs/msg/DiagnosticArray")
}

/// Returns the first status from now on that `fits`.
pub(crate) fn status_that(
    peer: &mut Peer,
    what: &str,
    fits: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let mut last = Value::Null;
    wait_for(what, || {
        last = peer.take(TOPIC)?["status"][0].take();
        Ok(fits(&last).then(|| last.clone()))
    })
    .with_context(|| format!("the last status: {last}"))
}

#[test]
fn every_frame_is_accounted_for_and_latencies_are_told() -> Result<()> {
    let graph = Graph::new()?;
    let _node = graph.running_node(&[])?;
    let mut camera = graph.peer("camera")?;
    watch(&mut camera)?;
    camera.subscribe_images(MASK)?;
    camera.advertise_images("/image", true)?;
    let picture = rgb_image(320, 240);
    let stream = json!({"topic": "/image", "message": picture, "rate_hz": 20.0, "count": 60});
    camera.ask("stream", stream)?;
    let sent = camera
        .ask("finish", json!({"topic": "/image"}))?
        .as_f64()
        .context("a count")?;
    let figure = |status: &Value, key: &str| value(status, key).parse::<f64>().unwrap_or(f64::NAN);
    let status = status_that(&mut camera, "a status that counts every frame", |status| {
        let places = ["segmented", "dropped", "unwatched", "rejected"];
        let sum: f64 = places.iter().map(|key| figure(status, key)).sum();
        figure(status, "received") == sent && sum == sent
    })?;
    for latency in ["stamp_to_publish_ms", "receipt_to_publish_ms"] {
        let [p50, p95, p99] = ["p50", "p95", "p99"]
            .map(|percentile| figure(&status, &format!("{latency}.{percentile}")));
        assert!(0.0 < p50 && p50 <= p95 && p95 <= p99, "{status}");
    }
    assert!(figure(&status, "rate_hz") > 1.0, "{status}");
    assert_eq!(value(&status, "weights_sha256").len(), 64);
    assert!(value(&status, "device").starts_with("cpu"));
    assert_eq!(value(&status, "image_size"), "320x240");
    assert_eq!(status["level"], 0);
    Ok(())
}

#[test]
fn a_camera_that_stops_is_stale_and_masks_come_again_when_it_returns() -> Result<()> {
    let graph = Graph::new()?;
    let _node = graph.running_node(&[])?;
    let mut watcher = graph.peer("watcher")?;
    watch(&mut watcher)?;
    watcher.subscribe_images(MASK)?;
    status_that(
        &mut watcher,
        "a warning that no camera is there",
        |status| {
            status["level"] == 1
                && status["message"]
                    .as_str()
                    .is_some_and(|m| m.starts_with("no image yet"))
        },
    )?;
    for _ in 0..2 {
        let mut camera = graph.peer("camera")?;
        camera.advertise_images("/image", true)?;
        let stream = json!({"topic": "/image", "message": rgb_image(48, 32), "rate_hz": 10.0});
        camera.ask("stream", stream)?;
        watcher.take(MASK)?;
        status_that(&mut watcher, "OK with a camera", |status| {
            status["level"] == 0
        })?;
        drop(camera);
        status_that(&mut watcher, "STALE without it", |status| {
            status["level"] == STALE
        })?;
        while !watcher.is_silent(MASK, 0.2)? {}
    }
    Ok(())
}

#[test]
fn two_nodes_of_one_name_both_run_and_warn_and_are_told_apart() -> Result<()> {
    let graph = Graph::new()?;
    let mut nodes = [graph.running_node(&[])?, graph.running_node(&[])?];
    let mut watcher = graph.peer("watcher")?;
    watch(&mut watcher)?;
    watcher.subscribe_images(MASK)?;
    for node in &mut nodes {
        node.wait_for_line("1 other node(s) are named /ecmnet, too")?;
        assert!(node.is_running()?);
        let pid = format!("pid {} on ", node.pid());
        let status = status_that(&mut watcher, "a warning of each node", |status| {
            let hardware_id = status["hardware_id"].as_str().unwrap_or_default();
            let message = status["message"].as_str().unwrap_or_default();
            hardware_id.starts_with(&pid) && message.contains("is named /ecmnet")
        })?;
        assert_eq!(status["level"], 1);
        assert!(
            status["name"]
                .as_str()
                .is_some_and(|name| name.contains(&pid))
        );
    }
    watcher.advertise_images("/image", true)?;
    watcher.mask_of("/image", &rgb_image(48, 32), MASK)?;
    Ok(())
}
