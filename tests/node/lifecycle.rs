//! The lifecycle services beside those of rclpy's LifecycleNode, and what each state holds.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::diagnostics::{status_that, value, watch};
use super::graph::{Graph, Node, Peer, wait_for};
use super::pictures::rgb_image;
use super::weights::{CLASSES, made_weights};

const MASK: &str = "/ecmnet/label_mask";
const EVENTS: &str = "transition_event";

pub(crate) const UNCONFIGURED: u8 = 1;
pub(crate) const INACTIVE: u8 = 2;
pub(crate) const ACTIVE: u8 = 3;
const FINALIZED: u8 = 4;

pub(crate) const CONFIGURE: u8 = 1;
const CLEANUP: u8 = 2;
pub(crate) const ACTIVATE: u8 = 3;
pub(crate) const DEACTIVATE: u8 = 4;
const ACTIVE_SHUTDOWN: u8 = 7;

fn call(peer: &mut Peer, service: &str, type_name: &str, request: Value) -> Result<Value> {
    let arguments = json!({
        "service": service,
        "type": format!("lifecycle_msgs/srv/{type_name}"),
        "request": request,
    });
    peer.ask("call", arguments)
}

/// Asks the node for a transition and returns whether it was done.
pub(crate) fn change(peer: &mut Peer, transition: u8) -> Result<bool> {
    let request = json!({"transition": {"id": transition}});
    let answer = call(peer, "/ecmnet/change_state", "ChangeState", request)?;
    answer["success"].as_bool().context("true or false")
}

/// Returns the number of the node's state.
pub(crate) fn state(peer: &mut Peer) -> Result<Value> {
    let answer = call(peer, "/ecmnet/get_state", "GetState", json!({}))?;
    Ok(answer["current_state"]["id"].clone())
}

/// Starts a node that waits to be managed.
pub(crate) fn waiting_node(graph: &Graph, ros_arguments: &[&str]) -> Result<Node> {
    let arguments = [&["-p", "autostart:=false"], ros_arguments].concat();
    graph.node(&arguments)
}

#[test]
fn states_transitions_and_answers_are_those_of_rclpys_lifecycle_node() -> Result<()> {
    let graph = Graph::new()?;
    let _node = waiting_node(&graph, &[])?;
    let mut peer = graph.peer("tool")?;
    peer.ask("start_lifecycle_node", json!({"name": "reference"}))?;
    let nodes = ["/ecmnet", "/reference"];
    for node in nodes {
        peer.subscribe(
            &format!("{node}/{EVENTS}"),
            "lifecycle_msgs/msg/TransitionEvent",
        )?;
    }
    // Each request is given to both; `reference` is in a state of its own unless both do the same.
    for request in [
        json!({"id": 3}),
        json!({"label": "activate"}),
        json!({"id": 1, "label": "shutdwon"}),
        json!({"id": 1}),
        json!({"id": 1}),
        json!({"label": "activate"}),
        json!({"id": 2}),
        json!({"id": 3, "label": "deactivate"}),
        json!({"label": "cleanup"}),
        json!({"id": 10}),
        json!({"label": "configure"}),
        json!({"id": 3}),
        json!({"label": "shutdown"}),
        json!({"id": 1}),
    ] {
        let mut answers = Vec::new();
        for node in nodes {
            let mut ask = |service: &str, type_name: &str, request: Value| {
                call(&mut peer, &format!("{node}/{service}"), type_name, request)
            };
            let transition = json!({ "transition": request });
            // rclpy lets its callback fail where rcl knows no such transition, and never answers.
            let known = node == "/ecmnet" || is_known(&mut ask, &request)?;
            let success = if known {
                ask("change_state", "ChangeState", transition)?["success"].clone()
            } else {
                json!(false)
            };
            answers.push([
                success,
                ask("get_state", "GetState", json!({}))?,
                ask("get_available_states", "GetAvailableStates", json!({}))?,
                ask(
                    "get_available_transitions",
                    "GetAvailableTransitions",
                    json!({}),
                )?,
                ask("get_transition_graph", "GetAvailableTransitions", json!({}))?,
            ]);
        }
        assert_eq!(answers[0], answers[1], "after {request}");
    }
    let [ours, theirs] = nodes.map(|node| -> Result<Vec<Value>> {
        (0..14)
            .map(|_| peer.take(&format!("{node}/{EVENTS}")))
            .collect()
    });
    assert_eq!(ours?, theirs?);
    let [ours, theirs] = nodes.map(|node| -> Result<Value> {
        let topic = format!("{node}/{EVENTS}");
        let mut endpoints = peer.ask("endpoints", json!({ "topic": topic }))?;
        endpoints["publishers"][0]["node"] = json!("");
        Ok(endpoints["publishers"].take())
    });
    assert_eq!(ours?, theirs?);
    Ok(())
}

