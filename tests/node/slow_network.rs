//! A camera that is faster than the network, and large images at full rate.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::diagnostics::{status_that, value, watch};
use super::graph::Graph;
use super::pictures::rgb_image;

const MASK: &str = "/ecmnet/label_mask";

#[test]
fn newest_frame_wins_and_every_other_is_counted_when_the_network_is_slow() -> Result<()> {
    let graph = Graph::new()?;
    let _node = graph.running_node(&["-p", "network_size:=512x768"])?;
    let mut camera = graph.peer("camera")?;
    watch(&mut camera)?;
    camera.subscribe_images(MASK)?;
    camera.advertise_images("/image", true)?;
    let stream =
        json!({"topic": "/image", "message": rgb_image(64, 48), "rate_hz": 30.0, "count": 90});
    camera.ask("stream", stream)?;
    let mut last = (0, 0);
    for _ in 0..3 {
        let stamp = camera.take(MASK)?["header"]["stamp"].take();
        let part = |name| stamp[name].as_u64().context("a stamp");
        let now = (part("sec")?, part("nanosec")?);
        ensure!(now > last, "{now:?} after {last:?}");
        last = now;
    }
    let sent = camera.ask("finish", json!({"topic": "/image"}))?;
    let figure = |status: &_, key: &str| value(status, key).parse::<u64>().unwrap_or(0);
    let status = status_that(&mut camera, "a status that counts every frame", |status| {
        let places = ["segmented", "dropped", "unwatched", "rejected"];
        let sum: u64 = places.iter().map(|key| figure(status, key)).sum();
        json!(figure(status, "received")) == sent && json!(sum) == sent
    })?;
    ensure!(
        figure(&status, "dropped") > 0,
        "this network keeps up with 30 Hz: {status}"
    );
    Ok(())
}

#[test]
#[allow(
    clippy::print_stdout,
    reason = "the figure is worth more than the pass"
)]
fn nothing_of_1920x1200_at_30_hz_is_lost_outside_the_newest_frame_cell() -> Result<()> {
    const FRAMES: u64 = 150;
    let graph = Graph::new()?;
    let node = graph.running_node(&[])?;
    let mut camera = graph.peer("camera")?;
    watch(&mut camera)?;
    camera.advertise_images("/image", true)?;
    node.wait_for_line("reliable, volatile, keep last 10")?;
    let ticks_before = cpu_ticks(node.pid())?;
    let stream = json!({"topic": "/image", "message": rgb_image(1920, 1200), "rate_hz": 30.0, "count": FRAMES});
    let start = std::time::Instant::now();
    camera.ask("stream", stream)?;
    camera.ask("finish", json!({"topic": "/image"}))?;
    let seconds = start.elapsed().as_secs_f64();
    let status = status_that(&mut camera, "a status that counts every frame", |status| {
        value(status, "received") == FRAMES.to_string()
    })?;
    // Nobody subscribes: what the process used is receiving, checking, and this second's status.
    assert_eq!(value(&status, "segmented"), "0");
    let cpu_seconds = (cpu_ticks(node.pid())? - ticks_before) as f64 / 100.0;
    println!(
        "1920x1200 rgb8: {FRAMES} frames in {seconds:.2} s, all received, {:.0} % of a core",
        100.0 * cpu_seconds / seconds,
    );
    Ok(())
}

/// Returns the CPU time that a process has used, in the kernel's hundredths of a second.
fn cpu_ticks(pid: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold spaces; user and system time are fields 14 and 15.
    let after_name = stat.rsplit_once(')').context("a name in parentheses")?.1;
    let field = |n: usize| -> Result<u64> {
        Ok(after_name
            .split_whitespace()
            .nth(n - 3)
            .context("a field")?
            .parse()?)
    };
    Ok(field(14)? + field(15)?)
}
