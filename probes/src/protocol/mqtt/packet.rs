//! Packets: their heads, and the fields of their bodies.
//!
//! Invariant: pure, nothing is allocated; what is not there, or was cut off, is none.

use crate::protocol::dialogue::Side;

/// The kinds of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Connect,
    Connected,
    Publish { qos: u8 },
    Acknowledged,
    Received,
    Release,
    Complete,
    Subscribe,
    Subscribed,
    Unsubscribe,
    Unsubscribed,
    Ping,
    Pong,
    Disconnect,
    Authenticate,
}

/// The head of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    More,
    Whole { kind: Kind, head_bytes: usize, body_bytes: u32 },
    Broken,
}

/// Reads the head of a packet of this side.
pub(super) fn start(side: Side, bytes: &[u8]) -> Start {
    let Some((&first, rest)) = bytes.split_first() else { return Start::More };
    let Some(kind) = kind(side, first) else { return Start::Broken };
    let mut body_bytes = 0_u32;
    for (at, byte) in rest.iter().take(4).enumerate() {
        body_bytes |= u32::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let fits = kind.lengths().contains(&body_bytes);
            let whole = Start::Whole { kind, head_bytes: at + 2, body_bytes };
            return if fits { whole } else { Start::Broken };
        }
    }
    if rest.len() < 4 { Start::More } else { Start::Broken }
}

/// The kind by its number, with the flags that it has to have.
fn kind(side: Side, first: u8) -> Option<Kind> {
    let (number, flags) = (first >> 4, first & 0xf);
    let kind = match (number, side) {
        (1, Side::Requests) => Kind::Connect,
        (2, Side::Responses) => Kind::Connected,
        (3, _) => {
            let (dup, qos) = (flags >> 3, flags >> 1 & 3);
            // What is not acknowledged is not sent again.
            let valid = qos < 3 && (qos > 0 || dup == 0);
            return valid.then_some(Kind::Publish { qos });
        }
        (4, _) => Kind::Acknowledged,
        (5, _) => Kind::Received,
        (6, _) => Kind::Release,
        (7, _) => Kind::Complete,
        (8, Side::Requests) => Kind::Subscribe,
        (9, Side::Responses) => Kind::Subscribed,
        (10, Side::Requests) => Kind::Unsubscribe,
        (11, Side::Responses) => Kind::Unsubscribed,
        (12, Side::Requests) => Kind::Ping,
        (13, Side::Responses) => Kind::Pong,
        (14, _) => Kind::Disconnect,
        (15, _) => Kind::Authenticate,
        _ => return None,
    };
    let wanted = match kind {
        Kind::Release | Kind::Subscribe | Kind::Unsubscribe => 2,
        _ => 0,
    };
    (flags == wanted).then_some(kind)
}

/// The most that four bytes of length can say.
const BODY_BYTES_MAX: u32 = (1 << 28) - 1;
/// More than reasons in words and properties need.
const ANSWER_BYTES_MAX: u32 = 64 << 10;

impl Kind {
    fn lengths(self) -> std::ops::RangeInclusive<u32> {
        match self {
            Self::Connect => 12..=BODY_BYTES_MAX,
            Self::Connected | Self::Acknowledged | Self::Received | Self::Release => {
                2..=ANSWER_BYTES_MAX
            }
            Self::Complete | Self::Unsubscribed => 2..=ANSWER_BYTES_MAX,
            Self::Publish { qos: 0 } => 3..=BODY_BYTES_MAX,
            Self::Publish { .. } => 5..=BODY_BYTES_MAX,
            Self::Subscribe => 6..=BODY_BYTES_MAX,
            Self::Unsubscribe => 5..=BODY_BYTES_MAX,
            Self::Subscribed => 3..=ANSWER_BYTES_MAX,
            Self::Ping | Self::Pong => 0..=0,
            Self::Disconnect | Self::Authenticate => 0..=ANSWER_BYTES_MAX,
        }
    }
}

/// What is left of a body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

/// What is looked at of the properties that a packet of version 5 has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Properties<'a> {
    pub(super) alias: Option<u16>,
    pub(super) correlation: Option<&'a [u8]>,
    pub(super) traceparent: Option<&'a str>,
    pub(super) tracestate: Option<&'a str>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    /// Passes over so many bytes.
    pub(super) fn skip(&mut self, len: usize) -> Option<()> {
        self.bytes(len).map(drop)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.bytes(1)?.first().copied()
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.bytes(2)?.try_into().ok()?))
    }

    /// Bytes behind their length.
    pub(super) fn blob(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.bytes(len.into())
    }

    /// A text; none where it is none.
    pub(super) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.blob()?).ok().filter(|text| !text.contains('\0'))
    }

    fn number(&mut self) -> Option<usize> {
        let mut value = 0;
        for shift in (0..28).step_by(7) {
            let byte = self.u8()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// Properties behind their length.
    pub(super) fn properties(&mut self) -> Option<Properties<'a>> {
        let len = self.number()?;
        let mut own = Self::new(self.bytes(len)?);
        let mut properties = Properties::default();
        while !own.rest.is_empty() {
            own.property(&mut properties)?;
        }
        Some(properties)
    }

    fn property(&mut self, properties: &mut Properties<'a>) -> Option<()> {
        match self.u8()? {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2a => drop(self.bytes(1)?),
            0x13 | 0x21 | 0x22 => drop(self.bytes(2)?),
            0x02 | 0x11 | 0x18 | 0x27 => drop(self.bytes(4)?),
            0x03 | 0x08 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => drop(self.blob()?),
            0x0b => drop(self.number()?),
            0x09 => properties.correlation = Some(self.blob()?),
            0x23 => properties.alias = Some(self.u16()?),
            0x26 => {
                let (name, value) = (self.blob()?, self.text());
                if name.eq_ignore_ascii_case(b"traceparent") {
                    properties.traceparent = value;
                } else if name.eq_ignore_ascii_case(b"tracestate") {
                    properties.tracestate = value;
                }
            }
            _ => return None,
        }
        Some(())
    }
}
