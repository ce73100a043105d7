//! Spans to rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, StructArray};
use arrow::datatypes::{Int64Type, TimestampNanosecondType, UInt32Type};
use arrow::error::ArrowError;
use icecore_store::Table;

use super::columns::{Ids, Lists, Named, Names, Numbers, PlainTexts, Texts};
use super::rows::{self, Items, Refusal, Rows, collect, id, id_unless_empty, struct_fields, utc};
use super::shape;
use super::value::ObjectText;
use super::wire::{Broken, Reader, delimited, fields, fixed32, fixed64, varint};

const KINDS: &[&str] = &["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];
const STATUS_CODES: &[&str] = &["UNSET", "OK", "ERROR"];

/// The columns of the spans table.
#[derive(Debug)]
pub(super) struct Spans {
    trace_id: Ids<16>,
    span_id: Ids<8>,
    parent_span_id: Ids<8>,
    trace_state: Texts,
    name: Texts,
    kind: Names,
    start: Numbers<TimestampNanosecondType>,
    end: Numbers<TimestampNanosecondType>,
    duration: Numbers<Int64Type>,
    status_code: Names,
    status_message: Texts,
    events: Events,
    links: Links,
    flags: Numbers<UInt32Type>,
    dropped_events: Numbers<UInt32Type>,
    dropped_links: Numbers<UInt32Type>,
}

/// The repeated fields of a span.
#[derive(Debug, Default)]
pub(super) struct Parts<'a> {
    attributes: Vec<&'a [u8]>,
    events: Vec<Event<'a>>,
    links: Vec<Link<'a>>,
}

/// The singular fields of a span.
#[derive(Debug, Default)]
pub(super) struct Span<'a> {
    trace_id: &'a [u8],
    span_id: &'a [u8],
    trace_state: &'a [u8],
    parent_span_id: &'a [u8],
    name: &'a [u8],
    kind: i32,
    start: u64,
    end: u64,
    dropped_attributes: u32,
    dropped_events: u32,
    dropped_links: u32,
    status_message: &'a [u8],
    status_code: i32,
    flags: u32,
}

/// What a column takes of a span only after a look at it.
#[derive(Debug)]
pub(super) struct Checked<'a> {
    pub(super) trace_id: &'a [u8; 16],
    span_id: &'a [u8; 8],
    parent_span_id: Option<&'a [u8; 8]>,
    pub(super) start: i64,
    end: i64,
}

impl Default for Spans {
    fn default() -> Self {
        Self {
            trace_id: Ids::default(),
            span_id: Ids::default(),
            parent_span_id: Ids::default(),
            trace_state: Texts::default(),
            name: Texts::default(),
            kind: Names::new(KINDS),
            start: Numbers::default(),
            end: Numbers::default(),
            duration: Numbers::default(),
            status_code: Names::new(STATUS_CODES),
            status_message: Texts::default(),
            events: Events::default(),
            links: Links::default(),
            flags: Numbers::default(),
            dropped_events: Numbers::default(),
            dropped_links: Numbers::default(),
        }
    }
}

impl Items for Spans {
    const TABLE: Table = Table::Spans;

    type Parts<'a> = Parts<'a>;

    fn put<'a>(
        &mut self,
        parts: &mut Parts<'a>,
        bytes: &'a [u8],
        limit: u32,
        rows: &mut Rows,
    ) -> Result<(), Broken> {
        let span = Span::read(bytes, limit, parts)?;
        match span.check(parts, rows.admit(parts.attributes.len(), parts.nested())) {
            Ok(checked) => self.push(&span, &checked, parts, limit, rows),
            Err(refusal) => {
                rows.quota.reject(&refusal);
                shape::check(&shape::SPAN, bytes, limit)
            }
        }
    }

    fn finish(self, _rows: usize) -> Result<Named, ArrowError> {
        Ok(vec![
            ("trace_id", self.trace_id.finish()?),
            ("span_id", self.span_id.finish()?),
            ("parent_span_id", self.parent_span_id.finish()?),
            ("trace_state", self.trace_state.finish()?),
            ("name", self.name.finish()?),
            ("kind", self.kind.finish()?),
            ("start_time", utc(self.start.finish_values())),
            ("end_time", utc(self.end.finish_values())),
            ("duration_ns", self.duration.finish()),
            ("status_code", self.status_code.finish()?),
            ("status_message", self.status_message.finish()?),
            ("events", self.events.finish()?),
            ("links", self.links.finish()?),
            ("flags", self.flags.finish()),
            ("dropped_events_count", self.dropped_events.finish()),
            ("dropped_links_count", self.dropped_links.finish()),
        ])
    }
}

