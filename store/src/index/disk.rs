//! The sled database of the index.
//!
//! One tree and one batch a write, so that files and the record numbers that they came from are
//! never torn apart. The meta row holds the number of rows and the sum of their hashes, kept up
//! with every write and compared at every load: a row that is lost, old or wrong is found, even
//! where the database does not see it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::catalog::FileEntry;
use crate::catalog::state::{Applied, Change, State};
use crate::index::keys;
use crate::model::{FileId, LogPosition, Table, WriterId};

/// Counts up with every change of keys or values. There is no upgrade, only a rebuild.
const VERSION: u32 = 1;

/// Memory that sled may keep pages in.
const CACHE_BYTES: u64 = 16 << 20;

/// Why the index cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// Another process has it.
    #[error("another process has it")]
    Busy,
    /// It is torn, of another version, or the disk fails.
    #[error("{0}")]
    Damaged(String),
}

impl From<sled::Error> for Fault {
    fn from(error: sled::Error) -> Self {
        let text = error.to_string();
        // sled gives this case no kind of its own.
        if text.contains("could not acquire lock") { Self::Busy } else { Self::Damaged(text) }
    }
}

/// What the index is, and what it must add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Meta {
    version: u32,
    rows: u64,
    sum: u64,
}

impl Meta {
    /// Of an index without rows.
    const EMPTY: Self = Self { version: VERSION, rows: 0, sum: 0 };

    fn count_in(&mut self, key: &[u8], value: &[u8]) {
        self.rows += 1;
        self.sum = self.sum.wrapping_add(hash(key, value));
    }

    fn count_out(&mut self, key: &[u8], value: &[u8]) {
        self.rows = self.rows.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(hash(key, value));
    }
}

/// The hash of another version of the standard library may differ: then the index is made anew.
fn hash(key: &[u8], value: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (key, value).hash(&mut hasher);
    hasher.finish()
}

/// Rows to be written: `None` deletes.
type Rows = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// See the module.
#[derive(Debug)]
pub(super) struct Disk {
    db: sled::Db,
    meta: Meta,
}

impl Disk {
    /// Opens the database, or makes it.
    pub(super) fn open(folder: &Path) -> Result<Self, Fault> {
        let db = sled::Config::new().path(folder).cache_capacity(CACHE_BYTES).open()?;
        let meta = match db.get(keys::META)? {
            Some(bytes) => parse(&bytes)?,
            None if db.is_empty() => Meta::EMPTY,
            None => return Err(Fault::Damaged("it does not say what it is".to_owned())),
        };
        if meta.version != VERSION {
            let versions = format!("it is of version {}, not {VERSION}", meta.version);
            return Err(Fault::Damaged(versions));
        }
        Ok(Self { db, meta })
    }

    /// Everything that it says.
    pub(super) fn load(&self) -> Result<State, Fault> {
        self.check_sum()?;
        let files = self.rows(keys::FILES, |_, value| parse::<FileEntry>(value))?;
        let covered = self.rows(keys::COVERED, |key, value| {
            Ok((WriterId(key_id(key)?), parse::<LogPosition>(value)?))
        })?;
        let sequences = self.rows(keys::SEQUENCES, |key, value| {
            let sequence = keys::parse_sequence(key).ok_or_else(bad_key)?;
            Ok((sequence, parse(value)?))
        })?;
        let removed =
            self.rows(keys::REMOVED, |key, value| Ok((FileId(key_id(key)?), parse(value)?)))?;
        let removed: BTreeMap<_, _> = removed.into_iter().collect();
        Ok(State::restore(
            files,
            covered.into_iter().collect(),
            sequences.into_iter().collect(),
            removed,
        ))
    }

