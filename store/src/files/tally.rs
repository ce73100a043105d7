//! What readings skipped and fetched, counted as it happens.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters that any number of readings share.
#[derive(Debug, Default)]
pub struct ReadTally {
    row_groups: AtomicU64,
    row_groups_pruned: AtomicU64,
    row_groups_without_trace: AtomicU64,
    rows: AtomicU64,
    rows_pruned: AtomicU64,
    rows_of_pages_pruned: AtomicU64,
    rows_filtered: AtomicU64,
    footers_kept: AtomicU64,
    footers_read: AtomicU64,
    fetches: AtomicU64,
    requests: AtomicU64,
    fetched_bytes: AtomicU64,
    cached_bytes: AtomicU64,
}

/// The figures of a [`ReadTally`] at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadFigures {
    /// Row groups of the files that were opened.
    pub row_groups: u64,
    /// Of these, row groups that statistics or bloom filters ruled out.
    pub row_groups_pruned: u64,
    /// Of these, row groups that bloom filters ruled out: they have no row of a trace.
    pub row_groups_without_trace: u64,
    /// Rows of the files that were opened.
    pub rows: u64,
    /// Of these, rows that were never looked at: their row group or page was ruled out.
    pub rows_pruned: u64,
    /// Of these, rows of pages that were ruled out in row groups that were not.
    pub rows_of_pages_pruned: u64,
    /// Of the rest, rows that a filter left out before the answer's own columns were read.
    pub rows_filtered: u64,
    /// Footers that were in memory.
    pub footers_kept: u64,
    /// Footers that were not: they came from local disk or from the bucket.
    pub footers_read: u64,
    /// Waits for the bucket.
    pub fetches: u64,
    /// Requests to it, not counting those that had to be made again.
    pub requests: u64,
    /// Bytes that were asked of it, footers included. What lies between two stretches that became one
    /// request is not.
    pub fetched_bytes: u64,
    /// Bytes that were kept on local disk, or on their way there, footers included.
    pub cached_bytes: u64,
}

/// What a file has and what is left of it once it was looked at what can be ruled out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opened {
    /// Its row groups, those that are left, and those that bloom filters ruled out.
    pub(super) groups: usize,
    pub(super) groups_left: usize,
    pub(super) without_trace: usize,
    /// Its rows, those of the row groups that are left, and those that are left.
    pub(super) rows: usize,
    pub(super) rows_here: usize,
    pub(super) rows_left: usize,
}

impl ReadFigures {
    /// The sums of both.
    #[must_use]
    pub const fn plus(&self, other: &Self) -> Self {
        Self {
            row_groups: self.row_groups + other.row_groups,
            row_groups_pruned: self.row_groups_pruned + other.row_groups_pruned,
            row_groups_without_trace: self.row_groups_without_trace
                + other.row_groups_without_trace,
            rows: self.rows + other.rows,
            rows_pruned: self.rows_pruned + other.rows_pruned,
            rows_of_pages_pruned: self.rows_of_pages_pruned + other.rows_of_pages_pruned,
            rows_filtered: self.rows_filtered + other.rows_filtered,
            footers_kept: self.footers_kept + other.footers_kept,
            footers_read: self.footers_read + other.footers_read,
            fetches: self.fetches + other.fetches,
            requests: self.requests + other.requests,
            fetched_bytes: self.fetched_bytes + other.fetched_bytes,
            cached_bytes: self.cached_bytes + other.cached_bytes,
        }
    }
}

impl ReadTally {
    /// A file was opened, and so much is left of it.
    pub(super) fn opened(&self, opened: Opened) {
        let Opened { groups, groups_left, without_trace, rows, rows_here, rows_left } = opened;
        let add = |counter: &AtomicU64, count: usize| {
            counter.fetch_add(count as u64, Ordering::Relaxed);
        };
        add(&self.row_groups, groups);
        add(&self.row_groups_pruned, groups.saturating_sub(groups_left));
        add(&self.row_groups_without_trace, without_trace);
        add(&self.rows, rows.max(rows_left));
        add(&self.rows_pruned, rows.saturating_sub(rows_left));
        add(&self.rows_of_pages_pruned, rows_here.saturating_sub(rows_left));
    }

    /// Filters left out so many rows.
    pub(super) fn filtered(&self, rows: usize) {
        self.rows_filtered.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// A footer was needed, and was in memory or not.
    pub(super) fn footer(&self, in_memory: bool) {
        let counter = if in_memory { &self.footers_kept } else { &self.footers_read };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The bucket was asked for so many bytes, by so many requests.
    pub(super) fn fetched(&self, requests: u64, bytes: u64) {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(requests, Ordering::Relaxed);
        self.fetched_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many bytes were on local disk.
    pub(super) fn kept(&self, bytes: u64) {
        self.cached_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The figures now.
    #[must_use]
    pub fn figures(&self) -> ReadFigures {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Self {
            row_groups,
            row_groups_pruned,
            row_groups_without_trace,
            rows,
            rows_pruned,
            rows_of_pages_pruned,
            rows_filtered,
            footers_kept,
            footers_read,
            fetches,
            requests,
            fetched_bytes,
            cached_bytes,
        } = self;
        ReadFigures {
            row_groups: load(row_groups),
            row_groups_pruned: load(row_groups_pruned),
            row_groups_without_trace: load(row_groups_without_trace),
            rows: load(rows),
            rows_pruned: load(rows_pruned),
            rows_of_pages_pruned: load(rows_of_pages_pruned),
            rows_filtered: load(rows_filtered),
            footers_kept: load(footers_kept),
            footers_read: load(footers_read),
            fetches: load(fetches),
            requests: load(requests),
            fetched_bytes: load(fetched_bytes),
            cached_bytes: load(cached_bytes),
        }
    }
}
