//! Tells Kafka from a request and its answer.
//!
//! Invariant: a head alone proves nothing: the answer has to repeat the number of its request, or
//! that of one shortly before it. Records that want no answer have to be followed by more of them, under the next number.

use super::field::Fields;
use super::{Ask, HEAD_BYTES, MESSAGE_BYTES_MAX, ask, body};
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
        let unanswered = opening.from_start && other.is_empty() && unanswered(&first);
        return if unanswered { Look::Certain(opening.asked_first()) } else { Look::Possible };
    };
    let (size, correlation) = answer_head(*head);
    let before = if opening.from_start { 0 } else { BEFORE_MAX };
    let near =
        (asked.correlation.saturating_sub(before)..=asked.correlation).contains(&correlation);
    if near && fits(size) { Look::Certain(opening.asked_first()) } else { Look::Never }
}

/// Records that want no answer, and behind them more: some clients send nothing else on a connection.
fn unanswered(bytes: &[u8]) -> bool {
    let Some((first, behind)) = unanswered_records(bytes) else { return false };
    let next = unanswered_records(behind).map(|(next, _)| next);
    let follows = |next: Ask| next.correlation == first.correlation.wrapping_add(1);
    next.is_some_and(|next| next.version == first.version && follows(next))
}

/// A request to store records that wants no answer, as far as its wish, and what is behind it.
fn unanswered_records(bytes: &[u8]) -> Option<(Ask, &[u8])> {
    let Begins::Yes(asked) = begins_request(bytes) else { return None };
    let mut fields = Fields::new(bytes.get(HEAD_BYTES..)?, false);
    fields.text()?;
    let mut fields = fields.flexible(asked.api.flexible(asked.version));
    fields.tags()?;
    let wished = body::request(asked.api, asked.version, fields).unanswered;
    let length = HEAD_BYTES + usize::try_from(asked.body_bytes).ok()?;
    wished.then(|| (asked, bytes.get(length..).unwrap_or_default()))
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
