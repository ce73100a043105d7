//! What ingest counts and measures about itself.
//!
//! Invariant: sent = accepted + refused, by signal and reason; labels come from enums only.

use std::time::Duration;

use icecore_store::Signal;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::log::Damage;
use crate::receive::{Protocol, Reason};

/// All of them.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    /// Those of the log.
    pub(crate) log: LogMetrics,
    /// Those of live rows and their way to the store.
    pub(crate) live: LiveMetrics,
    /// Those of live rows that other processes read.
    pub(crate) looks: LookMetrics,
    /// Those of requests that are paced.
    pub(crate) pace: PaceMetrics,
    requests: Family<RequestLabels, Counter>,
    items: Family<ItemLabels, Counter>,
    received: Family<SignalLabels, Counter>,
    inflight: Gauge,
    undecodable: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    protocol: &'static str,
    signal: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ItemLabels {
    signal: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SignalLabels {
    signal: &'static str,
}

impl Metrics {
    /// Registers everything.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let ingest = registry.sub_registry_with_prefix("icecore_ingest");
        let metrics = Self {
            log: LogMetrics::new(ingest),
            live: LiveMetrics::new(ingest),
            looks: LookMetrics::new(ingest),
            pace: PaceMetrics::new(ingest),
            requests: Family::default(),
            items: Family::default(),
            received: Family::default(),
            inflight: Gauge::default(),
            undecodable: Counter::default(),
        };
        let Self { requests, items, received, inflight, undecodable, .. } = &metrics;
        ingest.register("requests", "Requests by what became of them", requests.clone());
        ingest.register("items", "Spans, data points and log records", items.clone());
        ingest.register("received_bytes", "Payloads accepted, uncompressed", received.clone());
        ingest.register("inflight_bytes", "Memory of requests in flight", inflight.clone());
        let help = "Logged requests, or stretches of the log, that could not be read any more";
        ingest.register("undecodable_requests", help, undecodable.clone());
        metrics
    }

    /// A request was acknowledged.
    pub(crate) fn accepted(&self, protocol: Protocol, signal: Signal, request: &Counts) {
        let Counts { bytes, accepted, rejected } = *request;
        self.request(protocol, signal.name(), "accepted");
        self.received.get_or_create(&SignalLabels { signal: signal.name() }).inc_by(bytes);
        let items = |outcome| ItemLabels { signal: signal.name(), outcome };
        self.items.get_or_create(&items("accepted")).inc_by(accepted);
        self.items.get_or_create(&items("rejected")).inc_by(rejected);
    }

    /// A request was refused as a whole; `None` where it names no signal.
    pub(crate) fn refused(&self, protocol: Protocol, signal: Option<Signal>, reason: Reason) {
        self.request(protocol, signal.map_or("none", Signal::name), reason.name());
    }

    /// A request of the log could not be decoded, so that its rows are missing.
    pub(crate) fn undecodable(&self) {
        self.undecodable.inc();
    }

    /// Memory of the requests in flight.
    pub(crate) fn inflight(&self, bytes: usize) {
        self.inflight.set(gauge(bytes as u64));
    }

    fn request(&self, protocol: Protocol, signal: &'static str, outcome: &'static str) {
        let labels = RequestLabels { protocol: protocol.name(), signal, outcome };
        self.requests.get_or_create(&labels).inc();
    }
}

/// What an acknowledged request held.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    /// Its payload, uncompressed.
    pub(crate) bytes: u64,
    /// Items that became rows.
    pub(crate) accepted: u64,
    /// Items that were refused by a partial success.
    pub(crate) rejected: u64,
}

/// Of the write-ahead log.
#[derive(Debug, Clone)]
pub(crate) struct LogMetrics {
    bytes: Gauge,
    written: Counter,
    syncs: Histogram,
    failures: Counter,
    recovered: Counter,
    torn: Counter,
    damaged: Counter,
}

impl LogMetrics {
    fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            bytes: Gauge::default(),
            written: Counter::default(),
            syncs: Histogram::new((0..12).map(|power| f64::from(1 << power) * 0.000_1)),
            failures: Counter::default(),
            recovered: Counter::default(),
            torn: Counter::default(),
            damaged: Counter::default(),
        };
        let Self { bytes, written, syncs, failures, recovered, torn, damaged } = &metrics;
        registry.register("log_bytes", "Disk that the log uses", bytes.clone());
        registry.register("log_written_bytes", "Bytes appended to the log", written.clone());
        registry.register("log_sync_seconds", "How long a sync took", syncs.clone());
        registry.register("log_failures", "Failed writes or syncs of the log", failures.clone());
        let help = "Whole frames found at the start";
        registry.register("log_recovered_frames", help, recovered.clone());
        registry.register("log_torn_bytes", "Bytes cut off a torn tail", torn.clone());
        registry.register("log_damaged_bytes", "Bytes skipped as damage", damaged.clone());
        metrics
    }

    /// A group is in the log.
    pub(crate) fn written(&self, bytes: u64, log_bytes: u64) {
        self.written.inc_by(bytes);
        self.bytes.set(gauge(log_bytes));
    }

    /// The log was made smaller.
    pub(crate) fn sized(&self, log_bytes: u64) {
        self.bytes.set(gauge(log_bytes));
    }

    /// A sync took this long.
    pub(crate) fn synced(&self, took: Duration) {
        self.syncs.observe(took.as_secs_f64());
    }

    /// A write or sync failed.
    pub(crate) fn failed(&self) {
        self.failures.inc();
    }

    /// A reader went past bytes that are no frame.
    pub(crate) fn skipped(&self, bytes: u64) {
        self.damaged.inc_by(bytes);
    }

    /// What the start found.
    pub(crate) fn recovered(&self, frames: u64, damage: &[Damage]) {
        self.recovered.inc_by(frames);
        for found in damage {
            let counter = if found.torn { &self.torn } else { &self.damaged };
            counter.inc_by(found.bytes);
        }
    }
}

