//! What a reader asks of one file, and what it gets.

use std::error::Error as StdError;
use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use futures::stream::BoxStream;

use super::room::Room;
use super::tally::ReadTally;
use crate::catalog::FileEntry;
use crate::error::Error;
use crate::model::{Table, TimeRange, TraceId};
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

/// Where the values of a column are that a row can match with. Rows beyond it may be left out, and
/// so may rows in which the column is null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// The column.
    pub column: ReadColumn,
    /// Its values.
    pub values: Values,
}

/// Some values of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Values {
    /// Ints between two, both included; of a time, nanoseconds.
    Ints {
        /// The smallest.
        min: i64,
        /// The largest.
        max: i64,
    },
    /// One of these texts. None: no row.
    Texts(Vec<String>),
    /// Texts that begin so.
    Prefix(String),
    /// One of these ids.
    Ids(Vec<Vec<u8>>),
}

impl Bound {
    /// Rows of a time.
    #[must_use]
    pub fn time(table: Table, time: TimeRange) -> Self {
        let column = ReadColumn::Fixed(table.time_column().to_owned());
        let (min, max) = (time.start().0, time.end().0.saturating_sub(1));
        Self { column, values: Values::Ints { min, max } }
    }

    /// Rows of a trace.
    #[must_use]
    pub fn trace(id: TraceId) -> Self {
        let column = ReadColumn::Fixed("trace_id".to_owned());
        Self { column, values: Values::Ids(vec![id.0.to_vec()]) }
    }
}

/// Says which rows stay. It is asked before columns that only the answer needs are fetched.
pub trait RowFilter: Debug + Send + Sync {
    /// The columns that it looks at, in the order in which it gets them.
    fn columns(&self) -> &[ReadColumn];

    /// Where it keeps just the rows whose one column is one of some ids: those. The column is
    /// looked through where it is then.
    fn ids(&self) -> Option<&[Vec<u8>]> {
        None
    }

    /// Which of these rows stay; null is no. Called on a thread that may block, and never with no
    /// rows. It sees every row that the filters before it left, batch by batch.
    ///
    /// # Errors
    /// In its own words; they come out as [`Error::Filter`].
    fn keep(&self, rows: &RecordBatch) -> Result<BooleanArray, Box<dyn StdError + Send + Sync>>;
}

/// Some columns of some rows of one file.
#[derive(Debug, Clone)]
pub struct ReadRequest {
    /// The file.
    pub file: Arc<FileEntry>,
    /// The columns, in the order of the answer.
    pub columns: Vec<ReadColumn>,
    /// Only skip row groups and pages: of rows that are out of bounds some may come back.
    pub bounds: Vec<Bound>,
    /// Every row that comes back passed all of them, in this order.
    pub filters: Vec<Arc<dyn RowFilter>>,
    /// What is held of the file meanwhile counts here.
    pub room: Option<Room>,
    /// Counts what is skipped and fetched.
    pub tally: Arc<ReadTally>,
}

impl ReadRequest {
    /// These columns of all rows.
    #[must_use]
    pub fn all(file: Arc<FileEntry>, columns: Vec<ReadColumn>) -> Self {
        let (bounds, filters, tally) = Default::default();
        Self { file, columns, bounds, filters, room: None, tally }
    }
}
