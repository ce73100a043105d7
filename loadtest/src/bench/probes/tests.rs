//! The load and the sink, without an agent.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{
    Histogram, HistogramDataPoint, Metric, ResourceMetrics, ScopeMetrics, metric::Data,
};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

use super::*;

fn at(port: u16) -> Vec<KeyValue> {
    let value = Some(AnyValue { value: Some(Value::IntValue(port.into())) });
    vec![KeyValue { key: "server.port".to_owned(), value, ..KeyValue::default() }]
}

fn spans(ports: &[u16]) -> ExportTraceServiceRequest {
    let span = |port: &u16| Span { attributes: at(*port), ..Span::default() };
    let scope = ScopeSpans { spans: ports.iter().map(span).collect(), ..ScopeSpans::default() };
    let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![resource] }
}

fn counted(end: &str, port: u16, count: u64) -> ExportMetricsServiceRequest {
    let point = HistogramDataPoint { attributes: at(port), count, ..HistogramDataPoint::default() };
    let histogram = Histogram { data_points: vec![point], aggregation_temporality: 2 };
    let name = format!("http.{end}.request.duration");
    let metric = Metric { name, data: Some(Data::Histogram(histogram)), ..Metric::default() };
    let scope = ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() };
    let resource = ResourceMetrics { scope_metrics: vec![scope], ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![resource] }
}

/// Scenario: spans and histograms of the server that is watched, of one that is watched later, and of another.
/// Guarantees: each is counted for its own server, spans one by one and histograms as they stand.
#[tokio::test]
async fn the_sink_counts_by_server() {
    let sink = Sink::serve(81).await.unwrap();
    let later = sink.watch(82);
    let mut traces = TraceServiceClient::connect(sink.endpoint.clone()).await.unwrap();
    traces.export(spans(&[81, 82, 81, 83])).await.unwrap();
    traces.export(spans(&[81])).await.unwrap();
    let mut metrics = MetricsServiceClient::connect(sink.endpoint.clone()).await.unwrap();
    for (port, count) in [(81, 5), (81, 9), (83, 70)] {
        metrics.export(counted("server", port, count)).await.unwrap();
    }
    metrics.export(counted("client", 81, 7)).await.unwrap();
    assert_eq!(sink.come(), Come { counted: 9, asked: 7, spans: 3 });
    assert_eq!(sink.come().missed(8), [1.0, 1.0]);
    assert_eq!((later.spans(), later.counted()), (1, 0));
}

/// Scenario: a server that answers as nginx does here, asked 400 times a second for half of one.
/// Guarantees: all requests that were due are sent and counted, each with its time.
#[tokio::test(flavor = "multi_thread")]
async fn requests_leave_at_their_rate() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = axum::routing::get(|| async { "as long as it is, and no more" });
    let routes = axum::Router::new().route("/some/place", answer);
    tokio::spawn(async move { axum::serve(listener, routes).await });
    http::ask(port).await.unwrap();
    let answered = http::run(port, 400, Duration::from_millis(500)).await.unwrap();
    assert!((192..=208).contains(&answered.requests), "{answered:?}");
    assert!(answered.p50_ms > 0.0 && answered.p99_ms >= answered.p50_ms, "{answered:?}");
}
