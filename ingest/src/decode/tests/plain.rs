//! Rows as plain texts, so that those of a batch and those of an oracle can be compared.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Float64Type, Int32Type, Int64Type, TimestampNanosecondType, UInt32Type, UInt64Type,
};
use icecore_store::RowBatch;
use icecore_store::model::value::write_value;
use icecore_store::schema::{MapColumn, fixed_fields};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// One row: fixed columns by name, and the entries of both maps, sorted, as JSON text.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Row {
    pub(super) cells: BTreeMap<String, String>,
    pub(super) attributes: Vec<(String, String)>,
    pub(super) resource: Vec<(String, String)>,
}

pub(super) const NULL: &str = "null";

pub(super) fn text(text: &str) -> String {
    format!("{text:?}")
}

pub(super) fn double(number: f64) -> String {
    format!("double {:016x}", number.to_bits())
}

pub(super) fn bytes(bytes: &[u8]) -> String {
    bytes.iter().fold("x".to_owned(), |mut out, byte| {
        write!(out, "{byte:02x}").unwrap();
        out
    })
}

pub(super) fn list(items: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", items.into_iter().collect::<Vec<_>>().join(","))
}

/// All rows of a batch.
pub(super) fn rows(batch: &RowBatch) -> Vec<Row> {
    let fixed = fixed_fields(batch.table).len();
    (0..batch.rows.num_rows()).map(|row| one(&batch.rows, fixed, row)).collect()
}

fn one(batch: &RecordBatch, fixed: usize, row: usize) -> Row {
    let mut plain = Row::default();
    let schema = batch.schema();
    for (at, (field, array)) in schema.fields().iter().zip(batch.columns()).enumerate() {
        let cell = cell(array, row);
        let map = match field.name().as_str() {
            "attributes" => Some(MapColumn::Attributes),
            "resource" => Some(MapColumn::Resource),
            _ => None,
        };
        match map {
            Some(map) if cell != NULL => {
                let Entries(entries) = serde_json::from_str(&raw_text(array, row)).unwrap();
                plain.map(map).extend(entries);
            }
            Some(_) => {}
            None if at < fixed => drop(plain.cells.insert(field.name().clone(), cell)),
            None if cell == NULL => {}
            None => {
                let (map, key) = MapColumn::parse(field.name()).unwrap();
                let entry = (key.to_owned(), json(array, row));
                plain.map(map).push(entry);
            }
        }
    }
    plain.attributes.sort();
    plain.resource.sort();
    plain
}

impl Row {
    pub(super) fn map(&mut self, map: MapColumn) -> &mut Vec<(String, String)> {
        match map {
            MapColumn::Attributes => &mut self.attributes,
            MapColumn::Resource => &mut self.resource,
        }
    }
}

/// The entries of an overflow text, repeated keys kept, each value as it is written.
struct Entries(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    entries.push((key, value.get().to_owned()));
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor)
    }
}

fn raw_text(array: &dyn Array, row: usize) -> String {
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(row).to_owned(),
        _ => {
            let texts = array.as_dictionary::<Int32Type>();
            let key = usize::try_from(texts.keys().value(row)).unwrap();
            texts.values().as_string::<i32>().value(key).to_owned()
        }
    }
}

/// A cell of an attribute column as the JSON text that the overflow would have.
fn json(array: &dyn Array, row: usize) -> String {
    use icecore_store::Value;
    let value = match array.data_type() {
        DataType::Int64 => Value::Int(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => Value::Double(array.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        _ => Value::String(raw_text(array, row)),
    };
    let mut out = String::new();
    write_value(&mut out, &value);
    out
}

fn cell(array: &dyn Array, row: usize) -> String {
    if array.is_null(row) {
        return NULL.to_owned();
    }
    match array.data_type() {
        DataType::Utf8 | DataType::Dictionary(..) => text(&raw_text(array, row)),
        DataType::Boolean => array.as_boolean().value(row).to_string(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).to_string(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).to_string(),
        DataType::Float64 => double(array.as_primitive::<Float64Type>().value(row)),
        DataType::Timestamp(..) => {
            array.as_primitive::<TimestampNanosecondType>().value(row).to_string()
        }
        DataType::FixedSizeBinary(_) => bytes(array.as_fixed_size_binary().value(row)),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            list((0..items.len()).map(|at| cell(&items, at)))
        }
        DataType::Struct(_) => {
            list(array.as_struct().columns().iter().map(|column| cell(column, row)))
        }
        other => panic!("no plain form of {other}"),
    }
}
