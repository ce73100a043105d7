//! Accounts in, metrics and records out.

use icecore_probe_events::{ACCOUNT_CLIENT, ACCOUNT_SERVER, Owner, Talk};
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::metrics::v1::{
    NumberDataPoint, metric::Data, number_data_point::Value,
};
use prometheus_client::encoding::text::encode;
use tokio::sync::mpsc::Receiver;

use super::*;
use crate::attach::Chat;
use crate::emit::{Emitter, Item};
use crate::identity::{self, IdentityConfig, Kubernetes};
use crate::pipeline::PipelineConfig;
use crate::protocol::DnsCall;

const ESTABLISHED: u32 = 1;
const FIN_WAIT2: u32 = 5;
const SYN_SENT: u32 = 2;

struct Bench {
    network: Network,
    pipeline: Pipeline,
    items: Receiver<Item>,
    registry: Registry,
    clock: WallClock,
}

impl Bench {
    async fn new(config: NetworkConfig) -> Self {
        let mut registry = Registry::default();
        let no_cluster =
            IdentityConfig { kubernetes: Kubernetes::Off, ..IdentityConfig::default() };
        let (identity, _task) = identity::open(no_cluster, &mut registry).await.unwrap();
        let (emitter, items) = Emitter::to_queue(10_000);
        let pipeline = Pipeline::new(PipelineConfig::default(), identity, emitter, &mut registry);
        let network = Network::new(config, &mut registry);
        Self { network, pipeline, items, registry, clock: WallClock::new() }
    }

    fn walk(&mut self, sockets: &[Account]) {
        self.network.walk_begins();
        self.walk_over(sockets);
    }

    fn walk_over(&mut self, sockets: &[Account]) {
        let walked = Walked { sockets: sockets.to_vec(), ..Walked::default() };
        self.network.walked(&walked, &self.clock, &mut self.pipeline);
    }

    fn end(&mut self, account: &Account) {
        self.network.ended(account, &self.clock, &mut self.pipeline);
    }

    /// The values of a metric as of now, added up.
    fn total(&mut self, name: &str) -> i64 {
        self.points(name).iter().map(value).sum()
    }

    fn points(&mut self, name: &str) -> Vec<NumberDataPoint> {
        let scopes = self.network.collect(u64::MAX, &Resource::default()).into_iter();
        let metrics = scopes.flat_map(|one| one.scope_metrics).flat_map(|scope| scope.metrics);
        let points = metrics.filter(|metric| metric.name == name).flat_map(|metric| {
            let Some(Data::Sum(sum)) = metric.data else { panic!("{metric:?}") };
            sum.data_points
        });
        points.collect()
    }

    fn figure(&self, name: &str) -> String {
        let mut shown = String::new();
        encode(&mut shown, &self.registry).unwrap();
        let line = shown.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name}: {shown}")).trim().to_owned()
    }

    fn records(&mut self) -> usize {
        std::iter::from_fn(|| self.items.try_recv().ok()).count()
    }
}

fn value(point: &NumberDataPoint) -> i64 {
    let Some(Value::AsInt(value)) = point.value else { panic!("{point:?}") };
    value
}

/// A client's connection to a port, established 1 ms after it began, that has sent so much.
fn account(socket: u64, port: u16, sent: u64) -> Account {
    let mut local_addr = [0; 16];
    local_addr[..4].copy_from_slice(&[192, 0, 2, 1]);
    let mut remote_addr = [0; 16];
    remote_addr[..4].copy_from_slice(&[192, 0, 2, 2]);
    let local_port = u16::try_from(40_000 + socket % 10_000).unwrap();
    Account {
        socket,
        time: 3_000_000,
        opened: 1_000_000,
        established: 2_000_000,
        sent,
        received: 0,
        owner: Owner { pid: 1, thread: 1, started: 0, cgroup: 0, comm: [0; 16] },
        flow: Flow { local_addr, remote_addr, local_port, remote_port: port, netns: 1 },
        segments_sent: 0,
        segments_received: 0,
        retransmits: 0,
        rtt_micros: 0,
        error: 0,
        backlog: 0,
        backlog_max: 0,
        flags: ACCOUNT_CLIENT,
        state: ESTABLISHED,
        reserved: 0,
    }
}

