//! Lines of the protocol, and how much payload is behind them.
//!
//! Invariant: pure; a line is an operation only with all that the operation asks for, and with none
//! that its side may not send.

use crate::protocol::dialogue::Side;

/// Words by which a line is taken for the beginning of one.
const WORDS: [(&[u8], Side); 13] = [
    (b"INFO", Side::Responses),
    (b"CONNECT", Side::Requests),
    (b"PUB", Side::Requests),
    (b"HPUB", Side::Requests),
    (b"MSG", Side::Responses),
    (b"HMSG", Side::Responses),
    (b"SUB", Side::Requests),
    (b"UNSUB", Side::Requests),
    (b"+OK", Side::Responses),
    (b"-ERR", Side::Responses),
    (b"PING", Side::Requests),
    (b"PONG", Side::Requests),
    (b"PING", Side::Responses),
];
/// The longest of them.
const WORD_BYTES_MAX: usize = 7;
/// No server takes longer subjects.
const SUBJECT_BYTES_MAX: usize = 4 << 10;
/// Servers take 64 MiB at most.
const PAYLOAD_BYTES_MAX: u64 = 64 << 20;
/// What ends a payload.
pub(super) const END: &[u8; 2] = b"\r\n";

/// A message, as its line tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) subject: &'a [u8],
    /// The subscription that it is for; empty for one that goes to the server.
    pub(super) sid: &'a [u8],
    pub(super) reply: Option<&'a [u8]>,
    /// How many of its bytes are headers.
    pub(super) header_bytes: u64,
    /// Headers and payload.
    pub(super) bytes: u64,
}

