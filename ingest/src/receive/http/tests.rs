//! OTLP/HTTP over the wire, by a client that is not ours.

use std::time::Duration;

use icecore_store::Table;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::harness::{Server, client, encoded};
use crate::fixtures::request;

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

fn traces(server: &Server) -> String {
    format!("http://{}/v1/traces", server.http)
}

/// Scenario: the same spans as protobuf and JSON, in every compression; small and large.
/// Guarantees: each is accepted and its rows are visible when the answer comes; at the end all are
/// in the store once.
#[tokio::test]
async fn every_format_and_encoding_is_accepted() {
    let server = Server::start(|_| {}).await;
    let client = client(false);
    let mut sent = 0;
    for spans in [1, 400] {
        let request = request(&vec!["a span"; spans]);
        let json = serde_json::to_vec(&request).unwrap();
        for (kind, body) in [(PROTOBUF, request.encode_to_vec()), (JSON, json)] {
            for encoding in ["identity", "gzip", "deflate", "zlib", "zstd"] {
                let post = client.post(traces(&server)).header("content-type", kind);
                let post = post.header("content-encoding", encoding);
                let answer = post.body(encoded(encoding, &body)).send().await.unwrap();
                assert_eq!(answer.status(), 200, "{kind} {encoding}");
                assert_eq!(answer.headers()["content-type"], kind);
                sent += spans;
                assert_eq!(server.rows(Table::Spans).await, sent, "{kind} {encoding}");
            }
        }
    }
    let items = "icecore_ingest_items_total{signal=\"traces\",outcome=\"accepted\"}";
    assert_eq!(server.metric(items), 4010.0);
    assert_eq!(server.metric("icecore_ingest_inflight_bytes"), 0.0);
    let sink = server.drain().await;
    assert_eq!(sink.rows(), sent);
}

/// Scenario: two spans that can be stored and one that cannot; a request without spans.
/// Guarantees: partial success with count and reason; an empty request is fine and not logged.
#[tokio::test]
async fn partial_and_empty_requests_are_answered() {
    let server = Server::start(|_| {}).await;
    let client = client(false);
    let partial = request(&["one", "", "two"]);
    let post = |kind, body| client.post(traces(&server)).header("content-type", kind).body(body);
    let answer = post(PROTOBUF, partial.encode_to_vec()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let told = ExportTraceServiceResponse::decode(answer.bytes().await.unwrap()).unwrap();
    let told = told.partial_success.unwrap();
    assert_eq!(told.rejected_spans, 1);
    assert!(told.error_message.contains("trace_id"), "{}", told.error_message);
    let end = *server.feed.end().borrow();
    for empty in [Vec::new(), request(&[]).encode_to_vec(), request(&[""]).encode_to_vec()] {
        let answer = post(PROTOBUF, empty).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    let answer = post(JSON, b"{\"resourceSpans\":[]} ".to_vec()).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (200, "{}"));
    assert_eq!(*server.feed.end().borrow(), end, "nothing of these was logged");
    assert_eq!(server.drain().await.rows(), 2);
}

/// A faulty request and its answer.
struct Fault {
    name: &'static str,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: Vec<u8>,
    status: u16,
}

fn faults() -> Vec<Fault> {
    const PROTO: (&str, &str) = ("content-type", PROTOBUF);
    let fault = |name, headers, body, status| {
        let path = "/v1/traces";
        Fault { name, path, headers, body, status }
    };
    let good = request(&["a span"]).encode_to_vec();
    let bomb = encoded("zstd", &vec![0; 20 << 20]);
    let gzip_bomb = encoded("gzip", &vec![0; 20 << 20]);
    let mut broken = encoded("gzip", &good);
    broken.truncate(10);
    vec![
        fault("protobuf", &[PROTO], b"not protobuf".to_vec(), 400),
        fault("json", &[("content-type", JSON)], b"{\"resourceSpans\":7}".to_vec(), 400),
        fault("type", &[("content-type", "text/plain")], good.clone(), 415),
        fault("charset", &[("content-type", "application/json; charset=latin1")], vec![], 415),
        fault("no type", &[], good.clone(), 415),
        fault("encoding", &[PROTO, ("content-encoding", "br")], good.clone(), 415),
        fault("broken gzip", &[PROTO, ("content-encoding", "gzip")], broken, 400),
        fault("zip bomb", &[PROTO, ("content-encoding", "gzip")], gzip_bomb, 413),
        fault("zstd bomb", &[PROTO, ("content-encoding", "zstd")], bomb, 413),
        fault("100 MB", &[PROTO], vec![0; 100 << 20], 413),
        Fault { path: "/v1/profiles", ..fault("path", &[PROTO], good.clone(), 404) },
        Fault { path: "/", ..fault("root", &[PROTO], good, 404) },
    ]
}

/// Scenario: everything that a sender can get wrong, between good requests.
/// Guarantees: the right status, a `google.rpc.Status` that says what was wrong, each counted;
/// no memory is held afterwards, and the server goes on.
#[tokio::test]
async fn every_fault_has_its_answer() {
    let server = Server::start(|_| {}).await;
    let client = client(false);
    let good = request(&["a span"]).encode_to_vec();
    for Fault { name, path, headers, body, status } in faults() {
        let mut post = client.post(format!("http://{}{path}", server.http)).body(body);
        for (header, value) in headers {
            post = post.header(*header, *value);
        }
        let answer = post.send().await.unwrap();
        assert_eq!(answer.status(), status, "{name}");
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        let body = answer.bytes().await.unwrap();
        let message = if kind == PROTOBUF {
            tonic_types::Status::decode(body).unwrap().message
        } else {
            let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
            json["message"].as_str().unwrap().to_owned()
        };
        assert!(!message.is_empty(), "{name}");
        let post = client.post(traces(&server)).header("content-type", PROTOBUF);
        assert_eq!(post.body(good.clone()).send().await.unwrap().status(), 200, "after {name}");
    }
    let refused = |signal, outcome| {
        let labels = format!("protocol=\"http\",signal=\"{signal}\",outcome=\"{outcome}\"");
        server.metric(&format!("icecore_ingest_requests_total{{{labels}}}"))
    };
    assert_eq!(refused("traces", "malformed"), 2.0);
    assert_eq!(refused("traces", "too_large"), 3.0);
    assert_eq!(refused("none", "not_found"), 2.0);
    assert_eq!(refused("traces", "accepted"), 12.0);
    assert_eq!(server.metric("icecore_ingest_inflight_bytes"), 0.0);
    assert_eq!(server.drain().await.rows(), 12);
}

/// Scenario: another method; a chunked body without an announced length that is too large.
/// Guarantees: 405 with the method that is allowed; 413 even though the sender writes on.
#[tokio::test]
async fn methods_and_endless_bodies_are_refused() {
    let server = Server::start(|_| {}).await;
    let client = client(false);
    let answer = client.get(traces(&server)).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["allow"]),
        (405, &"POST".parse().unwrap())
    );
    let piece = bytes::Bytes::from(vec![0; 64 << 10]);
    let pieces =
        futures::stream::iter((0..80).map(move |_| Ok::<_, std::io::Error>(piece.clone())));
    let post = client.post(traces(&server)).header("content-type", PROTOBUF);
    let answer = post.body(reqwest::Body::wrap_stream(pieces)).send().await.unwrap();
    assert_eq!(answer.status(), 413);
    server.drain().await;
}

