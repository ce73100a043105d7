//! A span as OTLP has it on the wire, written once.
//!
//! Invariants: what is written reads back as the span of OTLP that it stands for; fields may come in any
//! order, so that what is known last is written last. A tree of structs for the same costs an allocation for each key and value.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use super::attribute::{Attribute, Value};

/// Numbers of the fields of `Span` in `opentelemetry/proto/trace/v1/trace.proto`.
mod field {
    pub(super) const TRACE_ID: u32 = 1;
    pub(super) const SPAN_ID: u32 = 2;
    pub(super) const TRACE_STATE: u32 = 3;
    pub(super) const PARENT_SPAN_ID: u32 = 4;
    pub(super) const NAME: u32 = 5;
    pub(super) const KIND: u32 = 6;
    pub(super) const START: u32 = 7;
    pub(super) const END: u32 = 8;
    pub(super) const ATTRIBUTES: u32 = 9;
    pub(super) const LINKS: u32 = 13;
    pub(super) const STATUS: u32 = 15;
    pub(super) const FLAGS: u32 = 16;
    /// Of `Link`; its ids have the numbers of those of a span.
    pub(super) const LINK_ATTRIBUTES: u32 = 4;
    /// Of `Status`.
    pub(super) const CODE: u32 = 3;
    /// Of `KeyValue`.
    pub(super) const KEY: u32 = 1;
    pub(super) const VALUE: u32 = 2;
    /// Of `AnyValue`.
    pub(super) const TEXT: u32 = 1;
    pub(super) const BOOLEAN: u32 = 2;
    pub(super) const INTEGER: u32 = 3;
    pub(super) const FRACTION: u32 = 4;
    pub(super) const ARRAY: u32 = 5;
    /// Of `ArrayValue`.
    pub(super) const VALUES: u32 = 1;
}

/// A span that may still get ids and attributes.
#[derive(Debug, Default)]
pub(crate) struct WireSpan(Vec<u8>);

impl WireSpan {
    pub(crate) fn named(&mut self, name: &str, kind: SpanKind, code: StatusCode) {
        let Self(bytes) = self;
        put_bytes(bytes, field::NAME, name.as_bytes());
        put_number(bytes, field::KIND, kind as u64);
        // One that is not set is there all the same, as `Status` without fields.
        let code = code as u64;
        let inside = if code == 0 { 0 } else { 1 + encoded_len_varint(code) };
        put_length(bytes, field::STATUS, inside);
        if code != 0 {
            put_number(bytes, field::CODE, code);
        }
    }

    /// Attributes, and nothing else yet.
    pub(crate) fn attributes<'a>(attributes: impl IntoIterator<Item = &'a Attribute>) -> Self {
        let mut span = Self::default();
        attributes.into_iter().for_each(|attribute| span.attribute(attribute));
        span
    }

    /// All that was written to that one as well.
    pub(crate) fn add_all(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// Nothing yet, with room for so many bytes.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// Nothing yet, in the same place.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// What it takes in memory.
    pub(crate) fn held_bytes(&self) -> usize {
        self.0.capacity()
    }

    pub(crate) fn times(&mut self, [start, end]: [u64; 2]) {
        for (number, time) in [(field::START, start), (field::END, end)] {
            encode_key(number, WireType::SixtyFourBit, &mut self.0);
            self.0.extend(time.to_le_bytes());
        }
    }

    pub(crate) fn attribute(&mut self, attribute: &Attribute) {
        put_attribute(&mut self.0, field::ATTRIBUTES, attribute);
    }

    /// The same as an attribute with this text.
    pub(crate) fn text(&mut self, key: &str, text: &str) {
        let inside = field_bytes(text.len());
        put_length(&mut self.0, field::ATTRIBUTES, field_bytes(key.len()) + field_bytes(inside));
        put_bytes(&mut self.0, field::KEY, key.as_bytes());
        put_length(&mut self.0, field::VALUE, inside);
        put_text(&mut self.0, field::TEXT, text.as_bytes());
    }

    /// A number with a fraction, which has no place among attributes that make series.
    pub(crate) fn fraction(&mut self, key: &str, value: f64) {
        put_length(&mut self.0, field::ATTRIBUTES, field_bytes(key.len()) + 2 + 9);
        put_bytes(&mut self.0, field::KEY, key.as_bytes());
        put_length(&mut self.0, field::VALUE, 9);
        encode_key(field::FRACTION, WireType::SixtyFourBit, &mut self.0);
        self.0.extend(value.to_le_bytes());
    }

    pub(crate) fn trace_state(&mut self, state: &str) {
        put_bytes(&mut self.0, field::TRACE_STATE, state.as_bytes());
    }

    /// The ids and their flags; no parent: the root of its trace.
    pub(crate) fn ids(&mut self, trace: &[u8], span: &[u8], parent: Option<&[u8]>, flags: u32) {
        put_bytes(&mut self.0, field::TRACE_ID, trace);
        put_bytes(&mut self.0, field::SPAN_ID, span);
        put_bytes(&mut self.0, field::PARENT_SPAN_ID, parent.unwrap_or_default());
        if flags != 0 {
            encode_key(field::FLAGS, WireType::ThirtyTwoBit, &mut self.0);
            self.0.extend(flags.to_le_bytes());
        }
    }

    /// A link to another span, with one attribute.
    pub(crate) fn link(&mut self, trace: &[u8], span: &[u8], attribute: &Attribute) {
        let mut inside = Vec::with_capacity(64);
        put_bytes(&mut inside, field::TRACE_ID, trace);
        put_bytes(&mut inside, field::SPAN_ID, span);
        put_attribute(&mut inside, field::LINK_ATTRIBUTES, attribute);
        put_bytes(&mut self.0, field::LINKS, &inside);
    }

    /// The message.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The bytes of a field of texts or of a message, whose number is below 16.
fn field_bytes(inside: usize) -> usize {
    1 + encoded_len_varint(inside as u64) + inside
}

fn put_length(out: &mut Vec<u8>, number: u32, inside: usize) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(inside as u64, out);
}

