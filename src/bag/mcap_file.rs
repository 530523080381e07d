//! MCAP storage files, read by their records alone: a file without summary or end reads the same.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use mcap::records::{Record, op};

use super::chunk::Chunk;
use super::messages::{BagMessage, Queued};
use super::{BagError, Damage, Topic};

/// Bytes of opcode and length before a record's body.
const RECORD_HEADER_BYTES: u64 = 9;
/// Messages outside chunks are read in runs of about this many bytes.
const RUN_BYTES: u64 = 4 << 20;
/// Longest schema or channel that is read; a larger claim is damage.
const MAX_TABLE_BYTES: u64 = 16 << 20;

/// An MCAP file whose channels and chunks are known.
#[derive(Debug)]
pub(super) struct McapFile {
    path: PathBuf,
    spans: Vec<Span>,
    channels: BTreeMap<u16, Topic>,
    damage: Vec<Damage>,
}

/// A part of the file that is read at once: a chunk, or a run of messages outside chunks.
#[derive(Debug)]
struct Span {
    is_chunk: bool,
    /// First byte of the first record's header.
    offset: u64,
    /// Bytes up to the last record's end, or to the file's.
    bytes: u64,
    /// Least log time of its messages, nanoseconds.
    start_ns: u64,
    /// Channels that its message indexes name; empty where there are none.
    indexed: BTreeSet<u16>,
    /// Whether the file holds all its bytes.
    whole: bool,
}

impl McapFile {
    /// Scans the records' headers, and the chunks' contents where only those name the channels.
    pub(super) fn open(path: &Path) -> Result<Self, BagError> {
        let error = |source| BagError::file(path, source);
        let file = File::open(path).map_err(error)?;
        let file_bytes = file.metadata().map_err(error)?.len();
        let mut scan = Scan {
            source: BufReader::with_capacity(4096, file),
            at: 0,
            file_bytes,
            spans: Vec::new(),
            tables: Tables::default(),
        };
        let magic = scan.take::<8>().map_err(error)?;
        if magic.as_ref().map(<[u8; 8]>::as_slice) != Some(mcap::MAGIC) {
            return Err(BagError::not_a_bag(path, "it does not start as MCAP does"));
        }
        let end = scan.run().map_err(error)?;
        let mut damage = Vec::new();
        if let Some(what) = end {
            damage.push(Damage::new(path, what));
            // Its indexes may be missing, and a chunk is skipped by what they say.
            if let Some(last) = scan.spans.last_mut() {
                last.indexed.clear();
            }
        }
        let Scan {
            mut source,
            spans,
            mut tables,
            ..
        } = scan;
        for span in spans.iter().filter(|span| span.is_chunk) {
            let known = |channel| tables.channels.contains_key(channel);
            if span.indexed.is_empty() || !span.indexed.iter().all(known) {
                let chunk = Chunk::unpack(&span.body(&mut source).map_err(error)?, span.whole);
                for (opcode, body) in chunk.records() {
                    tables.insert(opcode, body);
                }
            }
        }
        Ok(Self {
            path: path.to_owned(),
            spans,
            channels: tables.channels,
            damage,
        })
    }

    /// Returns the topic of each channel.
    pub(super) fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.channels.values()
    }

    /// Returns the messages of `topics` in order; errs if the file cannot be opened any more.
    pub(super) fn messages(&self, topics: &[&str]) -> Result<McapMessages<'_>, BagError> {
        let file = File::open(&self.path).map_err(|source| BagError::file(&self.path, source))?;
        let wanted: BTreeMap<u16, usize> = self
            .channels
            .iter()
            .filter_map(|(id, topic)| {
                let index = topics.iter().position(|name| *name == topic.name)?;
                Some((*id, index))
            })
            .collect();
        let mut spans: Vec<&Span> = self
            .spans
            .iter()
            .filter(|span| {
                span.indexed.is_empty() || span.indexed.iter().any(|id| wanted.contains_key(id))
            })
            .collect();
        spans.sort_by_key(|span| span.start_ns);
        Ok(McapMessages {
            path: &self.path,
            source: BufReader::with_capacity(4096, file),
            wanted,
            spans: spans.into(),
            queue: BinaryHeap::new(),
            damage: self.damage.clone(),
        })
    }
}

