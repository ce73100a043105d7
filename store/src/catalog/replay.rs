//! Brings a state up to the bucket in steps, however far it is behind, and says how far it is.
//!
//! Invariant: compactions are looked for before commits and applied after them, as in `read.rs`.
//! Memory is that of the state and of one step.

use std::collections::VecDeque;
use std::ops::Range;

use futures::{StreamExt, TryStreamExt};

use crate::bucket::Bucket;
use crate::catalog::read::{Run, read_listed};
use crate::catalog::record::{FOLDER, Sequence};
use crate::catalog::state::{Change, State};
use crate::error::Error;

/// Records of one step, at most.
pub(crate) const STEP: u64 = 256;

/// Records that are read, and sequences that are listed, at once.
const PARALLEL: usize = 16;

/// How far a replay is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Replayed {
    /// Records that were read.
    pub(crate) records: u64,
    /// Records that there are to read.
    pub(crate) of: u64,
}

/// The records that a state lacks, step by step.
#[derive(Debug)]
pub(crate) struct Replay {
    missing: VecDeque<(Sequence, Range<u64>)>,
    replayed: Replayed,
}

impl Replay {
    /// Finds out what the state lacks.
    pub(crate) async fn find(bucket: &Bucket, state: &State) -> Result<Self, Error> {
        let next = state.next_numbers();
        let from = |sequence| next.get(&sequence).copied().unwrap_or(0);
        let compactions = missing(bucket, Sequence::Compaction, from(Sequence::Compaction)).await?;
        let folders = bucket.folders(FOLDER).await?;
        let sequences = folders.iter().filter_map(|name| Sequence::of_folder(name));
        let writers = sequences.filter(|sequence| *sequence != Sequence::Compaction);
        let lists: Vec<_> =
            writers.map(|sequence| missing(bucket, sequence, from(sequence))).collect();
        let lists = futures::stream::iter(lists).buffered(PARALLEL);
        let mut missing: VecDeque<_> = lists.try_collect().await?;
        missing.push_back(compactions);
        let of = missing.iter().map(|(_, numbers)| numbers.end - numbers.start).sum();
        Ok(Self { missing, replayed: Replayed { records: 0, of } })
    }

    /// Applies some records; what they changed, or `None` where none is left.
    pub(crate) async fn step(
        &mut self,
        bucket: &Bucket,
        state: &mut State,
    ) -> Result<Option<(Vec<Change>, Replayed)>, Error> {
        let Some((sequence, numbers)) = self.missing.front_mut() else { return Ok(None) };
        let (sequence, first) = (*sequence, numbers.start);
        let end = numbers.end.min(first + STEP);
        numbers.start = end;
        if numbers.is_empty() {
            self.missing.pop_front();
        }
        let reads: Vec<_> =
            (first..end).map(|number| read_listed(bucket, sequence, number)).collect();
        let reads = futures::stream::iter(reads).buffered(PARALLEL);
        let records = reads.try_collect().await?;
        let mut changes = Vec::new();
        state.apply_run(Run { sequence, first, records }, &mut changes)?;
        self.replayed.records += end - first;
        Ok(Some((changes, self.replayed)))
    }
}

/// The numbers of a sequence that are in the bucket, from `next` on.
async fn missing(
    bucket: &Bucket,
    sequence: Sequence,
    next: u64,
) -> Result<(Sequence, Range<u64>), Error> {
    let listed = match next.checked_sub(1) {
        Some(last) => {
            let last = bucket.record_path(sequence, last);
            bucket.list_after(&sequence.folder(), &last).await?
        }
        None => bucket.list(&sequence.folder()).await?,
    };
    let numbers = bucket.record_numbers(sequence, &listed);
    let end = numbers.into_iter().max().map_or(next, |last| last + 1);
    Ok((sequence, next..end.max(next)))
}
