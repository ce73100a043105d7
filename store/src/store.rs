//! The store as everybody else sees it.
//!
//! Invariant: what [`Store::commit`] returned `Ok` for is in every later [`Store::snapshot`], in
//! this process and in any other, exactly once.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use crate::catalog::{FileEntry, Snapshot};
use crate::config::{Config, StoreRoles};
use crate::error::Error;
use crate::files::{ReadRequest, RowStream};
use crate::model::{LogPosition, RowBatch, TimeRange, TraceId, WriterId};
use crate::ports::Clock;

/// One bucket with its catalog, as this process knows it.
#[derive(Debug)]
pub struct Store {
    #[expect(dead_code, reason = "read once the bucket opens")]
    config: Config,
    clock: Arc<dyn Clock>,
    snapshot: Arc<Snapshot>,
}

/// Rows of one stretch of one writer's log, on their way into files.
#[derive(Debug, Clone)]
pub struct Commit {
    /// Whose log; registered before with [`Store::register_writer`].
    pub writer: WriterId,
    /// Where the stretch begins, inclusive: the end of the commit before it (or what
    /// [`Snapshot::covered_to`] says after a start, or anything below the first frame).
    pub covers_from: LogPosition,
    /// Where the stretch ends, exclusive. A commit that the catalog already covers is done.
    pub covers_to: LogPosition,
    /// All rows of the stretch, of any tables and times. May be empty: then only the position
    /// moves.
    pub batches: Vec<RowBatch>,
}

/// What one pass of [`Store::compact`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CompactionReport {
    /// Merges that were published.
    pub merges: u64,
    /// Merges that came second and were thrown away.
    pub void: u64,
    /// Files that went in.
    pub files_in: u64,
    /// Bytes that went in.
    pub bytes_in: u64,
    /// Bytes that came out.
    pub bytes_out: u64,
}

/// What [`Store::check`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Catalog records that were read.
    pub records: u64,
    /// Files that the catalog names.
    pub files: u64,
    /// Faults: each says which object and what is wrong. Empty means whole.
    pub faults: Vec<String>,
    /// Files in the bucket that the catalog does not name: crashed or unfinished commits, and
    /// merged files that are still in their grace.
    pub unnamed: u64,
    /// Whether what this process knew of the catalog equals what the bucket says.
    pub index_agrees: bool,
}

/// What the store holds, by its newest snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Files, rows and bytes a table, in the order of [`crate::Table::ALL`].
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
    pub table: crate::model::Table,
    /// Its files.
    pub files: u64,
    /// Its rows.
    pub rows: u64,
    /// The bytes of its files.
    pub bytes: u64,
    /// Covers the times of its rows; `None` where it has none.
    pub time: Option<TimeRange>,
}

impl Store {
    /// Connects to the bucket, checks credentials and create-only puts, opens the index or makes
    /// it anew, and reads the catalog. Fails with an error that says what to mend.
    pub async fn open(
        config: Config,
        clock: Arc<dyn Clock>,
        registry: &mut Registry,
    ) -> Result<Arc<Self>, Error> {
        let files = prometheus_client::metrics::gauge::Gauge::<i64>::default();
        registry.register("icecore_store_files", "Files that the catalog names", files);
        Ok(Arc::new(Self { config, clock, snapshot: Arc::default() }))
    }

    /// Makes this process the one that commits for `writer`. Where the bucket has no create-only
    /// puts, this also makes it the owner of the bucket, or fails with [`Error::Owned`].
    pub async fn register_writer(&self, writer: WriterId) -> Result<(), Error> {
        Err(Error::NotRegistered { writer })
    }

    /// The newest snapshot known here; own commits are in it at once. Costs nothing.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot)
    }

    /// Reads what other processes wrote since, and returns the snapshot after it.
    pub async fn refresh(&self) -> Result<Arc<Snapshot>, Error> {
        Ok(self.snapshot())
    }

    /// Puts the rows into files, a table and hour each, and one catalog record that names them.
    /// After `Ok` they are in [`Store::snapshot`]. May be repeated after any failure or crash: a
    /// commit that the catalog covers already adds nothing; one that it covers in part fails with
    /// [`Error::Overtaken`].
    pub async fn commit(&self, commit: Commit) -> Result<(), Error> {
        Err(Error::NotRegistered { writer: commit.writer })
    }

    /// Projected columns of one file.
    #[must_use]
    pub fn read(&self, request: ReadRequest) -> RowStream {
        crate::files::read(self.bucket(), request)
    }

    /// Whole rows of one file in row shape. The two conditions only skip: the caller filters.
    #[must_use]
    pub fn read_rows(
        &self,
        file: &Arc<FileEntry>,
        time: TimeRange,
        trace_id: Option<TraceId>,
    ) -> RowStream {
        crate::files::read_rows(self.bucket(), file, time, trace_id)
    }

    /// One pass over the catalog that merges the small files of every hour that has enough.
    pub async fn compact(&self) -> Result<CompactionReport, Error> {
        Ok(CompactionReport::default())
    }

    /// Reads the whole catalog again, looks for every file, and compares.
    pub async fn check(&self) -> Result<CheckReport, Error> {
        Ok(CheckReport::default())
    }

    /// Throws the index away and makes it anew from the bucket.
    pub async fn rebuild_index(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Figures for `icecore store stats`.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        StoreStats { snapshot_age: self.clock.elapsed(), ..StoreStats::default() }
    }

    /// Plays the loops of `roles` until `stop`, then drains. A loop that fails is logged, counted
    /// and tried again at its next turn; only the loss of a bucket's ownership ends it early.
    pub async fn run(
        self: Arc<Self>,
        roles: StoreRoles,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        let StoreRoles { refresh: _, compact: _, collect_garbage: _ } = roles;
        stop.cancelled().await;
        Ok(())
    }

    fn bucket(&self) -> Arc<dyn object_store::ObjectStore> {
        Arc::new(object_store::memory::InMemory::new())
    }
}
