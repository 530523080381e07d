//! `ecmnet doctor --topic` on a live graph with an rclpy publisher.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::domain::Domain;
use crate::program::Bench;

/// Publishes nothing, offers images best effort, says so, and ends when its input does.
const PEER: &str = "\
import sys, rclpy
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node('camera', namespace='front')
publisher = node.create_publisher(Image, '/front/image_raw', qos_profile_sensor_data)
print('ready', flush=True)
sys.stdin.read()
";

struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_live_topic_is_shown_with_what_its_publisher_offers_and_a_dead_one_fails() -> Result<()> {
    let held = Domain::hold()?;
    let domain = held.id.to_string();
    let graph = [
        ("ROS_DOMAIN_ID", domain.as_str()),
        ("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST"),
    ];
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/ros_python");
    let mut peer = Peer(
        Command::new(python)
            .args(["-c", PEER])
            .envs(graph)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?,
    );
    let mut ready = String::new();
    BufReader::new(peer.0.stdout.take().context("its output")?).read_line(&mut ready)?;
    assert_eq!(ready, "ready\n");

    let bench = Bench::new()?;
    let options = ["doctor", "--weights", "weights.safetensors", "--topic"];
    let said = bench.ecmnet_in(&graph, &[&options[..], &["/front/image_raw"]].concat())?;
    assert_eq!(said.status, Some(0), "{}{}", said.out, said.err);
    let want = "/front/image_raw [sensor_msgs/msg/Image] from /front/camera, best effort, volatile";
    assert!(said.out.contains(want), "{}", said.out);

    let said = bench.ecmnet_in(&graph, &[&options[..], &["/nobody"]].concat())?;
    assert_eq!(said.status, Some(1));
    assert!(
        said.out
            .contains("FAIL  topic     nobody publishes /nobody"),
        "{}",
        said.out
    );
    Ok(())
}
