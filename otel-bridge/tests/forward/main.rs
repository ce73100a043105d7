//! The bridge against real OTLP servers that are slow, away, full, or of another opinion.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::panic, reason = "a test may panic")]
#![allow(clippy::print_stdout, reason = "a test says why it was skipped")]

mod collector;
mod feed;
mod receiver;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use icecore_bridge::{Bridge, Compression, Config, Destination, Error, RetryConfig};
use icecore_store::{Feed, LogPosition, Secret, Signal, SystemClock};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prometheus_client::registry::Registry;
use prost::Message;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use collector::Collector;
use feed::MemoryFeed;
use receiver::{Accepted, Receiver, Reply};

const WRITER: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
const LOOPBACK: &str = "127.0.0.1:0";

/// A request with one span, named by its number.
fn request(number: usize) -> Bytes {
    let span = Span { name: format!("span {number}"), span_id: vec![7; 8], ..Span::default() };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec().into()
}

fn config(folder: &Path, destination: Destination) -> Config {
    Config {
        destinations: vec![destination],
        cursor_dir: folder.to_owned(),
        cursor_interval: Duration::from_millis(20),
        retry: RetryConfig {
            first_wait: Duration::from_millis(10),
            wait_max: Duration::from_millis(100),
            asked_wait_max: Duration::from_secs(5),
        },
        drain_wait: Duration::from_secs(2),
        ..Config::default()
    }
}

fn destination(scheme: &str, address: SocketAddr) -> Destination {
    let mut destination = Destination::parse(&format!("{scheme}://{address}")).unwrap();
    if scheme == "http" {
        destination.protocol = icecore_bridge::Protocol::Http;
    }
    destination.name = "there".to_owned();
    destination
}

/// A bridge at work, with the figures it publishes.
struct Running {
    registry: Registry,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Running {
    async fn start(config: Config, feed: &Arc<MemoryFeed>) -> Self {
        // The first test of the process installs it.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut registry = Registry::default();
        let feed: Arc<dyn Feed> = Arc::clone(feed) as _;
        let clock = Arc::new(SystemClock::new());
        let bridge = Bridge::open(config, feed, clock, &mut registry).await.unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(bridge.run(stop.clone()));
        Self { registry, stop, task }
    }

    async fn stop(self) -> String {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }
}

/// Waits until `done`, or panics after ten seconds.
async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not happen");
}

fn sorted(receiver: &Receiver) -> Vec<Vec<u8>> {
    let mut payloads: Vec<_> = receiver.accepted().into_iter().map(|it| it.payload).collect();
    payloads.sort();
    payloads
}

fn expected(numbers: impl IntoIterator<Item = usize>) -> Vec<Vec<u8>> {
    let mut payloads: Vec<_> = numbers.into_iter().map(|it| request(it).to_vec()).collect();
    payloads.sort();
    payloads
}

/// Sends `count` requests to a server with a script, and gives its side and our figures.
async fn check(
    scheme: &str,
    count: usize,
    script: Vec<Reply>,
    finished: usize,
) -> (Receiver, String) {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::new(script);
    let (address, _server) = match scheme {
        "http" => receiver.serve_http().await,
        _ => receiver.serve_grpc(LOOPBACK.parse().unwrap()).await,
    };
    let feed = Arc::new(MemoryFeed::new(WRITER));
    let mut destination = destination(scheme, address);
    destination.timeout = Duration::from_millis(400);
    let running = Running::start(config(folder.path(), destination), &feed).await;
    (0..count).for_each(|number| feed.push(Signal::Traces, request(number)));
    until("everything is settled", || {
        let settled = feed.retained.lock().unwrap().get("there").copied();
        settled == Some(feed.end_now()) && receiver.accepted().len() >= finished
    })
    .await;
    (receiver, running.stop().await)
}

