//! A WebSocket connection behind its upgrade. There are no semantic conventions for it: names are
//! our own where those for HTTP and networks have none.
//!
//! Invariant: a code that says that all is well is no error, whoever sent it.

use super::attribute::Attribute;
use super::facts::{Facts, error_type_of, peer, sizes};
use super::http;
use crate::histogram::Instrument;
use crate::pipeline::ConnectionInfo;
use crate::protocol::{Exchange, Role, SocketCall};

/// Done, going away, and no reason given: RFC 6455 section 7.4.1.
const GOOD_CODES: [u16; 3] = [1000, 1001, 1005];

/// The facts of a connection.
pub(super) fn facts(connection: &ConnectionInfo, exchange: &Exchange, call: &SocketCall) -> Facts {
    let end = connection.server(exchange.role);
    let (address, port) = http::server(exchange.request_header("host"), end);
    let code = call.close_code;
    let bad_code = code.filter(|code| !GOOD_CODES.contains(code));
    let error_type = error_type_of(exchange, bad_code.map(|code| code.to_string()));
    let failed = error_type.is_some();
    let mut shared = vec![
        Attribute::text("network.protocol.name", "websocket"),
        Attribute::text("server.address", address),
        Attribute::integer("server.port", i64::from(port)),
    ];
    shared.extend(code.map(|code| Attribute::integer("icecore.websocket.close_code", code.into())));
    shared.extend(error_type.map(|error| Attribute::text("error.type", error)));
    let mut own = http::url(&call.target);
    let messages = |key, count: Option<u64>| count.map(|count| Attribute::count(key, count));
    own.extend(messages("icecore.websocket.request.messages", call.sent));
    own.extend(messages("icecore.websocket.response.messages", call.received));
    peer(&mut own, connection, exchange.role);
    sizes(&mut own, exchange);
    let instrument = match exchange.role {
        Role::Server => Instrument::SocketServer,
        Role::Client => Instrument::SocketClient,
    };
    let content = ["icecore.request.content", "icecore.response.content"];
    Facts { name: "websocket".to_owned(), instrument, shared, own, failed, content }
}
