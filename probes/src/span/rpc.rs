//! What the semantic conventions for remote procedure calls ask of an exchange.
//!
//! Invariant: which status is an error depends on the role, as the conventions have it.

use super::attribute::Attribute;
use super::facts::{Facts, error_type_of, peer, sizes};
use crate::histogram::Instrument;
use crate::pipeline::ConnectionInfo;
use crate::protocol::{Exchange, Role, RpcCall};

/// The facts of a remote procedure call.
pub(super) fn facts(connection: &ConnectionInfo, exchange: &Exchange, call: &RpcCall) -> Facts {
    let end = connection.server(exchange.role);
    let (address, port) = super::http::server(call.authority.as_deref(), end);
    let fault = match exchange.role {
        Role::Server => call.server_fault,
        Role::Client => call.fault,
    };
    let error_type = error_type_of(exchange, call.status.clone().filter(|_| fault));
    let failed = error_type.is_some();
    let mut shared = vec![
        Attribute::text("rpc.system.name", call.system),
        Attribute::text("server.address", address),
        Attribute::integer("server.port", i64::from(port)),
    ];
    if !call.method.is_empty() {
        shared.push(Attribute::text("rpc.method", call.method.clone()));
    }
    let status = call.status.as_deref();
    shared.extend(
        status.map(|status| Attribute::text("rpc.response.status_code", status.to_owned())),
    );
    shared.extend(error_type.map(|error| Attribute::text("error.type", error)));
    let mut own = vec![
        Attribute::text("network.protocol.name", "http"),
        Attribute::text("network.protocol.version", call.version),
    ];
    let messages = |key, count: Option<u64>| count.map(|count| Attribute::count(key, count));
    own.extend(messages("icecore.rpc.request.messages", call.sent));
    own.extend(messages("icecore.rpc.response.messages", call.received));
    peer(&mut own, connection, exchange.role);
    sizes(&mut own, exchange);
    let instrument = match exchange.role {
        Role::Server => Instrument::RpcServer,
        Role::Client => Instrument::RpcClient,
    };
    let name = if call.method.is_empty() { call.system } else { &call.method }.to_owned();
    let content = ["icecore.request.content", "icecore.response.content"];
    Facts { name, instrument, shared, own, failed, content }
}