    /// Writes what records changed, all or nothing.
    pub(super) fn write(&mut self, changes: &[Change]) -> Result<(), Fault> {
        let mut rows = Rows::new();
        for change in changes {
            self.check_follows(change, &rows)?;
            let Change { sequence, applied, covered, added, removed, garbage, void: _ } = change;
            rows.insert(keys::sequence(*sequence), Some(encode(applied)));
            if let Some((writer, covers_to)) = covered {
                rows.insert(keys::covered(*writer), Some(encode(covers_to)));
            }
            rows.extend(added.iter().map(|file| (keys::file(file), Some(encode(&**file)))));
            rows.extend(removed.iter().map(|removal| (keys::removal(removal), None)));
            rows.extend(garbage.iter().map(|(id, file)| (keys::removed(*id), Some(encode(file)))));
        }
        self.apply(rows)
    }

    /// Writes a whole state where there is nothing.
    pub(super) fn fill(&mut self, state: &State) -> Result<(), Fault> {
        let mut rows = Rows::new();
        for (sequence, applied) in state.sequences() {
            rows.insert(keys::sequence(*sequence), Some(encode(applied)));
        }
        for (writer, covers_to) in state.snapshot().covered() {
            rows.insert(keys::covered(*writer), Some(encode(covers_to)));
        }
        for (id, file) in state.removed() {
            rows.insert(keys::removed(*id), Some(encode(file)));
        }
        for (_, files) in Table::ALL.into_iter().flat_map(|table| state.snapshot().hours(table)) {
            rows.extend(files.iter().map(|file| (keys::file(file), Some(encode(&**file)))));
        }
        self.apply(rows)
    }

    /// Forgets removed files.
    pub(super) fn forget(&mut self, deleted: &[FileId]) -> Result<(), Fault> {
        self.apply(deleted.iter().map(|id| (keys::removed(*id), None)).collect())
    }

    /// Empties it.
    pub(super) fn clear(&mut self) -> Result<(), Fault> {
        self.db.clear()?;
        self.meta = Meta::EMPTY;
        self.apply(Rows::new())
    }

    fn apply(&mut self, rows: Rows) -> Result<(), Fault> {
        let mut batch = sled::Batch::default();
        let mut meta = self.meta;
        for (key, value) in rows {
            if let Some(old) = self.db.get(&key)? {
                meta.count_out(&key, &old);
            }
            match value {
                Some(value) => {
                    meta.count_in(&key, &value);
                    batch.insert(key, value);
                }
                None => batch.remove(key),
            }
        }
        batch.insert(keys::META, encode(&meta));
        self.db.apply_batch(batch)?;
        self.meta = meta;
        Ok(())
    }

    /// A write may get lost with the task that waits for it. One that comes after it must not be
    /// kept: the index would be behind without knowing.
    fn check_follows(&self, change: &Change, rows: &Rows) -> Result<(), Fault> {
        let key = keys::sequence(change.sequence);
        let kept = match rows.get(&key).cloned().flatten() {
            Some(pending) => Some(pending),
            None => self.db.get(&key)?.map(|kept| kept.to_vec()),
        };
        let next = match kept {
            Some(kept) => parse::<Applied>(&kept)?.next,
            None => 0,
        };
        if next + 1 == change.applied.next {
            return Ok(());
        }
        let found = change.applied.next;
        Err(Fault::Damaged(format!("it holds {} up to {next}, not to {found}", change.sequence)))
    }

    fn check_sum(&self) -> Result<(), Fault> {
        let mut found = Meta::EMPTY;
        for row in self.db.iter() {
            let (key, value) = row?;
            if *key != *keys::META {
                found.count_in(&key, &value);
            }
        }
        if found == self.meta {
            return Ok(());
        }
        Err(Fault::Damaged(format!("it should add up to {:?} and is {found:?}", self.meta)))
    }

    fn rows<T>(
        &self,
        prefix: &[u8],
        row: impl Fn(&[u8], &[u8]) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        let rows = self.db.scan_prefix(prefix);
        rows.map(|found| found.map_err(Fault::from).and_then(|(key, value)| row(&key, &value)))
            .collect()
    }
}

fn key_id(key: &[u8]) -> Result<ulid::Ulid, Fault> {
    keys::parse_id(key).ok_or_else(bad_key)
}

fn bad_key() -> Fault {
    Fault::Damaged("a key is of the wrong length".to_owned())
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes).map_err(|error| Fault::Damaged(error.to_string()))
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("the index holds plain text and figures")
}
