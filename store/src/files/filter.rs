//! Filters of rows that need no engine, and filters over rows in memory.

use std::error::Error as StdError;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;

use super::project::project;
use super::request::{ReadColumn, RowFilter};
use super::rows::Rows;
use crate::error::Error;
use crate::model::{Table, TraceId};

/// Rows with one of some ids.
#[derive(Debug)]
pub struct OneOf {
    column: [ReadColumn; 1],
    ids: Vec<Vec<u8>>,
}

impl OneOf {
    /// Rows in which this fixed column is one of these ids.
    #[must_use]
    pub fn new(column: &str, ids: Vec<Vec<u8>>) -> Self {
        Self { column: [ReadColumn::Fixed(column.to_owned())], ids }
    }
}

impl RowFilter for OneOf {
    fn columns(&self) -> &[ReadColumn] {
        &self.column
    }

    fn ids(&self) -> Option<&[Vec<u8>]> {
        Some(&self.ids)
    }

    fn keep(&self, rows: &RecordBatch) -> Result<BooleanArray, Box<dyn StdError + Send + Sync>> {
        let column = rows.column(0);
        let Some(ids) = column.as_fixed_size_binary_opt() else {
            return Err(format!("ids are of type {}", column.data_type()).into());
        };
        let width = usize::try_from(ids.value_length()).unwrap_or_default().max(1);
        let bytes = ids.value_data();
        let is_wanted = |row: usize| {
            let id = &bytes[row * width..(row + 1) * width];
            self.ids.iter().any(|wanted| wanted == id)
        };
        let kept = BooleanBuffer::collect_bool(ids.len(), is_wanted);
        Ok(BooleanArray::new(kept, ids.nulls().cloned()))
    }
}

/// Rows of one trace.
pub(super) fn of_trace(id: TraceId) -> Arc<dyn RowFilter> {
    Arc::new(OneOf::new("trace_id", vec![id.0.to_vec()]))
}

/// What [`crate::Store::read`] makes of the rows of a file, of rows in memory in row shape.
///
/// # Errors
/// Where a column is missing, or a filter fails.
pub fn select(
    rows: &RecordBatch,
    table: Table,
    columns: &[ReadColumn],
    filters: &[Arc<dyn RowFilter>],
) -> Result<RecordBatch, Error> {
    let mut kept = Rows::all(rows.num_rows());
    for filter in filters {
        if kept.is_empty() {
            break;
        }
        let looked_at = only(&project(rows, table, filter.columns())?, &kept)?;
        let mask = filter.keep(&looked_at).map_err(|source| Error::Filter { source })?;
        kept = kept.kept(&[mask]);
    }
    only(&project(rows, table, columns)?, &kept)
}

fn only(rows: &RecordBatch, kept: &Rows) -> Result<RecordBatch, Error> {
    let Some(mask) = kept.mask_in(&Rows::all(rows.num_rows())) else { return Ok(rows.clone()) };
    filter_record_batch(rows, &BooleanArray::new(mask, None))
        .map_err(|source| Error::Arrow { action: "leave out rows".to_owned(), source })
}
