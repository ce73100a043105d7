//! JSON text back to values, and one key out of a text without parsing the rest.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

use super::{Value, write_string};

/// Arrays and maps within one another; OTLP itself allows fewer.
const LEVELS_MAX: usize = 128;

/// A text that no `write_…` function wrote.
#[derive(Debug, thiserror::Error)]
#[error("not an attribute text")]
pub struct BadText(#[source] serde_json::Error);

/// Builds the text of one object, key by key, into a caller's buffer.
#[derive(Debug)]
pub struct ObjectWriter<'a> {
    out: &'a mut String,
    empty: bool,
}

impl<'a> ObjectWriter<'a> {
    /// Opens the object.
    pub fn new(out: &'a mut String) -> Self {
        out.push('{');
        Self { out, empty: true }
    }

    /// Appends a key; the caller appends exactly one value to the buffer returned.
    pub fn key(&mut self, key: &str) -> &mut String {
        if !std::mem::take(&mut self.empty) {
            self.out.push(',');
        }
        write_string(self.out, key);
        self.out.push(':');
        self.out
    }

    /// Closes the object.
    pub fn finish(self) {
        self.out.push('}');
    }
}

/// The entries of an object, in order, repeated keys kept. Unlike [`parse_value`] it takes the
/// outermost object as it is, whatever its first key starts with.
///
/// # Errors
/// Where the text is not what [`ObjectWriter`] writes.
pub fn parse_object(text: &str) -> Result<Vec<(String, Value)>, BadText> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let entries = reader.deserialize_map(EntriesVisitor(LEVELS_MAX)).map_err(BadText)?;
    reader.end().map_err(BadText)?;
    Ok(entries)
}

/// One value.
///
/// # Errors
/// Where the text is not what [`super::write_value`] writes.
pub fn parse_value(text: &str) -> Result<Value, BadText> {
    value(text.trim(), LEVELS_MAX).map_err(BadText)
}

/// The raw JSON text of the first entry of an object with this key; costs one scan, no allocation
/// but for keys with escapes. `None` where the key, or an object, is not there.
#[must_use]
pub fn find_key<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    struct Find<'k>(&'k str);

    impl<'de> Visitor<'de> for Find<'_> {
        type Value = Option<&'de RawValue>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = None;
            while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                if found.is_none() && key == self.0 {
                    found = Some(map.next_value()?);
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(found)
        }
    }

    let mut reader = serde_json::Deserializer::from_str(text);
    let found = reader.deserialize_map(Find(key)).ok().flatten()?;
    Some(found.get())
}

/// The entries of an object in order, each with its raw JSON text. `None` where it is no object.
#[must_use]
pub fn raw_entries(text: &str) -> Option<Vec<(Cow<'_, str>, &str)>> {
    struct Raw;

    impl<'de> Visitor<'de> for Raw {
        type Value = Vec<(Cow<'de, str>, &'de str)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut entries = Vec::new();
            while let Some((key, value)) = map.next_entry::<Cow<'de, str>, &'de RawValue>()? {
                entries.push((key, value.get()));
            }
            Ok(entries)
        }
    }

    serde_json::Deserializer::from_str(text).deserialize_map(Raw).ok()
}

/// Any value. Numbers are read here and not by `serde_json`, whose doubles may be off by one bit.
fn value(raw: &str, levels: usize) -> Result<Value, serde_json::Error> {
    if matches!(raw.as_bytes().first(), Some(b'-' | b'0'..=b'9')) {
        return number(raw);
    }
    let mut reader = serde_json::Deserializer::from_str(raw);
    let value = reader.deserialize_any(ValueVisitor(levels))?;
    reader.end()?;
    Ok(value)
}

fn number(raw: &str) -> Result<Value, serde_json::Error> {
    // What is no JSON number is refused before Rust's parser, which takes more, sees it.
    serde_json::from_str::<IgnoredAny>(raw)?;
    if raw.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
        return raw.parse().map(Value::Double).map_err(serde_json::Error::custom);
    }
    raw.parse().map(Value::Int).map_err(serde_json::Error::custom)
}

/// A value this many levels above the deepest that is allowed.
#[derive(Clone, Copy)]
struct Nested(usize);

impl<'de> DeserializeSeed<'de> for Nested {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let levels = self.0.checked_sub(1).ok_or_else(|| D::Error::custom("nested too deeply"))?;
        let raw = <&'de RawValue>::deserialize(deserializer)?;
        value(raw.get(), levels).map_err(D::Error::custom)
    }
}

struct EntriesVisitor(usize);

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Vec<(String, Value)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key()? {
            entries.push((key, map.next_value_seed(Nested(self.0))?));
        }
        Ok(entries)
    }
}

/// Everything but numbers.
struct ValueVisitor(usize);

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an attribute value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(Nested(self.0))? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            if entries.is_empty() && key.starts_with('$') {
                return special(&key, self.0, map);
            }
            entries.push((key, map.next_value_seed(Nested(self.0))?));
        }
        Ok(Value::Map(entries))
    }
}

struct EntriesSeed(usize);

impl<'de> DeserializeSeed<'de> for EntriesSeed {
    type Value = Vec<(String, Value)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(EntriesVisitor(self.0))
    }
}

/// What an object whose first key starts with `$` stands for; it has no second key.
fn special<'de, A: MapAccess<'de>>(
    key: &str,
    levels: usize,
    mut map: A,
) -> Result<Value, A::Error> {
    let value = match key {
        "$map" => Value::Map(map.next_value_seed(EntriesSeed(levels))?),
        "$bytes" => {
            let text: String = map.next_value()?;
            Value::Bytes(STANDARD.decode(text).map_err(A::Error::custom)?)
        }
        "$double" => match map.next_value::<String>()?.as_str() {
            "NaN" => Value::Double(f64::NAN),
            "Infinity" => Value::Double(f64::INFINITY),
            "-Infinity" => Value::Double(f64::NEG_INFINITY),
            other => return Err(A::Error::custom(format!("unknown $double `{other}`"))),
        },
        other => return Err(A::Error::custom(format!("unknown special key `{other}`"))),
    };
    match map.next_key::<IgnoredAny>()? {
        None => Ok(value),
        Some(_) => Err(A::Error::custom("a second key in a special object")),
    }
}
