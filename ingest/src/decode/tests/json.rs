//! OTLP/JSON: against the published serde types, and where they are too strict.

use std::fmt::Debug;

use icecore_store::Signal;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use proptest::prelude::*;
use prost::Message;

use super::super::json_to_protobuf;
use super::generate::{self, Dice};

/// The JSON that the published types write must be read as what they wrote it from. Texts of
/// structs are compared: NaN is not equal to itself.
fn check_written<T: Message + Default + Debug + serde::Serialize>(signal: Signal, request: &T) {
    let json = serde_json::to_vec(request).unwrap();
    let read = json_to_protobuf(signal, &json).map_err(|error| error.to_string()).unwrap();
    assert_eq!(format!("{:?}", T::decode(read.as_slice()).unwrap()), format!("{request:?}"));
}

proptest! {
    #![proptest_config(super::config())]

    /// Scenario: random requests as the published serde types write them.
    /// Guarantees: read back whole.
    #[test]
    fn published_json_is_read(seed in any::<u64>()) {
        // `serde_json` writes null for what is not finite.
        let mut dice = Dice::finite(seed);
        check_written(Signal::Traces, &generate::traces(&mut dice));
        check_written(Signal::Metrics, &generate::metrics(&mut dice));
        check_written(Signal::Logs, &generate::logs(&mut dice));
    }

    /// Scenario: JSON cut off and changed.
    /// Guarantees: an error or valid protobuf, never a panic.
    #[test]
    fn damaged_json_is_refused_or_valid(seed in any::<u64>()) {
        let mut dice = Dice::new(seed);
        let json = serde_json::to_vec(&generate::traces(&mut dice)).unwrap();
        for _ in 0..20 {
            if let Ok(read) = json_to_protobuf(Signal::Traces, &generate::damage(&json, &mut dice)) {
                ExportTraceServiceRequest::decode(read.as_slice()).unwrap();
            }
        }
    }
}

fn metrics(json: &str) -> Data {
    let json = format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{json}]}}]}}]}}"#);
    let read = json_to_protobuf(Signal::Metrics, json.as_bytes()).unwrap();
    let mut request = ExportMetricsServiceRequest::decode(read.as_slice()).unwrap();
    request.resource_metrics[0].scope_metrics[0].metrics[0].data.take().unwrap()
}

/// Scenario: what the specifications of OTLP/JSON and proto3 JSON allow and the published types
/// refuse: NaN in lists, numbers as texts, whole numbers with a point, nulls.
/// Guarantees: it is read, doubles to the last bit.
#[test]
fn numbers_may_be_written_in_many_ways() {
    let point = r#"{"timeUnixNano":1.5e3,"count":"3","sum":"NaN","min":-1,"max":null,
        "explicitBounds":["-Infinity",0.1,"2"],"bucketCounts":[1,"18446744073709551615"]}"#;
    let json = format!(r#"{{"name":"m","histogram":{{"dataPoints":[{point}]}}}}"#);
    let Data::Histogram(histogram) = metrics(&json) else { panic!("no histogram") };
    let point = &histogram.data_points[0];
    assert_eq!((point.time_unix_nano, point.count), (1500, 3));
    assert!(point.sum.unwrap().is_nan() && point.max.is_none() && point.min == Some(-1.0));
    assert_eq!(point.explicit_bounds, [f64::NEG_INFINITY, 0.1, 2.0]);
    assert_eq!(point.bucket_counts, [1, u64::MAX]);

    let point = r#"{"asDouble":1.1235582092889474e307},{"asInt":"-9223372036854775808"}"#;
    let Data::Gauge(gauge) = metrics(&format!(r#"{{"gauge":{{"dataPoints":[{point}]}}}}"#)) else {
        panic!("no gauge")
    };
    let values: Vec<_> =
        gauge.data_points.iter().map(|point| format!("{:?}", point.value)).collect();
    assert_eq!(
        values,
        ["Some(AsDouble(1.1235582092889474e307))", "Some(AsInt(-9223372036854775808))"]
    );
}

/// Scenario: nulls, missing fields, empty objects, unknown fields, ids in capitals, bare base64.
/// Guarantees: all read as proto3 JSON says.
#[test]
fn what_is_absent_may_be_null_or_missing() {
    let attributes = r#"[{"key":"a","value":{"arrayValue":{}}},{"value":{"bytesValue":"-_8"}},{"key":"n","value":null}]"#;
    let span = format!(
        r#"{{"traceId":"ABCDEF","spanId":null,"kind":"2","status":null,"new":[{{"x":1}}],
            "attributes":{attributes},"events":null}}"#
    );
    let json = format!(
        r#"{{"resourceSpans":[{{}},{{"resource":null,"scopeSpans":[{{"spans":[{span}]}}]}}],"x":1}}"#
    );
    let read = json_to_protobuf(Signal::Traces, json.as_bytes()).unwrap();
    let request = ExportTraceServiceRequest::decode(read.as_slice()).unwrap();
    let span = &request.resource_spans[1].scope_spans[0].spans[0];
    assert_eq!((span.trace_id.as_slice(), span.kind), (&[0xab, 0xcd, 0xef][..], 2));
    assert!(span.status.is_none() && span.events.is_empty() && span.span_id.is_empty());
    let values: Vec<_> = span.attributes.iter().map(|entry| format!("{:?}", entry.value)).collect();
    assert!(values[0].contains("ArrayValue") && values[2] == "None", "{values:?}");
    assert!(values[1].contains("[251, 255]"), "{values:?}");
    for empty in ["{}", "{\"resourceLogs\":null}", " {\"resourceLogs\":[]} "] {
        let read = json_to_protobuf(Signal::Logs, empty.as_bytes()).unwrap();
        assert_eq!(ExportLogsServiceRequest::decode(read.as_slice()).unwrap().resource_logs, []);
    }
}

/// Scenario: bodies that are no request.
/// Guarantees: refused, and the error says what is wrong and where.
#[test]
fn errors_name_the_place() {
    let refused = |body: &str| json_to_protobuf(Signal::Traces, body.as_bytes()).unwrap_err();
    let error = refused(r#"{"resourceSpans":[{},{"scopeSpans":[{"spans":[{"traceId":"0x"}]}]}]}"#);
    let text = error.to_string();
    assert!(text.contains("hex digits"), "{text}");
    assert!(text.contains("$.resourceSpans[1].scopeSpans[0].spans[0].traceId"), "{text}");
    for body in
        ["", "null", "[]", "3", "{", "{} {}", r#"{"resourceSpans":{}}"#, r#"{"resourceSpans":[3]}"#]
    {
        refused(body);
    }
    let deep = "{\"arrayValue\":{\"values\":[".repeat(20_000);
    refused(&format!("{{\"resourceSpans\":[{{\"resource\":{{\"attributes\":[{{\"value\":{deep}"));
    assert!(json_to_protobuf(Signal::Traces, b"{\"\xff\":1}").is_err());
}
