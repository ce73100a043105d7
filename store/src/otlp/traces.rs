//! Span rows as OTLP spans.

use arrow::array::{ListArray, UInt32Array};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};

use super::attributes::{row_attributes, text_attributes};
use super::group::RecordReader;
use super::rows::{Ids, Rows, Times, item_range, text, unnamed};
use crate::error::Error;
use crate::files::cells::{MapCells, Texts};
use crate::schema::MapColumn;

pub(super) struct SpanReader<'a> {
    trace_id: Ids<'a>,
    span_id: Ids<'a>,
    parent_span_id: Ids<'a>,
    trace_state: Texts<'a>,
    name: Texts<'a>,
    kind: Texts<'a>,
    start_time: Times<'a>,
    end_time: Times<'a>,
    status_code: Texts<'a>,
    status_message: Texts<'a>,
    flags: &'a UInt32Array,
    attributes: MapCells<'a>,
    dropped_attributes_count: &'a UInt32Array,
    events: EventReader<'a>,
    dropped_events_count: &'a UInt32Array,
    links: LinkReader<'a>,
    dropped_links_count: &'a UInt32Array,
}

impl<'a> RecordReader<'a> for SpanReader<'a> {
    type Record = Span;

    fn new(rows: &Rows<'a>) -> Result<Self, Error> {
        Ok(Self {
            trace_id: rows.ids("trace_id")?,
            span_id: rows.ids("span_id")?,
            parent_span_id: rows.ids("parent_span_id")?,
            trace_state: rows.texts("trace_state")?,
            name: rows.texts("name")?,
            kind: rows.texts("kind")?,
            start_time: rows.times("start_time")?,
            end_time: rows.times("end_time")?,
            status_code: rows.texts("status_code")?,
            status_message: rows.texts("status_message")?,
            flags: rows.counts("flags")?,
            attributes: rows.map(MapColumn::Attributes),
            dropped_attributes_count: rows.counts("dropped_attributes_count")?,
            events: EventReader::new(rows)?,
            dropped_events_count: rows.counts("dropped_events_count")?,
            links: LinkReader::new(rows)?,
            dropped_links_count: rows.counts("dropped_links_count")?,
        })
    }

    fn record(&self, row: usize) -> Result<Span, Error> {
        Ok(Span {
            trace_id: self.trace_id.get(row),
            span_id: self.span_id.get(row),
            trace_state: text(&self.trace_state, row),
            parent_span_id: self.parent_span_id.get(row),
            flags: self.flags.value(row),
            name: text(&self.name, row),
            kind: kind(self.kind.get(row)),
            start_time_unix_nano: self.start_time.get(row),
            end_time_unix_nano: self.end_time.get(row),
            attributes: row_attributes(&self.attributes, row)?,
            dropped_attributes_count: self.dropped_attributes_count.value(row),
            events: self.events.get(row)?,
            dropped_events_count: self.dropped_events_count.value(row),
            links: self.links.get(row)?,
            dropped_links_count: self.dropped_links_count.value(row),
            status: Some(Status {
                message: text(&self.status_message, row),
                code: status_code(self.status_code.get(row)),
            }),
        })
    }
}

fn kind(name: Option<&str>) -> i32 {
    let kind = match name {
        Some("INTERNAL") => SpanKind::Internal,
        Some("SERVER") => SpanKind::Server,
        Some("CLIENT") => SpanKind::Client,
        Some("PRODUCER") => SpanKind::Producer,
        Some("CONSUMER") => SpanKind::Consumer,
        other => return unnamed(other),
    };
    kind.into()
}

fn status_code(name: Option<&str>) -> i32 {
    match name {
        Some("OK") => StatusCode::Ok.into(),
        Some("ERROR") => StatusCode::Error.into(),
        other => unnamed(other),
    }
}

struct EventReader<'a> {
    list: &'a ListArray,
    time: Times<'a>,
    name: Texts<'a>,
    attributes: Texts<'a>,
    dropped: &'a UInt32Array,
}

impl<'a> EventReader<'a> {
    fn new(rows: &Rows<'a>) -> Result<Self, Error> {
        let (list, items) = rows.items("events")?;
        Ok(Self {
            list,
            time: items.times("time")?,
            name: items.texts("name")?,
            attributes: items.texts("attributes")?,
            dropped: items.counts("dropped_attributes_count")?,
        })
    }

    fn get(&self, row: usize) -> Result<Vec<Event>, Error> {
        let events = item_range(self.list, row).map(|at| {
            Ok(Event {
                time_unix_nano: self.time.get(at),
                name: text(&self.name, at),
                attributes: text_attributes(self.attributes.get(at))?,
                dropped_attributes_count: self.dropped.value(at),
            })
        });
        events.collect()
    }
}

struct LinkReader<'a> {
    list: &'a ListArray,
    trace_id: Ids<'a>,
    span_id: Ids<'a>,
    trace_state: Texts<'a>,
    attributes: Texts<'a>,
    dropped: &'a UInt32Array,
    flags: &'a UInt32Array,
}

impl<'a> LinkReader<'a> {
    fn new(rows: &Rows<'a>) -> Result<Self, Error> {
        let (list, items) = rows.items("links")?;
        Ok(Self {
            list,
            trace_id: items.ids("trace_id")?,
            span_id: items.ids("span_id")?,
            trace_state: items.texts("trace_state")?,
            attributes: items.texts("attributes")?,
            dropped: items.counts("dropped_attributes_count")?,
            flags: items.counts("flags")?,
        })
    }

    fn get(&self, row: usize) -> Result<Vec<Link>, Error> {
        let links = item_range(self.list, row).map(|at| {
            Ok(Link {
                trace_id: self.trace_id.get(at),
                span_id: self.span_id.get(at),
                trace_state: text(&self.trace_state, at),
                attributes: text_attributes(self.attributes.get(at))?,
                dropped_attributes_count: self.dropped.value(at),
                flags: self.flags.value(at),
            })
        });
        links.collect()
    }
}
