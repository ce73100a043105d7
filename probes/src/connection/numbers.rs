//! TCP's numbers of bytes: the same at both ends, whoever came late and whatever translates addresses.
//!
//! Invariant: what is not numbered has no place, rather than a wrong one.

use icecore_probe_events::{FLAG_PLAIN, Piece};

use super::table::direction;
use crate::protocol::Direction;

/// Of the first byte of a piece, and of the next one that passes the other way; none inside TLS.
pub(super) fn place_of(piece: &Piece) -> Option<u64> {
    let [received, sent] = piece.sequences;
    let (this, other) = match direction(piece) {
        Direction::Inbound => (received, sent),
        Direction::Outbound => (sent, received),
    };
    let number = |first: u32, passed: u64| u64::from(first).wrapping_add(passed) & 0xffff_ffff;
    let place = number(this, piece.position) << 32 | number(other, piece.position_other);
    // What is inside TLS is not numbered.
    (piece.flags & FLAG_PLAIN == 0).then_some(place)
}

/// Of the first bytes of a connection, in the same order at both ends.
pub(super) fn sequences(piece: &Piece) -> Option<u64> {
    let [sent, received] = piece.sequences;
    let (low, high) = (sent.min(received), sent.max(received));
    (high > 0).then_some(u64::from(low) << 32 | u64::from(high))
}
