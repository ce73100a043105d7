//! One connection from its first byte: told apart by content, then parsed.
//!
//! Invariant: bytes that were looked at to tell the protocol are fed to its parser once it is
//! known, so that cutting a message anywhere changes nothing.

use std::sync::Arc;

use super::opening::Log;
use super::preamble::{Preamble, preamble};
use super::table::{Row, Told, tell};
use super::{Begun, Closing, Counts, Direction, Exchange, Limits, Protocol, Role, Segment};

/// What is known of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// Not enough bytes yet: keep feeding all of them.
    Undecided,
    /// Much has passed that is not understood: feed what may begin a request.
    Watching,
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
    log: Log,
    /// How much was held when segments were last made one, and which way the last had travelled.
    joined: Option<(usize, Direction)>,
    parser: Option<Box<dyn Protocol>>,
    counts: Counts,
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
            log: Log::default(),
            joined: None,
            parser: None,
            counts: Counts::default(),
        }
    }

    /// Takes the next bytes; exchanges that they complete go to `out`.
    pub fn feed(&mut self, segment: &Segment<'_>, out: &mut Vec<Exchange>) -> Followed {
        match self.parser.as_mut() {
            Some(parser) => {
                parser.feed(segment, out);
                let mistaken = parser.failures() >= self.limits.failures_max;
                if mistaken {
                    self.revoke(segment.time, out);
                }
            }
            None => self.look_at(segment, out),
        }
        self.followed()
    }

    /// The connection ended; what is still open goes to `out`.
    pub fn close(&mut self, time: u64, closing: Closing, out: &mut Vec<Exchange>) {
        self.drop_held(usize::MAX);
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

    /// About what is held of the connection, in bytes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let parser = self.parser.as_ref().map_or(0, |parser| parser.held_bytes());
        parser.saturating_add(self.log.bytes())
    }

    /// What is known so far.
    #[must_use]
    pub fn followed(&self) -> Followed {
        match &self.parser {
            Some(parser) if parser.finished() => Followed::Ignored,
            Some(parser) => Followed::Parsing(parser.role()),
            None if self.looked_at >= self.limits.detect_segments_max => Followed::Ignored,
            None if self.looked_at >= self.limits.open_segments_max => Followed::Watching,
            None => Followed::Undecided,
        }
    }

    /// What its owner is, where that is known.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        self.parser.as_ref().map(|parser| parser.role())
    }

    /// The request that was sent last, while it is not answered.
    #[must_use]
    pub fn newest(&self) -> Option<Begun<'_>> {
        self.parser.as_ref()?.newest()
    }

    /// See [`Protocol::beside`].
    #[must_use]
    pub fn beside(&self, time: u64) -> Vec<Begun<'_>> {
        self.parser.as_ref().map(|parser| parser.beside(time)).unwrap_or_default()
    }

    fn look_at(&mut self, segment: &Segment<'_>, out: &mut Vec<Exchange>) {
        if segment.gap_before {
            self.from_start = false;
            self.drop_held(usize::MAX);
        }
        self.log.push(segment);
        if self.is_too_soon(segment) {
            return self.log.join();
        }
        if !self.behind_preamble() {
            return;
        }
        match tell(&mut self.log, self.from_start) {
            Told::Known { row, role, at } => self.parse_as(row, role, at, out),
            Told::Possible { at } if self.has_room(segment.direction) => self.drop_held(at),
            Told::Possible { .. } | Told::Nothing => self.drop_held(usize::MAX),
        }
    }

    /// To look at all that is held for each byte of it would take as long as somebody likes: an eighth more, the end of a line or
    /// the other end is waited for.
    fn is_too_soon(&self, segment: &Segment<'_>) -> bool {
        let Some((bytes, direction)) = self.joined else { return false };
        let is_more = self.log.bytes() >= bytes + bytes / 8 || segment.captured.contains(&b'\n');
        !is_more && segment.direction == direction
    }

    /// Some write the first that they have to say byte by byte: such segments are made one.
    fn has_room(&mut self, direction: Direction) -> bool {
        let segments_max = usize::try_from(self.limits.open_segments_max).unwrap_or(usize::MAX);
        if self.from_start && (self.joined.is_some() || self.log.len() >= segments_max) {
            self.log.join();
            self.joined = Some((self.log.bytes(), direction));
        }
        self.log.len() < segments_max && self.log.bytes() < self.limits.open_bytes_max
    }

    /// Takes off what a load balancer wrote before the first request; false when nothing is left to
    /// look at yet.
    fn behind_preamble(&mut self) -> bool {
        let Some(opening) = self.log.opening(0, false) else { return true };
        let direction = opening.first();
        match preamble(&opening.bytes(direction)) {
            Preamble::Partial => opening.cut_off(direction),
            Preamble::Absent => true,
            Preamble::Whole(len) => {
                self.counts.parsed_bytes += len as u64;
                self.log.take_off(len);
                self.log.len() > 0
            }
        }
    }

    fn parse_as(&mut self, row: &Row, role: Role, at: usize, out: &mut Vec<Exchange>) {
        self.drop_held(at);
        let mut parser = row.parser(Arc::clone(&self.limits), role, self.from_start);
        while let Some(held) = self.log.pop() {
            parser.feed(&held.segment(), out);
        }
        self.parser = Some(parser);
    }

    /// The parser does not understand what comes: looks anew.
    fn revoke(&mut self, time: u64, out: &mut Vec<Exchange>) {
        let Some(mut parser) = self.parser.take() else { return };
        parser.close(time, Closing::Unwatched, out);
        self.counts.add(parser.take_counts());
        self.counts.revoked += 1;
        self.from_start = false;
        self.looked_at = self.looked_at.saturating_add(self.limits.failures_max);
    }

    /// Gives up the first of what is held, `segments` at most.
    fn drop_held(&mut self, segments: usize) {
        for _ in 0..segments {
            let Some(held) = self.log.pop() else { return };
            self.from_start = false;
            self.looked_at = self.looked_at.saturating_add(1);
            self.counts.unparsed_bytes += held.passed();
        }
    }
}
