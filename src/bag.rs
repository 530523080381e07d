//! rosbag2 bags without ROS: MCAP and sqlite3 are read, MCAP is written.
//!
//! A bag is a folder with `metadata.yaml` and one or more storage files, or one bare storage file.

mod error;
mod metadata;
mod qos;
mod type_hash;
mod writer;

pub use error::BagError;
pub use qos::Qos;
pub use writer::{BagWriter, TopicId};
