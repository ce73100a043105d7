//! HTTP/2 and gRPC: real servers and clients, several requests at a time over one connection, and
//! each of them once on each side.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};

use icecore_probes::RungChoice;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde::Deserialize;

use crate::peers::{Peer, line, python};
use crate::receiver::{Received, boolean, int, text, within};
use crate::requests::{check_spans, nginx, of_ports};
use crate::watch::{on, watched};

/// Scenario: nginx, Node.js (with padded frames and without) and a server that is asked to go on as
/// HTTP/2, under httpx, curl and a Node.js client: bodies of 0 B to 1 MB both ways, HEAD, errors, interim answers, trailers, up to 40 requests
/// at a time over one connection, one connection that is older than the agent; by the socket
/// tracepoints.
/// Guarantees: one span on each side for each request, with method, path, status and sizes, inside
/// the client's own times; no record is refused; the balance closes.
#[tokio::test(flavor = "multi_thread")]
async fn http2_is_seen_by_socket_tracepoints() {
    check_http2(RungChoice::BtfTracepoints).await;
}

/// Scenario: the same, seen by the system call tracepoints.
/// Guarantees: the same.
#[tokio::test(flavor = "multi_thread")]
async fn http2_is_seen_by_system_call_tracepoints() {
    check_http2(RungChoice::SyscallTracepoints).await;
}

/// Scenario: gRPC calls of Python's library: unary and streaming ones of every kind, every status,
/// trailers alone, messages of 0 B to 300 kB, eight callers over one connection, calls that are
/// cancelled or run out of time, a connection that is older than the agent; by the socket
/// tracepoints.
/// Guarantees: one span on each side for each call, with method, status, messages and bytes each
/// way, inside the client's own times; no record is refused; the balance closes.
#[tokio::test(flavor = "multi_thread")]
async fn grpc_is_seen_by_socket_tracepoints() {
    check_grpc(RungChoice::BtfTracepoints).await;
}

/// Scenario: the same, seen by the system call tracepoints.
/// Guarantees: the same.
#[tokio::test(flavor = "multi_thread")]
async fn grpc_is_seen_by_system_call_tracepoints() {
    check_grpc(RungChoice::SyscallTracepoints).await;
}

/// Scenario: calls of gRPC in the form for browsers, by Connect's libraries for Node.js, over HTTP/1.1 and
/// HTTP/2: unary ones and such with several answers, errors of every kind, eight at a time.
/// Guarantees: one span on each side for each call, with method, status and messages, what was sent, and the
/// version of HTTP beneath; no record is refused; the balance closes.
#[tokio::test(flavor = "multi_thread")]
async fn grpc_of_browsers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/grpc_web.mjs");
    let mut command = Command::new("node");
    command.arg(path).arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut server) = command.spawn() else { return println!("skipped: no Node.js") };
    let mut lines = BufReader::new(server.stdout.take().unwrap());
    let _server = Peer(server);
    let first = line(&mut lines);
    let ports: Vec<u16> = first.split_whitespace().filter_map(|port| port.parse().ok()).collect();
    let &[plain, second] = ports.as_slice() else {
        return println!("skipped: {}", first.trim());
    };
    let arguments = [plain, second].map(|port| port.to_string());
    let config = on(RungChoice::Auto);
    let watched = watched::<Call>(config, "grpc_web_client.py", &arguments, &ports, 2).await;
    let Some((calls, received, _)) = watched else { return };
    assert!(calls.len() >= 200, "{} calls", calls.len());
    for kind in [SpanKind::Server, SpanKind::Client] {
        check_calls(&received, &ports, &calls, kind);
    }
    for (port, version) in [(plain, "1.1"), (second, "2")] {
        for span in of_ports(&received, &[port]) {
            assert_eq!(text(&span, "network.protocol.version"), Some(version), "{span:?}");
        }
    }
    println!("{} calls of browsers on both sides", calls.len());
}

async fn check_http2(rung: RungChoice) {
    let folder = tempfile::tempdir().unwrap();
    let (_nginx, nginx_port) = nginx(folder.path(), "http2", "").await;
    let Some((_node, mut node_lines)) = node("http2_server.mjs") else { return };
    let node_ports: Vec<u16> =
        line(&mut node_lines).split_whitespace().map(|port| port.parse().unwrap()).collect();
    let (_upgrading, mut lines) = python("h2c_server.py", &[]);
    let Ok(upgrading) = line(&mut lines).trim().parse() else { return println!("skipped: no h2") };
    let ports = [nginx_port, node_ports[0], node_ports[1], upgrading];
    let arguments = ports.map(|port| port.to_string());
    let watched = watched(on(rung), "http2_client.py", &arguments, &ports, 2);
    let Some((rows, received, _)) = watched.await else { return };
    assert!(rows.len() >= 200, "{} requests", rows.len());
    for kind in [SpanKind::Server, SpanKind::Client] {
        check_spans(&received, &ports, &rows, kind);
    }
    for span in of_ports(&received, &ports) {
        assert_eq!(text(&span, "network.protocol.version"), Some("2"), "{span:?}");
    }
    println!("{rung:?}: {} requests over HTTP/2 on both sides", rows.len());
}

