//! rosbag2 bags without ROS: MCAP and sqlite3 are read, MCAP is written.
//!
//! A bag is a folder with `metadata.yaml` and one or more storage files, or one bare storage file.
//! What a cut or damaged file still holds is read, and each damage is reported.

use std::path::Path;

mod chunk;
mod error;
mod layout;
mod mcap_file;
mod messages;
mod metadata;
mod qos;
mod sqlite_file;
mod type_hash;
mod writer;

pub use error::{BagError, Damage};
pub use messages::{BagMessage, Messages};
pub use qos::Qos;
pub use writer::{BagWriter, TopicId};

use layout::{Layout, Storage};
use mcap_file::McapFile;
use sqlite_file::SqliteFile;

/// A topic of a bag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// The topic's name, such as `/camera/image_raw`.
    pub name: String,
    /// The type of its messages, such as `sensor_msgs/msg/Image`.
    pub type_name: String,
    /// How the messages are serialised; `cdr` is what this project reads.
    pub serialization: String,
}

/// A rosbag2 bag whose topics are known; its messages are read by [`Bag::messages`].
#[derive(Debug)]
pub struct Bag {
    files: Vec<StorageFile>,
    topics: Vec<Topic>,
    zstd_messages: bool,
}

#[derive(Debug)]
enum StorageFile {
    Mcap(McapFile),
    Sqlite(SqliteFile),
}

impl Bag {
    /// Opens a folder with `metadata.yaml` (or, where a recording was cut off, without), or one
    /// `.mcap` or `.db3` file.
    ///
    /// An MCAP file needs neither a summary nor an end. Errs if there is no storage file, if it
    /// is of another kind, compressed as a whole file, or not there.
    pub fn open(path: &Path) -> Result<Self, BagError> {
        let layout = Layout::find(path)?;
        let files = layout
            .files
            .iter()
            .map(|(storage, path)| match storage {
                Storage::Mcap => McapFile::open(path).map(StorageFile::Mcap),
                Storage::Sqlite => SqliteFile::open(path).map(StorageFile::Sqlite),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut topics: Vec<Topic> = Vec::new();
        for topic in files.iter().flat_map(|file| file.topics()) {
            if !topics.iter().any(|known| known.name == topic.name) {
                topics.push(topic.clone());
            }
        }
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self {
            files,
            topics,
            zstd_messages: layout.zstd_messages,
        })
    }

    /// Returns all topics, sorted by name.
    pub fn topics(&self) -> &[Topic] {
        &self.topics
    }

    /// Returns the topic of that name; errs with the topics that are there, and their types.
    pub fn topic(&self, name: &str) -> Result<&Topic, BagError> {
        self.topics
            .iter()
            .find(|topic| topic.name == name)
            .ok_or_else(|| BagError::MissingTopic {
                topic: name.to_owned(),
                there: self
                    .topics
                    .iter()
                    .map(|topic| format!("{} [{}]", topic.name, topic.type_name))
                    .collect(),
            })
    }

    /// Returns the messages of `topics` in the order of their log times; messages of one time
    /// keep the order in which they were written.
    ///
    /// Memory holds a few chunks, never the bag. Errs if a topic is missing or not CDR.
    pub fn messages(&self, topics: &[&str]) -> Result<Messages<'_>, BagError> {
        for name in topics {
            let topic = self.topic(name)?;
            if topic.serialization != "cdr" {
                return Err(BagError::Serialization {
                    topic: topic.name.clone(),
                    got: topic.serialization.clone(),
                });
            }
        }
        Messages::new(&self.files, topics, self.zstd_messages)
    }
}

impl StorageFile {
    fn topics(&self) -> Vec<&Topic> {
        match self {
            Self::Mcap(file) => file.topics().collect(),
            Self::Sqlite(file) => file.topics().collect(),
        }
    }
}
