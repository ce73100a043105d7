//! The messages of OTLP: field numbers, names in JSON, and what they hold.
//!
//! Invariant: [`check`] accepts what `prost` accepts: whole requests before anything is made of
//! them, and bytes that no row is made of, such as values that a later one replaced. The names are
//! for OTLP/JSON, which is turned into protobuf first.

mod profiles;

use icecore_store::Signal;

use super::value::{self, Scalar};
use super::wire::{Broken, Reader, check_text};

/// The fields of one message.
#[derive(Debug)]
pub(super) struct Shape {
    fields: &'static [Field],
    /// For each field number, its place in `fields` plus one; 0 where there is none.
    places: [u8; NUMBERS],
}

/// Above all field numbers.
const NUMBERS: usize = 17;

#[derive(Debug)]
pub(super) struct Field {
    pub(super) number: u32,
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

/// What a field holds; the plural ones are repeated.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Text,
    Texts,
    /// Bytes that JSON has as hex.
    Id,
    /// Bytes that JSON has as base64.
    Bytes,
    Bool,
    /// Enumerations, too.
    Int32,
    /// Packed or not, as all plural numbers.
    Int32s,
    Uint32,
    Sint32,
    Int64,
    Int64s,
    Uint64,
    Fixed32,
    Fixed64,
    Sfixed64,
    Double,
    Uint64s,
    Fixed64s,
    Doubles,
    Message(&'static Shape),
    Messages(&'static Shape),
}

use Kind::{
    Bool, Bytes, Double, Doubles, Fixed32, Fixed64, Fixed64s, Id, Int32, Int32s, Int64, Int64s,
    Message, Messages, Sfixed64, Sint32, Text, Texts, Uint32, Uint64, Uint64s,
};

/// The export request of a signal.
pub(super) fn request(signal: Signal) -> &'static Shape {
    match signal {
        Signal::Traces => &TRACES,
        Signal::Metrics => &METRICS,
        Signal::Logs => &LOGS,
        Signal::Profiles => &profiles::REQUEST,
    }
}

const fn field(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind }
}

#[expect(clippy::cast_possible_truncation, reason = "no message has 255 fields")]
const fn shape(fields: &'static [Field]) -> Shape {
    let (mut places, mut at) = ([0; NUMBERS], 0);
    while at < fields.len() {
        places[fields[at].number as usize] = at as u8 + 1;
        at += 1;
    }
    Shape { fields, places }
}

impl Shape {
    pub(super) fn named(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    #[inline]
    pub(super) fn numbered(&self, number: u32) -> Option<&'static Field> {
        let place = self.places.get(usize::try_from(number).ok()?)?;
        self.fields.get(usize::from(*place).checked_sub(1)?)
    }
}

static TRACES: Shape = shape(&[field(1, "resourceSpans", Messages(&RESOURCE_SPANS))]);

static RESOURCE_SPANS: Shape = shape(&[
    field(1, "resource", Message(&RESOURCE)),
    field(2, "scopeSpans", Messages(&SCOPE_SPANS)),
    field(3, "schemaUrl", Text),
]);

static SCOPE_SPANS: Shape = shape(&[
    field(1, "scope", Message(&SCOPE)),
    field(2, "spans", Messages(&SPAN)),
    field(3, "schemaUrl", Text),
]);

static METRICS: Shape = shape(&[field(1, "resourceMetrics", Messages(&RESOURCE_METRICS))]);

static RESOURCE_METRICS: Shape = shape(&[
    field(1, "resource", Message(&RESOURCE)),
    field(2, "scopeMetrics", Messages(&SCOPE_METRICS)),
    field(3, "schemaUrl", Text),
]);

static SCOPE_METRICS: Shape = shape(&[
    field(1, "scope", Message(&SCOPE)),
    field(2, "metrics", Messages(&METRIC)),
    field(3, "schemaUrl", Text),
]);

static LOGS: Shape = shape(&[field(1, "resourceLogs", Messages(&RESOURCE_LOGS))]);

static RESOURCE_LOGS: Shape = shape(&[
    field(1, "resource", Message(&RESOURCE)),
    field(2, "scopeLogs", Messages(&SCOPE_LOGS)),
    field(3, "schemaUrl", Text),
]);

static SCOPE_LOGS: Shape = shape(&[
    field(1, "scope", Message(&SCOPE)),
    field(2, "logRecords", Messages(&LOG_RECORD)),
    field(3, "schemaUrl", Text),
]);

pub(super) static RESOURCE: Shape = shape(&[
    field(1, "attributes", Messages(&KEY_VALUE)),
    field(2, "droppedAttributesCount", Uint32),
    field(3, "entityRefs", Messages(&ENTITY_REF)),
]);

static ENTITY_REF: Shape = shape(&[
    field(1, "schemaUrl", Text),
    field(2, "type", Text),
    field(3, "idKeys", Texts),
    field(4, "descriptionKeys", Texts),
]);