/// A script of Node.js; none, and said so, where there is no Node.js.
fn node(script: &str) -> Option<(Peer, BufReader<ChildStdout>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(script);
    match Command::new("node").arg(path).stdout(Stdio::piped()).spawn() {
        Ok(mut child) => {
            let lines = BufReader::new(child.stdout.take().unwrap());
            Some((Peer(child), lines))
        }
        Err(error) => {
            println!("skipped: node cannot be started: {error}");
            None
        }
    }
}

/// One call, as the client saw it.
#[derive(Debug, Deserialize)]
pub(crate) struct Call {
    pub(crate) method: String,
    status: String,
    /// Messages and bytes, where they are certain.
    sent: Option<[i64; 2]>,
    received: Option<[i64; 2]>,
    /// Messages that came, where that alone is certain.
    answers: Option<i64>,
    start: u64,
    end: u64,
    /// Its connection is older than the agent.
    #[serde(default)]
    pub(crate) older: bool,
}

async fn check_grpc(rung: RungChoice) {
    let (mut server, mut server_lines) = python("grpc_server.py", &[]);
    let mut first = String::new();
    server_lines.read_line(&mut first).unwrap();
    let Ok(port) = first.trim().parse() else { return println!("skipped: no grpcio") };
    let (arguments, ports) = ([first.trim().to_owned()], [port]);
    let watched = watched::<Call>(on(rung), "grpc_client.py", &arguments, &ports, 2);
    let Some((calls, received, _)) = watched.await else { return };
    drop(server.0.stdin.take());
    assert!(calls.len() >= 200, "{} calls", calls.len());
    for kind in [SpanKind::Server, SpanKind::Client] {
        check_calls(&received, &[port], &calls, kind);
    }
    println!("{rung:?}: {} calls on both sides", calls.len());
}

/// Each call has one span of this kind, and nobody else has one.
pub(crate) fn check_calls(received: &Received, ports: &[u16], calls: &[Call], kind: SpanKind) {
    let mut spans: BTreeMap<String, Span> = BTreeMap::new();
    for span in of_ports(received, ports).into_iter().filter(|span| span.kind() == kind) {
        let method = text(&span, "rpc.method").unwrap_or_default().to_owned();
        if method.starts_with("shop.Early/") {
            continue;
        }
        let twice = spans.insert(method, span);
        assert!(twice.is_none(), "{kind:?} is there twice: {twice:?}");
    }
    for call in calls {
        let span = spans.remove(&call.method);
        check_call(call, &span.unwrap_or_else(|| panic!("no {kind:?} span of {call:?}")));
    }
    assert!(spans.is_empty(), "nobody called {spans:?}");
}

fn check_call(call: &Call, span: &Span) {
    let shown = || format!("{call:?}: {span:?}");
    assert_eq!(span.name, call.method);
    assert_eq!(text(span, "rpc.system.name"), Some("grpc"), "{}", shown());
    // Who comes late may not know a status by its number in a table.
    let unknown = call.older && boolean(span, "icecore.incomplete") == Some(true);
    if !unknown {
        let status = text(span, "rpc.response.status_code");
        assert_eq!(status, Some(&*call.status), "{}", shown());
    }
    for (way, wanted) in [("request", call.sent), ("response", call.received)] {
        let Some([messages, bytes]) = wanted else { continue };
        let found = int(span, &format!("icecore.rpc.{way}.messages"));
        let size = int(span, &format!("icecore.{way}.size"));
        // A server may end a call of which it has not read all that was sent.
        let ended_early = way == "request" && call.status != "OK" && size.is_none();
        if found.is_some() || !ended_early {
            assert_eq!(found, Some(messages), "{way}: {}", shown());
        }
        if let Some(size) = size {
            assert_eq!(size, bytes, "{way}: {}", shown());
        }
    }
    if let Some(answers) = call.answers {
        assert_eq!(int(span, "icecore.rpc.response.messages"), Some(answers), "{}", shown());
    }
    assert!(within(span, call.start, call.end), "{}", shown());
}
