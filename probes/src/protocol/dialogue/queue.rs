//! Requests that wait for their answers.
//!
//! Invariants: a request that enters leaves once, in order; the number that wait is bounded.

use std::collections::VecDeque;

use super::lane::Unit;
use crate::protocol::{
    Begun, BodySize, Closing, Exchange, Failure, Limits, MessagingCall, Role, Said, begun_beside,
};

/// What a grammar remembers of a request.
pub(crate) trait Call: std::fmt::Debug + Send {
    /// What the exchange says; none where it is no exchange of its own.
    fn said(self) -> Option<Said>;

    /// How it went is known, though more was to come.
    fn settled(&self) -> bool {
        false
    }

    /// About what its texts take.
    fn behind_bytes(&self) -> usize {
        CALL_BYTES
    }
}

/// A call of messaging whose kind says all that is to be remembered.
impl Call for MessagingCall {
    fn said(self) -> Option<Said> {
        Some(Said::Messaging(self))
    }
}

/// Size, times and beginning of a request or of an answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Draft {
    began: u64,
    ended: u64,
    bytes: u64,
    captured: Vec<u8>,
    secret: bool,
}

impl Draft {
    /// Adds a message. `captured_max`: how much is kept of its bytes and those before it.
    pub(crate) fn add(&mut self, unit: &Unit<'_>, captured_max: usize) {
        if self.bytes == 0 {
            self.began = unit.began;
        }
        self.ended = unit.ended;
        let gapless = self.captured.len() as u64 == self.bytes;
        self.bytes += unit.bytes();
        if captured_max > 0 && gapless {
            let room = captured_max.saturating_sub(self.captured.len());
            let all = unit.head.iter().chain(unit.body);
            self.captured.extend(all.take(room));
        }
    }

    /// Adds what came behind it.
    fn append(&mut self, other: Self, captured_max: usize) {
        if self.bytes == 0 {
            *self = other;
            return;
        }
        let gapless = self.captured.len() as u64 == self.bytes;
        self.ended = other.ended;
        self.bytes += other.bytes;
        if gapless {
            let room = captured_max.saturating_sub(self.captured.len());
            self.captured.extend(other.captured.into_iter().take(room));
        }
    }

    /// Memory that is held.
    fn held_bytes(&self) -> usize {
        self.captured.capacity()
    }

    /// The same, of which no byte is kept.
    pub(crate) fn without_content(self) -> Self {
        Self { captured: Vec::new(), ..self }
    }

    /// A request with credentials, or that may have some: neither of it nor of its answer a byte is kept.
    pub(crate) fn secret(self) -> Self {
        Self { secret: true, ..self.without_content() }
    }
}

/// A request, and as much of its answer as has come.
#[derive(Debug)]
pub(crate) struct Open<C> {
    pub(crate) call: C,
    ordinal: Option<u64>,
    request: Draft,
    response: Draft,
}

/// What the texts of a call take that are bounded and few.
const CALL_BYTES: usize = 256;

impl<C: Call> Open<C> {
    /// About what is held.
    pub(super) fn held_bytes(&self) -> usize {
        let drafts = self.request.held_bytes() + self.response.held_bytes();
        size_of::<Self>() + self.call.behind_bytes() + drafts
    }
}

/// The requests of a connection that wait.
#[derive(Debug)]
pub(crate) struct Queue<C> {
    role: Role,
    pending_max: usize,
    captured_max: usize,
    open: VecDeque<Open<C>>,
    done: Vec<Exchange>,
    /// The number of the next request, while every one before it was seen.
    ordinal: Option<u64>,
    /// No byte was ever missed.
    certain: bool,
    /// A silence came before the first that was seen.
    trusted: bool,
    /// A request was sent before the one before it was answered.
    pipelined: bool,
    must_go_blind: bool,
    unasked: u64,
}

