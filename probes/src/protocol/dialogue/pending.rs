//! Messages that wait for one that names them.
//!
//! Invariants: a message that enters leaves once; the number that wait is bounded; a name stands for
//! the message that took it last.

use std::collections::VecDeque;

use super::lane::Unit;
use super::queue::{Call, Draft, Open};
use super::{QUIET_NANOS, Side};
use crate::protocol::{Begun, Closing, Exchange, Failure, Limits, Role, begun_beside};

/// The messages of a connection that wait, by what their answers call them.
#[derive(Debug)]
pub(crate) struct Pending<K, C> {
    role: Role,
    pending_max: usize,
    captured_max: usize,
    open: VecDeque<Entry<K, C>>,
    /// A direction has lost its place: answers may pass unseen.
    blind: bool,
    done: Vec<Exchange>,
    /// How many messages each side began an exchange with, while every one was seen.
    asked: [Option<u64>; 2],
    unasked: u64,
    shed: u64,
}

#[derive(Debug)]
struct Entry<K, C> {
    key: K,
    open: Open<C>,
    /// Its answer may have passed unseen.
    doubtful: bool,
}

impl<K: Eq, C: Call> Pending<K, C> {
    pub(super) fn new(limits: &Limits, role: Role, from_start: bool) -> Self {
        Self {
            role,
            pending_max: limits.pending_max.max(1),
            captured_max: limits.body_bytes_max,
            open: VecDeque::new(),
            blind: !from_start,
            done: Vec::new(),
            asked: [from_start.then_some(0); 2],
            unasked: 0,
            shed: 0,
        }
    }

    /// What is kept of a message, as the beginning of an exchange.
    pub(crate) fn draft(&self, unit: &Unit<'_>) -> Draft {
        let mut draft = Draft::default();
        draft.add(unit, self.captured_max);
        draft
    }

    /// More of a message that begins an exchange.
    pub(crate) fn add(&self, draft: &mut Draft, unit: &Unit<'_>) {
        draft.add(unit, self.captured_max);
    }

    /// A message that will be answered by one that names it. What was called so before has had its
    /// answer, which was not seen.
    pub(crate) fn ask(&mut self, side: Side, request: Draft, key: K, call: C) {
        if let Some(at) = self.position(&key) {
            self.leave(at, Some(Failure::Unseen), false);
        }
        if self.open.len() >= self.pending_max {
            self.shed += 1;
            self.leave(0, Some(Failure::Unseen), false);
        }
        let ordinal = self.ordinal(side);
        let open = Open::new(call, ordinal, request);
        self.open.push_back(Entry { key, open, doubtful: self.blind });
    }

    /// A message that is not answered at all.
    pub(crate) fn told(&mut self, side: Side, request: Draft, call: C) {
        let ordinal = self.ordinal(side);
        let open = Open::new(call, ordinal, request);
        self.done.extend(open.finish(self.role, None, true));
    }

    /// A message of which it is not known whether it is answered.
    pub(crate) fn told_perhaps(&mut self, side: Side, request: Draft, call: C) {
        let ordinal = self.ordinal(side);
        let open = Open::new(call, ordinal, request);
        self.done.extend(open.finish(self.role, Some(Failure::Unseen), false));
    }

    /// Both sides count alike: what the client began has even numbers, the server's are odd.
    fn ordinal(&mut self, side: Side) -> Option<u64> {
        let (count, odd) = match side {
            Side::Requests => (&mut self.asked[0], 0),
            Side::Responses => (&mut self.asked[1], 1),
        };
        let ordinal = *count;
        *count = ordinal.map(|ordinal| ordinal + 1);
        ordinal.map(|ordinal| ordinal * 2 + odd)
    }

    /// About what is held.
    pub(super) fn held_bytes(&self) -> usize {
        self.open.iter().map(|entry| size_of::<K>() + entry.open.held_bytes()).sum()
    }

