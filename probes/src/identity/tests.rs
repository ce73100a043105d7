//! Processes that come, go and share pids; pods from an API that is away at first.

use std::collections::HashMap as Map;
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use super::*;

fn attribute(who: &Who, key: &str) -> Option<String> {
    let found = who.resource.attributes.iter().find(|one| one.key == key)?;
    match found.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        other => Some(format!("{other:?}")),
    }
}

/// A process in a procfs of our own, started at `ticks`.
fn put(proc_dir: &Path, pid: u32, ticks: u64, name: &str, cgroup: &str) {
    let dir = proc_dir.join(pid.to_string());
    drop(fs::remove_dir_all(&dir));
    fs::create_dir_all(&dir).unwrap();
    let fields = "0 ".repeat(17);
    fs::write(dir.join("stat"), format!("{pid} ({name}) S 2 {fields}{ticks} 0")).unwrap();
    fs::write(dir.join("comm"), format!("{name}\n")).unwrap();
    fs::write(dir.join("cmdline"), format!("{name}\0--token\0x\0")).unwrap();
    fs::write(dir.join("cgroup"), cgroup).unwrap();
}

async fn identity(proc_dir: &Path) -> (Identity, IdentityTask) {
    let config = IdentityConfig {
        proc_dir: proc_dir.to_owned(),
        processes_max: 3,
        host_name: Some("node-1".to_owned()),
        kubernetes: Kubernetes::Off,
        ..IdentityConfig::default()
    };
    open(config, &mut Registry::default()).await.unwrap()
}

/// Scenario: a process is seen, dies, and its pid comes again; another was never seen.
/// Guarantees: the dead one is still itself, the new one is not taken for it, the unseen one has
/// the kernel's name; what is held keeps its bound.
#[tokio::test]
async fn pids_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut identity, _task) = identity(dir.path()).await;
    put(dir.path(), 7, 100, "first", "0::/");
    identity.process_seen(7, 1_000_000_000);
    fs::remove_dir_all(dir.path().join("7")).unwrap();
    let first = identity.resource(7, 1_000_000_000, "first");
    assert_eq!(attribute(&first, "service.name").as_deref(), Some("first"));
    assert!(!attribute(&first, "process.command_args").unwrap().contains("\"x\""));
    put(dir.path(), 7, 200, "second", "0::/");
    let second = identity.resource(7, 2_000_000_000, "second");
    assert_eq!(attribute(&second, "service.name").as_deref(), Some("second"));
    assert_ne!(first.key, second.key);
    // The first one's late exchange: it is gone, and the second one's facts are not its own.
    let late = identity.resource(7, 1_000_000_000, "first");
    assert_eq!(attribute(&late, "service.name").as_deref(), Some("first"));
    assert_eq!(late.key, first.key);
    let stranger = identity.resource(8, 5, "curl");
    assert_eq!(attribute(&stranger, "service.name").as_deref(), Some("curl"));
    assert_eq!(attribute(&stranger, "host.name").as_deref(), Some("node-1"));
    for pid in 10..20 {
        put(dir.path(), pid, 1, "many", "0::/");
        identity.resource(pid, 0, "many");
    }
    assert_eq!(identity.known.len(), 3);
}

/// Scenario: a shell becomes another program without a new pid; then one of the same name in a container, which was read
/// before it began its program; then it is gone as another begins, of which nothing was known.
/// Guarantees: the new name makes it be read again, and so does the beginning of a program; what cannot be read any more
/// stays who it was, and of nobody who is not held anything is read.
#[tokio::test]
async fn exec_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut identity, _task) = identity(dir.path()).await;
    put(dir.path(), 7, 100, "sh", "0::/");
    assert_eq!(attribute(&identity.resource(7, 0, "sh"), "service.name").unwrap(), "sh");
    put(dir.path(), 7, 100, "server", "0::/");
    assert_eq!(attribute(&identity.resource(7, 0, "server"), "service.name").unwrap(), "server");
    put(dir.path(), 7, 100, "server", &cgroup_of(CONTAINER));
    let container = |who: &Who| attribute(who, "container.id");
    assert_eq!(container(&identity.resource(7, 1_000_000_000, "server")), None);
    identity.begins(7, 1_000_000_000);
    fs::remove_dir_all(dir.path().join("7")).unwrap();
    identity.begins(7, 1_000_000_000);
    put(dir.path(), 8, 100, "other", "0::/");
    identity.begins(8, 1_000_000_000);
    assert_eq!(
        container(&identity.resource(7, 1_000_000_000, "server")).as_deref(),
        Some(CONTAINER)
    );
    assert!(!identity.holds(8));
}

const CONTAINER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn cgroup_of(container: &str) -> String {
    format!("0::/kubepods/cri-containerd-{container}.scope")
}

