//! Deletes files that do not count.
//!
//! A file that a record removed goes after its grace. A file that no record names goes only when
//! it can never be named any more: the file itself tells which record was to name it, and another
//! record stands there. Age alone proves nothing: a stalled writer may wake. Where nothing stands
//! there after the grace, an empty record is put there first, and a writer that wakes after all
//! finds its number taken and writes its files anew.
//!
//! Invariant: a file that is deleted here is in no snapshot younger than the grace, and never will
//! be in one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tracing::info;

use crate::bucket::Bucket;
use crate::catalog::Snapshot;
use crate::catalog::append::{Appended, append, read_record};
use crate::catalog::record::{Body, Record, Sequence, place_of};
use crate::catalog::state::{Removed, State};
use crate::error::Error;
use crate::files::layout::place;
use crate::files::read_origin;
use crate::model::{FileId, Table, UnixNanos};
use crate::store::Store;

/// What lies under `data/`, sorted by what is to become of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sorted {
    /// Removed, and out of its grace.
    pub(crate) dead: Vec<(FileId, String)>,
    /// Named by no record, and old enough to be looked into.
    pub(crate) unnamed: Vec<(FileId, String)>,
    /// Removed files that are not listed: gone already, if they were removed before the listing.
    pub(crate) gone: Vec<FileId>,
}

/// Sorts listed paths. Pure.
pub(crate) fn sort(
    paths: &[String],
    live: &BTreeSet<FileId>,
    removed: &BTreeMap<FileId, Removed>,
    grace: Duration,
    now: UnixNanos,
) -> Sorted {
    let out_of_grace = now.0.saturating_sub(i64::try_from(grace.as_nanos()).unwrap_or(i64::MAX));
    let listed: BTreeMap<FileId, &String> =
        paths.iter().filter_map(|path| Some((id_of(path)?, path))).collect();
    let mut sorted = Sorted::default();
    for (id, path) in &listed {
        let file = (*id, (*path).clone());
        let made_ns = i64::try_from(id.0.timestamp_ms()).unwrap_or(i64::MAX);
        match removed.get(id) {
            Some(removal) if removal.at.0 < out_of_grace => sorted.dead.push(file),
            Some(_) => {}
            None if live.contains(id) => {}
            None if made_ns.saturating_mul(1_000_000) < out_of_grace => sorted.unnamed.push(file),
            None => {}
        }
    }
    sorted.gone = removed.keys().filter(|id| !listed.contains_key(id)).copied().collect();
    sorted
}

/// The id in a data file's path.
pub(crate) fn id_of(path: &str) -> Option<FileId> {
    path.rsplit('/').next()?.strip_suffix(".parquet")?.parse().ok()
}

/// Every file that counts.
pub(crate) fn live_ids(snapshot: &Snapshot) -> BTreeSet<FileId> {
    let files = Table::ALL.into_iter().flat_map(|table| snapshot.all(table));
    files.map(|file| file.id).collect()
}

/// The paths of all data files.
pub(crate) async fn list_data(bucket: &Bucket) -> Result<Vec<String>, Error> {
    let listed = bucket.list("data").await?;
    Ok(listed.into_iter().map(|object| object.location.to_string()).collect())
}

impl Store {
    /// One pass over the bucket; the number of files that it deleted.
    pub(crate) async fn collect_garbage(&self) -> Result<u64, Error> {
        self.own_as_process().await?;
        let known: BTreeSet<FileId> = self.state.lock().await.removed().keys().copied().collect();
        // Listed first: a file that was put later is not in the list, and one that was put
        // before and named meanwhile is in the snapshot that is read next.
        let paths = list_data(&self.bucket).await?;
        self.refresh().await?;
        let state = self.state.lock().await.clone();
        let (live, grace) = (live_ids(state.snapshot()), self.config.garbage_grace);
        let mut sorted = sort(&paths, &live, state.removed(), grace, self.clock.now());
        // One that was put and removed since is not in the list either, and is not gone.
        sorted.gone.retain(|id| known.contains(id));
        let mut doomed = sorted.dead;
        for (id, path) in sorted.unnamed {
            let mut prospect = prospect(&self.bucket, &state, id, &path).await?;
            if let Prospect::Waits(sequence, number) = prospect
                && number == state.next(sequence)
            {
                let record = self.close(&state, sequence, number).await?;
                prospect = Prospect::of(&record, id);
            }
            if prospect == Prospect::Never {
                doomed.push((id, path));
            }
        }
        let (ids, paths): (Vec<_>, Vec<_>) = doomed.into_iter().unzip();
        // None of them is of an owner that came after the listing.
        self.confirm_owner().await?;
        let deleted = self.bucket.delete(paths).await?;
        if deleted > 0 {
            info!(deleted, "deleted files that do not count");
        }
        self.metrics.deleted(deleted);
        self.forget(ids.into_iter().chain(sorted.gone).collect()).await;
        Ok(deleted)
    }

    /// Takes a number that somebody wanted and never came for, with a record that does nothing;
    /// what stands there then.
    async fn close(&self, state: &State, sequence: Sequence, number: u64) -> Result<Record, Error> {
        let body = match sequence {
            Sequence::Writer(writer) => {
                let covered = state.snapshot().covered_to(writer).unwrap_or_default();
                Body::Commit { covers_from: covered, covers_to: covered, adds: Vec::new() }
            }
            Sequence::Compaction => Body::Compaction { adds: Vec::new(), removes: Vec::new() },
        };
        let record = Record { id: self.mint(), at: self.clock.now(), body };
        Ok(match append(&self.bucket, sequence, number, &record).await? {
            Appended::Ours => {
                info!(%sequence, number, "took the number of a commit that was never finished");
                record
            }
            Appended::Taken(found) => found,
        })
    }
}

/// Whether a file that a state does not count may come to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prospect {
    /// No record will ever name it.
    Never,
    /// It does, or a record names it that the state does not know yet.
    Counts,
    /// Nothing stands yet where the record belongs that is to name it.
    Waits(Sequence, u64),
    /// It is gone by now, or is no file of ours, or is torn: a person must look at that.
    Unknown,
}

impl Prospect {
    fn of(record: &Record, file: FileId) -> Self {
        if record.body.adds().iter().any(|named| named.id == file) {
            Self::Counts
        } else {
            Self::Never
        }
    }
}

/// What may become of a file. The record that was to name it is
/// read here and not taken from the state: it may be younger.
pub(crate) async fn prospect(
    bucket: &Bucket,
    state: &State,
    file: FileId,
    path: &str,
) -> Result<Prospect, Error> {
    if place(path)
        .is_some_and(|(table, hour, id)| state.snapshot().file(table, (hour, id)).is_some())
    {
        return Ok(Prospect::Counts);
    }
    let origin = match read_origin(bucket.objects(), path).await {
        Ok(Some(origin)) => origin,
        Ok(None)
        | Err(
            Error::Parquet { .. }
            | Error::Damaged { .. }
            | Error::Bucket { source: object_store::Error::NotFound { .. }, .. },
        ) => return Ok(Prospect::Unknown),
        Err(other) => return Err(other),
    };
    let Some((sequence, number)) = place_of(&origin.record) else { return Ok(Prospect::Unknown) };
    if number < state.next(sequence) {
        // Known, and yet it does not count: another record stands there, or the file was removed
        // and deleted, and a put that somebody had given up on brought it back.
        return Ok(Prospect::Never);
    }
    let found = read_record(bucket, &bucket.record_path(sequence, number)).await?;
    Ok(found.map_or(Prospect::Waits(sequence, number), |record| Prospect::of(&record, file)))
}

#[cfg(test)]
mod tests;
