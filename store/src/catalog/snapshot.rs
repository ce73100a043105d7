//! The catalog at one moment.
//!
//! Invariant: a snapshot never changes, and every snapshot is the effect of a prefix of each
//! record sequence, so that a file and the log positions it covers are always seen together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::catalog::file_set::FileSet;
use crate::catalog::record::Removal;
use crate::catalog::{FileEntry, FileKey, FileLayout};
use crate::model::{Hold, HoldName, LogPosition, Table, TimeRange, UnixNanos, WriterId};
use crate::schema::{AttributeType, MapColumn};

/// The types that each attribute key has anywhere in a table.
pub type AttributeTypes = BTreeMap<(MapColumn, String), BTreeSet<AttributeType>>;

/// The holds that stand, by name.
type Holds = BTreeMap<HoldName, Hold>;

/// The catalog at one moment. A clone costs a few pointers; what did not change is shared.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    tables: [TableFiles; Table::ALL.len()],
    covered: Arc<BTreeMap<WriterId, LogPosition>>,
    holds: Arc<Holds>,
    records: u64,
    digest: u64,
}

#[derive(Debug, Clone, Default)]
struct TableFiles {
    files: FileSet,
    attribute_types: Arc<AttributeTypes>,
    totals: Totals,
}

/// What all files of a table come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) files: u64,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

impl Snapshot {
    /// The files of `table` that may hold rows of `time`, by hour and name.
    #[must_use]
    pub fn files(&self, table: Table, time: TimeRange) -> Vec<Arc<FileEntry>> {
        let files = self.tables[table as usize].files.range(time.start().hour(), time.end());
        files.filter(|file| file.time.overlaps(&time)).cloned().collect()
    }

    /// Whether the rows at `position` of the writer's log are in files.
    #[must_use]
    pub fn covers(&self, writer: WriterId, position: LogPosition) -> bool {
        self.covered_to(writer).is_some_and(|covered_to| position < covered_to)
    }

    /// The end, exclusive, of what files cover of the writer's log; `None` for one never heard of.
    #[must_use]
    pub fn covered_to(&self, writer: WriterId) -> Option<LogPosition> {
        self.covered.get(&writer).copied()
    }

    /// The types of every attribute key in the files of `table`. A key whose last file is gone
    /// may stay until the next start.
    #[must_use]
    pub fn attribute_types(&self, table: Table) -> &AttributeTypes {
        &self.tables[table as usize].attribute_types
    }

    /// The holds that stand, by name.
    pub fn holds(&self) -> impl Iterator<Item = &Hold> {
        self.holds.values()
    }

    /// What an answer calls the snapshot that it was read from: the number of records in it, and
    /// a digest of which ones.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}-{:016x}", self.records, self.digest)
    }

    /// The hours of a table and their files, in time order.
    pub(crate) fn hours(
        &self,
        table: Table,
    ) -> impl Iterator<Item = (UnixNanos, Vec<Arc<FileEntry>>)> {
        self.tables[table as usize].files.hours()
    }

    /// Every file of a table, by hour and name.
    pub(crate) fn all(&self, table: Table) -> impl Iterator<Item = &Arc<FileEntry>> {
        self.tables[table as usize].files.iter()
    }

    /// The file of this hour and name.
    pub(crate) fn file(&self, table: Table, key: FileKey) -> Option<&Arc<FileEntry>> {
        self.tables[table as usize].files.get(key)
    }

    /// Covers the times of all rows of a table; `None` where it has none.
    pub(crate) fn time(&self, table: Table) -> Option<TimeRange> {
        // All rows of a file are of its hour, so only the first hour and the last can matter.
        let files = &self.tables[table as usize].files;
        let (first, last) = files.ends()?;
        let next = |hour: UnixNanos| UnixNanos(hour.0.saturating_add(UnixNanos::HOUR));
        let times = |hour| files.range(hour, next(hour)).map(|file| file.time);
        times(first.hour).chain(times(last.hour)).reduce(|all, time| all.union(&time))
    }

    /// What all files of a table come to.
    pub(crate) const fn totals(&self, table: Table) -> Totals {
        self.tables[table as usize].totals
    }

    /// Records that were applied, void ones included.
    pub(crate) const fn records(&self) -> u64 {
        self.records
    }

    /// How many writers are known, and up to where.
    pub(crate) fn covered(&self) -> &BTreeMap<WriterId, LogPosition> {
        &self.covered
    }

    /// The hold of this name.
    pub(crate) fn hold(&self, name: &HoldName) -> Option<&Hold> {
        self.holds.get(name)
    }

    /// Whether the file counts.
    pub(crate) fn has(&self, file: &Removal) -> bool {
        self.file(file.table, (file.hour, file.id)).is_some()
    }

    /// Counts a file in.
    pub(super) fn add(&mut self, file: Arc<FileEntry>) {
        let table = &mut self.tables[file.table as usize];
        table.totals.count_in(&file);
        if let Some(same) = table.files.insert(file) {
            table.totals.count_out(&same);
        }
    }

    /// Counts the types of a layout in that a file of the table has.
    pub(super) fn add_types(&mut self, table: Table, layout: &FileLayout) {
        add_types(&mut self.tables[table as usize].attribute_types, layout);
    }

    /// Counts a file out; `false` where it was not in.
    pub(super) fn remove(&mut self, removal: &Removal) -> bool {
        let table = &mut self.tables[removal.table as usize];
        let removed = table.files.remove((removal.hour, removal.id));
        if let Some(file) = &removed {
            table.totals.count_out(file);
        }
        removed.is_some()
    }

    /// Moves on what files cover of a log.
    pub(super) fn cover(&mut self, writer: WriterId, covers_to: LogPosition) {
        let covered = Arc::make_mut(&mut self.covered).entry(writer).or_default();
        *covered = covers_to.max(*covered);
    }

    /// A hold begins to stand, or (`None`) stands no more.
    pub(super) fn set_hold(&mut self, name: HoldName, hold: Option<Hold>) {
        let holds = Arc::make_mut(&mut self.holds);
        match hold {
            Some(hold) => drop(holds.insert(name, hold)),
            None => drop(holds.remove(&name)),
        }
    }

    /// Says which records are in: how many, and a digest of the last of each sequence.
    pub(super) fn seal(&mut self, records: u64, digest: u64) {
        self.records = records;
        self.digest = digest;
    }
}

impl Totals {
    fn count_in(&mut self, file: &FileEntry) {
        self.files += 1;
        self.rows += file.rows;
        self.bytes += file.bytes;
    }

    fn count_out(&mut self, file: &FileEntry) {
        self.files -= 1;
        self.rows -= file.rows;
        self.bytes -= file.bytes;
    }
}

/// Clones the map only when a layout brings something new, which in a running system is rare.
fn add_types(types: &mut Arc<AttributeTypes>, layout: &FileLayout) {
    let columns = layout.attributes.iter().map(|column| (column.map, &column.key, column.kind));
    let overflow = layout
        .overflow
        .iter()
        .flat_map(|entry| entry.kinds.iter().map(move |kind| (entry.map, &entry.key, *kind)));
    for (map, key, kind) in columns.chain(overflow) {
        let place = (map, key.clone());
        if !types.get(&place).is_some_and(|kinds| kinds.contains(&kind)) {
            Arc::make_mut(types).entry(place).or_default().insert(kind);
        }
    }
}
