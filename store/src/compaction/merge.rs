//! Several files of one hour become one that is in the bucket, and not yet in the catalog.
//!
//! Invariant: the rows of the output are the rows of the inputs, no more, and no less but for
//! those that the request says are to go, which are counted.

use std::sync::Arc;

use crate::bucket::{Bucket, Upload};
use crate::catalog::FileEntry;
use crate::catalog::invariants::{file_is_not_empty, file_is_within_its_hour, no_row_lost};
use crate::error::Error;
use crate::files::{MergeRequest, MergedFile, Merger, Room, verify};

/// What came of a merge.
#[derive(Debug)]
pub(crate) struct Merged {
    /// The file, which is in the bucket; none where no row stayed.
    pub(crate) output: Option<FileEntry>,
    /// Rows that did not stay.
    pub(crate) dropped: u64,
    /// What became the output: the first of the files that were asked for, two at least.
    pub(crate) inputs: Vec<Arc<FileEntry>>,
    /// The traces in the output, for the local index.
    pub(crate) trace_prints: Vec<u64>,
}

/// Reads the inputs by ranges and puts the output part by part; long work happens on blocking
/// threads, in turns with others that share the memory. Where it fails, nothing is left in the bucket.
pub(crate) async fn merge(
    bucket: &Bucket,
    memory: &Room,
    request: MergeRequest,
) -> Result<Merged, Error> {
    let (may_drop, memory_bytes) = (request.keep.is_some(), request.memory_bytes_max);
    let mut merger = Merger::open(bucket.objects(), request).await?;
    let inputs = merger.inputs();
    let mut upload = Upload::new(bucket, merger.path());
    let filled = async {
        loop {
            let held = memory.take(memory_bytes).await;
            let Some(pieces) = merger.next().await? else { break };
            drop(held);
            for piece in pieces {
                upload.write(piece).await?;
            }
        }
        let Some(MergedFile { last, entry, trace_prints }) = merger.finish()? else {
            return Ok(None);
        };
        check_merge(&inputs, &entry, may_drop)?;
        upload.write(last.into()).await?;
        Ok(Some((entry, trace_prints)))
    };
    let before: u64 = inputs.iter().map(|file| file.rows).sum();
    match filled.await {
        Ok(Some((entry, trace_prints))) => {
            upload.finish().await?;
            verify(&bucket.objects(), &entry).await?;
            let dropped = before - entry.rows;
            Ok(Merged { output: Some(entry), dropped, inputs, trace_prints })
        }
        Ok(None) if may_drop => {
            Ok(Merged { output: None, dropped: before, inputs, trace_prints: Vec::new() })
        }
        Ok(None) => {
            let path = inputs.first().map(|file| file.path()).unwrap_or_default();
            Err(Error::Damaged { path, reason: "no row of it came out of a merge".to_owned() })
        }
        Err(failed) => {
            upload.abort().await;
            Err(failed)
        }
    }
}

/// Nothing is made that would lose or make a row.
fn check_merge(inputs: &[Arc<FileEntry>], output: &FileEntry, may_drop: bool) -> Result<(), Error> {
    let before: u64 = inputs.iter().map(|file| file.rows).sum();
    let dropped = before.saturating_sub(output.rows);
    let placed = |file: &Arc<FileEntry>| file.table == output.table && file.hour == output.hour;
    let whole = no_row_lost(inputs, output, if may_drop { dropped } else { 0 });
    if whole
        && inputs.iter().all(placed)
        && file_is_not_empty(output)
        && file_is_within_its_hour(output)
    {
        return Ok(());
    }
    let reason = format!("a merge made {} rows of {before}", output.rows);
    Err(Error::Damaged { path: output.path(), reason })
}

#[cfg(test)]
mod tests;
