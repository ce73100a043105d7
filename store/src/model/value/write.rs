//! Values to JSON text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Value;

/// Appends any value.
pub fn write_value(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::String(text) => write_string(out, text),
        Value::Bool(flag) => write_bool(out, *flag),
        Value::Int(number) => write_int(out, *number),
        Value::Double(number) => write_double(out, *number),
        Value::Bytes(bytes) => write_bytes(out, bytes),
        Value::Array(values) => write_array(out, values),
        Value::Map(entries) => write_map(out, entries),
    }
}

/// Appends a string in quotes, escaping only what JSON demands.
pub fn write_string(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|b| b == b'"' || b == b'\\' || b < 0x20) {
        let (plain, special) = rest.split_at(at);
        out.push_str(plain);
        // The byte found is ASCII, so one byte is one character.
        let (escaped, after) = special.split_at(1);
        write_escape(out, escaped.as_bytes()[0]);
        rest = after;
    }
    out.push_str(rest);
    out.push('"');
}

/// Appends an int: digits only.
pub fn write_int(out: &mut String, number: i64) {
    out.push_str(itoa::Buffer::new().format(number));
}

/// Appends a double in its shortest form that reads back the same, never looking like an int.
pub fn write_double(out: &mut String, number: f64) {
    if number.is_finite() {
        // ryu always writes a point or an exponent.
        out.push_str(ryu::Buffer::new().format_finite(number));
    } else {
        let name = match number {
            f64::INFINITY => "Infinity",
            f64::NEG_INFINITY => "-Infinity",
            _ => "NaN",
        };
        out.push_str("{\"$double\":\"");
        out.push_str(name);
        out.push_str("\"}");
    }
}

/// Appends `true` or `false`.
pub fn write_bool(out: &mut String, flag: bool) {
    out.push_str(if flag { "true" } else { "false" });
}

/// Appends bytes as base64 in their own object.
pub fn write_bytes(out: &mut String, bytes: &[u8]) {
    out.push_str("{\"$bytes\":\"");
    STANDARD.encode_string(bytes, out);
    out.push_str("\"}");
}

fn write_escape(out: &mut String, byte: u8) {
    match byte {
        b'"' => out.push_str("\\\""),
        b'\\' => out.push_str("\\\\"),
        b'\n' => out.push_str("\\n"),
        b'\r' => out.push_str("\\r"),
        b'\t' => out.push_str("\\t"),
        _ => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.push_str("\\u00");
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

fn write_array(out: &mut String, values: &[Value]) {
    out.push('[');
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        write_value(out, value);
    }
    out.push(']');
}

fn write_map(out: &mut String, entries: &[(String, Value)]) {
    let wrapped = entries.first().is_some_and(|(key, _)| key.starts_with('$'));
    if wrapped {
        out.push_str("{\"$map\":");
    }
    out.push('{');
    for (at, (key, value)) in entries.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        write_string(out, key);
        out.push(':');
        write_value(out, value);
    }
    out.push('}');
    if wrapped {
        out.push('}');
    }
}
