//! Requests inside TLS: real servers and clients with real libraries, and every request there once on
//! each side, as if it had passed in clear text.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use icecore_probes::{Config, RungChoice};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::Value;

use crate::peers::{Peer, line, packages, python};
use crate::receiver::{Received, shown, text};
use crate::requests::{check_spans, nginx, of_ports};
use crate::watch::{on, watched};

const REQUESTS: usize = 250;

/// Scenario: nginx and a Python server under OpenSSL, hit inside TLS 1.2 and 1.3 by curl (over HTTP/2 as well), by
/// kept-alive connections (two older than the agent), by a pipelining client, and by a client that
/// moves the encrypted bytes of several connections by itself in one thread; seen by the socket
/// tracepoints.
/// Guarantees: one server span and one client span for each request, with method, path, status and
/// sizes as the client knows them, inside its own times, under `https`, with the version of TLS and the
/// server's name where the handshake was seen; no record is refused; the balance closes.
#[tokio::test(flavor = "multi_thread")]
async fn openssl_by_socket_tracepoints() {
    check_openssl(RungChoice::BtfTracepoints).await;
}

/// Scenario: the same, seen by the system call tracepoints.
/// Guarantees: the same.
#[tokio::test(flavor = "multi_thread")]
async fn openssl_by_system_call_tracepoints() {
    check_openssl(RungChoice::SyscallTracepoints).await;
}

/// Scenario: nginx and a server in Node.js (OpenSSL in its own file, and the program moves the encrypted
/// bytes by itself), hit by Node.js over four kept-alive connections at once, by wget through GnuTLS and
/// by curl.
/// Guarantees: as above.
#[tokio::test(flavor = "multi_thread")]
async fn node_and_gnutls() {
    let folder = tempfile::tempdir().unwrap();
    let Some(pair) = certificate(folder.path()) else { return };
    let (_nginx, nginx_port) = nginx(folder.path(), "ssl", &directives(&pair)).await;
    let Some((_node, node_port)) = node_server(Path::new("node"), &pair) else { return };
    let ports = [nginx_port, node_port];
    check("tls_others.py", ports, Config::default()).await;
}

/// Scenario: nginx, reached through a proxy that makes tunnels: each connection of the client's begins with a
/// request in clear text, and turns to TLS behind it.
/// Guarantees: as above.
#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_that_turns_to_tls() {
    let folder = tempfile::tempdir().unwrap();
    let Some(pair) = certificate(folder.path()) else { return };
    let (_nginx, nginx_port) = nginx(folder.path(), "ssl", &directives(&pair)).await;
    let (_proxy, mut lines) = python("edges_server.py", &[]);
    let proxy_port: u16 = line(&mut lines).trim().parse().unwrap();
    check("tls_tunnel.py", [nginx_port, proxy_port], Config::default()).await;
}

/// Scenario: nginx, and a server in an old Node.js with OpenSSL 1.1, hit by that Node.js over four kept-alive
/// connections at once, and through a shared library of OpenSSL 1.1.
/// Guarantees: as above.
#[tokio::test(flavor = "multi_thread")]
async fn openssl_1_1() {
    let folder = tempfile::tempdir().unwrap();
    let Some(pair) = certificate(folder.path()) else { return };
    let (_nginx, nginx_port) = nginx(folder.path(), "ssl", &directives(&pair)).await;
    let old = packages().map(|packages| packages.join("nodejs/bin/node"));
    let old = old.unwrap_or_else(|| PathBuf::from("no old node"));
    let Some((_node, node_port)) = node_server(&old, &pair) else { return };
    let ports = [nginx_port, node_port];
    check("tls_old.py", ports, Config::default()).await;
}

/// Scenario: gRPC inside TLS, by a library for which there is no room beside the system's own.
/// Guarantees: nothing is told of what cannot be read, but each connection has its record, and a metric
/// counts it as one that is not read.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let Some(pair) = certificate(folder.path()) else { return };
    let [certificate, key] = pair.map(|path| path.to_string_lossy().into_owned());
    let (_server, mut lines) = python("grpc_server.py", &[certificate.clone(), key]);
    // Where there is no gRPC for Python, its client says so.
    let port: u16 = line(&mut lines).trim().parse().unwrap_or(1);
    let (arguments, ports) = ([port.to_string(), certificate], [port]);
    let mut config = Config::default();
    config.capture.tls.libraries_max = 1;
    let watched = watched::<String>(config, "tls_grpc.py", &arguments, &ports, 0);
    let Some((methods, received, registry)) = watched.await else { return };
    assert_eq!(methods.len(), 20);
    assert!(of_ports(&received, &[port]).is_empty());
    assert!(!received.told().contains("shop.Hidden"));
    let port = port.to_string();
    let records = received.events("icecore.network.connection");
    let of_client = |key: &str| {
        records.iter().any(|(_, it)| shown(&it.attributes, key).as_ref() == Some(&port))
    };
    assert!(of_client("network.peer.port"), "{records:?}");
    let mut figures = String::new();
    prometheus_client::encoding::text::encode(&mut figures, &registry).unwrap();
    let unread = "icecore_probes_tls_connections_total{outcome=\"unread\"} ";
    let unread = figures.lines().find_map(|line| line.strip_prefix(unread));
    // Both ends of it.
    assert!(unread.unwrap().parse::<u64>().unwrap() >= 2, "{figures}");
}

