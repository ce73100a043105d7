//! Log rows as OTLP log records.

use arrow::array::{BooleanArray, UInt32Array};
use arrow::datatypes::Int32Type;
use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::logs::v1::LogRecord;

use super::attributes::{any_value, row_attributes, unreadable};
use super::group::RecordReader;
use super::rows::{Ids, Numbers, Rows, Times, text};
use crate::error::Error;
use crate::files::cells::{MapCells, Texts};
use crate::model::Value;
use crate::model::value::parse_value;
use crate::schema::MapColumn;

pub(super) struct LogReader<'a> {
    time: Times<'a>,
    time_unset: &'a BooleanArray,
    observed_time: Times<'a>,
    severity_number: Numbers<'a, Int32Type>,
    severity_text: Texts<'a>,
    event_name: Texts<'a>,
    body: Texts<'a>,
    body_is_json: &'a BooleanArray,
    trace_id: Ids<'a>,
    span_id: Ids<'a>,
    flags: &'a UInt32Array,
    attributes: MapCells<'a>,
    dropped_attributes_count: &'a UInt32Array,
}

impl<'a> RecordReader<'a> for LogReader<'a> {
    type Record = LogRecord;

    fn new(rows: &Rows<'a>) -> Result<Self, Error> {
        Ok(Self {
            time: rows.times("time")?,
            time_unset: rows.flags("time_unset")?,
            observed_time: rows.times("observed_time")?,
            severity_number: rows.numbers("severity_number")?,
            severity_text: rows.texts("severity_text")?,
            event_name: rows.texts("event_name")?,
            body: rows.texts("body")?,
            body_is_json: rows.flags("body_is_json")?,
            trace_id: rows.ids("trace_id")?,
            span_id: rows.ids("span_id")?,
            flags: rows.counts("flags")?,
            attributes: rows.map(MapColumn::Attributes),
            dropped_attributes_count: rows.counts("dropped_attributes_count")?,
        })
    }

    fn record(&self, row: usize) -> Result<LogRecord, Error> {
        let time = if self.time_unset.value(row) { 0 } else { self.time.get(row) };
        Ok(LogRecord {
            time_unix_nano: time,
            observed_time_unix_nano: self.observed_time.get(row),
            severity_number: self.severity_number.get(row).unwrap_or_default(),
            severity_text: text(&self.severity_text, row),
            body: self.body(row)?,
            attributes: row_attributes(&self.attributes, row)?,
            dropped_attributes_count: self.dropped_attributes_count.value(row),
            flags: self.flags.value(row),
            trace_id: self.trace_id.get(row),
            span_id: self.span_id.get(row),
            event_name: text(&self.event_name, row),
        })
    }
}

impl LogReader<'_> {
    fn body(&self, row: usize) -> Result<Option<AnyValue>, Error> {
        let Some(body) = self.body.get(row) else { return Ok(None) };
        let value = if self.body_is_json.value(row) {
            parse_value(body).map_err(|source| unreadable(body, &source))?
        } else {
            Value::String(body.to_owned())
        };
        Ok(Some(any_value(value)))
    }
}
