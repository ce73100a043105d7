//! Which trace a span belongs to, and whose child it is.
//!
//! Invariants: a valid `traceparent` is honoured, or else valid B3 headers; without them, both ends of a connection derive the
//! same ids from what both see, or, where that is not certain, the ids are random: a link that
//! might be wrong is not made.

use std::net::{IpAddr, SocketAddr};

use crate::pipeline::ConnectionInfo;
use crate::protocol::{Exchange, Role};

/// The ids of one span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) parent_span_id: Option<[u8; 8]>,
    pub(crate) trace_state: String,
    pub(crate) flags: u32,
}

/// OTLP: bit 8 says that bit 9 is meant, bit 9 that the parent is in another process.
const PARENT_IS_REMOTE_KNOWN: u32 = 0x100;
const PARENT_IS_REMOTE: u32 = 0x200;
const SAMPLED: u32 = 1;

/// The two ends of a connection see it open within microseconds of each other; a tuple of
/// addresses comes again after a second at the earliest. Ends that fall on either side of a
/// boundary derive different ids: a link less, never a wrong one.
const OPENED_BUCKET_NANOS: u64 = 1_000_000_000;

/// Ids for the span of `exchange`.
pub(crate) fn ids(connection: &ConnectionInfo, exchange: &Exchange) -> Ids {
    let shared = exchange
        .ordinal
        .zip(connection.opened)
        .map(|(ordinal, opened)| Shared::new(connection, opened, ordinal));
    let span_id = shared.as_ref().map_or_else(random_span_id, |one| one.span_id(exchange.role));
    if let Some(parent) = parent(exchange) {
        let remote = match exchange.role {
            Role::Server => PARENT_IS_REMOTE,
            Role::Client => 0,
        };
        return Ids {
            trace_id: parent.trace_id,
            span_id,
            parent_span_id: Some(parent.span_id),
            trace_state: exchange.request_header("tracestate").unwrap_or_default().to_owned(),
            flags: u32::from(parent.flags) | PARENT_IS_REMOTE_KNOWN | remote,
        };
    }
    // Who began the exchange is the parent of who took it.
    let (beginner, taker) =
        if exchange.pushed() { (Role::Server, Role::Client) } else { (Role::Client, Role::Server) };
    let parent_span_id = shared
        .as_ref()
        .filter(|_| exchange.role == taker && same_node(connection))
        .map(|shared| shared.span_id(beginner));
    let remote = parent_span_id.map_or(0, |_| PARENT_IS_REMOTE_KNOWN | PARENT_IS_REMOTE);
    Ids {
        trace_id: shared.map_or_else(random_trace_id, |shared| shared.trace_id()),
        span_id,
        parent_span_id,
        trace_state: String::new(),
        flags: SAMPLED | remote,
    }
}

/// The client is certainly watched too, so that its span exists.
fn same_node(connection: &ConnectionInfo) -> bool {
    let (local, remote) = (canonical(connection.local), canonical(connection.remote));
    remote.ip().is_loopback() || local.ip() == remote.ip()
}

/// What both ends know of an exchange.
#[derive(Debug, Clone)]
struct Shared {
    words: [u64; 8],
}

impl Shared {
    fn new(connection: &ConnectionInfo, opened: u64, ordinal: u64) -> Self {
        let (local, remote) = (canonical(connection.local), canonical(connection.remote));
        // Loopback is another network in each namespace, and both ends are in the same one.
        let network = if remote.ip().is_loopback() { u64::from(connection.netns) } else { 0 };
        let (low, high) = if local <= remote { (local, remote) } else { (remote, local) };
        let [low_start, low_end] = address_words(low.ip());
        let [high_start, high_end] = address_words(high.ip());
        let ports = u64::from(low.port()) << 16 | u64::from(high.port());
        let opened = opened / OPENED_BUCKET_NANOS;
        Self { words: [low_start, low_end, high_start, high_end, ports, opened, ordinal, network] }
    }

