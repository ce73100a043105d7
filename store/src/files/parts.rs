//! Batches in row shape, taken apart into fixed and attribute columns.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::FieldRef;

use crate::error::Error;
use crate::model::Table;
use crate::schema::{AttributeType, MapColumn, fixed_fields};

/// The columns of one batch.
#[derive(Debug)]
pub(super) struct Part {
    /// In the order of the table's fixed fields, of exactly their types.
    pub(super) fixed: Vec<ArrayRef>,
    /// Of exactly the types that [`AttributeType`] names; those without any value are left out.
    pub(super) attributes: BTreeMap<(MapColumn, String), ArrayRef>,
    /// How many rows.
    pub(super) rows: usize,
}

impl Part {
    /// Checks that a batch is in row shape; other encodings of text are brought into it.
    pub(super) fn new(table: Table, batch: &RecordBatch) -> Result<Self, Error> {
        let fixed = fixed_fields(table);
        let columns = fixed.iter().map(|field| fixed_column(table, field, batch));
        let mut attributes = BTreeMap::new();
        for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            let Some((map, key)) = MapColumn::parse(field.name()) else { continue };
            let kind = AttributeType::of(column.data_type()).ok_or_else(|| Error::Rows {
                table,
                reason: format!("`{}` is of type {}", field.name(), column.data_type()),
            })?;
            if column.logical_null_count() < column.len() {
                let column = as_type(column, &kind.data_type(), field.name())?;
                attributes.insert((map, key.to_owned()), column);
            }
        }
        Ok(Self { fixed: columns.collect::<Result<_, _>>()?, attributes, rows: batch.num_rows() })
    }
}

fn fixed_column(table: Table, field: &FieldRef, batch: &RecordBatch) -> Result<ArrayRef, Error> {
    let bad = |what: &str| Error::Rows { table, reason: format!("`{}` {what}", field.name()) };
    let column = batch.column_by_name(field.name()).ok_or_else(|| bad("is missing"))?;
    let column = as_type(column, field.data_type(), field.name())?;
    if !field.is_nullable() && column.logical_null_count() > 0 {
        return Err(bad("has nulls"));
    }
    Ok(column)
}

fn as_type(
    column: &ArrayRef,
    wanted: &arrow::datatypes::DataType,
    name: &str,
) -> Result<ArrayRef, Error> {
    cast(column, wanted)
        .map_err(|source| Error::Arrow { action: format!("bring `{name}` into row shape"), source })
}
