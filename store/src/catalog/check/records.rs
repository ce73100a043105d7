//! The records, one by one, past whatever is wrong with some of them.

use futures::future::join_all;

use crate::bucket::Bucket;
use crate::catalog::append::read_record;
use crate::catalog::check::Findings;
use crate::catalog::checkpoint;
use crate::catalog::record::{Body, FOLDER, Record, Sequence, number_of};
use crate::catalog::state::State;
use crate::error::Error;

/// Records that are read at once.
const PARALLEL: usize = 16;

/// The fold of every record that can be read. A reader stops before the first that cannot.
pub(super) async fn fold(bucket: &Bucket, findings: &Findings<'_>) -> Result<State, Error> {
    let mut state = State::default();
    // Its end first: whatever it removes is in the sequences that are listed after.
    let common = numbers(bucket, Sequence::Compaction, findings).await?;
    let (folders, strays) = bucket.entries(FOLDER).await?;
    for object in strays {
        findings.orphan(object.location, object.size, NOT_OURS);
    }
    for name in folders {
        match Sequence::of_folder(&name) {
            Some(Sequence::Compaction) => {}
            Some(sequence) => {
                let numbers = numbers(bucket, sequence, findings).await?;
                fold_sequence(bucket, &mut state, sequence, &numbers, findings).await?;
            }
            None if name == checkpoint::NAME => {}
            None => {
                for object in bucket.list(&format!("{FOLDER}/{name}")).await? {
                    findings.orphan(object.location, object.size, NOT_OURS);
                }
            }
        }
    }
    fold_sequence(bucket, &mut state, Sequence::Compaction, &common, findings).await?;
    Ok(state)
}

/// Why an object is there that Icecore has no use for.
pub(super) const NOT_OURS: &str = "it is nothing of Icecore's, so nothing deletes it";

/// Whether a path is that of a record, of whichever epoch.
fn is_late(sequence: Sequence, path: &str) -> bool {
    let epoch = path.rsplit('/').next().and_then(|name| name.strip_suffix(".json"));
    let epoch = epoch.and_then(|name| name.split_once('-')?.1.parse().ok());
    number_of(path).zip(epoch).is_some_and(|(number, id)| sequence.path_in(number, id) == path)
}

/// The numbers that a sequence has, in order.
async fn numbers(
    bucket: &Bucket,
    sequence: Sequence,
    findings: &Findings<'_>,
) -> Result<Vec<u64>, Error> {
    let mut numbers = Vec::new();
    for object in bucket.list(&sequence.folder()).await? {
        let path = object.location.as_ref();
        match bucket.epochs().number_at(sequence, path) {
            Some(number) => numbers.push(number),
            // It came after its owner had lost the bucket, and counts for nothing.
            None if is_late(sequence, path) => {}
            None => findings.orphan(path, object.size, NOT_OURS),
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

async fn fold_sequence(
    bucket: &Bucket,
    state: &mut State,
    sequence: Sequence,
    numbers: &[u64],
    findings: &Findings<'_>,
) -> Result<(), Error> {
    for numbers in numbers.chunks(PARALLEL) {
        let paths = numbers.iter().map(|number| bucket.record_path(sequence, *number));
        let reads: Vec<_> = paths.map(|path| read(bucket, path)).collect();
        for (number, read) in numbers.iter().zip(join_all(reads).await) {
            fold_one(state, (sequence, *number), read, findings)?;
        }
    }
    Ok(())
}

async fn read(bucket: &Bucket, path: String) -> Result<Option<Record>, Error> {
    read_record(bucket, &path).await
}

fn fold_one(
    state: &mut State,
    (sequence, number): (Sequence, u64),
    read: Result<Option<Record>, Error>,
    findings: &Findings<'_>,
) -> Result<(), Error> {
    let expected = state.next(sequence);
    if number > expected {
        let missing = number - expected;
        let what = format!("it is missing, though later records exist ({missing} in a row)");
        findings.fault(sequence.path(expected), what);
        state.pass_over(sequence, number);
    }
    let record = match read {
        Ok(Some(record)) => record,
        Ok(None) => {
            findings.fault(sequence.path(number), "it went away while it was looked at");
            state.pass_over(sequence, number + 1);
            return Ok(());
        }
        Err(Error::Damaged { path, reason }) => {
            findings.fault(path, reason);
            state.pass_over(sequence, number + 1);
            return Ok(());
        }
        Err(other) => return Err(other),
    };
    let is_commit = matches!(record.body, Body::Commit { .. });
    match state.apply(sequence, record) {
        Ok(change) if change.void && is_commit => {
            findings.fault(sequence.path(number), "it overlaps the commit before it");
        }
        Ok(_) => {}
        Err(Error::Damaged { path, reason }) => {
            findings.fault(path, reason);
            state.pass_over(sequence, number + 1);
        }
        Err(other) => return Err(other),
    }
    Ok(())
}

/// Checkpoints only save requests, but one that cannot be read is damage nevertheless.
pub(super) async fn checkpoints(bucket: &Bucket, findings: &Findings<'_>) -> Result<(), Error> {
    for (records, path) in checkpoint::list(bucket).await? {
        let Some(bytes) = bucket.read(&path).await? else { continue };
        match checkpoint::decode(&bytes) {
            Err(reason) => findings.fault(path, format!("it cannot be read: {reason}")),
            Ok(state) if state.snapshot().records() != records => {
                findings.fault(path, format!("it has {} records", state.snapshot().records()));
            }
            Ok(state) if !checkpoint::agrees(bucket, &state).await? => {
                findings.fault(path, "it does not agree with the records");
            }
            Ok(_) => {}
        }
    }
    Ok(())
}
