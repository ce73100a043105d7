//! WebSocket: real connections, each of which is its upgrade and what passed behind it.

use std::collections::BTreeMap;

use icecore_probes::RungChoice;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde::Deserialize;

use crate::peers::{line, python};
use crate::receiver::{Received, int, text};
use crate::requests::of_ports;
use crate::watch::{on, watched};

/// One connection, as the client saw it.
#[derive(Debug, Deserialize)]
struct Record {
    target: String,
    /// Of the upgrade.
    status: i64,
    code: Option<i64>,
    /// Messages and bytes.
    sent: [i64; 2],
    received: [i64; 2],
    start: u64,
    /// When the client could speak; none where it was refused.
    upgraded: Option<u64>,
    end: u64,
    cut_off: bool,
}

/// Scenario: connections of Python's websockets: 430 messages of 0 B to 300 kB both ways, ten
/// connections at a time, messages that nobody asked for, closed for many reasons and for none, one
/// that is refused; by the socket tracepoints.
/// Guarantees: on each side a span for each upgrade, and for each that was granted one of the
/// connection with messages, bytes and code; no record is refused; the balance closes.
#[tokio::test(flavor = "multi_thread")]
async fn websocket_is_seen_by_socket_tracepoints() {
    check_websocket(RungChoice::BtfTracepoints).await;
}

/// Scenario: the same, seen by the system call tracepoints.
/// Guarantees: the same.
#[tokio::test(flavor = "multi_thread")]
async fn websocket_is_seen_by_system_call_tracepoints() {
    check_websocket(RungChoice::SyscallTracepoints).await;
}

async fn check_websocket(rung: RungChoice) {
    let (_server, mut lines) = python("websocket_server.py", &[]);
    let Ok(port) = line(&mut lines).trim().parse::<u16>() else {
        return println!("skipped: no websockets");
    };
    let (arguments, ports) = ([port.to_string()], [port]);
    let watched = watched::<Record>(on(rung), "websocket_client.py", &arguments, &ports, 3);
    let Some((records, received, _)) = watched.await else { return };
    let messages: i64 = records.iter().map(|record| record.sent[0] + record.received[0]).sum();
    assert!(messages >= 400, "{messages} messages");
    for kind in [SpanKind::Server, SpanKind::Client] {
        check_spans(&received, port, &records, kind);
    }
    println!("{rung:?}: {} connections, {messages} messages, on both sides", records.len());
}

fn check_spans(received: &Received, port: u16, records: &[Record], kind: SpanKind) {
    let mut spans: BTreeMap<(String, String), Span> = BTreeMap::new();
    for span in of_ports(received, &[port]).into_iter().filter(|span| span.kind() == kind) {
        let (path, query) = (text(&span, "url.path").unwrap(), text(&span, "url.query").unwrap());
        let protocol = text(&span, "network.protocol.name").unwrap().to_owned();
        let twice = spans.insert((format!("{path}?{query}"), protocol), span);
        assert!(twice.is_none(), "{kind:?} is there twice: {twice:?}");
    }
    for record in records {
        let mut take = |protocol: &str| spans.remove(&(record.target.clone(), protocol.to_owned()));
        let upgrade = take("http").unwrap_or_else(|| panic!("no {kind:?} span of {record:?}"));
        assert_eq!(int(&upgrade, "http.response.status_code"), Some(record.status));
        let session = take("websocket");
        assert_eq!(session.is_some(), record.upgraded.is_some(), "{record:?}");
        if let Some(session) = session {
            check_session(record, &upgrade, &session);
        }
    }
    assert!(spans.is_empty(), "nobody made {spans:?}");
}

fn check_session(record: &Record, upgrade: &Span, session: &Span) {
    let shown = || format!("{record:?}: {session:?}");
    for (way, [messages, bytes]) in [("request", record.sent), ("response", record.received)] {
        let found = int(session, &format!("icecore.websocket.{way}.messages"));
        assert_eq!(found, Some(messages), "{way}: {}", shown());
        assert_eq!(int(session, &format!("icecore.{way}.size")), Some(bytes), "{way}: {}", shown());
    }
    assert_eq!(int(session, "icecore.websocket.close_code"), record.code, "{}", shown());
    let error = match record.code {
        Some(1000 | 1001) => None,
        Some(code) => Some(code.to_string()),
        None => Some("connection_".to_owned()),
    };
    let found = text(session, "error.type").unwrap_or_default();
    assert!(found.starts_with(&error.unwrap_or_default()), "{}", shown());
    assert_eq!(upgrade.end_time_unix_nano, session.start_time_unix_nano, "{}", shown());
    assert!(record.cut_off || session.end_time_unix_nano <= record.end + 5_000_000, "{}", shown());
    assert!(upgrade.start_time_unix_nano + 5_000_000 >= record.start, "{}", shown());
}
