//! Whose a request is: processes in control groups as runtimes name them, pods of a real API server.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use icecore_probes::Config;
use icecore_probes::identity::Kubernetes;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{ResourceMetrics, metric::Data, number_data_point};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::cluster::{ADMIN, Cgroup, Cluster, run_pod};
use crate::peers::{PATIENCE, Peer, free_port, line, open, python_when_told};
use crate::receiver::{Received, serve, shown};

/// A server in a control group of its own.
struct Placed {
    _server: Peer,
    port: u16,
    _cgroup: Cgroup,
}

impl Placed {
    fn new(group: &str) -> Option<Self> {
        let Some(cgroup) = Cgroup::new(group) else {
            println!("skipped: no cgroup can be made");
            return None;
        };
        let (mut server, mut lines) = python_when_told("web_server.py");
        cgroup.add(server.0.id());
        server.0.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        let port = line(&mut lines).trim().parse().unwrap();
        Some(Self { _server: server, port, _cgroup: cgroup })
    }

    /// Asks the server until its newest span has these attributes of its resource.
    async fn shows(&self, received: &Received, wanted: &[(&str, &str)]) {
        let end = tokio::time::Instant::now() + PATIENCE * 2;
        loop {
            let url = format!("http://127.0.0.1:{}/bytes/1", self.port);
            let mut curl = std::process::Command::new("curl");
            assert!(curl.args(["-s", "-o", "/dev/null", &url]).status().unwrap().success());
            tokio::time::sleep(Duration::from_millis(250)).await;
            let last = self.resources(received).pop().unwrap_or_default();
            let missing =
                wanted.iter().find(|(key, value)| shown(&last, key).unwrap_or_default() != *value);
            let Some(missing) = missing else { return };
            let now = tokio::time::Instant::now();
            assert!(now < end, "{missing:?} is not in {last:?}");
        }
    }

    /// Resources of the server's own spans, in the order in which they came.
    fn resources(&self, received: &Received) -> Vec<Vec<KeyValue>> {
        let port = i64::from(self.port);
        let spans = received.with_resources("network.local.port", &[port]).into_iter();
        spans.map(|(resource, _)| resource.to_vec()).collect()
    }
}

pub(crate) async fn cluster() -> Option<Cluster> {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/icecore"));
    let bin = std::env::var_os("ICECORE_CACHE").map(PathBuf::from).or(home)?.join("bin");
    let [etcd, apiserver] = ["etcd", "kube-apiserver"].map(|name| bin.join(name));
    if !etcd.exists() || !apiserver.exists() {
        println!("skipped: etcd and kube-apiserver are not installed; `./dev peers` does it");
        return None;
    }
    let ports = [free_port(), free_port(), free_port()];
    Some(Cluster::start(&etcd, &apiserver, ports).await)
}

pub(crate) fn container(digit: char) -> String {
    digit.to_string().repeat(64)
}

pub(crate) fn owner(kind: &str, name: &str, uid: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": kind, "name": name, "uid": uid, "controller": true})
}

/// A pod of a replica set of a deployment, which does not carry the hash that would give that away.
fn pod_of_a_deployment(cluster: &Cluster) -> String {
    let deployment = owner("Deployment", "cart", &json!("22222222-2222-3333-4444-555555555555"));
    let labels = json!({"run": "cart"});
    let set = cluster.send(
        "POST",
        "/apis/apps/v1/namespaces/default/replicasets",
        &json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"name": "cart-5d", "ownerReferences": [deployment]},
            "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "web", "image": "i"}]}}}}),
    );
    let set = owner("ReplicaSet", "cart-5d", &set["metadata"]["uid"]);
    let metadata = json!({"name": "cart-5d-x", "labels": labels, "ownerReferences": [set]});
    run_pod(cluster, &metadata, &container('a'))
}

fn pod_of_a_stateful_set(cluster: &Cluster) -> String {
    let set = owner("StatefulSet", "store", &json!("33333333-2222-3333-4444-555555555555"));
    let metadata = json!({"name": "store-0", "ownerReferences": [set],
        "labels": {"team": "payments", "tier": "db"},
        "annotations": {"resource.opentelemetry.io/service.name": "ledger",
            "resource.opentelemetry.io/deployment.environment.name": "staging", "owner": "ann"}});
    run_pod(cluster, &metadata, &container('b'))
}