/// What a line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation<'a> {
    Info(&'a [u8]),
    Connect(&'a [u8]),
    Message(Message<'a>),
    Subscribe { subject: &'a [u8], group: Option<&'a [u8]>, sid: &'a [u8] },
    Unsubscribe { sid: &'a [u8], later: bool },
    Ping,
    Pong,
    Fine,
    Error(&'a [u8]),
}

/// The beginning of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// Too little of it is there.
    More,
    /// It is one of so many bytes.
    Whole(Operation<'a>, usize),
    /// It is none.
    Broken,
}

impl Operation<'_> {
    /// Bytes behind the line.
    pub(super) fn behind(&self) -> u64 {
        match self {
            Self::Message(message) => message.bytes + END.len() as u64,
            _ => 0,
        }
    }
}

/// Reads a line of this side.
pub(super) fn read(side: Side, bytes: &[u8]) -> Line<'_> {
    if !may_begin(side, bytes) {
        return Line::Broken;
    }
    let Some(end) = memchr::memchr(b'\n', bytes) else { return Line::More };
    let line = bytes.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    match line.and_then(|line| operation(side, line)) {
        Some(operation) => Line::Whole(operation, end + 1),
        None => Line::Broken,
    }
}

/// A word of this side, or the beginning of one.
fn may_begin(side: Side, bytes: &[u8]) -> bool {
    let len = bytes.iter().take(WORD_BYTES_MAX + 1).take_while(|byte| !blank(**byte)).count();
    let word = bytes.get(..len).unwrap_or_default();
    let whole = len < bytes.len();
    // Both sides answer and ask whether the other is there.
    let both = |known: &[u8]| known.starts_with(b"P") && known.ends_with(b"NG");
    WORDS.iter().any(|(known, of)| {
        let here = *of == side || both(known);
        let begins = known.get(..len).is_some_and(|start| start.eq_ignore_ascii_case(word));
        here && begins && (!whole || len == known.len())
    })
}

fn blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn operation(side: Side, line: &[u8]) -> Option<Operation<'_>> {
    let len = line.iter().take_while(|byte| !blank(**byte)).count();
    let (word, rest) = line.split_at_checked(len)?;
    let rest = rest.trim_ascii();
    let mut upper = [0; WORD_BYTES_MAX];
    upper.iter_mut().zip(word).for_each(|(to, from)| *to = from.to_ascii_uppercase());
    match (upper.get(..word.len())?, side) {
        (b"INFO", Side::Responses) => rest.starts_with(b"{").then_some(Operation::Info(rest)),
        (b"CONNECT", Side::Requests) => rest.starts_with(b"{").then_some(Operation::Connect(rest)),
        (b"PUB", Side::Requests) => message(rest, false, false),
        (b"HPUB", Side::Requests) => message(rest, false, true),
        (b"MSG", Side::Responses) => message(rest, true, false),
        (b"HMSG", Side::Responses) => message(rest, true, true),
        (b"SUB", Side::Requests) => subscribe(rest),
        (b"UNSUB", Side::Requests) => unsubscribe(rest),
        (b"PING", _) => rest.is_empty().then_some(Operation::Ping),
        (b"PONG", _) => rest.is_empty().then_some(Operation::Pong),
        (b"+OK", Side::Responses) => rest.is_empty().then_some(Operation::Fine),
        (b"-ERR", Side::Responses) => Some(Operation::Error(rest)),
        _ => None,
    }
}

/// The arguments of a line: at most five.
struct Arguments<'a> {
    all: [&'a [u8]; 5],
    count: usize,
}

impl<'a> Arguments<'a> {
    fn new(rest: &'a [u8]) -> Option<Self> {
        let mut arguments = Self { all: [b""; 5], count: 0 };
        for one in rest.split(|byte| blank(*byte)).filter(|one| !one.is_empty()) {
            *arguments.all.get_mut(arguments.count)? = one;
            arguments.count += 1;
        }
        Some(arguments)
    }

    fn as_slice(&self) -> &[&'a [u8]] {
        self.all.get(..self.count).unwrap_or_default()
    }
}

fn message(rest: &[u8], delivered: bool, headers: bool) -> Option<Operation<'_>> {
    let arguments = Arguments::new(rest)?;
    let mut list = arguments.as_slice();
    let (bytes, before) = list.split_last()?;
    let bytes = number(bytes).filter(|bytes| *bytes <= PAYLOAD_BYTES_MAX)?;
    list = before;
    let mut header_bytes = 0;
    if headers {
        let (len, before) = list.split_last()?;
        header_bytes = number(len).filter(|len| *len <= bytes)?;
        list = before;
    }
    let (subject, mut list) = list.split_first()?;
    let mut sid: &[u8] = b"";
    if delivered {
        let (one, behind) = list.split_first()?;
        (sid, list) = (one, behind);
    }
    let reply = match list {
        [] => None,
        [reply] => Some(*reply),
        _ => return None,
    };
    let fits = is_subject(subject) && reply.is_none_or(is_subject);
    let message = Message { subject, sid, reply, header_bytes, bytes };
    fits.then_some(Operation::Message(message))
}

fn subscribe(rest: &[u8]) -> Option<Operation<'_>> {
    let arguments = Arguments::new(rest)?;
    let (subject, group, sid) = match *arguments.as_slice() {
        [subject, sid] => (subject, None, sid),
        [subject, group, sid] => (subject, Some(group), sid),
        _ => return None,
    };
    is_subject(subject).then_some(Operation::Subscribe { subject, group, sid })
}

fn unsubscribe(rest: &[u8]) -> Option<Operation<'_>> {
    match *Arguments::new(rest)?.as_slice() {
        [sid] => Some(Operation::Unsubscribe { sid, later: false }),
        [sid, max] => Some(Operation::Unsubscribe { sid, later: number(max)? > 0 }),
        _ => None,
    }
}

fn is_subject(subject: &[u8]) -> bool {
    let printable = subject.iter().all(|byte| *byte > b' ' && *byte != 0x7f);
    !subject.is_empty() && subject.len() <= SUBJECT_BYTES_MAX && printable
}

fn number(digits: &[u8]) -> Option<u64> {
    let plain = digits.len() <= 9 && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}
