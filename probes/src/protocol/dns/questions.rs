//! Questions that wait for their answers.
//!
//! Invariant: each question leaves once: with its answer, or as one that had none.

use std::collections::VecDeque;

use super::message::{Message, Question, code_name};
use crate::protocol::{BodySize, DnsCall, Exchange, Failure, Role, Said};

/// A question, and who asked whom.
#[derive(Debug)]
pub(crate) struct Asked<T> {
    /// Whose it is: what the caller wants to know of its answer.
    pub(crate) by: T,
    socket: Socket,
    id: u16,
    question: Question,
    role: Role,
    ordinal: Option<u64>,
    start: u64,
    bytes: u64,
    /// How often it was asked again.
    retries: u64,
}

/// Those that wait, the oldest first.
#[derive(Debug)]
pub(crate) struct Questions<T> {
    waiting: VecDeque<Asked<T>>,
    waiting_max: usize,
    wait_nanos_max: u64,
}

/// A socket. Where it is known by its address alone, another one has that as soon as it is closed, and may ask the same under
/// the same number; but from a port of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Socket {
    pub(crate) id: u64,
    pub(crate) port: u16,
}

/// A message as it passed on a socket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passed {
    pub(crate) socket: Socket,
    pub(crate) role: Role,
    pub(crate) ordinal: Option<u64>,
    pub(crate) time: u64,
    pub(crate) bytes: u64,
}

impl<T> Questions<T> {
    pub(crate) fn new(waiting_max: usize, wait_nanos_max: u64) -> Self {
        Self { waiting: VecDeque::new(), waiting_max, wait_nanos_max }
    }

    /// A question was asked; the oldest is returned where there is no room for it.
    pub(crate) fn ask(&mut self, passed: Passed, message: Message, by: T) -> Option<Asked<T>> {
        let Message { id, question, .. } = message;
        let Passed { socket, role, ordinal, time: start, bytes } = passed;
        let same = |one: &&mut Asked<T>| {
            one.socket == socket && one.id == id && one.question == question && one.role == role
        };
        // The same number with the same text is the same question. A server may well be asked so by
        // two clients, and then answers twice.
        if role == Role::Client
            && let Some(earlier) = self.waiting.iter_mut().find(same)
        {
            earlier.retries += 1;
            return None;
        }
        let oldest = (self.waiting.len() >= self.waiting_max).then(|| self.waiting.pop_front());
        let retries = 0;
        self.waiting.push_back(Asked {
            by,
            socket,
            id,
            question,
            role,
            ordinal,
            start,
            bytes,
            retries,
        });
        oldest.flatten()
    }

    /// The question that this answers, if it was seen.
    pub(crate) fn answered(&mut self, socket: Socket, answer: &Message) -> Option<Asked<T>> {
        let at = self.waiting.iter().position(|one| {
            one.socket == socket && one.id == answer.id && one.question == answer.question
        })?;
        self.waiting.remove(at)
    }

    /// The oldest question that has waited for too long.
    pub(crate) fn overdue(&mut self, now: u64) -> Option<Asked<T>> {
        let oldest = self.waiting.front()?;
        let overdue = now.saturating_sub(oldest.start) >= self.wait_nanos_max;
        overdue.then(|| self.waiting.pop_front()).flatten()
    }

    /// Nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Any question: nothing is waited for any more.
    pub(crate) fn give_up(&mut self) -> Option<Asked<T>> {
        self.waiting.pop_front()
    }
}

impl<T> Asked<T> {
    /// The exchange that it became, and whose it was.
    pub(crate) fn answered_by(self, answer: Message, time: u64, bytes: u64) -> (Exchange, T) {
        let Message { code, answers, truncated, .. } = answer;
        let mut call = self.call();
        (call.answers, call.code, call.truncated) = (answers, Some(code_name(code)), truncated);
        self.exchange(call, time, BodySize::Exact(bytes), None)
    }

    /// The exchange without an answer.
    pub(crate) fn unanswered(self, time: u64, failure: Failure) -> (Exchange, T) {
        let call = self.call();
        self.exchange(call, time, BodySize::AtLeast(0), Some(failure))
    }

    fn call(&self) -> DnsCall {
        DnsCall {
            name: self.question.name.clone(),
            kind: self.question.kind(),
            retries: self.retries,
            ..DnsCall::default()
        }
    }

    fn exchange(
        self,
        call: DnsCall,
        time: u64,
        response_body: BodySize,
        failure: Option<Failure>,
    ) -> (Exchange, T) {
        let exchange = Exchange {
            role: self.role,
            ordinal: self.ordinal,
            start: self.start,
            end: time.max(self.start),
            request_body: BodySize::Exact(self.bytes),
            response_body,
            request_captured: Vec::new(),
            response_captured: Vec::new(),
            failure,
            said: Said::Dns(call),
        };
        (exchange, self.by)
    }
}
