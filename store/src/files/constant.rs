//! Columns that are the same in every row of a row group, as its footer tells.
//!
//! Invariant: what is told here is what the pages of the column say. Half of the columns of spans
//! are such: whoever wants some of their rows needs none of their bytes.

use bytes::Bytes;
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::statistics::Statistics;

use super::point::Cell;

/// What all rows have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Constant {
    /// No value.
    Absent,
    /// This one.
    Value(Cell),
    /// A list with nothing in it.
    Empty,
}

/// Of each column of a row group.
pub(super) fn constants(group: &RowGroupMetaData) -> Vec<Option<Constant>> {
    group.columns().iter().map(constant).collect()
}

fn constant(column: &ColumnChunkMetaData) -> Option<Constant> {
    let count = u64::try_from(column.num_values()).ok().filter(|count| *count > 0)?;
    let shape = column.column_descr();
    if shape.max_rep_level() > 0 {
        let none = *column.definition_level_histogram()?.values().first()?;
        return (u64::try_from(none) == Ok(count)).then_some(Constant::Empty);
    }
    if shape.max_def_level() > 1 {
        return None;
    }
    let statistics = column.statistics()?;
    match statistics.null_count_opt()? {
        0 => value(statistics).map(Constant::Value),
        nulls => (nulls == count).then_some(Constant::Absent),
    }
}

/// The one value between the least and the greatest. Of doubles statistics leave some out.
fn value(statistics: &Statistics) -> Option<Cell> {
    let (least, most) = (statistics.min_bytes_opt()?, statistics.max_bytes_opt()?);
    if least != most || statistics.is_min_max_deprecated() {
        return None;
    }
    match statistics {
        Statistics::Boolean(bounds) => Some(Cell::Int(i64::from(*bounds.min_opt()?))),
        Statistics::Int32(bounds) => Some(Cell::Int(i64::from(*bounds.min_opt()?))),
        Statistics::Int64(bounds) => Some(Cell::Int(*bounds.min_opt()?)),
        // A long text may be cut off.
        Statistics::ByteArray(bounds) if bounds.min_is_exact() && bounds.max_is_exact() => {
            Some(Cell::Bytes(Bytes::copy_from_slice(least)))
        }
        _ => None,
    }
}
