//! The shipped layouts name topics and types that the running node has.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::graph::{Graph, repository, wait_for};

const IMAGE: &str = "sensor_msgs/msg/Image";

#[test]
fn every_topic_and_type_of_the_layouts_exists_on_the_running_node() -> Result<()> {
    let graph = Graph::new()?;
    let _node = graph.running_node(&[])?;
    let mut peer = graph.peer("viewer")?;
    let mut wanted = rviz_topics()?;
    ensure!(wanted.len() >= 2, "the RViz layout shows {wanted:?}");
    let foxglove = foxglove_topics()?;
    ensure!(
        foxglove.len() >= 4,
        "the Foxglove layout shows {foxglove:?}"
    );
    wanted.extend(foxglove);
    for (topic, type_name) in wanted {
        wait_for(&format!("{topic} of the node as {type_name}"), || {
            let endpoints = peer.ask("endpoints", json!({ "topic": topic }))?;
            let publishers = endpoints["publishers"].as_array().context("a list")?;
            let is_it = |publisher: &Value| {
                publisher["node"] == "/ecmnet" && publisher["type"] == type_name
            };
            Ok(publishers.iter().any(is_it).then_some(()))
        })?;
    }
    Ok(())
}

/// Returns the topics of the RViz displays with the types that these show.
fn rviz_topics() -> Result<BTreeMap<String, &'static str>> {
    let text = fs::read_to_string(repository().join("config/ecmnet.rviz"))?;
    let mut class = "";
    let mut topics = BTreeMap::new();
    for line in text
        .lines()
        .map(|line| line.trim().trim_start_matches("- "))
    {
        if let Some(name) = line.strip_prefix("Class: rviz_default_plugins/") {
            class = name;
        }
        if let Some(topic) = line.strip_prefix("Value: /") {
            ensure!(class == "Image", "no type is known for the display {class}");
            topics.insert(format!("/{topic}"), IMAGE);
        }
    }
    Ok(topics)
}

/// Returns the topics of the Foxglove panels with the types that these show.
fn foxglove_topics() -> Result<BTreeMap<String, &'static str>> {
    let text = fs::read_to_string(repository().join("config/ecmnet_foxglove.json"))?;
    let layout: Value = serde_json::from_str(&text)?;
    let panels = layout["configById"].as_object().context("panels")?;
    let mut topics = BTreeMap::new();
    for (panel, config) in panels {
        let (topic, type_name) = match panel.split('!').next() {
            Some("Image") => (&config["imageMode"]["imageTopic"], IMAGE),
            Some("DiagnosticSummary") => (
                &config["topicToRender"],
                "diagnostic_msgs/msg/DiagnosticArray",
            ),
            Some("RawMessages") => (&config["topicPath"], "vision_msgs/msg/LabelInfo"),
            Some("RosOut") => (&config["topicToRender"], "rcl_interfaces/msg/Log"),
            _ => bail!("no type is known for the panel {panel}"),
        };
        topics.insert(topic.as_str().context("a topic")?.to_owned(), type_name);
        let shown = layout["layout"]
            .to_string()
            .contains(&format!("\"{panel}\""));
        ensure!(shown, "{panel} is in no place of the layout");
    }
    Ok(topics)
}
