//! What the finder of TLS libraries tells of itself.
//!
//! Invariant: labels come from enums and from the table of families.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::families::{BORING, FAMILIES, GO, RUSTLS};
use super::hooks::Refusal;
use crate::metrics::label_names;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FamilyLabel {
    family: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: Reason,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Reason {
    BoringUnclear,
    Full,
    GoOld,
    GoUnclear,
    Kernel,
    NotLoaded,
    RustlsUnclear,
}

label_names!(Reason {
    BoringUnclear => "boring_unclear",
    Full => "full",
    GoOld => "go_old",
    GoUnclear => "go_unclear",
    Kernel => "kernel",
    NotLoaded => "not_loaded",
    RustlsUnclear => "rustls_unclear",
});

/// The metrics of the finder.
#[derive(Debug, Default)]
pub(crate) struct TlsMetrics {
    libraries: Family<FamilyLabel, Gauge>,
    processes: Gauge,
    refused: Family<ReasonLabel, Counter>,
    /// Hints that found no room.
    pub(super) hints_dropped: Counter,
}

impl TlsMetrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let libraries = "TLS libraries that are hooked, by family";
        registry.register("icecore_probes_tls_libraries", libraries, metrics.libraries.clone());
        let processes = "Processes that were seen to use them";
        registry.register("icecore_probes_tls_processes", processes, metrics.processes.clone());
        let refused = "TLS libraries that could not be hooked, by the reason";
        registry.register("icecore_probes_tls_refused", refused, metrics.refused.clone());
        let dropped = "Processes that talk TLS and were not looked at at once";
        let hints_dropped = metrics.hints_dropped.clone();
        registry.register("icecore_probes_tls_hints_dropped", dropped, hints_dropped);
        metrics
    }

    pub(super) fn refused(&self, refusal: &Refusal) {
        let reason = match refusal {
            Refusal::Full { .. } => Reason::Full,
            Refusal::Old => Reason::GoOld,
            Refusal::Unclear { .. } => Reason::GoUnclear,
            Refusal::Hidden { .. } => Reason::BoringUnclear,
            Refusal::Kernel(_) => Reason::Kernel,
            Refusal::NotLoaded => Reason::NotLoaded,
            Refusal::Sealed { .. } => Reason::RustlsUnclear,
        };
        self.refused.get_or_create(&ReasonLabel { reason }).inc();
    }

    pub(super) fn show(&self, hooked: impl Iterator<Item = &'static str>, processes: usize) {
        let hooked: Vec<&str> = hooked.collect();
        for family in FAMILIES.iter().chain([&GO, &BORING, &RUSTLS]).map(|family| family.name) {
            let count = hooked.iter().filter(|one| **one == family).count();
            let gauge = self.libraries.get_or_create(&FamilyLabel { family });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.processes.set(i64::try_from(processes).unwrap_or(i64::MAX));
    }
}
