//! The first rows by some order: of a file only those are read that can be among them.
//!
//! Invariant: of the rows that it is asked about, those that the order puts first are kept; some
//! that only looked like it may be kept as well. Rows that are equal in the order may stand for each other.

use std::collections::BinaryHeap;
use std::error::Error as StdError;
use std::sync::{Mutex, PoisonError};

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{SchemaRef, TimestampNanosecondType};
use arrow::error::ArrowError;
use arrow::row::{OwnedRow, Row, RowConverter, SortField};
use datafusion::common::Result;
use datafusion::physical_expr::PhysicalSortExpr;
use icecore_store::{ReadColumn, RowFilter, TimeRange, UnixNanos};

use super::columns::{Column, schema_of};
use super::present::shown;

/// Which rows come first, and how many are wanted.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    columns: Vec<Column>,
    schema: SchemaRef,
    by: Vec<PhysicalSortExpr>,
    rows: usize,
    /// Whether the time of a row decides before all else, and if so, whether the latest is first.
    latest_first: Option<bool>,
}

impl Order {
    /// The first `rows` rows; `by` refers to `columns` by their place.
    pub(crate) fn new(
        columns: Vec<Column>,
        by: Vec<PhysicalSortExpr>,
        rows: usize,
        latest_first: Option<bool>,
    ) -> Self {
        Self { schema: schema_of(&columns), columns, by, rows, latest_first }
    }

    /// Whether the time of a row decides before all else, and if so, whether the latest is first.
    pub(super) const fn latest_first(&self) -> Option<bool> {
        self.latest_first
    }

    /// A filter that has seen no row yet.
    pub(super) fn filter(&self) -> Result<TopRows> {
        let fields = self.by.iter().map(|by| {
            let data_type = by.expr.data_type(&self.schema)?;
            Ok(SortField::new_with_options(data_type, by.options))
        });
        let fields = fields.collect::<Result<Vec<_>>>()?;
        let converter = RowConverter::new(fields)?;
        let columns = self.columns.iter().map(|column| column.read.clone()).collect();
        let seen = Mutex::new(Seen { converter, best: BinaryHeap::new() });
        Ok(TopRows { order: self.clone(), columns, seen })
    }
}

impl std::fmt::Display for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let by: Vec<String> = self.by.iter().map(ToString::to_string).collect();
        write!(f, "{} by [{}]", self.rows, by.join(", "))
    }
}

/// Keeps rows that are among the first of all that it saw.
#[derive(Debug)]
pub(super) struct TopRows {
    order: Order,
    columns: Vec<ReadColumn>,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    converter: RowConverter,
    /// The first rows so far, the last of them on top.
    best: BinaryHeap<OwnedRow>,
}

impl TopRows {
    /// When further rows must be to be among the first; `None` where that is not known.
    pub(super) fn time(&self) -> Result<Option<TimeRange>, ArrowError> {
        let Some(latest_first) = self.order.latest_first else { return Ok(None) };
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.best.len() < self.order.rows {
            return Ok(None);
        }
        let Some(last) = seen.best.peek() else { return Ok(None) };
        let keys = seen.converter.convert_rows(std::iter::once(last.row()))?;
        let time = keys.first().and_then(|key| key.as_primitive_opt::<TimestampNanosecondType>());
        Ok(time.and_then(|time| {
            let at = time.values().first().copied()?;
            if latest_first {
                TimeRange::new(UnixNanos(at), UnixNanos(i64::MAX))
            } else {
                TimeRange::new(UnixNanos(i64::MIN), UnixNanos(at.saturating_add(1)))
            }
        }))
    }

    fn first(&self, rows: &RecordBatch) -> Result<BooleanBuffer> {
        let rows = shown(rows, &self.order.schema)?;
        let keys =
            self.order.by.iter().map(|by| by.expr.evaluate(&rows)?.into_array(rows.num_rows()));
        let keys: Vec<ArrayRef> = keys.collect::<Result<_>>()?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = seen.converter.convert_columns(&keys)?;
        let wanted = self.order.rows;
        let full = seen.best.len() >= wanted;
        let last = seen.best.peek().filter(|_| full).cloned();
        let better = |key: &Row<'_>| last.as_ref().is_none_or(|last| *key < last.row());
        let mut here: Vec<Row<'_>> = keys.iter().filter(better).collect();
        if here.len() > wanted {
            here.select_nth_unstable(wanted);
            here.truncate(wanted);
        }
        for key in here {
            seen.best.push(key.owned());
        }
        while seen.best.len() > wanted {
            seen.best.pop();
        }
        let last = seen.best.peek().filter(|_| seen.best.len() >= wanted);
        Ok(BooleanBuffer::collect_bool(keys.num_rows(), |row| {
            let key = keys.row(row);
            better(&key) && last.is_none_or(|last| key <= last.row())
        }))
    }
}

impl RowFilter for TopRows {
    fn columns(&self) -> &[ReadColumn] {
        &self.columns
    }

    fn keep(&self, rows: &RecordBatch) -> Result<BooleanArray, Box<dyn StdError + Send + Sync>> {
        if self.order.rows == 0 {
            return Ok(BooleanArray::new(BooleanBuffer::new_unset(rows.num_rows()), None));
        }
        Ok(BooleanArray::new(self.first(rows)?, None))
    }
}

#[cfg(test)]
mod tests;
