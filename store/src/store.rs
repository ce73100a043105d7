//! The store as everybody else sees it.
//!
//! Invariant: what [`Store::commit`] returned `Ok` for is in every later [`Store::snapshot`], in
//! this process and, after its next refresh, in any other, exactly once.

mod commit;
mod loops;
mod open;
mod owning;
pub(crate) mod partition;
mod rebuild;
mod report;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::sync::{MutexGuard, watch};
use ulid::Ulid;

use crate::bucket::owner::Ownership;
use crate::bucket::{Bucket, Puts};
use crate::catalog::read::{Run, read_new};
use crate::catalog::state::{Change, State};
use crate::catalog::{FileEntry, Snapshot};
use crate::chance::{Chance, Machine};
use crate::config::Config;
use crate::error::Error;
use crate::files::{Footers, InOne, Pages, Reach, ReadRequest, Room, RowStream};
use crate::index::{Index, Traces};
use crate::metrics::Metrics;
use crate::model::{FileId, Table, TimeRange, TraceId, WriterId};
use crate::ports::{Clock, Conditions};
use crate::retention::Examined;

pub use commit::Commit;
pub use rebuild::RebuildProgress;
pub use report::{
    CheckListener, CheckReport, CompactionReport, Finding, MergeReport, StoreStats, TableStats,
};

/// One bucket with its catalog, as this process knows it.
#[derive(Debug)]
pub struct Store {
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) chance: Arc<Chance>,
    pub(crate) bucket: Bucket,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) state: tokio::sync::Mutex<State>,
    pub(crate) index: Index,
    pub(crate) traces: Arc<Traces>,
    footers: Arc<Footers>,
    /// What is kept of files on local disk, where anything is.
    pages: Option<Arc<Pages>>,
    /// What is asked for before there is room for it, where that saves time.
    ahead: Option<Room>,
    /// The memory of flushes and merges.
    pub(crate) working: Room,
    pub(crate) snapshot: watch::Sender<Arc<Snapshot>>,
    /// When the catalog was last read, in milliseconds of [`Clock::elapsed`].
    refreshed_ms: AtomicU64,
    /// This process, wherever somebody asks who.
    pub(crate) process: Ulid,
    writers: Mutex<BTreeSet<WriterId>>,
    /// One commit at a time: its record number must not be taken by another of this process.
    turn: tokio::sync::Mutex<()>,
    ownership: tokio::sync::Mutex<Option<Ownership>>,
    /// Some records that were applied may be of an epoch that is over.
    doubtful: AtomicBool,
    /// Records that the newest checkpoint holds; `u64::MAX` until somebody looked.
    pub(crate) checkpointed: AtomicU64,
    /// What understands SQL conditions; none where nobody gave it.
    pub(crate) conditions: OnceLock<Arc<dyn Conditions>>,
    /// Files that retention need not look into again.
    pub(crate) examined: Arc<Examined>,
}

impl Store {
    /// Connects to the bucket, checks credentials and create-only puts, opens the index or makes
    /// it anew, and reads the catalog. Fails with an error that says what to mend.
    pub async fn open(
        config: Config,
        clock: Arc<dyn Clock>,
        registry: &mut Registry,
    ) -> Result<Arc<Self>, Error> {
        let metrics = Arc::new(Metrics::register(registry));
        let chance = Chance::of_machine();
        let process = chance.id(&*clock);
        let machine = Machine { clock, chance };
        let bucket = crate::bucket::open(&config, &machine, &metrics, process).await?;
        Self::open_over(config, machine, metrics, bucket, process).await.map(Arc::new)
    }

    /// Makes this process the one that commits for `writer`. Where the bucket has no create-only
    /// puts, this also makes it the owner of the bucket, or fails with [`Error::Owned`].
    pub async fn register_writer(&self, writer: WriterId) -> Result<(), Error> {
        self.own(format!("writer {writer}")).await?;
        self.refresh().await?;
        self.writers.lock().unwrap_or_else(PoisonError::into_inner).insert(writer);
        Ok(())
    }

