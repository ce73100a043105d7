//! Bytes that are moved in ways that few programs use: each system call there is, 32-bit programs,
//! `splice`, `io_uring`.

use std::collections::HashMap;

use icecore_probes::RungChoice;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::Value;

use crate::peers::{figure, free_port, line, python};
use crate::receiver::{Received, shown, text};
use crate::requests::{check_spans, of_ports};
use crate::watch::{on, watched};

/// A request at least of each kind, where the machine can make them.
const ROWS_MIN: usize = 80;

/// Scenario: requests by each system call that moves bytes on a socket, by a 64-bit and a 32-bit program
/// (by the numbers of its own calls, and by `socketcall`), in hundreds of stretches and several messages a call;
/// a proxy that splices bodies both ways; `sendfile`; memory that is not copied; bytes that are thrown away,
/// and waited for together; urgent ones; calls that fail or take a part; a half of a connection closed
/// early; servers that share a port; TCP Fast Open, also answered before the connection is established; the
/// same words on Unix sockets. By the socket tracepoints.
/// Guarantees: one span on each side for each request, with its sizes and inside its times; none of what is
/// not TCP; both sides of what came by TCP Fast Open are one trace.
#[tokio::test(flavor = "multi_thread")]
async fn every_way_is_seen_by_socket_tracepoints() {
    check_ways(RungChoice::BtfTracepoints).await;
}

/// Scenario: the same, seen by the system call tracepoints.
/// Guarantees: the same.
#[tokio::test(flavor = "multi_thread")]
async fn every_way_is_seen_by_system_call_tracepoints() {
    check_ways(RungChoice::SyscallTracepoints).await;
}

/// Scenario: a client that asks by `io_uring`, done in its calls, by workers of the kernel, by a thread of
/// the kernel that polls, and on the way out of a read from a pipe whose place in memory looks like a
/// request; in two parts at once, also such that one waits for the other; such that no end is told of it; by `io_submit` while a
/// request that looks like another waits, and by a registered descriptor while one of another process does; in a list of
/// pieces; and once by ordinary calls. Seen by the socket tracepoints.
/// Guarantees: a record of each connection with its bytes; both sides of each request are seen, but the client's of
/// those whose parts waited at the same time, whose end is not told, that were no request of a ring, of a registered
/// descriptor, or a list, which count as not read; those that come after them are read; nothing is made up, and nothing
/// counts as missing.
#[tokio::test(flavor = "multi_thread")]
async fn io_uring_is_read_by_socket_tracepoints() {
    check_ring(RungChoice::BtfTracepoints).await;
}

/// Scenario: the same, seen by the system call tracepoints, which `io_uring` does not pass.
/// Guarantees: a record of each connection with its bytes; the server's side of each request, and the client's of the
/// ordinary one; nothing is made up.
#[tokio::test(flavor = "multi_thread")]
async fn io_uring_leaves_system_call_tracepoints_alone() {
    check_ring(RungChoice::SyscallTracepoints).await;
}

async fn check_ways(rung: RungChoice) {
    let (_python, mut lines) = python("web_server.py", &[]);
    let python_port: u16 = line(&mut lines).trim().parse().unwrap();
    let [splicing, shared, fast] = [free_port(), free_port(), free_port()];
    let ports = [python_port, splicing, shared, fast];
    let arguments = ports.map(|port| port.to_string());
    let watched = watched::<Value>(on(rung), "ways_client.py", &arguments, &ports, 2);
    let Some((rows, received, _)) = watched.await else { return };
    assert!(rows.len() >= ROWS_MIN, "{} requests", rows.len());
    for kind in [SpanKind::Server, SpanKind::Client] {
        check_spans(&received, &ports, &rows, kind);
    }
    assert!(!received.told().contains("beside"), "told of what is not TCP");
    check_traces(&of_ports(&received, &[fast]));
    println!("{rung:?}: {} requests", rows.len());
}

/// A request is one trace.
fn check_traces(spans: &[Span]) {
    let mut traces: HashMap<&str, Vec<&Span>> = HashMap::new();
    for span in spans {
        traces.entry(text(span, "url.query").unwrap()).or_default().push(span);
    }
    for (query, spans) in traces {
        let [one, other] = spans[..] else { panic!("{query}: {spans:?}") };
        assert_eq!(one.trace_id, other.trace_id, "{query}: {spans:?}");
    }
}

async fn check_ring(rung: RungChoice) {
    let (_python, mut lines) = python("web_server.py", &[]);
    let port: u16 = line(&mut lines).trim().parse().unwrap();
    let (arguments, ports) = ([port.to_string()], [port]);
    let watched = watched::<Asked>(on(rung), "ring_client.py", &arguments, &ports, 1);
    let Some((asked, received, registry)) = watched.await else { return };
    let all: Vec<Value> = asked.iter().map(|(.., row)| row.clone()).collect();
    // On this rung alone it is known where bytes lie, but where two requests go one way at a time.
    let read = rung == RungChoice::BtfTracepoints;
    let seen = asked.iter().filter(|(how, ..)| how == "plain" || (read && how == "ring"));
    let seen: Vec<Value> = seen.map(|(.., row)| row.clone()).collect();
    assert_eq!((all.len(), seen.len()), (14, if read { 9 } else { 1 }));
    check_spans(&received, &[port], &all, SpanKind::Server);
    check_spans(&received, &[port], &seen, SpanKind::Client);
    assert!(
        !received.told().contains("decoy"),
        "what is not on any socket was taken for a request"
    );
    asked.iter().for_each(|one| check_record(one, port, &received));
    assert_eq!(figure(&registry, "icecore_probes_rings_missing "), u64::from(!read));
    let counted = figure(&registry, "icecore_probes_calls_total{outcome=\"unnamed\"} ");
    match rung {
        // The parts of the question that were asked for at once, and four questions after it.
        RungChoice::BtfTracepoints => assert!(counted >= 6, "{counted} calls"),
        _ => println!("{counted} calls of others"),
    }
}

/// How, from which port, bytes sent and received, and the record of the request.
type Asked = (String, u16, u64, u64, Value);

fn check_record(asked: &Asked, port: u16, received: &Received) {
    let (how, local, sent, got, _) = asked;
    let events = received.events("icecore.network.connection");
    let of_client = events.iter().filter(|(_, record)| {
        let is = |key, value: u16| {
            shown(&record.attributes, key).as_deref() == Some(&*value.to_string())
        };
        is("network.local.port", *local) && is("network.peer.port", port)
    });
    let [(_, record)] = of_client.collect::<Vec<_>>()[..] else {
        panic!("not one record of {asked:?}")
    };
    let number = |key| shown(&record.attributes, key).unwrap().parse::<u64>().unwrap();
    assert_eq!(number("icecore.network.bytes.sent"), *sent, "{how}: {record:?}");
    assert_eq!(number("icecore.network.bytes.received"), *got, "{how}: {record:?}");
}
