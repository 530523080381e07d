//! What the live graph says of a topic, asked without running the node.

use std::thread;
use std::time::{Duration, Instant};

use r2r::qos::{DurabilityPolicy, ReliabilityPolicy};

use super::arguments::RosArguments;
use super::context;
use super::error::NodeError;

/// A publisher of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPublisher {
    /// The node's fully qualified name.
    pub node: String,
    /// The type that it publishes, such as `sensor_msgs/msg/Image`.
    pub type_name: String,
    /// Whether it sends lost messages again.
    pub reliable: bool,
    /// Whether late subscribers get its last messages.
    pub transient_local: bool,
}

/// Time that a topic's further publishers have after the first was found.
const SETTLE: Duration = Duration::from_secs(1);

/// Time between two looks at the graph.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Returns the publishers of `topic`, a fully qualified name: those found up to a second after the
/// first, or none if none was found within `limit`. Errs if ROS cannot be started.
pub fn publishers_of_topic(topic: &str, limit: Duration) -> Result<Vec<TopicPublisher>, NodeError> {
    let context = context::create(&RosArguments::default())?;
    let name = format!("ecmnet_doctor_{}", std::process::id());
    let node = r2r::Node::create(context, &name, "")
        .map_err(NodeError::ros("create a node to ask with"))?;
    let started = Instant::now();
    while publishers(&node, topic)?.is_empty() {
        if started.elapsed() >= limit {
            return Ok(Vec::new());
        }
        thread::sleep(LOOK_EVERY);
    }
    thread::sleep(SETTLE);
    publishers(&node, topic)
}

fn publishers(node: &r2r::Node, topic: &str) -> Result<Vec<TopicPublisher>, NodeError> {
    let endpoints = node
        .get_publishers_info_by_topic(topic, false)
        .map_err(NodeError::ros("list the publishers of a topic"))?;
    Ok(endpoints
        .into_iter()
        .map(|endpoint| TopicPublisher {
            node: format!(
                "{}/{}",
                endpoint.node_namespace.trim_end_matches('/'),
                endpoint.node_name
            ),
            type_name: endpoint.topic_type,
            reliable: endpoint.qos_profile.reliability == ReliabilityPolicy::Reliable,
            transient_local: endpoint.qos_profile.durability == DurabilityPolicy::TransientLocal,
        })
        .collect())
}