impl Spans {
    fn push(
        &mut self,
        span: &Span<'_>,
        checked: &Checked<'_>,
        parts: &Parts<'_>,
        limit: u32,
        rows: &mut Rows,
    ) -> Result<(), Broken> {
        let Checked { trace_id, span_id, parent_span_id, start, end } = *checked;
        self.trace_id.push(Some(trace_id));
        self.span_id.push(Some(span_id));
        self.parent_span_id.push(parent_span_id);
        self.trace_state.push_unless_empty(span.trace_state);
        self.name.push(span.name);
        self.kind.extend(Some(span.kind), 1);
        self.start.push(start);
        self.end.push(end);
        // Both are from 0 on, so that their difference fits.
        self.duration.push(end - start);
        self.status_code.extend(Some(span.status_code), 1);
        self.status_message.push_unless_empty(span.status_message);
        self.flags.push(span.flags);
        self.dropped_events.push(span.dropped_events);
        self.dropped_links.push(span.dropped_links);
        let Parts { attributes, events, links } = parts;
        self.events.push(events, limit - 1)?;
        self.links.push(links, limit - 1)?;
        rows.push(start, attributes, limit - 1, span.dropped_attributes, parts.nested())
    }
}

impl Parts<'_> {
    /// Rows of nested tables.
    pub(super) const fn nested(&self) -> usize {
        self.events.len() + self.links.len()
    }

    pub(super) const fn attributes(&self) -> usize {
        self.attributes.len()
    }
}

impl<'a> Span<'a> {
    pub(super) fn read(bytes: &'a [u8], limit: u32, parts: &mut Parts<'a>) -> Result<Self, Broken> {
        const TRACE_ID: u32 = delimited(1);
        const SPAN_ID: u32 = delimited(2);
        const TRACE_STATE: u32 = delimited(3);
        const PARENT_SPAN_ID: u32 = delimited(4);
        const NAME: u32 = delimited(5);
        const KIND: u32 = varint(6);
        const START: u32 = fixed64(7);
        const END: u32 = fixed64(8);
        const ATTRIBUTE: u32 = delimited(9);
        const DROPPED_ATTRIBUTES: u32 = varint(10);
        const EVENT: u32 = delimited(11);
        const DROPPED_EVENTS: u32 = varint(12);
        const LINK: u32 = delimited(13);
        const DROPPED_LINKS: u32 = varint(14);
        const STATUS: u32 = delimited(15);
        const FLAGS: u32 = fixed32(16);
        const KNOWN: u32 = fields(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);

        parts.attributes.clear();
        parts.events.clear();
        parts.links.clear();
        let mut span = Self::default();
        let mut reader = Reader::new(bytes, limit);
        while let Some(key) = reader.key()? {
            match key {
                ATTRIBUTE => collect(&mut parts.attributes, reader.message()?),
                TRACE_ID => span.trace_id = reader.bytes()?,
                SPAN_ID => span.span_id = reader.bytes()?,
                TRACE_STATE => reader.text_into(&mut span.trace_state)?,
                PARENT_SPAN_ID => span.parent_span_id = reader.bytes()?,
                NAME => reader.text_into(&mut span.name)?,
                KIND => span.kind = reader.int32()?,
                START => span.start = reader.fixed64()?,
                END => span.end = reader.fixed64()?,
                DROPPED_ATTRIBUTES => span.dropped_attributes = reader.uint32()?,
                EVENT => collect(&mut parts.events, Event::read(reader.message()?, limit - 1)?),
                DROPPED_EVENTS => span.dropped_events = reader.uint32()?,
                LINK => collect(&mut parts.links, Link::read(reader.message()?, limit - 1)?),
                DROPPED_LINKS => span.dropped_links = reader.uint32()?,
                STATUS => span.read_status(reader.message()?, limit - 1)?,
                FLAGS => span.flags = reader.fixed32()?,
                _ => reader.skip(key, KNOWN)?,
            }
        }
        Ok(span)
    }

    fn read_status(&mut self, bytes: &'a [u8], limit: u32) -> Result<(), Broken> {
        const MESSAGE: u32 = delimited(2);
        const CODE: u32 = varint(3);
        let mut reader = Reader::new(bytes, limit);
        while let Some(key) = reader.key()? {
            match key {
                MESSAGE => reader.text_into(&mut self.status_message)?,
                CODE => self.status_code = reader.int32()?,
                _ => reader.skip(key, fields(&[2, 3]))?,
            }
        }
        Ok(())
    }

    /// Whether it becomes a row, where there is room for one.
    pub(super) fn check(
        &self,
        parts: &Parts<'a>,
        room: Result<(), Refusal>,
    ) -> Result<Checked<'a>, Refusal> {
        room?;
        for event in &parts.events {
            rows::time("event.time_unix_nano", event.time)?;
        }
        for link in &parts.links {
            id::<16>("link.trace_id", link.trace_id)?;
            id::<8>("link.span_id", link.span_id)?;
        }
        Ok(Checked {
            trace_id: id("trace_id", self.trace_id)?,
            span_id: id("span_id", self.span_id)?,
            parent_span_id: id_unless_empty("parent_span_id", self.parent_span_id)?,
            start: rows::time("start_time_unix_nano", self.start)?,
            end: rows::time("end_time_unix_nano", self.end)?,
        })
    }
}