/// Returns whether the transition that a request names leaves the node's state.
fn is_known(
    ask: &mut impl FnMut(&str, &str, Value) -> Result<Value>,
    request: &Value,
) -> Result<bool> {
    let available = ask(
        "get_available_transitions",
        "GetAvailableTransitions",
        json!({}),
    )?;
    let transitions = available["available_transitions"]
        .as_array()
        .context("a list")?;
    Ok(transitions.iter().any(|known| {
        let key = if request.get("label").is_some() {
            "label"
        } else {
            "id"
        };
        known["transition"][key] == request[key]
    }))
}

#[test]
fn masks_come_in_active_alone_and_again_after_a_pause() -> Result<()> {
    let graph = Graph::new()?;
    let node = waiting_node(&graph, &[])?;
    let mut peer = graph.peer("camera")?;
    watch(&mut peer)?;
    peer.subscribe_images(MASK)?;
    let info = json!({"topic": "/ecmnet/label_info", "type": "vision_msgs/msg/LabelInfo", "latched": true});
    peer.ask("subscribe", info)?;
    peer.ask(
        "advertise",
        json!({"topic": "/image", "type": "sensor_msgs/msg/Image"}),
    )?;
    let stream = json!({"topic": "/image", "message": rgb_image(48, 32), "rate_hz": 20.0});
    peer.ask("stream", stream)?;
    status_that(&mut peer, "a status of a node that waits", |status| {
        status["level"] == 0 && status["message"] == "unconfigured: no masks"
    })?;
    ensure!(peer.is_silent(MASK, 1.0)?, "a mask of an unconfigured node");
    ensure!(!node.written().contains("outputs: "), "{}", node.written());

    assert!(change(&mut peer, CONFIGURE)?);
    let classes = peer.take("/ecmnet/label_info")?["class_map"].take();
    assert_eq!(classes.as_array().map(Vec::len), Some(CLASSES));
    ensure!(peer.is_silent(MASK, 1.0)?, "a mask of an inactive node");
    for _ in 0..3 {
        assert!(change(&mut peer, ACTIVATE)?);
        peer.take(MASK)?;
        assert!(change(&mut peer, DEACTIVATE)?);
        // What was on its way when the answer came is taken off; then there is nothing more.
        while !peer.is_silent(MASK, 0.0)? {}
        ensure!(peer.is_silent(MASK, 0.5)?, "a mask of a paused node");
    }
    let status = status_that(&mut peer, "a status of a paused node", |status| {
        value(status, "state") == "inactive"
    })?;
    assert_eq!(status["level"], 0);
    Ok(())
}

#[test]
fn a_slow_network_publishes_nothing_once_it_is_paused_and_nothing_old_when_it_goes_on() -> Result<()>
{
    let graph = Graph::new()?;
    let arguments = ["-p", "network_size:=1024x1536", "-p", "max_age_ms:=0"];
    let _node = graph.running_node(&arguments)?;
    let mut peer = graph.peer("camera")?;
    peer.subscribe_images(MASK)?;
    peer.advertise_images("/image", true)?;
    let numbered = |sec: u32| {
        let mut picture = rgb_image(48, 32);
        picture["header"]["stamp"] = json!({"sec": sec, "nanosec": 0});
        picture
    };
    peer.mask_of("/image", &numbered(1), MASK)?;
    for pause in 2..5 {
        // The pause and its end come while this image is in the network.
        peer.publish("/image", &numbered(pause))?;
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(change(&mut peer, DEACTIVATE)?);
        while !peer.is_silent(MASK, 0.0)? {}
        assert!(change(&mut peer, ACTIVATE)?);
        let next = json!({"sec": 100 + pause, "nanosec": 0});
        let fits = |mask: &Value| mask["header"]["stamp"] == next;
        peer.publish_until("/image", &numbered(100 + pause), MASK, |mask| {
            assert_ne!(mask["header"]["stamp"]["sec"], pause, "an old image's mask");
            fits(mask)
        })?;
        while !peer.is_silent(MASK, 1.0)? {}
    }
    Ok(())
}

