//! OTLP/JSON to the protobuf of the same request, by the table of messages in `shape`.
//!
//! The published serde types were weighed and are what this is tested against. They refuse much
//! that the specification of OTLP/JSON, or that of proto3 JSON behind it, lets senders write: null
//! for any field, `{}` for an empty array, `NaN` among bounds, small numbers as texts, base64
//! without padding; and they round doubles, since `serde_json` does.
//!
//! Invariant: what is written is valid protobuf of the request, whatever the JSON was.

mod scalar;

use std::fmt;

use icecore_store::Signal;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

use super::DecodeError;
use super::shape::{self, Field, Kind, Shape};

/// Turns the JSON of a request into protobuf.
pub(super) fn to_protobuf(signal: Signal, body: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let refuse = |fault, place| DecodeError::Json { signal, fault, place };
    let text = std::str::from_utf8(body).map_err(|invalid| {
        refuse("text is not UTF-8".to_owned(), format!("byte {}", invalid.valid_up_to()))
    })?;
    let mut writer = Writer::default();
    let mut json = serde_json::Deserializer::from_str(text);
    let message = MessageSeed { writer: &mut writer, shape: shape::request(signal) };
    let read = message.deserialize(&mut json).and_then(|present| {
        json.end()?;
        if present { Ok(()) } else { Err(serde_json::Error::custom("null is no request")) }
    });
    match read {
        Ok(()) => Ok(writer.out),
        Err(error) => Err(refuse(error.to_string(), writer.place())),
    }
}

/// The protobuf so far, and where in the JSON the reader is.
#[derive(Debug, Default)]
struct Writer {
    out: Vec<u8>,
    path: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Field(&'static str),
    Item(usize),
}

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const DELIMITED: u32 = 2;
const FIXED32: u32 = 5;

impl Writer {
    /// `$.resourceSpans[0].resource`
    fn place(&self) -> String {
        let mut place = "$".to_owned();
        for step in &self.path {
            match step {
                Step::Field(name) => place.extend([".", name]),
                Step::Item(at) => place.push_str(&format!("[{at}]")),
            }
        }
        place
    }

    fn varint(&mut self, number: u64) {
        prost::encoding::encode_varint(number, &mut self.out);
    }

    fn key(&mut self, field: &Field, wire_type: u32) {
        self.varint(u64::from((field.number << 3) | wire_type));
    }

    /// Writes what `content` appends behind its length.
    fn delimited<E>(&mut self, content: impl FnOnce(&mut Self) -> Result<(), E>) -> Result<(), E> {
        let start = self.out.len();
        content(self)?;
        let mut length = Vec::with_capacity(10);
        prost::encoding::encode_varint((self.out.len() - start) as u64, &mut length);
        self.out.splice(start..start, length);
        Ok(())
    }

    fn scalar(&mut self, field: &Field, raw: &str) -> Result<(), String> {
        match field.kind {
            Kind::Fixed32 => self.key(field, FIXED32),
            Kind::Fixed64 | Kind::Sfixed64 | Kind::Double => self.key(field, FIXED64),
            Kind::Bool | Kind::Int32 | Kind::Uint32 | Kind::Sint32 | Kind::Int64 | Kind::Uint64 => {
                self.key(field, VARINT);
            }
            _ => {
                self.key(field, DELIMITED);
                return self.delimited(|writer| scalar::write(&mut writer.out, field.kind, raw));
            }
        }
        scalar::write(&mut self.out, field.kind, raw)
    }
}

/// Reads an object as a message; gives back `false` for null.
struct MessageSeed<'w> {
    writer: &'w mut Writer,
    shape: &'static Shape,
}

impl<'de> DeserializeSeed<'de> for MessageSeed<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for MessageSeed<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        while let Some(field) = map.next_key_seed(NameSeed(self.shape))? {
            let Some(field) = field else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            self.writer.path.push(Step::Field(field.name));
            put_field(self.writer, field, &mut map)?;
            self.writer.path.pop();
        }
        Ok(true)
    }
}

fn put_field<'de, A: MapAccess<'de>>(
    writer: &mut Writer,
    field: &'static Field,
    map: &mut A,
) -> Result<(), A::Error> {
    match field.kind {
        Kind::Message(shape) => {
            let before = writer.out.len();
            let mut present = false;
            writer.key(field, DELIMITED);
            writer.delimited(|writer| {
                present = map.next_value_seed(MessageSeed { writer, shape })?;
                Ok(())
            })?;
            if !present {
                writer.out.truncate(before);
            }
            Ok(())
        }
        Kind::Messages(_) | Kind::Texts => map.next_value_seed(ListSeed { writer, field }),
        Kind::Int32s | Kind::Int64s | Kind::Uint64s | Kind::Fixed64s | Kind::Doubles => {
            writer.key(field, DELIMITED);
            writer.delimited(|writer| map.next_value_seed(ListSeed { writer, field }))
        }
        _ => match map.next_value::<&RawValue>()?.get() {
            "null" => Ok(()),
            raw => writer.scalar(field, raw).map_err(A::Error::custom),
        },
    }
}

/// The field of a name; `None` where there is none: unknown fields are passed over.
struct NameSeed(&'static Shape);

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Option<&'static Field>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed {
    type Value = Option<&'static Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.named(name))
    }
}

/// Reads an array into a repeated field, key and all but where the numbers are packed; null is
/// an array without items.
struct ListSeed<'w> {
    writer: &'w mut Writer,
    field: &'static Field,
}

impl<'de> DeserializeSeed<'de> for ListSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ListSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { writer, field } = self;
        for at in 0.. {
            writer.path.push(Step::Item(at));
            if !put_item(writer, field, &mut seq)? {
                writer.path.pop();
                break;
            }
            writer.path.pop();
        }
        Ok(())
    }
}

/// One item; `false` where there is none any more. A null among messages is an empty one.
fn put_item<'de, A: SeqAccess<'de>>(
    writer: &mut Writer,
    field: &'static Field,
    seq: &mut A,
) -> Result<bool, A::Error> {
    if let Kind::Messages(shape) = field.kind {
        let before = writer.out.len();
        let mut more = false;
        writer.key(field, DELIMITED);
        writer.delimited(|writer| {
            more = seq.next_element_seed(MessageSeed { writer, shape })?.is_some();
            Ok(())
        })?;
        if !more {
            writer.out.truncate(before);
        }
        return Ok(more);
    }
    let Some(raw) = seq.next_element::<&RawValue>()? else { return Ok(false) };
    let written = match field.kind {
        Kind::Texts => writer.scalar(field, raw.get()),
        kind => scalar::write(&mut writer.out, kind, raw.get()),
    };
    written.map(|()| true).map_err(A::Error::custom)
}
