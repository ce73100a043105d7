//! The fold of all records as one object, so that a reader without an index starts from it.
//!
//! Checkpoints are `catalog/checkpoint/<records>-<id>.json`; the one with most records counts.
//! They only save requests: one that is missing, damaged or does not agree with the records is
//! passed over, and `store check` and `store rebuild-index` read the records themselves.
//!
//! Invariant: no record is ever deleted because a checkpoint holds its effect.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tracing::{info, warn};
use ulid::Ulid;

use crate::bucket::Bucket;
use crate::catalog::FileEntry;
use crate::catalog::append::read_record;
use crate::catalog::record::{FOLDER, Sequence};
use crate::catalog::state::{Applied, Removed, State};
use crate::error::Error;
use crate::model::{FileId, LogPosition, Table, WriterId};

/// Records since the last checkpoint that make a new one worth its put. A reader without an index
/// reads at most about this many records, sixteen at a time.
pub(crate) const RECORDS: u64 = 1000;

/// Older checkpoints that are kept for readers that are at it.
const KEPT: usize = 2;

/// A state, as it is written down. Maps are lists: JSON keys must be texts.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Checkpoint {
    sequences: Vec<(Sequence, Applied)>,
    covered: Vec<(WriterId, LogPosition)>,
    removed: Vec<(FileId, Removed)>,
    files: Vec<FileEntry>,
}

/// The records that the newest checkpoint holds; 0 without one.
pub(crate) async fn newest_records(bucket: &Bucket) -> Result<u64, Error> {
    Ok(list(bucket).await?.last().map_or(0, |(records, _)| *records))
}

/// The state of the newest checkpoint that agrees with the records.
pub(crate) async fn read(bucket: &Bucket) -> Result<Option<State>, Error> {
    for (records, path) in list(bucket).await?.into_iter().rev() {
        let Some(bytes) = bucket.read(&path).await? else { continue };
        let state = match serde_json::from_slice::<Checkpoint>(&bytes) {
            Ok(checkpoint) => restore(checkpoint),
            Err(error) => {
                warn!(path, %error, "a checkpoint cannot be read, looking for an older one");
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
    for (sequence, applied) in state.sequences() {
        let Some(last) = applied.next.checked_sub(1) else { continue };
        let found = read_record(bucket, &sequence.path(last)).await?;
        if found.is_none_or(|record| record.id != applied.last) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes a checkpoint, and deletes those that it makes useless.
pub(crate) async fn write(bucket: &Bucket, state: &State, id: Ulid) -> Result<(), Error> {
    let records = state.snapshot().records();
    let path = format!("{}/{records:020}-{id}.json", folder());
    let checkpoint = of(state);
    let encode = tokio::task::spawn_blocking(move || serde_json::to_vec(&checkpoint));
    let bytes = match encode.await {
        Ok(bytes) => bytes.expect("a checkpoint is plain text and figures"),
        Err(source) => return Err(Error::Interrupted { work: "encoding a checkpoint", source }),
    };
    info!(path, records, bytes = bytes.len(), "writing a checkpoint");
    bucket.create(&path, bytes.into()).await?;
    let mut old: Vec<String> = list(bucket).await?.into_iter().map(|(_, path)| path).collect();
    old.truncate(old.len().saturating_sub(KEPT));
    bucket.delete(old).await.map(drop)
}

fn folder() -> String {
    format!("{FOLDER}/checkpoint")
}

/// Checkpoints and their numbers of records, fewest first.
async fn list(bucket: &Bucket) -> Result<Vec<(u64, String)>, Error> {
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
    let files = Table::ALL.into_iter().flat_map(|table| snapshot.hours(table));
    let copied = |(key, value): (&FileId, &Removed)| (*key, value.clone());
    Checkpoint {
        sequences: state.sequences().iter().map(|(key, value)| (*key, *value)).collect(),
        covered: snapshot.covered().iter().map(|(key, value)| (*key, *value)).collect(),
        removed: state.removed().iter().map(copied).collect(),
        files: files.flat_map(|(_, files)| files.iter().map(|file| (**file).clone())).collect(),
    }
}

fn restore(checkpoint: Checkpoint) -> State {
    let Checkpoint { sequences, covered, removed, files } = checkpoint;
    let removed: BTreeMap<_, _> = removed.into_iter().collect();
    State::restore(files, covered.into_iter().collect(), sequences.into_iter().collect(), removed)
}
