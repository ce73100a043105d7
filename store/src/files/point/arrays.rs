//! Values of a file as arrays.
//!
//! Invariant: the array is of the type asked for, and the same that Parquet's reader makes.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, FixedSizeBinaryBuilder, Float64Array, PrimitiveArray, StringArray,
    StringDictionaryBuilder, new_null_array,
};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Int16Type, Int32Type, Int64Type, TimeUnit,
    TimestampMicrosecondType, UInt32Type, UInt64Type,
};
use parquet::errors::{ParquetError, Result};

use super::column::Cell;

/// Whether [`array`] knows a type.
pub(super) fn knows(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(keys, values) => is_text(keys, values),
        DataType::Timestamp(unit, _) => *unit == TimeUnit::Microsecond,
        DataType::Int64 | DataType::UInt64 | DataType::Int32 | DataType::UInt32 => true,
        DataType::Int16 | DataType::Float64 | DataType::Boolean | DataType::Utf8 => true,
        DataType::FixedSizeBinary(_) => true,
        _ => false,
    }
}

/// `None` for a type that is not known here.
pub(super) fn array(data_type: &DataType, cells: &[Option<Cell>]) -> Result<Option<ArrayRef>> {
    Ok(Some(match data_type {
        DataType::Int64 => ints::<Int64Type>(cells, data_type, |int| int),
        DataType::UInt64 => ints::<UInt64Type>(cells, data_type, i64::cast_unsigned),
        DataType::Int32 => ints::<Int32Type>(cells, data_type, narrow),
        DataType::UInt32 => ints::<UInt32Type>(cells, data_type, |int| narrow(int).cast_unsigned()),
        DataType::Int16 => ints::<Int16Type>(cells, data_type, narrowest),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            ints::<TimestampMicrosecondType>(cells, data_type, |int| int)
        }
        DataType::Float64 => {
            let doubles =
                cells.iter().map(|cell| int(cell).map(|bits| f64::from_bits(bits.cast_unsigned())));
            Arc::new(doubles.collect::<Float64Array>())
        }
        DataType::Boolean => {
            let bools = cells.iter().map(|cell| int(cell).map(|bit| bit == 1));
            Arc::new(bools.collect::<BooleanArray>())
        }
        DataType::Utf8 => {
            let texts = cells.iter().map(text).collect::<Result<StringArray>>()?;
            Arc::new(texts)
        }
        DataType::Dictionary(keys, values) if is_text(keys, values) => {
            if cells.iter().all(Option::is_none) {
                return Ok(Some(new_null_array(data_type, cells.len())));
            }
            let bytes = cells.iter().map(|cell| bytes(cell).map_or(0, <[u8]>::len)).sum();
            // Room for some thousand texts, as there is by default, takes longer than these do.
            let mut texts = StringDictionaryBuilder::<Int32Type>::with_capacity(
                cells.len(),
                cells.len(),
                bytes,
            );
            for cell in cells {
                texts.append_option(text(cell)?);
            }
            Arc::new(texts.finish())
        }
        DataType::FixedSizeBinary(width) => {
            let mut ids = FixedSizeBinaryBuilder::with_capacity(cells.len(), *width);
            for cell in cells {
                match bytes(cell) {
                    Some(id) => ids.append_value(id)?,
                    None => ids.append_null(),
                }
            }
            Arc::new(ids.finish())
        }
        _ => return Ok(None),
    }))
}

fn is_text(keys: &DataType, values: &DataType) -> bool {
    matches!((keys, values), (DataType::Int32, DataType::Utf8))
}

fn ints<T: ArrowPrimitiveType>(
    cells: &[Option<Cell>],
    data_type: &DataType,
    native: impl Fn(i64) -> T::Native,
) -> ArrayRef {
    let ints = cells.iter().map(|cell| int(cell).map(&native));
    Arc::new(ints.collect::<PrimitiveArray<T>>().with_data_type(data_type.clone()))
}

#[expect(clippy::cast_possible_truncation, reason = "Parquet keeps narrow numbers in wider ones")]
const fn narrow(int: i64) -> i32 {
    int as i32
}

#[expect(clippy::cast_possible_truncation, reason = "Parquet keeps narrow numbers in wider ones")]
const fn narrowest(int: i64) -> i16 {
    int as i16
}

const fn int(cell: &Option<Cell>) -> Option<i64> {
    match cell {
        Some(Cell::Int(int)) => Some(*int),
        _ => None,
    }
}

fn bytes(cell: &Option<Cell>) -> Option<&[u8]> {
    match cell {
        Some(Cell::Bytes(bytes)) => Some(bytes),
        _ => None,
    }
}

fn text(cell: &Option<Cell>) -> Result<Option<&str>> {
    let text = bytes(cell).map(std::str::from_utf8).transpose();
    text.map_err(|error| ParquetError::External(Box::new(error)))
}
