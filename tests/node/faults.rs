//! A GPU that is lost: told on `/diagnostics`, ended with status 3, masked again after a new start.
//!
//! Built with the feature `inject-faults` alone. `lost@N` needs no GPU; with `ECMNET_FAULT_DEVICE=cuda`
//! the fault is a kernel that traps.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::diagnostics::{status_that, watch};
use super::graph::{Graph, Node, wait_for};
use super::pictures::rgb_image;

const MASK: &str = "/ecmnet/label_mask";
const ERROR: u64 = 2;

/// The frame that the fault comes at.
const AT: u64 = 5;

/// What the contract gives from the fault to the end, and a tenth for the test to notice.
const END_WITHIN: Duration = Duration::from_millis(1100);

/// What it gives from a new start to the first mask.
const MASK_WITHIN: Duration = Duration::from_secs(3);

/// The fault's kind, and the parameter that names the device it comes on.
fn fault_and_device() -> (&'static str, &'static str) {
    let on_gpu = std::env::var("ECMNET_FAULT_DEVICE").is_ok_and(|device| device == "cuda");
    if on_gpu {
        ("trap", "device:=cuda")
    } else {
        ("lost", "device:=cpu")
    }
}

fn node_to_be_lost(graph: &Graph) -> Result<Node> {
    let (kind, device) = fault_and_device();
    let mut command = graph.node_command(&["-p", device, "-p", "max_age_ms:=0"])?;
    command.env("ECMNET_FAULT", format!("{kind}@{AT}"));
    let node = Node::start(&mut command)?;
    node.wait_for_line("outputs: ")?;
    Ok(node)
}

#[test]
fn a_lost_gpu_is_told_ends_the_node_with_3_and_a_new_one_gives_new_masks() -> Result<()> {
    let graph = Graph::new()?;
    let mut node = node_to_be_lost(&graph)?;
    let mut camera = graph.peer("camera")?;
    watch(&mut camera)?;
    camera.subscribe_images(MASK)?;
    camera.advertise_images("/image", true)?;
    let stream = json!({"topic": "/image", "message": rgb_image(48, 32), "rate_hz": 20.0});
    camera.ask("stream", stream)?;
    for _ in 0..AT {
        camera.take(MASK)?;
    }
    // The fault is in the frame after this mask, 50 ms on.
    let start = Instant::now();
    while node.is_running()? {
        ensure!(
            start.elapsed() < END_WITHIN,
            "it runs on:\n{}",
            node.written()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let status = node.wait()?;
    ensure!(status.code() == Some(3), "{status}:\n{}", node.written());
    ensure!(
        node.written().contains("the GPU is lost"),
        "{}",
        node.written()
    );
    status_that(&mut camera, "an error that tells of the GPU", |status| {
        let message = status["message"].as_str().unwrap_or_default();
        status["level"] == ERROR && message.starts_with("the GPU is lost")
    })?;
    ensure!(camera.is_silent(MASK, 0.5)?, "a mask came after the fault");

    let restarted = seconds_now()?;
    let start = Instant::now();
    let (_, device) = fault_and_device();
    let _again = graph.running_node(&["-p", device])?;
    let mask = wait_for("a mask of the new node", || {
        let arguments = json!({"topic": MASK, "timeout_s": 0.05});
        let answer = camera.ask("take", arguments)?;
        Ok((!answer.is_null()).then_some(answer))
    })?;
    ensure!(
        start.elapsed() < MASK_WITHIN,
        "the first mask came after {:?}",
        start.elapsed()
    );
    let stamp = &mask["header"]["stamp"];
    let seconds = stamp["sec"].as_f64().context("a stamp")?
        + stamp["nanosec"].as_f64().context("a stamp")? / 1e9;
    ensure!(seconds > restarted, "the first mask is of an old image");
    Ok(())
}

fn seconds_now() -> Result<f64> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(now.as_secs_f64())
}
