//! What two pods move, in network namespaces and control groups of their own, as a kubelet makes them.

use std::io::{BufReader, Write as _};
use std::path::Path;
use std::process::{ChildStdout, Command};
use std::time::Duration;

use icecore_probes::Config;
use icecore_probes::identity::Kubernetes;
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point};
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::cluster::{ADMIN, Cgroup, Cluster, run_pod_at};
use crate::peers::{Peer, figure, line, open, spawn, until};
use crate::pods::{cluster, container, owner};
use crate::receiver::{Received, serve, shown};

/// The names of both namespaces, and their addresses.
const SPACES: [(&str, &str); 2] = [("icecore-pod-a", "10.77.0.1"), ("icecore-pod-b", "10.77.0.2")];
const PORT: &str = "8080";
const REQUESTS: usize = 20;
const DATAGRAMS_PORT: &str = "8125";
/// Answers each datagram with one of twice its length, at this address and port.
const ECHO: &str = "import socket, sys\n\
    echo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
    echo.bind((sys.argv[1], int(sys.argv[2])))\n\
    print('ready', flush=True)\n\
    while True:\n\
    \x20   data, back = echo.recvfrom(2048)\n\
    \x20   echo.sendto(data * 2, back)";
/// Sends twenty datagrams of a hundred bytes there, and waits for the answer to each.
const ASK: &str = "import socket, sys\n\
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
    client.settimeout(20)\n\
    for number in range(20):\n\
    \x20   client.sendto(b'x' * 100, (sys.argv[1], int(sys.argv[2])))\n\
    \x20   client.recvfrom(2048)";

/// Two network namespaces with a cable between them, gone with the test.
struct Cable;

impl Cable {
    fn new() -> Option<Self> {
        let ip = |arguments: &str| {
            let status = Command::new("ip").args(arguments.split(' ')).status();
            status.is_ok_and(|status| status.success())
        };
        let cable = Self;
        let [(a, _), (b, _)] = SPACES;
        let link = format!("link add name pod0 netns {a} type veth peer name pod0 netns {b}");
        let made = SPACES.iter().all(|(space, _)| ip(&format!("netns add {space}")))
            && ip(&link)
            && SPACES.iter().all(|(space, address)| {
                ip(&format!("-n {space} address add {address}/24 dev pod0"))
                    && ip(&format!("-n {space} link set pod0 up"))
            });
        if !made {
            println!("skipped: no network namespaces can be made");
        }
        made.then_some(cable)
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for (space, _) in SPACES {
            drop(Command::new("ip").args(["netns", "del", space]).output());
        }
    }
}

/// A pod, and what runs in it.
struct Running {
    space: &'static str,
    cgroup: Cgroup,
}

impl Running {
    fn new(cluster: &Cluster, at: usize, metadata: &serde_json::Value) -> Option<Self> {
        let (space, address) = SPACES[at];
        let id = container(['a', 'b'][at]);
        let uid = run_pod_at(cluster, metadata, &id, address);
        let cgroup = Cgroup::new(&format!("kubepods/burstable/pod{uid}/{id}"))?;
        Some(Self { space, cgroup })
    }

    /// Runs a program in the pod.
    fn run(&self, program: &[&str]) -> (Peer, BufReader<ChildStdout>) {
        let inside = ["sh", "-c", "read told; exec ip netns exec \"$@\"", "sh", self.space];
        let mut command = Command::new(inside[0]);
        let (mut peer, lines) = spawn(command.args(&inside[1..]).args(program));
        self.cgroup.add(peer.0.id());
        peer.0.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        (peer, lines)
    }
}

/// What has passed from one pod to another, as the one that sends it or the one that receives it tells; the workload
/// of both with it.
fn moved(
    received: &Received,
    transport: &str,
    way: [&str; 2],
    direction: &str,
) -> Option<(i64, [Option<String>; 2])> {
    let mut newest = None;
    for of_resource in received.metrics() {
        let metrics = of_resource.scope_metrics.iter().flat_map(|scope| &scope.metrics);
        for metric in metrics.filter(|metric| metric.name == "icecore.network.pod.io") {
            let Some(Data::Sum(sum)) = &metric.data else { panic!("{metric:?}") };
            for point in &sum.data_points {
                let of = |key: &str| shown(&point.attributes, key);
                let pods =
                    ["source", "destination"].map(|end| of(&format!("icecore.{end}.k8s.pod.name")));
                let wanted = pods.each_ref().map(Option::as_deref) == way.map(Some);
                let is = |key: &str, value: &str| of(key).as_deref() == Some(value);
                if !wanted
                    || !is("network.io.direction", direction)
                    || !is("network.transport", transport)
                {
                    continue;
                }
                let addresses =
                    ["source.address", "destination.address"].map(|key| of(key).unwrap());
                assert!(addresses.iter().all(|one| one.starts_with("10.77.0.")), "{addresses:?}");
                let Some(number_data_point::Value::AsInt(bytes)) = point.value else { panic!() };
                let workloads = ["source", "destination"]
                    .map(|end| of(&format!("icecore.{end}.k8s.workload.name")));
                newest = Some((bytes, workloads));
            }
        }
    }
    newest
}

