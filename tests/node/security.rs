//! SROS 2: the policy that ships, and a node that has to be secure and cannot be.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result, ensure};
use roxmltree::{Document, Node as Element};
use serde_json::{Value, json};

use super::drivable::{AREA, GRID_TYPE};
use super::graph::{Graph, repository, wait_for};

/// What a node may do or does: "publish", "subscribe", "reply" and "request" to names.
type Rights = BTreeMap<String, BTreeSet<String>>;

const RIGHTS: [&str; 4] = ["publish", "subscribe", "reply", "request"];

#[test]
fn the_policy_allows_what_a_running_node_uses_and_nothing_else() -> Result<()> {
    let allowed = rights_of_policy()?;
    let graph = Graph::new()?;
    let mut peer = graph.peer("watcher")?;
    let cameras = [
        ("raw", "/camera/image_raw", "Image"),
        (
            "compressed",
            "/camera/image_raw/compressed",
            "CompressedImage",
        ),
    ];
    let mut used = Rights::new();
    for (transport, topic, type_name) in cameras {
        let transport = format!("image_transport:={transport}");
        let remaps = [
            "-r",
            "image:=/camera/image_raw",
            "-r",
            "camera_info:=/camera/camera_info",
        ];
        let parameters = ["-p", "use_sim_time:=true", "-p", &transport];
        let node = graph.running_node(&[remaps, parameters].concat())?;
        peer.advertise(topic, &format!("sensor_msgs/msg/{type_name}"), true)?;
        peer.subscribe(AREA, GRID_TYPE)?;
        let reads = |used: &Value, topic: &str| {
            let topics = used["subscribe"].as_array();
            topics.is_some_and(|topics| topics.iter().any(|name| name == topic))
        };
        let now = wait_for("the subscriptions of the camera and of /tf", || {
            let now = peer.ask("used_by", json!({"node": "ecmnet"}))?;
            Ok((reads(&now, topic) && reads(&now, "/tf")).then_some(now))
        })?;
        for right in RIGHTS {
            let names: Vec<String> = serde_json::from_value(now[right].clone())?;
            used.entry(right.to_owned()).or_default().extend(names);
        }
        drop(node);
        wait_for("the node to be gone from the graph", || {
            let now = peer.ask("used_by", json!({"node": "ecmnet"}))?;
            Ok(now.is_null().then_some(()))
        })?;
    }
    for right in RIGHTS {
        let [allowed, used] = [&allowed, &used].map(|rights| rights.get(right));
        ensure!(
            allowed.cloned().unwrap_or_default() == used.cloned().unwrap_or_default(),
            "{right}: the policy allows {allowed:#?}, the node uses {used:#?}"
        );
    }
    Ok(())
}

#[test]
fn a_node_that_has_to_be_secure_and_cannot_be_does_not_start() -> Result<()> {
    let graph = Graph::new()?;
    let enclave = graph.folder().join("keys/enclaves/ecmnet");
    fs::create_dir_all(&enclave)?;
    for file in ["cert.pem", "key.pem", "identity_ca.cert.pem"] {
        fs::write(enclave.join(file), "no certificate")?;
    }
    for file in [
        "permissions_ca.cert.pem",
        "governance.p7s",
        "permissions.p7s",
    ] {
        fs::write(enclave.join(file), "not signed")?;
    }
    for (name, reason) in [("/ecmnet", "create the node"), ("/other", "does not exist")] {
        let output = graph
            .node_command(&["--enclave", name])?
            .env("ROS_SECURITY_KEYSTORE", graph.folder().join("keys"))
            .env("ROS_SECURITY_ENABLE", "true")
            .env("ROS_SECURITY_STRATEGY", "Enforce")
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1), "{said}");
        ensure!(
            said.contains(reason) && !said.contains("panicked"),
            "{said}"
        );
    }
    Ok(())
}

/// The names of the policy's only profile in full, as sros2 makes them.
fn rights_of_policy() -> Result<Rights> {
    let text = fs::read_to_string(repository().join("config/sros2_policy.xml"))?;
    let policy = Document::parse(&text)?;
    let profile = (policy.descendants())
        .find(|element| element.has_tag_name("profile"))
        .context("a profile")?;
    ensure!(profile.attribute("ns") == Some("/"));
    let node = profile.attribute("node").context("the node's name")?;
    let full = |name: &str| match name.strip_prefix('~') {
        Some(rest) => format!("/{node}{rest}"),
        None if name.starts_with('/') => name.to_owned(),
        None => format!("/{name}"),
    };
    let mut rights = Rights::new();
    for group in profile.children().filter(Element::is_element) {
        for right in group.attributes() {
            ensure!(right.value() == "ALLOW");
            let names = group.children().filter_map(|child| child.text());
            let names = names.map(str::trim).filter(|name| !name.is_empty());
            let of_right = rights.entry(right.name().to_owned()).or_default();
            of_right.extend(names.map(full));
        }
    }
    Ok(rights)
}
