//! Finds the records that were appended since.
//!
//! Invariant: compactions are read before commits. What a compaction removes was committed before
//! it was made, so whoever reads in this order never meets a compaction of files unknown to it.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};
use tracing::debug;

use crate::bucket::Bucket;
use crate::catalog::append::read_record;
use crate::catalog::record::{FOLDER, Record, Sequence};
use crate::error::Error;

/// Records that are read at once.
const PARALLEL: usize = 16;

/// Records read one by one before the sequence is listed: a reader that keeps up is one record
/// behind at most, and a list request costs ten reads.
const PROBES: u64 = 2;

/// Records of one sequence, without a gap.
#[derive(Debug)]
pub(crate) struct Run {
    /// Whose.
    pub(crate) sequence: Sequence,
    /// The number of the first.
    pub(crate) first: u64,
    /// The records.
    pub(crate) records: Vec<Record>,
}

/// Everything from `next` on, commits first: in the order in which it is to be applied.
pub(crate) async fn read_new(
    bucket: &Bucket,
    next: &BTreeMap<Sequence, u64>,
) -> Result<Vec<Run>, Error> {
    let from = |sequence| next.get(&sequence).copied().unwrap_or(0);
    let compactions = read_run(bucket, Sequence::Compaction, from(Sequence::Compaction)).await?;
    let folders = bucket.folders(FOLDER).await?;
    let sequences = folders.iter().filter_map(|name| Sequence::of_folder(name));
    let writers = sequences.filter(|sequence| *sequence != Sequence::Compaction);
    let reads = writers.map(|sequence| read_run(bucket, sequence, from(sequence)));
    let reads: Vec<_> = reads.collect();
    let mut runs: Vec<Run> = futures::stream::iter(reads).buffered(PARALLEL).try_collect().await?;
    runs.push(compactions);
    runs.retain(|run| !run.records.is_empty());
    Ok(runs)
}

async fn read_run(bucket: &Bucket, sequence: Sequence, first: u64) -> Result<Run, Error> {
    let mut records = Vec::new();
    for number in first..first + PROBES {
        match read_record(bucket, &bucket.record_path(sequence, number)).await? {
            Some(record) => records.push(record),
            None => return Ok(Run { sequence, first, records }),
        }
    }
    let after = bucket.record_path(sequence, first + PROBES - 1);
    let listed = bucket.list_after(&sequence.folder(), &after).await?;
    let numbers = bucket.record_numbers(sequence, &listed);
    let Some(last) = numbers.into_iter().max() else { return Ok(Run { sequence, first, records }) };
    debug!(%sequence, first, last, "reading catalog records");
    let reads: Vec<_> = (first + PROBES..=last).collect();
    let reads = futures::stream::iter(reads).map(|number| read_listed(bucket, sequence, number));
    let rest: Vec<Record> = reads.buffered(PARALLEL).try_collect().await?;
    records.extend(rest);
    Ok(Run { sequence, first, records })
}

/// A record that must be there, because a later one is.
pub(crate) async fn read_listed(
    bucket: &Bucket,
    sequence: Sequence,
    number: u64,
) -> Result<Record, Error> {
    let path = bucket.record_path(sequence, number);
    let missing = "it is missing, though later records of its sequence exist";
    read_record(bucket, &path)
        .await?
        .ok_or_else(|| Error::Damaged { path, reason: missing.to_owned() })
}