#[test]
fn a_cleaned_up_node_holds_no_network_and_can_be_configured_again() -> Result<()> {
    let graph = Graph::new()?;
    let node = waiting_node(&graph, &["-p", "threads:=3"])?;
    let mut peer = graph.peer("manager")?;
    peer.subscribe_images(MASK)?;
    peer.ask(
        "advertise",
        json!({"topic": "/image", "type": "sensor_msgs/msg/Image"}),
    )?;
    assert_eq!(network_threads(&node)?, 0);
    for _ in 0..3 {
        assert!(change(&mut peer, CONFIGURE)?);
        assert_eq!(network_threads(&node)?, 3);
        assert!(change(&mut peer, ACTIVATE)?);
        peer.wait_until_read("/image", true)?;
        peer.mask_of("/image", &rgb_image(48, 32), MASK)?;
        assert!(change(&mut peer, DEACTIVATE)?);
        assert!(change(&mut peer, CLEANUP)?);
        // rayon's threads are told to end when their pool is dropped, and do a moment later.
        wait_for("the end of the network's threads", || {
            Ok((network_threads(&node)? == 0).then_some(()))
        })?;
    }
    Ok(())
}

/// Returns how many threads of the process are the network's own.
fn network_threads(node: &Node) -> Result<usize> {
    let mut count = 0;
    for task in fs::read_dir(format!("/proc/{}/task", node.pid()))? {
        // A thread may end while the list is read.
        let name = fs::read_to_string(task?.path().join("comm")).unwrap_or_default();
        count += usize::from(name.starts_with("ecmnet-cpu"));
    }
    Ok(count)
}

#[test]
fn a_configuration_that_fails_goes_back_to_unconfigured_and_says_why() -> Result<()> {
    let graph = Graph::new()?;
    let file = graph.folder().join("late.safetensors");
    let weights = format!("weights:={}", file.display());
    let mut node = waiting_node(&graph, &["-p", &weights])?;
    let mut peer = graph.peer("manager")?;
    watch(&mut peer)?;
    peer.subscribe(
        "/ecmnet/transition_event",
        "lifecycle_msgs/msg/TransitionEvent",
    )?;
    assert!(!change(&mut peer, CONFIGURE)?);
    assert_eq!(state(&mut peer)?, UNCONFIGURED);
    let mut goals = Vec::new();
    for _ in 0..2 {
        goals.push(peer.take("/ecmnet/transition_event")?["goal_state"]["label"].take());
    }
    assert_eq!(goals, ["configuring", "unconfigured"]);
    node.wait_for_line("late.safetensors")?;
    status_that(&mut peer, "an error that names the file", |status| {
        let message = status["message"].as_str().unwrap_or_default();
        status["level"] == 2 && message.contains("late.safetensors")
    })?;
    assert!(!change(&mut peer, ACTIVATE)?);
    // What was missing comes, and the same request is granted.
    fs::copy(made_weights(graph.folder())?, &file)?;
    assert!(change(&mut peer, CONFIGURE)?);
    assert_eq!(state(&mut peer)?, INACTIVE);
    status_that(&mut peer, "OK once it is configured", |status| {
        status["level"] == 0
    })?;
    assert!(node.is_running()?);
    Ok(())
}

#[test]
fn a_node_that_starts_by_itself_can_be_managed_and_is_finalized_from_active() -> Result<()> {
    let graph = Graph::new()?;
    let mut node = graph.running_node(&[])?;
    let mut peer = graph.peer("manager")?;
    wait_for("the active node", || {
        Ok((state(&mut peer)? == ACTIVE).then_some(()))
    })?;
    assert!(!change(&mut peer, CONFIGURE)?, "it is active");
    peer.subscribe_images(MASK)?;
    peer.advertise_images("/image", true)?;
    peer.mask_of("/image", &rgb_image(48, 32), MASK)?;
    assert!(change(&mut peer, ACTIVE_SHUTDOWN)?);
    assert_eq!(state(&mut peer)?, FINALIZED);
    assert!(!change(&mut peer, CONFIGURE)?);
    peer.publish("/image", &rgb_image(49, 32))?;
    ensure!(peer.is_silent(MASK, 1.0)?, "a mask of a finalized node");
    assert!(node.is_running()?);
    node.signal("TERM")?;
    assert!(node.wait()?.success());
    Ok(())
}
