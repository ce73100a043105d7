//! What the semantic conventions for databases ask of an exchange.
//!
//! Invariant: a name has no value in it: it is made of operation and target only.

use super::attribute::Attribute;
use super::facts::{Facts, details, error_type_of, peer, sizes};
use crate::histogram::Instrument;
use crate::pipeline::ConnectionInfo;
use crate::protocol::{DatabaseCall, Exchange, Role};

/// Systems whose namespace is a number, which has no place in a name.
const NUMBERED: [&str; 1] = ["redis"];

/// The facts of an exchange with a database.
pub(super) fn facts(
    connection: &ConnectionInfo,
    exchange: &Exchange,
    call: &DatabaseCall,
) -> Facts {
    let server = connection.server(exchange.role);
    let address = server.ip().to_canonical().to_string();
    let status = call.status.clone().or_else(|| call.error.map(str::to_owned));
    let error_type = error_type_of(exchange, status);
    let failed = error_type.is_some();
    let text = |key, value: &Option<String>| value.clone().map(|value| Attribute::text(key, value));
    let mut shared = vec![Attribute::text("db.system.name", call.system)];
    shared.extend(text("db.operation.name", &call.operation));
    shared.extend(text("db.collection.name", &call.collection));
    shared.extend(text("db.namespace", &call.namespace));
    shared.extend(text("db.query.summary", &call.summary));
    shared.extend(text("db.response.status_code", &call.status));
    shared.extend(text("error.type", &error_type));
    shared.push(Attribute::text("server.address", address.clone()));
    shared.push(Attribute::integer("server.port", i64::from(server.port())));
    let mut own = Vec::new();
    own.extend(text("db.query.text", &call.text));
    own.extend(call.rows.map(|rows| Attribute::count("db.response.returned_rows", rows)));
    details(&mut own, &call.details);
    peer(&mut own, connection, exchange.role);
    sizes(&mut own, exchange);
    let instrument = match exchange.role {
        Role::Server => Instrument::DatabaseServer,
        Role::Client => Instrument::DatabaseClient,
    };
    let name = name(call, || format!("{address}:{}", server.port()));
    let content = ["icecore.request.content", "icecore.response.content"];
    Facts { name, instrument, shared, own, failed, content }
}

/// The summary, or operation and target, or as much of it as is known.
fn name(call: &DatabaseCall, server: impl Fn() -> String) -> String {
    if let Some(summary) = &call.summary {
        return summary.clone();
    }
    let namespace = call.namespace.as_ref().filter(|_| !NUMBERED.contains(&call.system));
    let target = call.collection.as_ref().or(namespace).cloned().unwrap_or_else(server);
    match &call.operation {
        Some(operation) => format!("{operation} {target}"),
        None => call.system.to_owned(),
    }
}