fn figure(text: &str, name: &str) -> f64 {
    let lines = text.lines().filter(|line| line.starts_with(name));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Scenario: a hundred requests over gRPC and over HTTP.
/// Guarantees: each arrives once; the figures agree; the cursor has moved to the end.
#[tokio::test]
async fn everything_arrives_once() {
    for scheme in ["grpc", "http"] {
        let (receiver, text) = check(scheme, 100, Vec::new(), 100).await;
        assert_eq!(sorted(&receiver), expected(0..100), "{scheme}");
        assert_eq!(figure(&text, "icecore_bridge_delivered_requests_total"), 100.0, "{text}");
        assert_eq!(figure(&text, "icecore_bridge_retried_requests_total"), 0.0, "{text}");
    }
}

/// Scenario: every compression, every signal, bytes that no decoder of ours knows, and a header.
/// Guarantees: the receiver unpacks exactly the bytes that came in.
#[tokio::test]
async fn bytes_are_not_changed() {
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let folder = tempfile::tempdir().unwrap();
        let receiver = Receiver::default();
        let (address, _server) = receiver.serve_http().await;
        let feed = Arc::new(MemoryFeed::new(WRITER));
        let mut destination = destination("http", address);
        destination.compression = compression;
        destination.headers = vec![("x-api-key".to_owned(), Secret::new("s3cret"))];
        assert!(!format!("{destination:?}").contains("s3cret"));
        let running = Running::start(config(folder.path(), destination), &feed).await;
        for signal in Signal::ALL {
            feed.push(signal, Bytes::from(format!("\u{1}not protobuf {signal}").repeat(50)));
        }
        until("all requests arrive", || receiver.accepted().len() == Signal::ALL.len()).await;
        running.stop().await;
        for accepted in receiver.accepted() {
            let text = format!("\u{1}not protobuf {}", accepted.signal).repeat(50);
            assert_eq!(accepted.payload, text.as_bytes(), "{compression:?}");
            assert_eq!(accepted.headers["x-api-key"], "s3cret");
            assert_eq!(accepted.headers["content-type"], "application/x-protobuf");
        }
    }
}

/// Scenario: the same over gRPC, with a header.
/// Guarantees: tonic's server unpacks and decodes what we framed.
#[tokio::test]
async fn grpc_frames_are_understood() {
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let folder = tempfile::tempdir().unwrap();
        let receiver = Receiver::default();
        let (address, _server) = receiver.serve_grpc(LOOPBACK.parse().unwrap()).await;
        let feed = Arc::new(MemoryFeed::new(WRITER));
        let mut destination = destination("grpc", address);
        destination.compression = compression;
        destination.headers = vec![("x-api-key".to_owned(), Secret::new("s3cret"))];
        let running = Running::start(config(folder.path(), destination), &feed).await;
        feed.push(Signal::Traces, request(1));
        until("it arrives", || receiver.accepted().len() == 1).await;
        running.stop().await;
        assert_eq!(sorted(&receiver), expected([1]), "{compression:?}");
        assert_eq!(receiver.accepted()[0].headers["x-api-key"], "s3cret");
    }
}

/// Scenario: answers that ask to come back: full, overloaded, broken proxies, silence.
/// Guarantees: everything arrives; a `Retry-After` is waited for; nothing is refused.
#[tokio::test]
async fn what_can_be_tried_again_is() {
    let started = tokio::time::Instant::now();
    let script = vec![
        Reply::Http(503, None),
        Reply::Http(429, Some("1")),
        Reply::Http(502, None),
        Reply::Slow(Duration::from_millis(600)),
        Reply::Http(504, None),
    ];
    let (receiver, text) = check("http", 10, script, 10).await;
    let mut distinct = sorted(&receiver);
    distinct.dedup(); // the slow one was accepted after we had given up on it
    assert_eq!(distinct, expected(0..10));
    assert!(started.elapsed() >= Duration::from_secs(1), "Retry-After was not waited for");
    assert_eq!(figure(&text, "icecore_bridge_retried_requests_total"), 5.0, "{text}");
    assert_eq!(figure(&text, "icecore_bridge_refused_requests_total"), 0.0, "{text}");

    let started = tokio::time::Instant::now();
    let details = ErrorDetails::with_retry_info(Some(Duration::from_millis(700)));
    let exhausted = Status::with_error_details(Code::ResourceExhausted, "full", details);
    let script = vec![Reply::Grpc(Status::unavailable("later")), Reply::Grpc(exhausted)];
    let (receiver, text) = check("grpc", 10, script, 10).await;
    assert_eq!(sorted(&receiver), expected(0..10));
    assert!(started.elapsed() >= Duration::from_millis(700), "RetryInfo was not waited for");
    assert!(text.contains("reason=\"throttled\""), "{text}");
}