/// Scenario: a connection is walked over twice and ends; one begins and ends between two walks; one is
/// older than the agent; one ends while a walk is under way that still shows it.
/// Guarantees: each byte is counted once, and none from before the agent came.
#[tokio::test]
async fn every_byte_is_counted_once() {
    let mut bench = Bench::new(NetworkConfig::default()).await;
    let older = |sent| Account { opened: 0, established: 0, flags: 0, ..account(9, 80, sent) };
    bench.walk(&[account(1, 80, 100), older(5_000)]);
    bench.walk(&[account(1, 80, 150), older(5_010)]);
    assert_eq!(bench.total("icecore.network.flow.io"), 160);
    bench.end(&Account { state: FIN_WAIT2, ..account(1, 80, 175) });
    bench.end(&Account { state: FIN_WAIT2, ..account(2, 80, 1_000) });
    bench.network.walk_begins();
    bench.end(&Account { state: FIN_WAIT2, ..account(3, 80, 10_000) });
    bench.walk_over(&[account(3, 80, 9_000), older(5_010)]);
    bench.end(&Account { state: FIN_WAIT2, ..older(5_020) });
    assert_eq!(bench.total("icecore.network.flow.io"), 175 + 1_000 + 10_000 + 20);
    assert_eq!(bench.total("icecore.network.connections.ended"), 4);
    assert_eq!(bench.records(), 4);
}

/// Scenario: more peers, records and sockets than the bounds allow.
/// Guarantees: the sums stay whole, in the series of all others; what was left out is counted.
#[tokio::test]
async fn bounds_hold_and_show() {
    let config = NetworkConfig {
        peers_max: 3,
        records_per_second_max: 5,
        sockets_max: 16,
        ..NetworkConfig::default()
    };
    let mut bench = Bench::new(config).await;
    for at in 0..10_u16 {
        bench.end(&Account { state: FIN_WAIT2, ..account(at.into(), 1_000 + at, 10) });
    }
    assert_eq!(bench.total("icecore.network.flow.io"), 100);
    assert_eq!(bench.records(), 5);
    let open: Vec<Account> = (0..40).map(|at| account(100 + at, 1_000, 1)).collect();
    bench.walk(&open);
    open.iter().for_each(|one| bench.end(&Account { state: FIN_WAIT2, sent: 2, ..*one }));
    assert_eq!(bench.total("icecore.network.flow.io"), 10 + 80, "the others have no news");
    assert_eq!(bench.figure("icecore_probes_connection_records_total{outcome=\"shed\"}"), "45");
    assert_eq!(bench.figure("icecore_probes_peer_overflows_total"), "7");
    assert_eq!(bench.figure("icecore_probes_sockets_forgotten_total"), "24");
}

/// Scenario: segments are thrown away: of a connection in both directions, for a port that is listened to,
/// for one that is not, and some that found no flow of their own.
/// Guarantees: each counts for the process of its connection or listener, with the server's port and no
/// port drawn by chance; what nobody owns is told without a port; the rest is a figure of the agent's.
#[tokio::test]
async fn thrown_away_segments_have_owners() {
    let mut bench = Bench::new(NetworkConfig::default()).await;
    let open = account(1, 80, 0);
    let listener = Account { state: 10, flags: 0, ..account(2, 0, 0) };
    let flow = open.flow;
    let segment = |from: (_, u16), to: (_, u16)| Dropped {
        source: from.0,
        destination: to.0,
        source_port: from.1,
        destination_port: to.1,
        netns: 1,
        reason: 3,
        version: 4,
    };
    let (own, other) = (flow.local_addr, flow.remote_addr);
    let dropped = [
        segment((own, flow.local_port), (other, 80)),
        segment((other, 80), (own, flow.local_port)),
        segment((other, 50_000), (own, listener.flow.local_port)),
        segment((other, 50_001), (own, 60_000)),
        Dropped::ELSEWHERE,
    ];
    let counts = 1..;
    let fallen = dropped.into_iter().zip(counts);
    let fallen = fallen.map(|(dropped, count)| Fallen {
        dropped,
        reason: "no_socket".into(),
        segments: 10_u64.pow(count - 1),
    });
    bench.network.walk_begins();
    let walked =
        Walked { sockets: vec![open, listener], fallen: fallen.collect(), ..Walked::default() };
    bench.network.walked(&walked, &bench.clock, &mut bench.pipeline);
    let points = bench.points("icecore.network.tcp.drops");
    let ports = |point: &NumberDataPoint| {
        let of = |key: &str| {
            let found = point.attributes.iter().find(|attribute| attribute.key == key)?;
            let Some(any_value::Value::IntValue(port)) = found.value.as_ref()?.value else {
                panic!("{point:?}");
            };
            Some(port)
        };
        (value(point), of("network.peer.port"), of("network.local.port"))
    };
    let mut told: Vec<_> = points.iter().map(ports).collect();
    told.sort_unstable();
    let listened = i64::from(listener.flow.local_port);
    assert_eq!(told, [(11, Some(80), None), (100, None, Some(listened)), (1_000, None, None)]);
    assert_eq!(bench.figure("icecore_probes_drop_overflows_total"), "10000");
}

