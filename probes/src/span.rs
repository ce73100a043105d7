//! One exchange as an OTLP span, by the semantic conventions for HTTP.
//!
//! Invariants: names and metric attributes come from small sets (an unknown method is `_OTHER`);
//! what the conventions call sensitive is redacted here, before anything is queued.

pub(crate) mod attribute;
pub(crate) mod facts;
pub(crate) mod link;
#[cfg(test)]
pub(crate) mod tests;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status, span::SpanKind};

use crate::pipeline::ConnectionInfo;
use crate::protocol::{BodySize, Exchange, Failure, Role};
use crate::redact;
use attribute::{integer, text};
use facts::Facts;
use link::Ids;

/// The span of an exchange. `bodies`: with what was kept of the bodies.
pub(crate) fn span(
    connection: &ConnectionInfo,
    exchange: &Exchange,
    facts: &Facts<'_>,
    ids: Ids,
    bodies: bool,
) -> Span {
    let failed = facts.error_type.is_some();
    let kind = match exchange.role {
        Role::Server => SpanKind::Server,
        Role::Client => SpanKind::Client,
    };
    let code = if failed { StatusCode::Error } else { StatusCode::Unset };
    Span {
        trace_id: ids.trace_id.to_vec(),
        span_id: ids.span_id.to_vec(),
        parent_span_id: ids.parent_span_id.map(|id| id.to_vec()).unwrap_or_default(),
        trace_state: ids.trace_state,
        flags: ids.flags,
        name: facts.span_name().to_owned(),
        kind: kind.into(),
        start_time_unix_nano: exchange.start,
        end_time_unix_nano: exchange.end.max(exchange.start),
        attributes: attributes(connection, exchange, facts, bodies),
        status: Some(Status { message: String::new(), code: code.into() }),
        ..Span::default()
    }
}

fn attributes(
    connection: &ConnectionInfo,
    exchange: &Exchange,
    facts: &Facts<'_>,
    bodies: bool,
) -> Vec<KeyValue> {
    let mut list = facts.attributes();
    list.extend(facts.method_original.map(|method| text("http.request.method_original", method)));
    list.extend(facts.path.map(|path| text("url.path", path)));
    list.extend(facts.query.as_deref().map(|query| text("url.query", query)));
    ends(&mut list, connection, exchange);
    if let Some(agent) = exchange.request_header("user-agent") {
        list.push(text("user_agent.original", agent));
    }
    headers(&mut list, "http.request.header", &exchange.request_headers);
    headers(&mut list, "http.response.header", &exchange.response_headers);
    sizes(&mut list, exchange);
    if exchange.failure == Some(Failure::Unseen) {
        list.push(attribute::boolean("icecore.incomplete", true));
    }
    if bodies {
        content(&mut list, "http.request.body.content", &exchange.request_captured);
        content(&mut list, "http.response.body.content", &exchange.response_captured);
    }
    list
}

fn ends(list: &mut Vec<KeyValue>, connection: &ConnectionInfo, exchange: &Exchange) {
    let peer = connection.remote;
    list.push(text("network.peer.address", &peer.ip().to_canonical().to_string()));
    list.push(integer("network.peer.port", i64::from(peer.port())));
    list.push(text("network.transport", "tcp"));
    if exchange.role == Role::Server {
        list.push(text("client.address", &peer.ip().to_canonical().to_string()));
        list.push(integer("client.port", i64::from(peer.port())));
    }
}

/// Headers that are read for their meaning; the rest was asked for by the configuration.
const UNDERSTOOD: [&str; 6] =
    ["host", "user-agent", "traceparent", "tracestate", "content-type", "x-forwarded-proto"];

fn headers(list: &mut Vec<KeyValue>, prefix: &str, headers: &[(String, String)]) {
    for (at, (name, _)) in headers.iter().enumerate() {
        let earlier = headers.iter().take(at).any(|(earlier, _)| earlier == name);
        if earlier || UNDERSTOOD.contains(&name.as_str()) {
            continue;
        }
        let values = headers.iter().filter(|(one, _)| one == name);
        let values: Vec<_> =
            values.map(|(_, value)| redact::header(name, value).to_owned()).collect();
        list.push(attribute::texts(&format!("{prefix}.{name}"), &values));
    }
}

/// Only a size that is certain is told under the name of the conventions.
fn sizes(list: &mut Vec<KeyValue>, exchange: &Exchange) {
    let mut size = |exact, at_least, size| {
        let (key, bytes) = match size {
            BodySize::Exact(bytes) => (exact, bytes),
            BodySize::AtLeast(0) => return,
            BodySize::AtLeast(bytes) => (at_least, bytes),
        };
        list.push(integer(key, i64::try_from(bytes).unwrap_or(i64::MAX)));
    };
    size("http.request.body.size", "icecore.request.body.seen_bytes", exchange.request_body);
    size("http.response.body.size", "icecore.response.body.seen_bytes", exchange.response_body);
}

fn content(list: &mut Vec<KeyValue>, key: &'static str, bytes: &[u8]) {
    if !bytes.is_empty() {
        list.push(text(key, &String::from_utf8_lossy(bytes)));
    }
}
