//! Deletes files that do not count.
//!
//! A file that a record removed goes after its grace. A file that no record names goes only when
//! it can never be named any more: the record that was to name it, which the file itself tells, is
//! in the bucket and names others. Age alone proves nothing: a stalled writer may wake.
//!
//! Invariant: a file that is deleted here is in no snapshot younger than the grace, and never will
//! be in one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tracing::info;

use crate::bucket::Bucket;
use crate::catalog::Snapshot;
use crate::catalog::append::read_record;
use crate::catalog::state::Removed;
use crate::error::Error;
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
    /// Removed files that are gone already.
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
        // Listed first: a file that was put later is not in the list, and one that was put
        // before and named meanwhile is in the snapshot that is read next.
        let paths = list_data(&self.bucket).await?;
        let snapshot = self.refresh().await?;
        let removed = self.state.lock().await.removed().clone();
        let grace = self.config.garbage_grace;
        let sorted = sort(&paths, &live_ids(&snapshot), &removed, grace, self.clock.now());
        let mut doomed = sorted.dead;
        for (id, path) in sorted.unnamed {
            if can_never_count(&self.bucket, id, &path).await? {
                doomed.push((id, path));
            }
        }
        let (ids, paths): (Vec<_>, Vec<_>) = doomed.into_iter().unzip();
        let deleted = self.bucket.delete(paths).await?;
        if deleted > 0 {
            info!(deleted, "deleted files that do not count");
        }
        self.metrics.deleted(deleted);
        self.forget(ids.into_iter().chain(sorted.gone).collect()).await;
        Ok(deleted)
    }
}

/// Whether another record stands where the one that was to name the file would. It will stand
/// there for ever. The record is read here and not taken from the snapshot: it may be younger.
pub(crate) async fn can_never_count(
    bucket: &Bucket,
    file: FileId,
    path: &str,
) -> Result<bool, Error> {
    let origin = match read_origin(bucket.objects(), path).await {
        Ok(Some(origin)) => origin,
        // Not a file of ours, or torn: a person must look at it, `store check` counts it.
        Ok(None) | Err(Error::Parquet { .. } | Error::Damaged { .. }) => return Ok(false),
        Err(other) => return Err(other),
    };
    let Some(record) = read_record(bucket, &origin.record).await? else { return Ok(false) };
    Ok(record.body.adds().iter().all(|named| named.id != file))
}

#[cfg(test)]
mod tests;
