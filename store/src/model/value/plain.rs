//! Values as people and other programs read them: JSON without the marks that keep types apart.
//!
//! Invariant: bytes are their base64 as text, NaN and the infinities their names as text, a map is
//! an object whatever its keys; what has no mark in it stays as it is, byte for byte.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{ObjectWriter, Value, parse_object, parse_value, write_string, write_value};

/// How every marked value starts.
const MARK: &str = "{\"$";

/// The text of a map, as [`ObjectWriter`] writes it, without marks. Costs one scan where it has
/// none. A text that cannot be read stays as it is.
#[must_use]
pub fn plain_object(text: &str) -> Cow<'_, str> {
    // The first key of the outermost object may start with `$` and marks nothing.
    let marked = text.strip_prefix('{').is_some_and(|rest| rest.contains(MARK));
    let Some(entries) = marked.then(|| parse_object(text).ok()).flatten() else {
        return Cow::Borrowed(text);
    };
    let mut out = String::with_capacity(text.len());
    write_entries(&mut out, &entries);
    Cow::Owned(out)
}

/// One value, by the JSON text that `write_value` wrote of it, as text: a string is its content,
/// bytes are their base64, a number or a flag is its digits or its word, arrays and maps are plain
/// JSON. `None` for a value that is not set.
#[must_use]
pub fn plain_text(raw: &str) -> Option<Cow<'_, str>> {
    match raw.as_bytes().first()? {
        b'n' => None,
        b'"' => serde_json::from_str(raw).ok().map(Cow::Owned),
        _ if raw.contains(MARK) => match parse_value(raw) {
            Ok(value) => text_of(value).map(Cow::Owned),
            Err(_unmarked) => Some(Cow::Borrowed(raw)),
        },
        _ => Some(Cow::Borrowed(raw)),
    }
}

/// One value as text: see [`plain_text`].
#[must_use]
pub fn text_of(value: Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        Value::Bytes(bytes) => Some(STANDARD.encode(bytes)),
        Value::Double(number) if !number.is_finite() => Some(name_of(number).to_owned()),
        other => {
            let mut text = String::new();
            write_plain(&mut text, &other);
            Some(text)
        }
    }
}

/// Appends any value.
fn write_plain(out: &mut String, value: &Value) {
    match value {
        Value::Bytes(bytes) => write_string(out, &STANDARD.encode(bytes)),
        Value::Double(number) if !number.is_finite() => write_string(out, name_of(*number)),
        Value::Map(entries) => write_entries(out, entries),
        Value::Array(values) => {
            out.push('[');
            for (at, value) in values.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_plain(out, value);
            }
            out.push(']');
        }
        plain => write_value(out, plain),
    }
}

fn write_entries(out: &mut String, entries: &[(String, Value)]) {
    let mut object = ObjectWriter::new(out);
    for (key, value) in entries {
        write_plain(object.key(key), value);
    }
    object.finish();
}

const fn name_of(number: f64) -> &'static str {
    match number {
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        _ => "NaN",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(object: &str, plain: &str) {
        assert_eq!(plain_object(object), plain);
    }

    /// Scenario: maps with and without marks, at every depth.
    /// Guarantees: bytes are base64 text, doubles that JSON lacks are named, wrapped maps are bare;
    /// the rest is untouched, keys that only look like marks included.
    #[test]
    fn marks_are_taken_away() {
        check(r#"{"a":1,"b":[1.0,"x",null]}"#, r#"{"a":1,"b":[1.0,"x",null]}"#);
        check(r#"{"b":{"$bytes":"aGk="}}"#, r#"{"b":"aGk="}"#);
        check(
            r#"{"b":[{"$bytes":"aGk="},{"k":{"$double":"NaN"}}]}"#,
            r#"{"b":["aGk=",{"k":"NaN"}]}"#,
        );
        check(r#"{"m":{"$map":{"$a":1}}}"#, r#"{"m":{"$a":1}}"#);
        check(r#"{"$bytes":"not bytes"}"#, r#"{"$bytes":"not bytes"}"#);
        check(r#"{"$a":1,"i":{"$double":"-Infinity"}}"#, r#"{"$a":1,"i":"-Infinity"}"#);
        check("{torn {\"$", "{torn {\"$");
    }

    /// Scenario: one value of each type.
    /// Guarantees: its text has no mark and no quotes; what is not set has none.
    #[test]
    fn one_value_is_its_text() {
        let cases = [
            ("null", None),
            (r#""a\"b""#, Some("a\"b")),
            ("12", Some("12")),
            ("1.5", Some("1.5")),
            ("true", Some("true")),
            (r#"{"$bytes":"AP8="}"#, Some("AP8=")),
            (r#"{"$double":"Infinity"}"#, Some("Infinity")),
            (r#"[{"$bytes":"AP8="},1]"#, Some(r#"["AP8=",1]"#)),
            (r#"{"$map":{"$a":1}}"#, Some(r#"{"$a":1}"#)),
            (r#"{"$a":1}"#, Some(r#"{"$a":1}"#)),
        ];
        for (raw, text) in cases {
            assert_eq!(plain_text(raw).as_deref(), text, "{raw}");
        }
        assert_eq!(text_of(Value::Double(f64::NAN)).as_deref(), Some("NaN"));
    }
}
