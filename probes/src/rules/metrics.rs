//! What the rules tell of themselves.
//!
//! Invariant: labels come from enums.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::metrics::label_names;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: Outcome,
}

/// What became of a file that had changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    /// It is in force.
    Taken,
    /// It has a fault or cannot be read; what was in force still is.
    Refused,
}

label_names!(Outcome { Taken => "taken", Refused => "refused" });

#[derive(Debug)]
pub(super) struct RulesMetrics {
    rules: Gauge,
    stale: Gauge,
    changes: Family<OutcomeLabel, Counter>,
}

impl RulesMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics =
            Self { rules: Gauge::default(), stale: Gauge::default(), changes: Family::default() };
        let Self { rules, stale, changes } = &metrics;
        registry.register("icecore_probes_rules", "Rules in force", rules.clone());
        registry.register(
            "icecore_probes_rules_stale",
            "1 while the file of rules is not what is in force, for a fault that the log tells",
            stale.clone(),
        );
        registry.register(
            "icecore_probes_rules_changes",
            "Times that the file of rules had changed, by what became of it",
            changes.clone(),
        );
        metrics
    }

    pub(super) fn in_force(&self, rules: usize) {
        self.rules.set(i64::try_from(rules).unwrap_or(i64::MAX));
    }

    pub(super) fn changed(&self, outcome: Outcome) {
        self.stale.set((outcome == Outcome::Refused).into());
        self.changes.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}
