//! Tells MQTT from the packet that begins a connection, or from a question and its answer.
//!
//! Invariant: both ends send messages in the same way, so that amid a connection only what one end
//! alone may send, and the other has answered, tells who is who.

use super::packet::{Fields, Kind, Start, start};
use crate::protocol::dialogue::Side;
use crate::protocol::opening::{Look, Opening};

/// See [`Look`].
pub(in crate::protocol) fn look(opening: &Opening<'_>) -> Look {
    let (first, other) = opening.both();
    let cut_off = opening.cut_off(opening.first());
    let Start::Whole { kind, head_bytes, body_bytes } = start(Side::Requests, &first) else {
        let more = !cut_off && start(Side::Requests, &first) == Start::More;
        return if more { Look::Possible } else { Look::Never };
    };
    let body = first.get(head_bytes..).unwrap_or_default();
    match kind {
        Kind::Connect => match version(body) {
            Some(Some(_)) => Look::Certain(opening.asked_first()),
            None if !cut_off => Look::Possible,
            _ => Look::Never,
        },
        Kind::Ping | Kind::Subscribe | Kind::Unsubscribe => {
            let whole = body.len() >= usize::try_from(body_bytes).unwrap_or(usize::MAX);
            match answered(kind, body, &other) {
                Some(true) if whole => Look::Certain(opening.asked_first()),
                None if !cut_off => Look::Possible,
                _ => Look::Never,
            }
        }
        _ => Look::Never,
    }
}

/// The version that a client wishes for; the outer none: more is needed.
pub(super) fn version(body: &[u8]) -> Option<Option<u8>> {
    let names: [(&[u8], &[u8]); 2] = [(b"\0\x04MQTT", &[4, 5]), (b"\0\x06MQIsdp", &[3])];
    for (name, versions) in names {
        let begins = body.iter().zip(name).all(|(byte, wanted)| byte == wanted);
        if begins {
            // A bridge sets the highest bit.
            let version = body.get(name.len()).map(|version| version & 0x7f)?;
            return Some(versions.contains(&version).then_some(version));
        }
    }
    Some(None)
}

/// The other end has answered this.
fn answered(kind: Kind, asked: &[u8], other: &[u8]) -> Option<bool> {
    let Start::Whole { kind: answer, head_bytes, .. } = start(Side::Responses, other) else {
        let more = start(Side::Responses, other) == Start::More;
        return if more { None } else { Some(false) };
    };
    let id = |body: &[u8]| Fields::new(body).u16();
    let same = || id(asked) == id(other.get(head_bytes..).unwrap_or_default());
    Some(match (kind, answer) {
        (Kind::Ping, Kind::Pong) => true,
        (Kind::Subscribe, Kind::Subscribed) | (Kind::Unsubscribe, Kind::Unsubscribed) => same(),
        _ => false,
    })
}
