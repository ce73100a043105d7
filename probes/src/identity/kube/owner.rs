//! What made a pod, and what made that: a replica set's deployment, a job's cron job.
//!
//! Invariants: each maker is asked for once, one at a time, and never waited for; what cannot be
//! asked for is told only where it is certain without; answers of makers without a pod are dropped.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use ::kube::{Api, Client, Resource as _};
use futures::future::{BoxFuture, FutureExt as _};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use tokio::time::Instant;
use tracing::debug;

use super::pod::Pod;

/// Kinds that make pods, and their attributes.
const KINDS: [(&str, &str); 8] = [
    ("Deployment", "k8s.deployment.name"),
    ("ReplicaSet", "k8s.replicaset.name"),
    ("StatefulSet", "k8s.statefulset.name"),
    ("DaemonSet", "k8s.daemonset.name"),
    ("CronJob", "k8s.cronjob.name"),
    ("Job", "k8s.job.name"),
    ("ReplicationController", "k8s.replicationcontroller.name"),
    // Not of Kubernetes itself, and common; the conventions have no name for it.
    ("Rollout", "icecore.k8s.rollout.name"),
];

/// Waits between two attempts for what cannot be had.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// What made a pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Maker {
    kind: String,
    namespace: String,
    name: String,
    uid: String,
}

impl Maker {
    /// The controller of an object.
    pub(super) fn of(metadata: &ObjectMeta) -> Option<Self> {
        let owners = metadata.owner_references.as_ref()?;
        let owner = controller(owners)?;
        Some(Self {
            kind: owner.kind.clone(),
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: owner.name.clone(),
            uid: owner.uid.clone(),
        })
    }

    /// The attributes of this maker of `pod`, and of what made it: `parent` where that is known, else
    /// what is certain without. A deployment's pods are made by a replica set that is named after it
    /// and a hash, which they carry as a label.
    pub(super) fn owners(&self, pod: &Pod, parent: Option<&Parent>) -> Vec<Named> {
        let hash = pod.label("pod-template-hash").filter(|_| self.kind == "ReplicaSet");
        let deployment = || self.name.strip_suffix(hash?)?.strip_suffix('-');
        let parent = match parent {
            Some(known) => known.clone(),
            None => deployment().and_then(|name| named("Deployment", name)),
        };
        named(&self.kind, &self.name).into_iter().chain(parent).collect()
    }

    /// It may have been made by something else in turn.
    fn may_be_made(&self) -> bool {
        matches!(self.kind.as_str(), "ReplicaSet" | "Job")
    }
}

fn controller(owners: &[OwnerReference]) -> Option<&OwnerReference> {
    owners.iter().find(|one| one.controller == Some(true)).or(owners.first())
}

fn named(kind: &str, name: &str) -> Option<Named> {
    let (_, key) = KINDS.iter().find(|(one, _)| *one == kind)?;
    Some((key, name.to_owned()))
}

/// An attribute and the name that is its value.
pub(crate) type Named = (&'static str, String);

/// What made a maker; none where nothing did.
pub(super) type Parent = Option<Named>;

type Answer = (Maker, Result<Parent, ::kube::Error>);

/// What made the makers of this node's pods.
pub(super) struct Owners {
    client: Client,
    known: HashMap<Maker, Parent>,
    waiting: VecDeque<Maker>,
    asking: Option<BoxFuture<'static, Answer>>,
    retry_after: Duration,
}

impl Owners {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            known: HashMap::new(),
            waiting: VecDeque::new(),
            asking: None,
            retry_after: RETRY_FIRST,
        }
    }

    /// What made `maker`, as far as that is known by now; it is asked for if it is not.
    pub(super) fn parent(&mut self, maker: &Maker) -> Option<&Parent> {
        let unknown = !self.known.contains_key(maker) && !self.waiting.contains(maker);
        if unknown && maker.may_be_made() {
            self.waiting.push_back(maker.clone());
        }
        self.known.get(maker)
    }

    /// Forgets all but these.
    pub(super) fn keep(&mut self, makers: &HashSet<&Maker>) {
        self.known.retain(|maker, _| makers.contains(maker));
        self.waiting.retain(|maker| makers.contains(maker));
    }

    /// The next maker whose parent has become known; never returns while nothing is asked for. May be
    /// dropped and called again.
    pub(super) async fn next(&mut self) -> Maker {
        loop {
            let Some(maker) = self.waiting.front() else { return std::future::pending().await };
            let asking = self
                .asking
                .get_or_insert_with(|| ask(self.client.clone(), maker.clone(), Duration::ZERO));
            let (maker, answer) = asking.await;
            self.asking = None;
            self.waiting.retain(|one| *one != maker);
            match answer {
                Ok(parent) => {
                    self.retry_after = RETRY_FIRST;
                    self.known.insert(maker.clone(), parent);
                    return maker;
                }
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    debug!(error, kind = maker.kind, name = maker.name, "owner cannot be read");
                    self.waiting.push_back(maker);
                    self.wait();
                }
            }
        }
    }

    /// The next attempt comes later: what keeps one of them from being read keeps the others.
    fn wait(&mut self) {
        let Some(next) = self.waiting.front().cloned() else { return };
        self.asking = Some(ask(self.client.clone(), next, self.retry_after));
        self.retry_after = (self.retry_after * 2).min(RETRY_MAX);
    }
}

/// Asks for the owner of a maker; one that is gone, or is another by now, has none.
fn ask(client: Client, maker: Maker, after: Duration) -> BoxFuture<'static, Answer> {
    let at = Instant::now() + after;
    async move {
        tokio::time::sleep_until(at).await;
        let metadata = metadata(client, &maker).await;
        let parent = metadata.map(|metadata| {
            let metadata = metadata.filter(|one| one.uid.as_deref() == Some(&maker.uid))?;
            let owner = controller(metadata.owner_references.as_ref()?)?;
            named(&owner.kind, &owner.name)
        });
        (maker, parent)
    }
    .boxed()
}

async fn metadata(client: Client, maker: &Maker) -> Result<Option<ObjectMeta>, ::kube::Error> {
    let Maker { kind, namespace, name, .. } = maker;
    if kind == "Job" {
        let api: Api<Job> = Api::namespaced(client, namespace);
        return Ok(api.get_metadata_opt(name).await?.map(|found| found.meta().clone()));
    }
    let api: Api<ReplicaSet> = Api::namespaced(client, namespace);
    Ok(api.get_metadata_opt(name).await?.map(|found| found.meta().clone()))
}
