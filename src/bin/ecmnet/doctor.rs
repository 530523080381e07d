//! `ecmnet doctor`: what this machine offers, line by line, and what to do about what it lacks.

use std::env;
use std::fs;

use anyhow::{Result, bail};
use clap::Args;
use ecmnet_ros::segmenter::NetworkSize;

use crate::network::NetworkArguments;
use crate::output::{print, sentence};

/// Receive buffer that lets a few raw camera images wait: what Fast DDS's documentation asks for.
const GOOD_RMEM_MAX_BYTES: u64 = 4 << 20;

/// How long a first publisher is waited for. Discovery on one machine takes a few tenths of a second;
/// on a busy one it may take a second round of announcements, which DDS sends every 3 s.
#[cfg(feature = "ros")]
const DISCOVERY: std::time::Duration = std::time::Duration::from_secs(10);

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Topic whose publishers to look for, such as /camera/image_raw; may be given more than once
    #[arg(long, value_name = "TOPIC", value_parser = full_name)]
    topic: Vec<String>,
    #[command(flatten)]
    network: NetworkArguments,
}

/// What was found of one thing.
enum Finding {
    Good(String),
    /// Works, with less than one may want.
    Notable(String),
    Bad(String),
}

/// Prints every finding; errs if one keeps the programs from working.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut findings = vec![
        ("program", Finding::Good(crate::VERSION.to_owned())),
        ("weights", weights(&arguments.network)),
        ("gpu", gpu()),
        ("ros", ros()),
        ("domain", domain()),
        ("buffers", buffers()),
    ];
    for name in &arguments.topic {
        findings.extend(topic(name).into_iter().map(|finding| ("topic", finding)));
    }
    let mut bad = 0;
    let mut lines = String::new();
    for (name, finding) in &findings {
        let (mark, text) = match finding {
            Finding::Good(text) => ("ok  ", text),
            Finding::Notable(text) => ("note", text),
            Finding::Bad(text) => {
                bad += 1;
                ("FAIL", text)
            }
        };
        lines += &format!("{mark}  {name:10}{text}\n");
    }
    print(&lines)?;
    if bad > 0 {
        bail!("{bad} of {} checks failed", findings.len());
    }
    Ok(())
}

fn weights(arguments: &NetworkArguments) -> Finding {
    let loaded = arguments
        .weights()
        .and_then(|path| Ok((path, arguments.segmenter(NetworkSize::Train)?)));
    match loaded {
        Ok((path, segmenter)) => Finding::Good(format!(
            "{}: {} classes, plan {}, on {}",
            path.display(),
            segmenter.classes().len(),
            segmenter.metadata().plan,
            segmenter.device_name()
        )),
        Err(error) => Finding::Bad(sentence(&error)),
    }
}

#[cfg(feature = "cuda")]
fn gpu() -> Finding {
    match ecmnet_ros::engine::gpus() {
        Ok(gpus) => {
            let lines = gpus.iter().enumerate().map(|(index, gpu)| {
                let [major, minor] = gpu.compute_capability;
                let gigabytes = gpu.memory_bytes as f64 / 1e9;
                let name = &gpu.name;
                format!(
                    "cuda:{index} {name}, {gigabytes:.0} GB, compute capability {major}.{minor}"
                )
            });
            Finding::Good(lines.collect::<Vec<_>>().join("; "))
        }
        Err(error) => Finding::Notable(format!("{error}; the CPU is used")),
    }
}

#[cfg(not(feature = "cuda"))]
fn gpu() -> Finding {
    match fs::read_to_string("/proc/driver/nvidia/version") {
        Ok(text) => {
            let driver = text.lines().next().unwrap_or_default().trim().to_owned();
            Finding::Notable(format!(
                "{driver}; this build has no CUDA engine, so it is not used"
            ))
        }
        Err(_) => Finding::Notable("no NVIDIA driver; the CPU is used".to_owned()),
    }
}

