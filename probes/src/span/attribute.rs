//! OTLP attributes from plain values.
//!
//! Invariant: one way to write each type; an attribute can be compared, so that a set of them makes
//! a series of a histogram.

use std::borrow::Cow;

use opentelemetry_proto::tonic::common::v1::any_value::Value as Otlp;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};

/// A name and its value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Attribute {
    key: Cow<'static, str>,
    value: Value,
}

/// The types that are used.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Value {
    /// One that is borrowed is a word of our own.
    Text(Cow<'static, str>),
    Integer(i64),
    Boolean(bool),
    Texts(Vec<String>),
}

impl Attribute {
    fn new(key: impl Into<Cow<'static, str>>, value: Value) -> Self {
        Self { key: key.into(), value }
    }

    /// What its texts take beside it.
    pub(super) fn text_bytes(&self) -> usize {
        let key = if let Cow::Owned(key) = &self.key { key.capacity() } else { 0 };
        let value = match &self.value {
            Value::Text(Cow::Owned(text)) => text.capacity(),
            Value::Texts(texts) => {
                texts.iter().map(|text| size_of::<String>() + text.capacity()).sum()
            }
            Value::Text(Cow::Borrowed(_)) | Value::Integer(_) | Value::Boolean(_) => 0,
        };
        key + value
    }

    pub(super) fn parts(&self) -> (&str, &Value) {
        (&self.key, &self.value)
    }

    /// Every text that it holds and that came from outside goes through `change`, with the name of the attribute.
    pub(crate) fn change_texts(&mut self, change: &mut dyn FnMut(&str, &str) -> Option<String>) {
        let texts = match &mut self.value {
            Value::Text(Cow::Owned(text)) => std::slice::from_mut(text),
            Value::Texts(texts) => texts.as_mut_slice(),
            Value::Text(Cow::Borrowed(_)) | Value::Integer(_) | Value::Boolean(_) => return,
        };
        for text in texts {
            if let Some(changed) = change(&self.key, text) {
                *text = changed;
            }
        }
    }

    /// A text.
    pub(crate) fn text(key: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        Self::new(key, Value::Text(value.into()))
    }

    /// A whole number.
    pub(crate) fn integer(key: &'static str, value: i64) -> Self {
        Self::new(key, Value::Integer(value))
    }

    /// A number of things, of which there are never too many.
    pub(crate) fn count(key: &'static str, value: u64) -> Self {
        Self::integer(key, i64::try_from(value).unwrap_or(i64::MAX))
    }

    /// Yes or no.
    pub(crate) fn boolean(key: &'static str, value: bool) -> Self {
        Self::new(key, Value::Boolean(value))
    }

    /// Several texts, under a name that is made up as it is seen.
    pub(crate) fn texts(key: String, values: Vec<String>) -> Self {
        Self::new(key, Value::Texts(values))
    }
}

impl From<Attribute> for KeyValue {
    fn from(Attribute { key, value }: Attribute) -> Self {
        let value = match value {
            Value::Text(text) => Otlp::StringValue(text.into_owned()),
            Value::Integer(number) => Otlp::IntValue(number),
            Value::Boolean(truth) => Otlp::BoolValue(truth),
            Value::Texts(texts) => Otlp::ArrayValue(ArrayValue {
                values: texts.into_iter().map(|text| any(Otlp::StringValue(text))).collect(),
            }),
        };
        Self { key: key.into_owned(), value: Some(any(value)), key_strindex: 0 }
    }
}

fn any(value: Otlp) -> AnyValue {
    AnyValue { value: Some(value) }
}

pub(crate) fn text(key: &str, value: &str) -> KeyValue {
    Attribute::new(key.to_owned(), Value::Text(value.to_owned().into())).into()
}

pub(crate) fn integer(key: &str, value: i64) -> KeyValue {
    Attribute::new(key.to_owned(), Value::Integer(value)).into()
}

pub(crate) fn texts(key: &str, values: &[String]) -> KeyValue {
    Attribute::texts(key.to_owned(), values.to_vec()).into()
}
