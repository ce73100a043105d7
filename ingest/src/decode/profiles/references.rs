//! Messages whose texts are in the dictionary, as they would be with the texts in them.
//!
//! Invariant: what is written is the message as it came, but for fields that refer to the dictionary: these
//! are the texts that they refer to. Keys and values of attributes may do so, at any depth.

use super::super::shape::{ANY_VALUE, KEY_VALUE, Kind, Shape};
use super::super::wire::{Broken, LIMIT, Reader, varint};
use super::dictionary::Dictionary;
use super::fault::{Budget, Fault};
use super::text::written_max;

const KEY: u32 = 1;
const KEY_INDEX: u32 = varint(3);
const TEXT: u32 = 1;
const TEXT_INDEX: u32 = varint(8);

/// Whether a message refers to the dictionary.
pub(super) fn any(shape: &Shape, bytes: &[u8]) -> Result<bool, Broken> {
    let mut reader = Reader::new(bytes, LIMIT);
    while let Some(key) = reader.key()? {
        let refers = match (key, inner(shape, key)) {
            (KEY_INDEX, _) if is(shape, &KEY_VALUE) => reader.int32()? != 0,
            (TEXT_INDEX, _) if is(shape, &ANY_VALUE) => {
                reader.int32()?;
                true
            }
            (_, Some(inner)) => any(inner, reader.bytes()?)?,
            _ => {
                reader.skip(key, 0)?;
                false
            }
        };
        if refers {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Appends a message without references; the texts referred to are paid for.
pub(super) fn write(
    out: &mut Vec<u8>,
    shape: &Shape,
    bytes: &[u8],
    dictionary: &Dictionary<'_>,
    budget: &mut Budget,
) -> Result<(), Fault> {
    let key_index = if is(shape, &KEY_VALUE) { key_index(bytes)? } else { 0 };
    if key_index != 0 {
        put_text(out, KEY, dictionary.string("key_strindex", key_index)?, budget)?;
    }
    let mut reader = Reader::new(bytes, LIMIT);
    loop {
        let before = reader.rest();
        let Some(key) = reader.key()? else { return Ok(()) };
        match (key, inner(shape, key)) {
            (TEXT_INDEX, _) if is(shape, &ANY_VALUE) => {
                let text = dictionary.string("string_value_strindex", reader.int32()?)?;
                put_text(out, TEXT, text, budget)?;
            }
            (_, Some(inner)) => {
                let mut message = Vec::new();
                write(&mut message, inner, reader.bytes()?, dictionary, budget)?;
                put(out, key >> 3, &message);
            }
            _ => {
                reader.skip(key, 0)?;
                // The key beside a reference is none.
                let replaced = key_index != 0 && (key >> 3 == KEY || key == KEY_INDEX);
                if !replaced {
                    out.extend_from_slice(&before[..before.len() - reader.rest().len()]);
                }
            }
        }
    }
}

fn put_text(out: &mut Vec<u8>, field: u32, text: &[u8], budget: &mut Budget) -> Result<(), Fault> {
    budget.spend_attributes(written_max(text))?;
    put(out, field, text);
    Ok(())
}

/// Appends a field that says its length.
pub(super) fn put(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    prost::encoding::encode_varint(u64::from((field << 3) | 2), out);
    prost::encoding::encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// The last that a `KeyValue` says of its key.
fn key_index(bytes: &[u8]) -> Result<i32, Broken> {
    let mut index = 0;
    let mut reader = Reader::new(bytes, LIMIT);
    while let Some(key) = reader.key()? {
        match key {
            KEY_INDEX => index = reader.int32()?,
            _ => reader.skip(key, 0)?,
        }
    }
    Ok(index)
}

fn is(shape: &Shape, other: &'static Shape) -> bool {
    std::ptr::eq(shape, other)
}

/// The shape of the message in a field, where it is one.
fn inner(shape: &Shape, key: u32) -> Option<&'static Shape> {
    match shape.numbered(key >> 3)?.kind {
        Kind::Message(inner) | Kind::Messages(inner) if key & 7 == 2 => Some(inner),
        _ => None,
    }
}
