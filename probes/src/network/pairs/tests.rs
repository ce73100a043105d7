//! Pods and addresses in, rows out.

use icecore_probe_events::{Flow, Owner};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point};

use super::*;

fn pod(namespace: &str, name: &str, address: &str, deployment: Option<&str>) -> Pod {
    let set = ("k8s.replicaset.name", format!("{name}-set"));
    let owners = deployment.map(|it| vec![set, ("k8s.deployment.name", it.to_owned())]);
    Pod {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        owners: owners.unwrap_or_default(),
        addresses: vec![address.parse().unwrap()],
        ..Pod::default()
    }
}

fn account(local: [u8; 4], remote: [u8; 4]) -> Account {
    let address = |of: [u8; 4]| {
        let mut address = [0; 16];
        address[..4].copy_from_slice(&of);
        address
    };
    let flow = Flow {
        local_addr: address(local),
        remote_addr: address(remote),
        local_port: 40_000,
        remote_port: 80,
        netns: 1,
    };
    Account {
        socket: 1,
        time: 0,
        opened: 0,
        established: 0,
        sent: 0,
        received: 0,
        owner: Owner { pid: 1, thread: 1, started: 0, cgroup: 0, comm: [0; 16] },
        flow,
        segments_sent: 0,
        segments_received: 0,
        retransmits: 0,
        rtt_micros: 0,
        error: 0,
        backlog: 0,
        backlog_max: 0,
        flags: 0,
        state: 1,
        reserved: 0,
    }
}

fn moved(sent: u64, received: u64) -> Moved {
    Moved { sent, received, segments_sent: 2, segments_received: 1, retransmits: 0 }
}

/// The attributes of each row of bytes, as `key=value`, and how many.
fn rows(pairs: &mut Pairs, now: u64) -> Vec<(Vec<String>, i64)> {
    let all = pairs.collect(now, &Resource::default());
    let metrics = all.iter().flat_map(|one| &one.scope_metrics).flat_map(|scope| &scope.metrics);
    let mut rows = Vec::new();
    for metric in metrics.filter(|metric| metric.name == "icecore.network.pod.io") {
        let Some(Data::Sum(sum)) = &metric.data else { panic!("{metric:?}") };
        rows.extend(sum.data_points.iter().map(|point| {
            let shown = |one: &opentelemetry_proto::tonic::common::v1::KeyValue| {
                let value = match one.value.clone().unwrap().value.unwrap() {
                    Value::StringValue(text) => text,
                    other => format!("{other:?}"),
                };
                let key = one.key.replace("icecore.", "").replace("k8s.", "");
                format!("{key}={value}")
            };
            let Some(number_data_point::Value::AsInt(bytes)) = point.value else { panic!() };
            (point.attributes.iter().map(shown).collect(), bytes)
        }));
    }
    rows.sort();
    rows
}

/// Scenario: connections of a pod of a deployment to a pod of this node, twice, and to an address that is none; a
/// connection back to itself; one between two addresses that are no pods.
/// Guarantees: each pair has one row each way, with namespace, pod and workload of the ends that are pods and the
/// address of both; nothing is told of the others, and nothing again without news.
#[test]
fn a_pair_has_a_row_each_way() {
    let web = pod("shop", "web-1", "10.0.0.1", Some("web"));
    let store = pod("data", "store-0", "10.0.0.2", None);
    let mut pairs = Pairs::new(10);
    let mut add = |to, there: Option<&Pod>, bytes| {
        let pair = Pair::of(&account([10, 0, 0, 1], to), Some(&web), there).unwrap();
        pairs.add(pair, &moved(bytes, 10 * bytes), 5);
    };
    add([10, 0, 0, 2], Some(&store), 3);
    add([10, 0, 0, 2], Some(&store), 4);
    add([192, 0, 2, 7], None, 1);
    let silent = Pair::of(&account([10, 0, 0, 1], [192, 0, 2, 8]), Some(&web), None).unwrap();
    pairs.add(silent, &Moved::default(), 5);
    assert_eq!(Pair::of(&account([10, 0, 0, 1], [127, 0, 0, 1]), Some(&web), None), None);
    assert_eq!(Pair::of(&account([192, 0, 2, 1], [192, 0, 2, 2]), None, None), None);
    let row = |text: &str, bytes| (text.split(' ').map(str::to_owned).collect::<Vec<_>>(), bytes);
    let from_web = "source.address=10.0.0.1 source.namespace.name=shop source.pod.name=web-1 \
                    source.workload.kind=deployment source.workload.name=web";
    let to_web = from_web.replace("source.", "destination.");
    let store = "address=10.0.0.2 WAY.namespace.name=data WAY.pod.name=store-0";
    let [from_store, to_store] =
        ["source", "destination"].map(|way| format!("{way}.{}", store.replace("WAY", way)));
    let (sent, received) = (
        "network.io.direction=transmit network.transport=tcp",
        "network.io.direction=receive network.transport=tcp",
    );
    let mut wanted = [
        row(&format!("{from_web} {to_store} {sent}"), 7),
        row(&format!("{from_store} {to_web} {received}"), 70),
        row(&format!("{from_web} destination.address=192.0.2.7 {sent}"), 1),
        row(&format!("source.address=192.0.2.7 {to_web} {received}"), 10),
    ];
    wanted.sort();
    assert_eq!(rows(&mut pairs, 9), wanted);
    assert_eq!(rows(&mut pairs, 10), []);
}

