//! Datagrams of whatever content: what each process and peer have told each other by UDP, as the sockets themselves have
//! counted it.

use std::collections::HashMap;
use std::time::Duration;

use icecore_probes::RungChoice;
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point::Value};
use serde::Deserialize;

use crate::dns::dnsmasq;
use crate::peers::{figure, free_port, listening};
use crate::receiver::{Received, shown};
use crate::watch::{on, watched};

const BYTES: &str = "icecore.network.flow.io";
const DATAGRAMS: &str = "icecore.network.flow.packets";

/// What a client and a server have told each other.
#[derive(Debug, Deserialize)]
struct Row {
    kind: String,
    /// Of both ends.
    pid: u32,
    port: u16,
    /// The client's address as the server has been told it.
    seen: Option<String>,
    sent: u64,
    received: u64,
    asked: u64,
    answered: u64,
    empty_asked: u64,
    empty_answered: u64,
}

/// Scenario: questions and answers over IPv4, IPv6 and IPv4 in IPv6, by sockets that are connected and not, by calls
/// of one message and several, some of no bytes, looked at before they are taken; by one array of messages
/// that is sent in part and as a whole, and one whose first message is empty; a server that does not ask from whom a
/// datagram is; two threads that answer on one socket; `dig`, which ends at once, and a DNS server. By the socket
/// tracepoints.
/// Guarantees: at each end, by peer and the server's port, the bytes and datagrams that the sockets have counted; those
/// of unknown senders have no peer; the program that is gone has a name; nothing found no place.
#[tokio::test(flavor = "multi_thread")]
async fn datagrams_are_counted_by_socket_tracepoints() {
    check(RungChoice::BtfTracepoints).await;
}

/// Scenario: the same, seen on the functions of UDP.
/// Guarantees: the same.
#[tokio::test(flavor = "multi_thread")]
async fn datagrams_are_counted_by_functions() {
    check(RungChoice::Functions).await;
}

/// Scenario: the same, seen by the system call tracepoints, which see no call that has moved no bytes, and
/// eight messages of one.
/// Guarantees: the same but for those; the messages behind the eighth are counted as cut.
#[tokio::test(flavor = "multi_thread")]
async fn datagrams_are_counted_by_system_call_tracepoints() {
    check(RungChoice::SyscallTracepoints).await;
}

async fn check(rung: RungChoice) {
    let dns_port = free_port();
    let dns = dnsmasq(dns_port);
    let mut arguments = vec!["1".to_owned()];
    if dns.is_some() {
        listening(dns_port).await;
        arguments.push(dns_port.to_string());
    }
    let mut config = on(rung);
    config.network.every = Duration::from_millis(300);
    let watched = watched::<Row>(config, "datagrams_client.py", &arguments, &[], 0).await;
    let Some((rows, received, registry)) = watched else { return };
    assert!(rows.len() >= 26, "{rows:?}");
    let totals = Totals::of(&received);
    let empties = rung != RungChoice::SyscallTracepoints;
    for row in &rows {
        check_client(row, &totals, empties);
        check_server(row, &totals, empties);
    }
    // Two calls have sent two messages more than that.
    assert!(empties || figure(&registry, "icecore_probes_calls_cut_total ") >= 4);
    if dns.is_some() {
        check_dig(dns_port, &totals);
    }
    assert_eq!(figure(&registry, "icecore_probes_datagram_overflows_total "), 0);
    assert_eq!(figure(&registry, "icecore_probes_datagram_senders_missing "), 0);
    println!("{rung:?}: datagrams of {} peers as their sockets counted them", 2 * rows.len());
}

/// Whoever was asked at this port, by anybody: both ways, at one end of it.
fn check_client(row: &Row, totals: &Totals, empties: bool) {
    let port = row.port.to_string();
    // A client has one server at a port here, but where several clients have the same.
    let pid = row.pid.to_string();
    let of = |name, direction| totals.sum(name, &[&pid, "client", "udp", direction, &port]);
    if row.kind == "threads" {
        return;
    }
    // Only so many messages of a call are seen at its end.
    let walked = empties || row.kind != "beyond";
    assert_eq!(of(BYTES, "transmit"), if walked { row.sent } else { 0 }, "{row:?}");
    assert_eq!(of(BYTES, "receive"), row.received, "{row:?}");
    let unseen = |empty: u64| if empties { 0 } else { empty };
    let asked = if walked { row.asked - unseen(row.empty_asked) } else { 0 };
    assert_eq!(of(DATAGRAMS, "transmit"), asked, "{row:?}");
    assert_eq!(of(DATAGRAMS, "receive"), row.answered - unseen(row.empty_answered), "{row:?}");
}

