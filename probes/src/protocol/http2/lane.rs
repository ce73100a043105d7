//! One direction of a connection: where in a frame its next byte stands.
//!
//! Invariants: of a frame no more is held than its head, of a header block no more than the limit;
//! what is told as the end of a frame or block is one, since each byte before it was placed. A
//! place that was lost is found again only where a call begins with frames.

use super::frame::{self, Frame, HEAD_BYTES, Kind, PREFACE};
use super::hpack::Decoder;
use super::message::{Message, Rules};

/// What reading came to.
#[derive(Debug)]
pub(super) enum Event<'a> {
    /// A header block is whole; no message where it was too long to be held.
    Message { stream: u32, began: u64, end_stream: bool, message: Option<Message> },
    /// A part of a body.
    Data { stream: u32, bytes: &'a [u8] },
    /// So many bytes of a body passed and were not copied.
    Skipped { stream: u32, bytes: u64 },
    /// A body is whole.
    DataEnd { stream: u32 },
    /// A stream was ended by force.
    Reset { stream: u32, code: u32 },
    /// Streams beyond this one were not taken up, and no more will be.
    GoAway { last: u32 },
    /// What came cannot come here.
    Broken,
}

/// Where the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the preface, of which so many bytes have come.
    Preface(usize),
    /// Before a frame or in its head.
    Head,
    Payload(Payload),
    /// Nowhere that is known.
    Lost,
}

/// The payload of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Payload {
    frame: Frame,
    left: u32,
    /// The length of the padding is still to come.
    pad_unread: bool,
    /// Bytes to be passed over before the content.
    before: u32,
    /// Bytes of padding at the end.
    pad: u32,
}

/// A header block that is not whole yet.
#[derive(Debug, Clone, Copy)]
struct Open {
    stream: u32,
    began: u64,
    end_stream: bool,
    promise: bool,
    too_long: bool,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Lane {
    place: Place,
    /// The head of the frame so far, or the beginning of the content of a frame that is read whole.
    small: Vec<u8>,
    /// When the first byte of the frame passed.
    began: u64,
    open: Option<Open>,
    block: Vec<u8>,
    decoder: Decoder,
    /// Bytes that were used and not yet understood.
    held: u64,
    parsed: u64,
    unparsed: u64,
}

/// Content of this length is read whole.
const SMALL_BYTES: usize = 8;

impl Lane {
    /// Memory that is held.
    pub(super) fn held_bytes(&self) -> usize {
        self.small.capacity() + self.block.capacity() + self.decoder.held_bytes()
    }

    /// `from_start`: no byte came before the first that will be fed. `client`: it begins with a
    /// preface then.
    pub(super) fn new(rules: &Rules, from_start: bool, client: bool) -> Self {
        let place = match (from_start, client) {
            (true, true) => Place::Preface(0),
            (true, false) => Place::Head,
            (false, _) => Place::Lost,
        };
        Self {
            place,
            small: Vec::new(),
            began: 0,
            open: None,
            block: Vec::new(),
            decoder: Decoder::new(rules.header_table_bytes_max, from_start),
            held: 0,
            parsed: 0,
            unparsed: 0,
        }
    }

    /// It is not known where the next byte stands.
    pub(super) fn lost(&self) -> bool {
        self.place == Place::Lost
    }

