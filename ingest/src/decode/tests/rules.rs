//! The rules of columns, refusals and bounds, one by one.

use arrow::datatypes::DataType;
use icecore_store::Signal;
use icecore_store::schema::{fixed_fields, text_type};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

use super::super::attributes::COLUMNS_MAX;
use super::super::rows::ITEMS_MAX;
use super::super::{DecodeError, Decoded, PAYLOAD_BYTES_MAX, decode};

fn entry(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), key_strindex: 0 }
}

fn span(attributes: Vec<KeyValue>) -> Span {
    Span { trace_id: vec![1; 16], span_id: vec![2; 8], attributes, ..Span::default() }
}

fn decoded(spans: Vec<Span>) -> Decoded {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    let payload = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
    decode(Signal::Traces, &payload).unwrap()
}

/// Names and types of the attribute columns, and the overflow of each row.
fn layout(decoded: &Decoded) -> (Vec<(String, DataType)>, Vec<Option<String>>) {
    let batch = decoded.rows.as_ref().unwrap();
    let schema = batch.rows.schema();
    let columns = schema.fields().iter().skip(fixed_fields(batch.table).len());
    let columns = columns.map(|field| (field.name().clone(), field.data_type().clone())).collect();
    let overflow = batch.rows.column_by_name("attributes").unwrap();
    let overflow = arrow::array::AsArray::as_string::<i32>(overflow);
    (columns, overflow.iter().map(|text| text.map(str::to_owned)).collect())
}

/// Scenario: a key whose first value is no scalar, then an int, then a text; a repeated key.
/// Guarantees: the first scalar makes the column; other types and repetitions are overflow.
#[test]
fn the_first_scalar_makes_the_column() {
    let array = Value::ArrayValue(ArrayValue::default());
    let decoded = decoded(vec![
        span(vec![entry("k", array)]),
        span(vec![entry("k", Value::IntValue(7)), entry("k", Value::IntValue(8))]),
        span(vec![entry("k", Value::StringValue("t".to_owned()))]),
        span(vec![entry("s", Value::StringValue("t".to_owned()))]),
    ]);
    let (columns, overflow) = layout(&decoded);
    let expected =
        [("attributes.k".to_owned(), DataType::Int64), ("attributes.s".to_owned(), text_type())];
    assert_eq!(columns, expected);
    let overflow: Vec<_> = overflow.iter().map(Option::as_deref).collect();
    assert_eq!(overflow, [Some("{\"k\":[]}"), Some("{\"k\":8}"), Some("{\"k\":\"t\"}"), None]);
}

/// Scenario: more keys than columns.
/// Guarantees: the rest is in the overflow, nothing is lost.
#[test]
fn columns_are_bounded() {
    let all = (0..COLUMNS_MAX + 2).map(|at| entry(&format!("k{at}"), Value::BoolValue(true)));
    let (columns, overflow) = layout(&decoded(vec![span(all.collect())]));
    assert_eq!(columns.len(), COLUMNS_MAX);
    assert_eq!(overflow[0].as_deref(), Some("{\"k256\":true,\"k257\":true}"));
}

/// Scenario: spans with wrong ids and times among good ones.
/// Guarantees: the good ones are taken; the count and the first reason say what was not.
#[test]
fn bad_items_are_refused_one_by_one() {
    let short = Span { trace_id: vec![1; 3], ..span(Vec::new()) };
    let parent = Span { parent_span_id: vec![1], ..span(Vec::new()) };
    let late = Span { end_time_unix_nano: u64::MAX, ..span(Vec::new()) };
    let decoded = decoded(vec![short, span(Vec::new()), parent, late]);
    assert_eq!((decoded.accepted, decoded.rejected), (1, 3));
    assert_eq!(decoded.reason.as_deref(), Some("`trace_id` has 3 bytes instead of 16"));
}