impl<C: Call> Queue<C> {
    pub(super) fn new(limits: &Limits, role: Role, from_start: bool) -> Self {
        Self {
            role,
            pending_max: limits.pending_max,
            captured_max: limits.body_bytes_max,
            open: VecDeque::new(),
            done: Vec::new(),
            ordinal: from_start.then_some(0),
            certain: from_start,
            trusted: false,
            pipelined: false,
            must_go_blind: false,
            unasked: 0,
        }
    }

    /// How much of a message is kept.
    pub(crate) fn captured_max(&self) -> usize {
        self.captured_max
    }

    /// A request that will be answered behind all that wait already.
    pub(crate) fn ask(&mut self, request: Draft, call: C) {
        if !self.open.is_empty() {
            self.pipelined = true;
            // Perhaps more were under way before the first that was seen.
            self.must_go_blind |= !self.certain && !self.trusted;
        }
        self.join(request, call);
    }

    /// A request that its sender counts as one with the one before it.
    pub(crate) fn join(&mut self, request: Draft, call: C) {
        self.must_go_blind |= self.open.len() >= self.pending_max;
        let ordinal = self.ordinal;
        self.ordinal = ordinal.map(|ordinal| ordinal + 1);
        self.open.push_back(Open { call, ordinal, request, response: Draft::default() });
    }

    /// A request that is not answered at all.
    pub(crate) fn told(&mut self, request: Draft, call: C) {
        let ordinal = self.ordinal;
        self.ordinal = ordinal.map(|ordinal| ordinal + 1);
        let open = Open { call, ordinal, request, response: Draft::default() };
        self.done.extend(open.finish(self.role, None, true));
    }

    /// The request whose answer comes next.
    pub(crate) fn front(&mut self) -> Option<&mut Open<C>> {
        self.open.front_mut()
    }

    /// A part of the answer to the front has come, and was read before it was known as that.
    pub(crate) fn answered(&mut self, part: Draft) {
        let captured_max = self.captured_max;
        if let Some(front) = self.open.front_mut() {
            front.response.append(part, captured_max);
        }
    }

    /// The answer to the front is whole.
    pub(crate) fn finish(&mut self) {
        self.finish_as(true);
    }

    /// The same; `whole`: nothing more of it can come.
    pub(crate) fn finish_as(&mut self, whole: bool) {
        if let Some(open) = self.open.pop_front() {
            self.done.extend(open.finish(self.role, None, whole));
        }
    }

    /// An answer came that nobody has asked for.
    pub(crate) fn unasked(&mut self) {
        self.unasked += 1;
    }

    /// The request that was sent last.
    pub(crate) fn back(&mut self) -> Option<&mut Open<C>> {
        self.open.back_mut()
    }

