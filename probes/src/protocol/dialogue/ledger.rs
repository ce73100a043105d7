//! What a parser of two lanes keeps account of, whatever its answers go by.
//!
//! Invariant: what is read of a segment and what is left of it is each counted once.

use super::lane::{Input, Unit};
use super::{BLIND_SEGMENTS_MAX, Read};
use crate::protocol::Counts;

/// The account of a connection.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) counts: Counts,
    blind_segments: u32,
    /// An exchange was whole.
    proven: bool,
    failures: u32,
    passed: bool,
}

impl Ledger {
    /// A message was read.
    pub(super) fn unit(&mut self, read: Read, unit: &Unit<'_>) {
        match read {
            Read::Broken | Read::Unread => self.counts.unparsed_bytes += unit.bytes(),
            Read::Understood | Read::Last => self.counts.parsed_bytes += unit.bytes(),
        }
    }

    /// Nobody reads what is left of a segment.
    pub(super) fn rest(&mut self, input: &mut Input<'_>) {
        let rest = input.rest();
        if self.passed {
            self.counts.passed_bytes += rest;
        } else {
            self.counts.unparsed_bytes += rest;
        }
    }

    /// Nothing behind this can be read; so many bytes of it are held already.
    pub(super) fn pass(&mut self, held: u64) {
        self.passed = true;
        self.counts.passed_bytes += held;
    }

    /// See [`Self::pass`].
    pub(super) const fn has_passed(&self) -> bool {
        self.passed
    }

    /// What was read is none of this protocol's, or bytes before it were left out.
    pub(super) fn broken(&mut self, input: &Input<'_>) {
        self.failures += u32::from(input.omitted() == 0);
    }

    /// The place was lost; of what was held, so many bytes had passed.
    pub(super) fn lost(&mut self, held: u64) {
        self.counts.resyncs += 1;
        self.counts.unparsed_bytes += held;
    }

    /// A segment in which no message was found.
    pub(super) fn blind_segment(&mut self) {
        self.blind_segments = self.blind_segments.saturating_add(1);
    }

    /// What is not found from now on counts from now on.
    pub(super) fn begin_blind(&mut self) {
        self.blind_segments = 0;
    }

    /// An exchange was whole.
    pub(super) fn whole(&mut self) {
        self.failures = 0;
        self.proven = true;
    }

    /// How often in a row bytes made no sense; the most that there is where none ever did.
    pub(super) const fn failures(&self) -> u32 {
        if !self.proven && self.blind_segments > BLIND_SEGMENTS_MAX {
            return u32::MAX;
        }
        self.failures
    }
}
