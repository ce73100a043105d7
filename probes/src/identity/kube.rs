//! The pods of this node, kept up to date by a watch.
//!
//! Invariants: nobody waits for the API; while it is away the last known pods stay; what is held
//! is bounded by `pods_max`.

mod owner;
mod pod;
mod watch;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::cgroup::Cgroup;
pub(crate) use pod::{Container, Pod};
pub(crate) use watch::{Watch, watch};

/// Where a process runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) pod: Arc<Pod>,
    /// Which of the pod's containers.
    container: Option<usize>,
}

impl Placed {
    /// In a container that the API does not tell of (yet).
    pub(crate) fn in_pod(pod: Arc<Pod>) -> Self {
        Self { pod, container: None }
    }

    /// The container, where it is known.
    pub(crate) fn container(&self) -> Option<&Container> {
        self.pod.containers.get(self.container?)
    }
}

/// The pods of this node.
#[derive(Debug, Default)]
pub(crate) struct Pods {
    all: RwLock<ByName>,
    version: AtomicU64,
}

/// Pods by all that they are looked up by.
#[derive(Debug, Default)]
struct ByName {
    groups: HashMap<String, Arc<Pod>>,
    containers: HashMap<String, Placed>,
    addresses: HashMap<IpAddr, Arc<Pod>>,
}

impl Pods {
    /// Changes whenever an answer may have changed.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The pod that a control group belongs to.
    pub(crate) fn find(&self, cgroup: &Cgroup) -> Option<Placed> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let by_container = cgroup.container_id.as_ref().and_then(|id| all.containers.get(id));
        if let Some(placed) = by_container {
            return Some(placed.clone());
        }
        let pod = all.groups.get(cgroup.pod_uid.as_ref()?)?;
        Some(Placed::in_pod(Arc::clone(pod)))
    }

    /// The pod that has an address of its own.
    pub(crate) fn at(&self, address: IpAddr) -> Option<Arc<Pod>> {
        if self.version() == 0 {
            // Nobody watches, or nothing has come yet.
            return None;
        }
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.addresses.get(&address.to_canonical()).cloned()
    }

    /// Every container of every pod.
    pub(crate) fn containers(&self) -> Vec<Placed> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.containers.values().cloned().collect()
    }

    /// Makes `pods` the whole truth. A change of one pod is rare and a node has few.
    fn replace(&self, pods: &HashMap<String, Arc<Pod>>) {
        let mut new = ByName { groups: pods.clone(), ..ByName::default() };
        for pod in pods.values() {
            for (at, container) in pod.containers.iter().enumerate() {
                let placed = Placed { pod: Arc::clone(pod), container: Some(at) };
                new.containers.insert(container.id.clone(), placed);
            }
            let addresses = pod.addresses.iter().map(|&address| (address, Arc::clone(pod)));
            new.addresses.extend(addresses);
        }
        *self.all.write().unwrap_or_else(PoisonError::into_inner) = new;
        self.version.fetch_add(1, Ordering::Release);
    }
}
