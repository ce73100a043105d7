//! Rows in row shape, made by hand.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, FixedSizeBinaryArray, Float64Array,
    Float64Builder, Int64Array, ListBuilder, RecordBatch, StringArray, TimestampNanosecondArray,
    UInt32Array, UInt64Builder, new_empty_array, new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use icecore_store::schema::fixed_fields;
use icecore_store::{RowBatch, Table, TimeRange, UnixNanos};

/// 2026-11-22T10:00:00Z.
pub(crate) const T0: i64 = 1_795_255_200_000_000_000;

/// What the tests say of a span.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) trace: u8,
    pub(crate) span: u8,
    pub(crate) parent: Option<u8>,
    pub(crate) service: &'static str,
    pub(crate) name: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) status: &'static str,
    /// After [`T0`].
    pub(crate) start_ms: i64,
    pub(crate) duration_ns: i64,
    pub(crate) overflow: Option<&'static str>,
    pub(crate) resource: Option<&'static str>,
}

/// The trace id that `trace` stands for, as bytes.
pub(crate) fn trace_id(trace: u8) -> [u8; 16] {
    [trace | 0xa0; 16]
}

fn span_id(span: u8) -> [u8; 8] {
    [span; 8]
}

/// A column of one attribute.
pub(crate) fn ints(values: &[Option<i64>]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

/// A column of one attribute.
pub(crate) fn doubles(values: &[Option<f64>]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

/// A column of one attribute.
pub(crate) fn texts(values: &[Option<&str>]) -> ArrayRef {
    let values: DictionaryArray<Int32Type> = values.iter().copied().collect();
    Arc::new(values)
}

/// Spans as one batch, with attribute columns.
pub(crate) fn spans(spans: &[Span], attributes: Vec<(&str, ArrayRef)>) -> RowBatch {
    let text = |value: fn(&Span) -> &'static str| {
        texts(&spans.iter().map(|span| Some(value(span))).collect::<Vec<_>>())
    };
    let start = |span: &Span| T0 + span.start_ms * 1_000_000;
    let times = |value: &dyn Fn(&Span) -> i64| -> ArrayRef {
        let times = TimestampNanosecondArray::from_iter_values(spans.iter().map(value));
        Arc::new(times.with_timezone("UTC"))
    };
    let given: Vec<(&str, ArrayRef)> = vec![
        ("trace_id", ids(spans.iter().map(|span| Some(trace_id(span.trace).to_vec())), 16)),
        ("span_id", ids(spans.iter().map(|span| Some(span_id(span.span).to_vec())), 8)),
        ("parent_span_id", ids(spans.iter().map(|s| Some(span_id(s.parent?).to_vec())), 8)),
        ("service_name", text(|span| span.service)),
        ("name", text(|span| span.name)),
        ("kind", text(|span| span.kind)),
        ("status_code", text(|span| span.status)),
        ("start_time", times(&start)),
        ("end_time", times(&|span| start(span) + span.duration_ns)),
        ("duration_ns", ints(&spans.iter().map(|s| Some(s.duration_ns)).collect::<Vec<_>>())),
        ("attributes", Arc::new(spans.iter().map(|s| s.overflow).collect::<StringArray>())),
        ("resource", texts(&spans.iter().map(|span| span.resource).collect::<Vec<_>>())),
    ];
    let time = spans.iter().map(|span| UnixNanos(start(span)));
    let (first, last) = (time.clone().min().unwrap(), time.max().unwrap());
    let rows = batch(Table::Spans, spans.len(), &given, attributes);
    RowBatch { table: Table::Spans, rows, time: TimeRange::covering(first, last) }
}

/// Log records as one batch: time after [`T0`], service, body, and the trace that they belong to.
pub(crate) fn logs(logs: &[(i64, &str, &str, u8)]) -> RowBatch {
    let times = || logs.iter().map(|(ms, ..)| T0 + ms * 1_000_000);
    let severity = arrow::array::Int32Array::from(vec![9; logs.len()]);
    let given: Vec<(&str, ArrayRef)> = vec![
        (
            "time",
            Arc::new(TimestampNanosecondArray::from_iter_values(times()).with_timezone("UTC")),
        ),
        ("service_name", texts(&logs.iter().map(|log| Some(log.1)).collect::<Vec<_>>())),
        ("severity_number", Arc::new(severity)),
        ("body", Arc::new(StringArray::from_iter_values(logs.iter().map(|log| log.2)))),
        ("trace_id", ids(logs.iter().map(|log| Some(trace_id(log.3).to_vec())), 16)),
    ];
    let (first, last) = (times().min().unwrap(), times().max().unwrap());
    let rows = batch(Table::Logs, logs.len(), &given, Vec::new());
    let time = TimeRange::covering(UnixNanos(first), UnixNanos(last));
    RowBatch { table: Table::Logs, rows, time }
}

/// What the tests say of a data point of a sum or a histogram. Times are seconds after [`T0`].
#[derive(Debug, Clone)]
pub(crate) struct Point {
    pub(crate) metric: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) temporality: &'static str,
    pub(crate) monotonic: bool,
    pub(crate) pod: &'static str,
    pub(crate) time_s: i64,
    pub(crate) start_s: Option<i64>,
    pub(crate) value: Option<f64>,
    /// Bounds and counts.
    pub(crate) buckets: Option<(Vec<f64>, Vec<u64>)>,
}

