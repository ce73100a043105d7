//! What the emitter tells of itself.
//!
//! Invariant: each item is counted under one outcome.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::loss::Losses;
use crate::metrics::label_names;

/// What became of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    /// The receiver has it.
    Sent,
    /// The receiver does not want it, now or later.
    Refused,
    /// The receiver does not know what it is; of profiles, which are not sent for a while then.
    Unimplemented,
    /// Dropped: too many were waiting.
    QueueFull,
    /// Dropped: too many bytes were waiting.
    QueueBytesFull,
    /// Dropped: the agent holds as much as it may.
    Memory,
    /// Dropped: the receiver was away for too long.
    GaveUp,
    /// Dropped: it could not be sent before the stop's deadline, or came after the stop.
    Stopped,
}

label_names!(Outcome {
    Sent => "sent",
    Refused => "refused",
    Unimplemented => "unimplemented",
    QueueFull => "queue_full",
    QueueBytesFull => "queue_bytes_full",
    Memory => "memory",
    GaveUp => "gave_up",
    Stopped => "stopped",
});

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: Outcome,
}

#[derive(Debug)]
pub(super) struct EmitMetrics {
    spans: Family<OutcomeLabel, Counter>,
    logs: Family<OutcomeLabel, Counter>,
    metrics: Family<OutcomeLabel, Counter>,
    profiles: Family<OutcomeLabel, Counter>,
    retries: Counter,
}

impl EmitMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            spans: Family::default(),
            logs: Family::default(),
            metrics: Family::default(),
            profiles: Family::default(),
            retries: Counter::default(),
        };
        registry.register(
            "icecore_probes_emitted_spans",
            "Spans that were handed to the emitter, by what became of them",
            metrics.spans.clone(),
        );
        registry.register(
            "icecore_probes_emitted_logs",
            "Log records that were handed to the emitter, by what became of them",
            metrics.logs.clone(),
        );
        registry.register(
            "icecore_probes_emitted_metric_exports",
            "Collections of metrics, by what became of them",
            metrics.metrics.clone(),
        );
        registry.register(
            "icecore_probes_emitted_profiles",
            "Profiles that were handed to the emitter, one for each process and interval, by what became of them",
            metrics.profiles.clone(),
        );
        registry.register(
            "icecore_probes_emit_retries",
            "Attempts that failed and were tried again",
            metrics.retries.clone(),
        );
        metrics
    }

    pub(super) fn spans(&self, outcome: Outcome, count: u64) {
        self.spans.get_or_create(&OutcomeLabel { outcome }).inc_by(count);
    }

    pub(super) fn logs(&self, outcome: Outcome, count: u64) {
        self.logs.get_or_create(&OutcomeLabel { outcome }).inc_by(count);
    }

    pub(super) fn metrics(&self, outcome: Outcome, count: u64) {
        self.metrics.get_or_create(&OutcomeLabel { outcome }).inc_by(count);
    }

    pub(super) fn profiles(&self, outcome: Outcome, count: u64) {
        self.profiles.get_or_create(&OutcomeLabel { outcome }).inc_by(count);
    }

    /// What of these figures is loss.
    pub(super) fn losses(&self, losses: &mut Losses) {
        let kinds = [
            ("spans", &self.spans),
            ("logs", &self.logs),
            ("metric_exports", &self.metrics),
            ("profiles", &self.profiles),
        ];
        for (what, family) in kinds {
            for (name, outcome) in [
                ("refused", Outcome::Refused),
                ("unimplemented", Outcome::Unimplemented),
                ("queue_full", Outcome::QueueFull),
                ("queue_bytes_full", Outcome::QueueBytesFull),
                ("memory", Outcome::Memory),
                ("gave_up", Outcome::GaveUp),
                ("stopped", Outcome::Stopped),
            ] {
                losses.add(what, name, &family.get_or_create(&OutcomeLabel { outcome }));
            }
        }
    }

    pub(super) fn retried(&self) {
        self.retries.inc();
    }
}
