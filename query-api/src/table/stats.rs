//! What the scans of one query read, counted as it happens.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::physical_plan::metrics::{Count, Metric, MetricValue, MetricsSet};
use icecore_store::{FileEntry, ReadFigures, ReadTally};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(crate) struct ScanFigures {
    /// Files that the snapshot has of the tables, once a scan.
    pub(crate) files_considered: u64,
    /// Of these, files that the conditions or the order ruled out.
    pub(crate) files_pruned: u64,
    /// Files that were opened.
    pub(crate) files_read: u64,
    /// The size of the files that were opened.
    pub(crate) file_bytes: u64,
    /// Row groups of these files that were ruled out.
    pub(crate) row_groups_pruned: u64,
    /// Rows of these files that were ruled out with their row group or page.
    pub(crate) rows_pruned: u64,
    /// Rows of these files that were looked at and did not meet the conditions.
    pub(crate) rows_filtered: u64,
    /// What was fetched of these files.
    pub(crate) fetched_bytes: u64,
    /// Rows that came out of files.
    pub(crate) file_rows: u64,
    /// Rows in memory that were looked at.
    pub(crate) live_rows: u64,
}

impl ScanStats {
    /// A scan was planned over `known` files and kept `kept` of them.
    pub(super) fn planned(&self, known: usize, kept: usize) {
        let pruned = known.saturating_sub(kept);
        self.files_considered.fetch_add(known as u64, Ordering::Relaxed);
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
        let ReadFigures { row_groups_pruned, rows_pruned, rows_filtered, fetched_bytes, .. } =
            self.read_figures();
        ScanFigures {
            files_considered: load(&self.files_considered),
            files_pruned: load(&self.files_pruned),
            files_read: load(&self.files_read),
            file_bytes: load(&self.file_bytes),
            row_groups_pruned,
            rows_pruned,
            rows_filtered,
            fetched_bytes,
            file_rows: load(&self.file_rows),
            live_rows: load(&self.live_rows),
        }
    }
}

/// The figures of readings for `EXPLAIN ANALYZE`.
pub(super) fn metrics(figures: &ReadFigures) -> MetricsSet {
    let ReadFigures {
        row_groups,
        row_groups_pruned,
        rows,
        rows_pruned,
        rows_filtered,
        fetches,
        fetched_bytes,
    } = *figures;
    let mut metrics = MetricsSet::new();
    for (name, figure) in [
        ("row_groups", row_groups),
        ("row_groups_pruned", row_groups_pruned),
        ("rows", rows),
        ("rows_pruned", rows_pruned),
        ("rows_filtered", rows_filtered),
        ("fetches", fetches),
        ("fetched_bytes", fetched_bytes),
    ] {
        let count = Count::new();
        count.add(usize::try_from(figure).unwrap_or(usize::MAX));
        let value = MetricValue::Count { name: name.into(), count };
        metrics.push(Arc::new(Metric::new(value, None)));
    }
    metrics
}