/// Of live rows and the flush.
#[derive(Debug, Clone)]
pub(crate) struct LiveMetrics {
    rows: Gauge,
    bytes: Gauge,
    cache: Gauge,
    oldest: Gauge<f64, std::sync::atomic::AtomicU64>,
    flushes: Histogram,
    flushed_rows: Counter,
    flush_failures: Counter,
}

/// Of live rows that other processes read.
#[derive(Debug, Clone, Default)]
pub(crate) struct LookMetrics {
    held: Gauge,
    refused: Counter,
    rows: Counter,
}

impl LookMetrics {
    fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let Self { held, refused, rows } = metrics.clone();
        registry.register("live_looks", "Looks at live rows that other processes hold", held);
        let help = "Looks that were refused since as many were held as there may be";
        registry.register("live_looks_refused", help, refused);
        registry.register("live_read_rows", "Live rows that other processes read", rows);
        metrics
    }

    /// So many looks are held now.
    pub(crate) fn held(&self, looks: usize) {
        self.held.set(gauge(looks as u64));
    }

    /// One more was not let in.
    pub(crate) fn refused(&self) {
        self.refused.inc();
    }

    /// So many rows more were read.
    pub(crate) fn read(&self, rows: u64) {
        self.rows.inc_by(rows);
    }
}

impl LiveMetrics {
    fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            rows: Gauge::default(),
            bytes: Gauge::default(),
            cache: Gauge::default(),
            oldest: Gauge::default(),
            flushes: Histogram::new((0..12).map(|power| f64::from(1 << power) * 0.01)),
            flushed_rows: Counter::default(),
            flush_failures: Counter::default(),
        };
        let Self { rows, bytes, cache, oldest, flushes, flushed_rows, flush_failures } = &metrics;
        registry.register("live_rows", "Acknowledged rows not yet in the store", rows.clone());
        let help = "Requests, unpacked, whose rows are not yet in the store";
        registry.register("live_bytes", help, bytes.clone());
        let help = "Memory of live rows that are kept for the next query";
        registry.register("live_cache_bytes", help, cache.clone());
        let help = "Age of the oldest row that is not in the store";
        registry.register("unflushed_age_seconds", help, oldest.clone());
        registry.register("flush_seconds", "How long a flush took", flushes.clone());
        registry.register("flushed_rows", "Rows that went to the store", flushed_rows.clone());
        let help = "Flushes that the store did not take; they are tried again";
        registry.register("flush_failures", help, flush_failures.clone());
        metrics
    }

    /// Live rows grew or shrank to this.
    pub(crate) fn held(&self, rows: u64, bytes: u64) {
        self.rows.set(gauge(rows));
        self.bytes.set(gauge(bytes));
    }

    /// Memory of the rows that are kept for the next query.
    pub(crate) fn cached(&self, bytes: u64) {
        self.cache.set(gauge(bytes));
    }

    /// The oldest live row is this old.
    pub(crate) fn oldest(&self, age: Duration) {
        self.oldest.set(age.as_secs_f64());
    }

    /// So many rows are in the store now.
    pub(crate) fn flushed(&self, rows: u64, took: Duration) {
        self.flushed_rows.inc_by(rows);
        self.flushes.observe(took.as_secs_f64());
    }

    /// A flush failed and will be tried again.
    pub(crate) fn flush_failed(&self) {
        self.flush_failures.inc();
    }
}

/// Of requests that are paced.
#[derive(Debug, Clone)]
pub(crate) struct PaceMetrics {
    rate: Gauge<f64, std::sync::atomic::AtomicU64>,
    requests: Counter,
    seconds: Counter<f64, std::sync::atomic::AtomicU64>,
}

impl PaceMetrics {
    fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            rate: Gauge::default(),
            requests: Counter::default(),
            seconds: Counter::default(),
        };
        let Self { rate, requests, seconds } = &metrics;
        let help = "Bytes of requests a second that are let in; 0 where any number is";
        registry.register("pace_bytes_per_second", help, rate.clone());
        let help = "Requests that waited for their turn, as more came than could be stored";
        registry.register("paced_requests", help, requests.clone());
        registry.register("paced_seconds", "How long they waited in all", seconds.clone());
        metrics
    }

    /// So much is let in now.
    pub(crate) fn rate(&self, bytes_per_second: f64) {
        self.rate.set(bytes_per_second);
    }

    /// A request waits for its turn.
    pub(crate) fn waited(&self, wait: Duration) {
        self.requests.inc();
        self.seconds.inc_by(wait.as_secs_f64());
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
