//! Several sorted files of one hour become one.
//!
//! Invariant: the rows of the output are the rows of the inputs, no more and no less.

#![allow(dead_code, reason = "compaction calls this as it lands")]

use std::sync::Arc;

use object_store::ObjectStore;

use crate::catalog::FileEntry;
use crate::error::Error;
use crate::files::{FileOrigin, WrittenFile};
use crate::model::FileId;

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

/// Reads the inputs and encodes the output; long work happens on blocking threads.
pub(crate) async fn merge(
    bucket: Arc<dyn ObjectStore>,
    request: MergeRequest,
) -> Result<WrittenFile, Error> {
    drop(bucket);
    let MergeRequest { inputs, id, origin, row_group_rows_max } = request;
    drop((inputs, origin, row_group_rows_max));
    Err(Error::Damaged { path: id.to_string(), reason: "merging is not there yet".to_owned() })
}
