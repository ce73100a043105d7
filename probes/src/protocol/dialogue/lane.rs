//! One direction, cut into messages: a head, and a body of which the head tells the length.
//!
//! Invariants: a head is held only up to its limit, and of a body only what its grammar wants of
//! it; a message that lies whole in one segment is not copied at all.

use crate::protocol::Segment;

/// What the beginning of a message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Head {
    /// Too little of it is there.
    More,
    /// It is whole.
    Whole {
        /// Bytes of the head.
        len: usize,
        /// Bytes of the body behind it.
        body: u64,
        /// How many of those are wanted.
        keep: usize,
    },
    /// It is none.
    Broken,
}

/// A message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unit<'a> {
    pub(crate) head: &'a [u8],
    /// What is kept of the body; shorter than wanted where bytes were not copied.
    pub(crate) body: &'a [u8],
    /// Some of what is wanted of the body was not copied.
    pub(crate) holed: bool,
    /// How long the body was.
    pub(crate) body_bytes: u64,
    /// When its first byte passed.
    pub(crate) began: u64,
    /// When its last byte passed.
    pub(crate) ended: u64,
}

impl Unit<'_> {
    /// Its length on the wire.
    pub(crate) fn bytes(&self) -> u64 {
        self.head.len() as u64 + self.body_bytes
    }

    /// The same, as long as it is, of which no byte is to be kept.
    pub(crate) fn without_content(&self) -> Unit<'static> {
        let Unit { holed, began, ended, .. } = *self;
        Unit { head: &[], body: &[], body_bytes: self.bytes(), holed, began, ended }
    }
}

/// A segment that is being read.
#[derive(Debug)]
pub(crate) struct Input<'a> {
    captured: &'a [u8],
    omitted: u64,
    time: u64,
}

impl<'a> Input<'a> {
    pub(crate) fn new(segment: &Segment<'a>) -> Self {
        Self { captured: segment.captured, omitted: segment.omitted, time: segment.time }
    }

    /// Bytes that were not taken yet.
    pub(super) fn rest(&self) -> u64 {
        self.captured.len() as u64 + self.omitted
    }

    pub(super) fn omitted(&self) -> u64 {
        self.omitted
    }

    /// Takes so many bytes that nobody reads; returns how many they were.
    pub(super) fn skip(&mut self, bytes: usize) -> u64 {
        self.take(bytes).len() as u64
    }

    fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (taken, rest) = self.captured.split_at(bytes.min(self.captured.len()));
        self.captured = rest;
        taken
    }
}

/// What came of looking for the next message.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    /// All input was taken.
    More,
    /// This one.
    Unit(Unit<'a>),
    /// What comes is no message, or its beginning was not copied.
    Broken,
}

/// The body of a message under way.
#[derive(Debug, Clone, Copy)]
struct Body {
    head_bytes: usize,
    bytes: u64,
    left: u64,
    keep: usize,
    holed: bool,
}

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    /// The message under way: its head, and then what is kept of its body.
    held: Vec<u8>,
    began: u64,
    body: Option<Body>,
}

/// Memory of a message that is kept for the next one.
const KEPT_BYTES_MAX: usize = 4 << 10;

impl Lane {
    /// Gives up the message under way; returns how much of it had passed.
    pub(crate) fn reset(&mut self) -> u64 {
        let passed = match self.body.take() {
            // It was handed out already.
            Some(body) if body.left == 0 => 0,
            Some(body) => body.head_bytes as u64 + body.bytes - body.left,
            None => self.held.len() as u64,
        };
        self.held = Vec::new();
        passed
    }