    /// All that wait, the next one first.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Open<C>> {
        self.open.iter_mut()
    }

    /// More of the request in front has come.
    pub(crate) fn ask_front(&mut self, unit: &Unit<'_>) {
        let captured_max = self.captured_max;
        if let Some(front) = self.open.front_mut() {
            front.request.add(unit, captured_max);
        }
    }

    /// More of the request that was sent last has come.
    pub(crate) fn ask_back(&mut self, unit: &Unit<'_>) {
        let captured_max = self.captured_max;
        if let Some(back) = self.open.back_mut() {
            back.request.add(unit, captured_max);
        }
    }

    /// A part of the answer to the front has come.
    pub(crate) fn answer(&mut self, unit: &Unit<'_>) {
        let captured_max = self.captured_max;
        if let Some(front) = self.open.front_mut() {
            front.response.add(unit, captured_max);
        }
    }

    /// The request that was sent last, as others may know it.
    pub(super) fn newest(&self) -> Option<Begun<'_>> {
        Some(self.open.back()?.as_begun(self.open.len()))
    }

    /// What began beside it.
    pub(super) fn beside(&self, time: u64) -> Vec<Begun<'_>> {
        let waiting = self.open.len();
        begun_beside(self.open.iter().rev().map(|open| open.as_begun(waiting)), time)
    }

    /// About what is held.
    pub(super) fn held_bytes(&self) -> usize {
        self.open.iter().map(Open::held_bytes).sum()
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// Takes over what is done; true if some of it was whole.
    pub(super) fn take_done(&mut self, out: &mut Vec<Exchange>) -> bool {
        let some = self.done.iter().any(|one| one.failure.is_none());
        out.append(&mut self.done);
        some
    }

    pub(super) fn take_unasked(&mut self) -> u64 {
        std::mem::take(&mut self.unasked)
    }

    /// More waits than may: what was asked and not answered leaves.
    pub(crate) fn must_go_blind(&self) -> bool {
        self.must_go_blind
    }

    /// Nothing can have passed unseen.
    pub(crate) fn certain(&self) -> bool {
        self.certain
    }

    pub(super) fn pipelined(&self) -> bool {
        self.pipelined
    }

    /// Everything that waits leaves with this failure.
    pub(super) fn give_up(&mut self, failure: Failure) {
        let role = self.role;
        let open = std::mem::take(&mut self.open).into_iter();
        self.done.extend(open.filter_map(|one| {
            let settled = one.call.settled();
            let whole = settled && failure != Failure::Unseen;
            one.finish(role, (!settled).then_some(failure), whole)
        }));
        self.must_go_blind = false;
    }

    /// Requests may have passed unseen.
    pub(super) fn uncertain(&mut self) {
        self.ordinal = None;
        self.certain = false;
        self.trusted = false;
    }

    /// A request begins, and none waits. `quiet`: that is as good as certain.
    pub(super) fn begin_again(&mut self, quiet: bool) {
        self.trusted = quiet;
        if quiet {
            self.pipelined = false;
        }
    }

    /// The connection has ended.
    pub(super) fn close(&mut self, time: u64, closing: Closing) {
        let failure = match closing {
            Closing::Orderly => Failure::Closed,
            Closing::Reset => Failure::Reset,
            Closing::Unwatched => Failure::Unseen,
        };
        if closing != Closing::Unwatched {
            self.open.iter_mut().for_each(|open| open.response.ended = time);
        }
        self.give_up(failure);
    }
}

impl<C: Call> Open<C> {
    pub(super) fn new(call: C, ordinal: Option<u64>, request: Draft) -> Self {
        Self { call, ordinal, request, response: Draft::default() }
    }

    /// More of it has come from who began it.
    pub(super) fn ask(&mut self, unit: &Unit<'_>, captured_max: usize) {
        self.request.add(unit, captured_max);
    }

    /// Nothing of its answer is to be kept.
    pub(super) fn is_secret(&self) -> bool {
        self.request.secret
    }

    /// A part of its answer has come.
    pub(super) fn answer(&mut self, unit: &Unit<'_>, captured_max: usize) {
        self.response.add(unit, captured_max);
    }

    /// More of it has come, whichever way it travels.
    pub(super) fn ends_at(&mut self, time: u64) {
        self.response.ended = time;
    }

    /// The same, while it waits as one of so many.
    pub(super) fn as_begun(&self, waiting: usize) -> Begun<'_> {
        Begun { start: self.request.began, ordinal: self.ordinal, headers: &[], waiting }
    }

    /// When its first byte passed.
    pub(super) fn began(&self) -> u64 {
        self.request.began
    }

    /// Something of its answer has come.
    pub(crate) fn begun(&self) -> bool {
        self.response.bytes > 0
    }

    pub(super) fn finish(
        self,
        role: Role,
        failure: Option<Failure>,
        whole: bool,
    ) -> Option<Exchange> {
        let Self { call, ordinal, request, response } = self;
        let end = response.ended.max(request.ended).max(request.began);
        let answered =
            if whole { BodySize::Exact(response.bytes) } else { BodySize::AtLeast(response.bytes) };
        Some(Exchange {
            role,
            ordinal,
            start: request.began,
            end,
            request_body: BodySize::Exact(request.bytes),
            response_body: answered,
            request_captured: request.captured,
            response_captured: response.captured,
            failure,
            said: call.said()?,
        })
    }
}
