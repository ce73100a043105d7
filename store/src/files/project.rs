//! Rows in row shape to exactly the columns that a reader wants: the same code for files and for
//! live rows, so that both answer alike.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, TimeUnit};

use super::ReadColumn;
use crate::error::Error;
use crate::model::Table;
use crate::schema::{AttributeType, fixed_fields};

/// Brings rows in row shape into the columns wanted, named and typed as [`read_field`] says.
///
/// # Errors
/// Where a fixed column is missing or a text cannot be read.
pub fn project(
    _rows: &RecordBatch,
    table: Table,
    _columns: &[ReadColumn],
) -> Result<RecordBatch, Error> {
    Err(Error::Rows { table, reason: "rows cannot be projected yet".to_owned() })
}

/// The name and type of a column that is read: text is `Utf8View`, a map is `Utf8View` JSON text,
/// times are nanoseconds UTC, lists are as in the row shape. A fixed name that the table does not
/// have reads as a nullable text.
#[must_use]
pub fn read_field(table: Table, column: &ReadColumn) -> Field {
    match column {
        ReadColumn::Fixed(name) => {
            let fields = fixed_fields(table);
            let Some(field) = fields.iter().find(|field| field.name() == name) else {
                return Field::new(name, DataType::Utf8View, true);
            };
            Field::new(name, read_type(field.data_type()), field.is_nullable())
        }
        ReadColumn::Attribute { map, key, kind } => {
            Field::new(map.column(key), attribute_type(*kind), true)
        }
        ReadColumn::Map(map) => Field::new(map.name(), DataType::Utf8View, true),
    }
}

fn read_type(row_type: &DataType) -> DataType {
    match row_type {
        DataType::Dictionary(_, _) | DataType::Utf8 => DataType::Utf8View,
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Nanosecond, zone.clone()),
        other => other.clone(),
    }
}

fn attribute_type(kind: AttributeType) -> DataType {
    match kind {
        AttributeType::String => DataType::Utf8View,
        AttributeType::Int => DataType::Int64,
        AttributeType::Double => DataType::Float64,
        AttributeType::Bool => DataType::Boolean,
    }
}