    /// Bytes that were understood since the last call, and bytes that were not.
    pub(super) fn take_counts(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.parsed), std::mem::take(&mut self.unparsed))
    }

    /// Gives up its place, and what it knew of header blocks.
    pub(super) fn lose(&mut self) {
        self.place = Place::Lost;
        self.small = Vec::new();
        self.block = Vec::new();
        self.open = None;
        self.decoder.forget();
        self.unparsed += std::mem::take(&mut self.held);
    }

    /// A call begins with `bytes`: finds its place again, if it had lost it.
    pub(super) fn find(&mut self, bytes: &[u8], client: bool) {
        if !self.lost() {
            return;
        }
        if client && frame::preface(bytes) {
            self.place = Place::Preface(0);
        } else if frame::frames(bytes) {
            self.place = Place::Head;
        }
    }

    /// Reads on until something is to be told, or the input is used up.
    pub(super) fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
        time: u64,
        rules: &Rules,
    ) -> Option<Event<'a>> {
        loop {
            let event = match self.place {
                Place::Lost => return None,
                Place::Preface(have) => self.preface(have, input)?,
                Place::Head => self.head(input, time)?,
                Place::Payload(payload) if payload.left == 0 => self.frame_end(payload, rules),
                Place::Payload(payload) => self.payload(payload, input, rules)?,
            };
            if event.is_some() {
                return event;
            }
        }
    }

    /// Passes over bytes that were not copied, as far as it is known what they were.
    pub(super) fn skip<'a>(&mut self, bytes: &mut u64, rules: &Rules) -> Option<Event<'a>> {
        loop {
            let Place::Payload(mut payload) = self.place else { return None };
            if payload.left == 0 {
                match self.frame_end(payload, rules) {
                    None => continue,
                    event => return event,
                }
            }
            let data = payload.frame.kind == Kind::Data;
            if *bytes == 0
                || payload.pad_unread
                || payload.before > 0
                || !(data || passed_over(payload.frame.kind))
            {
                return None;
            }
            let content = payload.left - payload.pad;
            let most = if content > 0 { content } else { payload.pad };
            let taken = u32::try_from(*bytes).unwrap_or(u32::MAX).min(most);
            *bytes -= u64::from(taken);
            self.parsed += u64::from(taken) + std::mem::take(&mut self.held);
            payload.left -= taken;
            payload.pad = payload.pad.min(payload.left);
            self.place = Place::Payload(payload);
            if data && content > 0 {
                let stream = payload.frame.stream;
                return Some(Event::Skipped { stream, bytes: u64::from(taken) });
            }
        }
    }
}

/// Nothing in such a frame is needed.
fn passed_over(kind: Kind) -> bool {
    matches!(kind, Kind::Priority | Kind::Settings | Kind::Ping | Kind::Window | Kind::Other)
}

/// The first bytes of `input`, which go on behind them.
fn take<'a>(input: &mut &'a [u8], bytes: usize) -> &'a [u8] {
    let (taken, rest) = input.split_at(bytes.min(input.len()));
    *input = rest;
    taken
}

/// Parts of a frame. What is told inside is none where reading goes on, and none outside where
/// there is no more input.
impl Lane {
    fn preface<'a>(&mut self, have: usize, input: &mut &[u8]) -> Option<Option<Event<'a>>> {
        if input.is_empty() {
            return None;
        }
        let wanted = PREFACE.get(have..).unwrap_or_default();
        let taken = take(input, wanted.len());
        self.held += taken.len() as u64;
        if !wanted.starts_with(taken) {
            return Some(Some(Event::Broken));
        }
        self.place = Place::Preface(have + taken.len());
        if taken.len() == wanted.len() {
            self.place = Place::Head;
            self.parsed += std::mem::take(&mut self.held);
        }
        Some(None)
    }

    fn head<'a>(&mut self, input: &mut &[u8], time: u64) -> Option<Option<Event<'a>>> {
        if input.is_empty() {
            return None;
        }
        if self.small.is_empty() {
            self.began = time;
        }
        let taken = take(input, HEAD_BYTES - self.small.len());
        self.held += taken.len() as u64;
        self.small.extend_from_slice(taken);
        let head = *self.small.first_chunk::<HEAD_BYTES>()?;
        self.small.clear();
        Some(self.begin(Frame::read(head)))
    }

    fn begin<'a>(&mut self, frame: Frame) -> Option<Event<'a>> {
        // Nothing may come between the parts of a header block.
        let goes_on = self.open.is_some_and(|open| open.stream == frame.stream);
        let fits = match self.open {
            Some(_) => frame.kind == Kind::Continuation && goes_on,
            None => frame.kind != Kind::Continuation,
        };
        if !frame.allowed() || !fits {
            return Some(Event::Broken);
        }
        let padded = matches!(frame.kind, Kind::Data | Kind::Headers | Kind::Promise);
        let pad_unread = padded && frame.has(frame::PADDED);
        let before = match frame.kind {
            Kind::Headers if frame.has(frame::PRIORITISED) => 5,
            Kind::Promise => 4,
            _ => 0,
        };
        if before + u32::from(pad_unread) > frame.len {
            return Some(Event::Broken);
        }
        if matches!(frame.kind, Kind::Headers | Kind::Promise) {
            self.open = Some(Open {
                stream: frame.stream,
                began: self.began,
                end_stream: frame.kind == Kind::Headers && frame.has(frame::END_STREAM),
                promise: frame.kind == Kind::Promise,
                too_long: false,
            });
        }
        self.place = Place::Payload(Payload { frame, left: frame.len, pad_unread, before, pad: 0 });
        None
    }