fn check_server(row: &Row, totals: &Totals, empties: bool) {
    let port = row.port.to_string();
    let unseen = |empty: u64| if empties { 0 } else { empty };
    let (asked, answered) =
        (row.asked - unseen(row.empty_asked), row.answered - unseen(row.empty_answered));
    let heard = row.seen.as_deref().unwrap_or("nobody");
    let pid = row.pid.to_string();
    let of =
        |name, direction, peer| totals.sum(name, &[&pid, "server", "udp", direction, &port, peer]);
    assert_eq!(of(BYTES, "receive", heard), row.sent, "{row:?}");
    assert_eq!(of(DATAGRAMS, "receive", heard), asked, "{row:?}");
    let told = row.seen.as_deref().unwrap_or("127.0.0.1");
    assert_eq!(of(BYTES, "transmit", told), row.received, "{row:?}");
    assert_eq!(of(DATAGRAMS, "transmit", told), answered, "{row:?}");
}

/// Both ends say the same, and the one that is gone has its name.
fn check_dig(port: u16, totals: &Totals) {
    let port = port.to_string();
    let of = |role: &str, name, direction| totals.sum(name, &["", role, "udp", direction, &port]);
    assert_eq!(of("client", DATAGRAMS, "transmit"), 10);
    for name in [BYTES, DATAGRAMS] {
        for (sends, takes) in [("client", "server"), ("server", "client")] {
            let sent = of(sends, name, "transmit");
            assert!(sent > 0, "{name}: nothing was sent");
            assert_eq!(sent, of(takes, name, "receive"), "{name}");
        }
    }
    let program =
        |key: &str| totals.0.keys().any(|(_, of)| of.contains(&port) && of[0].contains(key));
    assert!(program("dig") && program("dnsmasq"), "nobody is called so");
}

/// The last values of all series, by metric, and the program, process, role, transport, direction, port and peer.
struct Totals(HashMap<(String, [String; 7]), u64>);

impl Totals {
    fn of(received: &Received) -> Self {
        let mut last = HashMap::new();
        for of_resource in received.metrics() {
            let resource = of_resource.resource.unwrap_or_default();
            let metrics = of_resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
            for metric in metrics.filter(|metric| [BYTES, DATAGRAMS].contains(&&*metric.name)) {
                let Some(Data::Sum(sum)) = metric.data else { panic!("{metric:?}") };
                for point in sum.data_points {
                    let said = |key: &str| shown(&point.attributes, key);
                    let Some(Value::AsInt(value)) = point.value else { panic!("{point:?}") };
                    let port = said("network.peer.port").or_else(|| said("network.local.port"));
                    let of = [
                        shown(&resource.attributes, "process.executable.name").unwrap_or_default(),
                        shown(&resource.attributes, "process.pid").unwrap_or_default(),
                        said("icecore.network.role").unwrap_or_default(),
                        said("network.transport").unwrap_or_default(),
                        said("network.io.direction").unwrap_or_default(),
                        port.unwrap_or_default(),
                        said("network.peer.address").unwrap_or_else(|| "nobody".to_owned()),
                    ];
                    last.insert((metric.name.clone(), of), u64::try_from(value).unwrap());
                }
            }
        }
        Self(last)
    }

    /// Of those that have all of this, from the process on; an empty one stands for all.
    fn sum(&self, name: &str, wanted: &[&str]) -> u64 {
        let fits = |of: &[String; 7]| {
            of.iter().skip(1).zip(wanted).all(|(has, want)| want.is_empty() || has == want)
        };
        let found = self.0.iter().filter(|((metric, of), _)| metric == name && fits(of));
        found.map(|(_, value)| value).sum()
    }
}
