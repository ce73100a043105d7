//! What the scans of one query read, counted as it happens.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::physical_plan::metrics::{Count, Metric, MetricValue, MetricsSet};
use icecore_store::{FileEntry, ReadFigures, ReadTally};
use serde::{Serialize, Serializer};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct ScanStats {
    files_considered: AtomicU64,
    files_pruned: AtomicU64,
    files_read: AtomicU64,
    file_bytes: AtomicU64,
    file_rows: AtomicU64,
    live_rows: AtomicU64,
    scans: Mutex<Vec<Arc<ReadTally>>>,
}

/// The figures of [`ScanStats`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ScanFigures {
    /// Files that the snapshot has of the tables, once a scan.
    files_considered: u64,
    /// Of these, files that the conditions or the order ruled out.
    files_pruned: u64,
    /// Files that were opened.
    files_read: u64,
    /// The size of the files that were opened.
    file_bytes: u64,
    /// What was read of these files, and what was not.
    pub(crate) read: ReadFigures,
    /// Rows that came out of files.
    file_rows: u64,
    /// Rows in memory that were looked at.
    live_rows: u64,
}

/// What an answer says: of what was read, what tells whoever asked why it took so long.
impl Serialize for ScanFigures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { files_considered, files_pruned, files_read, file_bytes, .. } = *self;
        let Self { read, file_rows, live_rows, .. } = *self;
        serializer.collect_map([
            ("files_considered", files_considered),
            ("files_pruned", files_pruned),
            ("files_read", files_read),
            ("file_bytes", file_bytes),
            ("row_groups_pruned", read.row_groups_pruned),
            ("rows_pruned", read.rows_pruned),
            ("rows_filtered", read.rows_filtered),
            ("footers_kept", read.footers_kept),
            ("footers_read", read.footers_read),
            ("requests", read.requests),
            ("fetched_bytes", read.fetched_bytes),
            ("cached_bytes", read.cached_bytes),
            ("file_rows", file_rows),
            ("live_rows", live_rows),
        ])
    }
}

impl ScanStats {
    /// A scan was planned.
    pub(super) fn planned(&self, considered: Considered) {
        let pruned = considered.files - considered.kept();
        self.files_considered.fetch_add(considered.files as u64, Ordering::Relaxed);
        self.files_pruned.fetch_add(pruned as u64, Ordering::Relaxed);
    }

    /// A file was ruled out by what others gave.
    pub(super) fn passed_over(&self) {
        self.files_pruned.fetch_add(1, Ordering::Relaxed);
    }

    /// A file is opened.
    pub(super) fn opened(&self, file: &FileEntry) {
        self.files_read.fetch_add(1, Ordering::Relaxed);
        self.file_bytes.fetch_add(file.bytes, Ordering::Relaxed);
    }

    /// Rows came out of a file.
    pub(super) fn read(&self, rows: usize) {
        self.file_rows.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// Rows in memory are looked at.
    pub(super) fn live(&self, rows: usize) {
        self.live_rows.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// What the readings of one more scan count.
    pub(super) fn scan(&self) -> Arc<ReadTally> {
        let tally = Arc::<ReadTally>::default();
        let mut scans = self.scans.lock().unwrap_or_else(PoisonError::into_inner);
        scans.push(Arc::clone(&tally));
        tally
    }

    /// What all of them counted.
    fn read_figures(&self) -> ReadFigures {
        let scans = self.scans.lock().unwrap_or_else(PoisonError::into_inner);
        scans.iter().fold(ReadFigures::default(), |sum, scan| sum.plus(&scan.figures()))
    }

    /// The figures now.
    pub(crate) fn figures(&self) -> ScanFigures {
        let load = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        ScanFigures {
            files_considered: load(&self.files_considered),
            files_pruned: load(&self.files_pruned),
            files_read: load(&self.files_read),
            file_bytes: load(&self.file_bytes),
            read: self.read_figures(),
            file_rows: load(&self.file_rows),
            live_rows: load(&self.live_rows),
        }
    }
}

/// How many files of a table a scan was planned over, and why the others were not.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Considered {
    /// Files that the snapshot has.
    pub(super) files: usize,
    /// Of these, files that have no row of the time.
    pub(super) not_of_time: usize,
    /// Of the rest, files that have no row of the traces that are asked for.
    pub(super) not_of_trace: usize,
}

impl Considered {
    /// Files that are left.
    pub(super) const fn kept(&self) -> usize {
        self.files.saturating_sub(self.not_of_time).saturating_sub(self.not_of_trace)
    }
}

/// The figures of a scan for `EXPLAIN ANALYZE`; `passed_over` are files that the order ruled out.
pub(super) fn metrics(
    considered: Considered,
    passed_over: usize,
    figures: &ReadFigures,
) -> MetricsSet {
    let Considered { files, not_of_time, not_of_trace } = considered;
    let ReadFigures {
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
    } = *figures;
    let mut metrics = MetricsSet::new();
    for (name, figure) in [
        ("files_considered", files as u64),
        ("files_pruned_by_time", not_of_time as u64),
        ("files_pruned_by_trace", not_of_trace as u64),
        ("files_pruned_by_order", passed_over as u64),
        ("footers_kept", footers_kept),
        ("footers_read", footers_read),
        ("row_groups", row_groups),
        ("row_groups_pruned", row_groups_pruned),
        ("row_groups_pruned_by_trace", row_groups_without_trace),
        ("rows", rows),
        ("rows_pruned", rows_pruned),
        ("rows_pruned_by_page", rows_of_pages_pruned),
        ("rows_filtered", rows_filtered),
        ("fetches", fetches),
        ("requests", requests),
        ("fetched_bytes", fetched_bytes),
        ("cached_bytes", cached_bytes),
    ] {
        let count = Count::new();
        count.add(usize::try_from(figure).unwrap_or(usize::MAX));
        let value = MetricValue::Count { name: name.into(), count };
        metrics.push(Arc::new(Metric::new(value, None)));
    }
    metrics
}
