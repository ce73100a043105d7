//! Requests inside BoringSSL that is compiled in without a symbol, as in gRPC's library for Python and in Envoy.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use icecore_probes::{Config, RungChoice};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::json;

use crate::http2::{Call, check_calls};
use crate::peers::{
    Peer, free_port, line, listening, other_grpc, packages, python, python_command, spawn,
};
use crate::receiver::text;
use crate::requests::{nginx, of_ports};
use crate::tls::{certificate, check};
use crate::watch::{on, watched_peer};

/// Scenario: gRPC calls inside TLS by Python's library at both ends: unary and streaming ones of every kind, every status,
/// trailers alone, messages of 0 B to 300 kB, eight callers over one connection, calls that are cancelled or run out of
/// time, and a connection that is older than the agent; by the socket tracepoints.
/// Guarantees: one span on each side for each call, with method, status, messages and bytes each way, inside the client's
/// own times, with the version of TLS and the server's name, of the older connection but for its first calls and without
/// the latter two; no record is refused; the balance closes.
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

/// Scenario: Envoy, before nginx, and a Python server under OpenSSL, hit inside TLS 1.2 and 1.3 by the client of the tests
/// of OpenSSL: over HTTP/2 as well, pipelined, and by connections that are older than the agent.
/// Guarantees: one server span and one client span for each request, with method, path, status and sizes as the client
/// knows them, inside its own times, under `https`, with the version of TLS and the server's name where the handshake was
/// seen; no record is refused; the balance closes.
#[tokio::test(flavor = "multi_thread")]
async fn envoy() {
    let program = packages().map(|packages| packages.join("envoy/_bin/envoy"));
    let Some(program) = program.filter(|program| program.exists()) else {
        return println!("skipped: no Envoy");
    };
    let folder = tempfile::tempdir().unwrap();
    let Some(pair) = certificate(folder.path()) else { return };
    let (_nginx, nginx_port) = nginx(folder.path(), "", "").await;
    let envoy_port = free_port();
    let settings = folder.path().join("envoy.json");
    std::fs::write(&settings, envoy_settings(&pair, envoy_port, nginx_port).to_string()).unwrap();
    let mut command = Command::new(program);
    command.args(["--disable-hot-restart", "--concurrency", "2", "-l", "error", "-c"]);
    command.arg(settings).stdin(Stdio::null()).stdout(Stdio::null());
    let _envoy = Peer(command.spawn().unwrap());
    listening(envoy_port).await;
    let pair = pair.map(|path| path.to_string_lossy().into_owned());
    let (_server, mut lines) = python("web_server.py", &pair);
    let python_port: u16 = line(&mut lines).trim().parse().unwrap();
    check("tls_client.py", [envoy_port, python_port], Config::default()).await;
}

/// A listener under TLS that hands all on to one server.
fn envoy_settings([certificate, key]: &[PathBuf; 2], port: u16, to: u16) -> serde_json::Value {
    let kind = |name: &str| format!("type.googleapis.com/envoy.extensions.{name}");
    let address =
        |port: u16| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let tls = json!({"@type": kind("transport_sockets.tls.v3.DownstreamTlsContext"), "common_tls_context": {
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_certificates": [{"certificate_chain": {"filename": certificate}, "private_key": {"filename": key}}],
    }});
    let router = json!({"@type": kind("filters.http.router.v3.Router")});
    let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "behind", "timeout": "0s", "host_rewrite_literal": "behind"}});
    let manager = json!({
        "@type": kind("filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "it",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    });
    let chain = json!({
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}],
    });
    let endpoint = json!({"endpoint": {"address": address(to)}});
    let endpoints = json!({"cluster_name": "behind", "endpoints": [{"lb_endpoints": [endpoint]}]});
    json!({"static_resources": {
        "listeners": [{"address": address(port), "filter_chains": [chain]}],
        "clusters": [{"name": "behind", "load_assignment": endpoints}],
    }})
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
    let older: Vec<&str> = calls.iter().filter(|it| it.older).map(|it| &*it.method).collect();
    for span in of_ports(&received, &[port]) {
        let method = text(&span, "rpc.method").unwrap_or_default();
        if !older.contains(&method) && !method.starts_with("shop.Early/") {
            assert_eq!(text(&span, "tls.protocol.version"), Some("1.3"), "{span:?}");
            assert_eq!(text(&span, "tls.client.server_name"), Some("localhost"), "{span:?}");
        }
    }
    println!("{rung:?}: {} calls inside TLS on both sides", calls.len());
}
