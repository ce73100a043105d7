//! What identity tells of itself.
//!
//! Invariant: labels come from enums.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counts what is known, and what could not be.
#[derive(Debug, Clone, Default)]
pub(crate) struct IdentityMetrics {
    unknown: Counter,
    pods: Gauge,
    pods_left_out: Counter,
    reachable: Gauge,
    failures: Counter,
}

impl IdentityMetrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let Self { unknown, pods, pods_left_out, reachable, failures } = &metrics;
        registry.register(
            "icecore_probes_processes_unknown",
            "Exchanges, connections and readings whose process was gone before it could be looked up",
            unknown.clone(),
        );
        registry.register("icecore_probes_pods", "Pods of this node that are known", pods.clone());
        registry.register(
            "icecore_probes_pods_left_out",
            "Times that a pod was left out since too many are known",
            pods_left_out.clone(),
        );
        registry.register(
            "icecore_probes_kubernetes_reachable",
            "1 while the Kubernetes API answers",
            reachable.clone(),
        );
        registry.register(
            "icecore_probes_kubernetes_failures",
            "Requests to list or watch pods that failed and were made again",
            failures.clone(),
        );
        metrics
    }

    pub(super) fn unknown(&self) {
        self.unknown.inc();
    }

    pub(super) fn pods(&self, count: usize) {
        self.pods.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(super) fn left_out(&self) {
        self.pods_left_out.inc();
    }

    pub(super) fn reachable(&self, reachable: bool) {
        self.reachable.set(reachable.into());
    }

    pub(super) fn failed(&self) {
        self.failures.inc();
        self.reachable(false);
    }
}