/// Scenario: nginx and a Python server under OpenSSL, hit by the libcurl that is built for NSS, from two threads in
/// turn; the library on which NSS stands moves a file that looks like a request, and clear text, meanwhile.
/// Guarantees: as above, and nothing of the file.
#[tokio::test(flavor = "multi_thread")]
async fn nss() {
    if let Some(received) = check_python("tls_nss.py", Config::default()).await {
        assert!(!received.told().contains("decoy"), "a file was taken for a request");
    }
}

/// Scenario: a Python client in a mount namespace of its own, where alone its copy of OpenSSL lies; it loads
/// that when the agent has long looked at it, and talks TLS at once.
/// Guarantees: two seconds later every request is seen, as above.
#[tokio::test(flavor = "multi_thread")]
async fn a_library_in_a_container_that_is_loaded_late() {
    check_python("tls_container.py", Config::default()).await;
}

async fn check_openssl(rung: RungChoice) {
    check_python("tls_client.py", on(rung)).await;
}

/// A client in Python, of nginx and of a server in Python; what was received, unless something is missing.
async fn check_python(client: &str, config: Config) -> Option<Received> {
    let folder = tempfile::tempdir().unwrap();
    let pair = certificate(folder.path())?;
    let (_nginx, nginx_port) = nginx(folder.path(), "ssl http2", &directives(&pair)).await;
    let arguments = pair.map(|path| path.to_string_lossy().into_owned());
    let (_server, mut server_lines) = python("web_server.py", &arguments);
    let python_port: u16 = line(&mut server_lines).trim().parse().unwrap();
    check(client, [nginx_port, python_port], config).await
}

/// What nginx has to be told of TLS.
fn directives([certificate, key]: &[PathBuf; 2]) -> String {
    let (certificate, key) = (certificate.display(), key.display());
    format!(
        "ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;"
    )
}

/// A server in Node.js; none, and said so, where that is not installed.
fn node_server(program: &Path, pair: &[PathBuf; 2]) -> Option<(Peer, u16)> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/tls_node.js");
    let mut command = Command::new(program);
    command.arg(script).arg("serve").args(pair).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            println!("skipped: {} cannot be started: {error}", program.display());
            return None;
        }
    };
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let peer = Peer(child);
    Some((peer, line(&mut lines).trim().parse().unwrap()))
}

/// Runs a client under the agent, and compares.
pub(crate) async fn check(client: &str, ports: [u16; 2], config: Config) -> Option<Received> {
    let arguments = [ports[0].to_string(), ports[1].to_string(), REQUESTS.to_string()];
    let watched = watched::<Value>(config, client, &arguments, &ports, 2);
    let (rows, received, _) = watched.await?;
    assert!(rows.len() >= 200, "{} requests", rows.len());
    for kind in [SpanKind::Server, SpanKind::Client] {
        check_spans(&received, &ports, &rows, kind);
        rows.iter().for_each(|row| check_tls(&received, ports, row, kind));
    }
    println!("{} requests on both sides", rows.len());
    Some(received)
}

/// What is known of the connection stands on the span.
pub(crate) fn check_tls(received: &Received, ports: [u16; 2], row: &Value, kind: SpanKind) {
    let query = format!("number={}", row[0]);
    let span = |span: &Span| span.kind() == kind && text(span, "url.query") == Some(&query);
    let span = of_ports(received, &ports).into_iter().find(span).unwrap();
    assert_eq!(text(&span, "url.scheme"), Some("https"), "{row}: {span:?}");
    for (key, at) in [("tls.protocol.version", 9), ("tls.client.server_name", 10)] {
        if let Some(known) = row[at].as_str() {
            assert_eq!(text(&span, key), Some(known), "{kind:?} {row}: {span:?}");
        }
    }
}

/// A certificate of its own and its key; none, and said so, where no program is there to make one.
pub(crate) fn certificate(folder: &Path) -> Option<[PathBuf; 2]> {
    let paths = ["certificate.pem", "key.pem"].map(|name| folder.join(name));
    let [certificate, key] = &paths;
    let mut command = Command::new("openssl");
    command.args(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2".split(' '),
    );
    command.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]);
    command.arg("-out").arg(certificate).arg("-keyout").arg(key);
    match command.stdin(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(status) => {
            assert!(status.success(), "openssl");
            Some(paths)
        }
        Err(error) => {
            println!("skipped: openssl cannot be started: {error}");
            None
        }
    }
}
