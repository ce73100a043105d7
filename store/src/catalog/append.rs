//! Puts one record at the end of a sequence.
//!
//! Invariant: [`Appended::Ours`] means that this very record is what every reader sees at that
//! number, now and for ever.

use tracing::warn;

use crate::bucket::{Bucket, Created, Puts};
use crate::catalog::record::{Record, Sequence};
use crate::error::Error;

/// What stands at the number now.
#[derive(Debug)]
pub(crate) enum Appended {
    /// Our record.
    Ours,
    /// Somebody else's, or one of an earlier attempt of ours.
    Taken(Record),
}

/// A create that "exists" and a read that finds nothing can follow each other while two creates
/// race (S3's 409); more often than this is a store that contradicts itself.
const ATTEMPTS: u32 = 4;

/// Appends `record` to `sequence` as `number`, where nothing is there yet.
pub(crate) async fn append(
    bucket: &Bucket,
    sequence: Sequence,
    number: u64,
    record: &Record,
) -> Result<Appended, Error> {
    let path = sequence.path(number);
    if bucket.puts() == Puts::Overwrite
        && let Some(found) = read_record(bucket, &path).await?
    {
        return Ok(Appended::Taken(found));
    }
    for _ in 0..ATTEMPTS {
        if bucket.create(&path, record.encode()).await? == Created::New {
            return Ok(Appended::Ours);
        }
        match read_record(bucket, &path).await? {
            Some(found) if found.id == record.id => return Ok(Appended::Ours),
            Some(found) => return Ok(Appended::Taken(found)),
            None => warn!(path, "a record exists and cannot be read yet, trying again"),
        }
    }
    let reason = "the bucket says both that it exists and that it does not".to_owned();
    Err(Error::Damaged { path, reason })
}

/// The record at a path; `None` where there is none yet. It is dated from when it landed: a put
/// may be under way for longer than a removed file stays, and readers count from what they saw.
pub(crate) async fn read_record(bucket: &Bucket, path: &str) -> Result<Option<Record>, Error> {
    let Some((bytes, landed)) = bucket.read_dated(path).await? else { return Ok(None) };
    let mut record = Record::decode(path, &bytes)?;
    record.at = record.at.max(landed);
    Ok(Some(record))
}
