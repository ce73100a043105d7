//! Two lanes of messages, of which the answers come in the order of the requests: what most
//! protocols have in common, so that each of them is only a grammar.
//!
//! Invariants: an answer is given to a request only when no other request can be meant: after a
//! loss, and amid a conversation that began before the probe, nothing is matched until the sender
//! shows that it has all its answers; each byte is counted once.

mod correlated;
mod lane;
mod ledger;
mod pending;
mod queue;

use std::fmt::Debug;

pub(super) use correlated::{Correlated, Correlation};
pub(super) use lane::{Head, Input, Lane, Step, Unit};
use ledger::Ledger;
pub(super) use pending::Pending;
pub(super) use queue::{Call, Draft, Queue};

use super::{
    Begun, Closing, Counts, Direction, Exchange, Failure, Limits, Protocol, Role, Segment,
};

/// After a loss among several requests under way, only silence tells that all answers are through.
const QUIET_NANOS: u64 = 1_000_000_000;
/// Segments that a parser which never understood an exchange may find no message in.
const BLIND_SEGMENTS_MAX: u32 = 64;

/// A direction, by what travels there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Requests,
    Responses,
}

/// What reading a message came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// It was understood.
    Understood,
    /// It is none of this protocol, or none that may come here.
    Broken,
    /// It is a message, of which nobody can read what it says: compressed, or its beginning is missing.
    Unread,
    /// It was understood, and nothing behind it can be: encrypted, compressed, another protocol.
    Last,
}

impl Read {
    /// Messages behind it are not where they would be.
    fn ends(self) -> bool {
        matches!(self, Self::Broken | Self::Last)
    }
}

/// How messages of a protocol are cut and what they mean. Everything else is [`Dialogue`]'s.
pub(super) trait Grammar: Debug + Send {
    /// What is remembered of a request until its answer is whole.
    type Call: Call;

    /// Reads the head of a message at the start of `bytes`.
    fn head(&self, side: Side, bytes: &[u8]) -> Head;

