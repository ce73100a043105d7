//! Tells HTTP/2 by its preface, or amid a connection by frames.
//!
//! Invariant: without a preface it is certain only where a whole header block was read that begins
//! a request or a response.

use super::frame::{self, END_HEADERS, Frame, HEAD_BYTES, Kind, PREFACE, SETTINGS};
use super::lane::{Event, Lane};
use super::message::Rules;
use crate::protocol::opening::{Look, Opening};
use crate::protocol::{Limits, Role};

/// Looks at both directions: a server may speak before the preface has come.
pub(in crate::protocol) fn look(opening: &Opening<'_>) -> Look {
    let first = opening.first();
    let (asked, answered) = (opening.asked_first(), opening.answered_first());
    let bytes = opening.bytes(first);
    let other = opening.bytes(first.opposite());
    let more = !opening.cut_off(first);
    if frame::preface(&bytes) && (more || bytes.len() >= PREFACE.len()) {
        return certain_if(bytes.len() >= PREFACE.len(), asked);
    }
    if frame::preface(&other) && frame::frames(&bytes) {
        return certain_if(other.len() >= PREFACE.len(), answered);
    }
    match in_frames(&bytes) {
        Some(Asks::Requests) => Look::Certain(asked),
        Some(Asks::Responses) => Look::Certain(answered),
        None if more && (frame::frames(&bytes) || begins(opening, &bytes)) => Look::Possible,
        None => Look::Never,
    }
}

fn certain_if(whole: bool, role: Role) -> Look {
    if whole { Look::Certain(role) } else { Look::Possible }
}

/// The beginning of a preface, or of the settings with which a server begins.
fn begins(opening: &Opening<'_>, bytes: &[u8]) -> bool {
    let settings = bytes.len() < HEAD_BYTES
        && bytes.starts_with(&[0])
        && bytes.get(3).is_none_or(|&kind| kind == SETTINGS);
    !bytes.is_empty() && PREFACE.starts_with(bytes) || opening.from_start && settings
}

/// What header blocks tell of the side that sends them.
enum Asks {
    Requests,
    Responses,
}

/// Reads frames up to the first header block that says what it is.
fn in_frames(bytes: &[u8]) -> Option<Asks> {
    if !has_whole_block(bytes) {
        return None;
    }
    let rules = Rules::new(&Limits::default());
    let mut lane = Lane::new(&rules, false, false);
    lane.find(bytes, false);
    let mut input = bytes;
    while let Some(event) = lane.next(&mut input, 0, &rules) {
        match event {
            Event::Message { message: Some(message), .. } if message.asks() => {
                return Some(Asks::Requests);
            }
            Event::Message { message: Some(message), .. } if message.status.is_some() => {
                return Some(Asks::Responses);
            }
            Event::Broken => return None,
            _ => {}
        }
    }
    None
}

/// Plausible frames, one of which holds a header block.
fn has_whole_block(mut bytes: &[u8]) -> bool {
    if !frame::frames(bytes) {
        return false;
    }
    while let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() {
        let frame = Frame::read(*head);
        let Some(behind) = rest.get(frame.len as usize..) else { return false };
        if matches!(frame.kind, Kind::Headers | Kind::Continuation) && frame.has(END_HEADERS) {
            return true;
        }
        bytes = behind;
    }
    false
}