/// How often the containers of a pod were started again, as metrics tell it.
fn restarts(received: &Received, pod: &str) -> Option<i64> {
    let metrics = received.metrics();
    let of_pod = |one: &&ResourceMetrics| {
        let attributes = one.resource.as_ref().map(|resource| resource.attributes.as_slice());
        shown(attributes.unwrap_or_default(), "k8s.pod.name").as_deref() == Some(pod)
    };
    let all = metrics.iter().filter(of_pod).flat_map(|one| &one.scope_metrics);
    let mut named = all
        .flat_map(|scope| &scope.metrics)
        .filter(|metric| metric.name == "k8s.container.restart.count");
    let Some(Data::Sum(sum)) = &named.next()?.data else { return None };
    match sum.data_points.first()?.value {
        Some(number_data_point::Value::AsInt(count)) => Some(count),
        _ => None,
    }
}

/// Scenario: servers in the groups of containerd in a node that is itself a container (kind), and of
/// CRI-O. The agent starts while the API server is away; that comes, goes, and comes back, and
/// meanwhile a pod is replaced by one of the same name.
/// Guarantees: each span has the pod that its process is in, with owners, image, restarts, and the
/// labels and annotations that were asked for, and restarts are a metric as well; what was known stays while the API is away; the new
/// pod is not the old one.
#[tokio::test(flavor = "multi_thread")]
async fn pods_are_known_whatever_the_api_does() {
    let Some(mut cluster) = cluster().await else { return };
    let (first, second) = (pod_of_a_deployment(&cluster), pod_of_a_stateful_set(&cluster));
    let kind = format!("docker/{}/kubelet/kubepods/besteffort/pod{first}", container('e'));
    let slice = format!("kubepods.slice/kubepods-pod{}.slice", second.replace('-', "_"));
    let Some(cart) = Placed::new(&format!("{kind}/{}", container('a'))) else { return };
    let Some(store) = Placed::new(&format!("{slice}/crio-{}.scope", container('b'))) else {
        return;
    };
    let mut config = Config::default();
    config.identity.kubernetes = Kubernetes::Kubeconfig(cluster.kubeconfig(ADMIN));
    config.machine.every = Duration::from_secs(1);
    config.identity.node_name = Some("node-1".to_owned());
    config.identity.pod_labels = vec!["te*".to_owned()];
    config.identity.pod_annotations = vec!["owner".to_owned()];
    cluster.api_goes();
    let stop = CancellationToken::new();
    let (endpoint, received) = serve(stop.clone()).await;
    let mut registry = Registry::default();
    let Some(probes) = open(config, endpoint, &mut registry).await else { return };
    let probes_stop = CancellationToken::new();
    let running = tokio::spawn(probes.run(probes_stop.clone()));
    cart.shows(&received, &[("k8s.pod.uid", &first), ("container.id", &container('a'))]).await;

    cluster.api_comes().await;
    let of_cart = [
        ("k8s.pod.name", "cart-5d-x"),
        ("k8s.replicaset.name", "cart-5d"),
        ("k8s.deployment.name", "cart"),
        ("service.name", "cart"),
        ("service.version", "1.0"),
        ("k8s.container.restart_count", "2"),
        ("container.image.id", "docker.io/shop/cart@sha256:abcd"),
        ("container.runtime.name", "containerd"),
    ];
    cart.shows(&received, &of_cart).await;
    let of_store = [
        ("k8s.pod.uid", second.as_str()),
        ("k8s.statefulset.name", "store"),
        ("service.name", "ledger"),
        ("deployment.environment.name", "staging"),
        ("k8s.pod.label.team", "payments"),
        ("k8s.pod.annotation.owner", "ann"),
        ("k8s.pod.label.tier", ""),
    ];
    store.shows(&received, &of_store).await;
    let end = tokio::time::Instant::now() + PATIENCE;
    while restarts(&received, "cart-5d-x") != Some(2) {
        assert!(tokio::time::Instant::now() < end, "no restarts are told");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    cluster.api_goes();
    cart.shows(&received, &of_cart).await;
    cluster.api_comes().await;
    let path = "/api/v1/namespaces/default/pods/store-0?gracePeriodSeconds=0";
    cluster.send("DELETE", path, &Value::Null);
    let third = run_pod(&cluster, &json!({"name": "store-0"}), &container('c'));
    let pod = format!("kubepods/burstable/pod{third}/{}", container('c'));
    let Some(replaced) = Placed::new(&pod) else { return };
    let of_replaced = [("k8s.pod.name", "store-0"), ("k8s.pod.uid", third.as_str())];
    replaced.shows(&received, &of_replaced).await;
    replaced.shows(&received, &[("service.name", "store-0"), ("k8s.statefulset.name", "")]).await;
    store.shows(&received, &of_store).await;
    probes_stop.cancel();
    running.await.unwrap().unwrap().wait().await;
    stop.cancel();
}
