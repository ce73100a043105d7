//! What readings skipped and fetched, counted as it happens.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters that any number of readings share.
#[derive(Debug, Default)]
pub struct ReadTally {
    row_groups: AtomicU64,
    row_groups_pruned: AtomicU64,
    rows: AtomicU64,
    rows_pruned: AtomicU64,
    rows_filtered: AtomicU64,
    fetches: AtomicU64,
    fetched_bytes: AtomicU64,
}

/// The figures of a [`ReadTally`] at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadFigures {
    /// Row groups of the files that were opened.
    pub row_groups: u64,
    /// Of these, row groups that statistics or bloom filters ruled out.
    pub row_groups_pruned: u64,
    /// Rows of the files that were opened.
    pub rows: u64,
    /// Of these, rows that were never looked at: their row group or page was ruled out.
    pub rows_pruned: u64,
    /// Of the rest, rows that a filter left out before the answer's own columns were read.
    pub rows_filtered: u64,
    /// Waits for the bucket.
    pub fetches: u64,
    /// Bytes that were asked of it, footers included.
    pub fetched_bytes: u64,
}

impl ReadFigures {
    /// The sums of both.
    #[must_use]
    pub const fn plus(&self, other: &Self) -> Self {
        Self {
            row_groups: self.row_groups + other.row_groups,
            row_groups_pruned: self.row_groups_pruned + other.row_groups_pruned,
            rows: self.rows + other.rows,
            rows_pruned: self.rows_pruned + other.rows_pruned,
            rows_filtered: self.rows_filtered + other.rows_filtered,
            fetches: self.fetches + other.fetches,
            fetched_bytes: self.fetched_bytes + other.fetched_bytes,
        }
    }
}

impl ReadTally {
    /// A file of so many row groups and rows was opened, and these are left of it.
    pub(super) fn opened(&self, groups: (usize, usize), rows: (usize, usize)) {
        let add = |counter: &AtomicU64, count: usize| {
            counter.fetch_add(count as u64, Ordering::Relaxed);
        };
        add(&self.row_groups, groups.0);
        add(&self.row_groups_pruned, groups.0 - groups.1);
        add(&self.rows, rows.0);
        add(&self.rows_pruned, rows.0 - rows.1);
    }

    /// Filters left out so many rows.
    pub(super) fn filtered(&self, rows: usize) {
        self.rows_filtered.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// The bucket was asked for so many bytes.
    pub(super) fn fetched(&self, bytes: u64) {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        self.fetched_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The figures now.
    #[must_use]
    pub fn figures(&self) -> ReadFigures {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Self {
            row_groups,
            row_groups_pruned,
            rows,
            rows_pruned,
            rows_filtered,
            fetches,
            fetched_bytes,
        } = self;
        ReadFigures {
            row_groups: load(row_groups),
            row_groups_pruned: load(row_groups_pruned),
            rows: load(rows),
            rows_pruned: load(rows_pruned),
            rows_filtered: load(rows_filtered),
            fetches: load(fetches),
            fetched_bytes: load(fetched_bytes),
        }
    }
}
