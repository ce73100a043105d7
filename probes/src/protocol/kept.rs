//! What is kept of a body.
//!
//! Invariant: a body is never held, only counted and, up to a limit, kept from its first byte on.

use super::BodySize;
use super::grpc::Messages;

/// What messages that are being read take, with some of a trailer.
const READING_BYTES: usize = 512;

/// Of one body.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    /// Payload bytes that passed.
    pub(super) bytes: u64,
    /// The first of them, as many as were wanted and captured without a hole.
    pub(super) start: Vec<u8>,
    /// How many are wanted.
    pub(super) start_bytes_max: usize,
    /// An unknown number of bytes is missing.
    pub(super) holed: bool,
    /// What is read of it as it comes, where it holds messages.
    pub(super) messages: Option<Box<Reading>>,
}

/// Messages of a body, and how much of it they have seen.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    messages: Messages,
    bytes: u64,
}

impl Reading {
    /// Nothing yet.
    pub(super) fn new(messages: Messages) -> Self {
        Self { messages, bytes: 0 }
    }

    /// The next bytes, behind so many.
    fn push(&mut self, behind: u64, data: &[u8]) {
        self.catch_up(behind);
        self.messages.push(data);
        self.bytes += data.len() as u64;
    }

    /// So many bytes have passed, some of which nobody has read.
    fn catch_up(&mut self, bytes: u64) {
        self.messages.skip(bytes.saturating_sub(self.bytes));
        self.bytes = bytes;
    }
}

impl Kept {
    /// Nothing yet; so many of its first bytes are wanted.
    pub(super) fn wanted(start_bytes_max: usize) -> Self {
        Self { start_bytes_max, ..Self::default() }
    }

    /// More of it.
    pub(super) fn push(&mut self, data: &[u8]) {
        let whole = self.start.len() as u64 == self.bytes;
        let room = self.start_bytes_max.saturating_sub(self.start.len());
        if let Some(reading) = &mut self.messages {
            reading.push(self.bytes, data);
        }
        self.bytes += data.len() as u64;
        if whole && room > 0 {
            self.start.extend(data.iter().take(room));
        }
    }

    /// Memory that is held.
    pub(super) fn held_bytes(&self) -> usize {
        let reading = self.messages.as_ref().map_or(0, |_reading| READING_BYTES);
        self.start.capacity() + reading
    }

    /// The messages in it, if it has any.
    pub(super) fn take_messages(&mut self) -> Option<Messages> {
        let mut reading = self.messages.take()?;
        reading.catch_up(self.bytes);
        if self.holed {
            reading.messages.lose();
        }
        Some(reading.messages)
    }

    /// Its size; `whole`: its end was seen.
    pub(super) fn size(&self, whole: bool) -> BodySize {
        let exact = whole && !self.holed;
        if exact { BodySize::Exact(self.bytes) } else { BodySize::AtLeast(self.bytes) }
    }
}
