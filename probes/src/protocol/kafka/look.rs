//! Tells Kafka from a request and its answer.
//!
//! Invariant: a head alone proves nothing: the answer has to repeat the number of its request, or
//! that of one shortly before it.

use super::{Ask, HEAD_BYTES, MESSAGE_BYTES_MAX, ask};
use crate::protocol::opening::{Look, Opening};

/// Requests that may be under way when the probe comes.
const BEFORE_MAX: i32 = 256;

/// See [`Look`].
pub(in crate::protocol) fn look(opening: &Opening<'_>) -> Look {
    let (first, other) = opening.both();
    let asked = match begins_request(&first) {
        Begins::Yes(asked) => asked,
        Begins::TooShort if opening.cut_off(opening.first()) => return Look::Never,
        Begins::TooShort => return Look::Possible,
        Begins::No => return Look::Never,
    };
    let Some((head, _)) = other.split_first_chunk::<8>() else {
        return Look::Possible;
    };
    let (size, correlation) = answer_head(*head);
    let before = if opening.from_start { 0 } else { BEFORE_MAX };
    let near =
        (asked.correlation.saturating_sub(before)..=asked.correlation).contains(&correlation);
    if near && fits(size) { Look::Certain(opening.asked_first()) } else { Look::Never }
}

/// What bytes begin with.
pub(super) enum Begins {
    Yes(Ask),
    TooShort,
    No,
}

/// A request, up to the name of its client.
pub(super) fn begins_request(bytes: &[u8]) -> Begins {
    let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else { return Begins::TooShort };
    let Some(asked) = ask(*head) else { return Begins::No };
    let Some((length, name)) = bytes.get(HEAD_BYTES..).and_then(|it| it.split_first_chunk::<2>())
    else {
        return Begins::TooShort;
    };
    let length = usize::try_from(i16::from_be_bytes(*length)).unwrap_or(0);
    let seen = name.get(..length.min(name.len())).unwrap_or_default();
    let named = seen.iter().all(|byte| *byte >= b' ' && *byte != 0x7f);
    let room = u64::try_from(length).unwrap_or(u64::MAX) + 2 <= asked.body_bytes;
    if named && room && length <= 255 { Begins::Yes(asked) } else { Begins::No }
}

/// The size and the number of an answer.
pub(super) fn answer_head(head: [u8; 8]) -> (i32, i32) {
    let [a, b, c, d, rest @ ..] = head;
    (i32::from_be_bytes([a, b, c, d]), i32::from_be_bytes(rest))
}

pub(super) fn fits(size: i32) -> bool {
    (4..=MESSAGE_BYTES_MAX).contains(&size)
}
