//! Another network while the node runs: by the parameter `weights`, and what a bad file does.

use std::fs;
use std::panic::resume_unwind;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::diagnostics::{status_that, value, watch};
use super::graph::{Graph, Peer, wait_for};
use super::parameters::{get, set, text};
use super::pictures::{bytes_from_base64, rgb_image};
use super::seeded::{seeded_weights, seeded_weights_with};
use super::weights::CLASSES;

const MASK: &str = "/ecmnet/label_mask";
const INFO: &str = "/ecmnet/label_info";

/// How many classes the other weights have.
const FEWER: usize = 4;

/// The longest time from one mask to the next beside a network that is loaded, at 20 Hz and on a
/// loaded machine; a node that stopped to load would take as long as its start, 1 s and more.
const GAP: Duration = Duration::from_millis(600);

/// Starts a camera at 20 Hz and waits for its masks.
fn running_camera(peer: &mut Peer) -> Result<()> {
    peer.subscribe_images(MASK)?;
    let info = json!({"topic": INFO, "type": "vision_msgs/msg/LabelInfo", "latched": true});
    peer.ask("subscribe", info)?;
    peer.advertise_images("/image", true)?;
    let stream = json!({"topic": "/image", "message": rgb_image(96, 64), "rate_hz": 20.0});
    peer.ask("stream", stream)?;
    peer.take(MASK)?;
    ensure!(classes(&peer.take(INFO)?) == CLASSES);
    Ok(())
}

fn classes(info: &Value) -> usize {
    info["class_map"].as_array().map_or(0, Vec::len)
}

/// Sets `weights` and returns the result, and the longest gap between masks meanwhile and after.
#[allow(
    clippy::print_stdout,
    reason = "the figure is worth more than the pass"
)]
fn swap(tool: &mut Peer, camera: &mut Peer, file: &Path) -> Result<(Value, Duration)> {
    while !camera.is_silent(MASK, 0.0)? {}
    camera.take(MASK)?;
    let results = std::thread::scope(|scope| -> Result<_> {
        let asked =
            scope.spawn(|| set(tool, json!([text("weights", &file.display().to_string())])));
        let mut longest = Duration::ZERO;
        let mut last = Instant::now();
        let mut after = 0;
        while after < 20 {
            camera.take(MASK)?;
            longest = longest.max(last.elapsed());
            last = Instant::now();
            after += u32::from(asked.is_finished());
        }
        let results = asked.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        Ok((results, longest))
    });
    let (results, longest) = results?;
    println!("longest time from one mask to the next: {longest:.1?}");
    Ok((results.first().context("a result")?.clone(), longest))
}

#[test]
fn other_weights_take_over_between_two_frames_without_a_gap() -> Result<()> {
    let graph = Graph::new()?;
    let _node = graph.running_node(&[])?;
    let mut camera = graph.peer("camera")?;
    let mut tool = graph.peer("tool")?;
    tool.subscribe("/parameter_events", "rcl_interfaces/msg/ParameterEvent")?;
    watch(&mut tool)?;
    running_camera(&mut camera)?;
    let before = status_that(&mut tool, "a status", |status| status["level"] == 0)?;
    let file = graph.folder().join("fewer.safetensors");
    let offsets = r#"{"class 0": -1e3, "class 1": -1e3, "class 3": -1e3}"#;
    let fewer = seeded_weights_with("A", FEWER, &[("logit_offsets", offsets)])?;
    fs::write(&file, fewer)?;
    let (result, longest) = swap(&mut tool, &mut camera, &file)?;
    assert_eq!(result["successful"], true, "{result}");
    ensure!(longest < GAP, "no mask for {longest:?}");
    assert_eq!(classes(&camera.take(INFO)?), FEWER);
    while !camera.is_silent(MASK, 0.0)? {}
    let mask = camera.take(MASK)?;
    let ids = bytes_from_base64(mask["data"].as_str().unwrap_or_default());
    ensure!(
        !ids.is_empty() && ids.iter().all(|id| *id == 2),
        "an old id, or one that the new weights put far below the others"
    );
    let path = file.display().to_string();
    wait_for("the event of weights", || {
        let event = tool.take("/parameter_events")?;
        let changed = &event["changed_parameters"][0];
        Ok((changed["value"]["string_value"] == path.as_str()).then_some(()))
    })?;
    assert_eq!(get(&mut tool, "weights")?["string_value"], path.as_str());
    status_that(&mut tool, "a status of the other weights", |status| {
        let sha = value(status, "weights_sha256");
        sha.len() == 64 && sha != value(&before, "weights_sha256")
    })?;
    // The same name again: the file may be another one.
    fs::write(&file, seeded_weights("B", CLASSES)?)?;
    let (result, longest) = swap(&mut tool, &mut camera, &file)?;
    assert_eq!(result["successful"], true, "{result}");
    ensure!(longest < GAP, "no mask for {longest:?}");
    assert_eq!(classes(&camera.take(INFO)?), CLASSES);
    Ok(())
}

