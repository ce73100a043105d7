//! Tells Cassandra's protocol from a request, from an answer, from a segment, or from both ends.
//!
//! Invariant: a head alone proves nothing: what follows on it has to be what it says, or the answer to
//! it; a segment is told by the checksum of its head, and by the message in it.

use super::envelope::{HEAD_BYTES, Kind, SEGMENTED, Start, start};
use super::field::Fields;
use super::request::{consistency, id, startup};
use super::segment::{Form, header};
use super::unpacked::{self, Method};
use crate::protocol::dialogue::Side;
use crate::protocol::opening::{Look, Opening};

/// How much of a body has to be there to tell.
const TOLD_BYTES: usize = 64;
/// The same of the options that a connection begins with.
const OPTIONS_BYTES: usize = 512;
/// No statement is shorter.
const TEXT_BYTES_MIN: usize = 4;
/// Longer bodies are not unpacked to tell.
const PACKED_BYTES_MAX: usize = 64 << 10;
/// What a client can be told of without asking.
const EVENTS: [&str; 3] = ["TOPOLOGY_CHANGE", "STATUS_CHANGE", "SCHEMA_CHANGE"];

/// See [`Look`].
pub(in crate::protocol) fn look(opening: &Opening<'_>) -> Look {
    let (first, other) = opening.both();
    let role = |side: Side| match side {
        Side::Requests => opening.asked_first(),
        Side::Responses => opening.answered_first(),
    };
    for form in [Form::Plain, Form::Packed] {
        if let Some(side) = begins_segment(form, &first) {
            return Look::Certain(role(side));
        }
    }
    let cut_off = opening.cut_off(opening.first());
    let [request, answer] = [Side::Requests, Side::Responses].map(|side| begins(side, &first));
    match (request, answer) {
        (Begins::Yes(_), _) => Look::Certain(opening.asked_first()),
        (_, Begins::Yes(_)) => Look::Certain(opening.answered_first()),
        (Begins::Perhaps(Some(asked)), _) if !other.is_empty() => match start_of(&other) {
            Some(start) if start.stream == asked.stream => Look::Certain(opening.asked_first()),
            Some(_) => Look::Never,
            None if other.len() < HEAD_BYTES => Look::Possible,
            None => Look::Never,
        },
        (Begins::Perhaps(Some(_)), _) => Look::Possible,
        (Begins::Perhaps(None), _) | (_, Begins::Perhaps(None)) if !cut_off => Look::Possible,
        _ => Look::Never,
    }
}

/// The head of an answer.
fn start_of(bytes: &[u8]) -> Option<Start> {
    start(Side::Responses, *bytes.first_chunk()?)
}

/// What bytes begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begins {
    /// A message, and its body bears that out.
    Yes(Start),
    /// What looks like the head of one, of which the body tells too little; none: a part of a head.
    Perhaps(Option<Start>),
    No,
}

/// A message of this side that travels by itself.
pub(super) fn begins(side: Side, bytes: &[u8]) -> Begins {
    let Some((head, body)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
        let version = bytes.first().map_or(3, |byte| byte & 0x7f);
        let way = bytes.first().is_none_or(|byte| (byte & 0x80 != 0) == (side == Side::Responses));
        let plausible = (3..=5).contains(&version) && way;
        return if plausible { Begins::Perhaps(None) } else { Begins::No };
    };
    let Some(start) = start(side, *head) else { return Begins::No };
    if start.compressed() {
        return begins_packed(side, start, body);
    }
    match start.fields(side, body).and_then(|fields| fits(start, fields)) {
        Some(true) => Begins::Yes(start),
        Some(false) => Begins::No,
        None => {
            let needed = if start.kind == Kind::Startup { OPTIONS_BYTES } else { TOLD_BYTES };
            let all = usize::try_from(start.body_bytes).unwrap_or(usize::MAX);
            let enough = body.len() >= needed.min(all) && all > 0;
            if enough { Begins::No } else { Begins::Perhaps(Some(start)) }
        }
    }
}

