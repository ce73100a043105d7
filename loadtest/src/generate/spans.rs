//! Traces as a gateway would send them on: spans of many traces in the order of their end, 500 to
//! 1,000 a request, grouped by resource and scope.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use prost::Message;

use super::attributes::scope;
use super::chance::Chance;
use super::fleet::Fleet;
use super::traces::{Made, SCOPES, TraceMaker};
use super::{Begun, Plan, Request, Signal};

const SPANS_MIN: u64 = 500;
const SPANS_MAX: u64 = 1_000;

/// Spans of a trace, on average: what turns a rate of spans into one of traces.
const SPANS_PER_TRACE: u64 = 17;

/// A span that waits for its turn.
#[derive(Debug)]
struct Waiting {
    end: u64,
    /// Tells spans apart that end at once, so that the order is the same each time.
    number: u64,
    made: Made,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        (self.end, self.number) == (other.end, other.number)
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.end, self.number).cmp(&(other.end, other.number))
    }
}

/// The requests of a plan for traces.
#[derive(Debug)]
pub(super) struct SpanMaker {
    fleet: Fleet,
    traces: TraceMaker,
    chance: Chance,
    waiting: BinaryHeap<Reverse<Waiting>>,
    numbers: u64,
    /// When the next trace starts: every span that ends before is in `waiting`.
    next_start: u64,
    trace_every: f64,
    items_left: u64,
    /// Traces made since the last request.
    begun: Vec<Begun>,
}

impl SpanMaker {
    pub(super) fn new(plan: &Plan) -> Self {
        let per_second = plan.items_per_second.max(1) as f64;
        Self {
            fleet: Fleet::new(plan.seed, &plan.run),
            traces: TraceMaker::new(plan.seed, &plan.run),
            chance: Chance::new(plan.seed, "requests"),
            waiting: BinaryHeap::new(),
            numbers: 0,
            next_start: plan.start_nanos,
            trace_every: 1e9 * SPANS_PER_TRACE as f64 / per_second,
            items_left: plan.items,
            begun: Vec::new(),
        }
    }

    /// The span that ends next.
    fn next_span(&mut self) -> Option<Made> {
        while self.waiting.peek().is_none_or(|Reverse(first)| first.end >= self.next_start) {
            let trace = self.traces.make(&self.fleet, self.next_start);
            self.begun.extend(begun(&trace));
            for made in trace {
                self.numbers += 1;
                let end = made.span.end_time_unix_nano;
                self.waiting.push(Reverse(Waiting { end, number: self.numbers, made }));
            }
            let pause = -self.trace_every * (1.0 - self.chance.unit()).ln();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive")]
            let pause = pause as u64;
            self.next_start += pause.max(1);
        }
        self.waiting.pop().map(|Reverse(first)| first.made)
    }
}

fn begun(trace: &[Made]) -> Option<Begun> {
    let end_nanos = trace.iter().map(|made| made.span.end_time_unix_nano).max()?;
    let trace_id = trace.first()?.span.trace_id.clone();
    Some(Begun { trace_id, spans: trace.len() as u64, end_nanos })
}

impl Iterator for SpanMaker {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        let wanted = SPANS_MIN + self.chance.below(SPANS_MAX - SPANS_MIN + 1);
        let items = wanted.min(self.items_left);
        if items == 0 {
            return None;
        }
        self.items_left -= items;
        let mut groups: BTreeMap<(usize, usize), Vec<_>> = BTreeMap::new();
        let mut request = Request { items, ..Request::new(Signal::Traces) };
        for _ in 0..items {
            let made = self.next_span()?;
            request.ids.extend(<[u8; 8]>::try_from(made.span.span_id.as_slice()));
            groups.entry((made.pod, made.scope)).or_default().push(made.span);
        }
        let mut resource_spans: BTreeMap<usize, ResourceSpans> = BTreeMap::new();
        for ((pod, of), spans) in groups {
            let entry = resource_spans.entry(pod).or_insert_with(|| ResourceSpans {
                resource: Some(self.fleet.pods[pod].resource.clone()),
                ..ResourceSpans::default()
            });
            let scope = Some(scope(SCOPES[of]));
            entry.scope_spans.push(ScopeSpans { scope, spans, schema_url: String::new() });
        }
        let resource_spans: Vec<_> = resource_spans.into_values().collect();
        request.resources = resource_spans.len();
        request.message = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        request.begun = std::mem::take(&mut self.begun);
        Some(request)
    }
}
