//! One exchange as an OTLP span, by the semantic conventions of its kind.
//!
//! Invariants: names and metric attributes come from small sets; what is secret is taken out here and
//! in the facts, before anything is queued.

pub(crate) mod attribute;
mod database;
mod dns;
pub(crate) mod facts;
pub(crate) mod http;
pub(crate) mod link;
mod messaging;
mod rpc;
#[cfg(test)]
pub(crate) mod tests;
mod websocket;
pub(crate) mod wire;

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

use crate::protocol::{BodySize, Exchange, Failure, Role, Said, VALUE_BYTES_MAX};
use crate::redact::{self, Redaction, Taken};
use attribute::Attribute;
use facts::Facts;
use wire::WireSpan;

/// What is told of bodies.
pub(crate) struct Bodies<'a> {
    /// Of each; 0: nothing.
    pub(crate) bytes_max: usize,
    pub(crate) redaction: &'a Redaction,
    pub(crate) taken: &'a mut Taken,
}

/// A span without its ids, and without secrets. It is written once it is known that somebody gets it: of
/// those that the budget leaves out, nothing is.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    facts: Facts,
    kind: SpanKind,
    times: [u64; 2],
    pub(crate) trace_state: String,
}

impl Draft {
    pub(crate) fn of(exchange: &Exchange, mut facts: Facts, mut bodies: Bodies<'_>) -> Self {
        let kind = match (&exchange.said, exchange.role) {
            (Said::Messaging(call), role) => messaging::kind(call, role),
            (_, Role::Server) => SpanKind::Server,
            (_, Role::Client) => SpanKind::Client,
        };
        if exchange.failure == Some(Failure::Unseen) {
            facts.own.push(Attribute::boolean("icecore.incomplete", true));
        }
        let [request, response] = facts.content;
        let kept = [
            bodies.attribute(request, &exchange.request_captured, exchange.request_body),
            bodies.attribute(response, &exchange.response_captured, exchange.response_body),
        ];
        facts.own.extend(kept.into_iter().flatten());
        let times = [exchange.start, exchange.end.max(exchange.start)];
        let trace_state = trace_state(exchange, &mut bodies);
        Self { facts, kind, times, trace_state }
    }

    /// What it takes in memory.
    pub(crate) fn held_bytes(&self) -> usize {
        self.facts.held_bytes() + self.trace_state.capacity()
    }

    /// As OTLP has it.
    pub(crate) fn write(&self) -> WireSpan {
        let Self { facts, kind, times, trace_state } = self;
        let code = if facts.failed { StatusCode::Error } else { StatusCode::Unset };
        let mut span = WireSpan::new(&facts.name, *kind, *times, code);
        span.trace_state(trace_state);
        facts.shared.iter().chain(&facts.own).for_each(|attribute| span.attribute(attribute));
        span
    }
}

/// Only beside a caller that the headers name; without secrets, as other headers.
fn trace_state(exchange: &Exchange, bodies: &mut Bodies<'_>) -> String {
    let named = link::headers::parent(|name| exchange.request_header(name)).is_some();
    let state = exchange.request_header("tracestate").filter(|_| named);
    let clean = |state: &str| {
        let cut = redact::is_cut(state, VALUE_BYTES_MAX);
        bodies.redaction.header("tracestate", state, cut, bodies.taken).into_owned()
    };
    state.map(clean).unwrap_or_default()
}

impl Bodies<'_> {
    /// What was kept of a body, cut only after secrets were taken out: the beginning of one would not be
    /// told as such.
    fn attribute(&mut self, key: &'static str, kept: &[u8], size: BodySize) -> Option<Attribute> {
        if kept.is_empty() || self.bytes_max == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(kept);
        let cut = size != BodySize::Exact(kept.len() as u64);
        let clean = self.redaction.text(&text, cut, self.taken);
        let told = clean.get(..clean.floor_char_boundary(self.bytes_max)).unwrap_or_default();
        Some(Attribute::text(key, told.to_owned()))
    }
}
