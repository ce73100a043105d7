//! TCP connections of whatever protocol: each recorded once at each end, with what it moved and how it
//! ended, as its two ends and the kernel's own `ss` know it.

use std::collections::HashMap;
use std::time::Duration;

use icecore_probes::{Config, RungChoice};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point::Value};
use prometheus_client::registry::Registry;
use serde::Deserialize;

use crate::receiver::{Received, shown};
use crate::watch::watched;

const EVENT: &str = "icecore.network.connection";

/// A connection as its client and `ss` saw it.
#[derive(Debug, Deserialize)]
struct Row {
    kind: String,
    local_port: u16,
    peer_port: u16,
    address: String,
    /// At the client and at the server; none where that end has not ended or never was.
    endings: [Option<String>; 2],
    error: Option<String>,
    sent: u64,
    received: u64,
    retransmits: u64,
    rtt_ms: f64,
    start: u64,
    end: u64,
}

/// Scenario: 48 connections of random bytes over IPv4 and IPv6, closed and reset from either end; one
/// refused; one to a full queue, given up; one between network namespaces whose segments go astray for
/// a while; one that is older than the agent and outlives it; a socket that listens. The sockets are
/// walked over five times a second meanwhile.
/// Guarantees: one record at each end of each connection, with its bytes, process, times, end and
/// error; retransmits as `ss` counts them; the metrics add up to the same bytes, those of the older
/// connection from the agent's start on; the segment that nobody wanted counts as thrown away, with the
/// kernel's reason; every account was read and has a record.
#[tokio::test(flavor = "multi_thread")]
async fn connections_are_recorded_by_socket_tracepoints() {
    check(RungChoice::BtfTracepoints).await;
}

/// Scenario: the same, on the other rung.
/// Guarantees: the same.
#[tokio::test(flavor = "multi_thread")]
async fn connections_are_recorded_by_system_call_tracepoints() {
    check(RungChoice::SyscallTracepoints).await;
}

/// Scenario: the same connections where nothing walks over the open sockets.
/// Guarantees: whatever has ended is recorded and counted as before, a metric says what is missing,
/// and no account is lost.
#[tokio::test(flavor = "multi_thread")]
async fn connections_are_recorded_without_walks() {
    let mut config = Config::default();
    config.capture.walks = false;
    config.network.every = Duration::from_millis(200);
    let watched = watched::<Row>(config, "connections_client.py", &[], &[], 0).await;
    let Some((rows, received, registry)) = watched else { return };
    let mut records = records(&received);
    for row in &rows {
        check_client(row, &mut records);
        check_server(row, &mut records);
    }
    check_accounts(&registry);
    let figures = figures(&registry);
    assert!(figures.contains("\nicecore_probes_walks_missing 1\n"), "{figures}");
    let refused = rows.iter().find(|row| row.kind == "refused").unwrap().peer_port.to_string();
    let refused = [("network.peer.port", &*refused), ("error.type", "ECONNREFUSED")];
    assert_eq!(total(&received, "icecore.network.connections.ended", &refused), 1);
}

async fn check(rung: RungChoice) {
    let mut config = Config::default();
    config.capture.rung = rung;
    config.network.every = Duration::from_millis(200);
    let watched = watched::<Row>(config, "connections_client.py", &[], &[], 0).await;
    let Some((rows, received, registry)) = watched else { return };
    assert!(rows.len() >= 52, "{} rows", rows.len());
    let mut records = records(&received);
    for row in &rows {
        check_client(row, &mut records);
        check_server(row, &mut records);
    }
    let unwanted =
        [("network.peer.address", "127.0.0.1"), ("icecore.network.drop.reason", "no_socket")];
    assert!(total(&received, "icecore.network.tcp.drops", &unwanted) >= 1);
    // Two clients may have one port at a time, where they talk to different servers.
    let ours = |&(local, peer): &(u16, u16)| {
        let both = |row: &Row| {
            [(row.local_port, row.peer_port), (row.peer_port, row.local_port)]
                .contains(&(local, peer))
        };
        rows.iter().any(|row| row.kind != "listens" && both(row))
    };
    let more: Vec<_> = records.keys().filter(|ports| ours(ports)).collect();
    assert!(more.is_empty(), "nobody made {more:?}");
    check_metrics(&rows, &received);
    check_accounts(&registry);
    println!("{rung:?}: {} connections as both ends and ss know them", rows.len());
}