    /// Memory that is held.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held.capacity()
    }

    /// A message has begun and is not whole.
    pub(crate) fn is_amid(&self) -> bool {
        self.body.map_or(!self.held.is_empty(), |body| body.left > 0)
    }

    /// The next message that the input completes.
    pub(crate) fn next<'u, 'a: 'u>(
        &'u mut self,
        input: &mut Input<'a>,
        head_bytes_max: usize,
        head: impl Fn(&[u8]) -> Head,
    ) -> Step<'u> {
        if self.body.is_some_and(|body| body.left == 0) {
            self.begin();
        }
        if self.body.is_none() {
            if input.captured.is_empty() {
                return if input.omitted > 0 { Step::Broken } else { Step::More };
            }
            let inline = self.held.is_empty();
            let found =
                if inline { head(input.captured) } else { self.join(input, head_bytes_max, head) };
            match found {
                Head::Broken => return Step::Broken,
                Head::More if inline && input.captured.len() >= head_bytes_max => {
                    return Step::Broken;
                }
                Head::More if inline => {
                    self.began = input.time;
                    self.held.extend_from_slice(input.take(usize::MAX));
                    return if input.omitted > 0 { Step::Broken } else { Step::More };
                }
                Head::More if input.omitted > 0 || self.held.len() >= head_bytes_max => {
                    return Step::Broken;
                }
                Head::More => return Step::More,
                Head::Whole { len, body, keep } if inline => {
                    if let Some(unit) = whole(input, len, body, keep) {
                        return Step::Unit(unit);
                    }
                    self.began = input.time;
                    self.held.extend_from_slice(input.take(len));
                    self.body = Some(Body::new(len, body, keep));
                }
                Head::Whole { len, body, keep } => self.body = Some(Body::new(len, body, keep)),
            }
        }
        self.fill(input)
    }

    /// Adds input to a head that began earlier, and gives back what is behind the head.
    fn join(
        &mut self,
        input: &mut Input<'_>,
        head_bytes_max: usize,
        head: impl Fn(&[u8]) -> Head,
    ) -> Head {
        let before = self.held.len();
        let room = head_bytes_max.saturating_sub(before);
        let (joined, _) = input.captured.split_at(room.min(input.captured.len()));
        self.held.extend_from_slice(joined);
        let found = head(&self.held);
        let used = match found {
            Head::Whole { len, .. } => {
                self.held.truncate(len);
                len.saturating_sub(before)
            }
            Head::More => joined.len(),
            // It is counted with what is behind it.
            Head::Broken => {
                self.held.truncate(before);
                0
            }
        };
        input.take(used);
        found
    }

    fn fill<'u>(&'u mut self, input: &mut Input<'_>) -> Step<'u> {
        let Some(body) = self.body.as_mut() else { return Step::More };
        let data = input.take(usize::try_from(body.left).unwrap_or(usize::MAX));
        body.left -= data.len() as u64;
        if !body.holed {
            let room = (body.head_bytes + body.keep).saturating_sub(self.held.len());
            self.held.extend_from_slice(data.split_at(room.min(data.len())).0);
        }
        if input.captured.is_empty() && input.omitted > 0 && body.left > 0 {
            let skipped = input.omitted.min(body.left);
            body.left -= skipped;
            body.holed = true;
            input.omitted -= skipped;
        }
        if body.left > 0 {
            return Step::More;
        }
        let (bytes, head_bytes) = (body.bytes, body.head_bytes);
        let holed = body.holed && self.held.len() < head_bytes + body.keep;
        let (head, kept) = self.held.split_at(head_bytes.min(self.held.len()));
        let (began, ended) = (self.began, input.time);
        Step::Unit(Unit { head, body: kept, holed, body_bytes: bytes, began, ended })
    }

    /// The message before was handed out.
    fn begin(&mut self) {
        self.body = None;
        if self.held.capacity() > KEPT_BYTES_MAX {
            self.held = Vec::new();
        }
        self.held.clear();
    }
}

impl Body {
    fn new(head_bytes: usize, bytes: u64, keep: usize) -> Self {
        let keep = keep.min(usize::try_from(bytes).unwrap_or(usize::MAX));
        Self { head_bytes, bytes, left: bytes, keep, holed: false }
    }
}

/// The message, if all of it lies in the input.
fn whole<'a>(input: &mut Input<'a>, len: usize, body: u64, keep: usize) -> Option<Unit<'a>> {
    let behind = input.captured.len().checked_sub(len)? as u64;
    if behind < body {
        return None;
    }
    let (time, body_bytes) = (input.time, body);
    let head = input.take(len);
    let body = input.take(usize::try_from(body).ok()?);
    let (kept, _) = body.split_at(keep.min(body.len()));
    Some(Unit { head, body: kept, holed: false, body_bytes, began: time, ended: time })
}
