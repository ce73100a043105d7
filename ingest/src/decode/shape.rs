//! The messages of OTLP, as far as telling good bytes from bad ones needs it.
//!
//! Invariant: [`check`] accepts what `prost` accepts. It is for bytes that no row is made of:
//! rejected items, values that a later one replaced, resources without rows. Slow and small.

use icecore_store::Signal;

use super::wire::{Broken, Reader, text};

/// Field numbers and what they hold.
#[derive(Debug)]
pub(super) struct Shape(&'static [(u32, Kind)]);

#[derive(Debug)]
enum Kind {
    Varint,
    Fixed32,
    Fixed64,
    Bytes,
    Text,
    Varints,
    Fixed64s,
    Message(&'static Shape),
}

use Kind::{Bytes, Fixed32, Fixed64, Fixed64s, Message, Text, Varint, Varints};

/// The export request of a signal.
pub(super) fn request(signal: Signal) -> &'static Shape {
    match signal {
        Signal::Traces => &TRACES,
        Signal::Metrics => &METRICS,
        Signal::Logs => &LOGS,
    }
}

static TRACES: Shape = Shape(&[(1, Message(&RESOURCE_SPANS))]);
static METRICS: Shape = Shape(&[(1, Message(&RESOURCE_METRICS))]);
static LOGS: Shape = Shape(&[(1, Message(&RESOURCE_LOGS))]);
static RESOURCE_SPANS: Shape =
    Shape(&[(1, Message(&RESOURCE)), (2, Message(&SCOPE_SPANS)), (3, Text)]);
static SCOPE_SPANS: Shape = Shape(&[(1, Message(&SCOPE)), (2, Message(&SPAN)), (3, Text)]);
static RESOURCE_METRICS: Shape =
    Shape(&[(1, Message(&RESOURCE)), (2, Message(&SCOPE_METRICS)), (3, Text)]);
static SCOPE_METRICS: Shape = Shape(&[(1, Message(&SCOPE)), (2, Message(&METRIC)), (3, Text)]);
static RESOURCE_LOGS: Shape =
    Shape(&[(1, Message(&RESOURCE)), (2, Message(&SCOPE_LOGS)), (3, Text)]);
static SCOPE_LOGS: Shape = Shape(&[(1, Message(&SCOPE)), (2, Message(&LOG_RECORD)), (3, Text)]);

pub(super) static RESOURCE: Shape =
    Shape(&[(1, Message(&KEY_VALUE)), (2, Varint), (3, Message(&ENTITY_REF))]);
static ENTITY_REF: Shape = Shape(&[(1, Text), (2, Text), (3, Text), (4, Text)]);
pub(super) static SCOPE: Shape =
    Shape(&[(1, Text), (2, Text), (3, Message(&KEY_VALUE)), (4, Varint)]);
pub(super) static KEY_VALUE: Shape = Shape(&[(1, Text), (2, Message(&ANY_VALUE)), (3, Varint)]);
static ANY_VALUE: Shape = Shape(&[
    (1, Text),
    (2, Varint),
    (3, Varint),
    (4, Fixed64),
    (5, Message(&ARRAY)),
    (6, Message(&MAP)),
    (7, Bytes),
    (8, Varint),
]);
pub(super) static ARRAY: Shape = Shape(&[(1, Message(&ANY_VALUE))]);
pub(super) static MAP: Shape = Shape(&[(1, Message(&KEY_VALUE))]);

pub(super) static SPAN: Shape = Shape(&[
    (1, Bytes),
    (2, Bytes),
    (3, Text),
    (4, Bytes),
    (5, Text),
    (6, Varint),
    (7, Fixed64),
    (8, Fixed64),
    (9, Message(&KEY_VALUE)),
    (10, Varint),
    (11, Message(&EVENT)),
    (12, Varint),
    (13, Message(&LINK)),
    (14, Varint),
    (15, Message(&STATUS)),
    (16, Fixed32),
]);
static EVENT: Shape = Shape(&[(1, Fixed64), (2, Text), (3, Message(&KEY_VALUE)), (4, Varint)]);
static LINK: Shape = Shape(&[
    (1, Bytes),
    (2, Bytes),
    (3, Text),
    (4, Message(&KEY_VALUE)),
    (5, Varint),
    (6, Fixed32),
]);
static STATUS: Shape = Shape(&[(2, Text), (3, Varint)]);

pub(super) static LOG_RECORD: Shape = Shape(&[
    (1, Fixed64),
    (2, Varint),
    (3, Text),
    (5, Message(&ANY_VALUE)),
    (6, Message(&KEY_VALUE)),
    (7, Varint),
    (8, Fixed32),
    (9, Bytes),
    (10, Bytes),
    (11, Fixed64),
    (12, Text),
]);

pub(super) static METRIC: Shape = Shape(&[
    (1, Text),
    (2, Text),
    (3, Text),
    (5, Message(&GAUGE)),
    (7, Message(&SUM)),
    (9, Message(&HISTOGRAM)),
    (10, Message(&EXPONENTIAL)),
    (11, Message(&SUMMARY)),
    (12, Message(&KEY_VALUE)),
]);
pub(super) static GAUGE: Shape = Shape(&[(1, Message(&NUMBER_POINT))]);
pub(super) static SUM: Shape = Shape(&[(1, Message(&NUMBER_POINT)), (2, Varint), (3, Varint)]);
pub(super) static HISTOGRAM: Shape = Shape(&[(1, Message(&HISTOGRAM_POINT)), (2, Varint)]);
pub(super) static EXPONENTIAL: Shape = Shape(&[(1, Message(&EXPONENTIAL_POINT)), (2, Varint)]);
pub(super) static SUMMARY: Shape = Shape(&[(1, Message(&SUMMARY_POINT))]);
pub(super) static NUMBER_POINT: Shape = Shape(&[
    (2, Fixed64),
    (3, Fixed64),
    (4, Fixed64),
    (5, Message(&EXEMPLAR)),
    (6, Fixed64),
    (7, Message(&KEY_VALUE)),
    (8, Varint),
]);
pub(super) static HISTOGRAM_POINT: Shape = Shape(&[
    (2, Fixed64),
    (3, Fixed64),
    (4, Fixed64),
    (5, Fixed64),
    (6, Fixed64s),
    (7, Fixed64s),
    (8, Message(&EXEMPLAR)),
    (9, Message(&KEY_VALUE)),
    (10, Varint),
    (11, Fixed64),
    (12, Fixed64),
]);
pub(super) static EXPONENTIAL_POINT: Shape = Shape(&[
    (1, Message(&KEY_VALUE)),
    (2, Fixed64),
    (3, Fixed64),
    (4, Fixed64),
    (5, Fixed64),
    (6, Varint),
    (7, Fixed64),
    (8, Message(&BUCKETS)),
    (9, Message(&BUCKETS)),
    (10, Varint),
    (11, Message(&EXEMPLAR)),
    (12, Fixed64),
    (13, Fixed64),
    (14, Fixed64),
]);
static BUCKETS: Shape = Shape(&[(1, Varint), (2, Varints)]);
pub(super) static SUMMARY_POINT: Shape = Shape(&[
    (2, Fixed64),
    (3, Fixed64),
    (4, Fixed64),
    (5, Fixed64),
    (6, Message(&QUANTILE)),
    (7, Message(&KEY_VALUE)),
    (8, Varint),
]);
static QUANTILE: Shape = Shape(&[(1, Fixed64), (2, Fixed64)]);
static EXEMPLAR: Shape = Shape(&[
    (2, Fixed64),
    (3, Fixed64),
    (4, Bytes),
    (5, Bytes),
    (6, Fixed64),
    (7, Message(&KEY_VALUE)),
]);

/// Whether the bytes are a message of this shape.
pub(super) fn check(shape: &Shape, bytes: &[u8], limit: u32) -> Result<(), Broken> {
    let mut reader = Reader::new(bytes, limit);
    while let Some(key) = reader.key()? {
        let field = shape.0.iter().find(|(number, _)| *number == key >> 3);
        match (field.map(|(_, kind)| kind), key & 7) {
            (None, _) => reader.skip(key, 0)?,
            (Some(Varint | Varints), 0) => drop(reader.varint()?),
            (Some(Fixed64 | Fixed64s), 1) => drop(reader.fixed64()?),
            (Some(Fixed32), 5) => drop(reader.fixed32()?),
            (Some(Bytes), 2) => drop(reader.bytes()?),
            (Some(Text), 2) => drop(text(reader.bytes()?)?),
            (Some(Message(inner)), 2) => check(inner, reader.message()?, limit - 1)?,
            (Some(Varints), 2) => {
                check_packed(reader.bytes()?, |packed| packed.varint().map(drop))?
            }
            (Some(Fixed64s), 2) => {
                check_packed(reader.bytes()?, |packed| packed.fixed64().map(drop))?;
            }
            (Some(_), _) => return Err(Broken::at("field has another wire type", bytes)),
        }
    }
    Ok(())
}

fn check_packed(
    bytes: &[u8],
    next: impl Fn(&mut Reader<'_>) -> Result<(), Broken>,
) -> Result<(), Broken> {
    let mut packed = Reader::new(bytes, 0);
    while !packed.at_end() {
        next(&mut packed)?;
    }
    Ok(())
}