/// Scenario: log records with a trace id that is too short, too long, all zeros and none; a wrong
/// span id beside a right trace id.
/// Guarantees: as OTLP has it, they are records of no trace, or of no span; none is refused.
#[test]
fn a_wrong_id_loses_no_log_record() {
    let record = |trace_id: &[u8], span_id: &[u8]| LogRecord {
        trace_id: trace_id.to_vec(),
        span_id: span_id.to_vec(),
        ..LogRecord::default()
    };
    let records = [
        record(&[7; 3], &[1; 8]),
        record(&[7; 17], &[]),
        record(&[0; 16], &[0; 8]),
        record(&[7; 16], &[1; 3]),
        record(&[7; 16], &[1; 8]),
    ];
    let scope_logs = vec![ScopeLogs { log_records: records.to_vec(), ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
    let payload = ExportLogsServiceRequest { resource_logs }.encode_to_vec();
    let decoded = decode(Signal::Logs, &payload);
    super::foretold(Signal::Logs, &payload, &decoded);
    let decoded = decoded.unwrap();
    assert_eq!((decoded.accepted, decoded.rejected), (5, 0));
    let rows = decoded.rows.unwrap();
    let present = |name: &str| -> Vec<bool> {
        let column = rows.rows.column_by_name(name).unwrap();
        (0..column.len()).map(|row| arrow::array::Array::is_valid(column, row)).collect()
    };
    assert_eq!(present("trace_id"), [false, false, false, true, true]);
    assert_eq!(present("span_id"), [true, false, false, false, true]);
}

/// Scenario: a request of a few megabytes that stands for millions of empty records; and one
/// with a row of many columns before very many that have none of them.
/// Guarantees: bounded numbers of rows and cells; the rest is refused with the reason.
#[test]
fn tiny_items_cannot_fill_the_memory() {
    let logs = |log_records| {
        let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
        let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
        let payload = ExportLogsServiceRequest { resource_logs }.encode_to_vec();
        let decoded = decode(Signal::Logs, &payload);
        super::foretold(Signal::Logs, &payload, &decoded);
        decoded.unwrap()
    };
    let flood = logs(vec![LogRecord::default(); ITEMS_MAX + 5]);
    assert_eq!((flood.accepted, flood.rejected), (ITEMS_MAX as u64, 5));
    assert!(flood.reason.unwrap().contains("more than 1048576 items"));

    let attributes = (0..100).map(|at| entry(&format!("k{at}"), Value::BoolValue(true))).collect();
    let mut records = vec![LogRecord { attributes, ..LogRecord::default() }];
    records.resize(100_000, LogRecord::default());
    let sparse = logs(records);
    assert!(sparse.rejected > 0 && sparse.accepted > 10_000, "{}", sparse.accepted);
    assert!(sparse.reason.unwrap().contains("attribute cells"));
}

/// Scenario: values nested to the limit of protobuf and one beyond; texts that are none in
/// places where no row looks; a payload over the bound.
/// Guarantees: judged as `prost` does, and the error says where.
#[test]
fn the_whole_request_is_judged() {
    let nested = |levels: usize| {
        let mut value = AnyValue::default();
        for _ in 0..levels {
            value = AnyValue { value: Some(Value::ArrayValue(ArrayValue { values: vec![value] })) };
        }
        let attributes = vec![KeyValue { value: Some(value), ..KeyValue::default() }];
        let scope_spans = vec![ScopeSpans { spans: vec![span(attributes)], ..Default::default() }];
        let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
        ExportTraceServiceRequest { resource_spans }.encode_to_vec()
    };
    for levels in 40..55 {
        super::check(Signal::Traces, &nested(levels));
    }
    // A resource without rows whose schema URL is not UTF-8.
    let payload = [0x0a, 0x03, 0x1a, 0x01, 0xff];
    let error = decode(Signal::Traces, &payload).unwrap_err();
    assert!(matches!(error, DecodeError::Protobuf { at: 4, .. }), "{error}");
    let error = decode(Signal::Logs, &vec![0; PAYLOAD_BYTES_MAX + 1]).unwrap_err();
    assert!(matches!(error, DecodeError::TooLarge { .. }));
}
