//! What crosses from captured bytes to understood requests.
//!
//! Invariants: a parser sees the bytes of one connection in the order in which its owner sent and
//! received them; whatever it is fed it neither panics nor holds more than its [`Limits`] say; each
//! byte that it was fed is counted once in its [`Counts`], as parsed, unparsed or passed.

mod amqp;
mod cassandra;
mod dialogue;
pub(crate) mod dns;
mod exchange;
mod follow;
mod grpc;
pub mod http1;
pub mod http2;
mod kafka;
mod kept;
mod memcached;
mod mongodb;
mod mqtt;
mod mysql;
mod nats;
mod opening;
mod postgres;
mod preamble;
mod prepared;
mod redis;
#[cfg(test)]
mod script;
mod sql;
mod table;
mod websocket;

pub use exchange::{
    BodySize, DatabaseCall, Detail, DnsCall, Exchange, Failure, Handling, Header, HttpCall,
    MessagingCall, RpcCall, Said, SocketCall, Text,
};
pub use follow::{Followed, Following};
pub(crate) use sql::{speaks_sql, without_values};
pub use table::{names, parser};

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

/// A request that was sent and is not answered yet.
#[derive(Debug, Clone, Copy)]
pub struct Begun<'a> {
    /// As in [`Exchange::start`].
    pub start: u64,
    /// As in [`Exchange::ordinal`].
    pub ordinal: Option<u64>,
    /// Its headers that are kept, names in lower case.
    pub headers: &'a [Header],
    /// Requests of its connection that are not answered, itself among them.
    pub waiting: usize,
}

/// Of requests that wait, the newest first: those that began at this time beside the newest, the oldest first.
fn begun_beside<'a>(newest_first: impl Iterator<Item = Begun<'a>>, time: u64) -> Vec<Begun<'a>> {
    let mut beside: Vec<_> = newest_first.take_while(|it| it.start == time).skip(1).collect();
    beside.reverse();
    beside
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
    /// Connections whose protocol was taken for another one, and looked at again.
    pub revoked: u64,
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
            revoked,
        } = other;
        self.parsed_bytes += parsed_bytes;
        self.unparsed_bytes += unparsed_bytes;
        self.passed_bytes += passed_bytes;
        self.responses_without_request += responses_without_request;
        self.requests_shed += requests_shed;
        self.resyncs += resyncs;
        self.revoked += revoked;
    }
}

/// What is kept of a database statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Statements {
    /// Its text with a question mark for each value in it.
    #[default]
    Sanitised,
    /// Its text as it was sent, values and all.
    Whole,
}

/// What parsers keep of targets, statements and header values, unless told otherwise.
pub(crate) const VALUE_BYTES_MAX: usize = 8 << 10;

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
    /// What is kept of a database statement.
    pub statements: Statements,
    /// Undecided segments of a connection that are looked at before it counts as unknown.
    pub detect_segments_max: u32,
    /// Undecided segments of which the kernel copies every one; behind them it copies only what may
    /// begin a request. Also how many are held while it takes several to tell the protocol.
    pub open_segments_max: u32,
    /// What is held of a connection while its protocol is not known.
    pub open_bytes_max: usize,
    /// Tunnels, one inside another, that are looked into; what is further in is passed over. Each byte passes through all of
    /// them.
    pub tunnels_max: u32,
    /// Messages in a row that are none, after which the protocol counts as mistaken.
    pub failures_max: u32,
    /// Prepared statements that are remembered for a connection; the oldest makes room.
    pub prepared_max: usize,
    /// Streams of an HTTP/2 connection that may be open; the oldest is shed. Also channels of AMQP,
    /// and messages that are not settled, of which something is remembered.
    pub streams_max: usize,
    /// What is held of the header fields that a side of an HTTP/2 connection refers back to. Where
    /// it sends more of them, the older ones are unknown.
    pub header_table_bytes_max: usize,
    /// An answer that nobody has to give is waited for so long, in nanoseconds.
    pub answer_nanos_max: u64,
    /// Questions in datagrams, of all sockets, that may wait for their answer; the oldest is shed.
    pub dns_waiting_max: usize,
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
            value_bytes_max: VALUE_BYTES_MAX,
            body_bytes_max: 0,
            statements: Statements::Sanitised,
            detect_segments_max: 64,
            open_segments_max: 24,
            open_bytes_max: 24 << 10,
            tunnels_max: 3,
            failures_max: 8,
            prepared_max: 256,
            streams_max: 1_024,
            header_table_bytes_max: 64 << 10,
            answer_nanos_max: 10_000_000_000,
            dns_waiting_max: 4_096,
            request_headers: names(&[
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
                "x-request-id",
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

    /// About what is held of the connection, in bytes. Cost: a look at each request that waits.
    fn held_bytes(&self) -> usize;

    /// What the owner of the traced socket is.
    fn role(&self) -> Role;

    /// Nothing more can be learnt (upgraded, tunnelled): the kernel may stop copying payload.
    fn finished(&self) -> bool;

    /// The request that was sent last, while it is not answered. Where a protocol does not tell, or tells
    /// late, what the request makes its server do is tied to it less often.
    fn newest(&self) -> Option<Begun<'_>> {
        None
    }

    /// What the segment of this time has begun as well, where it has begun the newest: several requests may
    /// pass in one call. The oldest first.
    fn beside(&self, _time: u64) -> Vec<Begun<'_>> {
        Vec::new()
    }

    /// Messages in a row that are none of this protocol: it may have been mistaken for another.
    fn failures(&self) -> u32 {
        0
    }
}
