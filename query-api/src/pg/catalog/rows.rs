//! A list that is made column by column.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, ListArray, RecordBatch, RecordBatchOptions, StringArray,
};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::MemTable;
use datafusion::common::Result;

/// A list, as far as it is made.
pub(super) struct Rows {
    columns: Vec<(&'static str, ArrayRef)>,
    rows: usize,
}

impl Rows {
    /// Of so many rows.
    pub(super) fn new(rows: usize) -> Self {
        Self { columns: Vec::new(), rows }
    }

    /// A text in each row.
    pub(super) fn texts(
        mut self,
        name: &'static str,
        values: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let values: StringArray = values.into_iter().map(|value| Some(value.into())).collect();
        self.columns.push((name, Arc::new(values)));
        self
    }

    /// A number in each row.
    pub(super) fn ints(
        mut self,
        name: &'static str,
        values: impl IntoIterator<Item = impl Into<i64>>,
    ) -> Self {
        let values: Int64Array = values.into_iter().map(|value| Some(value.into())).collect();
        self.columns.push((name, Arc::new(values)));
        self
    }

    /// The same text in every row.
    pub(super) fn text(self, names: &[&'static str], value: &str) -> Self {
        let rows = self.rows;
        names.iter().fold(self, |so_far, name| so_far.texts(name, std::iter::repeat_n(value, rows)))
    }

    /// The same number in every row.
    pub(super) fn int(self, names: &[&'static str], value: i64) -> Self {
        let rows = self.rows;
        names.iter().fold(self, |so_far, name| so_far.ints(name, std::iter::repeat_n(value, rows)))
    }

    /// The same in every row.
    pub(super) fn bools(mut self, names: &[&'static str], value: bool) -> Self {
        for name in names {
            self.columns.push((name, Arc::new(BooleanArray::from(vec![value; self.rows]))));
        }
        self
    }

    /// No text in any row.
    pub(super) fn nulls(mut self, names: &[&'static str]) -> Self {
        for name in names {
            let none = std::iter::repeat_n(None::<&str>, self.rows);
            self.columns.push((name, Arc::new(StringArray::from_iter(none))));
        }
        self
    }

    /// No array of texts in any row.
    pub(super) fn no_arrays(mut self, names: &[&'static str]) -> Self {
        let field = Arc::new(Field::new_list_field(DataType::Utf8, true));
        for name in names {
            let none = ListArray::new_null(Arc::clone(&field), self.rows);
            self.columns.push((name, Arc::new(none)));
        }
        self
    }

    /// No number in any row.
    pub(super) fn no_ints(mut self, names: &[&'static str]) -> Self {
        for name in names {
            self.columns.push((name, Arc::new(Int64Array::from(vec![None; self.rows]))));
        }
        self
    }

    /// As a table.
    pub(super) fn table(self) -> Result<Arc<MemTable>> {
        let field = |(name, column): &(&'static str, ArrayRef)| {
            Field::new(*name, column.data_type().clone(), true)
        };
        let schema = Arc::new(Schema::new(self.columns.iter().map(field).collect::<Vec<_>>()));
        let columns = self.columns.into_iter().map(|(_, column)| column).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)?;
        Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
    }
}
