//! Columns of the row shape as columns of a file, and back.
//!
//! Invariant: `from_file(to_file(column))` is the column. A file differs in four ways: a
//! timestamp is microseconds in a column and the nanoseconds that are left (0 to 999) in a column
//! `<name>_ns` beside it, inside lists of structs too; list items are named `element`, as the
//! Parquet specification wants; the integers of points are told apart as `ints.rs` says; and nothing
//! in its footer is of Arrow alone.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int16Array, ListArray, StructArray, TimestampMicrosecondArray,
    TimestampNanosecondArray,
};
use arrow::datatypes::{
    DataType, Field, FieldRef, Fields, Int16Type, Int64Type, TimeUnit, TimestampMicrosecondType,
    TimestampNanosecondType,
};
use arrow::error::ArrowError;

use super::ints;

const NANOS_PER_MICRO: i64 = 1_000;
const UTC: &str = "UTC";

/// The name of the column that holds what is left of a timestamp.
fn remainder_name(name: &str) -> String {
    format!("{name}_ns")
}

/// The columns that a file may have of a column of the row shape.
pub(super) fn parts(name: &str) -> Vec<String> {
    match name {
        ints::INTS => ints::PARTS.map(str::to_owned).into(),
        _ => vec![name.to_owned(), remainder_name(name)],
    }
}

/// The columns of a file that stand for one column of the row shape, appended.
pub(super) fn to_file(field: &Field, column: &ArrayRef, out: &mut Vec<(FieldRef, ArrayRef)>) {
    match column.as_primitive_opt::<Int64Type>() {
        Some(values) if field.name() == ints::INTS => out.extend(ints::split(values)),
        _ => member_to_file(field, column, out),
    }
}

/// The same inside a list of structs, too.
fn member_to_file(field: &Field, column: &ArrayRef, out: &mut Vec<(FieldRef, ArrayRef)>) {
    match column.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            let (micros, rest) = split(column.as_primitive::<TimestampNanosecondType>());
            let nullable = field.is_nullable();
            let rest_name = remainder_name(field.name());
            out.push((new_field(field.name(), micros.data_type().clone(), nullable), micros));
            out.push((new_field(&rest_name, rest.data_type().clone(), nullable), rest));
        }
        DataType::List(item) => {
            let list = list_to_file(item, column.as_list::<i32>());
            out.push((
                new_field(field.name(), list.data_type().clone(), field.is_nullable()),
                list,
            ));
        }
        other => {
            let field = new_field(field.name(), other.clone(), field.is_nullable());
            out.push((field, Arc::clone(column)));
        }
    }
}

/// One column of the row shape from the columns of a file, which `find` looks up by name.
/// `None` where the file does not have it.
pub(super) fn from_file<'a>(
    field: &Field,
    find: &impl Fn(&str) -> Option<&'a ArrayRef>,
) -> Result<Option<ArrayRef>, ArrowError> {
    let Some(column) = find(field.name()) else {
        let joined = (field.name() == ints::INTS).then(|| ints::join(find));
        return Ok(joined.flatten());
    };
    match field.data_type() {
        DataType::Timestamp(_, _) => {
            let rest = find(&remainder_name(field.name()));
            joined(column, rest).map(Some)
        }
        DataType::List(item) => list_from_file(item, column).map(Some),
        wanted if wanted == column.data_type() => Ok(Some(Arc::clone(column))),
        wanted => arrow::compute::cast(column, wanted).map(Some),
    }
}

fn new_field(name: &str, data_type: DataType, nullable: bool) -> FieldRef {
    Arc::new(Field::new(name, data_type, nullable))
}

/// Nanoseconds as microseconds, rounded down, and what is left.
fn split(nanos: &TimestampNanosecondArray) -> (ArrayRef, ArrayRef) {
    let micros: TimestampMicrosecondArray = nanos.unary(|nanos| nanos.div_euclid(NANOS_PER_MICRO));
    let rest: Int16Array = nanos.unary(|nanos| {
        i16::try_from(nanos.rem_euclid(NANOS_PER_MICRO)).expect("a remainder is below 1000")
    });
    (Arc::new(micros.with_timezone(UTC)), Arc::new(rest))
}

fn joined(micros: &ArrayRef, rest: Option<&ArrayRef>) -> Result<ArrayRef, ArrowError> {
    let wrong = || ArrowError::SchemaError("a timestamp is not microseconds".to_owned());
    let micros = micros.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(wrong)?;
    // The earliest times round down below what nanoseconds can hold until the rest is added:
    // wrapping makes the sum come out right.
    let nanos: TimestampNanosecondArray = match rest {
        None => micros.unary(|micros| micros.wrapping_mul(NANOS_PER_MICRO)),
        Some(rest) => {
            let rest = rest.as_primitive_opt::<Int16Type>().ok_or_else(wrong)?;
            arrow::compute::binary(micros, rest, |micros, rest| {
                micros.wrapping_mul(NANOS_PER_MICRO).wrapping_add(i64::from(rest))
            })?
        }
    };
    Ok(Arc::new(nanos.with_timezone(UTC)))
}

fn list_to_file(item: &FieldRef, list: &ListArray) -> ArrayRef {
    let (values, item) = match item.data_type() {
        DataType::Struct(fields) => {
            let structs = list.values().as_struct();
            let mut columns = Vec::new();
            for (field, column) in fields.iter().zip(structs.columns()) {
                member_to_file(field, column, &mut columns);
            }
            let (fields, columns): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
            let structs = StructArray::new(fields.into(), columns, structs.nulls().cloned());
            let item = new_field("element", structs.data_type().clone(), item.is_nullable());
            (Arc::new(structs) as ArrayRef, item)
        }
        other => {
            (Arc::clone(list.values()), new_field("element", other.clone(), item.is_nullable()))
        }
    };
    Arc::new(ListArray::new(item, list.offsets().clone(), values, list.nulls().cloned()))
}

fn list_from_file(item: &FieldRef, column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let wrong = || ArrowError::SchemaError(format!("a list is of type {}", column.data_type()));
    let list = column.as_list_opt::<i32>().ok_or_else(wrong)?;
    let values: ArrayRef = match item.data_type() {
        DataType::Struct(fields) => {
            let structs = list.values().as_struct_opt().ok_or_else(wrong)?;
            Arc::new(struct_from_file(fields, structs)?)
        }
        wanted => arrow::compute::cast(list.values(), wanted)?,
    };
    let list =
        ListArray::try_new(Arc::clone(item), list.offsets().clone(), values, list.nulls().cloned());
    Ok(Arc::new(list?))
}

fn struct_from_file(fields: &Fields, structs: &StructArray) -> Result<StructArray, ArrowError> {
    let mut columns = Vec::with_capacity(fields.len());
    for field in fields {
        let column = from_file(field, &|name| structs.column_by_name(name))?;
        columns.push(column.ok_or_else(|| {
            ArrowError::SchemaError(format!("a list item has no `{}`", field.name()))
        })?);
    }
    StructArray::try_new(fields.clone(), columns, structs.nulls().cloned())
}