/// The messages of one MCAP file in the order of their log times.
#[derive(Debug)]
pub(super) struct McapMessages<'a> {
    path: &'a Path,
    source: BufReader<File>,
    /// Channels that were asked for, with their place among the topics.
    wanted: BTreeMap<u16, usize>,
    spans: VecDeque<&'a Span>,
    queue: BinaryHeap<Queued>,
    damage: Vec<Damage>,
}

impl<'a> McapMessages<'a> {
    /// Returns the file's path.
    pub(super) fn path(&self) -> &'a Path {
        self.path
    }

    /// Returns a time that no message still to come is before; `None` where there is none.
    pub(super) fn start_ns(&self) -> Option<i64> {
        let queued = self.queue.peek().map(Queued::log_time_ns);
        let unread = self.spans.front().map(|span| signed_ns(span.start_ns));
        queued.into_iter().chain(unread).min()
    }

    /// Returns what is damaged, as far as it was read.
    pub(super) fn into_damage(self) -> Vec<Damage> {
        self.damage
    }

    fn load(&mut self, span: &Span) {
        let body = match span.body(&mut self.source) {
            Ok(body) => body,
            Err(error) => {
                let what = format!("cannot be read at byte {}: {error}", span.offset);
                self.damage.push(Damage::new(self.path, what));
                return;
            }
        };
        if span.is_chunk {
            let chunk = Chunk::unpack(&body, span.whole);
            // That the file is cut is already known from the scan.
            if let Some(what) = chunk.damage.as_ref().filter(|_| span.whole) {
                let what = format!("{what} at byte {}", span.offset);
                self.damage.push(Damage::new(self.path, what));
            }
            self.queue_messages(span, chunk.records());
        } else {
            self.queue_messages(span, Chunk::of_records(body).records());
        }
    }

    fn queue_messages<'b>(&mut self, span: &Span, records: impl Iterator<Item = (u8, &'b [u8])>) {
        for (place, (opcode, body)) in records.enumerate() {
            if opcode != op::MESSAGE {
                continue;
            }
            let Ok(Record::Message { header, data }) = mcap::parse_record(opcode, body) else {
                let what = format!("has a broken message near byte {}", span.offset);
                self.damage.push(Damage::new(self.path, what));
                continue;
            };
            if let Some(topic) = self.wanted.get(&header.channel_id) {
                self.queue.push(Queued {
                    message: BagMessage {
                        topic: *topic,
                        log_time_ns: signed_ns(header.log_time),
                        data: data.into_owned(),
                    },
                    place: (span.offset, place),
                });
            }
        }
    }
}

impl Iterator for McapMessages<'_> {
    type Item = BagMessage;

    fn next(&mut self) -> Option<BagMessage> {
        loop {
            let queued_ns = self.queue.peek().map(Queued::log_time_ns);
            match self.spans.front() {
                Some(span) if queued_ns.is_none_or(|ns| signed_ns(span.start_ns) <= ns) => {
                    let span: &Span = span;
                    self.load(span);
                    self.spans.pop_front();
                }
                _ => return self.queue.pop().map(|queued| queued.message),
            }
        }
    }
}

impl Span {
    /// Reads the records: a chunk's without the record header, a run's with all of them.
    fn body(&self, source: &mut BufReader<File>) -> std::io::Result<Vec<u8>> {
        let skip = if self.is_chunk {
            RECORD_HEADER_BYTES
        } else {
            0
        };
        source.seek(SeekFrom::Start(self.offset + skip))?;
        let mut body = Vec::new();
        source.take(self.bytes - skip).read_to_end(&mut body)?;
        Ok(body)
    }
}

/// Schemas and channels as they are met.
#[derive(Debug, Default)]
struct Tables {
    schemas: BTreeMap<u16, String>,
    channels: BTreeMap<u16, Topic>,
}

impl Tables {
    fn insert(&mut self, opcode: u8, body: &[u8]) {
        if !matches!(opcode, op::SCHEMA | op::CHANNEL) {
            return;
        }
        match mcap::parse_record(opcode, body) {
            Ok(Record::Schema { header, .. }) => {
                self.schemas.insert(header.id, header.name);
            }
            Ok(Record::Channel(channel)) => {
                let topic = Topic {
                    name: channel.topic,
                    type_name: self
                        .schemas
                        .get(&channel.schema_id)
                        .cloned()
                        .unwrap_or_default(),
                    serialization: channel.message_encoding,
                };
                self.channels.insert(channel.id, topic);
            }
            // A broken table leaves its channel unknown, which the missing topic's error tells.
            _ => {}
        }
    }
}

