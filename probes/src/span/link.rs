//! Which trace a span belongs to, and whose child it is.
//!
//! Invariants: a valid `traceparent` is honoured, or else valid B3 headers; without them, both ends of
//! a connection derive the same ids from what both see, or, where that is not certain, the ids are
//! random: a link that might be wrong is not made.

pub(crate) mod headers;

use super::attribute::Attribute;
use super::wire::WireSpan;
use crate::pipeline::ConnectionInfo;
use crate::protocol::Role;

/// What says by what a span was given its parent, and what a link of it is.
const HOW: &str = "icecore.link";

/// The ids of one span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) parent: Option<Parent>,
    /// Those of `traceparent`.
    pub(crate) flags: u8,
    /// By what the parent, or what may be it, was told; none where the wire says it.
    pub(crate) how: Option<&'static str>,
    pub(crate) links: Vec<Link>,
}

/// The span above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parent {
    pub(crate) span_id: [u8; 8],
    /// It is in another process.
    pub(crate) remote: bool,
}

/// A span that belongs to this one, and whose trace it may not share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) what: &'static str,
}

/// OTLP: bit 8 says that bit 9 is meant, bit 9 that the parent is in another process.
const PARENT_IS_REMOTE_KNOWN: u32 = 0x100;
const PARENT_IS_REMOTE: u32 = 0x200;

impl Ids {
    /// Puts them on their span.
    pub(crate) fn write(&self, span: &mut WireSpan) {
        let remote = self.parent.map_or(0, |parent| {
            PARENT_IS_REMOTE_KNOWN | if parent.remote { PARENT_IS_REMOTE } else { 0 }
        });
        let parent = self.parent.as_ref().map(|parent| parent.span_id.as_slice());
        span.ids(&self.trace_id, &self.span_id, parent, u32::from(self.flags) | remote);
        if let Some(how) = self.how {
            span.attribute(&Attribute::text(HOW, how));
        }
        for Link { trace_id, span_id, what } in &self.links {
            span.link(trace_id, span_id, &Attribute::text(HOW, *what));
        }
    }
}

/// The two ends of a connection see it open within milliseconds of each other, on clocks that may be
/// as far apart. Ends that fall on either side of a boundary derive different ids: a link less, never
/// a wrong one. With the time, what TCP gave a connection by chance is unique for good.
const OPENED_BUCKET_NANOS: u64 = 1 << 36;

/// What both ends know of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shared {
    pub(crate) sequences: u64,
    pub(crate) ordinal: u64,
    opened_bucket: u64,
}

impl Shared {
    /// None where one end may know what the other does not.
    pub(crate) fn new(connection: &ConnectionInfo, ordinal: Option<u64>) -> Option<Self> {
        let opened_bucket = connection.opened? / OPENED_BUCKET_NANOS;
        Some(Self { sequences: connection.sequences?, ordinal: ordinal?, opened_bucket })
    }

    pub(crate) fn trace_id(&self) -> [u8; 16] {
        let [high, low] = [self.hash(b'T'), self.hash(b't')];
        (u128::from(high) << 64 | u128::from(low)).max(1).to_be_bytes()
    }

    pub(crate) fn span_id(&self, role: Role) -> [u8; 8] {
        let id = match role {
            Role::Client => self.hash(b'c'),
            Role::Server => self.hash(b's'),
        };
        id.max(1).to_be_bytes()
    }

    /// Must be the same on every node whatever its build: written out, not the standard library's.
    fn hash(&self, purpose: u8) -> u64 {
        let start = mix(0x1cec_07e0 ^ u64::from(purpose));
        let words = [self.sequences, self.opened_bucket, self.ordinal];
        words.iter().fold(start, |hash, word| mix(hash.rotate_left(5) ^ mix(*word)))
    }
}

/// The finaliser of SplitMix64: each input bit moves half of the output.
fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

pub(crate) fn random_trace_id() -> [u8; 16] {
    rand::random::<u128>().max(1).to_be_bytes()
}

pub(crate) fn random_span_id() -> [u8; 8] {
    rand::random::<u64>().max(1).to_be_bytes()
}
