//! What a load is like, in figures: read back from the encoded requests, not from the plan.

use std::collections::BTreeSet;
use std::fmt;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;

use super::{Plan, Request, Signal, requests};

/// Figures of a load; those of spans are zero for other signals.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Statistics {
    pub(crate) requests: u64,
    pub(crate) items: u64,
    pub(crate) bytes_per_item: f64,
    /// Packed request by request, as zstd 1.
    pub(crate) packed_bytes_per_item: f64,
    pub(crate) items_per_request: f64,
    pub(crate) resources_per_request: f64,
    pub(crate) attributes_per_span: f64,
    pub(crate) spans_per_trace: f64,
    pub(crate) error_share: f64,
    pub(crate) operations: usize,
    pub(crate) statements: usize,
    /// Requests whose spans are in another order than that of their end.
    pub(crate) disorder: u64,
    pub(crate) duration_p50_ms: f64,
    pub(crate) duration_p99_ms: f64,
}

/// Counts on the way to [`Statistics`].
#[derive(Debug, Default)]
struct Counts {
    bytes: u64,
    packed_bytes: u64,
    resources: u64,
    attributes: u64,
    errors: u64,
    traces: BTreeSet<Vec<u8>>,
    operations: BTreeSet<String>,
    statements: BTreeSet<String>,
    durations: Vec<u64>,
    last_end: u64,
}

/// Makes the load of a plan and measures it.
pub(crate) fn describe(plan: &Plan) -> Statistics {
    let mut statistics = Statistics::default();
    let mut counts = Counts::default();
    for request in requests(plan) {
        statistics.requests += 1;
        statistics.items += request.items;
        counts.bytes += request.message.len() as u64;
        counts.packed_bytes += packed_bytes(&request.message);
        counts.resources += request.resources as u64;
        if request.signal == Signal::Traces && !counts.add_spans(&request) {
            statistics.disorder += 1;
        }
    }
    counts.finish(statistics)
}

impl Counts {
    /// Adds a request of spans; says whether it comes after the one before.
    fn add_spans(&mut self, request: &Request) -> bool {
        let decoded = ExportTraceServiceRequest::decode(request.message.as_slice());
        let (mut first_end, mut last_end) = (u64::MAX, 0);
        for resource in decoded.unwrap_or_default().resource_spans {
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                first_end = first_end.min(span.end_time_unix_nano);
                last_end = last_end.max(span.end_time_unix_nano);
                self.add_span(span);
            }
        }
        let in_order = first_end >= self.last_end;
        self.last_end = last_end;
        in_order
    }

    fn add_span(&mut self, span: Span) {
        self.attributes += span.attributes.len() as u64;
        let failed = span.status.as_ref().is_some_and(|it| it.code() == StatusCode::Error);
        self.errors += u64::from(failed);
        self.durations.push(span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano));
        if span.attributes.iter().any(|it| it.key == "http.route") {
            self.operations.insert(span.name);
        }
        let statement = span.attributes.into_iter().find(|it| it.key == "db.query.text");
        self.statements.extend(statement.map(|it| format!("{:?}", it.value)));
        self.traces.insert(span.trace_id);
    }

    fn finish(mut self, statistics: Statistics) -> Statistics {
        self.durations.sort_unstable();
        let millis = |share: f64| {
            let at = (self.durations.len() as f64 * share).floor();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
            let at = at as usize;
            self.durations.get(at).map_or(0.0, |nanos| *nanos as f64 / 1e6)
        };
        Statistics {
            bytes_per_item: ratio(self.bytes, statistics.items),
            packed_bytes_per_item: ratio(self.packed_bytes, statistics.items),
            items_per_request: ratio(statistics.items, statistics.requests),
            resources_per_request: ratio(self.resources, statistics.requests),
            attributes_per_span: ratio(self.attributes, self.durations.len() as u64),
            spans_per_trace: ratio(self.durations.len() as u64, self.traces.len() as u64),
            error_share: ratio(self.errors, self.durations.len() as u64),
            operations: self.operations.len(),
            statements: self.statements.len(),
            duration_p50_ms: millis(0.5),
            duration_p99_ms: millis(0.99),
            ..statistics
        }
    }
}

fn packed_bytes(message: &[u8]) -> u64 {
    zstd::bulk::compress(message, 1).expect("level 1 compresses any bytes").len() as u64
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "requests               {}", self.requests)?;
        writeln!(f, "items                  {}", self.items)?;
        if self.spans_per_trace == 0.0 {
            writeln!(f, "bytes an item          {:.1}", self.bytes_per_item)?;
            writeln!(f, "the same as zstd 1     {:.1}", self.packed_bytes_per_item)?;
            writeln!(f, "items a request        {:.1}", self.items_per_request)?;
            return writeln!(f, "resources a request    {:.1}", self.resources_per_request);
        }
        writeln!(f, "                       here      the standard load")?;
        let mut line = |what: &str, figure: f64, standard: &str| {
            writeln!(f, "{what:<22} {figure:<9.2} {standard}")
        };
        line("bytes a span", self.bytes_per_item, "589")?;
        line("the same as zstd 1", self.packed_bytes_per_item, "80")?;
        line("spans a request", self.items_per_request, "500 to 1,000")?;
        line("resources a request", self.resources_per_request, "58")?;
        line("attributes a span", self.attributes_per_span, "11.6")?;
        line("spans a trace", self.spans_per_trace, "5 to 30")?;
        line("errors, %", self.error_share * 100.0, "1")?;
        line("HTTP operations", self.operations as f64, "200")?;
        line("SQL statements", self.statements as f64, "60")?;
        line("requests out of order", self.disorder as f64, "0: spans leave as they end")?;
        line("duration p50, ms", self.duration_p50_ms, "log-normal")?;
        line("duration p99, ms", self.duration_p99_ms, "log-normal")?;
        Ok(())
    }
}
