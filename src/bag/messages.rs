//! A bag's messages in the order of their log times, whatever files they are in.

use std::cmp::Ordering;
use std::io::Read;

use super::mcap_file::McapMessages;
use super::sqlite_file::SqliteMessages;
use super::{BagError, Damage, StorageFile};

/// A message that claims to unpack to more than this is not unpacked.
const MAX_MESSAGE_BYTES: u64 = 1 << 30;

/// A serialised message of a bag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BagMessage {
    /// The topic's place in the list that [`Bag::messages`](super::Bag::messages) was given.
    pub topic: usize,
    /// When the message was recorded, nanoseconds since the epoch.
    pub log_time_ns: i64,
    /// The message with its encapsulation header.
    pub data: Vec<u8>,
}

/// Iterates a bag's messages; ends at the last one that can be read.
#[derive(Debug)]
pub struct Messages<'a> {
    /// Files whose first message is not yet due, the latest first.
    waiting: Vec<FileMessages<'a>>,
    /// Files being read, each with its next message, in the order of recording.
    open: Vec<(FileMessages<'a>, BagMessage)>,
    damage: Vec<Damage>,
}

impl<'a> Messages<'a> {
    pub(super) fn new(
        files: &'a [StorageFile],
        topics: &[&str],
        zstd_messages: bool,
    ) -> Result<Self, BagError> {
        let mut waiting = files
            .iter()
            .map(|file| {
                let stored = match file {
                    StorageFile::Mcap(file) => Stored::Mcap(file.messages(topics)?),
                    StorageFile::Sqlite(file) => Stored::Sqlite(file.messages(topics)?),
                };
                Ok(FileMessages {
                    stored,
                    zstd_messages,
                    broken: 0,
                })
            })
            .collect::<Result<Vec<_>, BagError>>()?;
        waiting.sort_by_key(|file| file.start_ns());
        waiting.reverse();
        Ok(Self {
            waiting,
            open: Vec::new(),
            damage: Vec::new(),
        })
    }

    /// Returns what could not be read so far; all of it once the iteration has ended.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// Opens each file that may hold a message before the earliest that is known.
    fn open_due(&mut self) {
        loop {
            let earliest_ns = self.open.iter().map(|(_, next)| next.log_time_ns).min();
            let due = self.waiting.last().is_some_and(|file| {
                let starts = file.start_ns();
                earliest_ns.is_none_or(|ns| starts.is_none_or(|start| start <= ns))
            });
            if !due {
                return;
            }
            if let Some(mut file) = self.waiting.pop() {
                match file.next() {
                    Some(first) => self.open.push((file, first)),
                    None => self.damage.extend(file.into_damage()),
                }
            }
        }
    }
}

impl Iterator for Messages<'_> {
    type Item = BagMessage;

    fn next(&mut self) -> Option<BagMessage> {
        self.open_due();
        let (place, _) = self
            .open
            .iter()
            .enumerate()
            .min_by_key(|(_, (_, next))| next.log_time_ns)?;
        let (file, next) = self.open.get_mut(place)?;
        match file.next() {
            Some(following) => Some(std::mem::replace(next, following)),
            None => {
                let (file, last) = self.open.remove(place);
                self.damage.extend(file.into_damage());
                Some(last)
            }
        }
    }
}

/// The messages of one file, unpacked.
#[derive(Debug)]
struct FileMessages<'a> {
    stored: Stored<'a>,
    zstd_messages: bool,
    /// Messages left out because they cannot be unpacked.
    broken: usize,
}

#[derive(Debug)]
enum Stored<'a> {
    Mcap(McapMessages<'a>),
    Sqlite(SqliteMessages<'a>),
}

impl FileMessages<'_> {
    fn start_ns(&self) -> Option<i64> {
        match &self.stored {
            Stored::Mcap(file) => file.start_ns(),
            Stored::Sqlite(file) => file.start_ns(),
        }
    }

    fn next(&mut self) -> Option<BagMessage> {
        loop {
            let mut message = match &mut self.stored {
                Stored::Mcap(file) => file.next()?,
                Stored::Sqlite(file) => file.next()?,
            };
            if !self.zstd_messages {
                return Some(message);
            }
            match unpacked(&message.data) {
                Some(data) => {
                    message.data = data;
                    return Some(message);
                }
                None => self.broken += 1,
            }
        }
    }

    fn into_damage(self) -> Vec<Damage> {
        let (path, mut damage) = match self.stored {
            Stored::Mcap(file) => (file.path(), file.into_damage()),
            Stored::Sqlite(file) => (file.path(), file.into_damage()),
        };
        if self.broken > 0 {
            let what = format!("has {} messages that cannot be unpacked", self.broken);
            damage.push(Damage::new(path, what));
        }
        damage
    }
}

fn unpacked(frame: &[u8]) -> Option<Vec<u8>> {
    let decoder = zstd::stream::read::Decoder::new(frame).ok()?;
    let mut data = Vec::new();
    let read = decoder
        .take(MAX_MESSAGE_BYTES + 1)
        .read_to_end(&mut data)
        .ok()?;
    (read as u64 <= MAX_MESSAGE_BYTES).then_some(data)
}

/// A message that waits for those before it; a heap gives the earliest first.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) message: BagMessage,
    /// Where the file holds it, which orders messages of one time.
    pub(super) place: (u64, usize),
}

impl Queued {
    pub(super) fn log_time_ns(&self) -> i64 {
        self.message.log_time_ns
    }

    fn key(&self) -> (i64, (u64, usize)) {
        (self.message.log_time_ns, self.place)
    }
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Queued {}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Queued {
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}