#[derive(Debug, Default)]
struct Event<'a> {
    time: u64,
    name: &'a [u8],
    attributes: Vec<&'a [u8]>,
    dropped: u32,
}

impl<'a> Event<'a> {
    fn read(bytes: &'a [u8], limit: u32) -> Result<Self, Broken> {
        const TIME: u32 = fixed64(1);
        const NAME: u32 = delimited(2);
        const ATTRIBUTE: u32 = delimited(3);
        const DROPPED: u32 = varint(4);
        let mut event = Self::default();
        let mut reader = Reader::new(bytes, limit);
        while let Some(key) = reader.key()? {
            match key {
                TIME => event.time = reader.fixed64()?,
                NAME => reader.text_into(&mut event.name)?,
                ATTRIBUTE => event.attributes.push(reader.message()?),
                DROPPED => event.dropped = reader.uint32()?,
                _ => reader.skip(key, fields(&[1, 2, 3, 4]))?,
            }
        }
        Ok(event)
    }
}

#[derive(Debug, Default)]
struct Events {
    lists: Lists,
    time: Numbers<TimestampNanosecondType>,
    name: PlainTexts,
    attributes: PlainTexts,
    dropped: Numbers<UInt32Type>,
    object: ObjectText,
}

impl Events {
    fn push(&mut self, events: &[Event<'_>], limit: u32) -> Result<(), Broken> {
        for Event { time, name, attributes, dropped } in events {
            self.time.push(time.cast_signed());
            self.name.push(Some(name));
            self.object.push_all(attributes, limit - 1)?;
            self.object.finish(|text| self.attributes.push(text));
            self.dropped.push(*dropped);
        }
        self.lists.push(Some(self.time.len()));
        Ok(())
    }

    fn finish(self) -> Result<ArrayRef, ArrowError> {
        let arrays = vec![
            utc(self.time.finish_values()),
            self.name.finish()?,
            self.attributes.finish()?,
            self.dropped.finish(),
        ];
        let fields = struct_fields(Table::Spans, "events");
        self.lists.finish(Arc::new(StructArray::try_new(fields, arrays, None)?))
    }
}

#[derive(Debug, Default)]
struct Link<'a> {
    trace_id: &'a [u8],
    span_id: &'a [u8],
    trace_state: &'a [u8],
    attributes: Vec<&'a [u8]>,
    dropped: u32,
    flags: u32,
}

impl<'a> Link<'a> {
    fn read(bytes: &'a [u8], limit: u32) -> Result<Self, Broken> {
        const TRACE_ID: u32 = delimited(1);
        const SPAN_ID: u32 = delimited(2);
        const TRACE_STATE: u32 = delimited(3);
        const ATTRIBUTE: u32 = delimited(4);
        const DROPPED: u32 = varint(5);
        const FLAGS: u32 = fixed32(6);
        let mut link = Self::default();
        let mut reader = Reader::new(bytes, limit);
        while let Some(key) = reader.key()? {
            match key {
                TRACE_ID => link.trace_id = reader.bytes()?,
                SPAN_ID => link.span_id = reader.bytes()?,
                TRACE_STATE => reader.text_into(&mut link.trace_state)?,
                ATTRIBUTE => link.attributes.push(reader.message()?),
                DROPPED => link.dropped = reader.uint32()?,
                FLAGS => link.flags = reader.fixed32()?,
                _ => reader.skip(key, fields(&[1, 2, 3, 4, 5, 6]))?,
            }
        }
        Ok(link)
    }
}

#[derive(Debug, Default)]
struct Links {
    lists: Lists,
    trace_id: Ids<16>,
    span_id: Ids<8>,
    trace_state: PlainTexts,
    attributes: PlainTexts,
    dropped: Numbers<UInt32Type>,
    flags: Numbers<UInt32Type>,
    object: ObjectText,
}

impl Links {
    fn push(&mut self, links: &[Link<'_>], limit: u32) -> Result<(), Broken> {
        for Link { trace_id, span_id, trace_state, attributes, dropped, flags } in links {
            self.trace_id.push((*trace_id).try_into().ok());
            self.span_id.push((*span_id).try_into().ok());
            self.trace_state.push_unless_empty(trace_state);
            self.object.push_all(attributes, limit - 1)?;
            self.object.finish(|text| self.attributes.push(text));
            self.dropped.push(*dropped);
            self.flags.push(*flags);
        }
        self.lists.push(Some(self.flags.len()));
        Ok(())
    }

    fn finish(self) -> Result<ArrayRef, ArrowError> {
        let arrays = vec![
            self.trace_id.finish()?,
            self.span_id.finish()?,
            self.trace_state.finish()?,
            self.attributes.finish()?,
            self.dropped.finish(),
            self.flags.finish(),
        ];
        let fields = struct_fields(Table::Spans, "links");
        self.lists.finish(Arc::new(StructArray::try_new(fields, arrays, None)?))
    }
}
