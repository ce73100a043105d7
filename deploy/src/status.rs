//! How far the pods of an installation are.

use std::fmt;

use kube::core::DynamicObject;
use serde_json::Value;

use crate::{Cluster, Error, ObjectName, Options, objects};

/// Pods of one workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// The workload.
    pub object: ObjectName,
    /// Whether it exists.
    pub exists: bool,
    /// Whether the cluster has seen its newest version; the figures are of an older one if not.
    pub observed: bool,
    /// Pods that should run.
    pub wanted: u64,
    /// Pods of the newest version.
    pub updated: u64,
    /// Pods that are ready.
    pub ready: u64,
}

impl Rollout {
    /// Whether every pod that should run is new and ready.
    #[must_use]
    pub const fn done(&self) -> bool {
        self.exists && self.observed && self.updated >= self.wanted && self.ready >= self.wanted
    }
}

impl fmt::Display for Rollout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { object, exists, observed, wanted, updated, ready } = self;
        if !exists {
            return write!(f, "{object}: not there");
        }
        if !observed {
            return write!(f, "{object}: not begun");
        }
        write!(f, "{object}: {ready} of {wanted} ready, {updated} up to date")
    }
}

/// Every workload of the installation. Of the options only the namespace is needed.
pub async fn status(cluster: &Cluster, options: &Options) -> Result<Vec<Rollout>, Error> {
    let mut rollouts = Vec::new();
    for manifest in objects::named(options)? {
        if !matches!(manifest.object.kind.as_str(), "DaemonSet" | "StatefulSet" | "Deployment") {
            continue;
        }
        let found = manifest.api(&cluster.client).get_opt(&manifest.object.name).await;
        let found = found.map_err(|error| manifest.failed("look at", error))?;
        rollouts.push(rollout(manifest.object, found.as_ref()));
    }
    Ok(rollouts)
}

/// The three kinds name the same figures differently.
fn rollout(object: ObjectName, found: Option<&DynamicObject>) -> Rollout {
    let Some(found) = found else {
        return Rollout { object, exists: false, observed: false, wanted: 0, updated: 0, ready: 0 };
    };
    let number = |path: &str| found.data.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let either = |one: &str, other: &str| number(one).max(number(other));
    let observed = i64::try_from(number("/status/observedGeneration")).unwrap_or(0);
    Rollout {
        object,
        exists: true,
        observed: observed >= found.metadata.generation.unwrap_or(1),
        wanted: either("/spec/replicas", "/status/desiredNumberScheduled"),
        updated: either("/status/updatedReplicas", "/status/updatedNumberScheduled"),
        ready: either("/status/readyReplicas", "/status/numberReady"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(kind: &str, value: Value, expected: &str, done: bool) {
        let found: DynamicObject = serde_json::from_value(value).unwrap();
        let object = ObjectName { kind: kind.to_owned(), namespace: None, name: "x".to_owned() };
        let rollout = rollout(object, Some(&found));
        assert_eq!((rollout.to_string().as_str(), rollout.done()), (expected, done));
    }

    /// Scenario: workloads of each kind, done, under way, and changed a moment ago.
    /// Guarantees: the figures of the kind; an old status is not taken for a new one.
    #[test]
    fn rollouts_are_read() {
        let daemons = json!({"metadata": {"generation": 2}, "spec": {}, "status": {
            "observedGeneration": 2, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3,
            "numberReady": 2}});
        check("DaemonSet", daemons, "DaemonSet x: 2 of 3 ready, 3 up to date", false);
        let done = json!({"metadata": {"generation": 2}, "spec": {"replicas": 1}, "status": {
            "observedGeneration": 2, "updatedReplicas": 1, "readyReplicas": 1}});
        check("Deployment", done, "Deployment x: 1 of 1 ready, 1 up to date", true);
        let old = json!({"metadata": {"generation": 3}, "spec": {"replicas": 1}, "status": {
            "observedGeneration": 2, "updatedReplicas": 1, "readyReplicas": 1}});
        check("StatefulSet", old, "StatefulSet x: not begun", false);
    }
}
