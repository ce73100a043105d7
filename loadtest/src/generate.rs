//! OTLP requests like those of a real fleet, the same for the same seed.
//!
//! Invariant: what is made depends on the plan alone, never on the machine's clock or on how fast
//! it is taken; span ids of one run are distinct.

mod attributes;
mod chance;
mod fleet;
mod logs;
mod metrics;
mod spans;
mod statistics;
mod traces;

use clap::ValueEnum;

pub(crate) use statistics::describe;

use logs::LogMaker;
use metrics::MetricMaker;
use spans::SpanMaker;

/// What a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Signal {
    Traces,
    Metrics,
    Logs,
}

impl Signal {
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
}

/// One export request, encoded.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) signal: Signal,
    pub(crate) message: Vec<u8>,
    /// Spans, data points or log records.
    pub(crate) items: u64,
    /// Only for traces.
    pub(crate) span_ids: Vec<[u8; 8]>,
    pub(crate) resources: usize,
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
