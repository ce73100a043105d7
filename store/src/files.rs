//! Parquet files: rows to a file and back.
//!
//! Invariant: rows that are read from a file equal, column by column, the rows that were written.

#![allow(dead_code, reason = "commits and merges call this as they land")]

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Field;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use object_store::ObjectStore;

use crate::catalog::FileEntry;
use crate::error::Error;
use crate::model::{FileId, LogPosition, Table, TimeRange, TraceId, UnixNanos, WriterId};
use crate::schema::{AttributeType, MapColumn};

/// Rows as they come, in batches; ends after the first error.
pub type RowStream = BoxStream<'static, Result<RecordBatch, Error>>;

/// One column of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ReadColumn {
    /// A fixed column of the table, by name.
    Fixed(String),
    /// One key of a map as one type. `String`: strings as they are, any other type as its JSON
    /// text. `Double`: ints widen. `Int` and `Bool`: other types are null.
    Attribute {
        /// Which map.
        map: MapColumn,
        /// The key.
        key: String,
        /// As what it is read.
        kind: AttributeType,
    },
    /// A whole map as JSON text.
    Map(MapColumn),
}

/// Some columns of one file. The three conditions only skip row groups and pages: the caller
/// filters rows.
#[derive(Debug, Clone)]
pub struct ReadRequest {
    /// The file.
    pub file: Arc<FileEntry>,
    /// The columns, in the order of the answer.
    pub columns: Vec<ReadColumn>,
    /// Rows outside of it may be left out.
    pub time: TimeRange,
    /// Rows of other traces may be left out.
    pub trace_id: Option<TraceId>,
    /// Rows of other services may be left out.
    pub service_name: Option<String>,
}

/// What a file is to be written with.
#[derive(Debug, Clone)]
pub(crate) struct WriteRequest {
    /// The name of the file.
    pub(crate) id: FileId,
    /// The table of the rows.
    pub(crate) table: Table,
    /// The hour that every row belongs to.
    pub(crate) hour: UnixNanos,
    /// The rows, in row shape, in any order; their attribute columns may differ.
    pub(crate) rows: Vec<RecordBatch>,
    /// What the key-value metadata says about where the file came from.
    pub(crate) origin: FileOrigin,
    /// Rows of a row group.
    pub(crate) row_group_rows_max: usize,
}

/// Where a file came from, kept in its key-value metadata.
#[derive(Debug, Clone)]
pub(crate) struct FileOrigin {
    /// The path of the catalog record that is to add the file. Once another record stands there,
    /// the file can never count: this is how garbage is told from a slow commit.
    pub(crate) record: String,
    /// Whose rows, and which stretch of its log; `None` for merged files.
    pub(crate) log: Option<(WriterId, LogPosition, LogPosition)>,
}

/// A file that is not in the bucket yet.
#[derive(Debug, Clone)]
pub(crate) struct WrittenFile {
    /// What is to be put at `entry.path`.
    pub(crate) bytes: Bytes,
    /// What the catalog is to say about it.
    pub(crate) entry: FileEntry,
}

/// Encodes one file. Takes long: never call it on a runtime thread.
pub(crate) fn write(request: WriteRequest) -> Result<WrittenFile, Error> {
    Err(unfinished(&request.id.to_string()))
}

/// Projected columns of one file.
pub(crate) fn read(bucket: Arc<dyn ObjectStore>, request: ReadRequest) -> RowStream {
    drop(bucket);
    futures::stream::iter([Err(unfinished(&request.file.path))]).boxed()
}

/// Whole rows of one file in row shape. The two conditions only skip row groups and pages.
pub(crate) fn read_rows(
    bucket: Arc<dyn ObjectStore>,
    file: &Arc<FileEntry>,
    time: TimeRange,
    trace_id: Option<TraceId>,
) -> RowStream {
    drop((bucket, time, trace_id));
    futures::stream::iter([Err(unfinished(&file.path))]).boxed()
}

/// The origin in a file's key-value metadata; `None` where it has none.
pub(crate) async fn read_origin(
    bucket: Arc<dyn ObjectStore>,
    path: &str,
) -> Result<Option<FileOrigin>, Error> {
    drop(bucket);
    Err(unfinished(path))
}

/// The same projection for rows in memory.
pub fn project(
    rows: &RecordBatch,
    table: Table,
    columns: &[ReadColumn],
) -> Result<RecordBatch, Error> {
    let asked = (rows.num_rows(), columns.len());
    Err(Error::Rows { table, reason: format!("projection {asked:?} is not there yet") })
}

/// The field that a column of an answer has: texts are `Utf8View`, a map is its JSON text as
/// `Utf8View`, timestamps are nanoseconds in UTC, lists are as in the fixed schema.
#[must_use]
pub fn read_field(table: Table, column: &ReadColumn) -> Field {
    match column {
        ReadColumn::Fixed(name) => {
            crate::schema::fixed_schema(table).field_with_name(name).map_or_else(
                |_| Field::new(name, arrow::datatypes::DataType::Null, true),
                Field::clone,
            )
        }
        ReadColumn::Attribute { map, key, kind } => {
            Field::new(map.column(key), kind.data_type(), true)
        }
        ReadColumn::Map(map) => Field::new(map.name(), arrow::datatypes::DataType::Utf8View, true),
    }
}

fn unfinished(path: &str) -> Error {
    Error::Damaged { path: path.to_owned(), reason: "files cannot be read yet".to_owned() }
}
