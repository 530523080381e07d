//! What the live graph says of a topic, asked without running the node.

use std::time::Duration;

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

/// Returns the publishers of `topic`, a fully qualified name, that are found within `wait`; the
/// whole of it is waited for, since discovery has no end. Errs if ROS cannot be started.
pub fn publishers_of_topic(topic: &str, wait: Duration) -> Result<Vec<TopicPublisher>, NodeError> {
    let context = context::create(&RosArguments::default())?;
    let name = format!("ecmnet_doctor_{}", std::process::id());
    let node = r2r::Node::create(context, &name, "")
        .map_err(NodeError::ros("create a node to ask with"))?;
    std::thread::sleep(wait);
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
