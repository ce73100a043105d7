//! What is told of the budget.
//!
//! Invariant: labels come from enums; what was used is told whether or not there is a bound.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::level::Level;
use super::memory::{Holder, Memory};
use crate::loss::Losses;
use crate::metrics::label_names;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    part: Part,
}

/// Who used CPU time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Part {
    Agent,
    Kernel,
}

label_names!(Part { Agent => "agent", Kernel => "kernel" });

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct To {
    to: Change,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Change {
    Less,
    More,
}

label_names!(Change { Less => "less", More => "more" });

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct By {
    part: Holder,
}

label_names!(Holder {
    Connections => "connections",
    Waiting => "waiting_spans",
    Requests => "requests",
    Queue => "queue",
    Fixed => "fixed",
});

type Figure = Gauge<f64, AtomicU64>;

/// The metrics of the budget.
#[derive(Debug, Default)]
pub(super) struct BudgetMetrics {
    cpu: Family<Of, Counter>,
    used: Figure,
    allowed: Figure,
    call: Figure,
    memory: Family<By, Gauge>,
    memory_allowed: Gauge,
    level: Gauge,
    share: Figure,
    changes: Family<To, Counter>,
    missed: Counter,
}

impl BudgetMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let cpu = "CPU time of the agent's tasks and threads, and of its kernel programs";
        registry.register("icecore_probes_cpu_microseconds", cpu, metrics.cpu.clone());
        let changes = "Times that less or more was told, to keep the budget";
        registry.register("icecore_probes_shed_changes", changes, metrics.changes.clone());
        let missed = "Runs of kernel programs that the kernel left out, since the program was at work on that CPU";
        registry.register("icecore_probes_kernel_missed_runs", missed, metrics.missed.clone());
        let level = "How much is left out to keep the budget; 0: nothing";
        registry.register("icecore_probes_shed_level", level, metrics.level.clone());
        let memory = "Bytes that are held, as far as they count towards the budget";
        registry.register("icecore_probes_memory_bytes", memory, metrics.memory.clone());
        let allowed = "Bytes that may be held";
        registry.register(
            "icecore_probes_memory_allowed_bytes",
            allowed,
            metrics.memory_allowed.clone(),
        );
        let mut gauge = |name: &str, help: &str, figure: &Figure| {
            registry.register(name, help, figure.clone());
        };
        let used = "Share of a CPU used since the last look";
        gauge("icecore_probes_cpu_used", used, &metrics.used);
        let allowed = "Share of a CPU that may be used; 0: there is no bound";
        gauge("icecore_probes_cpu_allowed", allowed, &metrics.allowed);
        let call =
            "What a call that is seen costs in the kernel, in nanoseconds, as it was measured last";
        gauge("icecore_probes_kernel_nanoseconds_per_call", call, &metrics.call);
        let share = "Share of traces that have spans, so far as the budget decides";
        gauge("icecore_probes_spans_share", share, &metrics.share);
        metrics.share.set(1.0);
        metrics
    }

    pub(super) fn allowed(&self, cpu: f64) {
        self.allowed.set(cpu);
    }

    /// CPU time in nanoseconds, and the share of a CPU that it was.
    pub(super) fn spent(&self, agent: u64, kernel: u64, used: f64) {
        let add = |part, micros| self.cpu.get_or_create(&Of { part }).inc_by(micros);
        add(Part::Agent, agent / 1_000);
        add(Part::Kernel, kernel / 1_000);
        self.used.set(used);
    }

    pub(super) fn memory(&self, memory: &Memory) {
        let parts =
            [Holder::Connections, Holder::Waiting, Holder::Requests, Holder::Queue, Holder::Fixed];
        for part in parts {
            self.memory.get_or_create(&By { part }).set(gauge(memory.of(part)));
        }
        self.memory_allowed.set(gauge(memory.max()));
    }

    pub(super) fn call(&self, nanos: f64) {
        self.call.set(nanos);
    }

    /// So many more runs were left out.
    pub(super) fn missed(&self, more: u64) {
        self.missed.inc_by(more);
    }

    pub(super) fn losses(&self, losses: &mut Losses) {
        losses.add("runs", "busy", &self.missed);
    }

    pub(super) fn changed(&self, from: Level, to: Level) {
        self.level.set(i64::from(to.number()));
        self.share.set(to.share());
        let to = if to > from { Change::Less } else { Change::More };
        self.changes.get_or_create(&To { to }).inc();
    }
}

fn gauge(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
