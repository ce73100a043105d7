//! The pods of this node, kept up to date by a watch.
//!
//! Invariants: nobody waits for the API; while it is away the last known pods stay; what is held
//! is bounded by `pods_max`.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use ::kube::runtime::WatchStreamExt as _;
use ::kube::runtime::watcher::{self, Event, watcher};
use ::kube::{Api, Client};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1 as core;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::cgroup::Cgroup;

/// What is known of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pod {
    pub(crate) uid: String,
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) node: Option<String>,
    /// The attribute and the name of what made it.
    pub(crate) owner: Option<(&'static str, String)>,
    pub(crate) service_name: String,
    /// Container ids and names.
    pub(crate) containers: Vec<(String, String)>,
}

/// Where a process runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) pod: Arc<Pod>,
    pub(crate) container: Option<String>,
}

/// The pods of this node.
#[derive(Debug, Default)]
pub(crate) struct Pods {
    by_uid: RwLock<HashMap<String, Arc<Pod>>>,
    by_container: RwLock<HashMap<String, Placed>>,
    version: AtomicU64,
}

impl Pods {
    /// Changes whenever an answer may have changed.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The pod that a control group belongs to.
    pub(crate) fn find(&self, cgroup: &Cgroup) -> Option<Placed> {
        if let Some(id) = &cgroup.container_id {
            let by_container = self.by_container.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(placed) = by_container.get(id) {
                return Some(placed.clone());
            }
        }
        let by_uid = self.by_uid.read().unwrap_or_else(PoisonError::into_inner);
        let pod = by_uid.get(cgroup.pod_uid.as_ref()?)?;
        Some(Placed { pod: Arc::clone(pod), container: None })
    }

    /// Makes `pods` the whole truth. A change of one pod is rare and a node has few.
    fn replace(&self, pods: &HashMap<String, Arc<Pod>>) {
        let placed = |pod: &Arc<Pod>| {
            let pod = Arc::clone(pod);
            pod.containers.clone().into_iter().map(move |(id, name)| {
                (id, Placed { pod: Arc::clone(&pod), container: Some(name) })
            })
        };
        let by_container = pods.values().flat_map(placed).collect();
        *self.by_container.write().unwrap_or_else(PoisonError::into_inner) = by_container;
        self.by_uid.write().unwrap_or_else(PoisonError::into_inner).clone_from(pods);
        self.version.fetch_add(1, Ordering::Release);
    }
}

/// Watches until `stop`. The API may come, go and come back.
pub(crate) async fn watch(
    client: Client,
    node: &str,
    pods_max: usize,
    pods: &Pods,
    stop: &CancellationToken,
) {
    let api: Api<core::Pod> = Api::all(client);
    let config = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
    let mut events = pin!(watcher(api, config).default_backoff());
    let mut known = HashMap::new();
    let mut fresh = HashMap::new();
    let mut reachable = true;
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return,
            event = events.next() => event,
        };
        match event {
            Some(Ok(event)) => {
                reachable = true;
                apply(event, pods_max, &mut known, &mut fresh, pods);
            }
            Some(Err(error)) if reachable => {
                reachable = false;
                warn!(error = &error as &dyn std::error::Error, "kubernetes api is away");
            }
            Some(Err(_)) => {}
            None => return,
        }
    }
}

fn apply(
    event: Event<core::Pod>,
    pods_max: usize,
    known: &mut HashMap<String, Arc<Pod>>,
    fresh: &mut HashMap<String, Arc<Pod>>,
    pods: &Pods,
) {
    match event {
        Event::Init => fresh.clear(),
        Event::InitApply(pod) => insert(fresh, pods_max, &pod),
        Event::InitDone => {
            *known = std::mem::take(fresh);
            info!(pods = known.len(), "pods of this node known");
            pods.replace(known);
        }
        Event::Apply(pod) => {
            insert(known, pods_max, &pod);
            pods.replace(known);
        }
        Event::Delete(pod) => {
            known.remove(&uid(&pod));
            pods.replace(known);
        }
    }
}

fn insert(pods: &mut HashMap<String, Arc<Pod>>, pods_max: usize, pod: &core::Pod) {
    let pod = facts(pod);
    if pods.len() >= pods_max && !pods.contains_key(&pod.uid) {
        warn!(pods_max, pod = pod.name, "too many pods, one is left out");
        return;
    }
    pods.insert(pod.uid.clone(), Arc::new(pod));
}

fn facts(pod: &core::Pod) -> Pod {
    let metadata = &pod.metadata;
    let name = metadata.name.clone().unwrap_or_default();
    let owner = owner(pod);
    let label =
        |key: &str| metadata.labels.as_ref()?.get(key).filter(|one| !one.is_empty()).cloned();
    let service_name = label("app.kubernetes.io/name")
        .or_else(|| label("app"))
        .or_else(|| label("k8s-app"))
        .or_else(|| owner.as_ref().map(|(_, name)| name.clone()))
        .unwrap_or_else(|| name.clone());
    Pod {
        uid: uid(pod),
        namespace: metadata.namespace.clone().unwrap_or_default(),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        containers: containers(pod),
        name,
        owner,
        service_name,
    }
}

/// The kubelet names a static pod's control group by the hash of its manifest, which the mirror pod
/// in the API carries as an annotation.
fn uid(pod: &core::Pod) -> String {
    let annotations = pod.metadata.annotations.as_ref();
    let hash = annotations.and_then(|all| all.get("kubernetes.io/config.hash"));
    hash.or(pod.metadata.uid.as_ref()).cloned().unwrap_or_default()
}

/// A deployment's pods are made by a replica set that is named after it and a hash.
fn owner(pod: &core::Pod) -> Option<(&'static str, String)> {
    let owners = pod.metadata.owner_references.as_ref()?;
    let owner = owners.iter().find(|one| one.controller == Some(true)).or(owners.first())?;
    let labels = pod.metadata.labels.as_ref();
    let hash = labels.and_then(|labels| labels.get("pod-template-hash"));
    let of_deployment = || owner.name.strip_suffix(hash?.as_str())?.strip_suffix('-');
    match owner.kind.as_str() {
        "ReplicaSet" => Some(match of_deployment() {
            Some(deployment) => ("k8s.deployment.name", deployment.to_owned()),
            None => ("k8s.replicaset.name", owner.name.clone()),
        }),
        "StatefulSet" => Some(("k8s.statefulset.name", owner.name.clone())),
        "DaemonSet" => Some(("k8s.daemonset.name", owner.name.clone())),
        "Job" => Some(("k8s.job.name", owner.name.clone())),
        _ => None,
    }
}

fn containers(pod: &core::Pod) -> Vec<(String, String)> {
    let Some(status) = &pod.status else { return Vec::new() };
    let lists = [
        &status.container_statuses,
        &status.init_container_statuses,
        &status.ephemeral_container_statuses,
    ];
    let all = lists.into_iter().flatten().flatten();
    // `containerd://<id>`
    let one = |status: &core::ContainerStatus| {
        let id = status.container_id.as_ref()?.split_once("://")?.1.to_owned();
        Some((id, status.name.clone()))
    };
    all.filter_map(one).collect()
}
