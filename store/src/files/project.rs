//! Rows in row shape to exactly the columns that a reader wants: the same code for files and for
//! live rows, so that both answer alike.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, RecordBatch, RecordBatchOptions,
    StringDictionaryBuilder, new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int32Type, Schema, TimeUnit};
use arrow::error::ArrowError;

use super::cells::{Cells, MapCells, Texts};
use super::request::ReadColumn;
use crate::error::Error;
use crate::model::value::{find_key, parse_value, plain_text, text_of};
use crate::model::{Table, Value};
use crate::schema::{AttributeType, MapColumn, fixed_fields, text_type};

/// Brings rows in row shape into the columns wanted, in this order, named and typed as
/// [`read_field`] says. Of the row shape only those columns must be there that the ones wanted are
/// made from.
///
/// # Errors
/// Where a fixed column is missing or of another type.
pub fn project(
    rows: &RecordBatch,
    table: Table,
    columns: &[ReadColumn],
) -> Result<RecordBatch, Error> {
    let mut fields = Vec::with_capacity(columns.len());
    let mut arrays = Vec::with_capacity(columns.len());
    for column in columns {
        let field = read_field(table, column);
        let array = match column {
            ReadColumn::Fixed(name) => fixed(rows, table, name, field.data_type())?,
            ReadColumn::Attribute { map, key, kind } => {
                attribute(rows, *map, key, *kind).map_err(|source| failed(&field, source))?
            }
            ReadColumn::Map(map) => whole_map(rows, *map),
        };
        arrays.push(array);
        fields.push(field);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
        .map_err(|source| Error::Arrow { action: format!("project columns of {table}"), source })
}

/// The name and type of a column that is read: as in the row shape, so that text that repeats is a
/// dictionary; a map is JSON text. A fixed name that the table does not have reads as a nullable
/// text.
#[must_use]
pub fn read_field(table: Table, column: &ReadColumn) -> Field {
    match column {
        ReadColumn::Fixed(name) => {
            let fields = fixed_fields(table);
            let Some(field) = fields.iter().find(|field| field.name() == name) else {
                return Field::new(name, text_type(), true);
            };
            Field::new(name, read_type(field.data_type()), field.is_nullable())
        }
        ReadColumn::Attribute { map, key, kind } => {
            Field::new(map.column(key), kind.data_type(), true)
        }
        ReadColumn::Map(MapColumn::Attributes) => {
            Field::new(MapColumn::Attributes.name(), DataType::Utf8, true)
        }
        ReadColumn::Map(map) => Field::new(map.name(), text_type(), true),
    }
}

fn read_type(row_type: &DataType) -> DataType {
    match row_type {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Nanosecond, zone.clone()),
        other => other.clone(),
    }
}

fn failed(field: &Field, source: ArrowError) -> Error {
    Error::Arrow { action: format!("project column `{}`", field.name()), source }
}

fn fixed(
    rows: &RecordBatch,
    table: Table,
    name: &str,
    wanted: &DataType,
) -> Result<ArrayRef, Error> {
    let column = rows
        .column_by_name(name)
        .ok_or_else(|| Error::Rows { table, reason: format!("`{name}` is missing") })?;
    let action = || format!("read column `{name}` as {wanted}");
    cast(column, wanted).map_err(|source| Error::Arrow { action: action(), source })
}

fn whole_map(rows: &RecordBatch, map: MapColumn) -> ArrayRef {
    let cells = MapCells::of_batch(rows, map);
    match map {
        MapColumn::Attributes => Arc::new(cells.texts(rows.num_rows())),
        MapColumn::Resource => Arc::new(cells.shared_texts(rows.num_rows())),
    }
}

/// One key of a map as one type. The overflow is looked into only for rows without the column.
fn attribute(
    rows: &RecordBatch,
    map: MapColumn,
    key: &str,
    kind: AttributeType,
) -> Result<ArrayRef, ArrowError> {
    let wanted = kind.data_type();
    let column = rows.column_by_name(&map.column(key));
    let overflow = rows.column_by_name(map.name());
    let overflow = overflow.filter(|texts| texts.null_count() < texts.len()).and_then(Texts::of);
    match (column, overflow) {
        (None, None) => Ok(new_null_array(&wanted, rows.num_rows())),
        (Some(column), None) if AttributeType::of(column.data_type()) == Some(kind) => {
            cast(column, &wanted)
        }
        (Some(column), None) if is_widening(column, kind) => cast(column, &wanted),
        (column, overflow) => {
            let cells = column.and_then(Cells::of);
            let mut out = Column::new(kind, rows.num_rows());
            for row in 0..rows.num_rows() {
                match cells.as_ref().and_then(|cells| cells.value(row)) {
                    Some(value) => out.push(value),
                    None => {
                        out.push_text(overflow.and_then(|texts| find_key(texts.get(row)?, key)))
                    }
                }
            }
            Ok(out.finish())
        }
    }
}

fn is_widening(column: &ArrayRef, kind: AttributeType) -> bool {
    kind == AttributeType::Double && *column.data_type() == DataType::Int64
}

/// A column of one attribute type, built from values of any.
enum Column {
    String(StringDictionaryBuilder<Int32Type>),
    Int(Int64Builder),
    Double(Float64Builder),
    Bool(BooleanBuilder),
}

impl Column {
    fn new(kind: AttributeType, rows: usize) -> Self {
        match kind {
            AttributeType::String => Self::String(StringDictionaryBuilder::new()),
            AttributeType::Int => Self::Int(Int64Builder::with_capacity(rows)),
            AttributeType::Double => Self::Double(Float64Builder::with_capacity(rows)),
            AttributeType::Bool => Self::Bool(BooleanBuilder::with_capacity(rows)),
        }
    }

    /// The value as this column's type: see [`ReadColumn::Attribute`].
    fn push(&mut self, value: Value) {
        match self {
            Self::String(out) => out.append_option(text_of(value)),
            Self::Int(out) => out.append_option(match value {
                Value::Int(number) => Some(number),
                _ => None,
            }),
            Self::Double(out) => out.append_option(match value {
                Value::Double(number) => Some(number),
                // Beyond 2^53 the nearest double stands for an int, as everywhere in SQL.
                Value::Int(number) => Some(number as f64),
                _ => None,
            }),
            Self::Bool(out) => out.append_option(match value {
                Value::Bool(flag) => Some(flag),
                _ => None,
            }),
        }
    }

    /// As [`Self::push`], of a raw JSON text of the overflow. A text that cannot be read is null
    /// here: `store check` and whole-row reads report it.
    fn push_text(&mut self, raw: Option<&str>) {
        match self {
            Self::String(out) => out.append_option(raw.and_then(plain_text)),
            _ => self.push(raw.and_then(|raw| parse_value(raw).ok()).unwrap_or(Value::Null)),
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::String(mut out) => Arc::new(out.finish()),
            Self::Int(mut out) => Arc::new(out.finish()),
            Self::Double(mut out) => Arc::new(out.finish()),
            Self::Bool(mut out) => Arc::new(out.finish()),
        }
    }
}