    /// The newest snapshot known here; own commits are in it at once. Costs nothing.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.borrow())
    }

    /// Reads what other processes wrote since, and returns the snapshot after it.
    pub async fn refresh(&self) -> Result<Arc<Snapshot>, Error> {
        let began = self.clock.elapsed();
        let (mut state, runs) = self.read_on().await?;
        let mut changes = Vec::new();
        let applied = runs.into_iter().try_for_each(|run| state.apply_run(run, &mut changes));
        // What was applied before a damaged record counts, here and in the index.
        self.publish(state, changes, Unsaid::Nothing).await;
        // Another may have read the record that removes a file, and not be done.
        self.settle().await;
        applied?;
        let began_ms = u64::try_from(began.as_millis()).unwrap_or(u64::MAX);
        self.refreshed_ms.fetch_max(began_ms, Ordering::AcqRel);
        self.footers.rest(self.clock.elapsed());
        if let Some(pages) = &self.pages {
            pages.look_after(self.clock.elapsed()).await;
        }
        self.metrics.refreshed(self.clock.now().0 / 1_000_000_000);
        Ok(self.snapshot())
    }

    /// The records that the state lacks. Once it is in hand it is still what they follow.
    async fn read_on(&self) -> Result<(MutexGuard<'_, State>, Vec<Run>), Error> {
        loop {
            self.follow_epochs().await?;
            let (next, epochs) =
                (self.state.lock().await.next_numbers(), self.bucket.epochs().newest());
            let runs = read_new(&self.bucket, &next).await?;
            let state = self.state.lock().await;
            let same = epochs == self.bucket.epochs().newest();
            if same && !self.doubtful.load(Ordering::Acquire) {
                return Ok((state, runs));
            }
        }
    }

    /// Some columns of some rows of one file.
    #[must_use]
    pub fn read(&self, request: ReadRequest) -> RowStream {
        crate::files::read(self.reach(), Arc::clone(&self.footers), request)
    }

    /// The same, asked of the bucket whatever is kept on local disk: for whoever reads each file once, or
    /// says what the bucket has.
    pub(crate) fn read_in_bucket(&self, request: ReadRequest) -> RowStream {
        let reach = Reach { pages: None, ..self.reach() };
        crate::files::read(reach, Arc::clone(&self.footers), request)
    }

    fn reach(&self) -> Reach {
        let (bucket, pages) = (self.bucket.objects(), self.pages.clone());
        let (far, ahead) = (self.is_far(), self.ahead.clone());
        Reach { bucket, far, pages, ahead }
    }

    /// Whole rows of one file in row shape. Of rows out of `time` some may come back.
    #[must_use]
    pub fn read_rows(&self, file: &Arc<FileEntry>, time: TimeRange) -> RowStream {
        crate::files::read_kept(self.reach(), Arc::clone(&self.footers), file, time)
    }

    /// Whole rows of one trace. From a bucket that is far away a file that is not large takes one
    /// request where it is `told` to have them, and a few where its own filters must say so first.
    #[must_use]
    pub fn read_trace(&self, file: &Arc<FileEntry>, id: TraceId, told: bool) -> RowStream {
        let (reach, footers) = (self.reach(), Arc::clone(&self.footers));
        let in_one = match (self.is_far(), told) {
            (false, _) => InOne::Never,
            (true, false) => InOne::LetIn,
            (true, true) => InOne::Always,
        };
        crate::files::read_trace(reach, footers, file, id, in_one)
    }

    /// Files that a reader should have open at one time, so that its waits for the bucket overlap:
    /// a folder needs hardly any. What it holds of them is bounded by its [`Store::room`].
    #[must_use]
    pub fn files_at_once(&self) -> usize {
        if self.is_far() { 64 } else { 2 }
    }

    /// Whether each request to the bucket takes its time.
    fn is_far(&self) -> bool {
        self.config.is_far()
    }

    /// What one part of a scan may hold of the files that it reads. `all`: all of its rows are wanted.
    #[must_use]
    pub fn room(&self, all: bool) -> Room {
        let room = Room::new(self.config.fetched_bytes_max, self.metrics.fetched.clone());
        if all {
            room.moving();
        }
        room
    }

    /// Reads the whole catalog again and the footer of every file, and compares.
    pub async fn check(&self) -> Result<CheckReport, Error> {
        self.check_all(false, &()).await
    }

    /// Figures for `icecore store stats`.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        let snapshot = self.snapshot();
        let refreshed = Duration::from_millis(self.refreshed_ms.load(Ordering::Acquire));
        StoreStats {
            tables: Table::ALL.map(|table| table_stats(&snapshot, table)).to_vec(),
            records: snapshot.records(),
            writers: snapshot.covered().len() as u64,
            create_only: self.bucket.puts() == Puts::CreateOnly,
            snapshot_age: self.clock.elapsed().saturating_sub(refreshed),
        }
    }

    /// Puts a new snapshot in force and keeps what changed. Where files left the catalog it waits until nothing is
    /// kept of them on local disk; others have the state meanwhile.
    pub(crate) async fn publish(
        &self,
        state: MutexGuard<'_, State>,
        changes: Vec<Change>,
        unsaid: Unsaid,
    ) {
        // Before anybody can ask for a trace in these files.
        self.traces.added(&changes);
        self.snapshot.send_replace(Arc::new(state.snapshot().clone()));
        self.metrics.snapshot(state.snapshot());
        let removed = || changes.iter().flat_map(|change| &change.removed);
        self.footers.forget(removed().map(|removal| removal.id));
        if let Some(pages) = &self.pages {
            pages.leave(removed());
            if unsaid == Unsaid::Removals {
                pages.leave_unnamed();
            }
        }
        let removes = unsaid == Unsaid::Removals || removed().next().is_some();
        // In the order of the records, which is that of those who have the state.
        self.index.write(changes).await;
        drop(state);
        if removes {
            self.settle().await;
        }
    }

    /// Waits until nothing is kept on local disk of files that left the catalog.
    pub(crate) async fn settle(&self) {
        if let Some(pages) = &self.pages {
            pages.settle().await;
        }
    }

    /// Forgets files that are deleted.
    pub(crate) async fn forget(&self, deleted: Vec<FileId>) {
        self.state.lock().await.forget(&deleted);
        self.index.forget(deleted).await;
    }

    pub(crate) fn mint(&self) -> Ulid {
        self.chance.id(&*self.clock)
    }

    fn is_registered(&self, writer: WriterId) -> bool {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner).contains(&writer)
    }
}

/// What changed and is in none of the changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unsaid {
    Nothing,
    /// A state that was read apart came in the place of another: any file may have left.
    Removals,
}

fn table_stats(snapshot: &Snapshot, table: Table) -> TableStats {
    let totals = snapshot.totals(table);
    TableStats {
        table,
        files: totals.files,
        rows: totals.rows,
        bytes: totals.bytes,
        time: snapshot.time(table),
    }
}

#[cfg(test)]
mod tests;
