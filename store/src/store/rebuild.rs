//! Makes the index anew while commits and queries go on.

use std::io::{Error as IoError, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::info;

use crate::bucket::Puts;
use crate::catalog::replay::{Replay, Replayed};
use crate::catalog::state::State;
use crate::error::Error;
use crate::metrics::RebuildReason;
use crate::store::{Store, Unsaid};

/// How far a rebuild is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RebuildProgress {
    /// The catalog is read: so many of so many records.
    Records {
        /// Read so far.
        read: u64,
        /// There to read, of those found when it began.
        of: u64,
    },
    /// The catalog is written to the index.
    Writing,
    /// Trace filters are made.
    TraceFilters {
        /// Files that were read for them.
        made: usize,
        /// Files that wait.
        waiting: usize,
    },
}

impl Store {
    /// Throws the index away and makes it anew from the bucket. Nothing is thrown away before the
    /// bucket was read; commits and queries go on, and wait only while the few records are read
    /// that came meanwhile.
    ///
    /// # Errors
    /// Where another process has the index, or the bucket cannot be read: then all stays as it is.
    pub async fn rebuild_index(&self, tell: impl Fn(RebuildProgress)) -> Result<(), Error> {
        self.check_index_is_ours()?;
        let mut fresh = State::default();
        let mut replay = Replay::find(&self.bucket, &fresh).await?;
        while let Some((_, replayed)) = replay.step(&self.bucket, &mut fresh).await? {
            let Replayed { records, of } = replayed;
            self.metrics.replayed(records, of);
            tell(RebuildProgress::Records { read: records, of });
        }
        tell(RebuildProgress::Writing);
        self.index.refill(RebuildReason::Asked, fresh.clone()).await;
        let snapshot = self.take_over(fresh).await?;
        self.traces.clear(&snapshot);
        let traces = self.build_traces(|made, waiting| {
            tell(RebuildProgress::TraceFilters { made, waiting });
        });
        traces.await.map_err(|source| self.index.failed("rebuild", source))?;
        info!(records = snapshot.records(), "the index was made anew");
        Ok(())
    }

    /// Puts a state that was read meanwhile in the place of the one in force.
    async fn take_over(&self, mut fresh: State) -> Result<Arc<crate::Snapshot>, Error> {
        let mut state = self.state.lock().await;
        let mut changes = Vec::new();
        let mut replay = Replay::find(&self.bucket, &fresh).await?;
        while let Some((more, _)) = replay.step(&self.bucket, &mut fresh).await? {
            changes.extend(more);
        }
        *state = fresh;
        // Where a bucket has owners, another may have come meanwhile.
        self.doubtful.store(self.bucket.puts() != Puts::CreateOnly, Ordering::Release);
        self.index.resume();
        self.publish(state, changes, Unsaid::Removals).await;
        Ok(self.snapshot())
    }

    fn check_index_is_ours(&self) -> Result<(), Error> {
        if self.index.is_on() {
            return Ok(());
        }
        let reason = "it is off: another process has it, or the disk failed";
        Err(self.index.failed("rebuild", IoError::new(ErrorKind::ResourceBusy, reason)))
    }
}
