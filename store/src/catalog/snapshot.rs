//! The catalog at one moment.
//!
//! Invariant: a snapshot never changes, and every snapshot is the effect of a prefix of each
//! record sequence, so that a file and the log positions it covers are always seen together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::catalog::FileEntry;
use crate::model::{LogPosition, Table, TimeRange, UnixNanos, WriterId};
use crate::schema::{AttributeType, MapColumn};

/// The types that each attribute key has anywhere in a table.
pub type AttributeTypes = BTreeMap<(MapColumn, String), BTreeSet<AttributeType>>;

/// The files of one table by the hour of their rows.
type Hours = BTreeMap<UnixNanos, Vec<Arc<FileEntry>>>;

/// The catalog at one moment. Cheap to clone: what did not change is shared.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    tables: [Arc<Hours>; Table::ALL.len()],
    attribute_types: [Arc<AttributeTypes>; Table::ALL.len()],
    covered: Arc<BTreeMap<WriterId, LogPosition>>,
    records: u64,
}

impl Snapshot {
    /// The files of `table` that may hold rows of `time`, by hour.
    #[must_use]
    pub fn files(&self, table: Table, time: TimeRange) -> Vec<Arc<FileEntry>> {
        let hours = self.tables[table as usize].range(time.start().hour()..time.end());
        let files = hours.flat_map(|(_, files)| files);
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

    /// The types of every attribute key in the files of `table`.
    #[must_use]
    pub fn attribute_types(&self, table: Table) -> &AttributeTypes {
        &self.attribute_types[table as usize]
    }

    /// What an answer calls the snapshot that it was read from; differs where the catalog differs.
    #[must_use]
    pub fn id(&self) -> String {
        self.records.to_string()
    }
}
