//! DNS: a real server and real resolvers, over UDP and TCP, and each question once on each side.

use std::collections::{BTreeMap, BTreeSet};
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Stdio};

use icecore_probes::{Config, RungChoice};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde::Deserialize;

use crate::peers::{Peer, free_port, listening};
use crate::receiver::{Received, int, list, shown, text, within};
use crate::requests::of_ports;
use crate::watch::watched;

/// One question, as the client saw it. What it does not know is null.
#[derive(Debug, Deserialize)]
struct Record {
    name: String,
    kind: String,
    code: Option<String>,
    answers: Vec<String>,
    transport: String,
    /// Bytes of the answer.
    received: Option<i64>,
    retries: i64,
    start: u64,
    end: u64,
}

/// Scenario: dnsmasq under dig (UDP and TCP), Node.js (120 questions at once) and sockets that are
/// connected and not, of several calls, and by IPv6: addresses, names that do not exist or are refused, a
/// question that nobody answers and that is asked three times, and some that were asked of somebody else
/// before, by sockets whose place in the kernel's memory another one has by now; by the socket tracepoints.
/// Guarantees: one span on each side for each question, with name, type, code, addresses and sizes,
/// inside the client's own times; the unanswered one is an error; the balance closes.
#[tokio::test(flavor = "multi_thread")]
async fn dns_is_seen_by_socket_tracepoints() {
    check_dnsmasq(RungChoice::BtfTracepoints).await;
}

/// Scenario: the same, seen on the functions of TCP and UDP.
/// Guarantees: the same.
#[tokio::test(flavor = "multi_thread")]
async fn dns_is_seen_by_functions() {
    check_dnsmasq(RungChoice::Functions).await;
}

/// Scenario: the same, seen by the system call tracepoints.
/// Guarantees: the same.
#[tokio::test(flavor = "multi_thread")]
async fn dns_is_seen_by_system_call_tracepoints() {
    check_dnsmasq(RungChoice::SyscallTracepoints).await;
}

/// Scenario: the same, answered by BIND, which takes several questions out of a socket in one call, and gives
/// several answers in one; its `dig` has threads with names of their own.
/// Guarantees: the same, and each question is that of the program that asked it.
#[tokio::test(flavor = "multi_thread")]
async fn dns_by_calls_of_several_messages() {
    let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
    let Some(_server) = bind(port, folder.path()) else { return };
    let Some(received) = check_dns(RungChoice::BtfTracepoints, port, "NOERROR").await else {
        return;
    };
    let told = received.with_resources("server.port", &[i64::from(port)]);
    let asked = told.iter().filter(|(_, span)| span.kind() == SpanKind::Client);
    let names: BTreeSet<String> =
        asked.filter_map(|(resource, _)| shown(resource, "service.name")).collect();
    let known = |name: &String| ["dig", "node"].contains(&&**name) || name.starts_with("python");
    assert!(names.len() == 3 && names.iter().all(known), "asked by {names:?}");
}

async fn check_dnsmasq(rung: RungChoice) {
    let port = free_port();
    let Some(_server) = dnsmasq(port) else { return };
    check_dns(rung, port, "REFUSED").await;
}

/// `code` is what the server says where it has no record of that kind.
async fn check_dns(rung: RungChoice, port: u16, code: &str) -> Option<Received> {
    listening(port).await;
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
    let ports = [port, nobody.local_addr().unwrap().port()];
    let mut config = Config::default();
    config.capture.rung = rung;
    config.limits.answer_nanos_max = 2_000_000_000;
    let arguments = [ports[0].to_string(), ports[1].to_string(), code.to_owned()];
    let watched = watched::<Record>(config, "dns_client.py", &arguments, &ports, 2).await;
    let (records, received, _) = watched?;
    assert!(records.len() >= 300, "{} questions", records.len());
    for kind in [SpanKind::Server, SpanKind::Client] {
        check_spans(&received, &ports, &records, kind);
    }
    println!("{rung:?}: {} questions on both sides", records.len());
    Some(received)
}

