//! What is kept of a body.
//!
//! Invariant: a body is never held, only counted and, up to a limit, kept from its first byte on.

use super::BodySize;

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
        self.bytes += data.len() as u64;
        if whole && room > 0 {
            self.start.extend(data.iter().take(room));
        }
    }

    /// Memory that is held.
    pub(super) fn held_bytes(&self) -> usize {
        self.start.capacity()
    }

    /// Its size; `whole`: its end was seen.
    pub(super) fn size(&self, whole: bool) -> BodySize {
        let exact = whole && !self.holed;
        if exact { BodySize::Exact(self.bytes) } else { BodySize::AtLeast(self.bytes) }
    }
}
