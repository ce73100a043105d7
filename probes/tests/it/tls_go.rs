//! Requests inside the TLS that programs written in Go bring along: goroutines that move between threads,
//! stacks that move meanwhile, and programs without symbols.

use std::path::Path;
use std::process::Command;

use icecore_probes::RungChoice;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::Value;

use crate::peers::{built, line, spawn};
use crate::requests::check_spans;
use crate::tls::{certificate, check_tls};
use crate::watch::{on, watched_peer};

const REQUESTS: usize = 400;
/// The one has symbols, the other none, and may lie anywhere in memory.
const PROGRAMS: [&str; 2] = ["tls-go-1.27", "tls-go-1.21-pie"];

/// Scenario: servers by Go 1.27 and by a stripped one of Go 1.21, hit by a Go 1.27 client over HTTP/1.1 and HTTP/2:
/// eight goroutines at a time over connections of either kind, two of each kind older than the agent,
/// some wrapped in a type of the program's own; bodies of 0 B to 1 MB both ways, flushed parts, HEAD,
/// errors; and goroutines whose stack grows inside the calls and holds the bytes that are read; seen by the
/// socket tracepoints.
/// Guarantees: one server span and one client span for each request, with method, path, status and
/// sizes as the client knows them, inside its own times, under `https`, with the version of TLS and the
/// server's name where the handshake was seen; no record is refused; the balance closes.
#[tokio::test(flavor = "multi_thread")]
async fn go_by_socket_tracepoints() {
    check_go(PROGRAMS[0], RungChoice::BtfTracepoints).await;
}

/// Scenario: the same with the Go 1.21 client, seen by the system call tracepoints.
/// Guarantees: the same.
#[tokio::test(flavor = "multi_thread")]
async fn go_by_system_call_tracepoints() {
    check_go(PROGRAMS[1], RungChoice::SyscallTracepoints).await;
}

async fn check_go(client: &str, rung: RungChoice) {
    let folder = tempfile::tempdir().unwrap();
    let Some(pair) = certificate(folder.path()) else { return };
    let [Some(newer), Some(older)] = PROGRAMS.map(built) else { return };
    let serve = |program: &Path| {
        let (peer, mut lines) = spawn(Command::new(program).arg("serve").args(&pair));
        let port: u16 = line(&mut lines).trim().parse().unwrap();
        (peer, port)
    };
    let ((_newer, newer), (_older, older)) = (serve(&newer), serve(&older));
    let Some(client) = built(client) else { return };
    let ports = [newer, older];
    let mut command = Command::new(client);
    command.arg("ask").arg(REQUESTS.to_string()).args(ports.map(|port| port.to_string()));
    let watched = watched_peer::<Value>(on(rung), spawn(&mut command), &ports, 2).await;
    let Some((rows, received, _)) = watched else { return };
    assert!(rows.len() >= 200, "{} requests", rows.len());
    for kind in [SpanKind::Server, SpanKind::Client] {
        check_spans(&received, &ports, &rows, kind);
        rows.iter().for_each(|row| check_tls(&received, ports, row, kind));
    }
    println!("{rung:?}: {} requests of Go programs on both sides", rows.len());
}
