//! Puts one record at the end of a sequence.
//!
//! Invariant: [`Appended::Ours`] means that this very record is what every reader sees at that
//! number, now and for ever.

use tracing::warn;

use crate::bucket::owner::confirm;
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
    if bucket.puts() == Puts::Overwrite {
        return append_seated(bucket, sequence, number, record).await;
    }
    let path = bucket.record_path(sequence, number);
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

/// The same where a bucket overwrites, one record of this process at a time. Whatever keeps us from
/// knowing that the record counts ends our epoch: no other is ever put under its name, and
/// whether it counts is for our next fence to say.
async fn append_seated(
    bucket: &Bucket,
    sequence: Sequence,
    number: u64,
    record: &Record,
) -> Result<Appended, Error> {
    let mut seat = bucket.seat().await;
    let path = bucket.record_path(sequence, number);
    if let Some(found) = read_record(bucket, &path).await? {
        return Ok(Appended::Taken(found));
    }
    let expected = seat.as_ref().map(|seat| seat.next.get(&sequence).copied().unwrap_or(0));
    let Some(mut seated) = seat.take_if(|_| expected == Some(number)) else {
        // The number was of an epoch that is over.
        return Err(Error::OwnerChanged { storage: bucket.storage().to_owned() });
    };
    bucket.create(&path, record.encode()).await?;
    confirm(bucket, seated.epoch).await?;
    seated.next.insert(sequence, number + 1);
    *seat = Some(seated);
    Ok(Appended::Ours)
}

/// The record at a path; `None` where there is none yet. It is dated from when it landed: a put
/// may be under way for longer than a removed file stays, and readers count from what they saw.
pub(crate) async fn read_record(bucket: &Bucket, path: &str) -> Result<Option<Record>, Error> {
    let Some((bytes, landed)) = bucket.read_dated(path).await? else { return Ok(None) };
    let mut record = Record::decode(path, &bytes)?;
    record.at = record.at.max(landed);
    Ok(Some(record))
}
