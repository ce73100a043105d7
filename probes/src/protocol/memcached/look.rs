//! Tells Memcached from a command and its answer.
//!
//! Invariant: a line is a command only with what the command asks for behind it; the server has to
//! answer in its own words.

use super::{Side, binary};
use crate::protocol::dialogue::Head;
use crate::protocol::opening::{Look, Opening};

/// First words of answers.
const ANSWERS: [&[u8]; 24] = [
    b"BUSY",
    b"CLIENT_ERROR",
    b"DELETED",
    b"EN",
    b"END",
    b"ERROR",
    b"EX",
    b"EXISTS",
    b"HD",
    b"ME",
    b"MN",
    b"NF",
    b"NOT_FOUND",
    b"NOT_STORED",
    b"NS",
    b"OK",
    b"RESET",
    b"SERVER_ERROR",
    b"STAT",
    b"STORED",
    b"TOUCHED",
    b"VA",
    b"VALUE",
    b"VERSION",
];
/// Longer first lines are none.
const LINE_BYTES_MAX: usize = 4 << 10;

/// See [`Look`].
pub(in crate::protocol) fn look(opening: &Opening<'_>) -> Look {
    let (first, other) = opening.both();
    let certain = Look::Certain(opening.asked_first());
    match begins_command(&first) {
        Some(false) => return Look::Never,
        None if opening.cut_off(opening.first()) => return Look::Never,
        None => return Look::Possible,
        Some(true) => {}
    }
    if first.first() == Some(&binary::REQUEST) {
        return match binary::head(Side::Responses, &other, 0) {
            Head::Whole { .. } => certain,
            Head::More => Look::Possible,
            Head::Broken if other.is_empty() => Look::Possible,
            Head::Broken => Look::Never,
        };
    }
    let word =
        other.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    let (word, rest) = other.split_at(word);
    match rest.first() {
        _ if word.len() > 16 => Look::Never,
        None => Look::Possible,
        Some(b' ' | b'\r') if ANSWERS.contains(&word) || is_count(&first, word) => certain,
        Some(_) => Look::Never,
    }
}

/// What `incr` and `decr` come to.
fn is_count(command: &[u8], word: &[u8]) -> bool {
    let counts = command.starts_with(b"incr ") || command.starts_with(b"decr ");
    counts && !word.is_empty() && word.iter().all(u8::is_ascii_digit)
}

/// Bytes of the client begin with a command; none: too few to tell.
pub(super) fn begins_command(bytes: &[u8]) -> Option<bool> {
    if bytes.first() == Some(&binary::REQUEST) {
        return match binary::head(Side::Requests, bytes, 0) {
            Head::Whole { .. } => Some(true),
            Head::More => None,
            Head::Broken => Some(false),
        };
    }
    let Some(end) = memchr::memchr(b'\n', bytes) else {
        let word = bytes.iter().take_while(|b| b.is_ascii_lowercase() || **b == b'_').count();
        let may = word > 0 && word <= 16 && matches!(bytes.get(word), None | Some(b' ' | b'\r'));
        return if may && bytes.len() < LINE_BYTES_MAX { None } else { Some(false) };
    };
    let line = bytes.get(..end).unwrap_or_default().trim_ascii_end();
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let numbers = |at: std::ops::RangeInclusive<usize>| {
        let of = |word: &&[u8]| {
            !word.is_empty() && word.iter().all(|b| b.is_ascii_digit() || *b == b'-')
        };
        words.get(at).is_some_and(|words| words.iter().all(of))
    };
    Some(match words.as_slice() {
        [b"set" | b"add" | b"replace" | b"append" | b"prepend" | b"cas", ..] => numbers(2..=4),
        [b"get" | b"gets" | b"mg" | b"md" | b"ma" | b"me" | b"delete", key, ..] => !key.is_empty(),
        [b"gat" | b"gats", _, key, ..] => numbers(1..=1) && !key.is_empty(),
        [b"ms", _, ..] => numbers(2..=2),
        [b"incr" | b"decr" | b"touch", _, ..] => numbers(2..=2),
        [b"version" | b"stats" | b"mn" | b"flush_all" | b"verbosity", ..] => true,
        _ => false,
    })
}
