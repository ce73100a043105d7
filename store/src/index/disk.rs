//! The sled database of the index.
//!
//! One tree and one batch a write, so that files and the record numbers that they came from are
//! never torn apart. The meta row holds the number of rows and the sum of their hashes, kept up
//! with every write and compared at every load: a row that is lost, old or wrong is found, even
//! where the database does not see it.
//!
//! A whole catalog is more than a batch: it is written files first, and is worth nothing until the
//! last batch names the records that they came from.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::catalog::layouts::address;
use crate::catalog::state::{Applied, Change, State};
use crate::catalog::{FileEntry, FileLayout};
use crate::index::{keys, row};
use crate::model::{FileId, Hold, LogPosition, Table, WriterId};

/// Counts up with every change of keys or values. There is no upgrade, only a rebuild.
const VERSION: u32 = 2;

/// Memory that sled may keep pages in. Whoever asks is answered from the state in memory: 100,000 files were written
/// and read back for the same CPU with 4 MiB as with 16.
const CACHE_BYTES: u64 = 4 << 20;

/// Files of one batch where a whole catalog is written: sled holds a batch in memory.
const BATCH_FILES: usize = 10_000;

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
    layouts: Layouts,
}

/// The layouts that have a row, by address: a state has each of them once.
#[derive(Debug, Default)]
struct Layouts {
    numbers: HashMap<usize, (u32, Arc<FileLayout>)>,
    next: u32,
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
        Ok(Self { db, meta, layouts: Layouts::default() })
    }

    /// Everything that it says. Holds nothing but the state while it reads.
    pub(super) fn load(&mut self) -> Result<State, Fault> {
        let mut found = Meta::EMPTY;
        let layouts = self.rows(keys::LAYOUTS, &mut found, |key, value| {
            let number = keys::parse_layout(key).ok_or_else(bad_key)?;
            Ok((number, Arc::new(parse::<FileLayout>(value)?)))
        });
        let layouts = layouts.collect::<Result<HashMap<_, _>, Fault>>()?;
        let covered = self.rows(keys::COVERED, &mut found, |key, value| {
            Ok((WriterId(key_id(key)?), parse::<LogPosition>(value)?))
        });
        let covered = covered.collect::<Result<_, Fault>>()?;
        let sequences = self.rows(keys::SEQUENCES, &mut found, |key, value| {
            let sequence = keys::parse_sequence(key).ok_or_else(bad_key)?;
            Ok((sequence, parse(value)?))
        });
        let sequences = sequences.collect::<Result<BTreeMap<_, _>, Fault>>()?;
        let half = sequences.is_empty() && self.meta.rows > 0;
        let removed = self.rows(keys::REMOVED, &mut found, |key, value| {
            Ok((FileId(key_id(key)?), parse(value)?))
        });
        let removed = removed.collect::<Result<_, Fault>>()?;
        let holds = self.rows(keys::HOLDS, &mut found, |_, value| parse::<Hold>(value));
        let holds = holds.collect::<Result<Vec<_>, Fault>>()?;
        let (mut used, mut fault) = (HashSet::new(), None);
        let files = self.rows(keys::FILES, &mut found, |key, value| {
            let (table, key) = keys::parse_file(key).ok_or_else(bad_key)?;
            let entry = row::decode(table, key, value, |number| layouts.get(&number).cloned());
            let (entry, layout) = entry.ok_or_else(bad_row)?;
            used.insert(layout);
            Ok(entry)
        });
        let files = files.map_while(|file| file.map_err(|error| fault = Some(error)).ok());
        let state = State::restore(files, covered, sequences, removed).with_holds(holds);
        match fault {
            Some(fault) => return Err(fault),
            None if found != self.meta => return Err(self.wrong_sum(found)),
            None if half => return Err(Fault::Damaged("it was never finished".to_owned())),
            None => self.keep_layouts(layouts, &used)?,
        }
        Ok(state)
    }

    /// Writes what records changed, all or nothing.
    pub(super) fn write(&mut self, changes: &[Change]) -> Result<(), Fault> {
        let mut rows = Rows::new();
        for change in changes {
            self.check_follows(change, &rows)?;
            let Change { sequence, applied, covered, added, removed, garbage, hold, void: _ } =
                change;
            rows.insert(keys::sequence(*sequence), Some(encode(applied)));
            if let Some((writer, covers_to)) = covered {
                rows.insert(keys::covered(*writer), Some(encode(covers_to)));
            }
            added.iter().for_each(|file| self.layouts.put_file(file, &mut rows));
            let removed = removed.iter().map(|file| keys::file(file.table, (file.hour, file.id)));
            rows.extend(removed.map(|key| (key, None)));
            rows.extend(garbage.iter().map(|(id, file)| (keys::removed(*id), Some(encode(file)))));
            rows.extend(
                hold.iter().map(|(name, hold)| (keys::hold(name), hold.as_ref().map(encode))),
            );
        }
        self.apply(rows)
    }

    /// Writes a whole state where there is nothing.
    pub(super) fn fill(&mut self, state: &State) -> Result<(), Fault> {
        let mut rows = Rows::new();
        for file in Table::ALL.into_iter().flat_map(|table| state.snapshot().all(table)) {
            self.layouts.put_file(file, &mut rows);
            if rows.len() >= BATCH_FILES {
                self.apply(std::mem::take(&mut rows))?;
            }
        }
        self.apply(std::mem::take(&mut rows))?;
        for (writer, covers_to) in state.snapshot().covered() {
            rows.insert(keys::covered(*writer), Some(encode(covers_to)));
        }
        for (id, file) in state.removed() {
            rows.insert(keys::removed(*id), Some(encode(file)));
        }
        for hold in state.snapshot().holds() {
            rows.insert(keys::hold(&hold.name), Some(encode(hold)));
        }
        for (sequence, applied) in state.sequences() {
            rows.insert(keys::sequence(*sequence), Some(encode(applied)));
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
        self.layouts = Layouts::default();
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

    /// Goes on from what was loaded; layouts that no file has any more go.
    fn keep_layouts(
        &mut self,
        layouts: HashMap<u32, Arc<FileLayout>>,
        used: &HashSet<u32>,
    ) -> Result<(), Fault> {
        let next = layouts.keys().max().map_or(0, |last| last + 1);
        let unused = layouts.keys().filter(|number| !used.contains(number));
        let retired: Rows = unused.map(|number| (keys::layout(*number), None)).collect();
        let kept = layouts.into_iter().filter(|(number, _)| used.contains(number));
        let numbered = kept.map(|(number, layout)| (address(&layout), (number, layout)));
        self.layouts = Layouts { numbers: numbered.collect(), next };
        if retired.is_empty() { Ok(()) } else { self.apply(retired) }
    }

    fn wrong_sum(&self, found: Meta) -> Fault {
        Fault::Damaged(format!("it should add up to {:?} and is {found:?}", self.meta))
    }

    /// The rows under a letter; they are counted into `found` as they are read.
    fn rows<'a, T>(
        &self,
        letter: &[u8],
        found: &'a mut Meta,
        mut row: impl FnMut(&[u8], &[u8]) -> Result<T, Fault> + 'a,
    ) -> impl Iterator<Item = Result<T, Fault>> + 'a {
        self.db.scan_prefix(letter).map(move |read| {
            let (key, value) = read?;
            found.count_in(&key, &value);
            row(&key, &value)
        })
    }
}

impl Layouts {
    /// The rows of a file: its own, and that of its layout where it is the first to have it.
    fn put_file(&mut self, file: &FileEntry, rows: &mut Rows) {
        let layout = &file.layout;
        let (number, _) = self.numbers.entry(address(layout)).or_insert_with(|| {
            let number = self.next;
            self.next += 1;
            rows.insert(keys::layout(number), Some(encode(&**layout)));
            (number, Arc::clone(layout))
        });
        rows.insert(keys::file(file.table, file.key()), Some(row::encode(file, *number)));
    }
}

fn key_id(key: &[u8]) -> Result<ulid::Ulid, Fault> {
    keys::parse_id(key).ok_or_else(bad_key)
}

fn bad_key() -> Fault {
    Fault::Damaged("a key is of the wrong length".to_owned())
}

fn bad_row() -> Fault {
    Fault::Damaged("a row makes no sense".to_owned())
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes).map_err(|error| Fault::Damaged(error.to_string()))
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("the index holds plain text and figures")
}
