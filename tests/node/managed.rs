//! The node under a peer that does what Nav2's lifecycle manager does, with its time limits.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::graph::{Graph, Node, Peer, wait_for};
use super::lifecycle::{ACTIVATE, CONFIGURE, DEACTIVATE, change, waiting_node};
use super::pictures::rgb_image;

const MASK: &str = "/ecmnet/label_mask";
const BOND: &str = "/bond";

/// Gives the manager a command and checks what it returns.
fn order(manager: &mut Peer, command: &str, expected: bool) -> Result<()> {
    let done = manager.ask(command, json!({}))?;
    let history = manager.ask("transitions", json!({}))?;
    ensure!(done == json!(expected), "{command} gave {done}: {history}");
    Ok(())
}

/// Subscribes to the bond's signs.
fn listen(peer: &mut Peer) -> Result<()> {
    peer.ask(
        "subscribe",
        json!({"topic": BOND, "type": "bond/msg/Status"}),
    )?;
    Ok(())
}

/// Returns every sign that has come; the node's are those with its heartbeat timeout.
fn signs(peer: &mut Peer, heartbeat_timeout: f64) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    loop {
        let sign = peer.ask("take", json!({"topic": BOND, "timeout_s": 0.0}))?;
        if sign.is_null() {
            return Ok(all);
        }
        if sign["heartbeat_timeout"] == heartbeat_timeout {
            all.push(sign);
        }
    }
}

#[test]
#[allow(
    clippy::print_stdout,
    reason = "the figures are worth more than the pass"
)]
fn a_lifecycle_manager_brings_it_up_pauses_resumes_resets_and_shuts_it_down() -> Result<()> {
    let graph = Graph::new()?;
    // The manager's own heartbeat timeout is 4 s: this one tells the sides apart.
    let mut node = waiting_node(&graph, &["-p", "bond_timeout:=5.0"])?;
    let mut camera = graph.peer("camera")?;
    camera.subscribe_images(MASK)?;
    listen(&mut camera)?;
    camera.ask(
        "advertise",
        json!({"topic": "/image", "type": "sensor_msgs/msg/Image"}),
    )?;
    let stream = json!({"topic": "/image", "message": rgb_image(48, 32), "rate_hz": 20.0});
    camera.ask("stream", stream)?;
    let mut manager = graph.manager()?;
    let mut instances = Vec::new();
    for (up, down) in [
        ("startup", "pause"),
        ("resume", "reset"),
        ("startup", "pause"),
    ] {
        order(&mut manager, up, true)?;
        camera.take(MASK)?;
        order(&mut manager, down, true)?;
        while !camera.is_silent(MASK, 0.0)? {}
        ensure!(camera.is_silent(MASK, 0.5)?, "a mask after {down}");
        let signs = signs(&mut camera, 5.0)?;
        let last = signs.last().context("signs of the node")?;
        assert_eq!(last["active"], false, "{down}: {last}");
        assert_eq!(last["id"], "ecmnet");
        assert_eq!(signs[0]["active"], true);
        // A float32 on the wire.
        let period = signs[0]["heartbeat_period"].as_f64().unwrap_or(0.0);
        assert!((period - 0.1).abs() < 1e-6, "{period}");
        for sign in &signs {
            assert_eq!(sign["instance_id"], signs[0]["instance_id"]);
        }
        instances.push(signs[0]["instance_id"].to_string());
    }
    instances.sort();
    instances.dedup();
    assert_eq!(instances.len(), 3, "an instance id for each activation");
    order(&mut manager, "resume", true)?;
    order(&mut manager, "shutdown", true)?;
    assert_eq!(manager.ask("managed_state", json!({}))?, "finalized");
    // An acknowledged parting takes one answer, not the bond's timeouts.
    let history = manager.ask("transitions", json!({}))?;
    for transition in history.as_array().context("a list")? {
        let seconds = transition["seconds"].as_f64().context("seconds")?;
        println!("transition {}: {seconds:.3} s", transition["transition"]);
        ensure!(seconds < 5.0, "{history}");
    }
    assert!(node.is_running()?);
    Ok(())
}