/// Scenario: a request that is refused for good, and one of which a part is.
/// Guarantees: the others go on; the refused one is kept on disk and counted; parts are counted.
#[tokio::test]
async fn what_is_refused_does_not_block() {
    let script = vec![Reply::Http(400, None), Reply::Partial(3)];
    let (receiver, text) = check("http", 5, script, 4).await;
    assert_eq!((receiver.accepted().len(), receiver.attempts()), (4, 5));
    assert_eq!(figure(&text, "icecore_bridge_refused_requests_total"), 1.0, "{text}");
    assert_eq!(figure(&text, "icecore_bridge_rejected_items_total"), 3.0, "{text}");
    let script = vec![Reply::Grpc(Status::invalid_argument("no")), Reply::Partial(2)];
    let (receiver, text) = check("grpc", 5, script, 4).await;
    assert_eq!((receiver.accepted().len(), receiver.attempts()), (4, 5));
    assert!(text.contains("reason=\"invalid\""), "{text}");
    assert_eq!(figure(&text, "icecore_bridge_rejected_items_total"), 2.0, "{text}");
}

/// Scenario: profiles for a receiver that has only the service of traces, between traces.
/// Guarantees: they are counted as skipped, not as refused, and hold nothing up.
#[tokio::test]
async fn profiles_may_be_unknown_to_a_destination() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::default();
    let (address, _server) = receiver.serve_grpc(LOOPBACK.parse().unwrap()).await;
    let feed = Arc::new(MemoryFeed::new(WRITER));
    let running = Running::start(config(folder.path(), destination("grpc", address)), &feed).await;
    for number in 0..3 {
        feed.push(Signal::Profiles, Bytes::from_static(b"a profile"));
        feed.push(Signal::Traces, request(number));
    }
    until("the traces arrive", || receiver.accepted().len() == 3).await;
    let text = running.stop().await;
    assert_eq!(sorted(&receiver), expected(0..3));
    assert_eq!(figure(&text, "icecore_bridge_skipped_requests_total"), 3.0, "{text}");
    assert_eq!(figure(&text, "icecore_bridge_refused_requests_total"), 0.0, "{text}");
}

/// Scenario: nobody listens at first, then a server comes, goes, and comes again.
/// Guarantees: every request arrives; the log was never asked to wait.
#[tokio::test]
async fn an_absent_destination_catches_up() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::default();
    let (address, server) = receiver.serve_grpc(LOOPBACK.parse().unwrap()).await;
    drop(server);
    let feed = Arc::new(MemoryFeed::new(WRITER));
    let running = Running::start(config(folder.path(), destination("grpc", address)), &feed).await;
    (0..20).for_each(|number| feed.push(Signal::Traces, request(number)));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(receiver.accepted().is_empty());
    let (_, server) = receiver.serve_grpc(address).await;
    until("the first twenty arrive", || receiver.accepted().len() >= 20).await;
    drop(server);
    (20..40).for_each(|number| feed.push(Signal::Traces, request(number)));
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (_, _server) = receiver.serve_grpc(address).await;
    until("the other twenty arrive", || receiver.accepted().len() >= 40).await;
    let text = running.stop().await;
    let mut distinct = sorted(&receiver);
    distinct.dedup();
    assert_eq!(distinct, expected(0..40));
    assert!(text.contains("reason=\"unreachable\""), "{text}");
}

/// Scenario: the real Collector, over gRPC and over HTTP with zstd, away at first and killed in
/// between.
/// Guarantees: what is behind it gets every span.
#[tokio::test]
async fn the_collector_gets_every_span() {
    let program = match collector::program() {
        Ok(program) => program,
        Err(why) => return println!("skipped: {why}"),
    };
    for (scheme, port) in [("grpc", 0), ("http", 1)] {
        let folder = tempfile::tempdir().unwrap();
        let receiver = Receiver::default();
        let (behind, _server) = receiver.serve_http().await;
        let ports = collector::ports();
        let mut destination = destination(scheme, ([127, 0, 0, 1], ports[port]).into());
        destination.compression = Compression::Zstd;
        let feed = Arc::new(MemoryFeed::new(WRITER));
        let running = Running::start(config(folder.path(), destination), &feed).await;
        (0..50).for_each(|number| feed.push(Signal::Traces, request(number)));
        let collector = Collector::start(&program, folder.path(), ports, behind);
        until("fifty arrive", || span_names(&receiver).len() == 50).await;
        drop(collector);
        (50..100).for_each(|number| feed.push(Signal::Traces, request(number)));
        tokio::time::sleep(Duration::from_millis(300)).await;
        let _collector = Collector::start(&program, folder.path(), ports, behind);
        until("a hundred arrive", || span_names(&receiver).len() == 100).await;
        running.stop().await;
    }
}

