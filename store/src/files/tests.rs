//! Files end to end: written, read back, pruned, and read by other engines.

pub(crate) mod earlier;
mod filtering;
pub(crate) mod generate;
mod load;
mod peers;
mod projection;
mod pruning;

mod round_trip;
mod size;

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use ulid::Ulid;

use super::*;
use crate::catalog::FileEntry;
use crate::error::Error;
use crate::model::{FileId, LogPosition, Table, TimeRange, UnixNanos, WriterId};

fn origin() -> FileOrigin {
    let log = (WriterId(Ulid::from(7)), LogPosition(10), LogPosition(20));
    FileOrigin { record: "catalog/7/1".to_owned(), log: Some(log) }
}

fn written(table: Table, rows: Vec<RecordBatch>, row_group_rows_max: usize) -> WrittenFile {
    try_written(table, rows, row_group_rows_max).unwrap()
}

fn try_written(
    table: Table,
    rows: Vec<RecordBatch>,
    row_group_rows_max: usize,
) -> Result<WrittenFile, Error> {
    let id = FileId(Ulid::from(rand::random::<u128>()));
    let request =
        WriteRequest { id, table, hour: UnixNanos(0), rows, origin: origin(), row_group_rows_max };
    write(request)
}

/// Puts a file into a bucket of its own.
async fn put(file: &WrittenFile) -> (Arc<dyn ObjectStore>, Arc<FileEntry>) {
    let bucket: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let path = Path::from(file.entry.path());
    bucket.put(&path, file.bytes.clone().into()).await.unwrap();
    (bucket, Arc::new(file.entry.clone()))
}

/// Room for the footers of one test.
fn footers() -> Arc<Footers> {
    Arc::new(Footers::new(
        KeptMax { footers: 64 << 20, dictionaries: 16 << 20 },
        FooterMetrics::default(),
    ))
}

async fn all_rows(file: &WrittenFile) -> Vec<RecordBatch> {
    let (bucket, entry) = put(file).await;
    read_rows(bucket, &entry, TimeRange::ALL, None).try_collect().await.unwrap()
}