/// None was lost, and each that was read has an ending and a record. (Whether payload was lost on the
/// way is another matter: here is none to be told.)
fn check_accounts(registry: &Registry) {
    let figures = figures(registry);
    let sum = |name: &str| -> u64 {
        let lines = figures.lines().filter(|line| line.starts_with(name));
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
    };
    assert_eq!(sum("icecore_probes_kernel_accounts_total{outcome=\"refused\"}"), 0);
    let submitted = sum("icecore_probes_kernel_accounts_total{outcome=\"submitted\"}");
    assert_eq!(sum("icecore_probes_connections_ended_total"), submitted);
    assert_eq!(sum("icecore_probes_connection_records_total"), submitted);
}

fn figures(registry: &Registry) -> String {
    let mut figures = String::new();
    prometheus_client::encoding::text::encode(&mut figures, registry).unwrap();
    figures
}

type Records = HashMap<(u16, u16), Vec<(Vec<KeyValue>, LogRecord)>>;

fn records(received: &Received) -> Records {
    let mut records = Records::new();
    for (resource, record) in received.events(EVENT) {
        let port = |key: &str| shown(&record.attributes, key).unwrap().parse().unwrap();
        let ports = (port("network.local.port"), port("network.peer.port"));
        records.entry(ports).or_default().push((resource, record));
    }
    records
}

fn take(ports: (u16, u16), row: &Row, records: &mut Records) -> (Vec<KeyValue>, LogRecord) {
    let mut found = records.remove(&ports).unwrap_or_else(|| panic!("no record of {row:?}"));
    assert_eq!(found.len(), 1, "{row:?}: {found:?}");
    found.remove(0)
}

fn check_client(row: &Row, records: &mut Records) {
    let Some(ending) = &row.endings[0] else { return };
    let (resource, record) = take((row.local_port, row.peer_port), row, records);
    let said = |key: &str| shown(&record.attributes, key);
    let number = |key: &str| said(key).map(|text| text.parse::<u64>().unwrap());
    assert_eq!(said("icecore.network.role").as_deref(), Some("client"), "{row:?}: {record:?}");
    assert_eq!(said("icecore.network.ending").as_ref(), Some(ending), "{row:?}: {record:?}");
    assert_eq!(said("network.peer.address").as_ref(), Some(&row.address), "{row:?}: {record:?}");
    assert_eq!(number("icecore.network.bytes.sent"), Some(row.sent), "{row:?}: {record:?}");
    assert_eq!(number("icecore.network.bytes.received"), Some(row.received), "{row:?}: {record:?}");
    let retransmits = number("icecore.network.tcp.retransmits");
    assert_eq!(retransmits, Some(row.retransmits), "{row:?}: {record:?}");
    let error = match &*row.kind {
        "client_reset" | "server_reset" => Some("ECONNRESET"),
        _ => row.error.as_deref(),
    };
    assert_eq!(said("error.type").as_deref(), error, "{row:?}: {record:?}");
    let start = number("icecore.network.start").unwrap();
    let end = record.time_unix_nano;
    assert_eq!(end - start, number("icecore.network.duration").unwrap(), "{record:?}");
    // It is over when the other end has closed it as well.
    let (slack, more) = (5_000_000, if ending == "closed_local" { 2_000_000_000 } else { 0 });
    let times = row.start <= start + slack && start <= end && end <= row.end + slack + more;
    assert!(times, "{row:?}: {record:?}");
    let connected = ending != "not_connected";
    let connect = number("icecore.network.tcp.connect");
    assert_eq!(connect.is_some_and(|nanos| nanos > 0 && nanos < end - start), connected);
    // Any other end has one more round trip.
    if row.kind == "client_reset" {
        let rtt = Duration::from_nanos(number("icecore.network.tcp.rtt").unwrap());
        assert_eq!(format!("{:.3}", rtt.as_secs_f64() * 1e3), format!("{:.3}", row.rtt_ms));
    }
    let name = shown(&resource, "process.executable.name").unwrap();
    assert!(name.starts_with("python"), "{row:?}: {resource:?}");
}