/// Left out where there is nothing, which means the same.
fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_text(out, number, bytes);
    }
}

fn put_text(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_length(out, number, bytes.len());
    out.extend_from_slice(bytes);
}

fn put_number(out: &mut Vec<u8>, number: u32, value: u64) {
    encode_key(number, WireType::Varint, out);
    encode_varint(value, out);
}

fn put_attribute(out: &mut Vec<u8>, number: u32, attribute: &Attribute) {
    let (key, value) = attribute.parts();
    let inside = value_bytes(value);
    put_length(out, number, field_bytes(key.len()) + field_bytes(inside));
    put_bytes(out, field::KEY, key.as_bytes());
    put_length(out, field::VALUE, inside);
    match value {
        Value::Text(text) => put_text(out, field::TEXT, text.as_bytes()),
        Value::Integer(whole) => put_number(out, field::INTEGER, whole.cast_unsigned()),
        Value::Boolean(truth) => put_number(out, field::BOOLEAN, u64::from(*truth)),
        Value::Texts(texts) => {
            put_length(out, field::ARRAY, texts_bytes(texts));
            for text in texts {
                put_length(out, field::VALUES, field_bytes(text.len()));
                put_text(out, field::TEXT, text.as_bytes());
            }
        }
    }
}

/// The bytes inside an `AnyValue`.
fn value_bytes(value: &Value) -> usize {
    match value {
        Value::Text(text) => field_bytes(text.len()),
        Value::Integer(whole) => 1 + encoded_len_varint(whole.cast_unsigned()),
        Value::Boolean(_) => 2,
        Value::Texts(texts) => field_bytes(texts_bytes(texts)),
    }
}

fn texts_bytes(texts: &[String]) -> usize {
    texts.iter().map(|text| field_bytes(field_bytes(text.len()))).sum()
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
    use opentelemetry_proto::tonic::trace::v1::span::Link;
    use opentelemetry_proto::tonic::trace::v1::{Span, Status};
    use prost::Message as _;

    use super::*;

    /// Scenario: spans with attributes of every type, empty, short and long, with and without ids, links, a
    /// trace state and an error.
    /// Guarantees: each reads back as the span of OTLP that was meant, and is as long.
    #[test]
    fn reads_back() {
        let long = "ä".repeat(40_000);
        let attributes = [
            Attribute::text("a", ""),
            Attribute::text("b", long.clone()),
            Attribute::integer("c", -1),
            Attribute::integer("d", 0),
            Attribute::integer("e", i64::MAX),
            Attribute::boolean("f", false),
            Attribute::boolean("g", true),
            Attribute::texts("h".repeat(200), vec![]),
            Attribute::texts("i".to_owned(), vec![String::new(), "x".to_owned(), long]),
        ];
        for count in 0..=attributes.len() {
            let some = &attributes[..count];
            let code = if count % 2 == 0 { StatusCode::Unset } else { StatusCode::Error };
            let mut span = WireSpan::with_capacity(10);
            span.named("other", SpanKind::Client, code);
            span.clear();
            span.named("name", SpanKind::Server, code);
            span.times([1, u64::MAX]);
            let (first, rest) = some.split_at(count.min(2));
            for attribute in first {
                let Value::Text(text) = attribute.parts().1 else { panic!("a text") };
                span.text(attribute.parts().0, text);
            }
            span.add_all(&WireSpan::attributes(rest));
            let mut wanted = Span {
                name: "name".to_owned(),
                kind: SpanKind::Server.into(),
                start_time_unix_nano: 1,
                end_time_unix_nano: u64::MAX,
                attributes: some.iter().cloned().map(KeyValue::from).collect(),
                status: Some(Status { message: String::new(), code: code.into() }),
                ..Span::default()
            };
            if count > 3 {
                span.trace_state("ot=th:8");
                span.ids(&[7; 16], &[8; 8], (count > 5).then_some(&[9; 8]), 0x301);
                span.link(&[1; 16], &[2; 8], &attributes[0]);
                span.fraction("n", 0.25);
                let value = AnyValue { value: Some(any_value::Value::DoubleValue(0.25)) };
                let key = "n".to_owned();
                wanted.attributes.push(KeyValue { key, value: Some(value), key_strindex: 0 });
                wanted.trace_state = "ot=th:8".to_owned();
                (wanted.trace_id, wanted.span_id) = (vec![7; 16], vec![8; 8]);
                wanted.parent_span_id = if count > 5 { vec![9; 8] } else { vec![] };
                wanted.flags = 0x301;
                wanted.links = vec![Link {
                    trace_id: vec![1; 16],
                    span_id: vec![2; 8],
                    attributes: vec![attributes[0].clone().into()],
                    ..Link::default()
                }];
            }
            let bytes = span.bytes();
            assert_eq!(Span::decode(bytes).unwrap(), wanted);
            assert_eq!(bytes.len(), wanted.encoded_len());
        }
    }
}
