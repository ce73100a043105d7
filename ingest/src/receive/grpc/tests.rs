//! OTLP/gRPC over the wire, by tonic's client and by raw HTTP/2.

use std::time::Duration;

use icecore_store::Table;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::collector::profiles::v1development::profiles_service_client::ProfilesServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use opentelemetry_proto::tonic::profiles::v1development::{
    Profile, ResourceProfiles, Sample, ScopeProfiles,
};
use prost::Message;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use tonic_types::StatusExt;

use super::super::harness::{Server, client, encoded};
use super::*;
use crate::config::Durability;
use crate::fixtures::request;

async fn channel(server: &Server) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{}", server.grpc)).unwrap();
    endpoint.connect().await.unwrap()
}

fn metrics() -> ExportMetricsServiceRequest {
    let point = NumberDataPoint {
        time_unix_nano: 1,
        value: Some(number_data_point::Value::AsInt(7)),
        ..NumberDataPoint::default()
    };
    let data = Some(metric::Data::Gauge(Gauge { data_points: vec![point] }));
    let metric = Metric { name: "a metric".to_owned(), data, ..Metric::default() };
    let scope = ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() };
    let resource = ResourceMetrics { scope_metrics: vec![scope], ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![resource] }
}

fn logs() -> ExportLogsServiceRequest {
    let record = LogRecord { time_unix_nano: 1, ..LogRecord::default() };
    let scope = ScopeLogs { log_records: vec![record], ..ScopeLogs::default() };
    let resource = ResourceLogs { scope_logs: vec![scope], ..ResourceLogs::default() };
    ExportLogsServiceRequest { resource_logs: vec![resource] }
}

/// One sample that can be stored, and one that refers to a stack that is not there.
fn profiles() -> ExportProfilesServiceRequest {
    let sample = Sample { values: vec![1], ..Sample::default() };
    let samples = vec![sample.clone(), Sample { stack_index: 3, ..sample }];
    let profile = Profile { time_unix_nano: 1, samples, ..Profile::default() };
    let scope = ScopeProfiles { profiles: vec![profile], ..ScopeProfiles::default() };
    let resource = ResourceProfiles { scope_profiles: vec![scope], ..ResourceProfiles::default() };
    ExportProfilesServiceRequest { resource_profiles: vec![resource], dictionary: None }
}

/// Scenario: every signal, plain, with gzip and with zstd; a span and a sample that cannot be
/// stored.
/// Guarantees: each is accepted and visible when the answer comes; partial success says why; the
/// log has the bytes as they were sent.
#[tokio::test]
async fn every_signal_and_compression_is_accepted() {
    let server = Server::start(|_| {}).await;
    let channel = channel(&server).await;
    let encodings = [None, Some(CompressionEncoding::Gzip), Some(CompressionEncoding::Zstd)];
    for (round, encoding) in (1..).zip(encodings) {
        let mut spans = TraceServiceClient::new(channel.clone());
        let mut points = MetricsServiceClient::new(channel.clone());
        let mut records = LogsServiceClient::new(channel.clone());
        let mut stacks = ProfilesServiceClient::new(channel.clone());
        if let Some(encoding) = encoding {
            spans = spans.send_compressed(encoding);
            points = points.send_compressed(encoding);
            records = records.send_compressed(encoding);
            stacks = stacks.send_compressed(encoding);
        }
        let answer = spans.export(request(&["one", "", "two"])).await.unwrap().into_inner();
        assert_eq!(answer.partial_success.unwrap().rejected_spans, 1);
        let answer = points.export(metrics()).await.unwrap().into_inner();
        assert_eq!(answer.partial_success, None);
        let answer = records.export(logs()).await.unwrap().into_inner();
        assert_eq!(answer.partial_success, None);
        let answer = stacks.export(profiles()).await.unwrap().into_inner();
        let told = answer.partial_success.unwrap();
        assert_eq!(told.rejected_profiles, 1);
        assert_eq!(told.error_message, "`stack_index` is 3, the dictionary has 0 stacks");
        assert_eq!(server.rows(Table::Profiles).await, round, "{encoding:?}");
        assert_eq!(server.rows(Table::Spans).await, 2 * round, "{encoding:?}");
        assert_eq!(server.rows(Table::Metrics).await, round, "{encoding:?}");
        assert_eq!(server.rows(Table::Logs).await, round, "{encoding:?}");
    }
    let items = server.feed.read(server.feed.oldest(), usize::MAX >> 1).await.unwrap();
    assert_eq!(items.len(), 12);
    assert_eq!(items[8].payload, request(&["one", "", "two"]).encode_to_vec());
    assert_eq!(items[9].payload, metrics().encode_to_vec());
    assert_eq!(items[11].payload, profiles().encode_to_vec());
    assert_eq!(server.drain().await.rows(), 15);
}

/// A raw unary call; returns the HTTP status and the gRPC status of a trailers-only answer.
async fn call(server: &Server, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> (u16, i32) {
    let mut post = client(true).post(format!("http://{}{path}", server.grpc)).body(body);
    for (name, value) in headers {
        post = post.header(*name, *value);
    }
    let answer = post.send().await.unwrap();
    let code = answer.headers().get("grpc-status").map(|code| code.to_str().unwrap().parse());
    (answer.status().as_u16(), code.map_or(-1, Result::unwrap))
}

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let len = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[flag], &len[..], message].concat()
}

