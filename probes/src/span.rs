//! One exchange as an OTLP span, by the semantic conventions of its kind.
//!
//! Invariants: names and metric attributes come from small sets; what the conventions call
//! sensitive is redacted here, before anything is queued.

pub(crate) mod attribute;
mod database;
mod dns;
pub(crate) mod facts;
mod http;
pub(crate) mod link;
mod messaging;
mod rpc;
#[cfg(test)]
pub(crate) mod tests;
mod websocket;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status, span::SpanKind};

use crate::protocol::{Exchange, Failure, Role, Said};
use attribute::Attribute;
use facts::Facts;
use link::Ids;

/// The span of an exchange. `bodies`: with what was kept of the bodies.
pub(crate) fn span(exchange: &Exchange, facts: Facts, ids: Ids, bodies: bool) -> Span {
    let kind = match (&exchange.said, exchange.role) {
        (Said::Messaging(call), role) => messaging::kind(call, role),
        (_, Role::Server) => SpanKind::Server,
        (_, Role::Client) => SpanKind::Client,
    };
    let code = if facts.failed { StatusCode::Error } else { StatusCode::Unset };
    Span {
        trace_id: ids.trace_id.to_vec(),
        span_id: ids.span_id.to_vec(),
        parent_span_id: ids.parent_span_id.map(|id| id.to_vec()).unwrap_or_default(),
        trace_state: ids.trace_state,
        flags: ids.flags,
        name: facts.name,
        kind: kind.into(),
        start_time_unix_nano: exchange.start,
        end_time_unix_nano: exchange.end.max(exchange.start),
        attributes: attributes(exchange, facts.shared, facts.own, facts.content, bodies),
        status: Some(Status { message: String::new(), code: code.into() }),
        ..Span::default()
    }
}

fn attributes(
    exchange: &Exchange,
    shared: Vec<Attribute>,
    own: Vec<Attribute>,
    content: [&'static str; 2],
    bodies: bool,
) -> Vec<KeyValue> {
    let mut list: Vec<KeyValue> = shared.into_iter().chain(own).map(KeyValue::from).collect();
    if exchange.failure == Some(Failure::Unseen) {
        list.push(Attribute::boolean("icecore.incomplete", true).into());
    }
    if bodies {
        let [request, response] = content;
        list.extend(body(request, &exchange.request_captured));
        list.extend(body(response, &exchange.response_captured));
    }
    list
}

fn body(key: &'static str, bytes: &[u8]) -> Option<KeyValue> {
    let text = || Attribute::text(key, String::from_utf8_lossy(bytes)).into();
    (!bytes.is_empty()).then(text)
}
