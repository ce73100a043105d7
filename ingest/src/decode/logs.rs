//! Log records to rows.

use arrow::datatypes::{Int32Type, TimestampNanosecondType, UInt32Type};
use arrow::error::ArrowError;
use icecore_store::Table;

use super::columns::{Bools, Ids, Named, Numbers, PlainTexts, Texts};
use super::rows::{self, Items, Refusal, Rows, collect, id_if_valid, utc};
use super::shape;
use super::value::{self, Value};
use super::wire::{Broken, Pieces, Reader, delimited, fields, fixed32, fixed64, varint};

/// The columns of the logs table.
#[derive(Debug, Default)]
pub(super) struct Logs {
    time: Numbers<TimestampNanosecondType>,
    time_unset: Bools,
    observed_time: Numbers<TimestampNanosecondType>,
    severity_number: Numbers<Int32Type>,
    severity_text: Texts,
    event_name: Texts,
    body: PlainTexts,
    body_is_json: Bools,
    trace_id: Ids<16>,
    span_id: Ids<8>,
    flags: Numbers<UInt32Type>,
    json: String,
}

#[derive(Debug, Default)]
pub(super) struct Record<'a> {
    time: u64,
    observed_time: u64,
    severity_number: i32,
    severity_text: &'a [u8],
    event_name: &'a [u8],
    body: Pieces<'a>,
    dropped: u32,
    flags: u32,
    trace_id: &'a [u8],
    span_id: &'a [u8],
}

/// What a column takes of a record only after a look at it.
#[derive(Debug)]
pub(super) struct Checked<'a> {
    time: i64,
    observed_time: i64,
    trace_id: Option<&'a [u8; 16]>,
    span_id: Option<&'a [u8; 8]>,
}

impl Items for Logs {
    const TABLE: Table = Table::Logs;

    /// The attributes.
    type Parts<'a> = Vec<&'a [u8]>;

    fn put<'a>(
        &mut self,
        parts: &mut Vec<&'a [u8]>,
        bytes: &'a [u8],
        limit: u32,
        rows: &mut Rows,
    ) -> Result<(), Broken> {
        let record = Record::read(bytes, limit, parts)?;
        match record.check(rows.admit(parts.len(), 0)) {
            Ok(checked) => self.push(&record, &checked, parts, limit, rows),
            Err(refusal) => {
                rows.quota.reject(&refusal);
                shape::check(&shape::LOG_RECORD, bytes, limit)
            }
        }
    }

    fn finish(self, _rows: usize) -> Result<Named, ArrowError> {
        Ok(vec![
            ("time", utc(self.time.finish_values())),
            ("time_unset", self.time_unset.finish()),
            ("observed_time", utc(self.observed_time.finish_values())),
            ("severity_number", self.severity_number.finish()),
            ("severity_text", self.severity_text.finish()?),
            ("event_name", self.event_name.finish()?),
            ("body", self.body.finish()?),
            ("body_is_json", self.body_is_json.finish()),
            ("trace_id", self.trace_id.finish()?),
            ("span_id", self.span_id.finish()?),
            ("flags", self.flags.finish()),
        ])
    }
}

impl Logs {
    fn push(
        &mut self,
        record: &Record<'_>,
        checked: &Checked<'_>,
        attributes: &[&[u8]],
        limit: u32,
        rows: &mut Rows,
    ) -> Result<(), Broken> {
        let Checked { time: sent_time, observed_time, trace_id, span_id } = *checked;
        let (time_unset, time) = (sent_time == 0, checked.row_time());
        self.time.push(time);
        self.time_unset.extend(Some(time_unset), 1);
        self.observed_time.push_option((observed_time != 0).then_some(observed_time));
        self.severity_number.push(record.severity_number);
        self.severity_text.push_unless_empty(record.severity_text);
        self.event_name.push_unless_empty(record.event_name);
        self.push_body(&record.body, limit)?;
        self.trace_id.push(trace_id);
        self.span_id.push(span_id);
        self.flags.push(record.flags);
        rows.push(time, attributes, limit - 1, record.dropped, 0)
    }

    /// A body without a value is `null` as JSON; only a record without a body has none here.
    fn push_body(&mut self, pieces: &Pieces<'_>, limit: u32) -> Result<(), Broken> {
        let json = match value::any_value(pieces, limit - 1)? {
            Value::Text(text) => {
                self.body.push(Some(text));
                false
            }
            Value::Null if pieces.as_slice().is_empty() => {
                self.body.push(None);
                false
            }
            body => {
                self.json.clear();
                value::write(&mut self.json, &body, limit - 1)?;
                self.body.push(Some(self.json.as_bytes()));
                true
            }
        };
        self.body_is_json.extend(Some(json), 1);
        Ok(())
    }
}

impl Checked<'_> {
    /// What the row goes by: a record without a time of its own has that of its observer.
    pub(super) const fn row_time(&self) -> i64 {
        if self.time == 0 { self.observed_time } else { self.time }
    }
}

impl<'a> Record<'a> {
    pub(super) fn read(
        bytes: &'a [u8],
        limit: u32,
        attributes: &mut Vec<&'a [u8]>,
    ) -> Result<Self, Broken> {
        const TIME: u32 = fixed64(1);
        const SEVERITY_NUMBER: u32 = varint(2);
        const SEVERITY_TEXT: u32 = delimited(3);
        const BODY: u32 = delimited(5);
        const ATTRIBUTE: u32 = delimited(6);
        const DROPPED: u32 = varint(7);
        const FLAGS: u32 = fixed32(8);
        const TRACE_ID: u32 = delimited(9);
        const SPAN_ID: u32 = delimited(10);
        const OBSERVED_TIME: u32 = fixed64(11);
        const EVENT_NAME: u32 = delimited(12);
        const KNOWN: u32 = fields(&[1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12]);

        attributes.clear();
        let mut record = Self::default();
        let mut reader = Reader::new(bytes, limit);
        while let Some(key) = reader.key()? {
            match key {
                ATTRIBUTE => collect(attributes, reader.message()?),
                TIME => record.time = reader.fixed64()?,
                SEVERITY_NUMBER => record.severity_number = reader.int32()?,
                SEVERITY_TEXT => reader.text_into(&mut record.severity_text)?,
                BODY => record.body.push(reader.message()?),
                DROPPED => record.dropped = reader.uint32()?,
                FLAGS => record.flags = reader.fixed32()?,
                TRACE_ID => record.trace_id = reader.bytes()?,
                SPAN_ID => record.span_id = reader.bytes()?,
                OBSERVED_TIME => record.observed_time = reader.fixed64()?,
                EVENT_NAME => reader.text_into(&mut record.event_name)?,
                _ => reader.skip(key, KNOWN)?,
            }
        }
        Ok(record)
    }

    /// Whether it becomes a row, where there is room for one.
    pub(super) fn check(&self, room: Result<(), Refusal>) -> Result<Checked<'a>, Refusal> {
        room?;
        Ok(Checked {
            time: rows::time("time_unix_nano", self.time)?,
            observed_time: rows::time("observed_time_unix_nano", self.observed_time)?,
            // OTLP: a record with an id that is none "is not associated with a trace", and no less a record.
            trace_id: id_if_valid(self.trace_id),
            span_id: id_if_valid(self.span_id),
        })
    }
}
