//! Two lanes of messages of which each says what it belongs to: by a number, a stream, a name.
//!
//! Invariants: an answer is given only to the message that it names, and to none that was sent
//! before bytes were lost; each direction loses its place and finds it again by itself; each byte is
//! counted once.

use std::fmt::Debug;

use super::lane::{Head, Input, Lane, Step, Unit};
use super::ledger::Ledger;
use super::pending::Pending;
use super::queue::Call;
use super::{QUIET_NANOS, Read, Side};
use crate::protocol::{
    Begun, Closing, Counts, Direction, Exchange, Limits, Protocol, Role, Segment,
};

/// How messages of a protocol are cut and what they mean. Everything else is [`Correlation`]'s.
pub(crate) trait Correlated: Debug + Send {
    /// What an answer calls the message that it belongs to.
    type Key: Eq + Debug + Send;
    /// What is remembered of a message until it is answered.
    type Call: Call;

    /// Reads the head of a message at the start of `bytes`.
    fn head(&self, side: Side, bytes: &[u8]) -> Head;

    /// Reads a message.
    fn message(
        &mut self,
        side: Side,
        unit: &Unit<'_>,
        pending: &mut Pending<Self::Key, Self::Call>,
    ) -> Read;

    /// Where in the bytes of a segment a message certainly begins, after a loss before them.
    fn resume(
        &self,
        side: Side,
        bytes: &[u8],
        pending: &Pending<Self::Key, Self::Call>,
    ) -> Option<usize>;

    /// Messages of this side were lost: what they may have changed is not known any more.
    fn forget(&mut self, side: Side);

    /// How long the answer to this is waited for, in nanoseconds; none: as long as it takes.
    /// `doubtful`: it may have passed unseen.
    fn patience(&self, _: &Self::Call, _doubtful: bool) -> Option<u64> {
        None
    }

    /// Memory behind what it knows of the connection, and behind messages which are not whole yet.
    fn held_bytes(&self) -> usize {
        0
    }
}

/// A direction: its messages, and whether its place in them is known.
#[derive(Debug, Default)]
struct Way {
    lane: Lane,
    lost: bool,
    /// Its place was lost once, so that what it was found by may have been anything.
    resumed: bool,
    last_seen: u64,
    /// A short piece that came last, while the place is lost: who reads the head of a message by
    /// itself has the rest of it in the next one.
    short: Vec<u8>,
}

/// Longer pieces hold the head of a message.
const SHORT_BYTES_MAX: usize = 64;

impl Way {
    /// Gives up what is held; returns how much of it had passed.
    fn reset(&mut self) -> u64 {
        self.lane.reset() + std::mem::take(&mut self.short).len() as u64
    }
}

/// The parser of a connection with such messages.
#[derive(Debug)]
pub(crate) struct Correlation<C: Correlated> {
    grammar: C,
    role: Role,
    head_bytes_max: usize,
    ledger: Ledger,
    requests: Way,
    responses: Way,
    pending: Pending<C::Key, C::Call>,
}

impl<C: Correlated> Correlation<C> {
    pub(crate) fn new(grammar: C, limits: &Limits, role: Role, from_start: bool) -> Self {
        let way = || Way { lost: !from_start, resumed: !from_start, ..Way::default() };
        Self {
            grammar,
            role,
            head_bytes_max: limits.head_bytes_max,
            ledger: Ledger::default(),
            requests: way(),
            responses: way(),
            pending: Pending::new(limits, role, from_start),
        }
    }

    fn side(&self, direction: Direction) -> Side {
        if direction == self.role.requests() { Side::Requests } else { Side::Responses }
    }

    fn way(&mut self, side: Side) -> &mut Way {
        match side {
            Side::Requests => &mut self.requests,
            Side::Responses => &mut self.responses,
        }
    }

    /// Reads all messages that the input completes.
    fn read(&mut self, side: Side, input: &mut Input<'_>) {
        let mut lane = std::mem::take(&mut self.way(side).lane);
        let fate = loop {
            let grammar = &self.grammar;
            let unit =
                match lane.next(input, self.head_bytes_max, |bytes| grammar.head(side, bytes)) {
                    Step::More => break Read::Understood,
                    Step::Broken => break Read::Broken,
                    Step::Unit(unit) => unit,
                };
            let read = self.grammar.message(side, &unit, &mut self.pending);
            self.ledger.unit(read, &unit);
            if read.ends() {
                break read;
            }
        };
        self.way(side).lane = lane;
        match fate {
            Read::Understood | Read::Unread => {}
            Read::Last => self.ledger.pass(self.requests.reset() + self.responses.reset()),
            Read::Broken => {
                self.ledger.broken(input);
                self.lose(side);
            }
        }
    }

