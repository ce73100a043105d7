//! Documents: their elements one by one, and as a text.
//!
//! Invariant: pure; what is not there, or was cut off, ends a document and is no value; texts are
//! bounded, and without `whole` hold no value of a client's.

use std::fmt::Write as _;

/// Documents within documents that are shown.
const DEPTH_MAX: u32 = 16;

/// A value, as far as it is looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Text(&'a str),
    Number(f64),
    Whole(i64),
    Flag(bool),
    Null,
    Id(&'a [u8]),
    Document(Document<'a>),
    Array(Document<'a>),
    /// Something else.
    Other,
}

/// The elements of a document, of which the end may have been cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Document<'a> {
    rest: &'a [u8],
    /// All of it is there.
    pub(super) whole: bool,
}

/// The length that a document says it has.
pub(super) fn length(bytes: &[u8]) -> Option<usize> {
    let len = usize::try_from(i32::from_le_bytes(*bytes.first_chunk()?)).ok()?;
    (len >= 5).then_some(len)
}

fn fixed<'a, const N: usize>(bytes: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(taken)
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

/// A text up to the zero byte behind it.
pub(super) fn name<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    let end = memchr::memchr(0, bytes)?;
    let name = take(bytes, end)?;
    take(bytes, 1)?;
    std::str::from_utf8(name).ok()
}

impl<'a> Document<'a> {
    /// The document at the start of the bytes.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let len = length(bytes)?;
        let inside = bytes.get(4..len.min(bytes.len()))?;
        let whole = bytes.len() >= len;
        let rest = if whole { inside.strip_suffix(b"\0")? } else { inside };
        Some(Self { rest, whole })
    }

    fn next(&mut self) -> Option<(&'a str, Value<'a>)> {
        let (&kind, mut rest) = self.rest.split_first()?;
        let element = name(&mut rest)?;
        let value = value(kind, &mut rest)?;
        self.rest = rest;
        Some((element, value))
    }

    /// Its elements.
    pub(super) fn elements(mut self) -> impl Iterator<Item = (&'a str, Value<'a>)> {
        std::iter::from_fn(move || self.next())
    }

    pub(super) fn get(self, wanted: &str) -> Option<Value<'a>> {
        self.elements().find(|(name, _)| *name == wanted).map(|(_, value)| value)
    }

    pub(super) fn text(self, wanted: &str) -> Option<&'a str> {
        match self.get(wanted)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// How many elements there are; none where not all are there.
    pub(super) fn count(mut self) -> Option<u64> {
        let mut count = 0;
        while self.next().is_some() {
            count += 1;
        }
        (self.whole && self.rest.is_empty()).then_some(count)
    }
}

fn value<'a>(kind: u8, rest: &mut &'a [u8]) -> Option<Value<'a>> {
    Some(match kind {
        0x01 => Value::Number(f64::from_le_bytes(*fixed(rest)?)),
        0x02 | 0x0d | 0x0e => {
            let len = usize::try_from(i32::from_le_bytes(*fixed(rest)?)).ok()?;
            let text = take(rest, len)?.strip_suffix(b"\0")?;
            std::str::from_utf8(text).map_or(Value::Other, Value::Text)
        }
        0x03 | 0x04 => {
            let inner = Document::read(rest)?;
            *rest = rest.get(length(rest)?..).unwrap_or_default();
            if kind == 0x03 { Value::Document(inner) } else { Value::Array(inner) }
        }
        0x05 => {
            let len = usize::try_from(i32::from_le_bytes(*fixed(rest)?)).ok()?;
            take(rest, len.checked_add(1)?)?;
            Value::Other
        }
        0x07 => Value::Id(take(rest, 12)?),
        0x08 => Value::Flag(take(rest, 1)? == [1]),
        0x06 | 0x0a => Value::Null,
        0x09 | 0x12 => Value::Whole(i64::from_le_bytes(*fixed(rest)?)),
        0x10 => Value::Whole(i32::from_le_bytes(*fixed(rest)?).into()),
        0x0b => {
            name(rest)?;
            name(rest)?;
            Value::Other
        }
        0x11 | 0x13 => {
            take(rest, if kind == 0x11 { 8 } else { 16 })?;
            Value::Other
        }
        0x7f | 0xff => Value::Other,
        _ => return None,
    })
}

