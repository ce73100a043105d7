//! What the semantic conventions for HTTP ask of an exchange.
//!
//! Invariant: names and metric attributes come from small sets (an unknown method is `_OTHER`).

use std::net::SocketAddr;

use super::attribute::Attribute;
use super::facts::{Facts, error_type_of, peer};
use crate::histogram::Instrument;
use crate::pipeline::ConnectionInfo;
use crate::protocol::{BodySize, Exchange, HttpCall, Role};

/// Methods of RFC 9110 and PATCH (RFC 5789): the set of the conventions.
const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// Attributes that go with the duration, at most, and those of a span besides, as long as no headers are asked for.
const SHARED_MAX: usize = 8;
const OWN_USUALLY: usize = 16;

/// The facts of an HTTP exchange.
pub(super) fn facts(connection: &ConnectionInfo, exchange: &Exchange, call: &HttpCall) -> Facts {
    let known = METHODS.iter().find(|method| **method == call.method);
    let target = Target::of(&call.method, &call.target);
    let authority = target.authority.or_else(|| exchange.request_header("host"));
    let end = connection.server(exchange.role);
    let (server_address, server_port) = server(authority, end);
    let error_type = error_type(exchange, call);
    let scheme = if connection.tls.is_some() { "https" } else { call.scheme.unwrap_or("http") };
    let mut shared = Vec::with_capacity(SHARED_MAX);
    shared.extend([
        Attribute::text("http.request.method", known.copied().unwrap_or("_OTHER")),
        Attribute::text("url.scheme", scheme),
        Attribute::text("network.protocol.name", "http"),
        Attribute::text("network.protocol.version", call.version),
        Attribute::text("server.address", server_address),
        Attribute::integer("server.port", i64::from(server_port)),
    ]);
    let status = call.status.map(i64::from);
    shared.extend(status.map(|status| Attribute::integer("http.response.status_code", status)));
    shared.extend(error_type.map(|error| Attribute::text("error.type", error)));
    let failed = shared.last().is_some_and(|last| last.is("error.type"));
    let mut own = Vec::with_capacity(OWN_USUALLY);
    if known.is_none() && !call.method.is_empty() {
        own.push(Attribute::text("http.request.method_original", call.method.clone()));
    }
    own.extend(target.url());
    peer(&mut own, connection, exchange.role);
    if let Some(agent) = exchange.request_header("user-agent") {
        own.push(Attribute::text("user_agent.original", agent.to_owned()));
    }
    headers(&mut own, "http.request.header", &call.request_headers);
    headers(&mut own, "http.response.header", &call.response_headers);
    sizes(&mut own, exchange);
    let instrument = match exchange.role {
        Role::Server => Instrument::HttpServer,
        Role::Client => Instrument::HttpClient,
    };
    // No route is known, and a path would be too many names.
    let name = known.map_or("HTTP", |method| method).to_owned();
    let content = ["http.request.body.content", "http.response.body.content"];
    Facts { name, instrument, shared, own, failed, content }
}

/// Headers that are read for their meaning; the rest was asked for by the configuration.
const UNDERSTOOD: [&str; 10] = [
    "host",
    "user-agent",
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-sampled",
    "content-type",
    "x-forwarded-proto",
];

fn headers(list: &mut Vec<Attribute>, prefix: &str, headers: &[(String, String)]) {
    for (at, (name, _)) in headers.iter().enumerate() {
        let earlier = headers.iter().take(at).any(|(earlier, _)| earlier == name);
        if earlier || UNDERSTOOD.contains(&name.as_str()) {
            continue;
        }
        let values = headers.iter().filter(|(one, _)| one == name);
        let values = values.map(|(_, value)| value.clone()).collect();
        list.push(Attribute::texts(format!("{prefix}.{name}"), values));
    }
}

/// Only a size that is certain is told under the name of the conventions.
fn sizes(list: &mut Vec<Attribute>, exchange: &Exchange) {
    let mut size = |exact, at_least, size| match size {
        BodySize::Exact(bytes) => list.push(Attribute::count(exact, bytes)),
        BodySize::AtLeast(0) => {}
        BodySize::AtLeast(bytes) => list.push(Attribute::count(at_least, bytes)),
    };
    size("http.request.body.size", "icecore.request.body.seen_bytes", exchange.request_body);
    size("http.response.body.size", "icecore.response.body.seen_bytes", exchange.response_body);
}

fn error_type(exchange: &Exchange, call: &HttpCall) -> Option<String> {
    let failed_at = match exchange.role {
        Role::Server => 500,
        Role::Client => 400,
    };
    let status = call.status.filter(|status| *status >= failed_at);
    error_type_of(exchange, status.map(|status| status.to_string()))
}

/// The parts of a request target.
struct Target<'a> {
    authority: Option<&'a str>,
    path: Option<&'a str>,
    query: Option<&'a str>,
}

impl<'a> Target<'a> {
    fn of(method: &str, target: &'a str) -> Self {
        if target.is_empty() {
            return Self { authority: None, path: None, query: None };
        }
        if method == "CONNECT" {
            return Self { authority: Some(target), path: None, query: None };
        }
        let (authority, rest) = match target.split_once("://") {
            Some((_, rest)) if !target.starts_with('/') => {
                let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
                // Credentials must not leave the node.
                (Some(authority.rsplit('@').next().unwrap_or(authority)), path)
            }
            _ => (None, target),
        };
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        let path = if path.is_empty() { "/" } else { path };
        Self { authority, path: Some(path), query }
    }

    fn url(&self) -> impl Iterator<Item = Attribute> {
        let path = self.path.map(|path| Attribute::text("url.path", path.to_owned()));
        let query = self.query.map(|query| Attribute::text("url.query", query.to_owned()));
        path.into_iter().chain(query)
    }
}

/// The path of a request target.
pub(crate) fn path<'a>(method: &str, target: &'a str) -> &'a str {
    Target::of(method, target).path.unwrap_or_default()
}

/// Path and query of the target of a GET.
pub(super) fn url(target: &str) -> Vec<Attribute> {
    Target::of("GET", target).url().collect()
}

/// Name and port of the server: as the client named it, else the end of the connection.
pub(super) fn server(authority: Option<&str>, end: SocketAddr) -> (String, u16) {
    let unnamed = || (end.ip().to_canonical().to_string(), end.port());
    let Some(authority) = authority.filter(|one| !one.is_empty() && one.len() <= 255) else {
        return unnamed();
    };
    if let Ok(named) = authority.parse::<SocketAddr>() {
        return (named.ip().to_string(), named.port());
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse().ok())
        }
        _ => (authority, None),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:%".contains(&byte);
    if host.is_empty() || !host.bytes().all(allowed) {
        return unnamed();
    }
    (host.to_ascii_lowercase(), port.unwrap_or_else(|| end.port()))
}
