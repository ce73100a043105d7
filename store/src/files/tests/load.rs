//! Spans as services send them: traces that cross services, ids at random, nanoseconds.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, FixedSizeBinaryArray, Int64Array, ListArray, RecordBatch, StringArray,
    StringDictionaryBuilder, TimestampNanosecondArray, UInt32Array, new_empty_array,
    new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::model::Table;
use crate::schema::fixed_fields;

const SERVICES: [&str; 12] = [
    "frontend",
    "cart",
    "checkout",
    "payment",
    "shipping",
    "email",
    "currency",
    "catalog",
    "recommendation",
    "ad",
    "quote",
    "accounting",
];
const BATCH_ROWS: usize = 2_000;
/// 2023-11-14T22:00:00Z, the start of an hour.
pub(super) const START: i64 = 1_699_999_200_000_000_000;

/// One span, as it is made up.
struct Span {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    parent: Option<[u8; 8]>,
    service: usize,
    operation: usize,
    client: bool,
    start: i64,
    duration: i64,
    failed: bool,
    noise: u64,
}

/// `count` spans in traces of eight over `seconds`, in batches in the order in which they end.
pub(super) fn spans(count: usize, seconds: i64) -> Vec<RecordBatch> {
    let mut rng = StdRng::seed_from_u64(42);
    let mut spans = Vec::with_capacity(count);
    while spans.len() < count {
        trace(&mut rng, seconds, &mut spans);
    }
    spans.truncate(count);
    spans.sort_by_key(|span| span.start + span.duration);
    spans.chunks(BATCH_ROWS).map(batch).collect()
}

fn trace(rng: &mut StdRng, seconds: i64, spans: &mut Vec<Span>) {
    let trace_id = rng.random();
    let start = START + rng.random_range(0..seconds * 1_000_000_000);
    let mut parent = None;
    let mut service = 0;
    let mut from = start;
    let mut duration = rng.random_range(5_000_000..400_000_000_i64);
    for depth in 0..8 {
        let span_id: [u8; 8] = rng.random();
        let client = depth % 2 == 1;
        spans.push(Span {
            trace_id,
            span_id,
            parent,
            service,
            operation: rng.random_range(0..6),
            client,
            start: from,
            duration,
            failed: rng.random_bool(0.01),
            noise: rng.random(),
        });
        if rng.random_bool(0.8) {
            parent = Some(span_id);
        }
        if client {
            service = rng.random_range(1..SERVICES.len());
        }
        from += rng.random_range(20_000..duration / 8);
        duration = duration * 3 / 4 + rng.random_range(0..1_000);
    }
}

fn ids<const BYTES: usize>(ids: impl Iterator<Item = Option<[u8; BYTES]>>) -> ArrayRef {
    let width = i32::try_from(BYTES).unwrap();
    Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(ids, width).unwrap())
}

fn texts<T: AsRef<str>>(spans: &[Span], text: impl Fn(&Span) -> Option<T>) -> ArrayRef {
    let mut texts = StringDictionaryBuilder::<Int32Type>::new();
    spans.iter().for_each(|span| texts.append_option(text(span)));
    Arc::new(texts.finish())
}

fn ints(spans: &[Span], int: impl Fn(&Span) -> Option<i64>) -> ArrayRef {
    Arc::new(spans.iter().map(int).collect::<Int64Array>())
}

fn times(spans: &[Span], time: impl Fn(&Span) -> i64) -> ArrayRef {
    let times = spans.iter().map(time);
    Arc::new(TimestampNanosecondArray::from_iter_values(times).with_timezone("UTC"))
}

