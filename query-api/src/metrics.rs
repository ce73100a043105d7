//! What the query service tells about itself.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::tail::Seen;
use crate::{Error, ErrorKind};

/// How a query ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// With its whole answer.
    Answered,
    /// The caller went away, or somebody ended it.
    Cancelled,
    /// With an error of this kind.
    Failed(ErrorKind),
}

impl Outcome {
    /// How a query ended that ended with this error.
    pub(crate) fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Cancelled => Self::Cancelled,
            kind => Self::Failed(kind),
        }
    }
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        let name = match self {
            Self::Answered => "answered",
            Self::Cancelled => "cancelled",
            Self::Failed(kind) => kind.code(),
        };
        EncodeLabelValue::encode(&name, encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: Outcome,
}

/// The figures of one query service.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    queries: Family<OutcomeLabels, Counter>,
    seconds: Option<Histogram>,
    running: Gauge,
    rows: Counter,
    bytes: Counter,
    live_missing: Counter,
    tails: Gauge,
    tailed: Family<TailLabels, Counter>,
    connections: Gauge,
    refused_connections: Counter,
    spilled: Spilled,
}

/// What queries put on disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spilled {
    now: Gauge,
    ever: Counter,
}

impl Spilled {
    /// So many bytes more.
    pub(crate) fn written(&self, bytes: u64) {
        self.now.inc_by(bytes.cast_signed());
        self.ever.inc_by(bytes);
    }

    /// So many less.
    pub(crate) fn removed(&self, bytes: u64) {
        self.now.dec_by(bytes.cast_signed());
    }
}

/// Somebody is there for as long as this is held.
#[derive(Debug)]
pub(crate) struct Present(Gauge);

impl Present {
    fn of(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What became of rows that somebody looks on for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Tailed {
    Arrived,
    LookedAt,
    Shown,
}

impl EncodeLabelValue for Tailed {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        let name = match self {
            Self::Arrived => "arrived",
            Self::LookedAt => "looked_at",
            Self::Shown => "shown",
        };
        EncodeLabelValue::encode(&name, encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TailLabels {
    rows: Tailed,
}

impl Metrics {
    /// Registers the figures.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let seconds = Histogram::new(exponential_buckets(0.001, 2.0, 16));
        let metrics = Self { seconds: Some(seconds.clone()), ..Self::default() };
        let Self { queries, running, rows, bytes, live_missing, .. } = metrics.clone();
        let Self { tails, tailed, connections, refused_connections, spilled, .. } = metrics.clone();
        let help = "Bytes that queries have on disk since they have no memory for them";
        registry.register_with_unit("icecore_query_spill", help, Unit::Bytes, spilled.now);
        let help = "Bytes that queries ever put on disk";
        registry.register_with_unit("icecore_query_spilled", help, Unit::Bytes, spilled.ever);
        registry.register("icecore_query_queries", "Queries by how they ended", queries);
        let help = "Time from a query's start to the last byte of its answer";
        registry.register_with_unit("icecore_query_duration", help, Unit::Seconds, seconds);
        registry.register("icecore_query_running_queries", "Queries that run now", running);
        registry.register("icecore_query_answer_rows", "Rows sent in answers", rows);
        let help = "Bytes sent in answers";
        registry.register_with_unit("icecore_query_answer", help, Unit::Bytes, bytes);
        let help = "Answers that say that live rows are missing";
        registry.register("icecore_query_incomplete_answers", help, live_missing);
        registry.register("icecore_query_tails", "Callers that look on while rows arrive", tails);
        let help = "Rows that callers look on for, by what became of them";
        registry.register("icecore_query_tail_rows", help, tailed);
        let help = "Clients of the PostgreSQL protocol that are connected";
        registry.register("icecore_query_pg_connections", help, connections);
        let help = "Clients of the PostgreSQL protocol that were turned away for want of room";
        registry.register("icecore_query_pg_refused_connections", help, refused_connections);
        metrics
    }

    /// The figures of what queries put on disk.
    pub(crate) fn spilled(&self) -> Spilled {
        self.spilled.clone()
    }

    /// Somebody begins to look on.
    pub(crate) fn looking(&self) -> Present {
        Present::of(&self.tails)
    }

    /// A client of the PostgreSQL protocol begins its session.
    pub(crate) fn connected(&self) -> Present {
        Present::of(&self.connections)
    }

    /// A client of the PostgreSQL protocol found no room.
    pub(crate) fn refused_connection(&self) {
        self.refused_connections.inc();
    }

    /// Somebody looked on for a moment.
    pub(crate) fn tailed(&self, seen: &Seen) {
        let parts = [
            (Tailed::Arrived, seen.arrived),
            (Tailed::LookedAt, seen.looked_at),
            (Tailed::Shown, seen.shown),
        ];
        for (rows, count) in parts {
            self.tailed.get_or_create(&TailLabels { rows }).inc_by(count);
        }
    }

    /// A query begins.
    pub(crate) fn started(&self) {
        self.running.inc();
    }

    /// A query ended.
    pub(crate) fn ended(&self, outcome: Outcome, took: Duration) {
        self.running.dec();
        self.queries.get_or_create(&OutcomeLabels { outcome }).inc();
        if let Some(seconds) = &self.seconds {
            seconds.observe(took.as_secs_f64());
        }
    }

    /// A query was turned away before it began.
    pub(crate) fn turned_away(&self, outcome: Outcome) {
        self.queries.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// A piece of an answer was handed on.
    pub(crate) fn sent(&self, rows: u64, bytes: u64) {
        self.rows.inc_by(rows);
        self.bytes.inc_by(bytes);
    }

    /// An answer lacks live rows.
    pub(crate) fn incomplete(&self) {
        self.live_missing.inc();
    }
}