/// Scenario: more pairs than the bound; then the first two go silent for long.
/// Guarantees: the rest share a row that says so and are counted, and the sums are whole; who is silent makes room.
#[test]
fn pairs_are_bounded() {
    let web = pod("shop", "web-1", "10.0.0.1", None);
    let mut pairs = Pairs::new(2);
    let add = |pairs: &mut Pairs, to| {
        let pair = Pair::of(&account([10, 0, 0, 1], [192, 0, 2, to]), Some(&web), None).unwrap();
        pairs.add(pair, &moved(1, 0), 5);
    };
    (0..10).for_each(|to| add(&mut pairs, to));
    let told = rows(&mut pairs, 9);
    let overflow =
        |(attributes, _): &&(Vec<String>, i64)| attributes[0].starts_with("otel.metric.overflow");
    let others: Vec<i64> = told.iter().filter(overflow).map(|(_, bytes)| *bytes).collect();
    assert_eq!((told.len(), others), (6, vec![0, 8]));
    assert_eq!(told.iter().map(|(_, bytes)| bytes).sum::<i64>(), 10);
    assert_eq!((pairs.len(), pairs.take_overflowed(), pairs.take_overflowed()), (2, 8, 0));
    for now in 0..u64::from(IDLE_COLLECTIONS_MAX) {
        rows(&mut pairs, 10 + now);
    }
    assert_eq!(pairs.len(), 0);
    add(&mut pairs, 9);
    assert_eq!((pairs.len(), pairs.take_overflowed()), (1, 0));
    let mut none = Pairs::new(0);
    add(&mut none, 1);
    assert_eq!((rows(&mut none, 9).len(), none.take_overflowed()), (0, 0));
}

/// Scenario: datagrams of a thousand made-up senders, then one of a pod of this node, an answer to one of the senders,
/// one more of them, and a connection; all rows fall idle, and strangers come again.
/// Guarantees: an eighth of the rows is theirs, and the rest of them is counted; who is answered is no stranger any
/// more; a pod and a connection have rows of their own; a share that is idle is free again.
#[test]
fn made_up_senders_take_no_room() {
    let (web, store) =
        (pod("shop", "web-1", "10.0.0.1", None), pod("data", "store-0", "10.0.0.2", None));
    let mut pairs = Pairs::new(64);
    let by_datagrams = |of: u16, there: Option<&Pod>| {
        let [high, low] = of.to_be_bytes();
        let ends = ("10.0.0.1".parse().unwrap(), IpAddr::from([198, 18, high, low]));
        Pair::by_datagrams(ends, Some(&web), there).unwrap()
    };
    (0..1_000).for_each(|of| pairs.add_stranger(by_datagrams(of, None), &moved(0, 1), 5));
    assert_eq!((pairs.len(), pairs.take_overflowed()), (8, 992));
    pairs.add_stranger(by_datagrams(2_000, Some(&store)), &moved(0, 1), 5);
    pairs.add(by_datagrams(0, None), &moved(1, 0), 5);
    pairs.add_stranger(by_datagrams(3_000, None), &moved(0, 1), 5);
    pairs.add_stranger(by_datagrams(0, None), &moved(0, 1), 5);
    let connection = Pair::of(&account([10, 0, 0, 1], [192, 0, 2, 7]), Some(&web), None).unwrap();
    pairs.add(connection, &moved(7, 0), 5);
    assert_eq!((pairs.len(), pairs.take_overflowed()), (11, 0));
    (0..=IDLE_COLLECTIONS_MAX)
        .for_each(|now| drop(pairs.collect(now.into(), &Resource::default())));
    assert_eq!(pairs.len(), 0);
    (0..10).for_each(|of| pairs.add_stranger(by_datagrams(of, None), &moved(0, 1), 5));
    assert_eq!((pairs.len(), pairs.take_overflowed()), (8, 2));
}
