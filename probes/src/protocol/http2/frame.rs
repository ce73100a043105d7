//! Heads of frames (RFC 9113, section 4.1).
//!
//! Invariants: pure; a head that is called plausible is one that a real sender writes, so that
//! bytes of another protocol, or from the middle of a frame, seldom are.

/// What a client sends before its first frame.
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length, kind, flags, stream.
pub(super) const HEAD_BYTES: usize = 9;
/// Longer frames are not plausible, though the other end may have allowed them; for bodies it often
/// does.
const PLAUSIBLE_BYTES_MAX: u32 = 1 << 14;
const PLAUSIBLE_DATA_BYTES_MAX: u32 = 1 << 20;

/// The kind of settings, as it is sent.
pub(super) const SETTINGS: u8 = 4;

pub(super) const END_STREAM: u8 = 0x1;
pub(super) const ACK: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
pub(super) const PRIORITISED: u8 = 0x20;

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    Priority,
    Reset,
    Settings,
    Promise,
    Ping,
    GoAway,
    Window,
    Continuation,
    /// An extension, to be passed over.
    Other,
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// Bytes behind the head.
    pub(super) len: u32,
    pub(super) kind: Kind,
    pub(super) flags: u8,
    /// 0: the connection.
    pub(super) stream: u32,
    /// The bit before the stream, which nobody sets.
    reserved: bool,
}

impl Frame {
    /// Reads a head, which may be anything.
    pub(super) fn read(head: [u8; HEAD_BYTES]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = head;
        let stream = u32::from_be_bytes(stream);
        let kind = match kind {
            0 => Kind::Data,
            1 => Kind::Headers,
            2 => Kind::Priority,
            3 => Kind::Reset,
            SETTINGS => Kind::Settings,
            5 => Kind::Promise,
            6 => Kind::Ping,
            7 => Kind::GoAway,
            8 => Kind::Window,
            9 => Kind::Continuation,
            _ => Kind::Other,
        };
        let len = u32::from_be_bytes([0, a, b, c]);
        Self { len, kind, flags, stream: stream & 0x7fff_ffff, reserved: stream >> 31 != 0 }
    }

    /// All of these flags are set.
    pub(super) fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// Whoever follows the standard may send it.
    pub(super) fn allowed(&self) -> bool {
        let of_connection = self.stream == 0;
        match self.kind {
            Kind::Data | Kind::Headers | Kind::Continuation => !of_connection,
            Kind::Promise => !of_connection && self.len >= 4,
            Kind::Priority => !of_connection && self.len == 5,
            Kind::Reset => !of_connection && self.len == 4,
            Kind::Settings if self.has(ACK) => of_connection && self.len == 0,
            Kind::Settings => of_connection && self.len.is_multiple_of(6),
            Kind::Ping => of_connection && self.len == 8,
            Kind::GoAway => of_connection && self.len >= 8,
            Kind::Window => self.len == 4,
            Kind::Other => true,
        }
    }

    /// It is what real senders send.
    pub(super) fn plausible(&self) -> bool {
        let flags = match self.kind {
            Kind::Data => END_STREAM | PADDED,
            Kind::Headers => END_STREAM | END_HEADERS | PADDED | PRIORITISED,
            Kind::Settings | Kind::Ping => ACK,
            Kind::Promise => END_HEADERS | PADDED,
            Kind::Continuation => END_HEADERS,
            Kind::Priority | Kind::Reset | Kind::GoAway | Kind::Window => 0,
            Kind::Other => return false,
        };
        let known = self.flags & !flags == 0 && !self.reserved;
        let bytes_max = match self.kind {
            Kind::Data => PLAUSIBLE_DATA_BYTES_MAX,
            _ => PLAUSIBLE_BYTES_MAX,
        };
        known && self.allowed() && self.len <= bytes_max
    }
}

/// `bytes` begin with frames, each of which is plausible, and with at least the head of one.
pub(super) fn frames(mut bytes: &[u8]) -> bool {
    let mut found = false;
    while let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() {
        let frame = Frame::read(*head);
        if !frame.plausible() {
            return false;
        }
        found = true;
        let Some(behind) = rest.get(frame.len as usize..) else { break };
        bytes = behind;
    }
    found
}

/// `bytes` are the preface or its beginning, and enough of it to tell.
pub(super) fn preface(bytes: &[u8]) -> bool {
    let told = bytes.len() >= b"PRI ".len();
    told && bytes.iter().zip(PREFACE).all(|(byte, wanted)| byte == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(len: u32, kind: u8, flags: u8, stream: u32) -> [u8; HEAD_BYTES] {
        let ([_, a, b, c], [d, e, f, g]) = (len.to_be_bytes(), stream.to_be_bytes());
        [a, b, c, kind, flags, d, e, f, g]
    }

    /// Scenario: frames of all kinds as they should be, and each with one thing wrong.
    /// Guarantees: the first are plausible, the others are not.
    #[test]
    fn plausible_heads() {
        for (len, kind, flags, stream) in [
            (0, 0, 1, 1),
            (16_384, 0, 0x9, 3),
            (20, 1, 0x25, 1),
            (5, 2, 0, 1),
            (4, 3, 0, 1),
            (0, 4, 1, 0),
            (18, 4, 0, 0),
            (8, 6, 1, 0),
            (8, 7, 0, 0),
            (4, 8, 0, 0),
            (4, 8, 0, 7),
            (1, 9, 4, 1),
        ] {
            let good = Frame::read(head(len, kind, flags, stream));
            assert!(good.plausible(), "{good:?}");
            let other_flags = Frame::read(head(len, kind, flags | 0x40, stream));
            let other_stream = Frame::read(head(len, kind, flags, stream | 1 << 31));
            assert!(other_flags.allowed() && other_stream.allowed());
            assert!(!other_flags.plausible() && !other_stream.plausible());
        }
        for (len, kind, flags, stream) in [
            (0, 0, 0, 0),
            (3, 3, 0, 1),
            (6, 4, 1, 0),
            (7, 4, 0, 0),
            (8, 6, 0, 1),
            (7, 7, 0, 0),
            (4, 10, 0, 1),
            (1 << 21, 0, 0, 1),
            (1 << 15, 1, 4, 1),
        ] {
            assert!(!Frame::read(head(len, kind, flags, stream)).plausible(), "{len} {kind}");
        }
    }

    /// Scenario: texts and records of other protocols.
    /// Guarantees: none begins with frames.
    #[test]
    fn other_bytes() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
            b"\0\0\0\x08\x04\xd2\x16\x2f\0\0\0\0",
            b"*3\r\n$3\r\nSET\r\n",
            b"\0\0\0\0\0\0\0\0\0\0",
            b"\0\0\x04\x08\0\0\0",
        ] {
            assert!(!frames(bytes), "{bytes:?}");
        }
    }
}
