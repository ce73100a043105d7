//! `KeyValue` and `AnyValue`: read as far as a column needs, the rest as JSON text.
//!
//! Invariant: every byte of a value is checked once, whether the value is kept, written as text or
//! replaced by a later one. The string-table indexes that only profiles use stand for no text in
//! these signals: such a value is kept as null, and such a key as the text it has beside it.

use icecore_store::model::value::{write_bool, write_bytes, write_double, write_int, write_string};

use super::shape;
use super::wire::{Broken, Pieces, Reader, delimited, fields, fixed64, text, varint};

/// One value; texts are not looked at yet.
#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    Null,
    Text(&'a [u8]),
    Bool(bool),
    Int(i64),
    Double(f64),
    Bytes(&'a [u8]),
    Array(Pieces<'a>),
    Map(Pieces<'a>),
}

/// A value that a column can hold; a text is not looked at yet.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scalar<'a> {
    Text(&'a [u8]),
    Bool(bool),
    Int(i64),
    Double(f64),
}

impl<'a> Value<'a> {
    pub(super) fn scalar(&self) -> Option<Scalar<'a>> {
        match *self {
            Self::Text(bytes) => Some(Scalar::Text(bytes)),
            Self::Bool(flag) => Some(Scalar::Bool(flag)),
            Self::Int(number) => Some(Scalar::Int(number)),
            Self::Double(number) => Some(Scalar::Double(number)),
            Self::Null | Self::Bytes(_) | Self::Array(_) | Self::Map(_) => None,
        }
    }
}

/// Reads a `KeyValue` as nearly all are: a key, then a scalar, nothing else, each shorter than
/// 128 bytes. `None` where it is another, or broken: then [`key_value`] is to read it. Most of the
/// time of a request goes here, and this takes a third of what [`key_value`] does.
#[inline]
pub(super) fn simple(bytes: &[u8]) -> Option<(&[u8], Scalar<'_>)> {
    let [0x0a, length @ ..0x80, rest @ ..] = bytes else { return None };
    let (key, rest) = rest.split_at_checked(usize::from(*length))?;
    let [0x12, length @ ..0x80, value @ ..] = rest else { return None };
    if value.len() != usize::from(*length) {
        return None;
    }
    let scalar = match value {
        [0x0a, length @ ..0x80, text @ ..] if text.len() == usize::from(*length) => {
            Scalar::Text(text)
        }
        [0x18, number @ ..0x80] => Scalar::Int(i64::from(*number)),
        [0x18, low @ 0x80..=0xff, high @ ..0x80] => {
            Scalar::Int(i64::from(low & 0x7f) | (i64::from(*high) << 7))
        }
        [0x10, flag @ ..0x80] => Scalar::Bool(*flag != 0),
        [0x21, number @ ..] => Scalar::Double(f64::from_le_bytes(number.try_into().ok()?)),
        _ => return None,
    };
    Some((key, scalar))
}

const KEY: u32 = delimited(1);
const VALUE: u32 = delimited(2);
const KEY_INDEX: u32 = varint(3);

/// Reads a `KeyValue`; `limit` is that within it.
#[inline]
pub(super) fn key_value(bytes: &[u8], limit: u32) -> Result<(&[u8], Value<'_>), Broken> {
    let mut reader = Reader::new(bytes, limit);
    // What every sender sends: a key, a value, nothing else.
    if reader.key()? == Some(KEY) {
        let key = reader.bytes()?;
        if !reader.at_end() && reader.key()? == Some(VALUE) {
            let value = reader.message()?;
            if reader.at_end() {
                return Ok((key, one_value(value, limit - 1)?));
            }
        }
    }
    any_key_value(bytes, limit)
}

fn any_key_value(bytes: &[u8], limit: u32) -> Result<(&[u8], Value<'_>), Broken> {
    const KNOWN: u32 = fields(&[1, 2, 3]);
    let mut reader = Reader::new(bytes, limit);
    let (mut key, mut pieces) = (&[][..], Pieces::None);
    while let Some(field) = reader.key()? {
        match field {
            KEY => reader.text_into(&mut key)?,
            VALUE => pieces.push(reader.message()?),
            KEY_INDEX => drop(reader.int32()?),
            _ => reader.skip(field, KNOWN)?,
        }
    }
    // Without a value message there is nothing in it, however deep this is.
    Ok((key, any_value(&pieces, limit.saturating_sub(1))?))
}

const TEXT: u32 = delimited(1);
const BOOL: u32 = varint(2);
const INT: u32 = varint(3);
const DOUBLE: u32 = fixed64(4);
const ARRAY: u32 = delimited(5);
const MAP: u32 = delimited(6);
const BYTES: u32 = delimited(7);
const TEXT_INDEX: u32 = varint(8);

/// Reads an `AnyValue` that came in one piece.
#[inline]
pub(super) fn one_value(bytes: &[u8], limit: u32) -> Result<Value<'_>, Broken> {
    let mut reader = Reader::new(bytes, limit);
    let value = match reader.key()? {
        Some(TEXT) => Value::Text(reader.bytes()?),
        Some(INT) => Value::Int(reader.varint()?.cast_signed()),
        Some(BOOL) => Value::Bool(reader.varint()? != 0),
        Some(DOUBLE) => Value::Double(f64::from_bits(reader.fixed64()?)),
        _ => return any_value(&Pieces::One(bytes), limit),
    };
    if reader.at_end() { Ok(value) } else { any_value(&Pieces::One(bytes), limit) }
}

/// Reads an `AnyValue`; `limit` is that within it.
pub(super) fn any_value<'a>(pieces: &Pieces<'a>, limit: u32) -> Result<Value<'a>, Broken> {
    const KNOWN: u32 = fields(&[1, 2, 3, 4, 5, 6, 7, 8]);
    let mut value = Value::Null;
    for piece in pieces.as_slice() {
        let mut reader = Reader::new(piece, limit);
        while let Some(key) = reader.key()? {
            let new = match key {
                TEXT => Value::Text(reader.bytes()?),
                BOOL => Value::Bool(reader.varint()? != 0),
                INT => Value::Int(reader.varint()?.cast_signed()),
                DOUBLE => Value::Double(f64::from_bits(reader.fixed64()?)),
                BYTES => Value::Bytes(reader.bytes()?),
                ARRAY => Value::Array(Pieces::One(reader.message()?)),
                MAP => Value::Map(Pieces::One(reader.message()?)),
                TEXT_INDEX => reader.int32().map(|_index| Value::Null)?,
                _ => {
                    reader.skip(key, KNOWN)?;
                    continue;
                }
            };
            replace(&mut value, new, limit)?;
        }
    }
    Ok(value)
}

