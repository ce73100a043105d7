//! Several sorted files of one hour become one.
//!
//! Invariant: the rows of the output are the rows of the inputs, no more, and no less but for
//! those that the request says are to go, which are counted.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use futures::stream::TryStreamExt;
use object_store::ObjectStore;

use crate::catalog::FileEntry;
use crate::error::Error;
use crate::files::{FileOrigin, WriteRequest, WrittenFile, read_rows, write};
use crate::model::{FileId, Table, TimeRange};
use crate::work::off_runtime;

/// Which rows stay. Asked on threads that may block.
pub(crate) trait Keep: Debug + Send + Sync {
    /// For each row of a batch in row shape whether it stays; null counts as no.
    fn keeps(&self, rows: &RecordBatch) -> Result<BooleanArray, Error>;
}

/// What is to become one file.
#[derive(Debug, Clone)]
pub(crate) struct MergeRequest {
    /// Files of one table and hour, at least one.
    pub(crate) inputs: Vec<Arc<FileEntry>>,
    /// Which rows stay; all of them where it is not given.
    pub(crate) keep: Option<Arc<dyn Keep>>,
    /// The name of the output.
    pub(crate) id: FileId,
    /// What the key-value metadata says about where the file came from.
    pub(crate) origin: FileOrigin,
    /// Rows of a row group.
    pub(crate) row_group_rows_max: usize,
}

/// What came of a merge.
#[derive(Debug)]
pub(crate) struct Merged<F> {
    /// The file; none where no row stayed.
    pub(crate) output: Option<F>,
    /// Rows that did not stay.
    pub(crate) dropped: u64,
}

/// Reads the inputs and encodes the output; long work happens on blocking threads. Holds all rows
/// of the inputs, in memory about six times their bytes: whoever plans a merge bounds those.
pub(crate) async fn merge(
    bucket: Arc<dyn ObjectStore>,
    request: MergeRequest,
) -> Result<Merged<WrittenFile>, Error> {
    let MergeRequest { inputs, keep, id, origin, row_group_rows_max } = request;
    let Some(first) = inputs.first().map(Arc::clone) else {
        return Err(Error::Damaged { path: origin.record, reason: "it merges nothing".to_owned() });
    };
    let may_drop = keep.is_some();
    let mut rows = Vec::new();
    for input in &inputs {
        rows.extend(whole_file(&bucket, input).await?);
    }
    let (table, hour) = (first.table, first.hour);
    let work = move || {
        if let Some(keep) = keep {
            rows = kept(table, &*keep, &rows)?;
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let request = WriteRequest { id, table, hour, rows, origin, row_group_rows_max };
        write(request).map(Some)
    };
    let output = off_runtime("merging files", work).await?;
    let rows = output.as_ref().map_or(0, |file| file.entry.rows);
    let dropped = check_rows(table, &inputs, rows, may_drop)?;
    Ok(Merged { output, dropped })
}

/// The rows that stay, without empty batches.
fn kept(table: Table, keep: &dyn Keep, rows: &[RecordBatch]) -> Result<Vec<RecordBatch>, Error> {
    let mut kept = Vec::with_capacity(rows.len());
    for batch in rows {
        let stays = keep.keeps(batch)?;
        let batch = filter_record_batch(batch, &stays)
            .map_err(|source| Error::Arrow { action: format!("drop rows of {table}"), source })?;
        if batch.num_rows() > 0 {
            kept.push(batch);
        }
    }
    Ok(kept)
}

/// All rows of a file; fails where they are not as many as the catalog says, rather than let a
/// merge drop rows for good.
async fn whole_file(
    bucket: &Arc<dyn ObjectStore>,
    file: &Arc<FileEntry>,
) -> Result<Vec<RecordBatch>, Error> {
    let stream = read_rows(Arc::clone(bucket), file, TimeRange::ALL, None);
    let rows: Vec<RecordBatch> = stream.try_collect().await?;
    let read: usize = rows.iter().map(RecordBatch::num_rows).sum();
    if read as u64 == file.rows {
        return Ok(rows);
    }
    let reason = format!("it holds {read} rows, and the catalog says {}", file.rows);
    Err(Error::Damaged { path: file.path(), reason })
}

/// How many rows did not stay; an error where some went that were not to.
fn check_rows(
    table: Table,
    inputs: &[Arc<FileEntry>],
    rows: u64,
    may_drop: bool,
) -> Result<u64, Error> {
    let before: u64 = inputs.iter().map(|input| input.rows).sum();
    let dropped = before.checked_sub(rows);
    match dropped.filter(|dropped| may_drop || *dropped == 0) {
        Some(dropped) if inputs.iter().all(|input| input.table == table) => Ok(dropped),
        _ => Err(Error::Rows { table, reason: format!("a merge of {before} rows has {rows}") }),
    }
}

#[cfg(test)]
mod tests;