/// Scenario: segments of a thousand made-up senders, then a connection.
/// Guarantees: an eighth of the series is theirs, the rest of them is counted together, and the connection
/// has its own.
#[tokio::test]
async fn made_up_senders_take_no_room() {
    let mut bench = Bench::new(NetworkConfig { peers_max: 64, ..NetworkConfig::default() }).await;
    let open = account(1, 80, 0);
    let fallen = (0..1_000_u16).map(|number| {
        let mut source = open.flow.remote_addr;
        source[..2].copy_from_slice(&number.to_be_bytes());
        let dropped = Dropped {
            source,
            destination: open.flow.local_addr,
            source_port: 50_000,
            destination_port: 60_000,
            netns: 1,
            reason: 3,
            version: 4,
        };
        Fallen { dropped, reason: "no_socket".into(), segments: 1 }
    });
    let walked = Walked { fallen: fallen.collect(), ..Walked::default() };
    bench.network.walk_begins();
    bench.network.walked(&walked, &bench.clock, &mut bench.pipeline);
    bench.end(&account(2, 443, 5));
    let points = bench.points("icecore.network.tcp.drops");
    assert_eq!(points.len(), 8 + 1);
    assert_eq!(points.iter().map(value).sum::<i64>(), 1_000);
    assert_eq!(bench.figure("icecore_probes_peer_overflows_total"), "992");
}

/// Scenario: the last states of a socket and its errors, as the kernel leaves them.
/// Guarantees: each is told as what has happened.
#[test]
fn endings() {
    let of = |state, error: i32, flags| {
        let error = u32::try_from(error).unwrap();
        let ending = Ending::of(&Account { state, error, flags, ..account(1, 80, 0) });
        (ending.name(), ending.error())
    };
    let here = icecore_probe_events::ACCOUNT_CLOSED_HERE;
    assert_eq!(of(FIN_WAIT2, 0, here), ("closed_local", None));
    assert_eq!(of(9, 0, 0), ("closed_remote", None));
    assert_eq!(of(ESTABLISHED, 0, 0), ("reset_local", Some("ECONNRESET")));
    assert_eq!(of(ESTABLISHED, libc::ECONNRESET, 0), ("reset_remote", Some("ECONNRESET")));
    assert_eq!(of(8, libc::EPIPE, 0), ("reset_remote", Some("ECONNRESET")));
    assert_eq!(of(ESTABLISHED, libc::ETIMEDOUT, 0), ("failed", Some("ETIMEDOUT")));
    assert_eq!(of(SYN_SENT, libc::ECONNREFUSED, 0), ("not_connected", Some("ECONNREFUSED")));
    assert_eq!(of(SYN_SENT, 0, 0), ("not_connected", Some("abandoned")));
    assert_eq!(of(ESTABLISHED, 4_000, 0), ("failed", Some("_OTHER")));
}

/// Scenario: addresses are answers to questions, more than are remembered; a server's peer has a name,
/// and one without a role has a listener on its port.
/// Guarantees: the newest names hold, each in its own network namespace, and ports drawn by chance are
/// no part of a peer.
#[test]
fn peers_have_names_and_no_chance_ports() {
    let mut names = Names::new(2);
    let call = |name: &str, answers: &[&str]| DnsCall {
        name: name.to_owned(),
        kind: "A".to_owned(),
        answers: answers.iter().map(|&one| one.to_owned()).collect(),
        code: None,
        retries: 0,
        truncated: false,
    };
    names.learn(1, &call("old.test", &["192.0.2.9"]));
    names.learn(1, &call("shop.test.", &["192.0.2.2", "alias.test"]));
    names.learn(2, &call("other.test", &["192.0.2.2"]));
    let remote = account(1, 80, 0).remote().ip();
    assert_eq!(names.name(1, remote), Some("shop.test"));
    assert_eq!(names.name(2, remote), Some("other.test"));
    assert_eq!(names.name(1, "192.0.2.9".parse().unwrap()), None);
    let client = Peer::of(&account(1, 80, 0), false, names.name(1, remote), Vec::new());
    assert_eq!(
        (client.role(), client.port, client.name.as_deref()),
        ("client", 80, Some("shop.test"))
    );
    let unknown = Account { flags: 0, ..account(1, 80, 0) };
    assert_eq!(
        {
            let peer = Peer::of(&unknown, true, None, Vec::new());
            (peer.role(), peer.port)
        },
        ("server", 40_001)
    );
    let server = |port| {
        Peer::of(&Account { flags: ACCOUNT_SERVER, ..account(1, port, 0) }, false, None, Vec::new())
    };
    assert_eq!(server(50_000), server(50_001));
}

