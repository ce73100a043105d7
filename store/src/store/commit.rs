//! From rows to files to one record.
//!
//! Files first, the record last: a crash in between leaves files that nothing names, and the next
//! commit of the same stretch writes its own. A record that is there already, be it of an earlier
//! life of this process, is applied and decides whether there is anything left to do.

mod runs;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use tracing::{info, warn};

use crate::catalog::FileEntry;
use crate::catalog::append::{Appended, append};
use crate::catalog::invariants::{file_is_not_empty, file_is_within_its_hour};
use crate::catalog::record::{Body, Record, Sequence};
use crate::error::Error;
use crate::files::{FileOrigin, WrittenFile};
use crate::metrics::Publication;
use crate::model::{LogPosition, WriterId};
use crate::ports::CommitRows;
use crate::store::{Store, Unsaid};
use crate::work::off_runtime;
use runs::{RUN_BYTES_MAX, Runs};

/// Rows of one stretch of one writer's log, on their way into files.
#[derive(Debug, Clone)]
pub struct Commit {
    /// Whose log; registered before with [`Store::register_writer`].
    pub writer: WriterId,
    /// Where the stretch begins, inclusive: the end of the commit before it (or what
    /// [`crate::Snapshot::covered_to`] says after a start, or anything from there to the first
    /// frame).
    pub covers_from: LogPosition,
    /// Where the stretch ends, exclusive. A commit that the catalog already covers is done.
    pub covers_to: LogPosition,
    /// All rows of the stretch, of any tables and times. There may be none: then only the position
    /// moves.
    pub rows: Arc<dyn CommitRows>,
}

/// Files that are made before they are put: those of ordinary rows are few, and all are made first.
const FILES_BYTES_MAX: usize = 32 << 20;

/// Files that are put at once.
const PUTS_PARALLEL: usize = 4;

/// How often a commit finds its number taken before it gives up: once an earlier attempt's late
/// record is more than anybody has seen.
const ATTEMPTS: u32 = 4;

/// Where a commit stands against the catalog.
enum Standing {
    Done,
    Open { number: u64 },
}

impl Store {
    /// Puts the rows into files, a table and hour each, and one catalog record that names them.
    /// After `Ok` they are in [`Store::snapshot`]. May be repeated after any failure or crash: a
    /// commit that the catalog covers already adds nothing; one that it covers in part fails with
    /// [`Error::Overtaken`].
    pub async fn commit(&self, commit: Commit) -> Result<(), Error> {
        let done = self.commit_in_turn(commit).await;
        let outcome = match &done {
            Ok(outcome) => *outcome,
            Err(_) => Publication::Failed,
        };
        self.metrics.commit(outcome);
        done.map(drop)
    }

    #[tracing::instrument(name = "commit", skip_all)]
    async fn commit_in_turn(&self, commit: Commit) -> Result<Publication, Error> {
        if !self.is_registered(commit.writer) {
            return Err(Error::NotRegistered { writer: commit.writer });
        }
        let _turn = self.turn.lock().await;
        let began = self.clock.elapsed();
        for _ in 0..ATTEMPTS {
            // What a last attempt came to is known once the bucket is ours again.
            self.own(format!("writer {}", commit.writer)).await?;
            let Standing::Open { number } = self.standing(&commit).await? else {
                return Ok(Publication::Void);
            };
            let files = self.put_files(&commit, number).await?;
            let (count, rows) = (files.len(), files.iter().map(|file| file.rows).sum::<u64>());
            if self.put_record(&commit, number, files).await? {
                let took_ms = self.clock.elapsed().saturating_sub(began).as_millis();
                let Commit { writer, covers_from: _, covers_to, rows: _ } = commit;
                info!(%writer, number, ?covers_to, files = count, rows, took_ms, "committed");
                return Ok(Publication::Done);
            }
        }
        let path = Sequence::Writer(commit.writer).folder();
        let reason = "somebody else keeps appending to it".to_owned();
        Err(Error::Damaged { path, reason })
    }

    /// Whether there is anything to do, and at which number.
    async fn standing(&self, commit: &Commit) -> Result<Standing, Error> {
        let &Commit { writer, covers_from, covers_to, rows: _ } = commit;
        let state = self.state.lock().await;
        if let Some(covered_to) = state.snapshot().covered_to(writer) {
            if covers_to <= covered_to {
                return Ok(Standing::Done);
            }
            if covers_from < covered_to {
                return Err(Error::Overtaken { writer, covers_from, covered_to });
            }
        }
        if covers_from >= covers_to {
            return Ok(Standing::Done);
        }
        Ok(Standing::Open { number: state.next(Sequence::Writer(writer)) })
    }

