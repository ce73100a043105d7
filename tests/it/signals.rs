//! Spans, data points of every kind and log records that use all that OTLP has, each with a
//! `number` of its own.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram,
    HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary,
    SummaryDataPoint, exemplar,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

use crate::otlp::text;

/// Items of each kind in a round.
const ITEMS: u64 = 40;

/// 2026-11-22T23:58:00.123456789Z: two minutes before the end of an hour and of a day.
const START: u64 = 1_795_391_880_123_456_789;

/// So that items of a round are in two hours, and no two in the same microsecond.
const APART: u64 = 5_000_001_007;

fn number(round: u64, nth: u64) -> u64 {
    round * 1_000 + nth
}

fn time(number: u64) -> u64 {
    START + number % 1_000 * APART + number
}

fn any(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(any(value)), ..KeyValue::default() }
}

/// Every type, some of them often, some rarely, one key with two types.
fn attributes(number: u64) -> Vec<KeyValue> {
    let at = i64::try_from(number).unwrap();
    let mut attributes = vec![
        pair("number", Value::IntValue(at)),
        pair("share", Value::DoubleValue(number as f64 / 3.0)),
        pair("even", Value::BoolValue(number.is_multiple_of(2))),
        text("words", ["ice", "Schnee ❄", "a\"b\\c\nd", ""][usize::try_from(number % 4).unwrap()]),
        pair(
            "mixed",
            if number.is_multiple_of(5) {
                Value::StringValue("x".into())
            } else {
                Value::IntValue(-at)
            },
        ),
    ];
    if number.is_multiple_of(7) {
        let values = vec![any(Value::IntValue(1)), any(Value::StringValue("two".into()))];
        let inner = vec![pair("deep", Value::DoubleValue(0.5))];
        attributes.extend([
            pair("list", Value::ArrayValue(ArrayValue { values })),
            pair("map", Value::KvlistValue(KeyValueList { values: inner })),
            pair("raw", Value::BytesValue(vec![0, 255, 7])),
            pair("huge", Value::IntValue(i64::MIN)),
        ]);
    }
    attributes
}

fn resource(round: u64) -> Option<Resource> {
    let attributes = vec![
        text("service.name", ["shop", "till"][usize::try_from(round % 2).unwrap()]),
        text("k8s.pod.name", &format!("pod-{round}")),
        pair("process.pid", Value::IntValue(i64::try_from(100 + round).unwrap())),
    ];
    Some(Resource { attributes, ..Resource::default() })
}

fn scope() -> Option<InstrumentationScope> {
    let attributes = vec![text("short_name", "s")];
    let (name, version) = ("library".to_owned(), "1.2".to_owned());
    Some(InstrumentationScope { name, version, attributes, dropped_attributes_count: 1 })
}

fn id(number: u64) -> Vec<u8> {
    (number + 1).to_be_bytes().to_vec()
}

fn trace_id(number: u64) -> Vec<u8> {
    (u128::from(number) << 64 | 0xabcd).to_be_bytes().to_vec()
}

/// The spans of a round.
pub(crate) fn spans(round: u64) -> Vec<ResourceSpans> {
    let span = |nth| {
        let number = number(round, nth);
        let start = time(number);
        Span {
            trace_id: trace_id(number / 4),
            span_id: id(number),
            parent_span_id: if nth % 4 == 0 { Vec::new() } else { id(number - 1) },
            trace_state: if nth % 3 == 0 { "a=b".to_owned() } else { String::new() },
            name: format!("operation {}", nth % 6),
            kind: i32::try_from(nth % 6).unwrap(),
            start_time_unix_nano: start,
            end_time_unix_nano: start + 1_001 * nth,
            attributes: attributes(number),
            dropped_attributes_count: 2,
            events: (0..nth % 3).map(|at| event(start + at, number)).collect(),
            links: (0..nth % 2).map(|at| link(number + at)).collect(),
            status: (nth % 4 == 1).then(|| Status { message: "no".to_owned(), code: 2 }),
            flags: 0x101,
            ..Span::default()
        }
    };
    let scope_spans = vec![ScopeSpans {
        scope: scope(),
        spans: (0..ITEMS).map(span).collect(),
        schema_url: "https://example.test/scope".to_owned(),
    }];
    vec![ResourceSpans {
        resource: resource(round),
        scope_spans,
        schema_url: "https://example.test/resource".to_owned(),
    }]
}

fn event(time_unix_nano: u64, number: u64) -> Event {
    let attributes = vec![text("exception.type", "Cold"), pair("n", Value::IntValue(7))];
    Event {
        time_unix_nano,
        name: format!("event {number}"),
        attributes,
        dropped_attributes_count: 3,
    }
}

fn link(number: u64) -> Link {
    Link {
        trace_id: trace_id(number),
        span_id: id(number),
        trace_state: "l=1".to_owned(),
        attributes: vec![text("why", "because")],
        dropped_attributes_count: 1,
        flags: 1,
    }
}