pub(crate) fn dnsmasq(port: u16) -> Option<Peer> {
    let mut command = Command::new("dnsmasq");
    command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"]);
    command.args(["--listen-address=127.0.0.1,::1", "--bind-interfaces", "--pid-file="]);
    command.args(["--address=/some.test/192.0.2.7", "--address=/some.test/2001:db8::7"]);
    command.args(["--address=/none.test/", &format!("--port={port}"), "--user=root"]);
    started(command)
}

/// BIND, which knows the same names.
fn bind(port: u16, folder: &Path) -> Option<Peer> {
    let shown = folder.display();
    let head = "$TTL 60\n@ SOA ns a 1 60 60 60 60\n@ NS ns\nns A 127.0.0.1\n";
    std::fs::write(folder.join("none"), head).unwrap();
    let some = format!("{head}* A 192.0.2.7\n* AAAA 2001:db8::7\n");
    std::fs::write(folder.join("some"), some).unwrap();
    let settings = format!(
        r#"options {{
            directory "{shown}"; pid-file none; session-keyfile none; recursion no;
            dnssec-validation no; empty-zones-enable no;
            listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 port {port} {{ ::1; }};
        }};
        controls {{ }};
        zone "some.test" {{ type primary; file "some"; }};
        zone "none.test" {{ type primary; file "none"; }};"#
    );
    let file = folder.join("named.conf");
    std::fs::write(&file, settings).unwrap();
    let mut command = Command::new("named");
    command.args(["-g", "-c"]).arg(file);
    started(command)
}

fn started(mut command: Command) -> Option<Peer> {
    match command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
        Ok(child) => Some(Peer(child)),
        Err(error) => {
            println!("skipped: {command:?} cannot be started: {error}");
            None
        }
    }
}

fn check_spans(received: &Received, ports: &[u16], records: &[Record], kind: SpanKind) {
    let mut spans: BTreeMap<String, Span> = BTreeMap::new();
    for span in of_ports(received, ports).into_iter().filter(|span| span.kind() == kind) {
        let name = text(&span, "dns.question.name").unwrap().to_owned();
        let twice = spans.insert(name, span);
        assert!(twice.is_none(), "{kind:?} is there twice: {twice:?}");
    }
    for record in records {
        // Who does not read has seen no question.
        if record.code.is_none() && kind == SpanKind::Server {
            continue;
        }
        let span = spans.remove(&record.name);
        check_span(record, &span.unwrap_or_else(|| panic!("no {kind:?} span of {record:?}")));
    }
    assert!(spans.is_empty(), "nobody asked {spans:?}");
}

fn check_span(record: &Record, span: &Span) {
    let shown = || format!("{record:?}: {span:?}");
    assert_eq!(text(span, "icecore.dns.question.type"), Some(&*record.kind), "{}", shown());
    let code = text(span, "icecore.dns.response_code");
    assert_eq!(code, record.code.as_deref(), "{}", shown());
    assert_eq!(text(span, "network.transport"), Some(&*record.transport), "{}", shown());
    assert_eq!(list(span, "dns.answers"), record.answers, "{}", shown());
    assert_eq!(int(span, "icecore.dns.retries").unwrap_or(0), record.retries, "{}", shown());
    let size = int(span, "icecore.response.size");
    assert!(record.received.is_none() || size == record.received, "{}", shown());
    let error = match (&record.code, span.kind()) {
        (None, _) => Some("timeout"),
        (Some(code), SpanKind::Client) if code != "NOERROR" => Some(&**code),
        _ => None,
    };
    assert_eq!(text(span, "error.type"), error, "{}", shown());
    assert!(int(span, "network.peer.port").is_some(), "{}", shown());
    let until = if record.code.is_none() { u64::MAX } else { record.end };
    assert!(within(span, record.start, until), "{}", shown());
}