fn pod(name: &str, container: &str) -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "shop", "uid": format!("uid-{name}"), "resourceVersion": "5",
            "labels": { "pod-template-hash": "abc12" },
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "cart-abc12", "uid": "r",
                "controller": true,
            }],
        },
        "spec": { "nodeName": "node-1", "containers": [{ "name": "app" }] },
        "status": { "podIP": "10.1.2.3", "containerStatuses": [{
            "name": "app", "containerID": format!("containerd://{container}"), "image": "i",
            "imageID": "i", "ready": true, "restartCount": 0,
        }]},
    })
}

/// An API server that is away for its first request.
struct Api {
    requests: AtomicU32,
    watch: std::sync::Mutex<Option<mpsc::Receiver<String>>>,
}

async fn pods(State(api): State<Arc<Api>>, Query(query): Query<Map<String, String>>) -> Response {
    if api.requests.fetch_add(1, Ordering::Relaxed) == 0 {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    assert_eq!(query["fieldSelector"], "spec.nodeName=node-1");
    if !query.contains_key("watch") {
        let list = json!({
            "apiVersion": "v1", "kind": "PodList", "metadata": { "resourceVersion": "5" },
            "items": [pod("cart-abc12-x", CONTAINER)],
        });
        return axum::Json(list).into_response();
    }
    let Some(lines) = api.watch.lock().unwrap().take() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let lines = ReceiverStream::new(lines).map(Ok::<_, std::io::Error>);
    Body::from_stream(lines).into_response()
}

async fn until(mut met: impl FnMut() -> bool) {
    let wait = async {
        while !met() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap();
}

/// Scenario: the API is away, then lists a pod, then tells of a second one and of the end of the
/// first. A process of each was seen before.
/// Guarantees: processes get their pod as soon as it is known, without being read again.
#[tokio::test]
async fn pods_become_known() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let (send, lines) = mpsc::channel(8);
    let api = Api { requests: AtomicU32::new(0), watch: std::sync::Mutex::new(Some(lines)) };
    let routes = axum::Router::new().route("/api/v1/pods", axum::routing::get(pods));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = axum::serve(listener, routes.with_state(Arc::new(api)));
    tokio::spawn(async move { server.await });

    let dir = tempfile::tempdir().unwrap();
    let (mut identity, task) = identity(dir.path()).await;
    let second = CONTAINER.replace('0', "f");
    put(dir.path(), 7, 100, "app", &cgroup_of(CONTAINER));
    put(dir.path(), 8, 100, "app", &cgroup_of(&second));
    let before = identity.resource(7, 0, "app");
    assert_eq!(attribute(&before, "container.id").as_deref(), Some(CONTAINER));
    assert_eq!(attribute(&before, "k8s.pod.name"), None);

    let client = ::kube::Client::try_from(::kube::Config::new(url.parse().unwrap())).unwrap();
    let watch = Watch {
        client,
        node: "node-1".to_owned(),
        pods_max: 10,
        naming: Arc::clone(&identity.naming),
        metrics: identity.metrics.clone(),
    };
    let stop = CancellationToken::new();
    let pods = Arc::clone(&task.pods);
    let task = IdentityTask { watch: Some(watch), pods: task.pods };
    let task = tokio::spawn(task.run(stop.clone()));
    let mut pod_of = |pid| attribute(&identity.resource(pid, 0, "app"), "k8s.pod.name");
    until(|| pod_of(7).as_deref() == Some("cart-abc12-x")).await;
    let line = |kind: &str, object| format!("{}\n", json!({ "type": kind, "object": object }));
    send.send(line("ADDED", pod("cart-abc12-y", &second))).await.unwrap();
    send.send(line("DELETED", pod("cart-abc12-x", CONTAINER))).await.unwrap();
    until(|| pod_of(8).as_deref() == Some("cart-abc12-y")).await;
    until(|| pods.find(&cgroup::parse(&cgroup_of(CONTAINER))).is_none()).await;
    assert_eq!(pod_of(7).as_deref(), Some("cart-abc12-x"), "late exchanges keep their pod");

    let who = identity.resource(8, 0, "app");
    let peer = identity.peer("10.1.2.3".parse().unwrap());
    assert!(peer.contains(&Attribute::text("service.peer.name", "cart")), "{peer:?}");
    assert!(peer.contains(&Attribute::text("icecore.peer.k8s.pod.name", "cart-abc12-y")));
    assert_eq!(identity.peer("10.1.2.4".parse().unwrap()), []);
    for (key, value) in [
        ("service.name", "cart"),
        ("k8s.namespace.name", "shop"),
        ("k8s.node.name", "node-1"),
        ("k8s.container.name", "app"),
        ("k8s.deployment.name", "cart"),
        ("k8s.pod.uid", "uid-cart-abc12-y"),
    ] {
        assert_eq!(attribute(&who, key).as_deref(), Some(value), "{key}");
    }
    stop.cancel();
    task.await.unwrap();
}