    fn payload<'a>(
        &mut self,
        mut payload: Payload,
        input: &mut &'a [u8],
        rules: &Rules,
    ) -> Option<Option<Event<'a>>> {
        if input.is_empty() {
            return None;
        }
        let event = if payload.pad_unread {
            let pad = take(input, 1).first().copied().unwrap_or(0);
            payload.pad_unread = false;
            payload.pad = u32::from(pad);
            self.used(&mut payload, 1);
            let broken = payload.before + payload.pad > payload.left;
            broken.then_some(Event::Broken)
        } else if payload.before > 0 {
            let taken = take(input, payload.before as usize).len();
            payload.before -= u32::try_from(taken).unwrap_or(payload.before);
            self.used(&mut payload, taken);
            None
        } else if payload.left > payload.pad {
            let content = take(input, (payload.left - payload.pad) as usize);
            self.used(&mut payload, content.len());
            self.content(payload.frame, content, rules)
        } else {
            let taken = take(input, payload.left as usize).len();
            payload.pad -= u32::try_from(taken).unwrap_or(payload.pad);
            self.used(&mut payload, taken);
            None
        };
        self.place = Place::Payload(payload);
        Some(event)
    }

    /// So many bytes of a payload were read.
    fn used(&mut self, payload: &mut Payload, bytes: usize) {
        payload.left -= u32::try_from(bytes).unwrap_or(payload.left);
        self.held += bytes as u64;
        if self.open.is_none() {
            self.parsed += std::mem::take(&mut self.held);
        }
    }

    fn content<'a>(&mut self, frame: Frame, bytes: &'a [u8], rules: &Rules) -> Option<Event<'a>> {
        match frame.kind {
            Kind::Data => return Some(Event::Data { stream: frame.stream, bytes }),
            Kind::Reset | Kind::GoAway => {
                let room = SMALL_BYTES.saturating_sub(self.small.len()).min(bytes.len());
                self.small.extend(bytes.iter().take(room));
            }
            _ => {}
        }
        if let Some(open) = &mut self.open {
            open.too_long |= self.block.len() + bytes.len() > rules.head_bytes_max;
            if open.too_long {
                self.block = Vec::new();
            } else {
                self.block.extend_from_slice(bytes);
            }
        }
        None
    }

    fn frame_end<'a>(&mut self, payload: Payload, rules: &Rules) -> Option<Event<'a>> {
        let Payload { frame, .. } = payload;
        self.place = Place::Head;
        if self.open.is_none() {
            self.parsed += std::mem::take(&mut self.held);
        }
        let small = std::mem::take(&mut self.small);
        let word = |at: usize| {
            let bytes = small.get(at..).and_then(|bytes| bytes.first_chunk::<4>());
            bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
        };
        match frame.kind {
            Kind::Data if frame.has(frame::END_STREAM) => {
                Some(Event::DataEnd { stream: frame.stream })
            }
            Kind::Reset => Some(Event::Reset { stream: frame.stream, code: word(0) }),
            Kind::GoAway => Some(Event::GoAway { last: word(0) & 0x7fff_ffff }),
            Kind::Headers | Kind::Promise | Kind::Continuation if frame.has(frame::END_HEADERS) => {
                let open = self.open.take()?;
                self.block_end(open, rules)
            }
            _ => None,
        }
    }

    fn block_end<'a>(&mut self, open: Open, rules: &Rules) -> Option<Event<'a>> {
        let Open { stream, began, end_stream, promise, too_long } = open;
        let block = std::mem::take(&mut self.block);
        if too_long {
            self.decoder.forget();
            self.unparsed += std::mem::take(&mut self.held);
            return Some(Event::Message { stream, began, end_stream, message: None });
        }
        let Ok(message) = Message::read(&block, &mut self.decoder, rules) else {
            return Some(Event::Broken);
        };
        self.parsed += std::mem::take(&mut self.held);
        // What a server promises it was not asked for.
        let told = Event::Message { stream, began, end_stream, message: Some(message) };
        (!promise).then_some(told)
    }
}
