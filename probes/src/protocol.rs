//! What crosses from captured bytes to understood requests.
//!
//! Invariants: a parser sees the bytes of one connection in the order in which its owner sent and
//! received them; whatever it is fed it neither panics nor holds more than its [`Limits`] say; each
//! byte that it was fed is counted once in its [`Counts`], as parsed, unparsed or passed.

mod detect;
mod follow;
pub mod http1;
mod preamble;

pub use detect::{Detection, detect};
pub use follow::{Followed, Following};

/// Which way bytes travelled, seen by the owner of the traced socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The owner received them.
    Inbound,
    /// The owner sent them.
    Outbound,
}

impl Direction {
    /// The other way.
    #[must_use]
    pub fn opposite(self) -> Self {
        match self {
            Self::Inbound => Self::Outbound,
            Self::Outbound => Self::Inbound,
        }
    }
}

/// What the owner of the traced socket is in the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// It receives requests.
    Server,
    /// It sends requests.
    Client,
}

impl Role {
    /// The way in which requests travel for this role.
    #[must_use]
    pub fn requests(self) -> Direction {
        match self {
            Self::Server => Direction::Inbound,
            Self::Client => Direction::Outbound,
        }
    }
}

/// Bytes of one send or receive call, or a part of it.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    /// Which way they travelled.
    pub direction: Direction,
    /// When, in nanoseconds of the wall clock.
    pub time: u64,
    /// What was copied of them.
    pub captured: &'a [u8],
    /// Bytes that passed right after `captured` and were not copied (sendfile, over the limit).
    pub omitted: u64,
    /// An unknown number of bytes of this direction was lost before `captured`.
    pub gap_before: bool,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Closing {
    /// By FIN, or unknown.
    Orderly,
    /// By RST or an error of the socket.
    Reset,
    /// It may well go on, but is not looked at any more.
    Unwatched,
}

/// How long a body was on the wire, after chunk framing is taken off.
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
    /// The response is not HTTP, or its head is over the limit.
    Malformed,
}

impl Failure {
    /// The value of `error.type`, where the failure is one of the exchange and not of our sight.
    #[must_use]
    pub fn error_type(self) -> Option<&'static str> {
        match self {
            Self::Reset => Some("connection_reset"),
            Self::Closed => Some("connection_closed"),
            Self::Malformed => Some("invalid_response"),
            Self::Unseen => None,
        }
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
    /// As it stands in the request.
    pub method: String,
    /// The request target, in any of its four forms.
    pub target: String,
    /// `1.0` or `1.1`.
    pub version: &'static str,
    /// The request headers that [`Limits::request_headers`] names, names in lower case.
    pub request_headers: Vec<(String, String)>,
    /// The response headers that [`Limits::response_headers`] names, names in lower case.
    pub response_headers: Vec<(String, String)>,
    /// The final status; none where no response head was seen.
    pub status: Option<u16>,
    /// Size of the request's body.
    pub request_body: BodySize,
    /// Size of the response's body.
    pub response_body: BodySize,
    /// The beginning of the request's body, at most [`Limits::body_bytes_max`].
    pub request_captured: Vec<u8>,
    /// The beginning of the response's body, at most [`Limits::body_bytes_max`].
    pub response_captured: Vec<u8>,
    /// Why the exchange is not whole.
    pub failure: Option<Failure>,
}

impl Exchange {
    /// The first value of a request header; `name` in lower case.
    #[must_use]
    pub fn request_header(&self, name: &str) -> Option<&str> {
        self.request_headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What became of the bytes that a parser was fed. Additive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes (captured and omitted) that were understood.
    pub parsed_bytes: u64,
    /// Bytes (captured and omitted) that could not be placed in a message.
    pub unparsed_bytes: u64,
    /// Bytes (captured and omitted) after an upgrade or in a tunnel, which nobody tried to read.
    pub passed_bytes: u64,
    /// Responses whose request was not seen: the connection is older than the probe.
    pub responses_without_request: u64,
    /// Requests that were given up since too many waited for a response.
    pub requests_shed: u64,
    /// Times that bytes were lost or not understood and the next message start was looked for.
    pub resyncs: u64,
}

impl Counts {
    /// Adds the other figures to these.
    pub fn add(&mut self, other: Self) {
        let Self {
            parsed_bytes,
            unparsed_bytes,
            passed_bytes,
            responses_without_request,
            requests_shed,
            resyncs,
        } = other;
        self.parsed_bytes += parsed_bytes;
        self.unparsed_bytes += unparsed_bytes;
        self.passed_bytes += passed_bytes;
        self.responses_without_request += responses_without_request;
        self.requests_shed += requests_shed;
        self.resyncs += resyncs;
    }
}

/// How much a parser may hold and what it keeps of a message.
#[derive(Debug, Clone)]
pub struct Limits {
    /// A head (first line and headers) longer than this is unparsed; also what is held of one.
    pub head_bytes_max: usize,
    /// Requests of one connection that may wait for their response; the oldest is shed.
    pub pending_max: usize,
    /// Longer targets and header values are cut.
    pub value_bytes_max: usize,
    /// What is kept of each body; 0 keeps none.
    pub body_bytes_max: usize,
    /// Undecided segments of a connection that are looked at before it counts as unknown.
    pub detect_segments_max: u32,
    /// Request headers that are kept, in lower case.
    pub request_headers: Vec<String>,
    /// Response headers that are kept, in lower case.
    pub response_headers: Vec<String>,
}

impl Default for Limits {
    fn default() -> Self {
        let names = |list: &[&str]| list.iter().map(|&name| name.to_owned()).collect();
        Self {
            head_bytes_max: 64 << 10,
            pending_max: 256,
            value_bytes_max: 8 << 10,
            body_bytes_max: 0,
            detect_segments_max: 64,
            request_headers: names(&[
                "host",
                "user-agent",
                "traceparent",
                "tracestate",
                "content-type",
                "x-forwarded-proto",
            ]),
            response_headers: names(&["content-type"]),
        }
    }
}

/// A parser of one connection.
pub trait Protocol: std::fmt::Debug + Send {
    /// Takes the next bytes; what they complete goes to `out`.
    fn feed(&mut self, segment: &Segment<'_>, out: &mut Vec<Exchange>);

    /// The connection ended: what is still open goes to `out` as far as it was seen.
    fn close(&mut self, time: u64, closing: Closing, out: &mut Vec<Exchange>);

    /// What became of the bytes since the last call.
    fn take_counts(&mut self) -> Counts;

    /// What the owner of the traced socket is.
    fn role(&self) -> Role;

    /// Nothing more can be learnt (upgraded, tunnelled): the kernel may stop copying payload.
    fn finished(&self) -> bool;
}
