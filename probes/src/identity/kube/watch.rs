//! The watch over the pods of this node.
//!
//! Invariants: only pods of this node are asked for; a list that did not come to its end changes
//! nothing; each outage is said once.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;

use ::kube::runtime::WatchStreamExt as _;
use ::kube::runtime::watcher::{self, Event, watcher};
use ::kube::{Api, Client};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1 as core;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::owner::{Maker, Owners};
use super::{Pod, Pods};
use crate::identity::Naming;
use crate::identity::metrics::IdentityMetrics;

/// What is watched, and how.
pub(crate) struct Watch {
    pub(crate) client: Client,
    pub(crate) node: String,
    pub(crate) pods_max: usize,
    pub(crate) naming: Arc<Naming>,
    pub(crate) metrics: IdentityMetrics,
}

/// The pods as the API tells them.
struct Watched<'a> {
    watch: &'a Watch,
    /// By the name of their control group.
    known: HashMap<String, Arc<Pod>>,
    /// Those of a list that is not at its end.
    fresh: HashMap<String, Arc<Pod>>,
    owners: Owners,
    reachable: Option<bool>,
    pods: &'a Pods,
}

/// Watches until `stop`. The API may come, go and come back.
pub(crate) async fn watch(watch: Watch, pods: &Pods, stop: &CancellationToken) {
    let api: Api<core::Pod> = Api::all(watch.client.clone());
    let config = watcher::Config::default().fields(&format!("spec.nodeName={}", watch.node));
    let mut events = pin!(watcher(api, config).default_backoff());
    let mut watched = Watched {
        known: HashMap::new(),
        fresh: HashMap::new(),
        owners: Owners::new(watch.client.clone()),
        reachable: None,
        watch: &watch,
        pods,
    };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            event = events.next() => match event {
                Some(Ok(event)) => watched.apply(event),
                Some(Err(error)) => watched.away(&error),
                None => return,
            },
            maker = watched.owners.next() => watched.made(&maker),
        }
    }
}

impl Watched<'_> {
    fn apply(&mut self, event: Event<core::Pod>) {
        match event {
            // Said before anybody was asked.
            Event::Init => return self.fresh.clear(),
            Event::InitApply(pod) => {
                let pod = Pod::of(&pod, &self.watch.naming);
                insert(&mut self.fresh, pod, self.watch);
            }
            Event::InitDone => {
                self.known = std::mem::take(&mut self.fresh);
                info!(pods = self.known.len(), "pods of this node known");
                self.show();
            }
            Event::Apply(pod) => {
                let pod = Pod::of(&pod, &self.watch.naming);
                insert(&mut self.known, pod, self.watch);
                self.show();
            }
            Event::Delete(pod) => {
                self.known.remove(&Pod::of(&pod, &self.watch.naming).group);
                self.show();
            }
        }
        self.reachable = Some(true);
        self.watch.metrics.reachable(true);
    }

    fn away(&mut self, error: &watcher::Error) {
        self.watch.metrics.failed();
        if self.reachable.replace(false) != Some(false) {
            let error: &dyn std::error::Error = error;
            warn!(error, "kubernetes api is away");
        }
    }

    /// What made `maker` is known now.
    fn made(&mut self, maker: &Maker) {
        if self.known.values().any(|pod| pod.maker.as_ref() == Some(maker)) {
            self.show();
        }
    }

    /// Tells the owners as they are known, and everybody the pods.
    fn show(&mut self) {
        for pod in self.known.values_mut() {
            let Some(maker) = &pod.maker else { continue };
            let owners = maker.owners(pod, self.owners.parent(maker));
            if pod.owners != owners {
                *pod = Arc::new(Pod { owners, ..Pod::clone(pod) });
            }
        }
        let makers: HashSet<_> = self.known.values().filter_map(|pod| pod.maker.as_ref()).collect();
        self.owners.keep(&makers);
        self.watch.metrics.pods(self.known.len());
        self.pods.replace(&self.known);
    }
}

fn insert(pods: &mut HashMap<String, Arc<Pod>>, pod: Pod, watch: &Watch) {
    if pods.len() >= watch.pods_max && !pods.contains_key(&pod.group) {
        watch.metrics.left_out();
        warn!(pods_max = watch.pods_max, pod = pod.name, "too many pods, one is left out");
        return;
    }
    pods.insert(pod.group.clone(), Arc::new(pod));
}
