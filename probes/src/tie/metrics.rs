//! What is told of ties.
//!
//! Invariant: labels come from enums; each span is counted once, when its ids are decided.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::end::How;
use crate::loss::Losses;
use crate::metrics::{label_names, of_each};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct By {
    by: Tied,
}

/// By what a span has its place, or why it has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Tied {
    Headers,
    Wire,
    Thread,
    Forwarded,
    Likely,
    Several,
    Root,
}

impl Tied {
    const ALL: [Self; 7] = [
        Self::Headers,
        Self::Wire,
        Self::Thread,
        Self::Forwarded,
        Self::Likely,
        Self::Several,
        Self::Root,
    ];
}

label_names!(Tied {
    Headers => "headers",
    Wire => "wire",
    Thread => "thread",
    Forwarded => "forwarded",
    Likely => "likely",
    Several => "several",
    Root => "root",
});

impl From<How> for Tied {
    fn from(how: How) -> Self {
        match how {
            How::Wire => Self::Wire,
            How::Thread => Self::Thread,
            How::Forwarded => Self::Forwarded,
            How::Likely => Self::Likely,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Why {
    reason: GivenUp,
}

/// Why something was forgotten before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum GivenUp {
    Requests,
    Spans,
    SpanBytes,
    Memory,
}

label_names!(GivenUp {
    Requests => "requests",
    Spans => "spans",
    SpanBytes => "span_bytes",
    Memory => "memory",
});

#[derive(Debug)]
pub(super) struct TieMetrics {
    /// By [`Tied`].
    spans: [Counter; Tied::ALL.len()],
    given_up: Family<Why, Counter>,
    serving: Gauge,
    held: Gauge,
}

impl TieMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let spans = Family::default();
        let metrics = Self {
            spans: of_each(&spans, Tied::ALL.map(|by| By { by })),
            given_up: Family::default(),
            serving: Gauge::default(),
            held: Gauge::default(),
        };
        registry.register(
            "icecore_probes_ties",
            "Spans, by what they have their parent from, or why they have none",
            spans,
        );
        registry.register(
            "icecore_probes_ties_given_up",
            "Requests that were forgotten, and spans that left before their time, since there was too much of them",
            metrics.given_up.clone(),
        );
        registry.register(
            "icecore_probes_requests_served",
            "Requests that are served now, as far as they may have others made",
            metrics.serving.clone(),
        );
        registry.register(
            "icecore_probes_spans_held",
            "Spans that wait until their trace is decided",
            metrics.held.clone(),
        );
        metrics
    }

    pub(super) fn tied(&self, by: Tied) {
        if let Some(counter) = self.spans.get(by as usize) {
            counter.inc();
        }
    }

    pub(super) fn gave_up(&self, reason: GivenUp) {
        self.given_up.get_or_create(&Why { reason }).inc();
    }

    /// What of these figures is loss: of whom it is not known any more whose calls they made.
    pub(super) fn losses(&self, losses: &mut Losses) {
        for (name, reason) in [
            ("requests_max", GivenUp::Requests),
            ("spans_max", GivenUp::Spans),
            ("span_bytes_max", GivenUp::SpanBytes),
            ("memory", GivenUp::Memory),
        ] {
            losses.add("ties", name, &self.given_up.get_or_create(&Why { reason }));
        }
    }

    pub(super) fn show(&self, serving: usize, held: usize) {
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.serving.set(gauge(serving));
        self.held.set(gauge(held));
    }
}
