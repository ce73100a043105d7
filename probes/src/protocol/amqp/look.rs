//! Tells AMQP 0-9-1 from the header that begins a connection, or from a method amid it.
//!
//! Invariant: amid a connection, a method that only one end sends tells which end is the broker's,
//! and counts only where its arguments fill its frame.

use super::frame::{Found, HEADER, Holds, Start, find, start};
use crate::protocol::dialogue::Side;
use crate::protocol::opening::{Look, Opening};

/// Frames of either end that are looked behind.
const FRAMES_MAX: usize = 16;

/// See [`Look`].
pub(in crate::protocol) fn look(opening: &Opening<'_>) -> Look {
    let bytes = opening.bytes(opening.first());
    let cut_off = opening.cut_off(opening.first());
    if start(&bytes) == Start::Header {
        let known = bytes.starts_with(&HEADER);
        return if known { Look::Certain(opening.asked_first()) } else { Look::Never };
    }
    let sides =
        [(Side::Requests, opening.asked_first()), (Side::Responses, opening.answered_first())];
    let mut possible = false;
    for (side, role) in sides {
        match begins(side, &bytes) {
            Some(true) => return Look::Certain(role),
            Some(false) => {}
            None => possible |= !cut_off,
        }
    }
    if possible { Look::Possible } else { Look::Never }
}

/// Frames of this side begin here; none: more of them will tell.
fn begins(side: Side, bytes: &[u8]) -> Option<bool> {
    let mut rest = bytes;
    for _ in 0..FRAMES_MAX {
        match find(side, rest) {
            Found::No => return Some(false),
            // The middle of a message looks like much else.
            Found::Begun(Holds::Body) if rest.len() == bytes.len() => return Some(false),
            Found::Begun(_) | Found::Short => return None,
            Found::Whole(whole) => {
                if whole.method.is_some_and(|method| method.tells_the_side()) {
                    return Some(true);
                }
                rest = whole.behind;
            }
        }
    }
    Some(false)
}
