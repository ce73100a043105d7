//! Tells PostgreSQL from how a client begins, or from what both ends say.
//!
//! Invariant: the first message of a connection leaves no doubt; amid one, messages of the client
//! have to end where the bytes end, and the server has to answer in messages too.

use super::message::{Message, Startup};
use crate::protocol::dialogue::{Head, Side};
use crate::protocol::opening::{Look, Opening};

/// How far bytes are messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Walk {
    /// To their end.
    Closed,
    /// To somewhere in the last one.
    Partial,
    /// They are not.
    Other,
}

/// See [`Look`].
pub(in crate::protocol) fn look(opening: &Opening<'_>) -> Look {
    let (first, other) = opening.both();
    let cut_off = opening.cut_off(opening.first());
    if opening.from_start {
        return match Startup::head(&first) {
            Head::Whole { len, body, .. } if first.len() > len || body == 0 => {
                Look::Certain(opening.asked_first())
            }
            Head::Whole { .. } | Head::More if !cut_off => Look::Possible,
            _ => Look::Never,
        };
    }
    if cut_off {
        return Look::Never;
    }
    match asks(&first) {
        Walk::Other => Look::Never,
        Walk::Partial => Look::Possible,
        Walk::Closed if other.is_empty() => Look::Possible,
        Walk::Closed => match walk(Side::Responses, &other) {
            (Walk::Other, _) | (Walk::Closed, 0) => Look::Never,
            (Walk::Partial, 0) => Look::Possible,
            _ => Look::Certain(opening.asked_first()),
        },
    }
}

/// Bytes of a client, which begin with a query or a part of one.
pub(super) fn asks(bytes: &[u8]) -> Walk {
    let begins = match bytes {
        [b'Q', 0, ..] => bytes.get(5).is_none_or(|byte| byte.is_ascii() && *byte != 0),
        [b'P' | b'B' | b'D' | b'E' | b'C' | b'S', 0, ..] => true,
        [b'Q' | b'P' | b'B'] => true,
        _ => false,
    };
    if !begins {
        return Walk::Other;
    }
    walk(Side::Requests, bytes).0
}

/// How far bytes are messages, and how many are whole.
fn walk(side: Side, bytes: &[u8]) -> (Walk, u32) {
    let (mut rest, mut whole) = (bytes, 0);
    while !rest.is_empty() {
        match Message::head(side, rest, |_| 0) {
            Head::Broken => return (Walk::Other, whole),
            Head::More => return (Walk::Partial, whole),
            Head::Whole { len, body, .. } => {
                let behind = usize::try_from(body).ok().and_then(|body| rest.get(len + body..));
                let Some(behind) = behind else { return (Walk::Partial, whole) };
                rest = behind;
                whole += 1;
            }
        }
    }
    (Walk::Closed, whole)
}