fn batch(spans: &[Span]) -> RecordBatch {
    let mut fields = fixed_fields(Table::Spans);
    let mut columns: Vec<ArrayRef> = fields.iter().map(|field| fixed(field, spans)).collect();
    for (name, column) in attributes(spans).into_iter().chain(resource(spans)) {
        fields.push(Arc::new(Field::new(name, column.data_type().clone(), true)));
        columns.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn fixed(field: &Field, spans: &[Span]) -> ArrayRef {
    match field.name().as_str() {
        "trace_id" => ids(spans.iter().map(|span| Some(span.trace_id))),
        "span_id" => ids(spans.iter().map(|span| Some(span.span_id))),
        "parent_span_id" => ids(spans.iter().map(|span| span.parent)),
        "service_name" => texts(spans, |span| Some(SERVICES[span.service])),
        "name" => texts(spans, |span| Some(operation(span))),
        "kind" => texts(spans, |span| Some(if span.client { "CLIENT" } else { "SERVER" })),
        "start_time" => times(spans, |span| span.start),
        "end_time" => times(spans, |span| span.start + span.duration),
        "duration_ns" => ints(spans, |span| Some(span.duration)),
        "status_code" => texts(spans, |span| Some(if span.failed { "ERROR" } else { "UNSET" })),
        "flags" => Arc::new(UInt32Array::from(vec![257; spans.len()])),
        "scope_name" => texts(spans, |span| Some(["otel-http", "otel-sql"][span.operation % 2])),
        "scope_version" => texts(spans, |_| Some("0.61.0")),
        _ => match field.data_type() {
            DataType::UInt32 => Arc::new(UInt32Array::from(vec![0; spans.len()])),
            DataType::List(item) => {
                let none = OffsetBuffer::from_lengths(vec![0; spans.len()]);
                let items = new_empty_array(item.data_type());
                Arc::new(ListArray::new(Arc::clone(item), none, items, None))
            }
            other => new_null_array(other, spans.len()),
        },
    }
}

fn operation(span: &Span) -> String {
    let method = ["GET", "POST"][span.operation % 2];
    format!("{method} /api/{}/{}", SERVICES[span.service], span.operation)
}

fn attributes(spans: &[Span]) -> Vec<(&'static str, ArrayRef)> {
    vec![
        (
            "attributes.http.request.method",
            texts(spans, |span| Some(["GET", "POST"][span.operation % 2])),
        ),
        ("attributes.http.route", texts(spans, |span| (!span.client).then(|| operation(span)))),
        (
            "attributes.url.path",
            texts(spans, |span| {
                Some(format!("/api/{}/{}", SERVICES[span.service], span.noise % 1_000))
            }),
        ),
        (
            "attributes.http.response.status_code",
            ints(spans, |span| Some(if span.failed { 500 } else { 200 })),
        ),
        (
            "attributes.http.response.body.size",
            ints(spans, |span| span.client.then(|| i64::try_from(span.noise % 30_000).unwrap())),
        ),
        ("attributes.server.address", texts(spans, |span| Some(SERVICES[span.service]))),
        ("attributes.server.port", ints(spans, |_| Some(8080))),
        (
            "attributes.client.address",
            texts(spans, |span| {
                (!span.client).then(|| format!("10.0.{}.{}", span.noise % 4, span.noise % 60))
            }),
        ),
        (
            "attributes.user_agent.original",
            texts(spans, |span| {
                (span.service == 0)
                    .then(|| format!("Mozilla/5.0 (X11; Linux) v{}", span.noise % 40))
            }),
        ),
        ("attributes.network.protocol.version", texts(spans, |_| Some("1.1"))),
        ("attributes.thread.id", ints(spans, |span| Some(i64::try_from(span.noise % 16).unwrap()))),
        ("attributes.error.type", texts(spans, |span| span.failed.then_some("500"))),
    ]
}

fn resource(spans: &[Span]) -> Vec<(&'static str, ArrayRef)> {
    let pod = |span: &Span| Some(format!("{}-7d9f{}", SERVICES[span.service], span.noise % 3));
    vec![
        ("resource.service.name", texts(spans, |span| Some(SERVICES[span.service]))),
        ("resource.service.version", texts(spans, |_| Some("1.4.2"))),
        ("resource.service.instance.id", texts(spans, pod)),
        ("resource.k8s.pod.name", texts(spans, pod)),
        ("resource.k8s.namespace.name", texts(spans, |_| Some("shop"))),
        ("resource.host.name", texts(spans, |span| Some(format!("node-{}", span.noise % 3)))),
        ("resource.telemetry.sdk.name", texts(spans, |_| Some("opentelemetry"))),
        ("resource.telemetry.sdk.language", texts(spans, |_| Some("go"))),
        ("resource.telemetry.sdk.version", texts(spans, |_| Some("1.40.0"))),
        ("resource.process.pid", ints(spans, |_| Some(1))),
    ]
}

/// The texts of a column that has a dictionary or none.
pub(super) fn column_texts(rows: &RecordBatch, name: &str) -> Vec<Option<String>> {
    let column = rows.column_by_name(name).unwrap();
    let plain = arrow::compute::cast(column, &DataType::Utf8).unwrap();
    let plain = plain.as_any().downcast_ref::<StringArray>().unwrap();
    plain.iter().map(|text| text.map(ToOwned::to_owned)).collect()
}