fn ros() -> Finding {
    if cfg!(not(feature = "ros")) {
        let text = "this build has no ROS 2 node; build with default features for one";
        return Finding::Notable(text.to_owned());
    }
    let prefixes = env::var("AMENT_PREFIX_PATH").unwrap_or_default();
    if prefixes.is_empty() {
        let text = "none is sourced, so the node uses the one that it was built against";
        return Finding::Good(text.to_owned());
    }
    let distro = env::var("ROS_DISTRO").unwrap_or_else(|_| "unnamed".to_owned());
    let rmw =
        env::var("RMW_IMPLEMENTATION").unwrap_or_else(|_| "the default middleware".to_owned());
    Finding::Good(format!("{distro} with {rmw}, from {prefixes}"))
}

fn domain() -> Finding {
    match env::var("ROS_DOMAIN_ID") {
        Err(_) => Finding::Good("ROS_DOMAIN_ID is not set: domain 0".to_owned()),
        Ok(text) => match text.parse::<u32>() {
            // Beyond that, DDS's ports run into those that the kernel hands out.
            Ok(domain) if domain <= 101 => Finding::Good(format!("ROS_DOMAIN_ID is {domain}")),
            _ => Finding::Bad(format!(
                "ROS_DOMAIN_ID is '{text}'; set a number from 0 to 101"
            )),
        },
    }
}

fn buffers() -> Finding {
    let rmem = fs::read_to_string("/proc/sys/net/core/rmem_max");
    match rmem.ok().and_then(|text| text.trim().parse::<u64>().ok()) {
        Some(bytes) if bytes >= GOOD_RMEM_MAX_BYTES => {
            Finding::Good(format!("net.core.rmem_max is {bytes} bytes"))
        }
        Some(bytes) => Finding::Notable(format!(
            "net.core.rmem_max is {bytes} bytes; over UDP big images get lost below \
             {GOOD_RMEM_MAX_BYTES} (sysctl -w net.core.rmem_max={GOOD_RMEM_MAX_BYTES})"
        )),
        None => Finding::Notable("net.core.rmem_max cannot be read".to_owned()),
    }
}

/// A finding for each publisher, or one that says why there is none.
#[cfg(feature = "ros")]
fn topic(name: &str) -> Vec<Finding> {
    use ecmnet_ros::ros::{TopicPublisher, publishers_of_topic};

    let line = |publisher: &TopicPublisher| {
        let reliability = if publisher.reliable {
            "reliable"
        } else {
            "best effort"
        };
        let durability = if publisher.transient_local {
            "transient local"
        } else {
            "volatile"
        };
        let TopicPublisher {
            node, type_name, ..
        } = publisher;
        let text = format!("{name} [{type_name}] from {node}, {reliability}, {durability}");
        match type_name.as_str() {
            "sensor_msgs/msg/Image" | "sensor_msgs/msg/CompressedImage" => Finding::Good(text),
            _ => Finding::Notable(format!("{text}; no images, so the node cannot use it")),
        }
    };
    match publishers_of_topic(name, DISCOVERY) {
        Ok(publishers) if publishers.is_empty() => vec![Finding::Bad(format!(
            "nobody publishes {name}; check its name (ros2 topic list), that ROS_DOMAIN_ID is the \
             camera's, and ROS_AUTOMATIC_DISCOVERY_RANGE if it is on another machine"
        ))],
        Ok(publishers) => publishers.iter().map(line).collect(),
        Err(error) => vec![Finding::Bad(error.to_string())],
    }
}

#[cfg(not(feature = "ros"))]
fn topic(name: &str) -> Vec<Finding> {
    let text = format!("{name}: this build has no ROS 2, so its publishers cannot be looked for");
    vec![Finding::Bad(text)]
}

fn full_name(text: &str) -> Result<String, String> {
    if text.starts_with('/') && text.len() > 1 {
        Ok(text.to_owned())
    } else {
        Err("a full topic name that starts with / is needed".to_owned())
    }
}
