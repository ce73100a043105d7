//! One direction: where in a frame its next byte stands.
//!
//! Invariant: of a frame no more is held than its head and the code of a goodbye. Clients mask
//! their frames and servers do not, which tells a frame from most that is none.

/// The longest head: two bytes, eight of length, four of the mask.
const HEAD_BYTES_MAX: usize = 14;
/// The longest control frame.
const CONTROL_BYTES_MAX: u64 = 125;
const CONTROL: u8 = 0x8;
const CLOSE: u8 = 0x8;

/// What reading came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// This side closes, for the reason that it gives.
    Goodbye { code: Option<u16> },
    /// What came is no frame.
    Broken,
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    bytes: usize,
    last: bool,
    kind: u8,
    mask: [u8; 4],
    payload: u64,
}

/// What bytes are as the beginning of a frame.
enum Read {
    More,
    Whole(Head),
    Never,
}

impl Head {
    fn read(bytes: &[u8], masked: bool) -> Read {
        let Some((&[first, second], rest)) = bytes.split_first_chunk::<2>() else {
            let plausible = bytes.first().is_none_or(|first| known(*first));
            return if plausible { Read::More } else { Read::Never };
        };
        if !known(first) || (second & 0x80 != 0) != masked {
            return Read::Never;
        }
        let (payload, rest, len_bytes) = match second & 0x7f {
            126 => match rest.split_first_chunk::<2>() {
                Some((len, rest)) => (u64::from(u16::from_be_bytes(*len)), rest, 2),
                None => return Read::More,
            },
            127 => match rest.split_first_chunk::<8>() {
                Some((len, rest)) => (u64::from_be_bytes(*len), rest, 8),
                None => return Read::More,
            },
            len => (u64::from(len), rest, 0),
        };
        let mask = match rest.first_chunk::<4>() {
            Some(mask) if masked => *mask,
            None if masked => return Read::More,
            _ => [0; 4],
        };
        let (last, kind) = (first & 0x80 != 0, first & 0xf);
        let control = kind & CONTROL != 0;
        if control && (!last || payload > CONTROL_BYTES_MAX) || payload >> 63 != 0 {
            return Read::Never;
        }
        let bytes = 2 + len_bytes + if masked { 4 } else { 0 };
        Read::Whole(Self { bytes, last, kind, mask, payload })
    }
}

/// A kind that there is, and none of the bits that nothing stands for. The first of the reserved
/// bits says that the content is compressed.
fn known(first: u8) -> bool {
    first & 0x30 == 0 && matches!(first & 0xf, 0..=2 | 8..=10)
}

/// One direction.
#[derive(Debug)]
pub(super) struct Lane {
    masked: bool,
    held: Vec<u8>,
    frame: Option<Head>,
    /// Bytes of the payload that are still to come.
    left: u64,
    /// The code of a goodbye, as far as it was read.
    code: Vec<u8>,
    lost: bool,
    parsed: u64,
    unparsed: u64,
    /// Messages that were whole.
    pub(super) messages: u64,
    /// Payload of messages.
    pub(super) bytes: u64,
    /// Some may be missing.
    pub(super) holed: bool,
    /// This side has closed.
    pub(super) goodbye: bool,
}

impl Lane {
    /// Memory that is held.
    pub(super) fn held_bytes(&self) -> usize {
        self.held.capacity() + self.code.capacity()
    }

    pub(super) fn new(masked: bool) -> Self {
        Self {
            masked,
            held: Vec::new(),
            frame: None,
            left: 0,
            code: Vec::new(),
            lost: false,
            parsed: 0,
            unparsed: 0,
            messages: 0,
            bytes: 0,
            holed: false,
            goodbye: false,
        }
    }

    pub(super) fn lost(&self) -> bool {
        self.lost
    }

    /// Bytes that were understood since the last call, and bytes that were not.
    pub(super) fn take_counts(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.parsed), std::mem::take(&mut self.unparsed))
    }

    /// Gives up a head that is not whole; how long it was.
    pub(super) fn drop_held(&mut self) -> u64 {
        std::mem::take(&mut self.held).len() as u64
    }

    /// It is not known where the next byte stands.
    pub(super) fn lose(&mut self) {
        self.unparsed += self.drop_held();
        self.frame = None;
        (self.left, self.lost, self.holed) = (0, true, true);
    }

    /// A call begins with `bytes`: finds its place again where they are frames, up to the last byte
    /// or to one that goes on.
    pub(super) fn find(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while self.lost && !rest.is_empty() {
            let Read::Whole(head) = Head::read(rest, self.masked) else { return };
            let whole = usize::try_from(head.payload).unwrap_or(usize::MAX);
            let behind = rest.get(head.bytes.saturating_add(whole)..);
            let first = rest.len() == bytes.len();
            self.lost = behind.map_or(first, |behind| !behind.is_empty());
            rest = behind.unwrap_or_default();
        }
    }

    /// Reads up to the end of a part of a frame.
    pub(super) fn read(&mut self, input: &mut &[u8]) -> Option<Event> {
        let Some(frame) = self.frame else { return self.head(input) };
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len());
        let (payload, rest) = input.split_at(wanted);
        *input = rest;
        if frame.kind == CLOSE {
            let room = 2_usize.saturating_sub(self.code.len());
            self.code.extend(payload.iter().take(room));
        }
        self.passed(frame, payload.len() as u64);
        self.frame_end()
    }

    /// Passes over bytes that were not copied.
    pub(super) fn skip(&mut self, bytes: u64) {
        let mut unknown = bytes;
        if let Some(frame) = self.frame.filter(|frame| frame.kind != CLOSE) {
            let skipped = bytes.min(self.left);
            self.passed(frame, skipped);
            self.frame_end();
            unknown -= skipped;
        }
        if unknown > 0 {
            self.unparsed += unknown;
            self.lose();
        }
    }

    fn head(&mut self, input: &mut &[u8]) -> Option<Event> {
        let held = self.held.len();
        let room = HEAD_BYTES_MAX.saturating_sub(held).min(input.len());
        self.held.extend(input.iter().take(room));
        match Head::read(&self.held, self.masked) {
            Read::More => {
                *input = input.split_at(room).1;
                None
            }
            Read::Never => {
                *input = input.split_at(room).1;
                self.lose();
                Some(Event::Broken)
            }
            Read::Whole(head) => {
                *input = input.split_at(head.bytes - held).1;
                self.held.clear();
                self.parsed += head.bytes as u64;
                self.frame = Some(head);
                self.left = head.payload;
                self.frame_end()
            }
        }
    }

    fn passed(&mut self, frame: Head, bytes: u64) {
        self.left -= bytes;
        self.parsed += bytes;
        if frame.kind & CONTROL == 0 {
            self.bytes += bytes;
        }
    }

    fn frame_end(&mut self) -> Option<Event> {
        let frame = self.frame.filter(|_| self.left == 0)?;
        self.frame = None;
        if frame.kind != CLOSE {
            self.messages += u64::from(frame.last && frame.kind & CONTROL == 0);
            return None;
        }
        self.goodbye = true;
        let code = std::mem::take(&mut self.code);
        let [high, low, ..] = frame.mask;
        let code = code.first_chunk::<2>().map(|[a, b]| u16::from_be_bytes([a ^ high, b ^ low]));
        Some(Event::Goodbye { code })
    }
}
