//! Writes rosbag2 bags: a folder with one MCAP file and `metadata.yaml`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use mcap::records::{MessageHeader, Metadata};
use mcap::{Compression, WriteOptions};

use super::metadata::{WrittenBag, WrittenTopic};
use super::type_hash::type_hash;
use super::{BagError, Qos};
use crate::msg::Message;

/// A topic of the [`BagWriter`] that returned it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicId {
    /// The channel in the MCAP file.
    channel: u16,
    /// The place among the writer's topics.
    index: usize,
}

/// Writes a rosbag2 folder: MCAP with zstd chunks, profile `ros2`, `ros2msg` schemas, and
/// `metadata.yaml` version 9 with each topic's quality of service.
///
/// The bytes depend on nothing but the calls. Call [`BagWriter::finish`] to learn of errors; a
/// writer that is dropped without it, on an error elsewhere, still closes the bag, so that
/// everything written until then can be played. A killed process leaves whole chunks that
/// [`Bag`](super::Bag) reads.
pub struct BagWriter {
    /// `None` once the bag is closed.
    mcap: Option<mcap::Writer<BufWriter<File>>>,
    folder: PathBuf,
    file: PathBuf,
    file_name: String,
    topics: Vec<WrittenTopic>,
    span_ns: Option<(u64, u64)>,
}

impl BagWriter {
    /// Creates the folder, its parents where they are missing, and an empty storage file in it.
    ///
    /// Errs if `folder` exists, whatever is in it, or cannot be written.
    pub fn create(folder: &Path) -> Result<Self, BagError> {
        if let Some(parent) = folder.parent() {
            fs::create_dir_all(parent).map_err(|source| BagError::file(parent, source))?;
        }
        fs::create_dir(folder).map_err(|source| {
            if source.kind() == std::io::ErrorKind::AlreadyExists {
                let path = folder.to_owned();
                BagError::Exists { path }
            } else {
                BagError::file(folder, source)
            }
        })?;
        let stem = folder.file_name().unwrap_or("bag".as_ref());
        let file_name = format!("{}_0.mcap", stem.to_string_lossy());
        let file = folder.join(&file_name);
        let storage = File::create_new(&file).map_err(|source| BagError::file(&file, source))?;
        let mcap = WriteOptions::new()
            .profile("ros2")
            .library(concat!("ecmnet_ros ", env!("CARGO_PKG_VERSION")))
            .compression(Some(Compression::Zstd))
            .compression_level(1)
            // Worker threads would make the bytes depend on whether there are any.
            .compression_threads(0)
            .create(BufWriter::new(storage))
            .map_err(|source| BagError::mcap(&file, source))?;
        Ok(Self {
            mcap: Some(mcap),
            folder: folder.to_owned(),
            file,
            file_name,
            topics: Vec::new(),
            span_ns: None,
        })
    }

    /// Adds a topic of messages `M`.
    pub fn add_topic<'a, M: Message<'a>>(
        &mut self,
        name: &str,
        qos: Qos,
    ) -> Result<TopicId, BagError> {
        let type_name = M::TYPE;
        let mut metadata = BTreeMap::from([("offered_qos_profiles".to_owned(), qos.to_yaml(0))]);
        let hash = type_hash(type_name);
        if !hash.is_empty() {
            metadata.insert("topic_type_hash".to_owned(), hash.to_owned());
        }
        let channel = self.with_mcap(|mcap| {
            let schema = mcap.add_schema(type_name, "ros2msg", M::DEFINITION.as_bytes())?;
            mcap.add_channel(schema, name, "cdr", &metadata)
        })?;
        self.topics.push(WrittenTopic {
            name: name.to_owned(),
            type_name: type_name.to_owned(),
            qos,
            messages: 0,
        });
        let index = self.topics.len() - 1;
        Ok(TopicId { channel, index })
    }

    /// Appends a serialised message that was received `log_time_ns` after the epoch.
    ///
    /// Errs on a time before 1970, on a topic of another writer and where the file cannot be
    /// written.
    pub fn write_cdr(
        &mut self,
        topic: TopicId,
        log_time_ns: i64,
        message: &[u8],
    ) -> Result<(), BagError> {
        let written = self.topics.get_mut(topic.index);
        let Ok(log_time) = u64::try_from(log_time_ns) else {
            let topic = written.map_or_else(String::new, |topic| topic.name.clone());
            return Err(BagError::Time { topic, log_time_ns });
        };
        if let Some(written) = written {
            written.messages += 1;
        }
        let (first, last) = self.span_ns.unwrap_or((log_time, log_time));
        self.span_ns = Some((first.min(log_time), last.max(log_time)));
        let header = MessageHeader {
            channel_id: topic.channel,
            sequence: 0,
            log_time,
            publish_time: log_time,
        };
        self.with_mcap(|mcap| mcap.write_to_known_channel(&header, message))
    }

    /// Appends a message; errs as [`BagWriter::write_cdr`].
    pub fn write<'a, M: Message<'a>>(
        &mut self,
        topic: TopicId,
        log_time_ns: i64,
        message: &M,
    ) -> Result<(), BagError> {
        self.write_cdr(topic, log_time_ns, &message.to_cdr())
    }

    /// Closes the bag: its index, `metadata.yaml`, and everything on the disk.
    pub fn finish(mut self) -> Result<(), BagError> {
        self.close()
    }

    fn close(&mut self) -> Result<(), BagError> {
        let Some(mut mcap) = self.mcap.take() else {
            return Ok(());
        };
        let bag = WrittenBag {
            file_name: &self.file_name,
            span_ns: self.span_ns,
            topics: &self.topics,
        };
        let record = Metadata {
            name: "rosbag2".to_owned(),
            metadata: BTreeMap::from([("serialized_metadata".to_owned(), bag.to_yaml(0))]),
        };
        mcap.write_metadata(&record)
            .and_then(|()| mcap.finish())
            .map_err(|source| BagError::mcap(&self.file, source))?;
        mcap.into_inner()
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)
            .and_then(|file| file.sync_all())
            .map_err(|source| BagError::file(&self.file, source))?;
        let path = self.folder.join("metadata.yaml");
        let yaml = format!("rosbag2_bagfile_information:\n{}", bag.to_yaml(2));
        fs::write(&path, yaml).map_err(|source| BagError::file(&path, source))
    }

    fn with_mcap<T>(
        &mut self,
        act: impl FnOnce(&mut mcap::Writer<BufWriter<File>>) -> mcap::McapResult<T>,
    ) -> Result<T, BagError> {
        match &mut self.mcap {
            Some(mcap) => act(mcap),
            None => Err(mcap::McapError::AttemptedWriteAfterFailure),
        }
        .map_err(|source| BagError::mcap(&self.file, source))
    }
}

impl Drop for BagWriter {
    fn drop(&mut self) {
        // Whoever drops an unfinished writer is already returning another error.
        let _ = self.close();
    }
}