/// Data points as one batch.
pub(crate) fn metrics(points: &[Point]) -> RowBatch {
    let second = |seconds: i64| T0 + seconds * 1_000_000_000;
    let text = |value: fn(&Point) -> &'static str| {
        texts(&points.iter().map(|point| Some(value(point))).collect::<Vec<_>>())
    };
    let starts = points.iter().map(|point| point.start_s.map(second));
    let starts = starts.collect::<TimestampNanosecondArray>().with_timezone("UTC");
    let times = points.iter().map(|point| second(point.time_s));
    let times = TimestampNanosecondArray::from_iter_values(times).with_timezone("UTC");
    let monotonic: BooleanArray = points.iter().map(|point| Some(point.monotonic)).collect();
    let mut bounds = ListBuilder::new(Float64Builder::new());
    let mut counts = ListBuilder::new(UInt64Builder::new());
    for point in points {
        let buckets = point.buckets.as_ref();
        bounds.append_option(buckets.map(|(bounds, _)| bounds.iter().copied().map(Some)));
        counts.append_option(buckets.map(|(_, counts)| counts.iter().copied().map(Some)));
    }
    let pods: Vec<String> =
        points.iter().map(|point| format!("{{\"k8s.pod.name\":\"{}\"}}", point.pod)).collect();
    let given: Vec<(&str, ArrayRef)> = vec![
        ("time", Arc::new(times)),
        ("start_time", Arc::new(starts)),
        ("service_name", texts(&vec![Some("shop"); points.len()])),
        ("metric_name", text(|point| point.metric)),
        ("kind", text(|point| point.kind)),
        ("unit", texts(&vec![Some("1"); points.len()])),
        ("description", texts(&vec![Some(""); points.len()])),
        ("temporality", text(|point| point.temporality)),
        ("is_monotonic", Arc::new(monotonic)),
        ("value", doubles(&points.iter().map(|point| point.value).collect::<Vec<_>>())),
        ("explicit_bounds", Arc::new(bounds.finish())),
        ("bucket_counts", Arc::new(counts.finish())),
        ("resource", texts(&pods.iter().map(|pod| Some(pod.as_str())).collect::<Vec<_>>())),
    ];
    let seconds = points.iter().map(|point| UnixNanos(second(point.time_s)));
    let (first, last) = (seconds.clone().min().unwrap(), seconds.max().unwrap());
    let rows = batch(Table::Metrics, points.len(), &given, Vec::new());
    RowBatch { table: Table::Metrics, rows, time: TimeRange::covering(first, last) }
}

/// Service, type, value, and frames, leaf first.
pub(crate) type Stack = (&'static str, &'static str, i64, &'static [&'static str]);

/// Seen while a request was served.
fn traced(stack: &Stack) -> bool {
    stack.3.first() == Some(&"parse")
}

/// Stacks as one batch.
pub(crate) fn profiles(stacks: &[Stack]) -> RowBatch {
    let times = TimestampNanosecondArray::from_iter_values(stacks.iter().map(|_| T0));
    let frames: Vec<String> =
        stacks.iter().map(|stack| serde_json::json!(stack.3).to_string()).collect();
    let frames: Vec<_> = frames.iter().map(|frames| Some(frames.as_str())).collect();
    let numbers = |value: fn(&Stack) -> i64| {
        ints(&stacks.iter().map(|stack| Some(value(stack))).collect::<Vec<_>>())
    };
    let given: Vec<(&str, ArrayRef)> = vec![
        ("time", Arc::new(times.with_timezone("UTC"))),
        ("duration_ns", numbers(|_| 10_000_000)),
        ("service_name", texts(&stacks.iter().map(|stack| Some(stack.0)).collect::<Vec<_>>())),
        ("sample_type", texts(&stacks.iter().map(|stack| Some(stack.1)).collect::<Vec<_>>())),
        ("unit", texts(&vec![Some("nanoseconds"); stacks.len()])),
        ("value", numbers(|stack| stack.2)),
        ("stack", texts(&frames)),
        ("trace_id", ids(stacks.iter().map(|stack| traced(stack).then(|| vec![0xc1; 16])), 16)),
        ("span_id", ids(stacks.iter().map(|stack| traced(stack).then(|| vec![0xc2; 8])), 8)),
    ];
    let rows = batch(Table::Profiles, stacks.len(), &given, Vec::new());
    let time = TimeRange::covering(UnixNanos(T0), UnixNanos(T0));
    RowBatch { table: Table::Profiles, rows, time }
}

fn batch(
    table: Table,
    rows: usize,
    given: &[(&str, ArrayRef)],
    attributes: Vec<(&str, ArrayRef)>,
) -> RecordBatch {
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for field in fixed_fields(table) {
        let given = given.iter().find(|(name, _)| name == field.name());
        columns.push(given.map_or_else(|| absent(&field, rows), |(_, column)| Arc::clone(column)));
        fields.push(field);
    }
    for (name, column) in attributes {
        fields.push(Arc::new(Field::new(name, column.data_type().clone(), true)));
        columns.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// What a column holds that a test does not speak of.
fn absent(field: &Field, rows: usize) -> ArrayRef {
    match field.data_type() {
        data_type if field.is_nullable() => new_null_array(data_type, rows),
        DataType::UInt32 => Arc::new(UInt32Array::from(vec![0; rows])),
        DataType::Boolean => Arc::new(BooleanArray::from(vec![false; rows])),
        DataType::List(item) => {
            let (offsets, values) =
                (OffsetBuffer::new_zeroed(rows), new_empty_array(item.data_type()));
            Arc::new(arrow::array::ListArray::new(Arc::clone(item), offsets, values, None))
        }
        other => panic!("{} of {other} must be given", field.name()),
    }
}

fn ids(ids: impl Iterator<Item = Option<Vec<u8>>>, width: i32) -> ArrayRef {
    Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(ids, width).unwrap())
}
