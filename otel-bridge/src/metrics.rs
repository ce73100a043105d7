//! What the bridge counts, for each destination.
//!
//! Invariant: labels are destination names, of which there are as many as are configured, and
//! names from enums.

use icecore_store::Signal;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;

use crate::dead_letter::Fate;
use crate::verdict::Reason;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    destination: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSignal {
    destination: String,
    signal: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReason {
    destination: String,
    reason: &'static str,
}

type Seconds = Gauge<f64, AtomicU64>;

/// The families; clones share their figures.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    delivered: Family<OfSignal, Counter>,
    delivered_bytes: Family<Of, Counter>,
    retried: Family<OfReason, Counter>,
    refused: Family<OfReason, Counter>,
    skipped: Family<OfSignal, Counter>,
    rejected_items: Family<OfSignal, Counter>,
    not_kept: Family<Of, Counter>,
    lost_bytes: Family<Of, Counter>,
    failures: Family<Of, Counter>,
    lag_bytes: Family<Of, Gauge>,
    lag_seconds: Family<Of, Seconds>,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let it = Self::default();
        registry.register(
            "icecore_bridge_delivered_requests",
            "Requests accepted",
            it.delivered.clone(),
        );
        let help = "Payload bytes of accepted requests, unpacked";
        registry.register("icecore_bridge_delivered_bytes", help, it.delivered_bytes.clone());
        let help = "Attempts that failed and were made again, by reason";
        registry.register("icecore_bridge_retried_requests", help, it.retried.clone());
        let help = "Requests refused for good, by reason";
        registry.register("icecore_bridge_refused_requests", help, it.refused.clone());
        let help = "Requests of a signal that the destination does not take";
        registry.register("icecore_bridge_skipped_requests", help, it.skipped.clone());
        let help = "Items that a destination left out of accepted requests";
        registry.register("icecore_bridge_rejected_items", help, it.rejected_items.clone());
        let help = "Refused requests for which the dead-letter file had no room";
        registry.register(
            "icecore_bridge_dead_letters_dropped_requests",
            help,
            it.not_kept.clone(),
        );
        let help = "Log bytes that were trimmed before they were sent";
        registry.register("icecore_bridge_lost_bytes", help, it.lost_bytes.clone());
        let help = "Failures to read the log, or to write a cursor or a refused request";
        registry.register("icecore_bridge_local_failures", help, it.failures.clone());
        let help = "Log bytes between the cursor and the end of the log";
        registry.register("icecore_bridge_lag_bytes", help, it.lag_bytes.clone());
        let help = "Age of the oldest bytes that are still to be sent";
        registry.register("icecore_bridge_lag_seconds", help, it.lag_seconds.clone());
        it
    }

    pub(crate) fn of(&self, destination: &str) -> DestinationMetrics {
        DestinationMetrics { all: self.clone(), destination: destination.to_owned() }
    }
}

/// The same figures for one destination.
#[derive(Debug, Clone)]
pub(crate) struct DestinationMetrics {
    all: Metrics,
    destination: String,
}

impl DestinationMetrics {
    pub(crate) fn delivered(&self, signal: Signal, bytes: usize, rejected: u64) {
        let of_signal =
            || OfSignal { destination: self.destination.clone(), signal: signal.name() };
        self.all.delivered.get_or_create(&of_signal()).inc();
        self.all.delivered_bytes.get_or_create(&self.of()).inc_by(count(bytes));
        if rejected > 0 {
            self.all.rejected_items.get_or_create(&of_signal()).inc_by(rejected);
        }
    }

    pub(crate) fn skipped(&self, signal: Signal) {
        let of_signal = OfSignal { destination: self.destination.clone(), signal: signal.name() };
        self.all.skipped.get_or_create(&of_signal).inc();
    }

    pub(crate) fn retried(&self, reason: Reason) {
        self.all.retried.get_or_create(&self.of_reason(reason)).inc();
    }

    pub(crate) fn refused(&self, reason: Reason, fate: Fate) {
        self.all.refused.get_or_create(&self.of_reason(reason)).inc();
        if fate == Fate::NoRoom {
            self.all.not_kept.get_or_create(&self.of()).inc();
        }
    }

    pub(crate) fn lost(&self, bytes: u64) {
        self.all.lost_bytes.get_or_create(&self.of()).inc_by(bytes);
    }

    pub(crate) fn failed(&self) {
        self.all.failures.get_or_create(&self.of()).inc();
    }

    pub(crate) fn lag(&self, bytes: u64, seconds: f64) {
        let of = self.of();
        self.all.lag_bytes.get_or_create(&of).set(bytes.try_into().unwrap_or(i64::MAX));
        self.all.lag_seconds.get_or_create(&of).set(seconds);
    }

    fn of(&self) -> Of {
        Of { destination: self.destination.clone() }
    }

    fn of_reason(&self, reason: Reason) -> OfReason {
        OfReason { destination: self.destination.clone(), reason: reason.name() }
    }
}

fn count(bytes: usize) -> u64 {
    bytes.try_into().unwrap_or(u64::MAX)
}