/// Scenario: a sender sends half a request and stalls.
/// Guarantees: it is told so after the timeout, and its memory is given back.
#[tokio::test]
async fn a_stalled_sender_is_let_go() {
    let server = Server::start(|config| config.read_timeout = Duration::from_millis(200)).await;
    let mut stream = TcpStream::connect(server.http).await.unwrap();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: {PROTOBUF}\r\ncontent-length: 9\r\n\r\nhalf"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 503");
    assert_eq!(server.metric("icecore_ingest_inflight_bytes"), 0.0);
    drop(stream);
    server.drain().await;
}

/// Scenario: the bucket is away until the log is full; then it is back.
/// Guarantees: 429 with Retry-After, nothing acknowledged is lost, and it recovers by itself.
#[tokio::test]
async fn pressure_is_answered_and_passes() {
    let server = Server::start(|config| {
        config.segment_bytes_max = 64 << 10;
        config.log_bytes_max = 256 << 10;
        config.decoded_bytes_max = 64 << 10;
        config.flush_bytes = 10 << 10;
        config.flush_retry_max = Duration::from_millis(10);
    })
    .await;
    let client = client(false);
    server.sink.state().away = true;
    let body = request(&vec!["a span"; 50]).encode_to_vec();
    let send = async || {
        let post = client.post(traces(&server)).header("content-type", PROTOBUF);
        post.body(body.clone()).send().await.unwrap()
    };
    let mut accepted = 0;
    let refused = loop {
        let answer = send().await;
        if answer.status() != 200 {
            break answer;
        }
        accepted += 50;
        assert!(accepted < 10_000_000, "the log has a bound");
    };
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["retry-after"]),
        (429, &"1".parse().unwrap())
    );
    server.sink.state().away = false;
    for _ in 0..500 {
        if send().await.status() == 200 {
            accepted += 50;
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(server.drain().await.rows(), accepted);
}

/// Scenario: a page of an origin that may send, and one of another; with none configured.
/// Guarantees: browsers hear of exactly the configured origins.
#[tokio::test]
async fn pages_of_configured_origins_may_send() {
    let origin = "https://shop.example";
    for (configured, origin, allowed) in [
        (vec![origin.to_owned()], origin, true),
        (vec![origin.to_owned()], "https://other.example", false),
        (vec!["*".to_owned()], "https://other.example", true),
        (Vec::new(), origin, false),
    ] {
        let server = Server::start(|config| config.cors_origins = configured).await;
        let ask = client(false).request(reqwest::Method::OPTIONS, traces(&server));
        let ask = ask.header("origin", origin).header("access-control-request-method", "POST");
        let answer = ask.send().await.unwrap();
        let heard = answer.headers().contains_key("access-control-allow-origin");
        assert_eq!(heard, allowed, "{origin}");
        server.drain().await;
    }
}
