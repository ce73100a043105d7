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

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status, span::SpanKind};

use crate::protocol::{BodySize, Exchange, Failure, Role, Said, VALUE_BYTES_MAX};
use crate::redact::{self, Redaction, Taken};
use attribute::Attribute;
use facts::Facts;

/// What is told of bodies.
pub(crate) struct Bodies<'a> {
    /// Of each; 0: nothing.
    pub(crate) bytes_max: usize,
    pub(crate) redaction: &'a Redaction,
    pub(crate) taken: &'a mut Taken,
}

/// The span of an exchange, without its ids.
pub(crate) fn span(exchange: &Exchange, facts: Facts, mut bodies: Bodies<'_>) -> Span {
    let kind = match (&exchange.said, exchange.role) {
        (Said::Messaging(call), role) => messaging::kind(call, role),
        (_, Role::Server) => SpanKind::Server,
        (_, Role::Client) => SpanKind::Client,
    };
    let code = if facts.failed { StatusCode::Error } else { StatusCode::Unset };
    Span {
        trace_state: trace_state(exchange, &mut bodies),
        name: facts.name,
        kind: kind.into(),
        start_time_unix_nano: exchange.start,
        end_time_unix_nano: exchange.end.max(exchange.start),
        attributes: attributes(exchange, facts.shared, facts.own, facts.content, bodies),
        status: Some(Status { message: String::new(), code: code.into() }),
        ..Span::default()
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

fn attributes(
    exchange: &Exchange,
    shared: Vec<Attribute>,
    own: Vec<Attribute>,
    content: [&'static str; 2],
    mut bodies: Bodies<'_>,
) -> Vec<KeyValue> {
    let mut list: Vec<KeyValue> = shared.into_iter().chain(own).map(KeyValue::from).collect();
    if exchange.failure == Some(Failure::Unseen) {
        list.push(Attribute::boolean("icecore.incomplete", true).into());
    }
    let [request, response] = content;
    list.extend(bodies.attribute(request, &exchange.request_captured, exchange.request_body));
    list.extend(bodies.attribute(response, &exchange.response_captured, exchange.response_body));
    list
}

impl Bodies<'_> {
    /// What was kept of a body, cut only after secrets were taken out: the beginning of one would not be
    /// told as such.
    fn attribute(&mut self, key: &'static str, kept: &[u8], size: BodySize) -> Option<KeyValue> {
        if kept.is_empty() || self.bytes_max == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(kept);
        let cut = size != BodySize::Exact(kept.len() as u64);
        let clean = self.redaction.text(&text, cut, self.taken);
        let told = clean.get(..clean.floor_char_boundary(self.bytes_max)).unwrap_or_default();
        Some(Attribute::text(key, told).into())
    }
}
