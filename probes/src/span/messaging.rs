//! What the semantic conventions for messaging ask of an exchange.
//!
//! Invariants: names and series carry no destination that is made up for one client, and of systems
//! that have as many of them as there are devices only what they have in common; at the broker all spans are of the kind
//! `SERVER`, so that producers and consumers are programs only.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use super::attribute::Attribute;
use super::facts::{Facts, details, error_type_of, peer, sizes};
use crate::histogram::Instrument;
use crate::pipeline::ConnectionInfo;
use crate::protocol::{Exchange, Handling, MessagingCall, Role};

/// Systems whose destinations may be as many as their clients, with what parts of them are set off
/// by, and what stands for a part that differs: they make no series.
const UNBOUNDED: [(&str, &[char], &str); 3] =
    [("mqtt", &['/'], "+"), ("nats", &['.'], "*"), ("rabbitmq", &[':', '.'], "*")];
/// Longer parts of a destination are taken for something's name.
const PART_BYTES_MAX: usize = 24;

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
    let mut own = Vec::new();
    let template = template(call);
    let bounded = !call.temporary && template.is_none();
    let list = if bounded { &mut shared } else { &mut own };
    list.extend(text("messaging.destination.name", &call.destination));
    let differs = template.is_some() && template != call.destination;
    own.extend(text("messaging.destination.template", &template).filter(|_| differs));
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
    let name = name(call, template.as_deref(), || format!("{address}:{}", server.port()));
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

/// What destinations of a system without bounds have in common: parts with a digit in them, and long
/// ones, are left out.
fn template(call: &MessagingCall) -> Option<String> {
    let (_, marks, any) = UNBOUNDED.iter().find(|(system, ..)| *system == call.system)?;
    let destination = call.destination.as_deref().filter(|_| !call.temporary)?;
    let own =
        |part: &str| part.len() > PART_BYTES_MAX || part.bytes().any(|byte| byte.is_ascii_digit());
    let parts = destination.split_inclusive(*marks).map(|part| {
        let name = part.trim_end_matches(*marks);
        let (_, mark) = part.split_at(name.len());
        [if own(name) { any } else { name }, mark].concat()
    });
    Some(parts.collect())
}

/// Operation and destination; without one, the server, for what is about none.
fn name(call: &MessagingCall, template: Option<&str>, server: impl Fn() -> String) -> String {
    let destination = template.or(call.destination.as_deref()).filter(|_| !call.temporary);
    match (destination, call.handling) {
        (Some(destination), _) => format!("{} {destination}", call.operation),
        (None, None) => format!("{} {}", call.operation, server()),
        (None, Some(_)) => call.operation.to_owned(),
    }
}
