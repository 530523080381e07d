//! sqlite3 storage files, read through one table scan and then message by message.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::messages::BagMessage;
use super::{BagError, Damage, Topic};

/// A sqlite3 file whose topics are known.
#[derive(Debug)]
pub(super) struct SqliteFile {
    path: PathBuf,
    topics: BTreeMap<i64, Topic>,
}

impl SqliteFile {
    /// Opens the file for reading alone and lists its topics; errs if it is no rosbag2 database.
    pub(super) fn open(path: &Path) -> Result<Self, BagError> {
        let error = |source| BagError::Sqlite {
            path: path.to_owned(),
            source,
        };
        let database = connect(path)?;
        let mut query = database
            .prepare("SELECT id, name, type, serialization_format FROM topics")
            .map_err(error)?;
        let topics = query
            .query_map([], |row| {
                let topic = Topic {
                    name: row.get(1)?,
                    type_name: row.get(2)?,
                    serialization: row.get(3)?,
                };
                Ok((row.get(0)?, topic))
            })
            .and_then(Iterator::collect)
            .map_err(error)?;
        Ok(Self {
            path: path.to_owned(),
            topics,
        })
    }

    /// Returns the topics.
    pub(super) fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.topics.values()
    }

    /// Returns the messages of `topics` in order; errs if the file cannot be opened any more.
    pub(super) fn messages(&self, topics: &[&str]) -> Result<SqliteMessages<'_>, BagError> {
        let wanted: BTreeMap<i64, usize> = self
            .topics
            .iter()
            .filter_map(|(id, topic)| {
                let index = topics.iter().position(|name| *name == topic.name)?;
                Some((*id, index))
            })
            .collect();
        let database = connect(&self.path)?;
        let mut damage = Vec::new();
        let mut rows = Vec::new();
        if let Err(error) = find_rows(&database, &wanted, &mut rows) {
            let what = format!(
                "is damaged: {} messages could be found ({error})",
                rows.len()
            );
            damage.push(Damage::new(&self.path, what));
        }
        rows.sort();
        Ok(SqliteMessages {
            path: &self.path,
            database,
            rows: rows.into(),
            unreadable: None,
            damage,
        })
    }
}

/// A message that the table scan found, ordered by time and then by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    log_time_ns: i64,
    id: i64,
    topic: usize,
}

/// The messages of one sqlite3 file in the order of their log times.
#[derive(Debug)]
pub(super) struct SqliteMessages<'a> {
    path: &'a Path,
    database: Connection,
    rows: VecDeque<Row>,
    /// Messages that were found but cannot be read, and why the first of them cannot.
    unreadable: Option<(usize, rusqlite::Error)>,
    damage: Vec<Damage>,
}

impl<'a> SqliteMessages<'a> {
    /// Returns the file's path.
    pub(super) fn path(&self) -> &'a Path {
        self.path
    }

    /// Returns the time of the next message; `None` where there is none.
    pub(super) fn start_ns(&self) -> Option<i64> {
        self.rows.front().map(|row| row.log_time_ns)
    }

    /// Returns what is damaged, as far as it was read.
    pub(super) fn into_damage(mut self) -> Vec<Damage> {
        if let Some((count, error)) = self.unreadable {
            let what = format!("has {count} messages that cannot be read ({error})");
            self.damage.push(Damage::new(self.path, what));
        }
        self.damage
    }

    fn data(&self, row: Row) -> rusqlite::Result<Vec<u8>> {
        self.database
            .prepare_cached("SELECT data FROM messages WHERE id = ?1")?
            .query_row([row.id], |columns| columns.get(0))
    }
}

impl Iterator for SqliteMessages<'_> {
    type Item = BagMessage;

    fn next(&mut self) -> Option<BagMessage> {
        loop {
            let row = self.rows.pop_front()?;
            match self.data(row) {
                Ok(data) => {
                    return Some(BagMessage {
                        topic: row.topic,
                        log_time_ns: row.log_time_ns,
                        data,
                    });
                }
                Err(error) => self.unreadable.get_or_insert((0, error)).0 += 1,
            }
        }
    }
}

fn connect(path: &Path) -> Result<Connection, BagError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags).map_err(|source| BagError::Sqlite {
        path: path.to_owned(),
        source,
    })
}

/// Appends the wanted messages in the order of the table, up to the first page that is broken.
///
/// No index is used: a cut file has lost part of it, and the table's pages come first.
fn find_rows(
    database: &Connection,
    wanted: &BTreeMap<i64, usize>,
    found: &mut Vec<Row>,
) -> rusqlite::Result<()> {
    let mut query =
        database.prepare("SELECT id, topic_id, timestamp FROM messages NOT INDEXED ORDER BY id")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let topic: i64 = row.get(1)?;
        if let Some(topic) = wanted.get(&topic) {
            found.push(Row {
                log_time_ns: row.get(2)?,
                id: row.get(0)?,
                topic: *topic,
            });
        }
    }
    Ok(())
}
