//! Columns as the store reads them, shown as SQL shows them.
//!
//! Invariant: an id is lower-case hex text and every other text is `Utf8View`, at any depth; the
//! text of a map is plain JSON, bytes as base64; a stack is the list of its frames; all other types, the nulls and the number of rows
//! stay as they were.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryArray, ListArray, RecordBatch, RecordBatchOptions,
    StringViewArray, StringViewBuilder, StructArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, SchemaRef};
use arrow::error::ArrowError;

use icecore_store::model::value::plain_object;

use super::columns::{holds_json, json_metadata};
use super::stacks::{is_stack, stacks};

/// The type that SQL shows for a column of this type.
pub(crate) fn present_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::FixedSizeBinary(_) | DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Dictionary(_, values) => present_type(values),
        DataType::List(item) => DataType::List(present_field(item)),
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(present_field).collect::<Fields>())
        }
        other => other.clone(),
    }
}

/// A batch of the store as SQL shows it under `schema`, which may leave text in dictionaries.
pub(crate) fn shown(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
        let as_it_is = matches!(field.data_type(), DataType::Dictionary(_, _));
        if as_it_is { Ok(Arc::clone(column)) } else { present(field.name(), column) }
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    // A batch without columns still has rows to count.
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

fn present_field(field: &FieldRef) -> FieldRef {
    let shown = Field::new(field.name(), present_type(field.data_type()), field.is_nullable());
    Arc::new(if holds_json(field.name()) { shown.with_metadata(json_metadata()) } else { shown })
}

/// The column of this name as SQL shows it.
pub(crate) fn present(name: &str, array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match array.data_type() {
        DataType::Utf8 | DataType::Dictionary(_, _) if is_stack(name) => stacks(array),
        DataType::FixedSizeBinary(_) => Ok(hex(array.as_fixed_size_binary())),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Dictionary(_, _) => {
            cast(array, &present_type(array.data_type())).map(|texts| plain(name, texts))
        }
        DataType::Utf8View => Ok(plain(name, Arc::clone(array))),
        DataType::List(item) => present_list(array.as_list(), item),
        DataType::Struct(fields) => present_struct(array.as_struct(), fields),
        _ => Ok(Arc::clone(array)),
    }
}

fn present_list(list: &ListArray, item: &FieldRef) -> Result<ArrayRef, ArrowError> {
    let values = present(item.name(), list.values())?;
    let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
    Ok(Arc::new(ListArray::try_new(present_field(item), offsets, values, nulls)?))
}

fn present_struct(rows: &StructArray, fields: &Fields) -> Result<ArrayRef, ArrowError> {
    let columns = fields.iter().zip(rows.columns());
    let columns = columns.map(|(field, column)| present(field.name(), column));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let fields = fields.iter().map(present_field).collect::<Fields>();
    let nulls = rows.nulls().cloned();
    Ok(Arc::new(StructArray::try_new_with_length(fields, columns, nulls, rows.len())?))
}

/// Maps as plain JSON; costs one scan where they are that already.
fn plain(name: &str, texts: ArrayRef) -> ArrayRef {
    let Some(maps) = texts.as_string_view_opt().filter(|_| holds_json(name)) else { return texts };
    let changed = |text: &str| matches!(plain_object(text), Cow::Owned(_));
    if !maps.iter().flatten().any(changed) {
        return texts;
    }
    let plain: StringViewArray = maps.iter().map(|text| text.map(plain_object)).collect();
    Arc::new(plain)
}

/// Ids as hex text.
fn hex(ids: &FixedSizeBinaryArray) -> ArrayRef {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = StringViewBuilder::with_capacity(ids.len());
    let mut text = String::with_capacity(32);
    for id in ids {
        text.clear();
        for byte in id.unwrap_or_default() {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        out.append_option(id.map(|_| text.as_str()));
    }
    Arc::new(out.finish())
}

#[cfg(test)]
mod tests {
    use arrow::array::{DictionaryArray, FixedSizeBinaryBuilder, Int64Array};
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::Int32Type;

    use super::*;

    fn ids() -> ArrayRef {
        let mut ids = FixedSizeBinaryBuilder::new(2);
        ids.append_value([0x0f, 0xa0]).unwrap();
        ids.append_null();
        Arc::new(ids.finish())
    }

    /// Scenario: a map with bytes and one without; the same text in a column that is no map.
    /// Guarantees: bytes of a map are their base64, everything else stays.
    #[test]
    fn bytes_of_maps_are_base64() {
        let text = r#"{"b":{"$bytes":"aGk="}}"#;
        let maps: ArrayRef = Arc::new(StringViewArray::from(vec![Some(text), Some("{}"), None]));
        let shown = present("attributes", &maps).unwrap();
        let expected = [Some(r#"{"b":"aGk="}"#), Some("{}"), None];
        assert_eq!(shown.as_string_view().iter().collect::<Vec<_>>(), expected);
        assert_eq!(&present("body", &maps).unwrap(), &maps);
    }

    /// Scenario: ids, dictionary text and numbers, alone and inside a list of structs.
    /// Guarantees: the shown array has the shown type, ids are hex and nulls stay nulls.
    #[test]
    fn ids_are_hex_at_any_depth() {
        let shown = present("span_id", &ids()).unwrap();
        assert_eq!(shown.as_string_view().iter().collect::<Vec<_>>(), [Some("0fa0"), None]);

        let text: DictionaryArray<Int32Type> = [Some("a"), None].into_iter().collect();
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("trace_id", ids()),
            ("attributes", Arc::new(text)),
            ("n", Arc::new(Int64Array::from(vec![1, 2]))),
        ];
        let rows = StructArray::try_from(columns).unwrap();
        let item = Arc::new(Field::new("item", rows.data_type().clone(), true));
        let offsets = OffsetBuffer::new(vec![0, 1, 2].into());
        let list: ArrayRef = Arc::new(ListArray::new(item, offsets, Arc::new(rows), None));
        let shown = present("links", &list).unwrap();
        assert_eq!(shown.data_type(), &present_type(list.data_type()));
        let rows = shown.as_list::<i32>().value(0);
        let first = rows.as_struct().column(0);
        assert_eq!(first.as_string_view().value(0), "0fa0");
    }
}