/// The same of one whose body is compressed: that says something once it is whole.
fn begins_packed(side: Side, start: Start, body: &[u8]) -> Begins {
    let packed = usize::try_from(start.body_bytes).ok().and_then(|len| body.get(..len));
    let told = |bytes: &[u8]| fits(start, start.fields(side, bytes)?);
    match packed {
        Some([]) => Begins::No,
        Some(packed) => {
            // Cheap first: this is asked at every place after a loss.
            let mut begun = Method::ALL.iter().filter_map(|one| one.unpack(packed, OPTIONS_BYTES));
            if begun.all(|begun| told(&begun.bytes) == Some(false)) {
                return Begins::No;
            }
            let unpacked = unpacked::body(None, packed, PACKED_BYTES_MAX);
            match unpacked.and_then(|(_, body)| told(&body)) {
                Some(true) => Begins::Yes(start),
                Some(false) => Begins::No,
                None => Begins::Perhaps(Some(start)),
            }
        }
        None => Begins::Perhaps(Some(start)),
    }
}

/// Whether a body is what its head says. None: too little of it is there, or it says too little.
fn fits(start: Start, mut fields: Fields<'_>) -> Option<bool> {
    let body_bytes = start.body_bytes;
    let within = |len: i32| u64::try_from(len).is_ok_and(|len| len <= body_bytes);
    match start.kind {
        Kind::Options | Kind::Ready => (body_bytes > 0).then_some(false),
        Kind::Startup => startup(fields).versioned.then_some(true),
        Kind::Register => {
            let some = fields.u16()? > 0;
            Some(some && EVENTS.contains(&fields.string()?))
        }
        Kind::Event => Some(EVENTS.contains(&fields.string()?)),
        Kind::Query | Kind::Prepare => {
            let text = fields.text()?;
            let readable = |byte: &u8| *byte >= b' ' || byte.is_ascii_whitespace();
            if !text.bytes.iter().take(TOLD_BYTES).all(readable) {
                return Some(false);
            }
            (text.bytes.len() >= TEXT_BYTES_MIN).then_some(true)
        }
        Kind::Execute => {
            id(&mut fields)?;
            if start.version >= SEGMENTED {
                fields.short()?;
            }
            Some(consistency(fields.u16()?).is_some())
        }
        Kind::Batch => {
            let (kind, size, one) = (fields.u8()?, fields.u16()?, fields.u8()?);
            Some(kind <= 2 && size > 0 && one <= 1 && body_bytes > 12)
        }
        Kind::Response | Kind::Challenge | Kind::Success => {
            let len = fields.i32()?;
            Some(
                len == -1 && body_bytes == 4
                    || i64::from(len) + 4 == i64::try_from(body_bytes).ok()?,
            )
        }
        Kind::Result => {
            let kind = fields.i32()?;
            Some((1..=5).contains(&kind))
        }
        Kind::Error => {
            let (code, text) = (fields.i32()?, fields.u16()?);
            Some((0..=0xffff).contains(&code) && within(i32::from(text)))
        }
        Kind::Supported => {
            let count = fields.u16()?;
            let named =
                fields.string()?.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
            Some(count > 0 && named)
        }
        Kind::Authenticate => Some(fields.string()?.contains("uthenticator")),
    }
}

/// Whose message begins a segment that is here, with its end in the same one.
pub(super) fn begins_segment(form: Form, bytes: &[u8]) -> Option<Side> {
    let header = header(form, bytes).filter(|header| header.contained)?;
    let carried = header.carried(bytes.get(form.head_bytes()..)?, HEAD_BYTES)?;
    let head = carried.first_chunk::<HEAD_BYTES>()?;
    let fits = |start: Start| start.body_bytes + HEAD_BYTES as u64 <= header.carried_bytes();
    [Side::Requests, Side::Responses].into_iter().find(|side| start(*side, *head).is_some_and(fits))
}
