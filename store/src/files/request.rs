//! What a reader asks of one file, and what it gets.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::stream::BoxStream;

use crate::catalog::FileEntry;
use crate::error::Error;
use crate::model::{TimeRange, TraceId};
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