/// The last value counts; but two arrays, or two maps, in a row are one.
fn replace<'a>(old: &mut Value<'a>, new: Value<'a>, limit: u32) -> Result<(), Broken> {
    match (&mut *old, new) {
        (Value::Array(pieces), Value::Array(Pieces::One(piece)))
        | (Value::Map(pieces), Value::Map(Pieces::One(piece))) => pieces.push(piece),
        (_, new) => check(&std::mem::replace(old, new), limit)?,
    }
    Ok(())
}

/// Looks at what [`any_value`] left to be looked at.
pub(super) fn check(value: &Value<'_>, limit: u32) -> Result<(), Broken> {
    let (pieces, shape) = match value {
        Value::Text(bytes) => return text(bytes).map(drop),
        Value::Array(pieces) => (pieces, &shape::ARRAY),
        Value::Map(pieces) => (pieces, &shape::MAP),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Double(_) | Value::Bytes(_) => {
            return Ok(());
        }
    };
    pieces.as_slice().iter().try_for_each(|piece| shape::check(shape, piece, limit - 1))
}

/// Appends the JSON text of a value that was read with this limit.
pub(super) fn write(out: &mut String, value: &Value<'_>, limit: u32) -> Result<(), Broken> {
    match value {
        Value::Null => out.push_str("null"),
        Value::Text(bytes) => write_string(out, text(bytes)?),
        Value::Bool(flag) => write_bool(out, *flag),
        Value::Int(number) => write_int(out, *number),
        Value::Double(number) => write_double(out, *number),
        Value::Bytes(bytes) => write_bytes(out, bytes),
        Value::Array(pieces) => write_array(out, pieces, limit - 1)?,
        Value::Map(pieces) => write_map(out, pieces, limit - 1)?,
    }
    Ok(())
}

