//! The fold of all records as one object, so that a reader without an index starts from it.
//!
//! Checkpoints are `catalog/checkpoint/<records>-<id>.json`; the one with most records counts.
//! They only save requests: one that is missing, damaged or does not agree with the records is
//! passed over, and `store check` and `store rebuild-index` read the records themselves.
//!
//! A checkpoint of a million files is read in one go by whoever has lost its index, so it says
//! once what many files have in common: a file is a row of six figures under its table and hour.
//!
//! Invariant: no record is ever deleted because a checkpoint holds its effect.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};
use ulid::Ulid;

use crate::bucket::Bucket;
use crate::catalog::append::read_record;
use crate::catalog::layouts::Numbers;
use crate::catalog::record::{FOLDER, Sequence};
use crate::catalog::state::{Applied, Removed, State};
use crate::catalog::{FileEntry, FileLayout, Snapshot};
use crate::error::Error;
use crate::model::{FileId, Hold, LogPosition, Table, TimeRange, UnixNanos, WriterId};
use crate::work::off_runtime;

/// Records since the last checkpoint that make a new one worth its put. A reader without an index
/// reads at most about this many records, sixteen at a time.
pub(crate) const RECORDS: u64 = 1000;

/// The folder among those of the sequences.
pub(super) const NAME: &str = "checkpoint";

/// Records that are compared at once.
const PARALLEL: usize = 16;

/// Older checkpoints that are kept for readers that are at it.
const KEPT: usize = 2;

/// A state, as it is written down. Maps are lists: JSON keys must be texts.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Checkpoint {
    sequences: Vec<(Sequence, Applied)>,
    covered: Vec<(WriterId, LogPosition)>,
    removed: Vec<(FileId, Removed)>,
    tables: Vec<TableFiles>,
    holds: Vec<Hold>,
}

/// The files of one table.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct TableFiles {
    table: Table,
    layouts: Vec<Arc<FileLayout>>,
    hours: Vec<(UnixNanos, Vec<Row>)>,
}

/// A file: its name, times, bytes, rows, and which of the layouts it has.
type Row = (FileId, UnixNanos, UnixNanos, u64, u64, u32);

/// The records that the newest checkpoint holds; 0 without one.
pub(crate) async fn newest_records(bucket: &Bucket) -> Result<u64, Error> {
    Ok(list(bucket).await?.last().map_or(0, |(records, _)| *records))
}

/// The state of the newest checkpoint that agrees with the records.
pub(crate) async fn read(bucket: &Bucket) -> Result<Option<State>, Error> {
    for (records, path) in list(bucket).await?.into_iter().rev() {
        let Some(bytes) = bucket.read(&path).await? else { continue };
        let decoded = off_runtime("decoding a checkpoint", move || Ok(decode(&bytes)));
        let state = match decoded.await? {
            Ok(state) => state,
            Err(reason) => {
                warn!(path, reason, "a checkpoint cannot be read, looking for an older one");
                continue;
            }
        };
        if state.snapshot().records() == records && agrees(bucket, &state).await? {
            info!(path, records, "starting from a checkpoint");
            return Ok(Some(state));
        }
        warn!(path, "a checkpoint does not agree with the catalog, looking for an older one");
    }
    Ok(None)
}

