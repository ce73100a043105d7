//! What has come on a connection whose protocol is not known yet.
//!
//! Invariant: what is held is bounded by segments and by bytes, and is handed on or counted, never
//! both: once the protocol is known its parser is fed what was held as if nobody had looked before.

use std::borrow::Cow;
use std::collections::VecDeque;

use super::{Direction, Role, Segment};

/// What a protocol makes of an [`Opening`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// It is this protocol, and the owner of the socket plays this role.
    Certain(Role),
    /// It may be; more bytes will tell.
    Possible,
    /// It is not, whatever comes.
    Never,
}

/// A segment that waits for the protocol to be told.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) direction: Direction,
    pub(super) time: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) omitted: u64,
}

impl Held {
    /// Bytes that passed, copied or not.
    pub(super) fn passed(&self) -> u64 {
        self.bytes.len() as u64 + self.omitted
    }

    /// As a parser is fed it.
    pub(super) fn segment(&self) -> Segment<'_> {
        let Self { direction, time, bytes, omitted } = self;
        let (direction, time, omitted) = (*direction, *time, *omitted);
        Segment { direction, time, captured: bytes, omitted, gap_before: false }
    }
}

/// Segments in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Log {
    held: VecDeque<Held>,
    bytes: usize,
}

impl Log {
    pub(super) fn push(&mut self, segment: &Segment<'_>) {
        let &Segment { direction, time, captured, omitted, gap_before: _ } = segment;
        self.bytes += captured.len();
        self.held.push_back(Held { direction, time, bytes: captured.to_vec(), omitted });
    }

    pub(super) fn pop(&mut self) -> Option<Held> {
        let held = self.held.pop_front()?;
        self.bytes -= held.bytes.len();
        Some(held)
    }

    /// Makes one of neighbours that travelled the same way with nothing missing between them.
    pub(super) fn join(&mut self) {
        let mut joined = VecDeque::with_capacity(self.held.len());
        for held in self.held.drain(..) {
            match joined.back_mut() {
                Some(Held { direction, bytes, omitted, .. })
                    if *direction == held.direction && *omitted == 0 =>
                {
                    bytes.extend_from_slice(&held.bytes);
                    *omitted = held.omitted;
                }
                _ => joined.push_back(held),
            }
        }
        self.held = joined;
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Bytes that are held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What has come from the segment with this index on; none where it holds nothing to look at.
    pub(super) fn opening(&mut self, at: usize, from_start: bool) -> Option<Opening<'_>> {
        let held = self.held.make_contiguous().get(at..)?;
        let first = held.first().filter(|held| !held.bytes.is_empty())?.direction;
        Some(Opening { held, first, from_start: from_start && at == 0 })
    }

    /// Takes so many of the first bytes off, which all travelled in the direction of the first.
    pub(super) fn take_off(&mut self, mut bytes: usize) {
        let Some(direction) = self.held.front().map(|held| held.direction) else { return };
        for held in self.held.iter_mut().filter(|held| held.direction == direction) {
            let taken = bytes.min(held.bytes.len());
            held.bytes.drain(..taken);
            bytes -= taken;
            self.bytes -= taken;
        }
        self.held.retain(|held| held.passed() > 0);
    }
}

/// A view of what has come, from some segment on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opening<'a> {
    held: &'a [Held],
    first: Direction,
    /// Nothing came before it on its connection.
    pub(super) from_start: bool,
}

impl Opening<'_> {
    /// The direction in which its first byte travelled.
    pub(super) fn first(&self) -> Direction {
        self.first
    }

    /// The role of the owner, if the first byte is one of a request.
    pub(super) fn asked_first(&self) -> Role {
        match self.first {
            Direction::Inbound => Role::Server,
            Direction::Outbound => Role::Client,
        }
    }

    /// The role of the owner, if the first byte is one of an answer or a greeting.
    pub(super) fn answered_first(&self) -> Role {
        match self.first {
            Direction::Inbound => Role::Client,
            Direction::Outbound => Role::Server,
        }
    }

    /// The bytes of one direction, as far as they were copied without a hole.
    pub(super) fn bytes(&self, direction: Direction) -> Cow<'_, [u8]> {
        let mut of_direction = self.held.iter().filter(|held| held.direction == direction);
        let Some(first) = of_direction.next() else { return Cow::Borrowed(&[]) };
        let mut bytes = Cow::Borrowed(first.bytes.as_slice());
        let mut cut_off = first.omitted > 0;
        for held in of_direction {
            if cut_off {
                break;
            }
            bytes.to_mut().extend_from_slice(&held.bytes);
            cut_off = held.omitted > 0;
        }
        bytes
    }

    /// The bytes of this direction end in a hole: more of them will never come.
    pub(super) fn cut_off(&self, direction: Direction) -> bool {
        self.held.iter().any(|held| held.direction == direction && held.omitted > 0)
    }

    /// The bytes that travelled the way of the first, and the other way.
    pub(super) fn both(&self) -> (Cow<'_, [u8]>, Cow<'_, [u8]>) {
        (self.bytes(self.first), self.bytes(self.first.opposite()))
    }
}