    /// Files of all rows, in the bucket. The rows of one run are held at a time, however many there are,
    /// and of files that are not in the bucket [`FILES_BYTES_MAX`], and those of a run.
    async fn put_files(&self, commit: &Commit, number: u64) -> Result<Vec<FileEntry>, Error> {
        let &Commit { writer, covers_from, covers_to, ref rows } = commit;
        let record = self.bucket.record_path(Sequence::Writer(writer), number);
        let origin = FileOrigin { record, log: Some((writer, covers_from, covers_to)) };
        let mut runs = Runs {
            pieces: Arc::clone(rows).pieces(),
            clock: Arc::clone(&self.clock),
            chance: Arc::clone(&self.chance),
            origin,
            rows_max: self.config.row_group_rows_max,
            took: Duration::ZERO,
        };
        let (mut entries, mut ended) = (Vec::new(), false);
        while !ended {
            let held = self.working.take(RUN_BYTES_MAX as u64).await;
            let work = move || runs.files(FILES_BYTES_MAX).map(|files| (runs, files));
            let files;
            (runs, (files, ended)) = off_runtime("encoding files", work).await?;
            drop(held);
            if ended {
                rows.encoded(runs.took);
            }
            rows.putting(true);
            let puts: Vec<_> = files.into_iter().map(|file| self.put_file(file)).collect();
            let puts = futures::stream::iter(puts).buffered(PUTS_PARALLEL);
            entries.extend(puts.try_collect::<Vec<_>>().await?);
            if !ended {
                rows.putting(false);
            }
        }
        Ok(entries)
    }

    /// Puts one file; its name is new, so one that exists is our own with its answer lost.
    pub(crate) async fn put_file(&self, file: WrittenFile) -> Result<FileEntry, Error> {
        let WrittenFile { bytes, entry, trace_prints } = file;
        check_entry(&entry, &bytes)?;
        self.bucket.create(&entry.path(), bytes).await?;
        self.traces.wrote(entry.id, trace_prints);
        Ok(entry)
    }

    /// Publishes the files; `false` where the number was taken by another record.
    async fn put_record(
        &self,
        commit: &Commit,
        number: u64,
        adds: Vec<FileEntry>,
    ) -> Result<bool, Error> {
        let &Commit { writer, covers_from, covers_to, rows: _ } = commit;
        self.own(format!("writer {writer}")).await?;
        let sequence = Sequence::Writer(writer);
        let body = Body::Commit { covers_from, covers_to, adds };
        let record = Record { id: self.mint(), at: self.clock.now(), body };
        match append(&self.bucket, sequence, number, &record).await? {
            Appended::Ours => {
                self.apply(sequence, number, record).await?;
                Ok(true)
            }
            Appended::Taken(_) => {
                warn!(%writer, number, "a late record of this writer is there already");
                self.refresh().await?;
                Ok(false)
            }
        }
    }

    /// Applies a record that this process knows to stand at `number`.
    pub(crate) async fn apply(
        &self,
        sequence: Sequence,
        number: u64,
        mut record: Record,
    ) -> Result<(), Error> {
        // It landed at some moment before this one.
        record.at = record.at.max(self.clock.now());
        let removes = record.body.removes();
        let mut state = self.state.lock().await;
        if state.next(sequence) == number {
            let change = state.apply(sequence, record)?;
            self.publish(state, vec![change], Unsaid::Nothing).await;
            return Ok(());
        }
        drop(state);
        // A refresh was faster, and may not be done.
        if removes {
            self.settle().await;
        }
        Ok(())
    }
}

/// What is about to be named must keep the rules; after it is named it is too late.
pub(crate) fn check_entry(entry: &FileEntry, bytes: &Bytes) -> Result<(), Error> {
    let sized = entry.bytes == bytes.len() as u64;
    if sized && file_is_not_empty(entry) && file_is_within_its_hour(entry) {
        return Ok(());
    }
    let reason = format!("its entry does not fit: {entry:?}, {} bytes", bytes.len());
    Err(Error::Damaged { path: entry.path(), reason })
}
