//! Several sorted files of one hour become one.
//!
//! Invariant: the rows of the output are the rows of the inputs, no more and no less.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::stream::TryStreamExt;
use object_store::ObjectStore;

use crate::catalog::FileEntry;
use crate::error::Error;
use crate::files::{FileOrigin, WriteRequest, WrittenFile, read_rows, write};
use crate::model::{FileId, Table, TimeRange};

/// What is to become one file.
#[derive(Debug, Clone)]
pub(crate) struct MergeRequest {
    /// Files of one table and hour, at least two.
    pub(crate) inputs: Vec<Arc<FileEntry>>,
    /// The name of the output.
    pub(crate) id: FileId,
    /// What the key-value metadata says about where the file came from.
    pub(crate) origin: FileOrigin,
    /// Rows of a row group.
    pub(crate) row_group_rows_max: usize,
}

/// Reads the inputs and encodes the output; long work happens on blocking threads. Holds all rows
/// of the inputs, in memory about six times their bytes: whoever plans a merge bounds those.
pub(crate) async fn merge(
    bucket: Arc<dyn ObjectStore>,
    request: MergeRequest,
) -> Result<WrittenFile, Error> {
    let MergeRequest { inputs, id, origin, row_group_rows_max } = request;
    let Some(first) = inputs.first().map(Arc::clone) else {
        return Err(Error::Damaged { path: origin.record, reason: "it merges nothing".to_owned() });
    };
    let mut rows = Vec::new();
    for input in &inputs {
        rows.extend(whole_file(&bucket, input).await?);
    }
    let (table, hour) = (first.table, first.hour);
    let request = WriteRequest { id, table, hour, rows, origin, row_group_rows_max };
    let merged = tokio::task::spawn_blocking(move || write(request)).await;
    let merged =
        merged.map_err(|source| Error::Interrupted { work: "merging files", source })??;
    check_rows(table, &inputs, &merged.entry)?;
    Ok(merged)
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
    Err(Error::Damaged { path: file.path.clone(), reason })
}

fn check_rows(table: Table, inputs: &[Arc<FileEntry>], output: &FileEntry) -> Result<(), Error> {
    let rows: u64 = inputs.iter().map(|input| input.rows).sum();
    if rows == output.rows && inputs.iter().all(|input| input.table == table) {
        return Ok(());
    }
    Err(Error::Rows { table, reason: format!("a merge of {rows} rows has {}", output.rows) })
}

#[cfg(test)]
mod tests;