impl Value<'_> {
    /// As a number, whatever kind of number it is.
    pub(super) fn whole(self) -> Option<i64> {
        match self {
            Value::Whole(number) => Some(number),
            Value::Flag(flag) => Some(flag.into()),
            #[expect(clippy::cast_possible_truncation, reason = "it is checked")]
            Value::Number(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
                Some(number as i64)
            }
            _ => None,
        }
    }
}

/// A text of a document in the manner of JSON, with a question mark for each value, unless `whole`.
pub(super) fn show(document: Document<'_>, whole: bool, bytes_max: usize) -> String {
    let mut out = String::new();
    let skipped = |name: &str| name.starts_with('$') || name == "lsid" || name == "txnNumber";
    let elements = document.elements().enumerate().map(|(at, (name, value))| {
        let about = at == 0 && matches!(value, Value::Text(_));
        (name, value, about)
    });
    let shown = elements.filter(|(name, ..)| !skipped(name));
    object(shown, whole, bytes_max, 0, &mut out);
    if !document.whole {
        // The rest of it was not kept.
        out.push('\u{2026}');
    }
    out.truncate(out.floor_char_boundary(bytes_max));
    out
}

/// `true` beside a value: it is no value of the client's, but what the command is about.
fn object<'a>(
    elements: impl Iterator<Item = (&'a str, Value<'a>, bool)>,
    whole: bool,
    bytes_max: usize,
    depth: u32,
    out: &mut String,
) {
    out.push('{');
    for (at, (name, value, about)) in elements.enumerate() {
        if out.len() >= bytes_max {
            return;
        }
        if at > 0 {
            out.push_str(", ");
        }
        // A text can be written to without failing.
        write!(out, "{name:?}: ").unwrap_or_default();
        one(value, whole || about, bytes_max, depth + 1, out);
    }
    out.push('}');
}

fn one(value: Value<'_>, whole: bool, bytes_max: usize, depth: u32, out: &mut String) {
    let written = match value {
        Value::Document(_) | Value::Array(_) if depth > DEPTH_MAX => write!(out, "\u{2026}"),
        Value::Document(inner) => {
            let elements = inner.elements().map(|(name, value)| (name, value, false));
            return object(elements, whole, bytes_max, depth, out);
        }
        Value::Array(inner) => return array(inner, whole, bytes_max, depth, out),
        _ if !whole => write!(out, "?"),
        Value::Text(text) => write!(out, "{text:?}"),
        Value::Number(number) => write!(out, "{number}"),
        Value::Whole(number) => write!(out, "{number}"),
        Value::Flag(flag) => write!(out, "{flag}"),
        Value::Null => write!(out, "null"),
        Value::Id(id) => id.iter().try_for_each(|byte| write!(out, "{byte:02x}")),
        Value::Other => write!(out, "\u{2026}"),
    };
    written.unwrap_or_default();
}

/// Of values, one question mark stands for all: how many there are makes no other statement.
fn array(inner: Document<'_>, whole: bool, bytes_max: usize, depth: u32, out: &mut String) {
    out.push('[');
    let nested = |value: &Value<'_>| matches!(value, Value::Document(_) | Value::Array(_));
    let mut before = false;
    let mut hidden = false;
    for (_, value) in inner.elements() {
        let hides = !whole && !nested(&value);
        if out.len() >= bytes_max {
            break;
        }
        if hides && hidden {
            continue;
        }
        if before {
            out.push_str(", ");
        }
        one(value, whole, bytes_max, depth + 1, out);
        (before, hidden) = (true, hides);
    }
    out.push(']');
}
