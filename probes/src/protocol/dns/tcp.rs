//! DNS over TCP: each message behind its length.
//!
//! Invariants: one message is held at most, of which none is longer than 64 KiB; after a loss nothing
//! is read before a call begins with a message.

use std::sync::Arc;

use super::message::{HEAD_BYTES, Message};
use super::questions::{Passed, Questions, Socket};
use crate::protocol::opening::{Look, Opening};
use crate::protocol::{Closing, Counts, Exchange, Failure, Limits, Protocol, Role, Segment};

const LEN_BYTES: usize = 2;
/// All questions of a connection are on the same socket.
const SOCKET: Socket = Socket { id: 0, port: 0 };

/// One direction.
#[derive(Debug, Default)]
struct Lane {
    held: Vec<u8>,
    lost: bool,
}

/// The parser of one connection.
#[derive(Debug)]
struct Tcp {
    role: Role,
    counts: Counts,
    questions: Questions<()>,
    ordinal: Option<u64>,
    client: Lane,
    server: Lane,
    /// Answers were lost, and questions wait that may have had them.
    answers_missed: bool,
    failures: u32,
}

/// A parser for a connection.
pub(in crate::protocol) fn parser(
    limits: Arc<Limits>,
    role: Role,
    from_start: bool,
) -> Box<dyn Protocol> {
    let lane = || Lane { lost: !from_start, ..Lane::default() };
    Box::new(Tcp {
        role,
        counts: Counts::default(),
        questions: Questions::new(limits.pending_max, limits.answer_nanos_max),
        ordinal: from_start.then_some(0),
        client: lane(),
        server: lane(),
        answers_missed: false,
        failures: 0,
    })
}

/// A length, and a message of that length.
pub(in crate::protocol) fn look(opening: &Opening<'_>) -> Look {
    let bytes = opening.bytes(opening.first());
    let more = !opening.cut_off(opening.first());
    let Some((len, rest)) = bytes.split_first_chunk::<LEN_BYTES>() else {
        return if more && opening.from_start { Look::Possible } else { Look::Never };
    };
    let len = usize::from(u16::from_be_bytes(*len));
    if len < HEAD_BYTES || !beginning(rest) {
        return Look::Never;
    }
    match rest.get(..len).map(Message::read) {
        Some(Some(message)) if message.is_answer => Look::Certain(opening.answered_first()),
        Some(Some(_)) => Look::Certain(opening.asked_first()),
        Some(None) => Look::Never,
        None if more => Look::Possible,
        None => Look::Never,
    }
}

/// The bytes may be the beginning of a message.
fn beginning(bytes: &[u8]) -> bool {
    let zero_bits = bytes.get(2).is_none_or(|flags| flags & 0x78 == 0)
        && bytes.get(3).is_none_or(|flags| flags & 0x40 == 0);
    zero_bits
        && bytes.get(4).is_none_or(|&high| high == 0)
        && bytes.get(5).is_none_or(|&low| low == 1)
}

impl Lane {
    /// The next whole message, its length taken off; none where more is needed.
    fn next(&mut self, input: &mut &[u8]) -> Option<Vec<u8>> {
        loop {
            let mut wanted = LEN_BYTES;
            if let Some((len, message)) = self.held.split_first_chunk::<LEN_BYTES>() {
                let len = usize::from(u16::from_be_bytes(*len));
                if message.len() == len {
                    let message = message.to_vec();
                    self.held = Vec::new();
                    return Some(message);
                }
                wanted += len;
            }
            if input.is_empty() {
                return None;
            }
            let (bytes, rest) = input.split_at((wanted - self.held.len()).min(input.len()));
            self.held.extend_from_slice(bytes);
            *input = rest;
        }
    }

    /// A call begins with a whole message.
    fn begins(input: &[u8]) -> bool {
        let Some((len, rest)) = input.split_first_chunk::<LEN_BYTES>() else { return false };
        let whole = rest.get(..usize::from(u16::from_be_bytes(*len)));
        whole.and_then(Message::read).is_some()
    }
}

impl Tcp {
    fn lane(&mut self, asks: bool) -> &mut Lane {
        if asks { &mut self.client } else { &mut self.server }
    }

