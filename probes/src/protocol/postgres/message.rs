//! Messages: a tag, a length and fields; the first ones have no tag.
//!
//! Invariant: pure; a length that no message has is refused before anything is kept.

use crate::protocol::dialogue::{Head, Side, Unit};

/// A length and a code.
pub(super) const STARTUP_HEAD_BYTES: usize = 8;
/// Longer first messages are none.
const STARTUP_BYTES_MAX: u32 = 10_240;
/// Longer messages are none: a row may have a gigabyte.
const MESSAGE_BYTES_MAX: u32 = 1 << 30;
const REQUEST_TAGS: &[u8] = b"QPBDECSHFXdcfp";
const RESPONSE_TAGS: &[u8] = b"RSKZTDCEN123tnIsAGHWdcVv";

/// The first message of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Startup {
    /// It would like to encrypt what follows.
    Encryption,
    /// It wants another connection's query cancelled.
    Cancel,
    /// It begins a session.
    Session { database: Option<String> },
}

impl Startup {
    /// A session begins with the name of a setting, where a Kafka client that asks for metadata first, whose head is the
    /// same, has the number of its request.
    pub(super) fn head(bytes: &[u8]) -> Head {
        let Some(head) = bytes.first_chunk::<STARTUP_HEAD_BYTES>() else {
            return if bytes.iter().take(2).all(|byte| *byte == 0) {
                Head::More
            } else {
                Head::Broken
            };
        };
        let [a, b, c, d, code @ ..] = *head;
        let length = u32::from_be_bytes([a, b, c, d]);
        let fits = match u32::from_be_bytes(code) {
            80_877_103 | 80_877_104 => length == 8,
            // Newer servers have longer keys.
            80_877_102 => (16..=512).contains(&length),
            code => {
                let named = bytes.get(STARTUP_HEAD_BYTES).is_none_or(u8::is_ascii_graphic);
                code >> 16 == 3
                    && (9..=STARTUP_BYTES_MAX).contains(&length)
                    && (named || length == 9)
            }
        };
        if !fits {
            return Head::Broken;
        }
        let keep = usize::try_from(STARTUP_BYTES_MAX).unwrap_or(usize::MAX);
        Head::Whole { len: STARTUP_HEAD_BYTES, body: u64::from(length - 8), keep }
    }

    pub(super) fn read(unit: &Unit<'_>) -> Option<Self> {
        let (_, code) = unit.head.split_first_chunk::<4>()?;
        match u32::from_be_bytes(*code.first_chunk::<4>()?) {
            80_877_103 | 80_877_104 => Some(Self::Encryption),
            80_877_102 => Some(Self::Cancel),
            _ => Some(Self::Session { database: database(unit.body) }),
        }
    }
}

/// The name of the database; where none is given it is that of the user.
fn database(mut fields: &[u8]) -> Option<String> {
    let mut user = None;
    loop {
        let (name, rest) = until_nul(fields);
        if name.is_empty() {
            return user;
        }
        let (value, rest) = until_nul(rest);
        let value = || Some(String::from_utf8_lossy(value).into_owned());
        match name {
            b"database" => return value(),
            b"user" => user = value(),
            _ => {}
        }
        fields = rest;
    }
}

/// Any other message.
pub(super) struct Message;

impl Message {
    /// `keep`: how much of the body is wanted, by the tag.
    pub(super) fn head(side: Side, bytes: &[u8], keep: impl Fn(u8) -> usize) -> Head {
        let tags = match side {
            Side::Requests => REQUEST_TAGS,
            Side::Responses => RESPONSE_TAGS,
        };
        let Some((tag, rest)) = bytes.split_first() else { return Head::More };
        if !tags.contains(tag) {
            return Head::Broken;
        }
        let Some(length) = rest.first_chunk::<4>() else { return Head::More };
        match u32::from_be_bytes(*length) {
            length @ 4..=MESSAGE_BYTES_MAX => {
                Head::Whole { len: 5, body: u64::from(length - 4), keep: keep(*tag) }
            }
            _ => Head::Broken,
        }
    }
}

/// A field, and what is behind the zero that ends it.
pub(super) fn until_nul(bytes: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(0, bytes) {
        Some(end) => {
            (bytes.get(..end).unwrap_or_default(), bytes.get(end + 1..).unwrap_or_default())
        }
        None => (bytes, &[]),
    }
}

/// `SQLSTATE` of an error, if that was copied.
pub(super) fn error_code(mut fields: &[u8]) -> Option<String> {
    while let Some((kind, rest)) = fields.split_first().filter(|(kind, _)| **kind != 0) {
        let (value, behind) = until_nul(rest);
        if *kind == b'C' && value.len() == 5 && value.iter().all(u8::is_ascii_alphanumeric) {
            return Some(String::from_utf8_lossy(value).into_owned());
        }
        fields = behind;
    }
    None
}
