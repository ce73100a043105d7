//! What the store says about itself and about what it did.

use std::time::Duration;

use serde::Serialize;

use crate::model::{Table, TimeRange, UnixNanos};

/// One merge that was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MergeReport {
    /// The table of its files.
    pub table: Table,
    /// The start of their hour.
    pub hour: UnixNanos,
    /// Files that went in.
    pub files: u64,
    /// Rows that came out.
    pub rows: u64,
    /// Rows that were left out on purpose.
    pub dropped: u64,
    /// Bytes that went in.
    pub bytes_in: u64,
    /// Bytes that came out.
    pub bytes_out: u64,
    /// How long it took, its publication included.
    pub took: Duration,
}

/// What one call of [`crate::Store::compact`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CompactionReport {
    /// Merges that were published.
    pub merges: u64,
    /// Merges that came second and were thrown away.
    pub void: u64,
    /// Tables and hours that were left to another compactor, which is at them.
    pub leased: u64,
    /// Files that went in.
    pub files_in: u64,
    /// Rows that came out.
    pub rows: u64,
    /// Bytes that went in.
    pub bytes_in: u64,
    /// Bytes that came out.
    pub bytes_out: u64,
}

impl CompactionReport {
    /// Counts one merge in.
    pub(crate) const fn add(&mut self, merge: &MergeReport) {
        self.merges += 1;
        self.files_in += merge.files;
        self.rows += merge.rows;
        self.bytes_in += merge.bytes_in;
        self.bytes_out += merge.bytes_out;
    }
}

/// What [`crate::Store::check`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Catalog records that were read.
    pub records: u64,
    /// Files that the catalog names.
    pub files: u64,
    /// The rows that they have by the catalog.
    pub rows: u64,
    /// The first thousand faults: each says which object and what is wrong. Empty means whole.
    pub faults: Vec<String>,
    /// All faults.
    pub faults_all: u64,
    /// Objects that do not count: crashed or unfinished commits, merged files that are still in
    /// their grace, and whatever else lies there.
    pub unnamed: u64,
    /// Whether what this process knew of the catalog equals what the bucket says.
    pub index_agrees: bool,
}

/// Something that [`crate::Store::check_all`] found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Finding {
    /// An object is not what it must be, or is not there.
    Fault {
        /// The object, below the storage prefix.
        path: String,
        /// In words.
        what: String,
    },
    /// An object does not count.
    Orphan {
        /// The object, below the storage prefix.
        path: String,
        /// Its size.
        bytes: u64,
        /// Why it is still there, in words.
        why: String,
    },
}

/// Hears of what a check finds while it goes on. The unit type hears nothing.
pub trait CheckListener: Send + Sync {
    /// Something was found.
    fn found(&self, finding: &Finding);

    /// So many of the files that count were opened.
    fn checked(&self, files: u64, of: u64);
}

impl CheckListener for () {
    fn found(&self, _: &Finding) {}

    fn checked(&self, _: u64, _: u64) {}
}

/// What the store holds, by its newest snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Files, rows and bytes a table, in the order of [`Table::ALL`].
    pub tables: Vec<TableStats>,
    /// Catalog records applied.
    pub records: u64,
    /// Writers ever heard of.
    pub writers: u64,
    /// Whether the bucket honours create-only puts; false means single-writer mode.
    pub create_only: bool,
    /// Time since the catalog was last read from the bucket.
    pub snapshot_age: Duration,
}

/// What the store holds of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableStats {
    /// Which.
    pub table: Table,
    /// Its files.
    pub files: u64,
    /// Its rows.
    pub rows: u64,
    /// The bytes of its files.
    pub bytes: u64,
    /// Covers the times of its rows; `None` where it has none.
    pub time: Option<TimeRange>,
}