    fn lose(&mut self, asks: bool, time: u64, out: &mut Vec<Exchange>) {
        let lane = self.lane(asks);
        let held = std::mem::take(&mut lane.held);
        lane.lost = true;
        self.counts.unparsed_bytes += held.len() as u64;
        self.counts.resyncs += 1;
        if asks {
            self.ordinal = None;
        } else {
            // Any of their answers may be among what was lost.
            self.give_up(time, Failure::Unseen, out);
        }
    }

    fn give_up(&mut self, time: u64, failure: Failure, out: &mut Vec<Exchange>) {
        while let Some(asked) = self.questions.give_up() {
            out.push(asked.unanswered(time, failure).0);
        }
    }

    /// A whole message; false where it is none that may come here.
    fn take(&mut self, asks: bool, bytes: &[u8], time: u64, out: &mut Vec<Exchange>) -> bool {
        let size = bytes.len() as u64;
        let Some(message) = Message::read(bytes) else {
            // The parts of a zone come in messages without a question.
            return !asks && is_answer(bytes);
        };
        if message.is_answer == asks {
            return false;
        }
        if asks {
            let (role, ordinal) = (self.role, self.ordinal);
            let passed = Passed { socket: SOCKET, role, ordinal, time, bytes: size };
            self.ordinal = ordinal.map(|ordinal| ordinal + 1);
            self.answers_missed &= !self.questions.is_empty();
            self.answers_missed |= self.server.lost;
            if let Some(shed) = self.questions.ask(passed, message, ()) {
                self.counts.requests_shed += 1;
                out.push(shed.unanswered(time, Failure::Unseen).0);
            }
        } else if let Some(asked) = self.questions.answered(SOCKET, &message) {
            self.failures = 0;
            out.push(asked.answered_by(message, time, size).0);
        } else {
            self.counts.responses_without_request += 1;
        }
        true
    }
}

/// The bit that answers have.
fn is_answer(bytes: &[u8]) -> bool {
    bytes.len() >= HEAD_BYTES && bytes.get(2).is_some_and(|flags| flags & 0x80 != 0)
}

impl Protocol for Tcp {
    fn feed(&mut self, segment: &Segment<'_>, out: &mut Vec<Exchange>) {
        let asks = segment.direction == self.role.requests();
        let time = segment.time;
        if segment.gap_before {
            self.lose(asks, time, out);
        }
        while let Some(asked) = self.questions.overdue(time) {
            // Its answer may be among what was lost.
            let missed = self.server.lost || self.answers_missed;
            let failure = if missed { Failure::Unseen } else { Failure::Unanswered };
            out.push(asked.unanswered(time, failure).0);
        }
        let mut input = segment.captured;
        let lane = self.lane(asks);
        lane.lost &= !Lane::begins(input);
        while !self.lane(asks).lost
            && let Some(message) = self.lane(asks).next(&mut input)
        {
            let bytes = (LEN_BYTES + message.len()) as u64;
            if self.take(asks, &message, time, out) {
                self.counts.parsed_bytes += bytes;
            } else {
                self.counts.unparsed_bytes += bytes;
                self.failures = self.failures.saturating_add(1);
                self.lose(asks, time, out);
            }
        }
        self.counts.unparsed_bytes += input.len() as u64 + segment.omitted;
        if segment.omitted > 0 {
            self.lose(asks, time, out);
        }
    }

    fn close(&mut self, time: u64, closing: Closing, out: &mut Vec<Exchange>) {
        let held = self.client.held.len() + self.server.held.len();
        self.counts.unparsed_bytes += held as u64;
        let failure = match closing {
            Closing::Unwatched => Failure::Unseen,
            _ if self.server.lost || self.answers_missed => Failure::Unseen,
            Closing::Orderly => Failure::Closed,
            Closing::Reset => Failure::Reset,
        };
        self.give_up(time, failure, out);
    }

    fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    fn held_bytes(&self) -> usize {
        size_of::<Self>() + self.client.held.capacity() + self.server.held.capacity()
    }

    fn role(&self) -> Role {
        self.role
    }

    fn finished(&self) -> bool {
        false
    }

    fn failures(&self) -> u32 {
        self.failures
    }
}