/// What a process has sent to a peer by UDP, and received from it: bytes and datagrams.
fn chat(peer: [u8; 4], client: bool, port: u16, moved: [u64; 4]) -> Chat {
    let mut remote_addr = [0; 16];
    remote_addr[..4].copy_from_slice(&peer);
    let talk = Talk {
        started: 0,
        local_addr: [0; 16],
        remote_addr,
        pid: 1,
        netns: 1,
        port,
        client: client.into(),
        version: 4,
    };
    Chat { talk, moved, comm: "init".to_owned() }
}

/// Scenario: datagrams to a server, from a client, and from nobody knows whom; from a thousand made-up senders; and some
/// that found no place in the kernel's map.
/// Guarantees: bytes and datagrams count once, by UDP, at the server's port, without the metrics that only
/// connections have; made-up senders take no more than their share; the rest is in the series that says so.
#[tokio::test]
async fn datagrams_have_peers() {
    let mut bench = Bench::new(NetworkConfig { peers_max: 64, ..NetworkConfig::default() }).await;
    let elsewhere = Chat { talk: Talk::ELSEWHERE, ..chat([0; 4], false, 0, [7, 0, 2, 0]) };
    let mut chats = vec![
        chat([192, 0, 2, 1], true, 53, [100, 300, 2, 3]),
        chat([192, 0, 2, 2], false, 8_125, [1, 40, 1, 4]),
        chat([0; 4], false, 8_125, [0, 5, 0, 1]),
        elsewhere,
    ];
    let strangers = (0..1_000_u16).map(|number| {
        let [high, low] = number.to_be_bytes();
        // By its port a sender may look like a server.
        chat([10, 0, high, low], number % 2 == 0, 8_125, [0, 1, 0, 1])
    });
    chats.extend(strangers);
    // One of them is answered after all, which makes room for one more.
    chats.push(chat([10, 0, 0, 0], true, 8_125, [1, 0, 1, 0]));
    chats.push(chat([10, 0, 3, 232], false, 8_125, [0, 1, 0, 1]));
    bench.network.walk_begins();
    let walked = Walked { chats, ..Walked::default() };
    bench.network.walked(&walked, &bench.clock, &mut bench.pipeline);
    let mut metrics: HashMap<String, Vec<NumberDataPoint>> = HashMap::new();
    let told = bench.network.collect(u64::MAX, &Resource::default()).into_iter();
    for metric in told.flat_map(|one| one.scope_metrics).flat_map(|scope| scope.metrics) {
        let Some(Data::Sum(sum)) = metric.data else { panic!("{metric:?}") };
        metrics.entry(metric.name).or_default().extend(sum.data_points);
    }
    let sum = |name: &str| metrics[name].iter().map(value).sum::<i64>();
    assert_eq!(sum("icecore.network.flow.io"), 400 + 41 + 5 + 7 + 1_000 + 2);
    assert_eq!(sum("icecore.network.flow.packets"), 5 + 5 + 1 + 2 + 1_000 + 2);
    let said = |point: &NumberDataPoint, key: &str| {
        let found = point.attributes.iter().find(|attribute| attribute.key == key)?;
        Some(format!("{:?}", found.value.as_ref()?.value.as_ref()?))
    };
    let io = &metrics["icecore.network.flow.io"];
    let of_all = io.iter().filter(|point| said(point, "otel.metric.overflow").is_some());
    assert_eq!(of_all.map(value).sum::<i64>(), 7 + 992, "strangers have an eighth of 64");
    let named = |point: &&NumberDataPoint| said(point, "network.peer.address").is_some();
    let transport = |point: &NumberDataPoint| said(point, "network.transport");
    assert!(io.iter().filter(named).all(|point| transport(point).unwrap().contains("udp")));
    let unnamed = io.iter().filter(|point| transport(point).is_some() && !named(point));
    assert_eq!(unnamed.map(value).sum::<i64>(), 5);
    let open = &metrics["icecore.network.connections.open"];
    assert!(open.iter().all(|point| transport(point).is_none()), "{open:?}");
    assert_eq!(bench.figure("icecore_probes_datagram_overflows_total"), "2");
}