/// Whether the last record of every sequence is in the bucket, the very same.
pub(crate) async fn agrees(bucket: &Bucket, state: &State) -> Result<bool, Error> {
    let sequences = state.sequences().iter();
    let checks: Vec<_> =
        sequences.map(|(sequence, applied)| agrees_at(bucket, *sequence, *applied)).collect();
    let mut checks = futures::stream::iter(checks).buffer_unordered(PARALLEL);
    while let Some(agrees) = checks.try_next().await? {
        if !agrees {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn agrees_at(bucket: &Bucket, sequence: Sequence, applied: Applied) -> Result<bool, Error> {
    let Some(last) = applied.next.checked_sub(1) else { return Ok(true) };
    let found = match read_record(bucket, &bucket.record_path(sequence, last)).await {
        Err(Error::Damaged { .. }) => None,
        found => found?,
    };
    Ok(found.is_some_and(|record| record.id == applied.last))
}

/// Writes a checkpoint, and deletes those that it makes useless.
pub(crate) async fn write(bucket: &Bucket, state: &State, id: Ulid) -> Result<(), Error> {
    let records = state.snapshot().records();
    let path = format!("{}/{records:020}-{id}.json", folder());
    let state = state.clone();
    let encode = move || Ok(serde_json::to_vec(&of(&state)));
    let bytes = off_runtime("encoding a checkpoint", encode).await?;
    let bytes = bytes.expect("a checkpoint is plain text and figures");
    info!(path, records, bytes = bytes.len(), "writing a checkpoint");
    bucket.create(&path, bytes.into()).await?;
    let mut old: Vec<String> = list(bucket).await?.into_iter().map(|(_, path)| path).collect();
    old.truncate(old.len().saturating_sub(KEPT));
    bucket.delete(old).await.map(drop)
}

fn folder() -> String {
    format!("{FOLDER}/{NAME}")
}

/// Checkpoints and their numbers of records, fewest first.
pub(super) async fn list(bucket: &Bucket) -> Result<Vec<(u64, String)>, Error> {
    let listed = bucket.list(&folder()).await?;
    let paths = listed.into_iter().map(|object| object.location.to_string());
    let mut found: Vec<_> = paths.filter_map(|path| Some((records_of(&path)?, path))).collect();
    found.sort_unstable();
    Ok(found)
}

fn records_of(path: &str) -> Option<u64> {
    let (records, _) = path.rsplit('/').next()?.split_once('-')?;
    records.parse().ok()
}

fn of(state: &State) -> Checkpoint {
    let snapshot = state.snapshot();
    let copied = |(key, value): (&FileId, &Removed)| (*key, value.clone());
    Checkpoint {
        sequences: state.sequences().iter().map(|(key, value)| (*key, *value)).collect(),
        covered: snapshot.covered().iter().map(|(key, value)| (*key, *value)).collect(),
        removed: state.removed().iter().map(copied).collect(),
        holds: snapshot.holds().cloned().collect(),
        tables: Table::ALL.into_iter().map(|table| files_of(snapshot, table)).collect(),
    }
}

fn files_of(snapshot: &Snapshot, table: Table) -> TableFiles {
    let mut numbers = Numbers::default();
    let mut row = |file: &FileEntry| {
        let &FileEntry { id, table: _, bytes, rows, time, hour: _, ref layout } = file;
        (id, time.start(), time.end(), bytes, rows, numbers.of(layout))
    };
    let hours = snapshot.hours(table);
    let hours = hours.map(|(hour, files)| (hour, files.iter().map(|file| row(file)).collect()));
    let hours = hours.collect();
    TableFiles { table, layouts: numbers.finish(), hours }
}

/// The state that the bytes say, or why they say none.
pub(crate) fn decode(bytes: &[u8]) -> Result<State, String> {
    let checkpoint: Checkpoint =
        serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let Checkpoint { sequences, covered, removed, holds, tables } = checkpoint;
    let mut files = Vec::with_capacity(tables.iter().map(TableFiles::len).sum());
    for TableFiles { table, layouts, hours } in tables {
        for (hour, rows) in hours {
            for row in rows {
                files.push(entry(table, hour, row, &layouts).ok_or("a row of it makes no sense")?);
            }
        }
    }
    let removed = removed.into_iter().collect();
    let (covered, sequences) = (covered.into_iter().collect(), sequences.into_iter().collect());
    Ok(State::restore(files, covered, sequences, removed).with_holds(holds))
}

impl TableFiles {
    fn len(&self) -> usize {
        self.hours.iter().map(|(_, rows)| rows.len()).sum()
    }
}

fn entry(
    table: Table,
    hour: UnixNanos,
    row: Row,
    layouts: &[Arc<FileLayout>],
) -> Option<FileEntry> {
    let (id, start, end, bytes, rows, layout) = row;
    let layout = Arc::clone(layouts.get(usize::try_from(layout).ok()?)?);
    let time = TimeRange::new(start, end)?;
    Some(FileEntry { id, table, bytes, rows, time, hour, layout })
}

#[cfg(test)]
mod tests;
