//! OTLP attributes from plain values.
//!
//! Invariant: one way to write each type.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};

fn of(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), key_strindex: 0 }
}

pub(crate) fn text(key: &str, value: &str) -> KeyValue {
    of(key, Value::StringValue(value.to_owned()))
}

pub(crate) fn integer(key: &str, value: i64) -> KeyValue {
    of(key, Value::IntValue(value))
}

pub(crate) fn boolean(key: &str, value: bool) -> KeyValue {
    of(key, Value::BoolValue(value))
}

pub(crate) fn texts(key: &str, values: &[String]) -> KeyValue {
    let one = |value: &String| AnyValue { value: Some(Value::StringValue(value.clone())) };
    of(key, Value::ArrayValue(ArrayValue { values: values.iter().map(one).collect() }))
}