/// The data points of a round: each kind in turn.
pub(crate) fn metrics(round: u64) -> Vec<ResourceMetrics> {
    let metrics = (0..ITEMS)
        .map(|nth| {
            let number = number(round, nth);
            Metric {
                name: format!("metric.{}", nth % 8),
                unit: "By".to_owned(),
                description: "a metric".to_owned(),
                data: Some(data(number, nth)),
                metadata: vec![text("from", "here")],
            }
        })
        .collect();
    let scope_metrics = vec![ScopeMetrics { scope: scope(), metrics, ..ScopeMetrics::default() }];
    vec![ResourceMetrics { resource: resource(round), scope_metrics, ..ResourceMetrics::default() }]
}

fn data(number: u64, nth: u64) -> Data {
    match nth % 8 {
        0 => Data::Gauge(Gauge {
            data_points: vec![point(number, Number::AsDouble(0.1 * nth as f64))],
        }),
        1 => Data::Gauge(Gauge { data_points: vec![point(number, Number::AsInt(i64::MAX - 7))] }),
        2 | 3 => Data::Sum(Sum {
            data_points: vec![point(number, Number::AsInt(i64::try_from(number).unwrap()))],
            aggregation_temporality: i32::try_from(nth % 3).unwrap(),
            is_monotonic: nth.is_multiple_of(2),
        }),
        4 | 5 => Data::Histogram(Histogram {
            data_points: vec![histogram(number)],
            aggregation_temporality: 1,
        }),
        6 => Data::ExponentialHistogram(ExponentialHistogram {
            data_points: vec![exponential(number)],
            aggregation_temporality: 2,
        }),
        _ => Data::Summary(Summary { data_points: vec![summary(number)] }),
    }
}

fn point(number: u64, value: Number) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(number),
        start_time_unix_nano: if number.is_multiple_of(2) { START } else { 0 },
        time_unix_nano: time(number),
        exemplars: exemplars(number),
        flags: 1,
        value: Some(value),
    }
}

fn exemplars(number: u64) -> Vec<Exemplar> {
    let exemplar = |at: u64| Exemplar {
        filtered_attributes: vec![text("filtered", "yes")],
        time_unix_nano: time(number) + at,
        span_id: id(number),
        trace_id: trace_id(number),
        value: Some(match at {
            0 => exemplar::Value::AsDouble(1.25),
            _ => exemplar::Value::AsInt(-3),
        }),
    };
    (0..number % 3).map(exemplar).collect()
}

fn histogram(number: u64) -> HistogramDataPoint {
    HistogramDataPoint {
        attributes: attributes(number),
        start_time_unix_nano: START,
        time_unix_nano: time(number),
        count: 6,
        sum: Some(1.5),
        bucket_counts: vec![1, 2, 3],
        explicit_bounds: vec![0.1, 1.0],
        exemplars: exemplars(number),
        min: Some(0.01),
        max: None,
        ..HistogramDataPoint::default()
    }
}

fn exponential(number: u64) -> ExponentialHistogramDataPoint {
    ExponentialHistogramDataPoint {
        attributes: attributes(number),
        start_time_unix_nano: START,
        time_unix_nano: time(number),
        count: u64::MAX,
        sum: Some(-1.0),
        scale: -2,
        zero_count: 1,
        zero_threshold: 0.001,
        positive: Some(Buckets { offset: -3, bucket_counts: vec![1, 0, 2] }),
        negative: number.is_multiple_of(2).then(|| Buckets { offset: 4, bucket_counts: vec![5] }),
        ..ExponentialHistogramDataPoint::default()
    }
}

fn summary(number: u64) -> SummaryDataPoint {
    let quantile = |quantile, value| ValueAtQuantile { quantile, value };
    SummaryDataPoint {
        attributes: attributes(number),
        start_time_unix_nano: START,
        time_unix_nano: time(number),
        count: 9,
        sum: 4.5,
        quantile_values: vec![quantile(0.5, 0.25), quantile(1.0, 2.0)],
        flags: 0,
    }
}

/// The log records of a round: bodies of all types, some without a time of their own.
pub(crate) fn logs(round: u64) -> Vec<ResourceLogs> {
    let record = |nth| {
        let number = number(round, nth);
        let body = match nth % 4 {
            0 => Some(Value::StringValue(format!("line {number}"))),
            1 => Some(Value::KvlistValue(KeyValueList { values: vec![text("k", "v")] })),
            2 => Some(Value::IntValue(42)),
            _ => None,
        };
        LogRecord {
            time_unix_nano: if nth % 5 == 0 { 0 } else { time(number) },
            observed_time_unix_nano: time(number) + 11,
            severity_number: i32::try_from(nth % 24).unwrap(),
            severity_text: if nth % 2 == 0 { "INFO".to_owned() } else { String::new() },
            body: body.map(any),
            attributes: attributes(number),
            trace_id: if nth % 3 == 0 { trace_id(number) } else { Vec::new() },
            span_id: if nth % 3 == 0 { id(number) } else { Vec::new() },
            flags: 1,
            event_name: if nth % 6 == 0 { "happened".to_owned() } else { String::new() },
            ..LogRecord::default()
        }
    };
    let log_records = (0..ITEMS).map(record).collect();
    let scope_logs = vec![ScopeLogs { scope: scope(), log_records, ..ScopeLogs::default() }];
    vec![ResourceLogs { resource: resource(round), scope_logs, ..ResourceLogs::default() }]
}