#[test]
fn a_killed_node_is_noticed_by_the_bond_and_one_that_is_started_again_is_brought_up() -> Result<()>
{
    let graph = Graph::new()?;
    let mut node = killable_node(&graph)?;
    let mut manager = graph.manager()?;
    order(&mut manager, "startup", true)?;
    let killed = Instant::now();
    node.signal("KILL")?;
    node.wait()?;
    let lost = wait_for("the manager's notice", || {
        let seconds = manager.ask("lost_seconds_ago", json!({}))?;
        Ok(seconds
            .as_f64()
            .map(|ago| killed.elapsed().as_secs_f64() - ago))
    })?;
    // 4 s after the last heartbeat, which is up to 0.1 s before; bonds are looked at every 0.2 s, and
    // on a loaded machine some time later.
    ensure!((3.8..6.0).contains(&lost), "lost {lost:.2} s after the end");
    let _again = killable_node(&graph)?;
    wait_for("the manager to bring the new one up", || {
        let state = manager.ask("managed_state", json!({}))?;
        Ok((state == "active").then_some(()))
    })?;
    manager.subscribe_images(MASK)?;
    manager.advertise_images("/image", true)?;
    manager.mask_of("/image", &rgb_image(48, 32), MASK)?;
    order(&mut manager, "shutdown", true)
}

/// Starts a node without the large shared-memory segment, which one that is killed leaves behind.
fn killable_node(graph: &Graph) -> Result<Node> {
    let mut command = graph.node_command(&["-p", "autostart:=false"])?;
    command.env_remove("FASTRTPS_DEFAULT_PROFILES_FILE");
    Node::start(&mut command)
}

#[test]
fn a_camera_of_another_type_costs_neither_the_bond_nor_the_services() -> Result<()> {
    let graph = Graph::new()?;
    let node = waiting_node(&graph, &[])?;
    let mut manager = graph.manager()?;
    order(&mut manager, "startup", true)?;
    node.wait_for_line("subscribed to /image (sensor_msgs/msg/Image")?;
    let mut camera = graph.peer("camera")?;
    // The node takes a new ROS node for it, with services and a bond's topic of its own.
    camera.advertise("/image", "sensor_msgs/msg/CompressedImage", true)?;
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(manager.ask("managed_state", json!({}))?, "active");
    for command in ["pause", "resume", "shutdown"] {
        order(&mut manager, command, true)?;
    }
    Ok(())
}

#[test]
fn a_node_that_is_told_to_end_parts_from_its_manager_at_once() -> Result<()> {
    let graph = Graph::new()?;
    let mut node = waiting_node(&graph, &[])?;
    let mut manager = graph.manager()?;
    order(&mut manager, "startup", true)?;
    let start = Instant::now();
    node.signal("TERM")?;
    assert!(node.wait()?.success());
    wait_for("the manager's notice", || {
        Ok(manager.ask("lost_seconds_ago", json!({}))?.as_f64())
    })?;
    // Well within the 4 s that silence would take.
    ensure!(start.elapsed().as_secs_f64() < 2.0, "{:?}", start.elapsed());
    Ok(())
}

#[test]
fn a_node_without_a_bond_says_nothing_and_one_without_a_manager_lives_on() -> Result<()> {
    let graph = Graph::new()?;
    let mut peer = graph.peer("peer")?;
    listen(&mut peer)?;
    let silent = waiting_node(&graph, &["-p", "bond_heartbeat_period:=0.0"])?;
    for transition in [CONFIGURE, ACTIVATE] {
        assert!(change(&mut peer, transition)?);
    }
    ensure!(peer.is_silent(BOND, 1.0)?, "a heartbeat");
    drop(silent);
    let _node = waiting_node(&graph, &[])?;
    for transition in [CONFIGURE, ACTIVATE] {
        assert!(change(&mut peer, transition)?);
    }
    assert_eq!(peer.take(BOND)?["active"], true);
    // Nobody answers, so the parting ends with its word.
    assert!(change(&mut peer, DEACTIVATE)?);
    let last = signs(&mut peer, 4.0)?.pop().context("signs")?;
    assert_eq!(last["active"], false);
    ensure!(peer.is_silent(BOND, 0.5)?, "a heartbeat after the end");
    Ok(())
}
