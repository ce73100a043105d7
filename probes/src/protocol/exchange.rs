//! One request with its response, whatever the protocol.
//!
//! Invariant: what all protocols have in common is in [`Exchange`], what the semantic conventions
//! ask of a kind of them in that kind's call; a call holds nothing that its parser did not see.

use super::Role;

/// A text that is mostly short: up to 24 bytes stand where it is held, without memory of their own.
pub type Text = compact_str::CompactString;

/// Name, in lower case, and value.
pub type Header = (Text, Text);

/// How long a message was on the wire; for HTTP its body, after chunk framing is taken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BodySize {
    /// Every byte is accounted for.
    Exact(u64),
    /// At least this much: some was lost, or the connection ended early.
    AtLeast(u64),
}

/// What went wrong with an exchange beyond its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The connection was reset before the response was whole.
    Reset,
    /// The connection was closed before the response was whole.
    Closed,
    /// Bytes were lost on the way to us: the exchange itself may well have gone through.
    Unseen,
    /// The response is not one, or its head is over the limit.
    Malformed,
    /// Nothing came for as long as anybody waits.
    Unanswered,
    /// One end gave up the exchange and kept the connection, for the reason with this number
    /// (RFC 9113, section 7).
    StreamReset(u32),
}

impl Failure {
    /// The value of `error.type`, where the failure is one of the exchange and not of our sight.
    #[must_use]
    pub fn error_type(self) -> Option<&'static str> {
        match self {
            Self::Reset => Some("connection_reset"),
            Self::Closed => Some("connection_closed"),
            Self::Malformed => Some("invalid_response"),
            Self::Unanswered => Some("timeout"),
            Self::StreamReset(reason) => Some(stream_error(reason)),
            Self::Unseen => None,
        }
    }
}

/// Why a stream of HTTP/2 was ended, as values of `error.type`.
fn stream_error(reason: u32) -> &'static str {
    match reason {
        0x0 => "http2_no_error",
        0x1 => "http2_protocol_error",
        0x2 => "http2_internal_error",
        0x3 => "http2_flow_control_error",
        0x5 => "http2_stream_closed",
        0x7 => "http2_refused_stream",
        0x8 => "http2_cancel",
        0xb => "http2_enhance_your_calm",
        _ => "http2_error",
    }
}

/// One request with its response, as far as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Which end of the connection was watched.
    pub role: Role,
    /// The number of the request on its connection, from 0; none where the count is not certain
    /// (the connection is older than the probe, or bytes of its requests were lost).
    pub ordinal: Option<u64>,
    /// First byte of the request, wall clock in nanoseconds.
    pub start: u64,
    /// Last byte of the response (or the end of the connection), wall clock in nanoseconds.
    pub end: u64,
    /// Size of the request, or of its body where the protocol has one.
    pub request_body: BodySize,
    /// Size of the response, or of its body where the protocol has one.
    pub response_body: BodySize,
    /// The beginning of the request's body, at most [`super::Limits::body_bytes_max`].
    pub request_captured: Vec<u8>,
    /// The beginning of the response's body, at most [`super::Limits::body_bytes_max`].
    pub response_captured: Vec<u8>,
    /// Why the exchange is not whole.
    pub failure: Option<Failure>,
    /// What was asked and answered.
    pub said: Said,
}

/// What was asked and answered, by the kind of protocol: each kind has semantic conventions of its
/// own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// HTTP, whatever its version.
    Http(HttpCall),
    /// A database, a cache or a store.
    Database(DatabaseCall),
    /// A remote procedure call.
    Rpc(RpcCall),
    /// A WebSocket connection, from its upgrade to its end.
    Socket(SocketCall),
    /// A broker of messages.
    Messaging(MessagingCall),
    /// A question to the domain name system.
    Dns(DnsCall),
}

/// What an HTTP exchange says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpCall {
    /// As it stands in the request; empty where it was not seen.
    pub method: Text,
    /// The request target, in any of its four forms; empty where it was not seen.
    pub target: Text,
    /// `http` or `https`, where the request says it.
    pub scheme: Option<&'static str>,
    /// `1.0`, `1.1` or `2`.
    pub version: &'static str,
    /// The request headers that [`super::Limits::request_headers`] names, names in lower case.
    pub request_headers: Vec<Header>,
    /// The response headers that [`super::Limits::response_headers`] names, names in lower case.
    pub response_headers: Vec<Header>,
    /// The final status; none where no response head was seen.
    pub status: Option<u16>,
}

/// What an exchange with a database says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DatabaseCall {
    /// `db.system.name`
    pub system: &'static str,
    /// `db.operation.name`: a command or the first word of a statement, in capitals.
    pub operation: Option<String>,
    /// `db.collection.name`, where the statement names exactly one.
    pub collection: Option<String>,
    /// `db.namespace`, where the connection said it.
    pub namespace: Option<String>,
    /// `db.query.text`, by [`super::Limits::statements`].
    pub text: Option<String>,
    /// `db.query.summary`
    pub summary: Option<String>,
    /// `db.response.status_code` of an error.
    pub status: Option<String>,
    /// `error.type` where no status tells the error.
    pub error: Option<&'static str>,
    /// Rows that were sent, where the protocol counts them.
    pub rows: Option<u64>,
    /// What only this system has, by the name of its attribute.
    pub details: Vec<(&'static str, Detail)>,
}

