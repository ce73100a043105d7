//! OTLP requests like those of a real fleet, the same for the same seed.
//!
//! Invariant: what is made depends on the plan alone, never on the machine's clock or on how fast
//! it is taken; ids of items of one run are distinct.

mod attributes;
mod chance;
mod fleet;
mod logs;
mod metrics;
mod series;
mod spans;
mod stamp;
mod statistics;
mod traces;

use clap::ValueEnum;

pub(crate) use stamp::Stamp;
pub(crate) use statistics::describe;

use logs::LogMaker;
use metrics::MetricMaker;
use spans::SpanMaker;

/// How often a process reports its metrics.
pub(crate) const COLLECTED_EVERY_SECONDS: u64 = 15;

/// Bits of a data point's id that are its `loadtest.series`.
pub(crate) use metrics::SERIES_BITS;

/// What a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Signal {
    Traces,
    Metrics,
    Logs,
}

impl Signal {
    /// The signal of a name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Traces, Self::Metrics, Self::Logs].into_iter().find(|it| it.name() == name)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }
}

/// What to make.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// Goes into every resource as `loadtest.run`.
    pub(crate) run: String,
    pub(crate) signal: Signal,
    /// Spans, data points or log records in all.
    pub(crate) items: u64,
    /// When the first trace starts, in nanoseconds since 1970.
    pub(crate) start_nanos: u64,
    /// How many items a second of the made time holds.
    pub(crate) items_per_second: u64,
    /// Only for metrics: how many series the data points are of.
    pub(crate) series: u64,
}

/// One export request, encoded.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) signal: Signal,
    pub(crate) message: Vec<u8>,
    /// Spans, data points or log records.
    pub(crate) items: u64,
    /// What SQL knows each item by: a span's own id; a log record's `loadtest.number`; of a data
    /// point the milliseconds of its time, and below them `loadtest.series`.
    pub(crate) ids: Vec<[u8; 8]>,
    pub(crate) resources: usize,
    /// Traces whose first span was made for this request.
    pub(crate) begun: Vec<Begun>,
}

/// A trace that was made.
#[derive(Debug, Clone)]
pub(crate) struct Begun {
    pub(crate) trace_id: Vec<u8>,
    pub(crate) spans: u64,
    /// When the last of its spans ends: a load that ends before has not all of them.
    pub(crate) end_nanos: u64,
}

impl Request {
    /// A message that was made before.
    pub(crate) fn of(signal: Signal, message: Vec<u8>, items: u64) -> Self {
        Self { message, items, ..Self::new(signal) }
    }

    const fn new(signal: Signal) -> Self {
        Self {
            signal,
            message: Vec::new(),
            items: 0,
            ids: Vec::new(),
            resources: 0,
            begun: Vec::new(),
        }
    }
}

/// All requests of a plan, one after the other; takes memory for the traces that overlap only.
pub(crate) fn requests(plan: &Plan) -> Box<dyn Iterator<Item = Request> + Send> {
    match plan.signal {
        Signal::Traces => Box::new(SpanMaker::new(plan)),
        Signal::Metrics => Box::new(MetricMaker::new(plan)),
        Signal::Logs => Box::new(LogMaker::new(plan)),
    }
}

#[cfg(test)]
mod tests;