    fn lose(&mut self, side: Side) {
        let way = self.way(side);
        let held = way.reset();
        (way.lost, way.resumed) = (true, true);
        self.ledger.lost(held);
        self.pending.lose(side);
        self.grammar.forget(side);
    }

    /// Takes up again where a message begins; false where none does.
    fn resume(&mut self, side: Side, segment: &Segment<'_>, input: &mut Input<'_>) -> bool {
        let short = std::mem::take(&mut self.way(side).short);
        if !short.is_empty() {
            let joined = [short.as_slice(), segment.captured].concat();
            if self.grammar.resume(side, &joined, &self.pending) == Some(0) {
                self.way(side).lost = false;
                let time = self.way(side).last_seen;
                let before = Segment { time, captured: &short, omitted: 0, ..*segment };
                let mut before = Input::new(&before);
                self.read(side, &mut before);
                // What followed on the head made no sense: the place is lost again.
                self.ledger.rest(&mut before);
                return !self.way(side).lost && !self.ledger.has_passed();
            }
            self.ledger.counts.unparsed_bytes += short.len() as u64;
        }
        if let Some(at) = self.grammar.resume(side, segment.captured, &self.pending) {
            self.ledger.counts.unparsed_bytes += input.skip(at);
            self.way(side).lost = false;
            return true;
        }
        self.ledger.blind_segment();
        if segment.omitted == 0 && segment.captured.len() <= SHORT_BYTES_MAX {
            input.skip(segment.captured.len());
            self.way(side).short = segment.captured.to_vec();
        }
        false
    }

    /// What was taken for a head after a loss has the lane wait for what never comes.
    fn took_up_wrongly(&mut self, side: Side, segment: &Segment<'_>) -> bool {
        let way = match side {
            Side::Requests => &self.requests,
            Side::Responses => &self.responses,
        };
        way.resumed
            && way.lane.is_amid()
            && segment.time.saturating_sub(way.last_seen) >= QUIET_NANOS
            && self.grammar.resume(side, segment.captured, &self.pending) == Some(0)
    }

    fn give_up_waiting(&mut self, now: u64) {
        let grammar = &self.grammar;
        self.pending.give_up_waiting(now, |call, doubtful| grammar.patience(call, doubtful));
    }

    fn settle(&mut self, out: &mut Vec<Exchange>) {
        if self.pending.take_done(out) {
            self.ledger.whole();
        }
        self.ledger.counts.requests_shed += self.pending.take_shed();
        self.ledger.counts.responses_without_request += self.pending.take_unasked();
    }
}

impl<C: Correlated> Protocol for Correlation<C> {
    fn feed(&mut self, segment: &Segment<'_>, out: &mut Vec<Exchange>) {
        let side = self.side(segment.direction);
        let mut input = Input::new(segment);
        if self.ledger.has_passed() {
            self.ledger.rest(&mut input);
            return;
        }
        if segment.gap_before || self.took_up_wrongly(side, segment) {
            self.lose(side);
        }
        self.pending.blind(self.requests.lost || self.responses.lost);
        self.give_up_waiting(segment.time);
        if !self.way(side).lost || self.resume(side, segment, &mut input) {
            self.read(side, &mut input);
        }
        self.ledger.rest(&mut input);
        self.way(side).last_seen = segment.time;
        self.settle(out);
    }

    fn close(&mut self, time: u64, closing: Closing, out: &mut Vec<Exchange>) {
        self.ledger.counts.unparsed_bytes += self.requests.reset() + self.responses.reset();
        self.give_up_waiting(time);
        self.pending.close(time, closing);
        self.settle(out);
    }

    fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.ledger.counts)
    }

    fn held_bytes(&self) -> usize {
        let ways = [&self.requests, &self.responses];
        let ways =
            ways.iter().map(|way| way.lane.held_bytes() + way.short.capacity()).sum::<usize>();
        size_of::<Self>() + ways + self.pending.held_bytes() + self.grammar.held_bytes()
    }

    fn role(&self) -> Role {
        self.role
    }

    fn finished(&self) -> bool {
        self.ledger.has_passed()
    }

    fn newest(&self) -> Option<Begun<'_>> {
        self.pending.newest()
    }

    fn beside(&self, time: u64) -> Vec<Begun<'_>> {
        self.pending.beside(time)
    }

    fn failures(&self) -> u32 {
        self.ledger.failures()
    }
}
