//! Attribute values and JSON texts as OTLP key-value pairs.

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, KeyValue, KeyValueList,
};
use serde::Deserialize;

use crate::error::Error;
use crate::files::cells::MapCells;
use crate::model::Value;
use crate::model::value::parse_object;

/// The entries of one row of a map: those with a column first, as they are the first of their key.
pub(super) fn row_attributes(cells: &MapCells<'_>, row: usize) -> Result<Vec<KeyValue>, Error> {
    let with_column = cells.columns().iter();
    let mut entries: Vec<KeyValue> = with_column
        .filter_map(|(key, cells)| Some(key_value((*key).to_owned(), cells.value(row)?)))
        .collect();
    entries.extend(text_attributes(cells.overflow(row))?);
    Ok(entries)
}

/// The entries of a JSON object; none where there is no text.
pub(super) fn text_attributes(text: Option<&str>) -> Result<Vec<KeyValue>, Error> {
    let Some(text) = text else { return Ok(Vec::new()) };
    let entries = parse_object(text).map_err(|source| unreadable(text, &source))?;
    Ok(entries.into_iter().map(|(key, value)| key_value(key, value)).collect())
}

/// A row that holds a text which nobody wrote.
pub(super) fn unreadable(text: &str, source: &dyn std::error::Error) -> Error {
    let start: String = text.chars().take(80).collect();
    Error::Damaged {
        path: "a row".to_owned(),
        reason: format!("the JSON text `{start}` cannot be read: {source}"),
    }
}

fn key_value(key: String, value: Value) -> KeyValue {
    KeyValue { key, value: Some(any_value(value)), ..KeyValue::default() }
}

/// A value as OTLP has it.
pub(super) fn any_value(value: Value) -> AnyValue {
    let value = match value {
        Value::Null => None,
        Value::String(text) => Some(Any::StringValue(text)),
        Value::Bool(flag) => Some(Any::BoolValue(flag)),
        Value::Int(number) => Some(Any::IntValue(number)),
        Value::Double(number) => Some(Any::DoubleValue(number)),
        Value::Bytes(bytes) => Some(Any::BytesValue(bytes)),
        Value::Array(values) => {
            let values = values.into_iter().map(any_value).collect();
            Some(Any::ArrayValue(ArrayValue { values }))
        }
        Value::Map(entries) => {
            let values = entries.into_iter().map(|(key, value)| key_value(key, value)).collect();
            Some(Any::KvlistValue(KeyValueList { values }))
        }
    };
    AnyValue { value }
}

/// The entities of a resource, from their JSON text.
pub(super) fn entity_refs(text: Option<&str>) -> Result<Vec<EntityRef>, Error> {
    #[derive(Deserialize)]
    #[serde(default)]
    #[derive(Default)]
    struct Entity {
        schema_url: String,
        r#type: String,
        id_keys: Vec<String>,
        description_keys: Vec<String>,
    }
    let Some(text) = text else { return Ok(Vec::new()) };
    let entities: Vec<Entity> =
        serde_json::from_str(text).map_err(|source| unreadable(text, &source))?;
    let entities = entities.into_iter().map(|entity| {
        let Entity { schema_url, r#type, id_keys, description_keys } = entity;
        EntityRef { schema_url, r#type, id_keys, description_keys }
    });
    Ok(entities.collect())
}
