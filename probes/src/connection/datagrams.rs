//! DNS in datagrams: every question and its answer, whoever asks whom through which socket.
//!
//! Invariant: a question is held for a bounded time, and no more of them than the bound; each leaves
//! as one exchange.

use std::sync::Arc;

use icecore_probe_events::Piece;

use super::table::{Sink, direction, info};
use crate::clock::WallClock;
use crate::pipeline::{ConnectionInfo, Memo};
use crate::protocol::dns::{Asked, Message, Passed, Questions, Socket};
use crate::protocol::{Counts, Direction, Failure, Limits, Role};

/// Questions of all sockets.
#[derive(Debug)]
pub(crate) struct Datagrams {
    questions: Questions<ConnectionInfo>,
    counts: Counts,
    followed: u64,
}

impl Datagrams {
    pub(crate) fn new(limits: &Arc<Limits>) -> Self {
        let questions = Questions::new(limits.dns_waiting_max, limits.answer_nanos_max);
        Self { questions, counts: Counts::default(), followed: 0 }
    }

    /// A datagram passed.
    pub(crate) fn feed(
        &mut self,
        piece: &Piece,
        payload: &[u8],
        clock: &WallClock,
        sink: Sink<'_>,
    ) {
        self.followed += 1;
        let bytes = payload.len() as u64 + piece.omitted;
        let Some(message) = Message::read(payload) else {
            self.counts.unparsed_bytes += bytes;
            return;
        };
        self.counts.parsed_bytes += bytes;
        let (time, by) = (clock.wall(piece.time), info(piece, clock));
        if message.is_answer {
            return self.answer(message, by, time, bytes, sink);
        }
        let role = match direction(piece) {
            Direction::Inbound => Role::Server,
            Direction::Outbound => Role::Client,
        };
        let socket = socket(&by);
        // Both ends of a datagram do not know that they are two: each has ids of its own.
        let passed = Passed { socket, role, ordinal: None, time, bytes };
        if let Some(shed) = self.questions.ask(passed, message, by) {
            self.counts.requests_shed += 1;
            tell(shed, time, Failure::Unseen, sink);
        }
    }

    fn answer(
        &mut self,
        message: Message,
        by: ConnectionInfo,
        time: u64,
        bytes: u64,
        sink: Sink<'_>,
    ) {
        let Some(asked) = self.questions.answered(socket(&by), &message) else {
            self.counts.responses_without_request += 1;
            return;
        };
        let (exchange, mut asker) = asked.answered_by(message, time, bytes);
        // A socket that receives from everybody does not say from whom; but it answers to somebody.
        if asker.remote.port() == 0 {
            asker.remote = by.remote;
        }
        sink(&asker, &mut Memo::default(), exchange);
    }

    /// Tells questions that have waited for too long; `now` is wall time.
    pub(crate) fn expire(&mut self, now: u64, sink: Sink<'_>) {
        while let Some(asked) = self.questions.overdue(now) {
            tell(asked, now, Failure::Unanswered, sink);
        }
    }

    /// The agent stops.
    pub(crate) fn close(&mut self, now: u64, sink: Sink<'_>) {
        while let Some(asked) = self.questions.give_up() {
            tell(asked, now, Failure::Unseen, sink);
        }
    }

    /// Datagrams since the last call, and what became of their payload.
    pub(crate) fn take_counts(&mut self) -> (u64, Counts) {
        (std::mem::take(&mut self.followed), std::mem::take(&mut self.counts))
    }
}

fn socket(by: &ConnectionInfo) -> Socket {
    Socket { id: by.cookie, port: by.local.port() }
}

fn tell(asked: Asked<ConnectionInfo>, time: u64, failure: Failure, sink: Sink<'_>) {
    let (exchange, by) = asked.unanswered(time, failure);
    sink(&by, &mut Memo::default(), exchange);
}