/// Calls `each` with every element of an `ArrayValue` or entry of a `KeyValueList`.
fn elements<'a>(
    pieces: &Pieces<'a>,
    limit: u32,
    mut each: impl FnMut(&'a [u8]) -> Result<(), Broken>,
) -> Result<(), Broken> {
    const ELEMENT: u32 = delimited(1);
    for piece in pieces.as_slice() {
        let mut reader = Reader::new(piece, limit);
        while let Some(key) = reader.key()? {
            match key {
                ELEMENT => each(reader.message()?)?,
                _ => reader.skip(key, fields(&[1]))?,
            }
        }
    }
    Ok(())
}

fn write_array(out: &mut String, pieces: &Pieces<'_>, limit: u32) -> Result<(), Broken> {
    out.push('[');
    let start = out.len();
    elements(pieces, limit, |element| {
        if out.len() > start {
            out.push(',');
        }
        write(out, &one_value(element, limit - 1)?, limit - 1)
    })?;
    out.push(']');
    Ok(())
}

fn write_map(out: &mut String, pieces: &Pieces<'_>, limit: u32) -> Result<(), Broken> {
    let (mut first, mut wrapped) = (true, false);
    elements(pieces, limit, |entry| {
        let (key, value) = key_value(entry, limit - 1)?;
        if first && key.starts_with(b"$") {
            wrapped = true;
            out.push_str("{\"$map\":");
        }
        write_entry(out, std::mem::take(&mut first), key)?;
        // The value of an entry is one message further in; where there is none, it is null.
        write(out, &value, limit.saturating_sub(2))
    })?;
    if first {
        out.push('{');
    }
    out.push_str(if wrapped { "}}" } else { "}" });
    Ok(())
}

fn write_entry(out: &mut String, first: bool, key: &[u8]) -> Result<(), Broken> {
    out.push(if first { '{' } else { ',' });
    write_string(out, text(key)?);
    out.push(':');
    Ok(())
}

/// Builds the text of one object, entry by entry; the text stays empty where there are none.
#[derive(Debug, Default)]
pub(super) struct ObjectText(String);

impl ObjectText {
    /// Appends an entry whose value was read with this limit.
    pub(super) fn push(&mut self, key: &[u8], value: &Value<'_>, limit: u32) -> Result<(), Broken> {
        let first = self.0.is_empty();
        write_entry(&mut self.0, first, key)?;
        write(&mut self.0, value, limit)
    }

    /// Hands the text to `take`, `None` where there were no entries, and starts anew.
    pub(super) fn finish<T>(&mut self, take: impl FnOnce(Option<&[u8]>) -> T) -> T {
        if self.0.is_empty() {
            return take(None);
        }
        self.0.push('}');
        let taken = take(Some(self.0.as_bytes()));
        self.0.clear();
        taken
    }

    /// The text, which is empty where there were no entries.
    pub(super) fn take(mut self) -> String {
        if !self.0.is_empty() {
            self.0.push('}');
        }
        self.0
    }

    /// Appends `KeyValue` messages; `limit` is that within them.
    pub(super) fn push_all(&mut self, entries: &[&[u8]], limit: u32) -> Result<(), Broken> {
        entries.iter().try_for_each(|entry| {
            let (key, value) = key_value(entry, limit)?;
            self.push(key, &value, limit.saturating_sub(1))
        })
    }
}