    /// The message that was sent last, as others may know it; none if its side is not certainly the
    /// client's.
    pub(super) fn newest(&self) -> Option<Begun<'_>> {
        let begun = self.open.back()?.open.as_begun(self.open.len());
        of_client(&begun).then_some(begun)
    }

    /// What began beside it.
    pub(super) fn beside(&self, time: u64) -> Vec<Begun<'_>> {
        let waiting = self.open.len();
        let begun = self.open.iter().rev().map(|entry| entry.open.as_begun(waiting));
        begun_beside(begun.filter(of_client), time)
    }

    fn position(&self, key: &K) -> Option<usize> {
        self.open.iter().position(|entry| entry.key == *key)
    }

    /// What is called so.
    pub(crate) fn find(&mut self, key: &K) -> Option<&mut Open<C>> {
        self.open.iter_mut().find(|entry| entry.key == *key).map(|entry| &mut entry.open)
    }

    /// What the first message is called of which this is so.
    pub(crate) fn find_by(&self, wanted: impl Fn(&K, &C) -> bool) -> Option<&K> {
        let mut open = self.open.iter();
        open.find(|entry| wanted(&entry.key, &entry.open.call)).map(|entry| &entry.key)
    }

    /// More of what is called so has come from who began it.
    pub(crate) fn ask_more(&mut self, key: &K, unit: &Unit<'_>) {
        let captured_max = self.captured_max;
        if let Some(open) = self.find(key) {
            open.ask(unit, captured_max);
        }
    }

    /// Something is called so.
    pub(crate) fn waits(&self, key: &K) -> bool {
        self.position(key).is_some()
    }

    /// A part of the answer to what is called so; nothing of it is kept where the request was a secret.
    pub(crate) fn answer(&mut self, key: &K, unit: &Unit<'_>) -> Option<&mut Open<C>> {
        let captured_max = self.captured_max;
        let open = self.find(key)?;
        let unit = if open.is_secret() { unit.without_content() } else { *unit };
        open.answer(&unit, captured_max);
        Some(open)
    }

    /// The answer to what is called so is whole. What was sent before it, and whose answer may have
    /// passed unseen, is not waited for any longer.
    pub(crate) fn finish(&mut self, key: &K) {
        self.finish_before(key, None);
    }

    /// The same where answers come in any order: what was sent shortly before it is waited for still.
    pub(crate) fn finish_in_any_order(&mut self, key: &K) {
        self.finish_before(key, Some(QUIET_NANOS));
    }

    /// `margin`: how much earlier, in nanoseconds, what is given up was sent; none: however little.
    fn finish_before(&mut self, key: &K, margin: Option<u64>) {
        let Some(mut at) = self.position(key) else { return };
        let Some(until) = self.open.get(at).map(|entry| entry.open.began()) else { return };
        let long_before =
            |began: u64| margin.is_none_or(|margin| until.saturating_sub(began) >= margin);
        let given_up = |entry: &Entry<K, C>| entry.doubtful && long_before(entry.open.began());
        while let Some(earlier) = self.open.iter().take(at).position(given_up) {
            self.leave(earlier, Some(Failure::Unseen), false);
            at -= 1;
        }
        self.leave(at, None, true);
    }

    /// What has waited longer than anybody does is not answered any more.
    pub(super) fn give_up_waiting(&mut self, now: u64, patience: impl Fn(&C, bool) -> Option<u64>) {
        let overdue = |entry: &Entry<K, C>| {
            let waited = now.saturating_sub(entry.open.began());
            let patience = patience(&entry.open.call, entry.doubtful);
            patience.is_some_and(|patience| waited > patience)
        };
        while let Some(at) = self.open.iter().position(overdue) {
            self.leave(at, Some(Failure::Unanswered), false);
        }
    }

    /// The same, of an answer of which a part that tells how it went was not seen.
    pub(crate) fn finish_unseen(&mut self, key: &K) {
        if let Some(at) = self.position(key) {
            self.leave(at, Some(Failure::Unseen), false);
        }
    }

    /// An answer came that nobody has asked for.
    pub(crate) fn unasked(&mut self) {
        self.unasked += 1;
    }

    fn leave(&mut self, at: usize, failure: Option<Failure>, whole: bool) {
        if let Some(Entry { open, doubtful, .. }) = self.open.remove(at) {
            let settled = open.call.settled();
            let failure = failure.filter(|_| !settled);
            let failure = failure.map(|it| if doubtful { Failure::Unseen } else { it });
            self.done.extend(open.finish(self.role, failure, whole));
        }
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

    pub(super) fn take_shed(&mut self) -> u64 {
        std::mem::take(&mut self.shed)
    }

    /// Bytes of this side were lost: answers to what waits, or what would have taken its name.
    pub(crate) fn lose(&mut self, side: Side) {
        self.give_up(Failure::Unseen);
        match side {
            Side::Requests => self.asked[0] = None,
            Side::Responses => self.asked[1] = None,
        }
    }

    fn give_up(&mut self, failure: Failure) {
        while !self.open.is_empty() {
            self.leave(0, Some(failure), false);
        }
    }

    /// Whether a direction has lost its place.
    pub(super) fn blind(&mut self, blind: bool) {
        self.blind = blind;
    }

    /// The connection has ended.
    pub(super) fn close(&mut self, time: u64, closing: Closing) {
        let failure = match closing {
            Closing::Orderly => Failure::Closed,
            Closing::Reset => Failure::Reset,
            Closing::Unwatched => Failure::Unseen,
        };
        if closing != Closing::Unwatched {
            let certain = self.open.iter_mut().filter(|entry| !entry.doubtful);
            certain.for_each(|entry| entry.open.ends_at(time));
        }
        self.give_up(failure);
    }
}

/// Its number says that the client has sent it.
fn of_client(begun: &Begun<'_>) -> bool {
    begun.ordinal.is_some_and(|ordinal| ordinal % 2 == 0)
}
