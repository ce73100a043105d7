//! One connection from its first byte: told apart by content, then parsed.
//!
//! Invariant: bytes that were looked at to tell the protocol are fed to its parser once it is
//! known, so that cutting the first line anywhere changes nothing.

use std::sync::Arc;

use super::http1::Http1;
use super::preamble::{Preamble, preamble};
use super::{
    Closing, Counts, Detection, Direction, Exchange, Limits, Protocol, Role, Segment, detect,
};

/// What is known of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// Not enough bytes yet: keep feeding.
    Undecided,
    /// Its requests are being read: keep feeding.
    Parsing(Role),
    /// Nothing that is understood, or handed off after an upgrade: payload is not needed any more.
    Ignored,
}

/// Feeds the bytes of one connection to the parser that understands them.
#[derive(Debug)]
pub struct Following {
    limits: Arc<Limits>,
    from_start: bool,
    looked_at: u32,
    held: Option<Held>,
    parser: Option<Box<dyn Protocol>>,
    counts: Counts,
}

/// A first line of which too little has come to tell what it is; detection gives up on long ones.
#[derive(Debug)]
struct Held {
    direction: Direction,
    time: u64,
    bytes: Vec<u8>,
}

impl Following {
    /// A connection of which nothing is known. `from_start`: every byte since it was opened will be
    /// fed, so that requests can be numbered.
    #[must_use]
    pub fn new(limits: Arc<Limits>, from_start: bool) -> Self {
        Self {
            limits,
            from_start,
            looked_at: 0,
            held: None,
            parser: None,
            counts: Counts::default(),
        }
    }

    /// Takes the next bytes; exchanges that they complete go to `out`.
    pub fn feed(&mut self, segment: &Segment<'_>, out: &mut Vec<Exchange>) -> Followed {
        if segment.gap_before {
            self.from_start = false;
        }
        match self.parser.as_mut() {
            Some(parser) => parser.feed(segment, out),
            None => self.look_at(segment, out),
        }
        self.followed()
    }

    /// The connection ended; what is still open goes to `out`.
    pub fn close(&mut self, time: u64, closing: Closing, out: &mut Vec<Exchange>) {
        self.drop_held();
        if let Some(parser) = self.parser.as_mut() {
            parser.close(time, closing, out);
        }
    }

    /// What became of the bytes since the last call.
    pub fn take_counts(&mut self) -> Counts {
        let mut counts = std::mem::take(&mut self.counts);
        if let Some(parser) = self.parser.as_mut() {
            counts.add(parser.take_counts());
        }
        counts
    }

    /// What is known so far.
    #[must_use]
    pub fn followed(&self) -> Followed {
        match &self.parser {
            Some(parser) if parser.finished() => Followed::Ignored,
            Some(parser) => Followed::Parsing(parser.role()),
            None if self.looked_at >= self.limits.detect_segments_max => Followed::Ignored,
            None => Followed::Undecided,
        }
    }

    fn look_at(&mut self, segment: &Segment<'_>, out: &mut Vec<Exchange>) {
        let goes_on = |held: &Held| held.direction == segment.direction && !segment.gap_before;
        if !self.held.as_ref().is_some_and(goes_on) {
            self.drop_held();
        }
        let joined = self.held.take();
        let time = joined.as_ref().map_or(segment.time, |held| held.time);
        let mut bytes = joined.map(|held| held.bytes).unwrap_or_default();
        bytes.extend_from_slice(segment.captured);
        let Some(bytes) = self.behind_preamble(time, bytes, segment) else { return };
        match detect(segment.direction, &bytes) {
            Detection::Http1(role) => self.parse_as(role, time, &bytes, segment, out),
            Detection::Undecided if segment.omitted == 0 => {
                self.held = Some(Held { direction: segment.direction, time, bytes });
            }
            Detection::Undecided | Detection::Unknown => {
                self.from_start = false;
                self.looked_at = self.looked_at.saturating_add(1);
                self.counts.unparsed_bytes += bytes.len() as u64 + segment.omitted;
            }
        }
    }

    /// Takes off what a load balancer wrote before the first request; none when nothing is left to
    /// look at yet.
    fn behind_preamble(
        &mut self,
        time: u64,
        mut bytes: Vec<u8>,
        segment: &Segment<'_>,
    ) -> Option<Vec<u8>> {
        match preamble(&bytes) {
            Preamble::Partial if segment.omitted == 0 => {
                self.held = Some(Held { direction: segment.direction, time, bytes });
                return None;
            }
            Preamble::Partial | Preamble::Absent => {}
            Preamble::Whole(len) => {
                self.counts.parsed_bytes += len as u64;
                bytes.drain(..len);
                if bytes.is_empty() && segment.omitted == 0 {
                    return None;
                }
            }
        }
        Some(bytes)
    }

    fn parse_as(
        &mut self,
        role: Role,
        time: u64,
        bytes: &[u8],
        segment: &Segment<'_>,
        out: &mut Vec<Exchange>,
    ) {
        let mut parser = Http1::new(Arc::clone(&self.limits), role, self.from_start);
        let first = Segment { time, captured: bytes, gap_before: false, ..*segment };
        parser.feed(&first, out);
        self.parser = Some(Box::new(parser));
    }

    fn drop_held(&mut self) {
        if let Some(held) = self.held.take() {
            self.from_start = false;
            self.counts.unparsed_bytes += held.bytes.len() as u64;
        }
    }
}
