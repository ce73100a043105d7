//! Tells MySQL from the greeting of the server, or from a command and its answer.
//!
//! Invariant: amid a conversation a packet has to be as long as it says, with a statement in it, and
//! the answer has to be numbered behind it.

use super::{command, packed};
use crate::protocol::opening::{Look, Opening};
use crate::protocol::sql::{Dialect, statement};

/// Packets that need more than one call are longer.
const LARGE_BYTES: u64 = 1 << 10;
/// Versions are shorter.
const VERSION_BYTES_MAX: usize = 64;

/// See [`Look`].
pub(in crate::protocol) fn look(opening: &Opening<'_>) -> Look {
    let (first, other) = opening.both();
    let cut_off = opening.cut_off(opening.first());
    if opening.from_start {
        return match greeting(&first) {
            Some(true) => Look::Certain(opening.answered_first()),
            None if !cut_off => Look::Possible,
            _ => Look::Never,
        };
    }
    if cut_off {
        return Look::Never;
    }
    let Some(body) = packet(&first, 0) else {
        return if first.len() < 5 && first.get(3).is_none_or(|number| *number == 0) {
            Look::Possible
        } else {
            Look::Never
        };
    };
    if asks(body) { answer_tells(opening, answers(&other)) } else { Look::Never }
}

/// The same of a connection whose packets are compressed, and whose login nobody has seen.
pub(in crate::protocol) fn look_packed(opening: &Opening<'_>) -> Look {
    if opening.from_start || opening.cut_off(opening.first()) {
        return Look::Never;
    }
    let (first, other) = opening.both();
    match packed::sole(&first, 0) {
        Some(inside) if packet(&inside, 0).is_some_and(asks) => {
            answer_tells(opening, packed::first(&other, 1).map_or(Some(false), |it| answers(&it)))
        }
        _ => Look::Never,
    }
}

/// Behind what is a request if the answer is one.
fn answer_tells(opening: &Opening<'_>, answers: Option<bool>) -> Look {
    match answers {
        Some(true) => Look::Certain(opening.asked_first()),
        Some(false) => Look::Never,
        None => Look::Possible,
    }
}

/// Bytes begin with the first packet of an answer; none: too few to tell.
fn answers(bytes: &[u8]) -> Option<bool> {
    let &[a, b, c, number, kind] = bytes.first_chunk::<5>()?;
    let length = u32::from_le_bytes([a, b, c, 0]);
    let fits = match kind {
        0x00 => length >= 7,
        0xff => length >= 3,
        0xfb => length > 1,
        _ => length == 1 || length <= 4 && kind >= 0xfc,
    };
    Some(number == 1 && fits)
}

/// A greeting of version 10; none: too few bytes to tell.
fn greeting(bytes: &[u8]) -> Option<bool> {
    let Some((head, rest)) = bytes.split_at_checked(5) else {
        return bytes.get(2..4).is_some_and(|part| part != [0, 0]).then_some(false);
    };
    let &[_, _, 0, 0, 0x0a] = head else { return Some(false) };
    let version = rest.iter().take_while(|byte| **byte != 0).count();
    let text = rest.get(..version).unwrap_or_default();
    if version > VERSION_BYTES_MAX || !text.iter().all(u8::is_ascii_graphic) {
        return Some(false);
    }
    if version == rest.len() {
        return None;
    }
    Some(text.first().is_some_and(u8::is_ascii_digit) && text.contains(&b'.'))
}

/// The body of the packet with this number that all the bytes are.
fn packet(bytes: &[u8], number: u8) -> Option<&[u8]> {
    let (&[a, b, c, found], body) = bytes.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes([a, b, c, 0])).ok()?;
    (found == number && length == body.len() && length > 0).then_some(body)
}

/// A statement, the execution of a prepared one, or a sign of life.
fn asks(body: &[u8]) -> bool {
    match body {
        [command::QUERY | command::PREPARE, text @ ..] => {
            let text = super::without_attributes(text);
            statement(text, false, Dialect::MySql, false).operation.is_some()
        }
        // Number, flags, and the number of executions, which is always one.
        [command::EXECUTE, _, _, _, _, 0..=1, 1, 0, 0, 0, ..] => true,
        // All that some connections of a pool carry.
        [command::PING] => true,
        _ => false,
    }
}

/// Bytes of the client begin with a command, or are the head of one.
pub(super) fn begins_command(bytes: &[u8]) -> bool {
    let Some((&[a, b, c, number], body)) = bytes.split_first_chunk::<4>() else { return false };
    let length = u32::from_le_bytes([a, b, c, 0]);
    let known = |command: u8| {
        let others = [
            command::INIT_DB,
            command::QUERY,
            command::PREPARE,
            command::EXECUTE,
            command::BULK_EXECUTE,
            command::FETCH,
            command::CLOSE,
            command::SEND_LONG_DATA,
        ];
        others.contains(&command) || command::plain(command).is_some()
    };
    // All of it, its head alone, or the beginning of a large one.
    let (length, here) = (u64::from(length), body.len() as u64);
    let fits = here == length || here == 0 || length > here && here >= LARGE_BYTES;
    number == 0 && length > 0 && fits && body.first().is_none_or(|command| known(*command))
}
