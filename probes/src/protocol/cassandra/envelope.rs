//! The head of a message, and what stands in its body before what the message is about.
//!
//! Invariant: pure; a head counts only with a version, flags, a kind and a length that there are.

use super::field::Fields;
use crate::protocol::dialogue::Side;

/// Version, flags, stream, kind, length.
pub(super) const HEAD_BYTES: usize = 9;
/// Servers take less.
const BODY_BYTES_MAX: u32 = 256 << 20;
/// Versions that are understood.
const VERSIONS: std::ops::RangeInclusive<u8> = 3..=5;
/// From this version on messages travel in segments, once both ends have agreed on it.
pub(super) const SEGMENTED: u8 = 5;
/// The version is of an answer.
const ANSWER: u8 = 0x80;
/// All flags that there are.
const FLAGS: u8 = 0x1f;
const COMPRESSED: u8 = 0x01;
const TRACED: u8 = 0x02;
const CARRIES_MORE: u8 = 0x04;
const WARNS: u8 = 0x08;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Error,
    Startup,
    Ready,
    Authenticate,
    Options,
    Supported,
    Query,
    Result,
    Prepare,
    Execute,
    Register,
    Event,
    Batch,
    Challenge,
    Response,
    Success,
}

impl Kind {
    fn of(code: u8) -> Option<Self> {
        Some(match code {
            0x00 => Self::Error,
            0x01 => Self::Startup,
            0x02 => Self::Ready,
            0x03 => Self::Authenticate,
            0x05 => Self::Options,
            0x06 => Self::Supported,
            0x07 => Self::Query,
            0x08 => Self::Result,
            0x09 => Self::Prepare,
            0x0a => Self::Execute,
            0x0b => Self::Register,
            0x0c => Self::Event,
            0x0d => Self::Batch,
            0x0e => Self::Challenge,
            0x0f => Self::Response,
            0x10 => Self::Success,
            _ => return None,
        })
    }

    /// The name of the operation, where it is the same for all requests of this kind.
    pub(super) fn operation(self) -> Option<&'static str> {
        match self {
            Self::Startup => Some("STARTUP"),
            Self::Options => Some("OPTIONS"),
            Self::Register => Some("REGISTER"),
            Self::Response => Some("AUTH_RESPONSE"),
            _ => None,
        }
    }

    /// Who sends it.
    fn side(self) -> Side {
        match self {
            Self::Startup
            | Self::Options
            | Self::Query
            | Self::Prepare
            | Self::Execute
            | Self::Register
            | Self::Batch
            | Self::Response => Side::Requests,
            Self::Error
            | Self::Ready
            | Self::Authenticate
            | Self::Supported
            | Self::Result
            | Self::Event
            | Self::Challenge
            | Self::Success => Side::Responses,
        }
    }
}

/// The head of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) version: u8,
    flags: u8,
    pub(super) stream: i16,
    pub(super) kind: Kind,
    pub(super) body_bytes: u64,
}

/// Reads the head of a message of this side.
pub(super) fn start(side: Side, head: [u8; HEAD_BYTES]) -> Option<Start> {
    let [version, flags, high, low, kind, len @ ..] = head;
    let (kind, len) = (Kind::of(kind)?, u32::from_be_bytes(len));
    let stream = i16::from_be_bytes([high, low]);
    let answers = version & ANSWER != 0;
    let version = version & !ANSWER;
    // Streams that a server begins have negative numbers.
    let way = match side {
        Side::Requests => !answers && stream >= 0,
        Side::Responses => answers && (stream >= 0) == (kind != Kind::Event),
    };
    let known = VERSIONS.contains(&version) && flags & !FLAGS == 0 && len <= BODY_BYTES_MAX;
    let body_bytes = u64::from(len);
    (way && known && kind.side() == side).then_some(Start {
        version,
        flags,
        stream,
        kind,
        body_bytes,
    })
}

impl Start {
    /// Its body is compressed by itself. In segments it never is, whatever this flag says.
    pub(super) fn compressed(self) -> bool {
        self.flags & COMPRESSED != 0 && self.version < SEGMENTED
    }

    /// What the message is about, behind what may stand in front of it.
    pub(super) fn fields(self, side: Side, body: &[u8]) -> Option<Fields<'_>> {
        let mut fields = Fields::new(body);
        if side == Side::Responses && self.flags & TRACED != 0 {
            fields.skip(16)?;
        }
        if side == Side::Responses && self.flags & WARNS != 0 {
            fields.strings()?;
        }
        if self.flags & CARRIES_MORE != 0 {
            for _ in 0..fields.u16()? {
                fields.short()?;
                fields.value()?;
            }
        }
        Some(fields)
    }
}