/// A walk over the headers of a file's records.
struct Scan {
    source: BufReader<File>,
    at: u64,
    file_bytes: u64,
    spans: Vec<Span>,
    tables: Tables,
}

impl Scan {
    /// Visits every record; returns what is wrong where the file does not end as it should.
    fn run(&mut self) -> std::io::Result<Option<String>> {
        let mut data_ended = false;
        loop {
            let offset = self.at;
            let Some(header) = self.take::<9>()? else {
                let what = if offset == self.file_bytes && data_ended {
                    "ends before its footer".to_owned()
                } else if offset == self.file_bytes {
                    format!("was not closed: it ends after byte {offset} without an index")
                } else {
                    format!("is cut in the middle of a record at byte {offset}")
                };
                return Ok(Some(what));
            };
            let [opcode, len @ ..] = header;
            let len = u64::from_le_bytes(len);
            let end = self.at.saturating_add(len);
            let whole = end <= self.file_bytes;
            match opcode {
                op::FOOTER if whole => return Ok(None),
                op::DATA_END => data_ended = true,
                op::CHUNK => {
                    if let Some(start) = self.take::<8>()? {
                        self.spans.push(Span {
                            is_chunk: true,
                            offset,
                            bytes: end.min(self.file_bytes) - offset,
                            start_ns: u64::from_le_bytes(start),
                            indexed: BTreeSet::new(),
                            whole,
                        });
                    }
                }
                op::MESSAGE if whole => self.message(offset, end)?,
                op::MESSAGE_INDEX if whole => {
                    let channel = self.take::<2>()?.map(u16::from_le_bytes);
                    let chunk = self.spans.last_mut().filter(|span| span.is_chunk);
                    if let (Some(channel), Some(chunk)) = (channel, chunk) {
                        chunk.indexed.insert(channel);
                    }
                }
                op::SCHEMA | op::CHANNEL if whole && len <= MAX_TABLE_BYTES => {
                    let mut body = Vec::new();
                    self.source.by_ref().take(len).read_to_end(&mut body)?;
                    self.at += body.len() as u64;
                    self.tables.insert(opcode, &body);
                }
                0 => return Ok(Some(format!("is not MCAP from byte {offset} on"))),
                _ => {}
            }
            if !whole {
                let what = format!("is cut in the middle of a record at byte {offset}");
                return Ok(Some(what));
            }
            self.skip_to(end)?;
        }
    }

    fn message(&mut self, offset: u64, end: u64) -> std::io::Result<()> {
        // Channel, sequence number, log time.
        let Some([_, _, _, _, _, _, time @ ..]) = self.take::<14>()? else {
            return Ok(());
        };
        let log_time = u64::from_le_bytes(time);
        match self.spans.last_mut() {
            Some(run)
                if !run.is_chunk && run.offset + run.bytes == offset && run.bytes < RUN_BYTES =>
            {
                run.bytes = end - run.offset;
                run.start_ns = run.start_ns.min(log_time);
            }
            _ => self.spans.push(Span {
                is_chunk: false,
                offset,
                bytes: end - offset,
                start_ns: log_time,
                indexed: BTreeSet::new(),
                whole: true,
            }),
        }
        Ok(())
    }

    /// Reads `N` bytes; `None` where the file ends before.
    fn take<const N: usize>(&mut self) -> std::io::Result<Option<[u8; N]>> {
        if self.file_bytes - self.at < N as u64 {
            return Ok(None);
        }
        let mut bytes = [0; N];
        self.source.read_exact(&mut bytes)?;
        self.at += N as u64;
        Ok(Some(bytes))
    }

    fn skip_to(&mut self, end: u64) -> std::io::Result<()> {
        // A relative seek keeps what is buffered: small records follow one another.
        self.source.seek_relative((end - self.at) as i64)?;
        self.at = end;
        Ok(())
    }
}

/// ROS counts signed nanoseconds; MCAP's last three centuries are out of its range.
fn signed_ns(ns: u64) -> i64 {
    i64::try_from(ns).unwrap_or(i64::MAX)
}
