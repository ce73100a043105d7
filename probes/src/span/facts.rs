//! What the semantic conventions ask of an exchange, worked out once for its span and its sample.
//!
//! Invariant: pure; span and histogram of one exchange carry the same values, since both come from
//! here.

use std::net::SocketAddr;

use opentelemetry_proto::tonic::common::v1::KeyValue;

use super::attribute::{integer, text};
use crate::pipeline::ConnectionInfo;
use crate::protocol::{Exchange, Failure, Role};
use crate::redact;

/// Methods of RFC 9110 and PATCH (RFC 5789): the set of the conventions.
const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// The facts of one exchange.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) method: &'static str,
    pub(crate) method_original: Option<&'a str>,
    pub(crate) scheme: &'static str,
    pub(crate) path: Option<&'a str>,
    pub(crate) query: Option<String>,
    pub(crate) server_address: String,
    pub(crate) server_port: u16,
    pub(crate) status: Option<u16>,
    pub(crate) version: &'static str,
    pub(crate) error_type: Option<String>,
}

impl<'a> Facts<'a> {
    pub(crate) fn new(connection: &ConnectionInfo, exchange: &'a Exchange) -> Self {
        let known = METHODS.iter().find(|method| **method == exchange.method);
        let target = Target::of(exchange);
        let end = match exchange.role {
            Role::Server => connection.local,
            Role::Client => connection.remote,
        };
        let authority = target.authority.or_else(|| exchange.request_header("host"));
        let (server_address, server_port) = server(authority, end);
        Self {
            method: known.copied().unwrap_or("_OTHER"),
            method_original: known.is_none().then_some(exchange.method.as_str()),
            scheme: "http",
            path: target.path,
            query: target.query.map(redact::query),
            server_address,
            server_port,
            status: exchange.status,
            version: exchange.version,
            error_type: error_type(exchange),
        }
    }

    /// `{method}`: no route is known, and a path would be too many names.
    pub(crate) fn span_name(&self) -> &'static str {
        if self.method_original.is_some() { "HTTP" } else { self.method }
    }

    /// Those that the duration histogram carries as well.
    pub(crate) fn attributes(&self) -> Vec<KeyValue> {
        let mut list = vec![
            text("http.request.method", self.method),
            text("url.scheme", self.scheme),
            text("network.protocol.name", "http"),
            text("network.protocol.version", self.version),
            text("server.address", &self.server_address),
            integer("server.port", i64::from(self.server_port)),
        ];
        if let Some(status) = self.status {
            list.push(integer("http.response.status_code", i64::from(status)));
        }
        if let Some(error_type) = &self.error_type {
            list.push(text("error.type", error_type));
        }
        list
    }
}

fn error_type(exchange: &Exchange) -> Option<String> {
    let failed_at = match exchange.role {
        Role::Server => 500,
        Role::Client => 400,
    };
    match (exchange.failure.and_then(Failure::error_type), exchange.status) {
        (Some(failure), _) => Some(failure.to_owned()),
        (None, Some(status)) if status >= failed_at => Some(status.to_string()),
        (None, _) => None,
    }
}

/// The parts of a request target.
struct Target<'a> {
    authority: Option<&'a str>,
    path: Option<&'a str>,
    query: Option<&'a str>,
}

impl<'a> Target<'a> {
    fn of(exchange: &'a Exchange) -> Self {
        let target = exchange.target.as_str();
        if exchange.method == "CONNECT" {
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
}

/// Name and port of the server: as the client named it, else the end of the connection.
fn server(authority: Option<&str>, end: SocketAddr) -> (String, u16) {
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