/// Scenario: a pod of a deployment asks one of a stateful set twenty times, over a cable between their namespaces, and as often
/// by datagrams, whose sockets are not connected; the API server is a real one.
/// Guarantees: both pods tell what has passed each way, to the byte the same, with namespace, pod and workload of both
/// ends; the pair is one of the agent's own figures.
#[tokio::test(flavor = "multi_thread")]
async fn two_pods_are_a_pair() {
    let Some(cluster) = cluster().await else { return };
    let Some(_cable) = Cable::new() else { return };
    let uid = json!("44444444-2222-3333-4444-555555555555");
    let web = json!({"name": "web-0", "ownerReferences": [owner("DaemonSet", "web", &uid)]});
    let store =
        json!({"name": "store-0", "ownerReferences": [owner("StatefulSet", "store", &uid)]});
    let [web, store] = [(0, web), (1, store)].map(|(at, it)| Running::new(&cluster, at, &it));
    let (Some(web), Some(store)) = (web, store) else {
        return println!("skipped: no cgroup can be made");
    };
    let mut config = Config::default();
    config.identity.kubernetes = Kubernetes::Kubeconfig(cluster.kubeconfig(ADMIN));
    config.identity.node_name = Some("node-1".to_owned());
    config.network.every = Duration::from_millis(500);
    let stop = CancellationToken::new();
    let (endpoint, received) = serve(stop.clone()).await;
    let mut registry = Registry::default();
    let Some(probes) = open(config, endpoint, &mut registry).await else { return };
    let probes_stop = CancellationToken::new();
    let running = tokio::spawn(probes.run(probes_stop.clone()));
    until(|| figure(&registry, "icecore_probes_pods ") == 2).await;
    let service = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/chain_service.py");
    let (_server, _lines) = store.run(&["python3", service.to_str().unwrap(), SPACES[1].1, PORT]);
    let url = format!("http://{}:{PORT}/[1-{REQUESTS}]/", SPACES[1].1);
    let asked = ["curl", "-s", "--retry", "50", "--retry-connrefused", "--retry-delay", "1", &url];
    let (mut client, _out) = web.run(&asked);
    let asked = tokio::task::spawn_blocking(move || client.0.wait()).await.unwrap().unwrap();
    assert!(asked.success());
    let echo = ["python3", "-c", ECHO, SPACES[1].1, DATAGRAMS_PORT];
    let (_echo, mut lines) = store.run(&echo);
    assert_eq!(line(&mut lines), "ready\n");
    let (mut client, _out) = web.run(&["python3", "-c", ASK, SPACES[1].1, DATAGRAMS_PORT]);
    let asked = tokio::task::spawn_blocking(move || client.0.wait()).await.unwrap().unwrap();
    assert!(asked.success());
    let (to_store, to_web) = (["web-0", "store-0"], ["store-0", "web-0"]);
    let all = || {
        let ways = [
            (to_store, "transmit"),
            (to_store, "receive"),
            (to_web, "transmit"),
            (to_web, "receive"),
        ];
        let of =
            |transport| ways.map(|(way, direction)| moved(&received, transport, way, direction));
        (of("tcp"), of("udp"))
    };
    let is_told = |of: [Option<_>; 4]| of.iter().all(Option::is_some);
    until(|| is_told(all().0) && is_told(all().1)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (by_tcp, by_udp) = all();
    let bytes = by_udp.map(|told| told.unwrap().0);
    assert_eq!(bytes, [2_000, 2_000, 4_000, 4_000], "by UDP");
    let [sent, arrived, answered, read] = by_tcp.map(Option::unwrap);
    println!("{} bytes to the store, {} back", sent.0, answered.0);
    assert_eq!((sent.0, answered.0), (arrived.0, read.0));
    let least = i64::try_from(REQUESTS).unwrap() * 40;
    assert!(sent.0 > least && answered.0 > least, "{sent:?} {answered:?}");
    let [web, store] = ["web", "store"].map(|name| Some(name.to_owned()));
    assert_eq!(sent.1, [web.clone(), store.clone()]);
    assert_eq!(answered.1, [store, web]);
    assert!(figure(&registry, "icecore_probes_pod_pairs ") >= 2);
    probes_stop.cancel();
    running.await.unwrap().unwrap().wait().await;
    stop.cancel();
}
