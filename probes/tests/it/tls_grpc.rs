//! gRPC inside the TLS that its library for Python brings along: BoringSSL, without a symbol.

use std::path::Path;

use icecore_probes::RungChoice;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use crate::http2::{Call, check_calls};
use crate::peers::{line, other_grpc, python, python_command, spawn};
use crate::receiver::text;
use crate::requests::of_ports;
use crate::tls::certificate;
use crate::watch::{on, watched_peer};

/// Scenario: gRPC calls inside TLS by Python's library at both ends: unary and streaming ones of every kind, every status,
/// trailers alone, messages of 0 B to 300 kB, eight callers over one connection, calls that are cancelled or run out of
/// time, while a connection that is older than the agent is used as well; by the socket tracepoints.
/// Guarantees: one span on each side for each call, with method, status, messages and bytes each way, inside the client's
/// own times, with the version of TLS and the server's name; nothing of the older connection is taken for another's; no
/// record is refused; the balance closes.
#[tokio::test(flavor = "multi_thread")]
async fn grpc_by_socket_tracepoints() {
    check_grpc(RungChoice::BtfTracepoints, None).await;
}

/// Scenario: the same, seen by the system call tracepoints.
/// Guarantees: the same.
#[tokio::test(flavor = "multi_thread")]
async fn grpc_by_system_call_tracepoints() {
    check_grpc(RungChoice::SyscallTracepoints, None).await;
}

/// Scenario: the same by a client of 2023, whose library was compiled from another BoringSSL.
/// Guarantees: the same.
#[tokio::test(flavor = "multi_thread")]
async fn grpc_of_another_release() {
    if let Some(other) = other_grpc() {
        check_grpc(RungChoice::Auto, Some(&other)).await;
    }
}

async fn check_grpc(rung: RungChoice, client_packages: Option<&Path>) {
    let folder = tempfile::tempdir().unwrap();
    let Some(pair) = certificate(folder.path()) else { return };
    let [certificate, key] = pair.map(|path| path.to_string_lossy().into_owned());
    let (mut server, mut lines) = python("grpc_server.py", &[certificate.clone(), key]);
    let Ok(port) = line(&mut lines).trim().parse::<u16>() else {
        return println!("skipped: no grpcio");
    };
    let mut client = python_command("grpc_client.py");
    client.args([&port.to_string(), &certificate]);
    if let Some(packages) = client_packages {
        client.env("PYTHONPATH", packages);
    }
    let watched = watched_peer::<Call>(on(rung), spawn(&mut client), &[port], 2).await;
    let Some((calls, received, _)) = watched else { return };
    drop(server.0.stdin.take());
    assert!(calls.len() >= 200, "{} calls", calls.len());
    for kind in [SpanKind::Server, SpanKind::Client] {
        check_calls(&received, &[port], &calls, kind);
    }
    for span in of_ports(&received, &[port]) {
        assert_eq!(text(&span, "tls.protocol.version"), Some("1.3"), "{span:?}");
        assert_eq!(text(&span, "tls.client.server_name"), Some("localhost"), "{span:?}");
    }
    println!("{rung:?}: {} calls inside TLS on both sides", calls.len());
}
