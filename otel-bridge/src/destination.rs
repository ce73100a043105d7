//! One OTLP endpoint to send to.
//!
//! Invariant: a destination that was parsed has a host, a protocol, and a URL without
//! credentials, so that it can be shown anywhere.

use std::time::Duration;

use icecore_store::Secret;
use url::{Host, Url};

use crate::Error;

/// How a destination is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP with protobuf bodies, at the endpoint's path and `/v1/traces` and so on.
    Http,
}

/// How bodies are packed. gzip is the one that every receiver must accept; zstd costs receivers
/// a quarter of it, where they know it (the OpenTelemetry Collector and Icecore do).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// As they are.
    None,
    /// gzip, fastest level.
    #[default]
    Gzip,
    /// zstd, level 1.
    Zstd,
}

impl Compression {
    /// The name in `grpc-encoding` and `content-encoding`; none where nothing is packed.
    pub(crate) const fn encoding(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }
}

/// Where to send, and how.
#[derive(Debug, Clone)]
pub struct Destination {
    /// Names the cursor file and the metrics label: lower-case letters, digits, `.`, `-`, `_`.
    pub name: String,
    /// The base URL, `http` or `https`, without credentials, query or fragment.
    pub url: Url,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// Sent with each request; values are never shown.
    pub headers: Vec<(String, Secret)>,
    /// How bodies are packed.
    pub compression: Compression,
    /// How long one request may take, connecting included.
    pub timeout: Duration,
}

/// The longest name: it becomes part of a file name.
const NAME_BYTES_MAX: usize = 64;

impl Destination {
    /// A destination with defaults from what `--forward` was given.
    ///
    /// `grpc://` and `grpcs://` (TLS) are OTLP/gRPC, on port 4317 where none is given. `http://`
    /// and `https://` are OTLP/HTTP, as their name says and as the OTLP exporters of SDKs take them;
    /// OTLP/gRPC only at its own port 4317, without a path. Set [`Destination::protocol`] afterwards
    /// where a receiver has it otherwise.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let bad = |reason: &str| Error::destination(text, reason);
        let given = Url::parse(text).map_err(|error| bad(&error.to_string()))?;
        // The text may hold a password: it must not be repeated in an error.
        if !given.username().is_empty() || given.password().is_some() {
            let shown = given.host_str().unwrap_or_default();
            let reason = "credentials do not belong in the URL; give them as a header";
            return Err(Error::destination(shown, reason));
        }
        let (scheme, protocol) = match given.scheme() {
            "grpc" => ("http", Protocol::Grpc),
            "grpcs" => ("https", Protocol::Grpc),
            "http" => ("http", protocol_of(&given)),
            "https" => ("https", protocol_of(&given)),
            _ => return Err(bad("the scheme must be grpc, grpcs, http or https")),
        };
        let url = with_scheme(&given, scheme).map_err(|error| bad(&error.to_string()))?;
        let destination = Self {
            name: name_of(&url),
            url,
            protocol,
            headers: Vec::new(),
            compression: Compression::default(),
            timeout: Duration::from_secs(10),
        };
        destination.check()?;
        Ok(destination)
    }

    /// Refuses what cannot be sent to; the fields are public, so this runs again at `open`.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let bad = |reason: &str| Err(Error::destination(self.url.as_str(), reason));
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let name_letter = |byte: u8| letter(byte) || b".-_".contains(&byte);
        if !self.name.bytes().all(name_letter) || !self.name.bytes().next().is_some_and(letter) {
            return bad("a name has lower-case letters, digits, `.`, `-` and `_` only");
        }
        if self.name.len() > NAME_BYTES_MAX {
            return bad("a name has at most 64 letters");
        }
        if self.url.host().is_none() || !matches!(self.url.scheme(), "http" | "https") {
            return bad("the URL needs a host, and the scheme http or https");
        }
        if self.url.query().is_some() || self.url.fragment().is_some() {
            return bad("the URL must have neither query nor fragment");
        }
        if self.protocol == Protocol::Grpc && self.url.path() != "/" {
            return bad("OTLP/gRPC has no path; drop it or choose the http protocol");
        }
        if self.timeout.is_zero() {
            return bad("the timeout must be above zero");
        }
        Ok(())
    }

    /// Host and port as text, fit for a look-up.
    pub(crate) fn host_and_port(&self) -> (String, u16) {
        let host = match self.url.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => String::new(),
        };
        (host, self.url.port_or_known_default().unwrap_or_default())
    }
}

