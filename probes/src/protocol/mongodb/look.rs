//! Tells MongoDB from one message.
//!
//! Invariant: a message counts with its head, its flags and the length of its first document; that it
//! answers nothing tells a request from an answer.

use super::message::{Begins, begins};
use crate::protocol::dialogue::Side;
use crate::protocol::opening::{Look, Opening};

/// See [`Look`].
pub(in crate::protocol) fn look(opening: &Opening<'_>) -> Look {
    let bytes = opening.bytes(opening.first());
    let cut_off = opening.cut_off(opening.first());
    let request = begins(Side::Requests, &bytes);
    if let Begins::Yes(_) = request {
        return Look::Certain(opening.asked_first());
    }
    let answer = begins(Side::Responses, &bytes);
    match answer {
        Begins::Yes(start) if start.answers != 0 => Look::Certain(opening.answered_first()),
        _ if cut_off => Look::Never,
        _ if [request, answer].contains(&Begins::Perhaps) => Look::Possible,
        _ => Look::Never,
    }
}
