//! Requests of every shape, seen on both sides and on both rungs.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use icecore_probes::RungChoice;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::Value;

use crate::peers::{Peer, free_port, line, listening, python};
use crate::receiver::{Received, int, text, within};
use crate::watch::{on, watched};

const REQUESTS: usize = 150;

/// Scenario: nginx and a Python server, hit by curl, by kept-alive connections (one older than the
/// agent), by a pipelining client and over IPv6; bodies of 0 B to 1 MB, by sendfile and chunked;
/// seen by the socket tracepoints.
/// Guarantees: one server span and one client span for each request, with method, path, status and
/// sizes as the client knows them, inside its own times; no record is refused; the balance closes.
#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_seen_by_socket_tracepoints() {
    check_rung(RungChoice::BtfTracepoints).await;
}

/// Scenario: the same, seen on the functions of TCP and UDP.
/// Guarantees: the same.
#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_seen_by_functions() {
    check_rung(RungChoice::Functions).await;
}

/// Scenario: the same, seen by the system call tracepoints.
/// Guarantees: the same.
#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_seen_by_system_call_tracepoints() {
    check_rung(RungChoice::SyscallTracepoints).await;
}

async fn check_rung(rung: RungChoice) {
    let folder = tempfile::tempdir().unwrap();
    let (_nginx, nginx_port) = nginx(folder.path(), "", "").await;
    let (_server, mut server_lines) = python("web_server.py", &[]);
    let python_port: u16 = line(&mut server_lines).trim().parse().unwrap();
    let ports = [nginx_port, python_port];
    let arguments = [nginx_port.to_string(), python_port.to_string(), REQUESTS.to_string()];
    let watched = watched::<Value>(on(rung), "web_client.py", &arguments, &ports, 2);
    let Some((rows, received, _)) = watched.await else { return };
    check_spans(&received, &ports, &rows, SpanKind::Server);
    check_spans(&received, &ports, &rows, SpanKind::Client);
}

/// Spans of servers at these ports.
pub(crate) fn of_ports(received: &Received, ports: &[u16]) -> Vec<Span> {
    let ports: Vec<i64> = ports.iter().map(|&port| i64::from(port)).collect();
    received.spans("server.port", &ports)
}

/// The spans of one kind match the rows of a client one for one.
pub(crate) fn check_spans(received: &Received, ports: &[u16], rows: &[Value], kind: SpanKind) {
    let mut spans: BTreeMap<i64, Span> = BTreeMap::new();
    for span in of_ports(received, ports).into_iter().filter(|span| span.kind() == kind) {
        let query = text(&span, "url.query").unwrap_or_default();
        let Some(number) = query.strip_prefix("number=") else { continue };
        let number: i64 = number.parse().unwrap();
        let twice = spans.insert(number, span);
        assert!(twice.is_none(), "{kind:?} {number} is there twice: {twice:?}");
    }
    let unseen = rows.iter().filter(|row| !spans.contains_key(&row[0].as_i64().unwrap()));
    let unseen: Vec<&Value> = unseen.collect();
    assert!(
        unseen.is_empty(),
        "no {kind:?} spans of {} of {}: {unseen:?}",
        unseen.len(),
        rows.len()
    );
    for row in rows {
        check_span(row, &spans.remove(&row[0].as_i64().unwrap()).unwrap());
    }
    assert!(spans.is_empty(), "nobody sent {spans:?}");
}

fn check_span(row: &Value, span: &Span) {
    let number = |at: usize| row[at].as_i64().unwrap();
    assert_eq!(int(span, "server.port"), Some(number(1)), "{row}");
    assert_eq!(text(span, "http.request.method"), row[2].as_str(), "{row}");
    assert_eq!(text(span, "url.path"), row[3].as_str(), "{row}");
    assert_eq!(int(span, "http.response.status_code"), Some(number(4)), "{row}");
    assert_eq!(int(span, "http.request.body.size").unwrap_or(0), number(5), "{row}: {span:?}");
    assert_eq!(int(span, "http.response.body.size").unwrap_or(0), number(6), "{row}: {span:?}");
    let (first, last) = (row[7].as_u64().unwrap(), row[8].as_u64().unwrap());
    assert!(within(span, first, last), "{row}: {span:?}");
}

/// An nginx that serves files of known sizes; `listen` stands behind the ports of its configuration
/// (what it speaks beside HTTP/1 in clear text), and `more` behind those.
pub(crate) async fn nginx(folder: &Path, listen: &str, more: &str) -> (Peer, u16) {
    let site = folder.join("site/bytes");
    std::fs::create_dir_all(&site).unwrap();
    for size in [0, 1, 100, 4_096, 65_536, 100_000, 1_048_576] {
        std::fs::write(site.join(size.to_string()), vec![b'n'; size]).unwrap();
    }
    let port = free_port();
    let text = format!(
        "daemon off; master_process off; pid {0}/pid; error_log {0}/error.log;\n\
         events {{}}\n\
         http {{ access_log off; sendfile on; client_body_temp_path {0}/b; proxy_temp_path {0}/p;\n\
         fastcgi_temp_path {0}/f; uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;\n\
         server {{ listen 127.0.0.1:{port} {listen}; listen [::1]:{port} {listen}; {more} root {0}/site; }} }}\n",
        folder.display()
    );
    let config = folder.join("nginx.conf");
    std::fs::write(&config, text).unwrap();
    let log = folder.join("error.log");
    let child = Command::new("nginx").arg("-e").arg(log).arg("-c").arg(config).spawn().unwrap();
    let peer = Peer(child);
    listening(port).await;
    (peer, port)
}
