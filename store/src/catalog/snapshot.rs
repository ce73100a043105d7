//! The catalog at one moment.
//!
//! Invariant: a snapshot never changes, and every snapshot is the effect of a prefix of each
//! record sequence, so that a file and the log positions it covers are always seen together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::catalog::FileEntry;
use crate::catalog::record::Removal;
use crate::model::{LogPosition, Table, TimeRange, UnixNanos, WriterId};
use crate::schema::{AttributeType, MapColumn};

/// The types that each attribute key has anywhere in a table.
pub type AttributeTypes = BTreeMap<(MapColumn, String), BTreeSet<AttributeType>>;

/// The files of one table by the hour of their rows.
type Hours = BTreeMap<UnixNanos, Arc<Vec<Arc<FileEntry>>>>;

/// The catalog at one moment. A clone costs a few pointers; what did not change is shared.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    tables: [TableFiles; Table::ALL.len()],
    covered: Arc<BTreeMap<WriterId, LogPosition>>,
    records: u64,
    digest: u64,
}

#[derive(Debug, Clone, Default)]
struct TableFiles {
    hours: Arc<Hours>,
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
    /// The files of `table` that may hold rows of `time`, by hour.
    #[must_use]
    pub fn files(&self, table: Table, time: TimeRange) -> Vec<Arc<FileEntry>> {
        let hours = self.tables[table as usize].hours.range(time.start().hour()..time.end());
        let files = hours.flat_map(|(_, files)| files.iter());
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
    ) -> impl Iterator<Item = (UnixNanos, &Vec<Arc<FileEntry>>)> {
        self.tables[table as usize].hours.iter().map(|(hour, files)| (*hour, &**files))
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

    /// Whether the file counts.
    pub(crate) fn has(&self, file: &Removal) -> bool {
        let files = self.tables[file.table as usize].hours.get(&file.hour);
        files.is_some_and(|files| files.iter().any(|other| other.id == file.id))
    }

    /// Counts a file in.
    pub(super) fn add(&mut self, file: Arc<FileEntry>) {
        let table = &mut self.tables[file.table as usize];
        table.totals.files += 1;
        table.totals.rows += file.rows;
        table.totals.bytes += file.bytes;
        add_types(&mut table.attribute_types, &file);
        let hours = Arc::make_mut(&mut table.hours);
        Arc::make_mut(hours.entry(file.hour).or_default()).push(file);
    }

    /// Counts a file out; `false` where it was not in.
    pub(super) fn remove(&mut self, removal: &Removal) -> bool {
        let table = &mut self.tables[removal.table as usize];
        let hours = Arc::make_mut(&mut table.hours);
        let Some(files) = hours.get_mut(&removal.hour) else { return false };
        let Some(place) = files.iter().position(|file| file.id == removal.id) else {
            return false;
        };
        let file = Arc::make_mut(files).remove(place);
        if files.is_empty() {
            hours.remove(&removal.hour);
        }
        table.totals.files -= 1;
        table.totals.rows -= file.rows;
        table.totals.bytes -= file.bytes;
        true
    }

    /// Moves on what files cover of a log.
    pub(super) fn cover(&mut self, writer: WriterId, covers_to: LogPosition) {
        let covered = Arc::make_mut(&mut self.covered).entry(writer).or_default();
        *covered = covers_to.max(*covered);
    }

    /// Says which records are in: how many, and a digest of the last of each sequence.
    pub(super) fn seal(&mut self, records: u64, digest: u64) {
        self.records = records;
        self.digest = digest;
    }
}

/// Clones the map only when a file brings something new, which in a running system is rare.
fn add_types(types: &mut Arc<AttributeTypes>, file: &FileEntry) {
    let columns = file.attributes.iter().map(|column| (column.map, &column.key, column.kind));
    let overflow = file
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