pub(super) static SCOPE: Shape = shape(&[
    field(1, "name", Text),
    field(2, "version", Text),
    field(3, "attributes", Messages(&KEY_VALUE)),
    field(4, "droppedAttributesCount", Uint32),
]);

pub(super) static KEY_VALUE: Shape = shape(&[
    field(1, "key", Text),
    field(2, "value", Message(&ANY_VALUE)),
    field(3, "keyStrindex", Int32),
]);

pub(super) static ANY_VALUE: Shape = shape(&[
    field(1, "stringValue", Text),
    field(2, "boolValue", Bool),
    field(3, "intValue", Int64),
    field(4, "doubleValue", Double),
    field(5, "arrayValue", Message(&ARRAY)),
    field(6, "kvlistValue", Message(&MAP)),
    field(7, "bytesValue", Bytes),
    field(8, "stringValueStrindex", Int32),
]);

pub(super) static ARRAY: Shape = shape(&[field(1, "values", Messages(&ANY_VALUE))]);

pub(super) static MAP: Shape = shape(&[field(1, "values", Messages(&KEY_VALUE))]);

pub(super) static SPAN: Shape = shape(&[
    field(1, "traceId", Id),
    field(2, "spanId", Id),
    field(3, "traceState", Text),
    field(4, "parentSpanId", Id),
    field(5, "name", Text),
    field(6, "kind", Int32),
    field(7, "startTimeUnixNano", Fixed64),
    field(8, "endTimeUnixNano", Fixed64),
    field(9, "attributes", Messages(&KEY_VALUE)),
    field(10, "droppedAttributesCount", Uint32),
    field(11, "events", Messages(&EVENT)),
    field(12, "droppedEventsCount", Uint32),
    field(13, "links", Messages(&LINK)),
    field(14, "droppedLinksCount", Uint32),
    field(15, "status", Message(&STATUS)),
    field(16, "flags", Fixed32),
]);

static EVENT: Shape = shape(&[
    field(1, "timeUnixNano", Fixed64),
    field(2, "name", Text),
    field(3, "attributes", Messages(&KEY_VALUE)),
    field(4, "droppedAttributesCount", Uint32),
]);

static LINK: Shape = shape(&[
    field(1, "traceId", Id),
    field(2, "spanId", Id),
    field(3, "traceState", Text),
    field(4, "attributes", Messages(&KEY_VALUE)),
    field(5, "droppedAttributesCount", Uint32),
    field(6, "flags", Fixed32),
]);

static STATUS: Shape = shape(&[field(2, "message", Text), field(3, "code", Int32)]);

pub(super) static LOG_RECORD: Shape = shape(&[
    field(1, "timeUnixNano", Fixed64),
    field(2, "severityNumber", Int32),
    field(3, "severityText", Text),
    field(5, "body", Message(&ANY_VALUE)),
    field(6, "attributes", Messages(&KEY_VALUE)),
    field(7, "droppedAttributesCount", Uint32),
    field(8, "flags", Fixed32),
    field(9, "traceId", Id),
    field(10, "spanId", Id),
    field(11, "observedTimeUnixNano", Fixed64),
    field(12, "eventName", Text),
]);

pub(super) static METRIC: Shape = shape(&[
    field(1, "name", Text),
    field(2, "description", Text),
    field(3, "unit", Text),
    field(5, "gauge", Message(&GAUGE)),
    field(7, "sum", Message(&SUM)),
    field(9, "histogram", Message(&HISTOGRAM)),
    field(10, "exponentialHistogram", Message(&EXPONENTIAL)),
    field(11, "summary", Message(&SUMMARY)),
    field(12, "metadata", Messages(&KEY_VALUE)),
]);

pub(super) static GAUGE: Shape = shape(&[field(1, "dataPoints", Messages(&NUMBER_POINT))]);

pub(super) static SUM: Shape = shape(&[
    field(1, "dataPoints", Messages(&NUMBER_POINT)),
    field(2, "aggregationTemporality", Int32),
    field(3, "isMonotonic", Bool),
]);

pub(super) static HISTOGRAM: Shape = shape(&[
    field(1, "dataPoints", Messages(&HISTOGRAM_POINT)),
    field(2, "aggregationTemporality", Int32),
]);

pub(super) static EXPONENTIAL: Shape = shape(&[
    field(1, "dataPoints", Messages(&EXPONENTIAL_POINT)),
    field(2, "aggregationTemporality", Int32),
]);

pub(super) static SUMMARY: Shape = shape(&[field(1, "dataPoints", Messages(&SUMMARY_POINT))]);

pub(super) static NUMBER_POINT: Shape = shape(&[
    field(2, "startTimeUnixNano", Fixed64),
    field(3, "timeUnixNano", Fixed64),
    field(4, "asDouble", Double),
    field(5, "exemplars", Messages(&EXEMPLAR)),
    field(6, "asInt", Sfixed64),
    field(7, "attributes", Messages(&KEY_VALUE)),
    field(8, "flags", Uint32),
]);

