//! How the node ends, and that it can be started again at any time.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::graph::{Graph, Node};
use super::pictures::rgb_image;

const MASK: &str = "/ecmnet/label_mask";

/// The contract's second, and a tenth for the test to notice.
const END_WITHIN: Duration = Duration::from_millis(1100);

fn assert_ends(node: &mut Node, signal: &str) -> Result<()> {
    node.signal(signal)?;
    let start = Instant::now();
    while node.is_running()? {
        ensure!(
            start.elapsed() < END_WITHIN,
            "SIG{signal} did not end it in time"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let status = node.wait()?;
    ensure!(
        status.success(),
        "SIG{signal} ended it with {status}:\n{}",
        node.written()
    );
    Ok(())
}

#[test]
fn sigint_and_sigterm_end_an_idle_node_within_a_second() -> Result<()> {
    for signal in ["INT", "TERM"] {
        let graph = Graph::new()?;
        let mut node = graph.running_node(&[])?;
        node.wait_for_line("subscribed to /image")?;
        assert_ends(&mut node, signal)?;
    }
    Ok(())
}

#[test]
fn signals_end_a_node_in_the_middle_of_four_megapixels_and_nothing_is_published_after() -> Result<()>
{
    for signal in ["INT", "TERM"] {
        let graph = Graph::new()?;
        let mut node =
            graph.running_node(&["-p", "network_size:=native", "-p", "max_age_ms:=0"])?;
        let mut camera = graph.peer("camera")?;
        camera.subscribe_images(MASK)?;
        camera.advertise_images("/image", true)?;
        camera.mask_of("/image", &rgb_image(48, 32), MASK)?;
        camera.publish("/image", &rgb_image(2464, 1632))?;
        // Logged once the frame is checked, just before the network starts on it.
        node.wait_for_line("images are 2464x1632")?;
        assert_ends(&mut node, signal)?;
        assert!(
            camera.is_silent(MASK, 2.0)?,
            "a mask came after SIG{signal}"
        );
    }
    Ok(())
}

#[test]
fn a_node_that_is_killed_and_started_again_gives_new_masks_and_no_stale_ones() -> Result<()> {
    let graph = Graph::new()?;
    let mut node = graph.running_node(&[])?;
    let mut camera = graph.peer("camera")?;
    camera.subscribe_images(MASK)?;
    camera.advertise_images("/image", true)?;
    let stream = json!({"topic": "/image", "message": rgb_image(48, 32), "rate_hz": 15.0});
    camera.ask("stream", stream)?;
    camera.take(MASK)?;
    node.signal("KILL")?;
    node.wait()?;
    while !camera.is_silent(MASK, 0.5)? {}
    let killed_until = seconds_now()?;
    let _again = graph.running_node(&[])?;
    let mask = camera.take(MASK)?;
    let stamp = &mask["header"]["stamp"];
    let seconds = stamp["sec"].as_f64().context("a stamp")?
        + stamp["nanosec"].as_f64().context("a stamp")? / 1e9;
    ensure!(
        seconds > killed_until,
        "the first mask is of an image {seconds} < {killed_until}"
    );
    Ok(())
}

fn seconds_now() -> Result<f64> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(now.as_secs_f64())
}
