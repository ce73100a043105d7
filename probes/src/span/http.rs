//! What the semantic conventions for HTTP ask of an exchange.
//!
//! Invariant: names and metric attributes come from small sets (an unknown method is `_OTHER`).

use std::net::SocketAddr;

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use super::attribute::Attribute;
use super::facts::{Cleaner, Facts};
use super::wire::WireSpan;
use crate::histogram::Instrument;
use crate::pipeline::ConnectionInfo;
use crate::protocol::{BodySize, Exchange, Failure, Header, HttpCall, Role};

/// Methods of RFC 9110 and PATCH (RFC 5789): the set of the conventions.
const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// Attributes that go with the duration, at most.
const SHARED_MAX: usize = 8;
/// A longer name of a host is none.
const AUTHORITY_BYTES_MAX: usize = 255;

/// What is asked and answered, as far as it goes with the duration: requests of which it is the same are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Asked<'a> {
    role: Role,
    /// The server's end of the connection.
    end: SocketAddr,
    /// None: of no set that is known.
    method: Option<&'static str>,
    authority: Option<&'a str>,
    scheme: &'static str,
    version: &'static str,
    status: Option<u16>,
    failure: Option<Failure>,
}

impl<'a> Asked<'a> {
    pub(crate) fn of(
        connection: &ConnectionInfo,
        exchange: &'a Exchange,
        call: &'a HttpCall,
    ) -> Self {
        let target = Target::of(&call.method, &call.target);
        let authority = target.authority.or_else(|| exchange.request_header("host"));
        let sane = |one: &&str| !one.is_empty() && one.len() <= AUTHORITY_BYTES_MAX;
        Self {
            role: exchange.role,
            end: connection.server(exchange.role),
            method: known(&call.method),
            authority: authority.filter(sane),
            scheme: if connection.tls.is_some() { "https" } else { call.scheme.unwrap_or("http") },
            version: call.version,
            status: call.status,
            failure: exchange.failure,
        }
    }

    /// The same, of this authority.
    pub(super) fn with_authority(self, authority: Option<&str>) -> Asked<'_> {
        let Self { role, end, method, authority: _, scheme, version, status, failure } = self;
        Asked { role, end, method, authority, scheme, version, status, failure }
    }

    /// The same without its authority, and that.
    pub(super) fn split(self) -> (Asked<'static>, Option<&'a str>) {
        let Self { role, end, method, authority, scheme, version, status, failure } = self;
        (Asked { role, end, method, authority: None, scheme, version, status, failure }, authority)
    }

    pub(super) fn kind(&self) -> SpanKind {
        match self.role {
            Role::Server => SpanKind::Server,
            Role::Client => SpanKind::Client,
        }
    }

    /// What span and sample both carry, and nothing else of the span.
    pub(super) fn facts(&self) -> Facts {
        let Self { method, scheme, version, status, .. } = *self;
        let (server_address, server_port) = server(self.authority, self.end);
        let error_type = self.error_type();
        let failed = error_type.is_some();
        let mut shared = Vec::with_capacity(SHARED_MAX);
        shared.extend([
            Attribute::text("http.request.method", method.unwrap_or("_OTHER")),
            Attribute::text("url.scheme", scheme),
            Attribute::text("network.protocol.name", "http"),
            Attribute::text("network.protocol.version", version),
            Attribute::text("server.address", server_address),
            Attribute::integer("server.port", i64::from(server_port)),
        ]);
        let status = status.map(i64::from);
        shared.extend(status.map(|status| Attribute::integer("http.response.status_code", status)));
        shared.extend(error_type.map(|error| Attribute::text("error.type", error)));
        let instrument = match self.role {
            Role::Server => Instrument::HttpServer,
            Role::Client => Instrument::HttpClient,
        };
        // No route is known, and a path would be too many names.
        let name = method.unwrap_or("HTTP").to_owned();
        let content = ["http.request.body.content", "http.response.body.content"];
        Facts { name, instrument, shared, own: Vec::new(), failed, content }
    }

    fn error_type(&self) -> Option<String> {
        let failed_at = match self.role {
            Role::Server => 500,
            Role::Client => 400,
        };
        let status = self.status.filter(|status| *status >= failed_at);
        let failure = self.failure.and_then(Failure::error_type).map(str::to_owned);
        failure.or(status.map(|status| status.to_string()))
    }
}

fn known(method: &str) -> Option<&'static str> {
    METHODS.iter().find(|one| **one == method).copied()
}

/// Writes what the span of a request carries that others which are alike do not, but for the end of the connection.
pub(super) fn write(
    span: &mut WireSpan,
    exchange: &Exchange,
    call: &HttpCall,
    cleaner: &mut Cleaner<'_>,
) {
    let target = Target::of(&call.method, &call.target);
    let original = Some(call.method.as_str()).filter(|one| known(one).is_none() && !one.is_empty());
    for (key, text) in [
        ("http.request.method_original", original),
        ("url.path", target.path),
        ("url.query", target.query),
        ("user_agent.original", exchange.request_header("user-agent")),
    ] {
        if let Some(text) = text {
            span.text(key, &cleaner.text(key, text));
        }
    }
    let mut rest = Vec::new();
    headers(&mut rest, "http.request.header", &call.request_headers);
    headers(&mut rest, "http.response.header", &call.response_headers);
    rest.iter_mut().for_each(|attribute| cleaner.clean(attribute));
    rest.iter().for_each(|attribute| span.attribute(attribute));
    sizes(exchange, &mut |attribute| span.attribute(&attribute));
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

fn headers(list: &mut Vec<Attribute>, prefix: &str, headers: &[Header]) {
    for (at, (name, _)) in headers.iter().enumerate() {
        let earlier = headers.iter().take(at).any(|(earlier, _)| earlier == name);
        if earlier || UNDERSTOOD.contains(&name.as_str()) {
            continue;
        }
        let values = headers.iter().filter(|(one, _)| one == name);
        let values = values.map(|(_, value)| value.to_string()).collect();
        list.push(Attribute::texts(format!("{prefix}.{name}"), values));
    }
}

/// Only a size that is certain is told under the name of the conventions.
fn sizes(exchange: &Exchange, tell: &mut dyn FnMut(Attribute)) {
    let mut size = |exact, at_least, size| match size {
        BodySize::Exact(bytes) => tell(Attribute::count(exact, bytes)),
        BodySize::AtLeast(0) => {}
        BodySize::AtLeast(bytes) => tell(Attribute::count(at_least, bytes)),
    };
    size("http.request.body.size", "icecore.request.body.seen_bytes", exchange.request_body);
    size("http.response.body.size", "icecore.response.body.seen_bytes", exchange.response_body);
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
        let absolute = if target.starts_with('/') { None } else { target.split_once("://") };
        let (authority, rest) = match absolute {
            Some((_, rest)) => {
                let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
                // Credentials must not leave the node.
                (Some(authority.rsplit('@').next().unwrap_or(authority)), path)
            }
            None => (None, target),
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
    let sane = |one: &&str| !one.is_empty() && one.len() <= AUTHORITY_BYTES_MAX;
    let Some(authority) = authority.filter(sane) else { return unnamed() };
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