/// Scenario: everything that a caller can get wrong.
/// Guarantees: the gRPC status that senders understand, and the server goes on.
#[tokio::test]
async fn every_fault_has_its_status() {
    const GRPC: (&str, &str) = ("content-type", "application/grpc");
    const GZIP: (&str, &str) = ("grpc-encoding", "gzip");
    let server = Server::start(|_| {}).await;
    let good = request(&["a span"]).encode_to_vec();
    let bomb = framed(1, &encoded("gzip", &vec![0; 20 << 20]));
    let mut short = framed(0, &good);
    short.pop();
    let traces = Signal::Traces.grpc_path();
    type Case =
        (&'static str, &'static str, &'static [(&'static str, &'static str)], Vec<u8>, Code);
    let cases: [Case; 9] = [
        ("not protobuf", traces, &[GRPC], framed(0, b"junk"), Code::InvalidArgument),
        ("no message", traces, &[GRPC], Vec::new(), Code::InvalidArgument),
        ("short", traces, &[GRPC], short, Code::InvalidArgument),
        ("flag", traces, &[GRPC], framed(2, &good), Code::InvalidArgument),
        ("not gzip", traces, &[GRPC, GZIP], framed(1, &good), Code::InvalidArgument),
        ("bomb", traces, &[GRPC, GZIP], bomb, Code::ResourceExhausted),
        (
            "snappy",
            traces,
            &[GRPC, ("grpc-encoding", "snappy")],
            framed(1, &good),
            (Code::Unimplemented),
        ),
        ("large", traces, &[GRPC], framed(0, &vec![0; 2 << 20]), Code::ResourceExhausted),
        ("method", "/x.Y/Z", &[GRPC], framed(0, &good), Code::Unimplemented),
    ];
    for (name, path, headers, body, code) in cases {
        let answer = call(&server, path, headers, body).await;
        assert_eq!(answer, (200, i32::from(code)), "{name}");
    }
    let kind = [("content-type", "application/json")];
    assert_eq!(call(&server, traces, &kind, framed(0, &good)).await, (415, -1));
    let mut client = TraceServiceClient::new(channel(&server).await);
    client.export(request(&["a span"])).await.unwrap();
    assert_eq!(server.metric("icecore_ingest_inflight_bytes"), 0.0);
    assert_eq!(server.drain().await.rows(), 1);
}

/// Scenario: the log is full because the bucket is away.
/// Guarantees: RESOURCE_EXHAUSTED with RetryInfo, which senders retry on.
#[tokio::test]
async fn pressure_says_when_to_come_back() {
    let server = Server::start(|config| {
        config.segment_bytes_max = 64 << 10;
        config.log_bytes_max = 256 << 10;
        config.decoded_bytes_max = 64 << 10;
        config.drain_timeout = Duration::from_millis(100);
    })
    .await;
    server.sink.state().away = true;
    let mut client = TraceServiceClient::new(channel(&server).await);
    let refused = loop {
        if let Err(status) = client.export(request(&["a span"])).await {
            break status;
        }
    };
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let told = refused.get_details_retry_info().unwrap();
    assert_eq!(told.retry_delay, Some(Duration::from_secs(1)));
    drop(client);
    server.drain().await;
}

/// Scenario: `bucket` durability; the bucket is away longer than a sender waits, then back.
/// Guarantees: acknowledged only once it is in the store; else UNAVAILABLE.
#[tokio::test]
async fn bucket_durability_waits_for_the_bucket() {
    let server = Server::start(|config| {
        config.durability = Durability::Bucket;
        config.flush_retry_max = Duration::from_millis(20);
        config.bucket_timeout = Duration::from_millis(1500);
    })
    .await;
    let mut client = TraceServiceClient::new(channel(&server).await);
    client.export(request(&["a span"])).await.unwrap();
    assert_eq!(server.sink.rows(), 1, "in the store when the answer comes");
    server.sink.state().away = true;
    let refused = client.export(request(&["another"])).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    server.sink.state().away = false;
    client.export(request(&["a third"])).await.unwrap();
    assert_eq!(server.sink.rows(), 3, "what was not acknowledged in time is stored as well");
    drop(client);
    server.drain().await;
}

/// Scenario: many calls at once on one connection, and the server is stopped in the middle.
/// Guarantees: every acknowledged span is in the store after the drain, and no other is twice.
#[tokio::test]
async fn a_stop_finishes_what_was_begun() {
    let server = Server::start(|_| {}).await;
    let client = TraceServiceClient::new(channel(&server).await);
    let calls: Vec<_> = (0..200)
        .map(|_| {
            let mut client = client.clone();
            tokio::spawn(async move { client.export(request(&["a span"])).await.is_ok() })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(5)).await;
    drop(client);
    let sink = server.drain().await;
    let mut acknowledged = 0;
    for call in calls {
        acknowledged += usize::from(call.await.unwrap());
    }
    assert!((acknowledged..=200).contains(&sink.rows()), "{acknowledged} and {}", sink.rows());
}