    fn trace_id(&self) -> [u8; 16] {
        let [high, low] = [self.hash(b'T'), self.hash(b't')];
        (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
    }

    fn span_id(&self, role: Role) -> [u8; 8] {
        let id = match role {
            Role::Client => self.hash(b'c'),
            Role::Server => self.hash(b's'),
        };
        id.max(1).to_be_bytes()
    }

    /// Must be the same on every node whatever its build: written out, not the standard library's.
    fn hash(&self, purpose: u8) -> u64 {
        let start = mix(0x1cec_07e0 ^ u64::from(purpose));
        self.words.iter().fold(start, |hash, word| mix(hash.rotate_left(5) ^ mix(*word)))
    }
}

/// The finaliser of SplitMix64: each input bit moves half of the output.
fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

fn canonical(end: SocketAddr) -> SocketAddr {
    SocketAddr::new(end.ip().to_canonical(), end.port())
}

fn address_words(address: IpAddr) -> [u64; 2] {
    let bits = match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    let [a, b, c, d, e, f, g, h, rest @ ..] = bits.to_be_bytes();
    [u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::from_be_bytes(rest)]
}

fn random_trace_id() -> [u8; 16] {
    rand::random::<u128>().max(1).to_be_bytes()
}

fn random_span_id() -> [u8; 8] {
    rand::random::<u64>().max(1).to_be_bytes()
}

/// The caller's span, as the request names it.
fn parent(exchange: &Exchange) -> Option<TraceParent> {
    let header = |name| exchange.request_header(name);
    let w3c = header("traceparent").and_then(traceparent);
    let b3 = || header("b3").and_then(b3);
    let several = || {
        let sampled = header("x-b3-sampled").unwrap_or("1");
        b3_of(header("x-b3-traceid")?, header("x-b3-spanid")?, sampled)
    };
    w3c.or_else(b3).or_else(several)
}

/// Reads a `b3` header: trace, span, and perhaps whether it is sampled and whose child it is.
fn b3(value: &str) -> Option<TraceParent> {
    let mut parts = value.trim().split('-');
    let (trace_id, span_id) = (parts.next()?, parts.next()?);
    b3_of(trace_id, span_id, parts.next().unwrap_or("1"))
}

fn b3_of(trace_id: &str, span_id: &str, sampled: &str) -> Option<TraceParent> {
    // Eight bytes are the last ones of a trace's sixteen.
    let short = || hex::<8>(trace_id).map(|id| u128::from(u64::from_be_bytes(id)).to_be_bytes());
    let trace_id = hex::<16>(trace_id).or_else(short)?;
    let span_id = hex::<8>(span_id)?;
    let flags = u8::from(matches!(sampled, "1" | "d" | "true"));
    let valid = trace_id != [0; 16] && span_id != [0; 8];
    valid.then_some(TraceParent { trace_id, span_id, flags })
}

/// What a request says of its caller's span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TraceParent {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    flags: u8,
}

/// Reads a `traceparent`; none where the recommendation says to ignore it.
fn traceparent(value: &str) -> Option<TraceParent> {
    let mut parts = value.trim().split('-');
    let version = parts.next()?;
    let [trace_id, span_id, flags] = [parts.next()?, parts.next()?, parts.next()?];
    let more = parts.next().is_some();
    let [version] = hex::<1>(version)?;
    if version == 0xff || version == 0 && more {
        return None;
    }
    let (trace_id, span_id, [flags]) = (hex::<16>(trace_id)?, hex::<8>(span_id)?, hex::<1>(flags)?);
    let valid = trace_id != [0; 16] && span_id != [0; 8];
    valid.then_some(TraceParent { trace_id, span_id, flags })
}

/// Lower-case hex of exactly `N` bytes.
fn hex<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let digits = digits.as_bytes();
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    if pairs.len() != N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: the examples of the W3C recommendation and ways to get them wrong.
    /// Guarantees: exactly the valid ones are honoured.
    #[test]
    fn traceparents() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let read = traceparent(good).unwrap();
        assert_eq!(read.trace_id[..2], [0x4b, 0xf9]);
        assert_eq!((read.span_id[7], read.flags), (0xb7, 1));
        assert!(traceparent(&good.replacen("00", "cc", 1)).is_some());
        assert!(traceparent(&format!("{}-more", good.replacen("00", "cc", 1))).is_some());
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        ] {
            assert_eq!(traceparent(bad), None, "{bad}");
        }
    }

    /// Scenario: B3 headers of one and of two parts, with traces of 8 and 16 bytes, and bad ones.
    /// Guarantees: exactly the valid ones are honoured.
    #[test]
    fn b3_headers() {
        let long = "80f198ee56343ba864fe8b2a57d3eff7";
        let read = b3(&format!("{long}-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90")).unwrap();
        assert_eq!((read.trace_id[0], read.span_id[7], read.flags), (0x80, 0xd1, 1));
        let read = b3_of("64fe8b2a57d3eff7", "e457b5a2e4d86bd1", "0").unwrap();
        assert_eq!((read.trace_id[7..10].to_vec(), read.flags), (vec![0, 0x64, 0xfe], 0));
        for bad in ["0", "", "80f1-e457b5a2e4d86bd1", "64fe8b2a57d3eff7-0000000000000000-1"] {
            assert_eq!(b3(bad), None, "{bad}");
        }
    }
}
