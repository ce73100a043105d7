//! What the semantic conventions ask of an exchange, worked out once for its span and its sample.
//!
//! Invariants: pure; span and histogram of one exchange carry the same values, since both come from
//! here; what leaves here has no secrets in it.

use std::borrow::Cow;

use super::attribute::Attribute;
use super::{database, dns, http, messaging, rpc, websocket};
use crate::connection::Tls;
use crate::histogram::Instrument;
use crate::pipeline::ConnectionInfo;
use crate::protocol::{BodySize, Detail, Exchange, Failure, Role, Said, VALUE_BYTES_MAX};
use crate::redact::{self, Redaction, Taken};

/// The facts of one exchange.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// The span's name.
    pub(crate) name: String,
    /// The histogram that its duration goes to.
    pub(crate) instrument: Instrument,
    /// What span and sample both carry.
    pub(crate) shared: Vec<Attribute>,
    /// What the span carries beyond that.
    pub(crate) own: Vec<Attribute>,
    /// It ended with an error.
    pub(crate) failed: bool,
    /// Under which names the captured bodies go.
    pub(crate) content: [&'static str; 2],
}

impl Facts {
    /// The facts without secrets; what was taken out is counted.
    pub(crate) fn new(
        connection: &ConnectionInfo,
        exchange: &Exchange,
        redaction: &Redaction,
        taken: &mut Taken,
    ) -> Self {
        let facts = Self::with_secrets(connection, exchange);
        let long = exchange.target().is_some_and(|target| redact::is_cut(target, VALUE_BYTES_MAX));
        facts.clean(&mut Cleaner { long, redaction, taken })
    }

    /// The same without secrets.
    pub(super) fn clean(mut self, cleaner: &mut Cleaner<'_>) -> Self {
        let all = self.shared.iter_mut().chain(&mut self.own);
        all.for_each(|attribute| cleaner.clean(attribute));
        if let Cow::Owned(name) = cleaner.text("", &self.name) {
            self.name = name;
        }
        self
    }

    /// What they take in memory.
    pub(crate) fn held_bytes(&self) -> usize {
        let room = (self.shared.capacity() + self.own.capacity()) * size_of::<Attribute>();
        let texts = self.shared.iter().chain(&self.own).map(Attribute::text_bytes);
        room + self.name.capacity() + texts.sum::<usize>()
    }

    fn with_secrets(connection: &ConnectionInfo, exchange: &Exchange) -> Self {
        match &exchange.said {
            Said::Http(call) => http::Asked::of(connection, exchange, call).facts(),
            Said::Database(call) => database::facts(connection, exchange, call),
            Said::Rpc(call) => rpc::facts(connection, exchange, call),
            Said::Dns(call) => dns::facts(connection, exchange, call),
            Said::Socket(call) => websocket::facts(connection, exchange, call),
            Said::Messaging(call) => messaging::facts(connection, exchange, call),
        }
    }
}

/// A text of which its parser kept no more, or that says so itself.
fn is_cut(text: &str) -> bool {
    redact::says_it_was_cut(text) || redact::is_cut(text, VALUE_BYTES_MAX)
}

/// Takes secrets out of attributes, and counts them.
pub(super) struct Cleaner<'a> {
    /// The target of the request was cut, and so may be what is told of it.
    pub(super) long: bool,
    pub(super) redaction: &'a Redaction,
    pub(super) taken: &'a mut Taken,
}

impl Cleaner<'_> {
    /// The text of an attribute of this name without secrets.
    pub(super) fn text<'a>(&mut self, key: &str, text: &'a str) -> Cow<'a, str> {
        let Self { long, redaction, taken } = self;
        let cut = is_cut(text) || *long && key.starts_with("url.");
        let headers = ["http.request.header.", "http.response.header."];
        let header = headers.iter().find_map(|prefix| key.strip_prefix(prefix));
        match header {
            Some(name) => redaction.header(name, text, cut, taken),
            None if key == "url.query" => redaction.query(text, cut, taken),
            None => redaction.text(text, cut, taken),
        }
    }

    /// Leaves no secrets in an attribute.
    pub(super) fn clean(&mut self, attribute: &mut Attribute) {
        attribute.change_texts(&mut |key, text| match self.text(key, text) {
            Cow::Owned(clean) => Some(clean),
            Cow::Borrowed(_) => None,
        });
    }
}

/// `error.type`: the failure of the exchange, else what its answer said.
pub(super) fn error_type_of(exchange: &Exchange, status: Option<String>) -> Option<String> {
    exchange.failure.and_then(Failure::error_type).map(str::to_owned).or(status)
}

/// The other end of the connection.
pub(super) fn peer(list: &mut Vec<Attribute>, connection: &ConnectionInfo, role: Role) {
    list.push(Attribute::integer("network.local.port", i64::from(connection.local.port())));
    list.push(Attribute::text("network.transport", connection.transport));
    let peer = connection.remote;
    if peer.port() == 0 {
        // A socket that receives from everybody, and nobody was answered.
        return;
    }
    let (address, port) = (peer.ip().to_canonical().to_string(), i64::from(peer.port()));
    if role == Role::Server {
        list.push(Attribute::text("client.address", address.clone()));
        list.push(Attribute::integer("client.port", port));
    }
    list.push(Attribute::text("network.peer.address", address));
    list.push(Attribute::integer("network.peer.port", port));
    if let Some(known) = &connection.tls {
        tls(list, known);
    }
}

/// What protects the connection, as far as its handshake was seen.
fn tls(list: &mut Vec<Attribute>, tls: &Tls) {
    let text = |key, value: Option<String>| value.map(|value| Attribute::text(key, value));
    list.push(Attribute::text("tls.protocol.name", "tls"));
    list.extend(text("tls.protocol.version", tls.version.map(str::to_owned)));
    list.extend(text("tls.cipher", tls.cipher_name()));
    list.extend(text("tls.client.server_name", tls.server_name.clone()));
    list.extend(text("tls.next_protocol", tls.next_protocol.clone()));
}

/// What only one system has.
pub(super) fn details(list: &mut Vec<Attribute>, details: &[(&'static str, Detail)]) {
    list.extend(details.iter().map(|(key, detail)| match detail {
        Detail::Text(text) => Attribute::text(key, text.clone()),
        Detail::Number(number) => Attribute::integer(key, *number),
    }));
}

/// How long the messages were, where the conventions have no name for it.
pub(super) fn sizes(list: &mut Vec<Attribute>, exchange: &Exchange) {
    let mut size = |exact, at_least, size| match size {
        BodySize::Exact(bytes) => list.push(Attribute::count(exact, bytes)),
        BodySize::AtLeast(0) => {}
        BodySize::AtLeast(bytes) => list.push(Attribute::count(at_least, bytes)),
    };
    size("icecore.request.size", "icecore.request.seen_bytes", exchange.request_body);
    size("icecore.response.size", "icecore.response.seen_bytes", exchange.response_body);
}
