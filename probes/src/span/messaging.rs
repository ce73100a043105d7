//! What the semantic conventions for messaging ask of an exchange.
//!
//! Invariants: names and series carry no destination that is made up for one client, nor those of
//! systems that have as many of them as there are devices; at the broker all spans are of the kind
//! `SERVER`, so that producers and consumers are programs only.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use super::attribute::Attribute;
use super::facts::{Facts, details, error_type_of, peer, sizes};
use crate::histogram::Instrument;
use crate::pipeline::ConnectionInfo;
use crate::protocol::{Exchange, Handling, MessagingCall, Role};

/// Systems whose destinations may be as many as their clients: they make no series.
const UNBOUNDED: [&str; 2] = ["mqtt", "nats"];

/// The kind of the span.
pub(super) fn kind(call: &MessagingCall, role: Role) -> SpanKind {
    match (role, call.handling) {
        (Role::Server, _) => SpanKind::Server,
        (Role::Client, Some(Handling::Send)) => SpanKind::Producer,
        (Role::Client, Some(Handling::Process)) => SpanKind::Consumer,
        (Role::Client, Some(Handling::Receive | Handling::Settle) | None) => SpanKind::Client,
    }
}

/// The facts of an exchange with a broker.
pub(super) fn facts(
    connection: &ConnectionInfo,
    exchange: &Exchange,
    call: &MessagingCall,
) -> Facts {
    let server = connection.server(exchange.role);
    let address = server.ip().to_canonical().to_string();
    let error_type = error_type_of(exchange, call.error.clone());
    let failed = error_type.is_some();
    let text = |key, value: &Option<String>| value.clone().map(|value| Attribute::text(key, value));
    let mut shared = vec![
        Attribute::text("messaging.system", call.system),
        Attribute::text("messaging.operation.name", call.operation),
    ];
    shared.extend(call.handling.map(|it| Attribute::text("messaging.operation.type", word(it))));
    let bounded = !call.temporary && !UNBOUNDED.contains(&call.system);
    let mut own = Vec::new();
    let list = if bounded { &mut shared } else { &mut own };
    list.extend(text("messaging.destination.name", &call.destination));
    shared.extend(text("messaging.destination.partition.id", &call.partition));
    shared.extend(text("messaging.consumer.group.name", &call.group));
    shared.extend(text("error.type", &error_type));
    shared.push(Attribute::text("server.address", address.clone()));
    shared.push(Attribute::integer("server.port", i64::from(server.port())));
    if call.temporary {
        own.push(Attribute::boolean("messaging.destination.temporary", true));
    }
    own.extend(text("messaging.client.id", &call.client));
    let count = |key, value: Option<u64>| value.map(|value| Attribute::count(key, value));
    own.extend(count("messaging.batch.message_count", call.messages));
    own.extend(count("messaging.message.body.size", call.body_bytes));
    details(&mut own, &call.details);
    peer(&mut own, connection, exchange.role);
    sizes(&mut own, exchange);
    let name = name(call, || format!("{address}:{}", server.port()));
    let content = ["icecore.request.content", "icecore.response.content"];
    Facts { name, instrument: instrument(call, exchange.role), shared, own, failed, content }
}

fn word(handling: Handling) -> &'static str {
    match handling {
        Handling::Send => "send",
        Handling::Receive => "receive",
        Handling::Process => "process",
        Handling::Settle => "settle",
    }
}

fn instrument(call: &MessagingCall, role: Role) -> Instrument {
    match (role, call.handling) {
        (Role::Server, _) => Instrument::MessagingServer,
        (Role::Client, Some(Handling::Process)) => Instrument::MessagingProcess,
        (Role::Client, _) => Instrument::MessagingClient,
    }
}

/// Operation and destination; without one, the server, for what is about none.
fn name(call: &MessagingCall, server: impl Fn() -> String) -> String {
    match (&call.destination, call.handling) {
        (Some(destination), _) if !call.temporary => format!("{} {destination}", call.operation),
        (_, None) => format!("{} {}", call.operation, server()),
        _ => call.operation.to_owned(),
    }
}