/// Names of the first spans of all requests: a request may come twice when the Collector dies,
/// and the Collector may encode it in other bytes.
fn span_names(receiver: &Receiver) -> BTreeSet<String> {
    let name = |accepted: Accepted| {
        let request = ExportTraceServiceRequest::decode(accepted.payload.as_slice()).unwrap();
        request.resource_spans[0].scope_spans[0].spans[0].name.clone()
    };
    receiver.accepted().into_iter().map(name).collect()
}

/// Scenario: a stop and a start with more in the log; then another log in its place.
/// Guarantees: what was delivered is not sent again; what came meanwhile is; a new log is sent
/// from its start.
#[tokio::test]
async fn a_restart_goes_on_at_the_cursor() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::default();
    let (address, _server) = receiver.serve_grpc(LOOPBACK.parse().unwrap()).await;
    let config = config(folder.path(), destination("grpc", address));
    let feed = Arc::new(MemoryFeed::new(WRITER));
    feed.push(Signal::Traces, request(900)); // before the destination was added
    let running = Running::start(config.clone(), &feed).await;
    (0..5).for_each(|number| feed.push(Signal::Traces, request(number)));
    until("five arrive", || receiver.accepted().len() == 5).await;
    running.stop().await;
    (5..9).for_each(|number| feed.push(Signal::Traces, request(number)));
    let running = Running::start(config.clone(), &feed).await;
    until("four more arrive", || receiver.accepted().len() == 9).await;
    running.stop().await;
    assert_eq!(sorted(&receiver), expected(0..9));

    let other = Arc::new(MemoryFeed::new("01ARZ3NDEKTSV4RRFFQ69G5FAW"));
    other.push(Signal::Traces, request(50));
    let running = Running::start(config, &other).await;
    until("the new log arrives", || receiver.accepted().len() == 10).await;
    running.stop().await;
}

/// Scenario: the log is trimmed beyond the cursor while the destination is stopped.
/// Guarantees: the loss is counted in bytes, and what is left arrives.
#[tokio::test]
async fn a_trimmed_log_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::default();
    let (address, _server) = receiver.serve_grpc(LOOPBACK.parse().unwrap()).await;
    let config = config(folder.path(), destination("grpc", address));
    let feed = Arc::new(MemoryFeed::new(WRITER));
    Running::start(config.clone(), &feed).await.stop().await;
    (0..10).for_each(|number| feed.push(Signal::Traces, request(number)));
    feed.trim(4);
    let lost = feed.oldest();
    let running = Running::start(config, &feed).await;
    until("four arrive", || receiver.accepted().len() == 4).await;
    let end = feed.end_now();
    until("the cursor is at the end", || feed.retained.lock().unwrap()["there"] == end).await;
    let text = running.stop().await;
    assert_eq!(sorted(&receiver), expected(6..10));
    assert_eq!(figure(&text, "icecore_bridge_lost_bytes_total"), lost.0 as f64, "{text}");
    assert_ne!(lost, LogPosition(0));
}

/// Scenario: settings that cannot work.
/// Guarantees: each is refused at `open`, with its name.
#[tokio::test]
async fn faults_are_found_at_open() {
    let folder = tempfile::tempdir().unwrap();
    let there = destination("grpc", "127.0.0.1:4317".parse().unwrap());
    let good = config(folder.path(), there.clone());
    let refused = async |config: Config, expected: &str| {
        let feed: Arc<dyn Feed> = Arc::new(MemoryFeed::new(WRITER));
        let clock = Arc::new(SystemClock::new());
        let opened = Bridge::open(config, feed, clock, &mut Registry::default()).await;
        let text = opened.unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
    };
    let own_addresses = vec!["127.0.0.1:4317".parse().unwrap()];
    refused(Config { own_addresses, ..good.clone() }, "our own OTLP address").await;
    let twice = vec![there.clone(), there.clone()];
    refused(Config { destinations: twice, ..good.clone() }, "two destinations").await;
    refused(Config { in_flight_max: 0, ..good.clone() }, "in_flight_max").await;
    let headers = vec![("bad header".to_owned(), Secret::new("hunter2"))];
    let bad = Destination { headers, ..there };
    refused(Config { destinations: vec![bad], ..good }, "`bad header`").await;
}
