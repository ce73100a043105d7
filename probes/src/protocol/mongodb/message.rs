//! Messages: their heads, and the document that a message is about.
//!
//! Invariant: pure; a message counts only where its head, its flags and the length of its first
//! document agree.

use super::bson::{Document, length, name};
use crate::protocol::dialogue::Side;

/// Length, number, number of the message that it answers, kind.
pub(super) const HEAD_BYTES: usize = 16;
/// A head, and the shortest document or what else a message is about.
const MESSAGE_BYTES_MIN: i32 = 21;
/// Servers take 48 MB, and a little for the head.
pub(super) const MESSAGE_BYTES_MAX: i32 = (48 << 20) + (16 << 10);
/// A checksum comes last.
const CHECKSUM: u32 = 1;
/// This message is not answered, or is an answer behind which another one comes.
const MORE: u32 = 2;
/// Further answers may come without being asked for.
const EXHAUST: u32 = 1 << 16;

/// Kinds of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Reply,
    Update,
    Insert,
    Query,
    GetMore,
    Delete,
    KillCursors,
    Compressed,
    Message,
}

impl Kind {
    pub(super) fn of(code: i32) -> Option<Self> {
        Some(match code {
            1 => Self::Reply,
            2001 => Self::Update,
            2002 => Self::Insert,
            2004 => Self::Query,
            2005 => Self::GetMore,
            2006 => Self::Delete,
            2007 => Self::KillCursors,
            2012 => Self::Compressed,
            2013 => Self::Message,
            _ => return None,
        })
    }
}

/// The head of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) body_bytes: u64,
    pub(super) id: i32,
    /// The message that this one answers.
    pub(super) answers: i32,
    pub(super) kind: Kind,
}

/// Reads the head of a message of this side.
pub(super) fn start(side: Side, head: [u8; HEAD_BYTES]) -> Option<Start> {
    let [len, id, answers, code] = words(head);
    let kind = Kind::of(code)?;
    let fits = (MESSAGE_BYTES_MIN..=MESSAGE_BYTES_MAX).contains(&len);
    let way = match side {
        Side::Requests => answers == 0 && kind != Kind::Reply,
        Side::Responses => matches!(kind, Kind::Reply | Kind::Compressed | Kind::Message),
    };
    let body_bytes = u64::try_from(len).ok()?.checked_sub(HEAD_BYTES as u64)?;
    (fits && way).then_some(Start { body_bytes, id, answers, kind })
}

fn words(head: [u8; HEAD_BYTES]) -> [i32; 4] {
    let (chunks, _) = head.as_chunks::<4>();
    let mut words = [0; 4];
    for (word, chunk) in words.iter_mut().zip(chunks) {
        *word = i32::from_le_bytes(*chunk);
    }
    words
}

/// What a message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// A command or an answer. `more`: see [`MORE`].
    Document { document: Document<'a>, more: bool },
    /// Of older kinds: the collection, with its database in front.
    Collection(&'a str),
    /// By which method it is compressed, where what is in it cannot be read.
    Compressed(&'static str),
    /// Nothing that is looked at.
    Nothing,
}

/// Reads the body of a message of which so much is left.
pub(super) fn read(kind: Kind, body: &[u8]) -> Option<Said<'_>> {
    let document = |at: usize| {
        let document = Document::read(body.get(at..)?)?;
        Some(Said::Document { document, more: false })
    };
    match kind {
        Kind::Message => {
            let (flags, mut rest) = body.split_first_chunk::<4>()?;
            let flags = u32::from_le_bytes(*flags);
            if flags & !(CHECKSUM | MORE | EXHAUST) != 0 {
                return None;
            }
            // Sequences of documents may come before the command.
            while rest.first() == Some(&1) {
                let len = length(rest.get(1..)?)?;
                rest = rest.get(len.checked_add(1)?..)?;
            }
            let (0, rest) = rest.split_first()? else { return None };
            let document = Document::read(rest)?;
            Some(Said::Document { document, more: flags & MORE != 0 })
        }
        Kind::Reply => document(20),
        Kind::Query => {
            let mut rest = body.get(4..)?;
            let collection = name(&mut rest)?;
            if !collection.ends_with(".$cmd") {
                return Some(Said::Collection(collection));
            }
            let document = Document::read(rest.get(8..)?)?;
            Some(Said::Document { document, more: false })
        }
        Kind::Compressed => Some(Said::Compressed(compressor(*body.get(8)?)?)),
        Kind::Insert | Kind::Update | Kind::Delete | Kind::GetMore => {
            Some(Said::Collection(name(&mut body.get(4..)?)?))
        }
        Kind::KillCursors => Some(Said::Nothing),
    }
}

/// By what a message is compressed.
pub(super) fn compressor(by: u8) -> Option<&'static str> {
    ["noop", "snappy", "zlib", "zstd"].get(usize::from(by)).copied()
}

/// What bytes begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begins {
    Yes(Start),
    Perhaps,
    No,
}

/// A message of this side begins here, and its first document has a length that fits.
pub(super) fn begins(side: Side, bytes: &[u8]) -> Begins {
    let Some((head, body)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
        // Longer ones are as good as unheard of.
        let plausible = bytes.get(3).is_none_or(|high| *high < 3);
        return if plausible { Begins::Perhaps } else { Begins::No };
    };
    let Some(start) = start(side, *head) else { return Begins::No };
    let room = usize::try_from(start.body_bytes).unwrap_or(usize::MAX);
    match start.kind {
        Kind::Message => command(start, room, body),
        Kind::Query | Kind::Reply => older(start, room, body),
        Kind::Compressed => compressed(start, body),
        // Their heads say too little for themselves.
        _ => Begins::No,
    }
}

fn command(start: Start, room: usize, body: &[u8]) -> Begins {
    let Some((flags, document)) = body.split_first_chunk::<4>() else { return Begins::Perhaps };
    if u32::from_le_bytes(*flags) & !(CHECKSUM | MORE | EXHAUST) != 0 {
        return Begins::No;
    }
    match (document.first(), document.get(1..).and_then(|it| it.first_chunk::<4>())) {
        (Some(0 | 1), Some(len)) => {
            let len = usize::try_from(i32::from_le_bytes(*len)).unwrap_or(usize::MAX);
            let fits = (5..=room.saturating_sub(5)).contains(&len);
            if fits { Begins::Yes(start) } else { Begins::No }
        }
        (Some(0 | 1) | None, None) => Begins::Perhaps,
        _ => Begins::No,
    }
}

fn compressed(start: Start, body: &[u8]) -> Begins {
    let Some((inside, rest)) = body.split_first_chunk::<4>() else { return Begins::Perhaps };
    if Kind::of(i32::from_le_bytes(*inside)) != Some(Kind::Message) {
        return Begins::No;
    }
    match rest.get(4) {
        Some(0..=3) => Begins::Yes(start),
        Some(_) => Begins::No,
        None => Begins::Perhaps,
    }
}

/// A handshake in the manner of old, or its answer.
fn older(start: Start, room: usize, body: &[u8]) -> Begins {
    let needed = if start.kind == Kind::Query { 512 } else { 25 };
    if body.len() < needed.min(room) {
        return Begins::Perhaps;
    }
    match read(start.kind, body) {
        Some(Said::Document { .. }) => Begins::Yes(start),
        _ => Begins::No,
    }
}
