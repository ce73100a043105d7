//! Frames: how they are cut, and where one certainly begins.
//!
//! Invariant: a frame that was kept whole counts only with the byte that ends it in its place.

use super::content::Properties;
use super::method::{self, Method};
use crate::protocol::dialogue::{Head, Side};

/// How a client begins a connection.
pub(super) const HEADER: [u8; 8] = *b"AMQP\0\0\x09\x01";
/// Kind, channel, length of the payload.
const HEAD_BYTES: usize = 7;
/// What ends a frame.
const END: u8 = 0xce;
/// Brokers agree to 128 KiB unless they are told to allow more.
const PAYLOAD_BYTES_MAX: u32 = 16 << 20;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    Method,
    Properties,
    Body,
    Heartbeat,
}

/// What is at the start of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    More,
    Broken,
    /// How a connection begins, in whatever version.
    Header,
    Frame {
        holds: Holds,
        channel: u16,
        payload_bytes: u32,
    },
}

/// Reads the head of a frame.
pub(super) fn start(bytes: &[u8]) -> Start {
    if bytes.starts_with(b"AMQP") {
        return if bytes.len() < HEADER.len() { Start::More } else { Start::Header };
    }
    if HEADER.starts_with(bytes) {
        return Start::More;
    }
    let holds = match bytes.first() {
        Some(1) => Holds::Method,
        Some(2) => Holds::Properties,
        Some(3) => Holds::Body,
        Some(8) => Holds::Heartbeat,
        _ => return Start::Broken,
    };
    let Some(&[_, high, low, a, b, c, d]) = bytes.first_chunk::<HEAD_BYTES>() else {
        return Start::More;
    };
    let (channel, payload_bytes) =
        (u16::from_be_bytes([high, low]), u32::from_be_bytes([a, b, c, d]));
    let valid = match holds {
        Holds::Method => payload_bytes >= 4,
        Holds::Properties => channel > 0 && payload_bytes >= 14,
        Holds::Body => channel > 0,
        Holds::Heartbeat => channel == 0 && payload_bytes == 0,
    };
    if valid && payload_bytes <= PAYLOAD_BYTES_MAX {
        Start::Frame { holds, channel, payload_bytes }
    } else {
        Start::Broken
    }
}

/// The same, as a lane asks for it. `keep`: how much of a method, and of a body.
pub(super) fn head(bytes: &[u8], keep: [usize; 2]) -> Head {
    match start(bytes) {
        Start::More => Head::More,
        Start::Broken => Head::Broken,
        Start::Header => Head::Whole { len: HEADER.len(), body: 0, keep: 0 },
        Start::Frame { holds, payload_bytes, .. } => {
            let keep = keep[usize::from(holds == Holds::Body)];
            Head::Whole { len: HEAD_BYTES, body: u64::from(payload_bytes) + 1, keep }
        }
    }
}

/// The payload of a frame of which so much is left; none where it does not end as it has to.
pub(super) fn payload(body: &[u8], body_bytes: u64) -> Option<&[u8]> {
    if (body.len() as u64) < body_bytes {
        return Some(body);
    }
    body.split_last().filter(|(end, _)| **end == END).map(|(_, payload)| payload)
}

/// A frame that lies whole in some bytes.
pub(super) struct Whole<'a> {
    pub(super) method: Option<Method<'a>>,
    /// What is read of it is seldom anything else.
    evident: bool,
    pub(super) behind: &'a [u8],
}

/// What is found where a frame may begin.
pub(super) enum Found<'a> {
    Whole(Whole<'a>),
    /// It begins like one, and goes on.
    Begun(Holds),
    /// Too little is there to say.
    Short,
    No,
}

/// Looks for a whole frame of this side at the start of the bytes.
pub(super) fn find(side: Side, bytes: &[u8]) -> Found<'_> {
    let (holds, len) = match start(bytes) {
        Start::More => return Found::Short,
        Start::Broken | Start::Header => return Found::No,
        Start::Frame { holds, payload_bytes, .. } => (holds, payload_bytes),
    };
    let rest = bytes.get(HEAD_BYTES..).unwrap_or_default();
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    let Some((inside, behind)) = rest.split_at_checked(len.saturating_add(1)) else {
        return Found::Begun(holds);
    };
    let Some(payload) = payload(inside, inside.len() as u64) else { return Found::No };
    let method = match holds {
        Holds::Method => match method::read(side, payload) {
            Some(method) => Some(method),
            None => return Found::No,
        },
        Holds::Properties if Properties::read(payload).is_none() => return Found::No,
        _ => None,
    };
    Found::Whole(Whole { method, evident: holds != Holds::Body, behind })
}

/// Frames that are looked at from one place on: those of many places would be looked at many times.
const FRAMES_MAX: usize = 16;

/// Where in the bytes a frame of this side certainly begins: only frames come from there on, as far
/// as is looked, and one of them is whole and says more for itself than its end.
pub(super) fn resume(side: Side, bytes: &[u8]) -> Option<usize> {
    let behind_ends = memchr::memchr_iter(END, bytes).map(|at| at + 1);
    let mut places = std::iter::once(0).chain(behind_ends);
    places.find(|at| bytes.get(*at..).is_some_and(|bytes| only_frames(side, bytes)))
}

fn only_frames(side: Side, bytes: &[u8]) -> bool {
    let (mut rest, mut evident) = (bytes, false);
    for _ in 0..FRAMES_MAX {
        if rest.is_empty() {
            break;
        }
        match find(side, rest) {
            Found::No => return false,
            Found::Begun(_) | Found::Short => return evident,
            Found::Whole(whole) => {
                evident |= whole.evident;
                rest = whole.behind;
            }
        }
    }
    evident
}