    /// Reads a message of the client.
    fn request(&mut self, unit: &Unit<'_>, queue: &mut Queue<Self::Call>) -> Read;

    /// Reads a message of the server.
    fn response(&mut self, unit: &Unit<'_>, queue: &mut Queue<Self::Call>) -> Read;

    /// Bytes of the client begin with a message: where to take up again after a loss.
    fn begins_request(&self, bytes: &[u8]) -> bool;

    /// Messages were lost: what they may have changed is not known any more.
    fn forget(&mut self);

    /// Memory behind what it knows of the connection.
    fn held_bytes(&self) -> usize {
        0
    }
}

/// The parser of a connection with such a grammar.
#[derive(Debug)]
pub(super) struct Dialogue<G: Grammar> {
    grammar: G,
    role: Role,
    head_bytes_max: usize,
    ledger: Ledger,
    requests: Lane,
    responses: Lane,
    queue: Queue<G::Call>,
    /// Nothing can be matched until the sender shows that it waits for nothing.
    blind: bool,
    last_seen: u64,
}

impl<G: Grammar> Dialogue<G> {
    pub(super) fn new(grammar: G, limits: &Limits, role: Role, from_start: bool) -> Self {
        Self {
            grammar,
            role,
            head_bytes_max: limits.head_bytes_max,
            ledger: Ledger::default(),
            requests: Lane::default(),
            responses: Lane::default(),
            queue: Queue::new(limits, role, from_start),
            blind: false,
            last_seen: 0,
        }
    }

    fn side(&self, direction: Direction) -> Side {
        if direction == self.role.requests() { Side::Requests } else { Side::Responses }
    }

    fn lane(&mut self, side: Side) -> &mut Lane {
        match side {
            Side::Requests => &mut self.requests,
            Side::Responses => &mut self.responses,
        }
    }

    /// Reads all messages that the input completes.
    fn read(&mut self, side: Side, input: &mut Input<'_>) {
        let mut lane = std::mem::take(self.lane(side));
        let fate = loop {
            let grammar = &self.grammar;
            let step = lane.next(input, self.head_bytes_max, |bytes| grammar.head(side, bytes));
            let unit = match step {
                Step::More => break Read::Understood,
                Step::Broken => break Read::Broken,
                Step::Unit(unit) => unit,
            };
            let read = match side {
                Side::Requests => self.grammar.request(&unit, &mut self.queue),
                Side::Responses => self.grammar.response(&unit, &mut self.queue),
            };
            self.ledger.unit(read, &unit);
            if read.ends() {
                break read;
            }
            if self.queue.must_go_blind() {
                break Read::Understood;
            }
        };
        *self.lane(side) = lane;
        match fate {
            Read::Understood | Read::Unread => {}
            Read::Last => self.ledger.pass(self.requests.reset() + self.responses.reset()),
            Read::Broken => {
                self.ledger.broken(input);
                self.lose();
            }
        }
    }

    /// From here on it is not known which answer belongs to which request.
    fn lose(&mut self) {
        self.ledger.lost(self.requests.reset() + self.responses.reset());
        self.queue.give_up(Failure::Unseen);
        self.queue.uncertain();
        self.grammar.forget();
        self.blind = true;
        self.ledger.begin_blind();
    }

    /// A request of a sender that has all its answers.
    fn sees_again(&mut self, side: Side, segment: &Segment<'_>) -> bool {
        if side == Side::Responses || !self.grammar.begins_request(segment.captured) {
            return false;
        }
        let quiet = segment.time.saturating_sub(self.last_seen) >= QUIET_NANOS;
        if quiet || !self.queue.pipelined() {
            self.blind = false;
            self.queue.begin_again(quiet);
        }
        !self.blind
    }

    /// After a loss, what was taken for the head of a request may have been anything. If it has the
    /// lane wait for a body, a request behind a silence tells.
    fn took_up_wrongly(&self, side: Side, segment: &Segment<'_>) -> bool {
        side == Side::Requests
            && !self.queue.certain()
            && self.requests.is_amid()
            && segment.time.saturating_sub(self.last_seen) >= QUIET_NANOS
            && self.grammar.begins_request(segment.captured)
    }

    fn settle(&mut self, out: &mut Vec<Exchange>) {
        if self.queue.take_done(out) {
            self.ledger.whole();
        }
        if self.queue.must_go_blind() {
            self.ledger.counts.requests_shed += self.queue.len() as u64;
            self.lose();
            self.queue.take_done(out);
        }
        self.ledger.counts.responses_without_request += self.queue.take_unasked();
    }
}

impl<G: Grammar> Protocol for Dialogue<G> {
    fn feed(&mut self, segment: &Segment<'_>, out: &mut Vec<Exchange>) {
        let side = self.side(segment.direction);
        let mut input = Input::new(segment);
        if self.ledger.has_passed() {
            self.ledger.rest(&mut input);
            return;
        }
        if !self.blind && (segment.gap_before || self.took_up_wrongly(side, segment)) {
            self.lose();
        }
        if self.blind && !self.sees_again(side, segment) {
            self.ledger.blind_segment();
        } else {
            self.read(side, &mut input);
        }
        self.ledger.rest(&mut input);
        self.last_seen = segment.time;
        self.settle(out);
    }

    fn close(&mut self, time: u64, closing: Closing, out: &mut Vec<Exchange>) {
        self.ledger.counts.unparsed_bytes += self.requests.reset() + self.responses.reset();
        self.queue.close(time, closing);
        self.settle(out);
    }

    fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.ledger.counts)
    }

    fn held_bytes(&self) -> usize {
        size_of::<Self>()
            + self.requests.held_bytes()
            + self.responses.held_bytes()
            + self.queue.held_bytes()
            + self.grammar.held_bytes()
    }

    fn role(&self) -> Role {
        self.role
    }

    fn finished(&self) -> bool {
        self.ledger.has_passed()
    }

    fn newest(&self) -> Option<Begun<'_>> {
        self.queue.newest()
    }

    fn beside(&self, time: u64) -> Vec<Begun<'_>> {
        self.queue.beside(time)
    }

    fn failures(&self) -> u32 {
        self.ledger.failures()
    }
}