#[test]
fn a_bad_file_leaves_the_old_weights_and_the_result_says_why() -> Result<()> {
    let graph = Graph::new()?;
    let drivable = "drivable_classes:=['class 7']";
    let _node = graph.running_node(&["-p", drivable])?;
    let mut camera = graph.peer("camera")?;
    let mut tool = graph.peer("tool")?;
    watch(&mut tool)?;
    running_camera(&mut camera)?;
    let weights = get(&mut tool, "weights")?;
    let sha = |status: &Value| value(status, "weights_sha256");
    let before = status_that(&mut tool, "a status", |status| status["level"] == 0)?;
    let whole = seeded_weights("B", CLASSES)?;
    let cut = &whole[..whole.len() / 2];
    let fewer = seeded_weights("B", FEWER)?;
    for (name, bytes, said) in [
        ("missing", None, "missing.safetensors"),
        ("cut", Some(cut), "not a whole safetensors file"),
        ("pickle", Some(b"\x80\x02}q\x00.".as_slice()), "pickle"),
        ("fewer", Some(fewer.as_slice()), "no class 'class 7'"),
    ] {
        let file = graph.folder().join(format!("{name}.safetensors"));
        if let Some(bytes) = bytes {
            fs::write(&file, bytes)?;
        }
        let (result, longest) = swap(&mut tool, &mut camera, &file)?;
        let reason = result["reason"].as_str().unwrap_or_default();
        assert_eq!(result["successful"], false, "{name}");
        ensure!(reason.contains(said), "'{said}' in '{reason}'");
        ensure!(reason.ends_with("the network in use stays"), "{reason}");
        ensure!(longest < GAP, "{name}: no mask for {longest:?}");
        assert_eq!(get(&mut tool, "weights")?, weights);
    }
    let (result, _) = swap(&mut tool, &mut camera, Path::new(""))?;
    assert_eq!(result["successful"], false);
    let now = status_that(&mut tool, "OK", |status| status["level"] == 0)?;
    assert_eq!(sha(&now), sha(&before));
    Ok(())
}

#[test]
fn weights_and_their_class_names_can_be_set_as_one_and_the_rest_waits_its_turn() -> Result<()> {
    let graph = Graph::new()?;
    let _node = graph.running_node(&["-p", "drivable_classes:=['class 7']"])?;
    let mut tool = graph.peer("tool")?;
    let file = graph.folder().join("fewer.safetensors");
    fs::write(&file, seeded_weights("B", FEWER)?)?;
    let names = json!({"name": "drivable_classes", "value": {"type": 9, "string_array_value": ["class 3"]}});
    let both = json!([text("weights", &file.display().to_string()), names]);
    let request = json!({"service": "/ecmnet/set_parameters_atomically",
        "type": "rcl_interfaces/srv/SetParametersAtomically", "request": {"parameters": both}});
    let answer = tool.ask("call", request)?;
    assert_eq!(answer["result"]["successful"], true, "{answer}");
    assert_eq!(
        get(&mut tool, "drivable_classes")?["string_array_value"],
        json!(["class 3"])
    );
    // One request: a change before the load, the load, one after it that needs the new classes.
    let file = graph.folder().join("more.safetensors");
    fs::write(&file, seeded_weights("B", CLASSES)?)?;
    let alpha = json!({"name": "overlay_alpha", "value": {"type": 3, "double_value": 0.25}});
    let names = json!({"name": "drivable_classes", "value": {"type": 9, "string_array_value": ["class 9"]}});
    let weights = text("weights", &file.display().to_string());
    let results = set(
        &mut tool,
        json!([alpha, weights, names, text("network_size", "32x32x")]),
    )?;
    let successes: Vec<_> = results.iter().map(|result| &result["successful"]).collect();
    assert_eq!(successes, [true, true, true, false], "{results:?}");
    Ok(())
}

#[test]
fn an_unconfigured_node_takes_weights_without_loading_them() -> Result<()> {
    let graph = Graph::new()?;
    let node = super::lifecycle::waiting_node(&graph, &[])?;
    let mut tool = graph.peer("tool")?;
    let results = set(
        &mut tool,
        json!([text("weights", "/nowhere/w.safetensors")]),
    )?;
    assert_eq!(results[0]["successful"], true);
    ensure!(!super::lifecycle::change(
        &mut tool,
        super::lifecycle::CONFIGURE
    )?);
    node.wait_for_line("/nowhere/w.safetensors")?;
    let file = graph.folder().join("seeded.safetensors");
    let results = set(
        &mut tool,
        json!([text("weights", &file.display().to_string())]),
    )?;
    assert_eq!(results[0]["successful"], true);
    ensure!(super::lifecycle::change(
        &mut tool,
        super::lifecycle::CONFIGURE
    )?);
    Ok(())
}
