//! Starts that cannot work end at once, with one sentence; odd surroundings do not matter.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::json;

use super::graph::{Graph, Node, repository, wait_for};
use super::pictures::rgb_image;
use super::weights::made_weights;

const MASK: &str = "/ecmnet/label_mask";

/// Checks that the node refuses to start with exit status 1 and one sentence that holds `said`.
fn assert_refused(mut command: Command, said: &str) -> Result<()> {
    let mut node = Node::start(&mut command)?;
    let status = node.wait()?;
    // The reader of its standard error may be a moment behind.
    node.wait_for_line("ecmnet_node: ")?;
    let written = node.written();
    ensure!(
        status.code() == Some(1),
        "{command:?} ended with {status}:\n{written}"
    );
    let sentences: Vec<_> = written
        .lines()
        .filter(|l| l.starts_with("ecmnet_node: "))
        .collect();
    ensure!(
        sentences.len() == 1 && sentences[0].contains(said),
        "'{said}' in:\n{written}"
    );
    ensure!(!written.contains("panicked"), "{written}");
    Ok(())
}

#[test]
fn wrong_parameters_are_refused_with_a_reason() -> Result<()> {
    let graph = Graph::new()?;
    for (argument, said) in [
        (
            "weihgts:=x",
            "there is no parameter 'weihgts'; there are weights, device",
        ),
        (
            "max_pixels:=two",
            "parameter 'max_pixels' was not set: it takes integer",
        ),
        ("overlay_alpha:=1", "write 1.0"),
        ("max_age_ms:=-1", "0 to 60000"),
        ("image_qos:=sometimes", "auto, reliable, best_effort"),
        ("network_size:=9x", "none of native, train, HxW"),
        (
            "cameras:=[front, 2nd]",
            "parameter 'cameras' was not set: '2nd' cannot be a part of a topic's name",
        ),
        ("cameras:=[left, left]", "two cameras are named 'left'"),
        (
            "cameras:=front",
            "it takes string array, but was given string",
        ),
        (
            "drivable_classes:=[asphalt]",
            "the weights have no class 'asphalt'",
        ),
        ("device:=cuda", "device cpu or auto"),
        ("weights:=/nowhere/w.safetensors", "/nowhere/w.safetensors"),
        (
            "weights:=''",
            "parameter 'weights' is empty: name a weights file",
        ),
    ] {
        assert_refused(graph.node_command(&["-p", argument])?, said)?;
    }
    Ok(())
}

#[test]
fn arguments_that_rcl_refuses_are_one_sentence_and_no_panic() -> Result<()> {
    let graph = Graph::new()?;
    let torn = graph.folder().join("torn.yaml");
    fs::write(&torn, "/**:\n  ros__parameters: [\n")?;
    let torn = torn.display().to_string();
    let cases: [(&[&str], &str); 6] = [
        (
            &["--params-file", "/nowhere/p.yaml"],
            "the parameter file /nowhere/p.yaml cannot be read",
        ),
        (&["--params-file", &torn], "torn.yaml"),
        (&["-p", "threads"], "the ROS arguments cannot be used"),
        (&["-p", "threads:=[1"], "the ROS arguments cannot be used"),
        (&["-r", "image=:/x"], "the ROS arguments cannot be used"),
        (
            &["--whatever"],
            "'--whatever' is not an argument that ROS knows",
        ),
    ];
    for (arguments, said) in cases {
        assert_refused(graph.node_command(arguments)?, said)?;
    }
    Ok(())
}

#[test]
fn weights_that_are_cut_or_no_weights_at_all_are_refused() -> Result<()> {
    let graph = Graph::new()?;
    let whole = fs::read(made_weights(graph.folder())?)?;
    for (name, bytes, said) in [
        (
            "cut",
            &whole[..whole.len() / 2],
            "not a whole safetensors file",
        ),
        ("pickle", b"\x80\x02}q\x00.", "pickle"),
    ] {
        let file = graph.folder().join(name);
        fs::write(&file, bytes)?;
        let argument = format!("weights:={}", file.display());
        assert_refused(graph.node_command(&["-p", &argument])?, said)?;
    }
    Ok(())
}

#[test]
fn a_node_without_a_home_or_with_a_read_only_one_works() -> Result<()> {
    let graph = Graph::new()?;
    for home in [None, Some("/proc")] {
        let mut command = graph.node_command(&[])?;
        command.env_remove("HOME");
        if let Some(home) = home {
            command.env("HOME", home);
        }
        let _node = Node::start(&mut command)?;
        let mut camera = graph.peer("camera")?;
        camera.subscribe_images(MASK)?;
        camera.advertise_images("/image", true)?;
        camera.mask_of("/image", &rgb_image(48, 32), MASK)?;
    }
    Ok(())
}

#[test]
fn the_shipped_parameter_file_starts_a_node_and_its_start_block_says_what_it_is() -> Result<()> {
    let graph = Graph::new()?;
    let file = repository().join("config/ecmnet.param.yaml");
    let file = file.display().to_string();
    let weights = format!("weights:={}", made_weights(graph.folder())?.display());
    let mut command = graph.command(Path::new(env!("CARGO_BIN_EXE_ecmnet_node")));
    command.args(["--ros-args", "--params-file", &file, "-p", &weights]);
    let node = Node::start(&mut command)?;
    node.wait_for_line("outputs: /ecmnet/label_mask")?;
    let written = node.written();
    for said in [
        concat!("ecmnet_node ", env!("CARGO_PKG_VERSION"), " ("),
        "licence of the weights: Apache-2.0",
        "device: cpu (",
        "network size: train (trained at 480x360)",
        "images: /image (transport auto, QoS auto",
        "at most 16000000 pixels",
    ] {
        ensure!(written.contains(said), "'{said}' in:\n{written}");
    }
    Ok(())
}

#[test]
fn the_log_reaches_rosout_also_for_late_readers() -> Result<()> {
    let graph = Graph::new()?;
    let _node = graph.running_node(&[])?;
    let mut reader = graph.peer("reader")?;
    let rosout = json!({"topic": "/rosout", "type": "rcl_interfaces/msg/Log", "latched": true});
    reader.ask("subscribe", rosout)?;
    let block = wait_for("the start block on /rosout", || {
        let line = reader.take("/rosout")?;
        let text = line["msg"].as_str().unwrap_or_default();
        Ok(text.starts_with("ecmnet_node ").then_some(line))
    })?;
    assert_eq!(
        (&block["name"], &block["level"]),
        (&json!("ecmnet"), &json!(20))
    );
    Ok(())
}
