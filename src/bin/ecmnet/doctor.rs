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

#[derive(Debug, Args)]
pub(crate) struct Arguments {
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
    let findings = [
        ("program", Finding::Good(crate::VERSION.to_owned())),
        ("weights", weights(&arguments.network)),
        ("gpu", gpu()),
        ("ros", ros()),
        ("domain", domain()),
        ("buffers", buffers()),
    ];
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