pub(super) static HISTOGRAM_POINT: Shape = shape(&[
    field(2, "startTimeUnixNano", Fixed64),
    field(3, "timeUnixNano", Fixed64),
    field(4, "count", Fixed64),
    field(5, "sum", Double),
    field(6, "bucketCounts", Fixed64s),
    field(7, "explicitBounds", Doubles),
    field(8, "exemplars", Messages(&EXEMPLAR)),
    field(9, "attributes", Messages(&KEY_VALUE)),
    field(10, "flags", Uint32),
    field(11, "min", Double),
    field(12, "max", Double),
]);

pub(super) static EXPONENTIAL_POINT: Shape = shape(&[
    field(1, "attributes", Messages(&KEY_VALUE)),
    field(2, "startTimeUnixNano", Fixed64),
    field(3, "timeUnixNano", Fixed64),
    field(4, "count", Fixed64),
    field(5, "sum", Double),
    field(6, "scale", Sint32),
    field(7, "zeroCount", Fixed64),
    field(8, "positive", Message(&BUCKETS)),
    field(9, "negative", Message(&BUCKETS)),
    field(10, "flags", Uint32),
    field(11, "exemplars", Messages(&EXEMPLAR)),
    field(12, "min", Double),
    field(13, "max", Double),
    field(14, "zeroThreshold", Double),
]);

static BUCKETS: Shape = shape(&[field(1, "offset", Sint32), field(2, "bucketCounts", Uint64s)]);

pub(super) static SUMMARY_POINT: Shape = shape(&[
    field(2, "startTimeUnixNano", Fixed64),
    field(3, "timeUnixNano", Fixed64),
    field(4, "count", Fixed64),
    field(5, "sum", Double),
    field(6, "quantileValues", Messages(&QUANTILE)),
    field(7, "attributes", Messages(&KEY_VALUE)),
    field(8, "flags", Uint32),
]);

static QUANTILE: Shape = shape(&[field(1, "quantile", Double), field(2, "value", Double)]);

static EXEMPLAR: Shape = shape(&[
    field(2, "timeUnixNano", Fixed64),
    field(3, "asDouble", Double),
    field(4, "spanId", Id),
    field(5, "traceId", Id),
    field(6, "asInt", Sfixed64),
    field(7, "filteredAttributes", Messages(&KEY_VALUE)),
]);

/// Whether the bytes are a message of this shape.
pub(super) fn check(shape: &Shape, bytes: &[u8], limit: u32) -> Result<(), Broken> {
    let mut reader = Reader::new(bytes, limit);
    while let Some(key) = reader.key()? {
        let Some(field) = shape.numbered(key >> 3) else {
            reader.skip(key, 0)?;
            continue;
        };
        match (field.kind, key & 7) {
            (Bool | Int32 | Uint32 | Sint32 | Int64 | Uint64, 0) => drop(reader.varint()?),
            (Int32s | Int64s | Uint64s, 0) => drop(reader.varint()?),
            (Fixed64 | Sfixed64 | Double | Fixed64s | Doubles, 1) => drop(reader.fixed64()?),
            (Fixed32, 5) => drop(reader.fixed32()?),
            (Id | Bytes, 2) => drop(reader.bytes()?),
            (Text | Texts, 2) => check_text(reader.bytes()?)?,
            // Most of a request.
            (Messages(inner), 2) if std::ptr::eq(inner, &raw const KEY_VALUE) => {
                check_entry(reader.message()?, limit - 1)?;
            }
            (Message(inner) | Messages(inner), 2) => check(inner, reader.message()?, limit - 1)?,
            (Int32s | Int64s | Uint64s, 2) => {
                check_packed(reader.bytes()?, |packed| packed.varint())?
            }
            (Fixed64s | Doubles, 2) => check_packed(reader.bytes()?, |packed| packed.fixed64())?,
            _ => return Err(Broken::at("field has another wire type", bytes)),
        }
    }
    Ok(())
}

/// A `KeyValue`; `limit` is that within it.
#[inline]
fn check_entry(bytes: &[u8], limit: u32) -> Result<(), Broken> {
    match value::simple(bytes) {
        Some((key, scalar)) if limit >= ENTRY_DEPTH => {
            check_text(key)?;
            match scalar {
                Scalar::Text(bytes) => check_text(bytes),
                Scalar::Bool(_) | Scalar::Int(_) | Scalar::Double(_) => Ok(()),
            }
        }
        _ => check(&KEY_VALUE, bytes, limit),
    }
}

/// Messages within a simple `KeyValue`.
const ENTRY_DEPTH: u32 = 1;

fn check_packed(
    bytes: &[u8],
    next: impl Fn(&mut Reader<'_>) -> Result<u64, Broken>,
) -> Result<(), Broken> {
    let mut packed = Reader::new(bytes, 0);
    while !packed.at_end() {
        next(&mut packed)?;
    }
    Ok(())
}
