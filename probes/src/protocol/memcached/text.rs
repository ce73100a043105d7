//! Lines, some of them with a value behind.
//!
//! Invariant: a line tells its own end and that of its value; one that does not is none.

use super::{Answers, Command, Mark, Memcached, Queue, Read, SHOWN_MAX, Side, Unit, Waiting};
use crate::protocol::dialogue::Head;

/// A line of the server without a value is shorter; one of a client has at most so many keys.
const LINE_BYTES_MAX: usize = 32 << 10;
/// Values are smaller.
const VALUE_BYTES_MAX: u64 = 1 << 30;

pub(super) fn head(side: Side, bytes: &[u8], keep: usize) -> Head {
    let Some(end) = memchr::memchr(b'\n', bytes) else {
        return if bytes.len() < LINE_BYTES_MAX && is_text(bytes) {
            Head::More
        } else {
            Head::Broken
        };
    };
    let line = bytes.get(..end).unwrap_or_default();
    if !is_text(line) {
        return Head::Broken;
    }
    let words: Vec<&[u8]> = words(line).take(5).collect();
    let size = match (side, words.as_slice()) {
        (Side::Requests, [command, _, _, _, size, ..]) if stores(command) => Some(*size),
        (Side::Requests, [b"ms", _, size, ..]) => Some(*size),
        (Side::Responses, [b"VALUE", _, _, size, ..] | [b"VA", size, ..]) => Some(*size),
        _ => None,
    };
    let body = match size.map(number) {
        None => 0,
        Some(Some(size)) if size <= VALUE_BYTES_MAX => size + 2,
        // A client may write nonsense: the server says so, and reads on.
        Some(_) if side == Side::Requests => 0,
        Some(_) => return Head::Broken,
    };
    Head::Whole { len: end + 1, body, keep }
}

fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte >= b' ' || matches!(byte, b'\r' | b'\t'))
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty())
}

fn number(word: &[u8]) -> Option<u64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

fn stores(command: &[u8]) -> bool {
    let all: [&[u8]; 6] = [b"set", b"add", b"replace", b"append", b"prepend", b"cas"];
    all.contains(&command)
}

/// A line of the client; none: one that asks for nothing.
pub(super) fn command(line: &[u8], whole: bool, bytes_max: usize) -> Result<Option<Command>, Read> {
    let words: Vec<&[u8]> = words(line).collect();
    let Some((name, arguments)) = words.split_first() else { return Ok(None) };
    let silent = words.last() == Some(&b"noreply".as_slice());
    let (keys, answers) = match *name {
        b"quit" => return Ok(None),
        // From here on the server sends what others do.
        b"watch" => return Err(Read::Last),
        b"get" | b"gets" => (arguments.len(), Answers::Values),
        b"gat" | b"gats" => (arguments.len().saturating_sub(1), Answers::Values),
        b"stats" => (0, Answers::Figures),
        b"mg" | b"ms" | b"md" | b"ma" | b"me" => {
            return Ok(Some(meta(name, arguments, line, whole, bytes_max)));
        }
        b"mn" | b"version" | b"flush_all" | b"verbosity" => (0, Answers::One),
        b"delete" | b"incr" | b"decr" | b"touch" => (1, Answers::One),
        name if stores(name) => (1, Answers::One),
        name if name.len() <= 32 && name.iter().all(|b| b.is_ascii_lowercase() || *b == b'_') => {
            (0, Answers::One)
        }
        // The server does not understand it either, and says so.
        _ => (0, Answers::One),
    };
    let (name, text) = told(name, keys, line, whole, bytes_max);
    let call = Memcached::call(&name, text);
    let waiting = Waiting { call, answers, quiet: false, mark: Mark::default() };
    Ok(Some(Command { waiting, silent }))
}

