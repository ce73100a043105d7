//! A condition of SQL on the rows of a scan, as the store asks for it.
//!
//! Invariant: it keeps the rows for which the engine finds the condition true, and no others. Where
//! it looks at one text alone, it is asked once a distinct text and not once a row.

use std::error::Error as StdError;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder, RecordBatch, new_null_array,
};
use arrow::compute::concat;
use arrow::datatypes::{Int32Type, Int64Type, SchemaRef, TimestampNanosecondType};
use datafusion::common::{Result, exec_err};
use datafusion::physical_expr::PhysicalExpr;
use icecore_store::{ReadColumn, RowFilter, Table, TimeRange};

use super::columns::{Column, schema_of};
use super::present::{present, shown};

/// A condition over some columns.
#[derive(Debug)]
pub(super) struct SqlFilter {
    columns: Vec<ReadColumn>,
    /// Of the columns as SQL shows them.
    schema: SchemaRef,
    condition: Arc<dyn PhysicalExpr>,
}

impl SqlFilter {
    /// `condition` refers to `columns` by their place.
    pub(super) fn new(columns: &[Column], condition: Arc<dyn PhysicalExpr>) -> Self {
        let schema = schema_of(columns);
        let columns = columns.iter().map(|column| column.read.clone()).collect();
        Self { columns, schema, condition }
    }

    fn evaluate(&self, shown: &RecordBatch) -> Result<BooleanArray> {
        let answer = self.condition.evaluate(shown)?.into_array(shown.num_rows())?;
        match answer.as_boolean_opt() {
            Some(mask) => Ok(mask.clone()),
            None => exec_err!("a condition is of type {}", answer.data_type()),
        }
    }

    /// The answer by distinct text, where there are fewer of those than rows. An error may be that
    /// of a text that no row has: then the rows are asked after all.
    fn by_text(&self, rows: &RecordBatch) -> Option<BooleanArray> {
        let [column] = rows.columns() else { return None };
        let texts = column.as_dictionary_opt::<Int32Type>()?;
        if texts.values().len() >= rows.num_rows() {
            return None;
        }
        let null = new_null_array(texts.values().data_type(), 1);
        let distinct: ArrayRef = concat(&[texts.values().as_ref(), null.as_ref()]).ok()?;
        let field = self.schema.field(0);
        let distinct = present(field.name(), &distinct).ok()?;
        let schema =
            SchemaRef::new(arrow::datatypes::Schema::new(vec![field.clone().with_nullable(true)]));
        let distinct = RecordBatch::try_new(schema, vec![distinct]).ok()?;
        let answers = self.evaluate(&distinct).ok()?;
        let keeps: Vec<bool> = answers.iter().map(|keeps| keeps == Some(true)).collect();
        let keys = texts.keys();
        let of_null = keeps.last().copied().unwrap_or_default();
        let mut kept = BooleanBufferBuilder::new(rows.num_rows());
        match keys.nulls() {
            None => keys.values().iter().for_each(|key| kept.append(keeps[*key as usize])),
            Some(_) => keys.iter().for_each(|key| {
                kept.append(key.map_or(of_null, |key| keeps[key as usize]));
            }),
        }
        Some(BooleanArray::new(kept.finish(), None))
    }
}

impl RowFilter for SqlFilter {
    fn columns(&self) -> &[ReadColumn] {
        &self.columns
    }

    fn keep(&self, rows: &RecordBatch) -> Result<BooleanArray, Box<dyn StdError + Send + Sync>> {
        if let Some(kept) = self.by_text(rows) {
            return Ok(kept);
        }
        Ok(self.evaluate(&shown(rows, &self.schema)?)?)
    }
}

/// Rows of a time.
#[derive(Debug)]
pub(super) struct OfTime {
    column: [ReadColumn; 1],
    time: TimeRange,
}

impl OfTime {
    /// By the time column of a table.
    pub(super) fn new(table: Table, time: TimeRange) -> Self {
        Self { column: [ReadColumn::Fixed(table.time_column().to_owned())], time }
    }
}

impl RowFilter for OfTime {
    fn columns(&self) -> &[ReadColumn] {
        &self.column
    }

    fn keep(&self, rows: &RecordBatch) -> Result<BooleanArray, Box<dyn StdError + Send + Sync>> {
        let times = rows.column(0);
        let Some(times) = times.as_primitive_opt::<TimestampNanosecondType>() else {
            return Err(format!("times are of type {}", times.data_type()).into());
        };
        let times = times.reinterpret_cast::<Int64Type>();
        let (start, end) = (self.time.start().0, self.time.end().0);
        // A range to the end of time holds its last instant, too.
        Ok(BooleanArray::from_unary(&times, |at| start <= at && (at < end || end == i64::MAX)))
    }
}
