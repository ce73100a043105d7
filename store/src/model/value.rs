//! Attribute values, and the JSON text that keeps those which have no column of their own.
//!
//! Invariant: `parse_object(text)` gives back, key by key and type by type, what the `write_…`
//! functions wrote. Ints are JSON numbers without a point, doubles always have a point or an
//! exponent, an unset value is `null`. What JSON has no form for is an object with one key that
//! starts with `$`: `{"$bytes":"<base64>"}`, `{"$double":"NaN"}` (also `Infinity`, `-Infinity`),
//! and `{"$map":{…}}` for a map whose own first key starts with `$`. Keys may repeat.

mod parse;
mod plain;
mod write;

pub use parse::{BadText, ObjectWriter, find_key, parse_object, parse_value, raw_entries};
pub use plain::{plain_object, plain_text, text_of};
pub use write::{write_bool, write_bytes, write_double, write_int, write_string, write_value};

/// One OTLP `AnyValue`.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// An `AnyValue` with nothing set.
    Null,
    /// Text.
    String(String),
    /// True or false.
    Bool(bool),
    /// 64-bit signed integer.
    Int(i64),
    /// Double; NaN and the infinities included.
    Double(f64),
    /// Raw bytes.
    Bytes(Vec<u8>),
    /// Values in order, of any types.
    Array(Vec<Self>),
    /// Key-value pairs in order; keys may repeat.
    Map(Vec<(String, Self)>),
}

#[cfg(test)]
mod tests;
