//! Autoware: the mask in runs of its own label ids.

use std::fs;

use anyhow::{Context, Result, ensure};
use ecmnet_ros::autoware::AutowareIds;
use ecmnet_ros::labels::ClassTable;
use ecmnet_ros::network::Weights;
use serde_json::{Value, json};

use super::super::graph::{Graph, repository};
use super::super::parameters::set;
use super::super::pictures::{bytes_from_base64, rgb_image};
use super::super::weights::CLASSES;
use super::{Contract, FRAMES, Tally};

/// How many labels Autoware has.
const LABELS: u8 = 16;

#[test]
#[allow(
    clippy::print_stdout,
    reason = "the figures are worth more than the pass"
)]
fn autowares_fusion_decodes_the_nodes_own_mask_and_finds_the_true_road_by_it() -> Result<()> {
    let mut contract = Contract::start("autoware", "autoware_fusion.py")?;
    let [mut road, mut off_road] = [Tally::default(); 2];
    for frame in 0..FRAMES {
        let told = contract.show(frame)?;
        ensure!(told["differ"] == 0, "{told}");
        ensure!(
            told["frame_id"] == "camera_optical_frame" && told["encoding"] == "mono8",
            "{told}"
        );
        ensure!(told["size"] == json!([1280, 720, 1280]), "{told}");
        let bytes = told["bytes"].as_u64().context("a number")?;
        ensure!(bytes > 0 && bytes < 1280 * 720 / 4, "runs: {told}");
        let frame = &contract.drive.frames[frame];
        let mut labels_at = |places: Vec<[f64; 2]>| -> Result<Vec<Value>> {
            let points: Vec<_> = places.iter().map(|[x, y]| [*x, *y, 0.0]).collect();
            let labels = contract
                .planner
                .ask("labels_at", json!({ "points": points }))?;
            Ok(serde_json::from_value(labels)?)
        };
        let seen = |labels: Vec<Value>| labels.into_iter().filter(|label| !label.is_null());
        road.add(seen(labels_at(frame.visible_road().collect())?), |label| {
            label == "ROAD"
        });
        off_road.add(
            seen(labels_at(frame.visible_off_road().collect())?),
            |label| label == "SIDEWALK" || label == "VEGETATION",
        );
    }
    println!("road: {road}; off road: {off_road}");
    // The world weights' IoU of road is 0.99; of pavement 0.89 and of trees, with lawns, 0.90.
    ensure!(road.all > 10_000 && road.share() >= 0.92, "{road}");
    ensure!(
        off_road.all > 5000 && off_road.share() >= 0.85,
        "{off_road}"
    );
    Ok(())
}

#[test]
fn the_autoware_profile_has_an_id_for_every_class_of_the_shipped_weights() -> Result<()> {
    let text = fs::read_to_string(repository().join("config/profiles/autoware.param.yaml"))?;
    let file: serde_json::Value = serde_saphyr::from_str(&text)?;
    let entries = file["/**"]["ros__parameters"]["autoware.label_ids"].clone();
    let entries: Vec<String> = serde_json::from_value(entries)?;
    let mut files = 0;
    for entry in fs::read_dir(repository().join("models"))? {
        let path = entry?.path();
        if path
            .extension()
            .is_none_or(|extension| extension != "safetensors")
        {
            continue;
        }
        files += 1;
        let metadata = Weights::load(&path)?.metadata().clone();
        let classes = ClassTable {
            names: metadata.classes,
            palette: Vec::new(),
            drivable: Vec::new(),
            ignore_id: 255,
        };
        let ids = AutowareIds::new(&classes, &entries)?;
        ensure!(ids.unmapped().is_empty(), "{path:?}: {:?}", ids.unmapped());
        let known = (0..=u8::MAX).take(classes.names.len());
        ensure!(
            known
                .clone()
                .all(|class_id| (1..LABELS).contains(&ids.id(class_id)))
        );
    }
    ensure!(files >= 3, "{files} files of weights");
    Ok(())
}

#[test]
fn classes_without_an_id_are_unknown_until_they_are_given_one() -> Result<()> {
    const MASK: &str = "/ecmnet/autoware/mask";
    let graph = Graph::new()?;
    let node = graph.running_node(&[])?;
    let mut camera = graph.peer("camera")?;
    camera.subscribe_images(MASK)?;
    camera.advertise_images("/image", true)?;
    let mask = camera.mask_of("/image", &rgb_image(48, 32), MASK)?;
    let runs = |mask: &Value| bytes_from_base64(mask["data"].as_str().unwrap_or_default());
    ensure!(
        runs(&mask) == [0, 0, 6, 0, 0],
        "one run of 48 x 32 pixels: {mask}"
    );
    node.wait_for_line("autoware.label_ids has no id for class 0, class 1")?;
    let ids = |id: u16| {
        let all: Vec<_> = (0..CLASSES)
            .map(|class| format!("class {class}={id}"))
            .collect();
        json!([{"name": "autoware.label_ids", "value": {"type": 9, "string_array_value": all}}])
    };
    let refused = set(&mut camera, ids(256))?[0].take();
    let reason = refused["reason"].as_str().unwrap_or_default();
    ensure!(
        refused["successful"] == false && reason.contains("0 to 255"),
        "{refused}"
    );
    ensure!(set(&mut camera, ids(255))?[0]["successful"] == true);
    let picture = rgb_image(48, 32);
    camera.publish_until("/image", &picture, MASK, |mask| {
        runs(mask) == [255, 0, 6, 0, 0]
    })?;
    Ok(())
}