fn check_server(row: &Row, records: &mut Records) {
    let Some(ending) = &row.endings[1] else { return };
    let (resource, record) = take((row.peer_port, row.local_port), row, records);
    let said = |key: &str| shown(&record.attributes, key);
    assert_eq!(said("icecore.network.role").as_deref(), Some("server"), "{row:?}: {record:?}");
    assert_eq!(said("icecore.network.ending").as_ref(), Some(ending), "{row:?}: {record:?}");
    let (sent, received) = (row.received.to_string(), row.sent.to_string());
    assert_eq!(said("icecore.network.bytes.sent"), Some(sent), "{row:?}: {record:?}");
    assert_eq!(said("icecore.network.bytes.received"), Some(received), "{row:?}: {record:?}");
    let name = shown(&resource, "process.executable.name").unwrap();
    assert!(name.starts_with("python"), "{row:?}: {resource:?}");
}

/// The last values of all series of a metric that have these attributes, added up.
fn total(received: &Received, name: &str, wanted: &[(&str, &str)]) -> i64 {
    let mut last = HashMap::new();
    for of_resource in received.metrics() {
        let resource = format!("{:?}", of_resource.resource);
        let metrics = of_resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
        for metric in metrics.filter(|metric| metric.name == name) {
            let points = match metric.data {
                Some(Data::Sum(sum)) => sum.data_points,
                Some(Data::Gauge(gauge)) => gauge.data_points,
                other => panic!("{other:?}"),
            };
            for point in points {
                let has = |(key, value): &(&str, &str)| {
                    shown(&point.attributes, key).as_deref() == Some(*value)
                };
                let Some(Value::AsInt(value)) = point.value else { panic!("{point:?}") };
                if wanted.iter().all(has) {
                    last.insert((resource.clone(), format!("{:?}", point.attributes)), value);
                }
            }
        }
    }
    last.values().sum()
}

fn check_metrics(rows: &[Row], received: &Received) {
    let mut servers: HashMap<(String, u16), (u64, u64)> = HashMap::new();
    for row in rows.iter().filter(|row| row.sent > 0) {
        let moved = servers.entry((row.address.clone(), row.peer_port)).or_default();
        *moved = (moved.0 + row.sent, moved.1 + row.received);
    }
    for ((_, port), (sent, answered)) in &servers {
        let port = port.to_string();
        for (key, transmitted, got) in
            [("network.peer.port", sent, answered), ("network.local.port", answered, sent)]
        {
            for (direction, bytes) in [("transmit", transmitted), ("receive", got)] {
                let wanted = [(key, &*port), ("network.io.direction", direction)];
                let total = total(received, "icecore.network.flow.io", &wanted);
                assert_eq!(u64::try_from(total).unwrap(), *bytes, "{wanted:?}");
            }
        }
    }
    let of = |kind: &str| rows.iter().find(|row| row.kind == kind).unwrap();
    let port = of("refused").peer_port.to_string();
    let refused = [("network.peer.port", &*port), ("error.type", "ECONNREFUSED")];
    assert_eq!(total(received, "icecore.network.connections.ended", &refused), 1);
    let port = of("listens").local_port.to_string();
    let queue = [("network.local.port", &*port)];
    assert_eq!(total(received, "icecore.network.listener.backlog", &queue), 1);
    assert_eq!(total(received, "icecore.network.listener.backlog.limit", &queue), 0);
    let port = of("older").peer_port.to_string();
    let open = [("network.peer.port", &*port)];
    assert_eq!(total(received, "icecore.network.connections.open", &open), 1);
    if let Some(lossy) = rows.iter().find(|row| row.kind == "lossy") {
        let port = lossy.peer_port.to_string();
        let to = [("network.peer.port", &*port)];
        let retransmits = total(received, "icecore.network.tcp.retransmits", &to);
        assert_eq!(u64::try_from(retransmits).unwrap(), lossy.retransmits);
    }
}
