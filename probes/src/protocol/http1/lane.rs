//! One direction of a connection: where in a message its next byte stands.
//!
//! Invariant: a head is held only until it is whole, and never beyond the limit.

use std::borrow::Cow;

use super::body::Body;
use crate::protocol::kept::Kept;

/// Where the next byte stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Before a message or in its head.
    Head,
    /// In a body.
    Body(Body),
    /// In a body that its sender may not send at all, since the answer came before it.
    Refused(Body),
    /// Nowhere that is known; the next call that begins like a message is its start. `in_chunks`:
    /// it was lost in a chunked body, whose end can still be recognised.
    Lost { in_chunks: bool },
}

/// One direction.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) place: Place,
    /// The head so far.
    head: Vec<u8>,
    /// When its first byte passed.
    pub(super) began: u64,
    /// An answer that comes while the head is not whole may be one to another request.
    pub(super) doubtful: bool,
    /// What is kept of the current body.
    pub(super) kept: Kept,
}

/// What looking for the end of a head came to.
#[derive(Debug)]
pub(super) enum HeadStep<'a> {
    /// All input was used, the end is not there yet.
    More,
    /// The head is whole; so many bytes of the input belong to it.
    Whole { head: Cow<'a, [u8]>, used: usize },
    /// Longer than the limit: its beginning, to which so many bytes of the input belong.
    TooLong { head: Vec<u8>, used: usize },
}

impl Lane {
    pub(super) fn new(place: Place) -> Self {
        Self { place, head: Vec::new(), began: 0, doubtful: false, kept: Kept::default() }
    }

    /// The head so far.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// Memory that is held.
    pub(super) fn held_bytes(&self) -> usize {
        self.head.capacity() + self.kept.held_bytes()
    }

    /// Gives up the head so far; returns how long it was.
    pub(super) fn drop_head(&mut self) -> u64 {
        std::mem::take(&mut self.head).len() as u64
    }

    /// Hands the head so far on to somebody else.
    pub(super) fn hand_on(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.head)
    }

    /// Adds input to the head. Most come whole, and are left where they are.
    pub(super) fn take_head<'a>(
        &mut self,
        input: &'a [u8],
        time: u64,
        bytes_max: usize,
    ) -> HeadStep<'a> {
        let held = self.head.len();
        let room = bytes_max.saturating_sub(held).min(input.len());
        let more = input.split_at(room).0;
        if held == 0 {
            (self.began, self.doubtful) = (time, false);
            if let Some(end) = head_end(more, 0) {
                return HeadStep::Whole { head: more.split_at(end).0.into(), used: end };
            }
        }
        self.head.extend_from_slice(more);
        if let Some(end) = head_end(&self.head, held) {
            let mut head = std::mem::take(&mut self.head);
            head.truncate(end);
            return HeadStep::Whole { head: head.into(), used: end - held };
        }
        if self.head.len() < bytes_max {
            return HeadStep::More;
        }
        HeadStep::TooLong { head: std::mem::take(&mut self.head), used: room }
    }
}

/// Where the head ends (behind its blank line), when the first `scanned` bytes are known not to
/// hold the end.
fn head_end(head: &[u8], scanned: usize) -> Option<usize> {
    // The end is at most three bytes long, so that it may begin two before what was scanned.
    let from = scanned.saturating_sub(2);
    let (_, tail) = head.split_at_checked(from)?;
    memchr::memchr_iter(b'\n', tail).find_map(|line_end| {
        let behind = from + line_end + 1;
        match head.get(behind..)? {
            [b'\n', ..] => Some(behind + 1),
            [b'\r', b'\n', ..] => Some(behind + 2),
            _ => None,
        }
    })
}