/// Name and text of a command.
fn told(name: &[u8], keys: usize, line: &[u8], whole: bool, bytes_max: usize) -> (String, String) {
    let plain = name.len() <= 32 && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let name = if plain { String::from_utf8_lossy(name).into_owned() } else { "_OTHER".to_owned() };
    if whole {
        let mut text = String::from_utf8_lossy(line.trim_ascii()).into_owned();
        text.truncate(text.floor_char_boundary(bytes_max));
        return (name, text);
    }
    let marks = " ?".repeat(keys.min(SHOWN_MAX));
    let more = if keys > SHOWN_MAX { " ..." } else { "" };
    let text = format!("{name}{marks}{more}");
    (name, text)
}

fn meta(name: &[u8], arguments: &[&[u8]], line: &[u8], whole: bool, bytes_max: usize) -> Command {
    let (operation, text) = told(name, 1, line, whole, bytes_max);
    let key = arguments.first().map(|key| key.to_vec());
    // Behind the key, and behind the size of a value.
    let flags = arguments.get(if name == b"ms" { 2 } else { 1 }..).unwrap_or_default();
    let flag = |wanted: u8| flags.iter().find(|flag| flag.first() == Some(&wanted));
    let mark = Mark {
        opcode: name.get(1).copied(),
        opaque: flag(b'O').map(|flag| flag.to_vec()),
        key: key.filter(|_| flag(b'k').is_some()),
    };
    let quiet = flag(b'q').is_some();
    let call = Memcached::call(&operation, text);
    let waiting = Waiting { call, answers: Answers::One, quiet, mark };
    Command { waiting, silent: false }
}

/// A line of the server.
pub(super) fn answer(unit: &Unit<'_>, queue: &mut Queue<Waiting>) -> Read {
    let words: Vec<&[u8]> = words(unit.head).collect();
    let Some(first) = words.first().copied() else { return Read::Broken };
    pass_silent(first, words.get(1..).unwrap_or_default(), queue);
    queue.answer(unit);
    let Some(front) = queue.front() else {
        queue.unasked();
        return Read::Understood;
    };
    let failed = match first {
        b"ERROR" => Some("ERROR"),
        b"CLIENT_ERROR" => Some("CLIENT_ERROR"),
        b"SERVER_ERROR" => Some("SERVER_ERROR"),
        _ => None,
    };
    let more = match front.call.answers {
        Answers::Values => first == b"VALUE",
        Answers::Figures => first == b"STAT",
        Answers::One => false,
        Answers::Packet | Answers::Packets => return Read::Broken,
    };
    let fits = match front.call.answers {
        Answers::Values => more || first == b"END",
        Answers::One => !matches!(first, b"VALUE" | b"END" | b"STAT"),
        _ => true,
    };
    if failed.is_none() && !fits {
        return Read::Broken;
    }
    front.call.call.status = failed.map(str::to_owned);
    if !more || failed.is_some() {
        queue.finish();
    }
    Read::Understood
}

/// Of quiet meta commands only what is unusual is answered.
fn pass_silent(first: &[u8], rest: &[&[u8]], queue: &mut Queue<Waiting>) {
    let flags = if first == b"VA" { rest.get(1..).unwrap_or_default() } else { rest };
    let flag = |wanted: u8| flags.iter().find(|flag| flag.first() == Some(&wanted));
    let is_meta = matches!(first, b"VA" | b"HD" | b"EN" | b"NS" | b"EX" | b"NF");
    let mark = Mark {
        opcode: None,
        opaque: flag(b'O').filter(|_| is_meta).map(|flag| flag.to_vec()),
        key: flag(b'k').filter(|_| is_meta).and_then(|flag| flag.get(1..)).map(<[u8]>::to_vec),
    };
    // What it would have kept to itself, or could not have said.
    let silent = |waiting: &Waiting| {
        matches!(
            (waiting.mark.opcode, first),
            (_, b"MN" | b"EN")
                | (Some(b's' | b'a' | b'd'), b"HD")
                | (Some(b'g' | b'd'), b"NF" | b"NS")
                | (Some(b's' | b'd'), b"VA")
        )
    };
    Memcached::pass_silent(&mark, silent, queue);
}