/// A value of an attribute that only one system has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detail {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
}

/// What an operation means for the messages that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Handling {
    /// They go to the broker.
    Send,
    /// They are asked for by their consumer.
    Receive,
    /// They come to their consumer, who has not asked for each, until it says that it is through.
    Process,
    /// Their consumer says what has become of them.
    Settle,
}

/// What an exchange with a broker of messages says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessagingCall {
    /// `messaging.system`
    pub system: &'static str,
    /// `messaging.operation.name`, in the words of the system.
    pub operation: &'static str,
    /// `messaging.operation.type`; none for what is not about messages.
    pub handling: Option<Handling>,
    /// `messaging.destination.name`, where there is exactly one.
    pub destination: Option<String>,
    /// The destination is made up for one client: no name for a span or a series.
    pub temporary: bool,
    /// `messaging.destination.partition.id`, where there is exactly one.
    pub partition: Option<String>,
    /// `messaging.consumer.group.name`
    pub group: Option<String>,
    /// `messaging.client.id`
    pub client: Option<String>,
    /// `messaging.batch.message_count`, where messages go by batches, and all were seen.
    pub messages: Option<u64>,
    /// `messaging.message.body.size` of a single message.
    pub body_bytes: Option<u64>,
    /// `error.type` of an operation that the broker refused.
    pub error: Option<String>,
    /// What only this system has, by the name of its attribute.
    pub details: Vec<(&'static str, Detail)>,
    /// `traceparent` and `tracestate` of a single message.
    pub headers: Vec<Header>,
    /// The broker began it, and not its client.
    pub pushed: bool,
}

/// What a remote procedure call says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RpcCall {
    /// `rpc.system.name`
    pub system: &'static str,
    /// Of HTTP beneath it: `1.0`, `1.1` or `2`.
    pub version: &'static str,
    /// `rpc.method`: service and method, with a slash between; empty where it was not seen.
    pub method: String,
    /// `rpc.response.status_code`, in the words of the system.
    pub status: Option<String>,
    /// The status means an error for the server as well, and not for its client alone.
    pub server_fault: bool,
    /// The status means an error.
    pub fault: bool,
    /// The host that the request was for.
    pub authority: Option<String>,
    /// Messages that the client sent; none where not all were seen.
    pub sent: Option<u64>,
    /// Messages that the server sent; none where not all were seen.
    pub received: Option<u64>,
    /// The request headers that [`super::Limits::request_headers`] names, names in lower case.
    pub headers: Vec<Header>,
}

/// What a WebSocket connection says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SocketCall {
    /// The target of the request that was upgraded.
    pub target: Text,
    /// Its headers that [`super::Limits::request_headers`] names, names in lower case.
    pub headers: Vec<Header>,
    /// Messages that the client sent; none where not all were seen.
    pub sent: Option<u64>,
    /// Messages that the server sent; none where not all were seen.
    pub received: Option<u64>,
    /// Why it was closed, by the end that closed it first.
    pub close_code: Option<u16>,
}

/// What a question and its answer say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DnsCall {
    /// `dns.question.name`
    pub name: String,
    /// The kind of record that was asked for.
    pub kind: String,
    /// `dns.answers`: the addresses among the records of the answer.
    pub answers: Vec<String>,
    /// The name of the response code; none where nobody answered.
    pub code: Option<String>,
    /// How often the same question was asked again before it was answered.
    pub retries: u64,
    /// The answer did not fit.
    pub truncated: bool,
}

impl Exchange {
    /// The server began it, and not its client.
    #[must_use]
    pub fn pushed(&self) -> bool {
        matches!(&self.said, Said::Messaging(call) if call.pushed)
    }

    /// What it takes in memory, if it is one of HTTP.
    pub(crate) fn http_bytes(&self) -> usize {
        let Said::Http(call) = &self.said else { return size_of::<Self>() };
        let headers = call.request_headers.iter().chain(&call.response_headers);
        let headers = headers
            .map(|(name, value)| size_of::<Header>() + name.len() + value.len())
            .sum::<usize>();
        let bodies = self.request_captured.capacity() + self.response_captured.capacity();
        size_of::<Self>() + call.method.len() + call.target.len() + headers + bodies
    }

    /// What was asked for, of what has a target.
    pub(crate) fn target(&self) -> Option<&str> {
        match &self.said {
            Said::Http(call) => Some(&call.target),
            Said::Socket(call) => Some(&call.target),
            Said::Rpc(_) | Said::Database(_) | Said::Messaging(_) | Said::Dns(_) => None,
        }
    }

    /// The first value of a request header; `name` in lower case.
    #[must_use]
    pub fn request_header(&self, name: &str) -> Option<&str> {
        let headers = match &self.said {
            Said::Http(call) => &call.request_headers,
            Said::Rpc(call) => &call.headers,
            Said::Socket(call) => &call.headers,
            Said::Messaging(call) => &call.headers,
            Said::Database(_) | Said::Dns(_) => return None,
        };
        headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}
