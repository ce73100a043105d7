//! From rows to files to one record.
//!
//! Files first, the record last: a crash in between leaves files that nothing names, and the next
//! commit of the same stretch writes its own. A record that is there already, be it of an earlier
//! life of this process, is applied and decides whether there is anything left to do.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use tracing::{info, warn};

use crate::catalog::FileEntry;
use crate::catalog::append::{Appended, append};
use crate::catalog::invariants::{file_is_not_empty, file_is_within_its_hour};
use crate::catalog::record::{Body, Record, Sequence};
use crate::chance::Chance;
use crate::error::Error;
use crate::files::{FileOrigin, WriteRequest, WrittenFile, row_group_rows, write};
use crate::metrics::Publication;
use crate::model::{FileId, LogPosition, RowBatch, WriterId};
use crate::ports::{Clock, CommitRows};
use crate::store::partition::partition;
use crate::store::{Store, Unsaid};
use crate::work::off_runtime;

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

/// Memory of rows that become files together, where row groups of that many rows would take more:
/// that of 260,000 data points, of which each series then has some to share its attributes.
const RUN_BYTES_MAX: usize = 96 << 20;

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

    async fn put_files(&self, commit: &Commit, number: u64) -> Result<Vec<FileEntry>, Error> {
        let &Commit { writer, covers_from, covers_to, ref rows } = commit;
        let record = self.bucket.record_path(Sequence::Writer(writer), number);
        let origin = FileOrigin { record, log: Some((writer, covers_from, covers_to)) };
        let written = self.encode(Arc::clone(rows), origin).await?;
        let puts = written.into_iter().map(|file| self.put_file(file));
        let puts: Vec<_> = puts.collect();
        futures::stream::iter(puts).buffered(PUTS_PARALLEL).try_collect().await
    }

    /// Files of runs of rows. Holds the rows of one run at a time, however many there are, and
    /// waits for the memory of one.
    async fn encode(
        &self,
        rows: Arc<dyn CommitRows>,
        origin: FileOrigin,
    ) -> Result<Vec<WrittenFile>, Error> {
        let rows_max = self.config.row_group_rows_max;
        let (clock, chance) = (Arc::clone(&self.clock), Arc::clone(&self.chance));
        let work = move || {
            let encoder = Encoder { clock: &*clock, chance: &chance, origin: &origin, rows_max };
            let began = clock.elapsed();
            let (mut written, mut run) = (Vec::new(), Run::default());
            for piece in rows.pieces() {
                run.add(piece.map_err(|source| Error::CommitRows { source })?, rows_max);
                if run.groups >= 1.0 || run.bytes >= RUN_BYTES_MAX {
                    written.extend(encoder.files(std::mem::take(&mut run))?);
                }
            }
            written.extend(encoder.files(run)?);
            rows.encoded(clock.elapsed().saturating_sub(began));
            Ok(written)
        };
        let held = self.working.take(RUN_BYTES_MAX as u64).await;
        let written = off_runtime("encoding files", work).await;
        drop(held);
        written
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

/// Rows that become files together.
#[derive(Debug, Default)]
struct Run {
    batches: Vec<RowBatch>,
    rows: usize,
    /// The row groups that they would fill, each table its own.
    groups: f64,
    bytes: usize,
}

impl Run {
    fn add(&mut self, batch: RowBatch, rows_max: usize) {
        let rows = batch.rows.num_rows();
        self.rows += rows;
        self.groups += rows as f64 / row_group_rows(batch.table, rows_max).max(1) as f64;
        self.bytes += batch.rows.get_array_memory_size();
        self.batches.push(batch);
    }
}

struct Encoder<'a> {
    clock: &'a dyn Clock,
    chance: &'a Chance,
    origin: &'a FileOrigin,
    rows_max: usize,
}

impl Encoder<'_> {
    /// A file for each table and hour of a run.
    fn files(&self, run: Run) -> Result<Vec<WrittenFile>, Error> {
        let Run { batches, rows, groups: _, bytes: _ } = run;
        let parts = partition(&batches)?;
        drop(batches);
        let requests = parts.into_iter().map(|part| WriteRequest {
            id: FileId(self.chance.id(self.clock)),
            table: part.table,
            hour: part.hour,
            rows: part.rows,
            origin: self.origin.clone(),
            // A run ends with a whole piece: the few rows beyond make no row group of their own.
            row_group_rows_max: self.rows_max.max(rows),
        });
        requests.map(write).collect()
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