/// What an `http` or `https` URL means: no other port is known to be one of gRPC, and what goes to a
/// receiver in the other protocol is refused, all of it, for good.
fn protocol_of(url: &Url) -> Protocol {
    let has_path = !matches!(url.path(), "" | "/");
    if url.port() == Some(4317) && !has_path { Protocol::Grpc } else { Protocol::Http }
}

/// The same URL as `scheme`; a gRPC URL without a port gets 4317. The url crate does not change
/// between known and unknown schemes in place, so the text is built anew.
fn with_scheme(url: &Url, scheme: &str) -> Result<Url, url::ParseError> {
    let host = url.host_str().unwrap_or_default();
    let default_port = url.scheme().starts_with("grpc").then_some(4317);
    let port = url.port().or(default_port).map(|port| format!(":{port}")).unwrap_or_default();
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let fragment = url.fragment().map(|fragment| format!("#{fragment}")).unwrap_or_default();
    Url::parse(&format!("{scheme}://{host}{port}{}{query}{fragment}", url.path()))
}

/// `host-port`, with anything that a file name should not have made `-`.
fn name_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let port = url.port_or_known_default().unwrap_or_default();
    let text = format!("{host}-{port}").to_lowercase();
    let fit = |letter: char| letter.is_ascii_alphanumeric() || letter == '.' || letter == '-';
    let name: String = text.chars().map(|letter| if fit(letter) { letter } else { '-' }).collect();
    name.trim_start_matches(['-', '.']).chars().take(NAME_BYTES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, protocol: Protocol, url: &str, name: &str) {
        let parsed = Destination::parse(text).unwrap();
        assert_eq!((parsed.protocol, parsed.url.as_str()), (protocol, url), "{text}");
        assert_eq!(parsed.name, name, "{text}");
    }

    /// Scenario: the URLs that people give to `--forward`.
    /// Guarantees: the stated rule for protocol, port and name.
    #[test]
    fn a_url_says_how_to_send() {
        check("grpc://otel:4317", Protocol::Grpc, "http://otel:4317/", "otel-4317");
        check("grpc://otel", Protocol::Grpc, "http://otel:4317/", "otel-4317");
        check("grpcs://otel", Protocol::Grpc, "https://otel:4317/", "otel-4317");
        check("http://[::1]:4317", Protocol::Grpc, "http://[::1]:4317/", "1-4317");
        check("http://127.0.0.1:4318", Protocol::Http, "http://127.0.0.1:4318/", "127.0.0.1-4318");
        check("https://x.io/otlp", Protocol::Http, "https://x.io/otlp", "x.io-443");
        check("https://api.x.io", Protocol::Http, "https://api.x.io/", "api.x.io-443");
        check("http://otel:9411", Protocol::Http, "http://otel:9411/", "otel-9411");
        check("http://otel:4317/otlp", Protocol::Http, "http://otel:4317/otlp", "otel-4317");
        check("grpc://otel:9411", Protocol::Grpc, "http://otel:9411/", "otel-9411");
    }

    /// Scenario: URLs that cannot be sent to, and one with a password.
    /// Guarantees: refused with a reason; the password is in no message.
    #[test]
    fn bad_urls_are_refused() {
        let texts = ["", "otel:4317", "ftp://x", "grpc://", "http://x/y?z=1", "grpc://x/path"];
        for text in texts {
            assert!(Destination::parse(text).is_err(), "{text}");
        }
        let error = Destination::parse("http://me:hunter2@x:4318").unwrap_err();
        assert!(!format!("{error:?} {error}").contains("hunter2"));
    }
}
