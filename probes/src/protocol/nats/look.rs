//! Tells NATS from the greeting of its server, or from messages.
//!
//! Invariant: a line alone proves nothing but where only NATS has such a one: a message counts with
//! the end of its payload where that has to be.

use super::line::{END, Line, Operation, read};
use crate::protocol::dialogue::Side;
use crate::protocol::opening::{Look, Opening};

/// See [`Look`].
pub(in crate::protocol) fn look(opening: &Opening<'_>) -> Look {
    let bytes = opening.bytes(opening.first());
    let cut_off = opening.cut_off(opening.first());
    let sides =
        [(Side::Requests, opening.asked_first()), (Side::Responses, opening.answered_first())];
    let mut possible = false;
    for (side, role) in sides {
        match begins(side, &bytes) {
            Begins::Yes => return Look::Certain(role),
            Begins::Perhaps => possible |= !cut_off,
            Begins::No => {}
        }
    }
    if possible { Look::Possible } else { Look::Never }
}

/// What bytes begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begins {
    Yes,
    Perhaps,
    No,
}

/// Bytes of this side begin with operations, of which one leaves no doubt.
pub(super) fn begins(side: Side, bytes: &[u8]) -> Begins {
    let mut rest = bytes;
    // A line behind a few others that anybody might have sent.
    for _ in 0..16 {
        match read(side, rest) {
            Line::More => return Begins::Perhaps,
            Line::Broken => return Begins::No,
            Line::Whole(operation, len) => {
                let behind = rest.get(len..).unwrap_or_default();
                match certain(&operation, behind) {
                    Begins::Perhaps => {}
                    known => return known,
                }
                let skip = usize::try_from(operation.behind()).unwrap_or(usize::MAX);
                let Some(next) = behind.get(skip..) else { return Begins::Perhaps };
                rest = next;
            }
        }
    }
    Begins::Perhaps
}

/// Bytes begin with the line of a message.
pub(super) fn is_message(side: Side, bytes: &[u8]) -> bool {
    matches!(read(side, bytes), Line::Whole(Operation::Message(_), _))
}

fn certain(operation: &Operation<'_>, behind: &[u8]) -> Begins {
    let names = |json: &[u8], name: &[u8]| memchr::memmem::find(json, name).is_some();
    let yes = |it| if it { Begins::Yes } else { Begins::No };
    match operation {
        Operation::Info(json) => yes(names(json, b"\"server_id\"")),
        Operation::Connect(json) => yes(names(json, b"\"verbose\"")),
        Operation::Message(message) => {
            let at = usize::try_from(message.bytes).unwrap_or(usize::MAX);
            match behind.get(at..).and_then(|end| end.first_chunk::<2>()) {
                Some(end) => yes(end == END),
                None => Begins::Perhaps,
            }
        }
        _ => Begins::Perhaps,
    }
}
