//! Requests inside rustls, which programs written in Rust bring along: sessions that move in memory and between threads, and
//! that never see a socket.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use icecore_probes::RungChoice;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::Value;

use crate::peers::{built, line, spawn};
use crate::receiver::{Received, int, text};
use crate::requests::{check_spans, of_ports};
use crate::tls::{certificate, check_tls};
use crate::watch::{on, watched_peer};

#[path = "../peers/tls_rustls.rs"]
mod program;

/// Requests over each connection.
const REQUESTS: usize = 16;
/// By which this program knows that it is to be the other: its arguments.
const BE: &str = "ICECORE_TEST_BE_RUSTLS";

/// Scenario: two servers by tokio and hyper, hit by clients on three threads of tokio and by some that block: 34 connections
/// at once, two of them older than the agent, by HTTP/1.1 and HTTP/2 in every cipher of TLS 1.2 and 1.3; questions and
/// answers of 0 B to 400 kB, no two of one size; seen by the socket tracepoints. The programs are not optimised.
/// Guarantees: one server span and one client span for each request, with method, path, status and sizes as the client
/// knows them, inside its own times, between the ports of its connection, with the version of TLS and the server's name where
/// the handshake was seen; no record is refused; the balance closes.
#[tokio::test(flavor = "multi_thread")]
async fn rustls_by_socket_tracepoints() {
    check_rustls(RungChoice::BtfTracepoints, None).await;
}

/// Scenario: the same, seen by the system call tracepoints.
/// Guarantees: the same.
#[tokio::test(flavor = "multi_thread")]
async fn rustls_by_system_call_tracepoints() {
    check_rustls(RungChoice::SyscallTracepoints, None).await;
}

/// Scenario: the same by programs as they are released.
/// Guarantees: the same.
#[tokio::test(flavor = "multi_thread")]
async fn rustls_of_a_release_build() {
    if let Some(program) = built("tls-rustls") {
        check_rustls(RungChoice::Auto, Some(program)).await;
    }
}

/// What the tests above start; nothing else by itself.
#[test]
fn be_rustls() {
    let Ok(arguments) = std::env::var(BE) else { return };
    let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
    // What says that a test runs is on the standard output.
    program::run(&arguments, &mut File::create("/dev/fd/3").unwrap());
}

/// The program, or this one in its place.
fn command(program: Option<&Path>, arguments: &[String]) -> Command {
    let Some(program) = program else {
        let mut command = Command::new("sh");
        let itself = std::env::current_exe().unwrap();
        command.args(["-c", "exec 3>&1 >/dev/null; exec \"$0\" \"$@\""]).arg(itself);
        command.args(["--exact", "tls_rustls::be_rustls", "--nocapture"]);
        command.env(BE, arguments.join(" "));
        return command;
    };
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

async fn check_rustls(rung: RungChoice, program: Option<PathBuf>) {
    let program = program.as_deref();
    let folder = tempfile::tempdir().unwrap();
    let Some(pair) = certificate(folder.path()) else { return };
    let [certificate, key] = pair.map(|path| path.to_string_lossy().into_owned());
    let serve = || {
        let arguments = ["serve".to_owned(), certificate.clone(), key.clone()];
        let (peer, mut lines) = spawn(&mut command(program, &arguments));
        let port: u16 = line(&mut lines).trim().parse().unwrap();
        (peer, port)
    };
    let ((_one, one), (_other, other)) = (serve(), serve());
    let ports = [one, other];
    let arguments = ["ask".to_owned(), REQUESTS.to_string(), one.to_string(), other.to_string()];
    let client = spawn(&mut command(program, &arguments));
    let Some((rows, received, _)) = watched_peer::<Value>(on(rung), client, &ports, 2).await else {
        return;
    };
    assert!(rows.len() >= 400, "{} requests", rows.len());
    for kind in [SpanKind::Server, SpanKind::Client] {
        check_spans(&received, &ports, &rows, kind);
        rows.iter().for_each(|row| check_tls(&received, ports, row, kind));
    }
    rows.iter().for_each(|row| check_connection(&received, ports, row));
    println!("{rung:?}: {} requests of Rust programs on both sides", rows.len());
}

/// The server has answered over the connection that the client has asked over.
fn check_connection(received: &Received, ports: [u16; 2], row: &Value) {
    let query = format!("number={}", row[0]);
    let span =
        |span: &Span| span.kind() == SpanKind::Server && text(span, "url.query") == Some(&query);
    let span = of_ports(received, &ports).into_iter().find(span).unwrap();
    assert_eq!(int(&span, "client.port"), row[11].as_i64(), "{row}: {span:?}");
}
