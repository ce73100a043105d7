//! Requests made in ways that tracers stumble over.

use std::collections::HashSet;

use icecore_probes::RungChoice;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde::Deserialize;
use serde_json::Value;

use crate::peers::{free_port, line, python};
use crate::receiver::{Received, int, text};
use crate::requests::{check_spans, nginx, of_ports};
use crate::watch::{on, watched};

/// Two for each request, torn answer and tunnel, and two more for each request inside a tunnel.
const SPANS: usize = 100;

/// What the client wrote down.
#[derive(Debug, Deserialize)]
struct Edges {
    rows: Vec<Value>,
    /// Numbers, and the bytes of the body that came before the reset.
    torn: Vec<(i64, i64)>,
    tunnels: usize,
    /// Numbers of requests inside a tunnel.
    inside: Vec<i64>,
    /// Numbers of requests to an address of IPv4 within IPv6.
    mapped: Vec<i64>,
}

/// Scenario: sockets that are forked, duplicated, passed to another process and to another program;
/// threads that take turns; calls and stretches of no length; answers that are looked at before they are
/// taken; a body that waits for permission; a proxy; a tunnel; answers cut off by a reset; an IPv4
/// address in IPv6; two namespaces with the same addresses and ports at once. By the socket tracepoints.
/// Guarantees: one span on each side for each request, with its sizes and inside its times, and of those inside a
/// tunnel also at both ends of its own connection, in one trace; a reset is an error, with the bytes that came.
#[tokio::test(flavor = "multi_thread")]
async fn edges_are_seen_by_socket_tracepoints() {
    check_rung(RungChoice::BtfTracepoints).await;
}

/// Scenario: the same, seen by the system call tracepoints.
/// Guarantees: the same.
#[tokio::test(flavor = "multi_thread")]
async fn edges_are_seen_by_system_call_tracepoints() {
    check_rung(RungChoice::SyscallTracepoints).await;
}

async fn check_rung(rung: RungChoice) {
    let (_python, mut lines) = python("web_server.py", &[]);
    let python_port: u16 = line(&mut lines).trim().parse().unwrap();
    let (_edges, mut lines) = python("edges_server.py", &[]);
    let edges_port: u16 = line(&mut lines).trim().parse().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let handed_on = format!(
        "location /proxy {{ proxy_http_version 1.1;\n\
         proxy_pass http://127.0.0.1:{python_port}/bytes/4321?number=1000$arg_number; }}"
    );
    let (_nginx, nginx_port) = nginx(folder.path(), "", &handed_on).await;
    // Two namespaces will have it, and this one has not.
    let twin = free_port();
    let ports = [python_port, nginx_port, edges_port, twin];
    let arguments = ports.map(|port| port.to_string());
    let watched = watched::<Edges>(on(rung), "edges_client.py", &arguments, &ports, SPANS);
    let Some((edges, received, _)) = watched.await else { return };
    let [Edges { rows, torn, tunnels, inside, mapped }] = &edges[..] else { panic!("{edges:?}") };
    for kind in [SpanKind::Server, SpanKind::Client] {
        check_spans(&received, &[python_port, nginx_port, twin], rows, kind);
        let of_kind = |port| {
            let spans = of_ports(&received, &[port]).into_iter();
            spans.filter(|span| span.kind() == kind).collect::<Vec<Span>>()
        };
        // A tunnel names the server that is behind it.
        let mut tunnelled = of_kind(python_port);
        tunnelled.retain(|span| text(span, "http.request.method") == Some("CONNECT"));
        assert_eq!(tunnelled.len(), *tunnels, "{tunnelled:?}");
        let (within, others): (Vec<Span>, Vec<Span>) =
            of_kind(edges_port).into_iter().partition(|span| inside.contains(&number(span)));
        assert_eq!(within.len(), inside.len(), "{kind:?}: {within:?}");
        check_torn(torn, &others);
    }
    inside.iter().for_each(|one| check_inside(&received, edges_port, *one));
    check_twins(&received, twin);
    mapped.iter().for_each(|number| check_mapped(&received, python_port, *number));
    println!("{rung:?}: {} requests with an edge", rows.len());
}

fn number(span: &Span) -> i64 {
    let number = text(span, "url.query").and_then(|query| query.strip_prefix("number="));
    number.and_then(|number| number.parse().ok()).unwrap_or(-1)
}

/// Client and proxy tell of the same request.
fn check_inside(received: &Received, port: u16, one: i64) {
    let spans = of_ports(received, &[port]).into_iter().filter(|span| number(span) == one);
    let spans: Vec<Span> = spans.collect();
    let traces: HashSet<&[u8]> = spans.iter().map(|span| &*span.trace_id).collect();
    assert_eq!((spans.len(), traces.len()), (2, 1), "{spans:?}");
    for span in &spans {
        assert_eq!(int(span, "http.response.status_code"), Some(200), "{span:?}");
        assert_eq!(int(span, "http.response.body.size"), Some(77), "{span:?}");
    }
}

/// The same addresses and ports are not the same connection.
fn check_twins(received: &Received, port: u16) {
    let mut spans = of_ports(received, &[port]);
    spans.retain(|span| span.kind() == SpanKind::Server);
    let traces: HashSet<&[u8]> = spans.iter().map(|span| &*span.trace_id).collect();
    assert_eq!(traces.len(), spans.len(), "{spans:?}");
}

fn check_torn(torn: &[(i64, i64)], spans: &[Span]) {
    assert_eq!(spans.len(), torn.len(), "{spans:?}");
    for (number, bytes) in torn {
        let query = format!("number={number}");
        let found = spans.iter().find(|span| text(span, "url.query") == Some(&*query));
        let span = found.unwrap_or_else(|| panic!("no span of {number}: {spans:?}"));
        assert_eq!(text(span, "error.type"), Some("connection_reset"), "{span:?}");
        assert_eq!(int(span, "http.response.status_code"), Some(200), "{span:?}");
        assert_eq!(int(span, "icecore.response.body.seen_bytes"), Some(*bytes), "{span:?}");
    }
}

fn check_mapped(received: &Received, port: u16, number: i64) {
    let query = format!("number={number}");
    for span in of_ports(received, &[port]) {
        if text(&span, "url.query") == Some(&*query) {
            assert_eq!(text(&span, "network.peer.address"), Some("127.0.0.1"), "{span:?}");
        }
    }
}
