//! rosbag2's `metadata.yaml`, version 9.

use std::fmt::Write as _;

use super::Qos;
use super::type_hash::type_hash;

/// What `metadata.yaml` says of a topic that is being written.
#[derive(Clone, Debug)]
pub(super) struct WrittenTopic {
    pub(super) name: String,
    pub(super) type_name: String,
    pub(super) qos: Qos,
    pub(super) messages: u64,
}

/// What `metadata.yaml` says of a bag of one MCAP file.
#[derive(Debug)]
pub(super) struct WrittenBag<'a> {
    /// The storage file's name within the folder.
    pub(super) file_name: &'a str,
    /// Times of the first and the last message, nanoseconds; `None` without messages.
    pub(super) span_ns: Option<(u64, u64)>,
    pub(super) topics: &'a [WrittenTopic],
}

impl WrittenBag<'_> {
    /// Returns the fields as YAML, each line behind `indent` spaces.
    pub(super) fn to_yaml(&self, indent: usize) -> String {
        let (start_ns, end_ns) = self.span_ns.unwrap_or_default();
        let duration_ns = end_ns - start_ns;
        let messages: u64 = self.topics.iter().map(|topic| topic.messages).sum();
        let file = quoted(self.file_name);
        let mut yaml = format!(
            "version: 9\nstorage_identifier: mcap\nduration:\n  nanoseconds: {duration_ns}\n\
             starting_time:\n  nanoseconds_since_epoch: {start_ns}\nmessage_count: {messages}\n"
        );
        yaml += if self.topics.is_empty() {
            "topics_with_message_count: []\n"
        } else {
            "topics_with_message_count:\n"
        };
        for topic in self.topics {
            let [name, type_name] = [&topic.name, &topic.type_name].map(|text| quoted(text));
            let hash = quoted(type_hash(&topic.type_name));
            let messages = topic.messages;
            let qos = topic.qos.to_yaml(6);
            let _ = write!(
                yaml,
                "  - topic_metadata:\n      name: {name}\n      type: {type_name}\n      \
                 serialization_format: cdr\n      offered_qos_profiles:\n{qos}      \
                 type_description_hash: {hash}\n    message_count: {messages}\n"
            );
        }
        let _ = write!(
            yaml,
            "compression_format: \"\"\ncompression_mode: \"\"\nrelative_file_paths:\n  - {file}\n\
             files:\n  - path: {file}\n    starting_time:\n      \
             nanoseconds_since_epoch: {start_ns}\n    duration:\n      \
             nanoseconds: {duration_ns}\n    message_count: {messages}\n\
             custom_data: ~\nros_distro: jazzy\n"
        );
        yaml.lines()
            .map(|line| format!("{:indent$}{line}\n", ""))
            .collect()
    }
}

/// Returns `text` as a double-quoted YAML scalar; JSON's escapes are YAML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
