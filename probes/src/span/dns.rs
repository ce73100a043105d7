//! What the semantic conventions for DNS ask of an exchange, and what they have no name for yet.
//!
//! Invariant: which code is an error depends on the role: a name that does not exist is one for who
//! asked, and none of the server that said so.

use super::attribute::Attribute;
use super::facts::{Facts, error_type_of, peer, sizes};
use crate::histogram::Instrument;
use crate::pipeline::ConnectionInfo;
use crate::protocol::{DnsCall, Exchange, Role};

/// Codes with which a server says that it failed.
const SERVER_FAULTS: [&str; 2] = ["SERVFAIL", "NOTIMP"];

/// The facts of a question.
pub(super) fn facts(connection: &ConnectionInfo, exchange: &Exchange, call: &DnsCall) -> Facts {
    let server = connection.server(exchange.role);
    let code = call.code.as_deref();
    let fault = code.filter(|code| match exchange.role {
        Role::Server => SERVER_FAULTS.contains(code),
        Role::Client => *code != "NOERROR",
    });
    let error_type = error_type_of(exchange, fault.map(str::to_owned));
    let failed = error_type.is_some();
    let mut shared = vec![
        Attribute::text("dns.question.name", call.name.clone()),
        Attribute::text("icecore.dns.question.type", call.kind.clone()),
        Attribute::text("network.protocol.name", "dns"),
        Attribute::text("server.address", server.ip().to_canonical().to_string()),
        Attribute::integer("server.port", i64::from(server.port())),
    ];
    shared.extend(code.map(|code| Attribute::text("icecore.dns.response_code", code.to_owned())));
    shared.extend(error_type.map(|error| Attribute::text("error.type", error)));
    let mut own = Vec::new();
    if !call.answers.is_empty() {
        own.push(Attribute::texts("dns.answers".to_owned(), call.answers.clone()));
    }
    if call.retries > 0 {
        own.push(Attribute::count("icecore.dns.retries", call.retries));
    }
    if call.truncated {
        own.push(Attribute::boolean("icecore.dns.truncated", true));
    }
    peer(&mut own, connection, exchange.role);
    sizes(&mut own, exchange);
    let instrument = match exchange.role {
        Role::Server => Instrument::DnsServer,
        Role::Client => Instrument::DnsClient,
    };
    let content = ["icecore.request.content", "icecore.response.content"];
    Facts { name: format!("DNS {}", call.kind), instrument, shared, own, failed, content }
}
