//! The shipped layouts show what the running node has: topics, types, and a QoS that connects.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::graph::{Graph, repository, wait_for};

const IMAGE: &str = "sensor_msgs/msg/Image";
const GRID: &str = "nav_msgs/msg/OccupancyGrid";
const CLOUD: &str = "sensor_msgs/msg/PointCloud2";
const OUTLINE: &str = "geometry_msgs/msg/PolygonStamped";
const SCAN: &str = "sensor_msgs/msg/LaserScan";

/// The camera's own topic, which layouts show beside the node's.
const INPUT: &str = "/image";

/// How a panel reads a topic.
#[derive(Clone, Copy, Debug)]
struct Reader {
    type_name: &'static str,
    is_reliable: bool,
    is_latched: bool,
}

#[test]
fn every_topic_of_the_layouts_is_the_running_nodes_with_its_type_and_qos() -> Result<()> {
    let graph = Graph::new()?;
    let _node = graph.running_node(&[])?;
    let mut peer = graph.peer("viewer")?;
    peer.advertise_images(INPUT, true)?;
    let rviz = rviz_readers()?;
    let foxglove = foxglove_readers()?;
    let mut latched = rviz.values().filter(|reader| reader.is_latched);
    ensure!(
        latched.any(|reader| reader.type_name == GRID),
        "RViz gets no grid that was latched before it began"
    );
    for (layout, readers) in [("RViz", &rviz), ("Foxglove", &foxglove)] {
        for type_name in [IMAGE, GRID, CLOUD, OUTLINE, SCAN] {
            let is_shown = readers.values().any(|reader| reader.type_name == type_name);
            ensure!(is_shown, "the {layout} layout shows no {type_name}");
        }
    }
    for (topic, reader) in rviz.into_iter().chain(foxglove) {
        let (side, other) = match topic.as_str() {
            INPUT => ("subscriptions", "input"),
            _ => ("publishers", "output"),
        };
        wait_for(&format!("{other} {topic} for {reader:?}"), || {
            let endpoints = peer.ask("endpoints", json!({ "topic": topic }))?;
            let endpoints = endpoints[side].as_array().context("a list")?;
            let of_node =
                |end: &&Value| end["node"] == "/ecmnet" && end["type"] == reader.type_name;
            let Some(end) = endpoints.iter().find(of_node) else {
                return Ok(None);
            };
            let is_output = topic != INPUT;
            let offers = |quality: &str| !is_output || end[quality] == true;
            ensure!(!reader.is_reliable || offers("reliable"), "{topic}: {end}");
            ensure!(!reader.is_latched || offers("latched"), "{topic}: {end}");
            Ok(Some(()))
        })?;
    }
    Ok(())
}

/// Returns the topics of the RViz displays and how these read them.
fn rviz_readers() -> Result<BTreeMap<String, Reader>> {
    let text = fs::read_to_string(repository().join("config/ecmnet.rviz"))?;
    let layout: Value = serde_saphyr::from_str(&text)?;
    let displays = layout["Visualization Manager"]["Displays"]
        .as_array()
        .context("displays")?;
    let mut readers = BTreeMap::new();
    for display in displays {
        let class = display["Class"].as_str().context("a class")?;
        let type_name = match class.strip_prefix("rviz_default_plugins/") {
            Some("Image") => IMAGE,
            Some("Map") => GRID,
            Some("PointCloud2") => CLOUD,
            Some("Polygon") => OUTLINE,
            Some("LaserScan") => SCAN,
            Some("TF") => continue,
            _ => bail!("no type is known for the display {class}"),
        };
        let topic = &display["Topic"];
        let reader = Reader {
            type_name,
            is_reliable: topic["Reliability Policy"] == "Reliable",
            is_latched: topic["Durability Policy"] == "Transient Local",
        };
        readers.insert(topic["Value"].as_str().context("a topic")?.into(), reader);
    }
    Ok(readers)
}

/// Returns the topics of the Foxglove panels; the bridge reads each as its publisher offers it.
fn foxglove_readers() -> Result<BTreeMap<String, Reader>> {
    let text = fs::read_to_string(repository().join("config/ecmnet_foxglove.json"))?;
    let layout: Value = serde_json::from_str(&text)?;
    let panels = layout["configById"].as_object().context("panels")?;
    let mut readers = BTreeMap::new();
    let mut add = |topic: &str, type_name| {
        let reader = Reader {
            type_name,
            is_reliable: false,
            is_latched: false,
        };
        readers.insert(topic.to_owned(), reader);
    };
    let places = layout["layout"].to_string();
    for (panel, config) in panels {
        let is_shown = places.contains(&format!("\"{panel}\""));
        ensure!(is_shown, "{panel} is in no place of the layout");
        let (topic, type_name) = match panel.split('!').next() {
            Some("3D") => {
                let topics = config["topics"].as_object().context("topics")?;
                for topic in topics.keys() {
                    let type_name = match topic.as_str() {
                        "/ecmnet/drivable_area" => GRID,
                        "/ecmnet/drivable_boundary" => OUTLINE,
                        "/ecmnet/free_space_scan" => SCAN,
                        _ => CLOUD,
                    };
                    add(topic, type_name);
                }
                continue;
            }
            Some("Image") => (&config["imageMode"]["imageTopic"], IMAGE),
            Some("DiagnosticSummary") => (
                &config["topicToRender"],
                "diagnostic_msgs/msg/DiagnosticArray",
            ),
            Some("RawMessages") => (&config["topicPath"], "vision_msgs/msg/LabelInfo"),
            Some("RosOut") => (&config["topicToRender"], "rcl_interfaces/msg/Log"),
            _ => bail!("no type is known for the panel {panel}"),
        };
        add(topic.as_str().context("a topic")?, type_name);
    }
    Ok(readers)
}
