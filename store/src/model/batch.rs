//! Rows of one table on their way from the wire to a file.

use arrow::array::RecordBatch;

use super::{Table, TimeRange};

/// Rows of one table in the row shape of [`crate::schema`], never empty.
///
/// `time` covers the table's time column of every row (see [`Table::time_column`]).
#[derive(Debug, Clone)]
pub struct RowBatch {
    /// The table that the rows belong to.
    pub table: Table,
    /// The rows; at least one.
    pub rows: RecordBatch,
    /// The time range that the rows cover.
    pub time: TimeRange,
}
