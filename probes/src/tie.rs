//! Whose call is whose: a request that a process sends while it serves another one belongs to that.
//!
//! Invariants: a tie that makes a parent is certain: both ends of one connection, one thread or goroutine that waited
//! for a request itself, serves no other and hands none over, or headers that were passed on as they
//! were; what is only likely is a link that says so. What is remembered is bounded.

mod end;
mod held;
mod metrics;
mod recent;
mod served;
mod serving;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use icecore_probe_events::{FLAG_GOROUTINE, FLAG_PLAIN, FLAG_WAITS, OUTBOUND, PLAIN, Piece};
use prometheus_client::registry::Registry;

use crate::budget::{Holder, Memory};
use crate::connection::Newest;
use crate::loss::Losses;
use crate::pipeline::ConnectionInfo;
use crate::protocol::{Begun, Exchange, Failure, Role};
use crate::span::link::{Shared, headers};
pub(crate) use end::End;
use end::How;
pub(crate) use held::Held;
use held::Waiting;
use metrics::{GivenUp, TieMetrics, Tied};
use recent::Recent;
pub(crate) use served::Served;
use serving::{Above, NAMES_MAX, Request, Serving, Worker};

/// How calls are tied to requests.
#[derive(Debug, Clone)]
pub struct TieConfig {
    /// How long a span waits until what decides its trace has passed as well: the two ends of a
    /// connection are not seen in order. 0: not at all.
    pub wait: Duration,
    /// Requests under way, calls under way and spans that wait, each; beyond it the oldest is given up,
    /// and counted. About 300 bytes for each of the former, a kilobyte for the latter.
    pub requests_max: usize,
    /// Bytes of spans that wait; beyond it the oldest leaves before its time, and is counted.
    pub bytes_max: usize,
}

impl Default for TieConfig {
    fn default() -> Self {
        Self { wait: Duration::from_millis(250), requests_max: 65_536, bytes_max: 32 << 20 }
    }
}

/// A request: its connection, when its first byte passed, and its number, since one call may carry several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    connection: u64,
    start: u64,
    ordinal: Option<u64>,
}

/// What was sent on a connection at a time.
type Sent = (u64, u64);

/// What both ends know of a request.
type Common = (u64, u64);

/// Who makes a call on a socket.
#[derive(Debug, Clone, Copy, Default)]
struct Actor {
    connection: u64,
    process: u32,
    started: u64,
    worker: Worker,
    /// When, by the kernel's clock.
    time: u64,
    outbound: bool,
    waits: bool,
    /// The call has begun several requests.
    several: bool,
    /// What the worker has read in its last call, if it was a request.
    last_read: Option<Key>,
}

/// Headers that name a caller, or a request, beyond all doubt.
const NAMES: [&str; NAMES_MAX] = ["traceparent", "b3", "x-request-id"];
/// A shorter value may be anything.
const NAME_BYTES_MIN: usize = 16;

/// What a request takes that is remembered, by all that names it.
const REQUEST_BYTES: usize = 300;

/// Pieces that may begin a call and of which nobody knows yet.
const EARLY_MAX: usize = 4_096;

/// All ties that can be told now.
#[derive(Debug)]
pub(crate) struct Ties {
    wait_nanos: u64,
    /// When the piece passed that was read last, monotonic clock in nanoseconds.
    now: u64,
    actor: Actor,
    serving: Serving,
    /// Calls under way.
    sent: Recent<Key, Arc<End>>,
    /// What may be above calls whose protocol is not known yet.
    early: Recent<Sent, (Arc<End>, How)>,
    /// Those who began an exchange, by what the other end knows of it as well.
    callers: Recent<Common, Arc<End>>,
    /// When callers may be forgotten. One may be held up for a while by one before it that is due later.
    leaving: VecDeque<(u64, Common)>,
    leaving_max: usize,
    waiting: Waiting,
    memory: Memory,
    /// What requests took when it was last looked at.
    requests_bytes: usize,
    hasher: RandomState,
    metrics: TieMetrics,
}

impl Ties {
    pub(crate) fn new(config: &TieConfig, registry: &mut Registry) -> Self {
        let TieConfig { wait, requests_max, bytes_max } = *config;
        let wait_nanos = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        Self {
            wait_nanos,
            now: 0,
            actor: Actor::default(),
            serving: Serving::new(requests_max),
            sent: Recent::new(requests_max),
            early: Recent::new(requests_max.min(EARLY_MAX)),
            callers: Recent::new(requests_max),
            leaving: VecDeque::new(),
            leaving_max: requests_max,
            waiting: Waiting::new(wait_nanos, requests_max, bytes_max),
            memory: Memory::default(),
            requests_bytes: 0,
            hasher: RandomState::new(),
            metrics: TieMetrics::new(registry),
        }
    }

    /// Within this bound.
    pub(crate) fn bounded(mut self, memory: Memory) -> Self {
        self.waiting.bound(memory.clone());
        Self { memory, ..self }
    }

    /// A piece is about to be read.
    pub(crate) fn begin(&mut self, piece: &Piece) {
        let plain = piece.flags & FLAG_PLAIN != 0;
        let goroutine = piece.flags & FLAG_GOROUTINE != 0;
        let mut actor = Actor {
            connection: if plain { piece.connection ^ PLAIN } else { piece.connection },
            process: piece.owner.pid,
            started: piece.owner.started,
            worker: if goroutine {
                Worker::Goroutine(piece.owner.pid, piece.owner.thread)
            } else {
                Worker::Thread(piece.owner.thread)
            },
            time: piece.time,
            outbound: piece.direction == u16::from(OUTBOUND),
            // Whatever its descriptor does, a goroutine stands still until it has what it reads.
            waits: goroutine || piece.flags & FLAG_WAITS != 0,
            several: false,
            last_read: None,
        };
        actor.last_read = self.serving.last_read(&actor);
        self.actor = actor;
        self.now = self.now.max(piece.time);
    }

    /// That piece was read, and this was begun last on its connection. `time`: when the piece passed, as
    /// requests have it.
    pub(crate) fn begun(&mut self, newest: &Newest<'_>, time: u64) {
        self.actor.several = !newest.beside.is_empty();
        for begun in &newest.beside {
            self.begun_one(&newest.with(*begun), time);
        }
        self.begun_one(newest, time);
        if !newest.beside.is_empty() {
            self.serving.several_read(&self.actor);
        }
    }

    fn begun_one(&mut self, newest: &Newest<'_>, time: u64) {
        match (newest.role, &newest.begun) {
            (Some(Role::Server), Some(begun)) if !self.actor.outbound => self.read(newest, begun),
            (Some(Role::Server), Some(begun)) if begun.waiting == 1 => {
                self.serving.answer(self.key(begun), &self.actor);
            }
            (Some(Role::Server), _) => {}
            (_, Some(begun)) if self.actor.outbound => self.send(newest, begun),
            (_, None) => self.begun_early(time),
            (_, Some(_)) => {}
        }
    }

    /// The piece was read, and nothing is known of what it begins. It may be a request all the same.
    pub(crate) fn begun_early(&mut self, time: u64) {
        if !self.actor.outbound {
            return;
        }
        if let Above::Found(end, how) = self.serving.above(&self.actor, &[]) {
            let above = (Arc::clone(end), how);
            self.early.insert((self.actor.connection, time), above);
        }
    }

    fn key(&self, begun: &Begun<'_>) -> Key {
        let Begun { start, ordinal, .. } = *begun;
        Key { connection: self.actor.connection, start, ordinal }
    }

    /// A request was read, or more of it.
    fn read(&mut self, newest: &Newest<'_>, begun: &Begun<'_>) {
        let key = self.key(begun);
        if self.serving.read_more(key, &self.actor) {
            return;
        }
        let end = Arc::new(end_of(Role::Server, newest, begun));
        self.find_caller(&end);
        let alone = begun.waiting == 1;
        let request = Request {
            end,
            process: self.actor.process,
            started: self.actor.started,
            reader: alone.then_some(self.actor.worker),
            counted: self.actor.worker,
            waits: self.actor.waits,
            read: self.actor.time,
            answered: None,
            names: self.names(begun),
        };
        if self.serving.take(key, request, &self.actor) {
            self.metrics.gave_up(GivenUp::Requests);
        }
    }

    /// A request was sent, or more of it.
    fn send(&mut self, newest: &Newest<'_>, begun: &Begun<'_>) {
        let key = self.key(begun);
        if self.sent.get(&key).is_some() {
            return;
        }
        let end = Arc::new(end_of(Role::Client, newest, begun));
        let names = self.names(begun);
        match self.early.get(&(key.connection, key.start)) {
            Some((above, how)) => end.tie(above, *how),
            None => match self.serving.above(&self.actor, &names) {
                Above::Found(above, how) => end.tie(above, how),
                Above::Several => end.is_one_of_several(),
                Above::Idle => {}
            },
        }
        self.add_caller(&end);
        if self.sent.insert(key, end).is_some() {
            self.metrics.gave_up(GivenUp::Requests);
        }
    }

    /// An exchange is over: the end of it that was watched.
    pub(crate) fn finish(&mut self, connection: &ConnectionInfo, exchange: &Exchange) -> Arc<End> {
        let Exchange { start, ordinal, .. } = *exchange;
        let key = Key { connection: connection.cookie, start, ordinal };
        let began = began(exchange);
        if exchange.role == Role::Client {
            let early = self.early.remove(&(key.connection, start));
            let known = self.sent.remove(&key).filter(|_| began);
            let end = known.unwrap_or_else(|| {
                let end = Arc::new(finished(connection, exchange));
                early.filter(|_| began).inspect(|(above, how)| end.tie(above, *how));
                end
            });
            return self.place(end);
        }
        let actor = self.actor;
        let answered = actor.outbound && actor.connection == connection.cookie;
        let known = self.serving.leave(key, answered.then_some(&actor)).filter(|_| !began);
        let end = known.map(|(end, served)| {
            served.filter(|_| is_whole(connection, exchange)).inspect(|it| end.serve(*it));
            end
        });
        let end = end.unwrap_or_else(|| Arc::new(finished(connection, exchange)));
        self.place(end)
    }

    fn place(&mut self, end: Arc<End>) -> Arc<End> {
        if end.began {
            self.add_caller(&end);
        } else {
            self.find_caller(&end);
        }
        end
    }

    fn add_caller(&mut self, end: &Arc<End>) {
        let Some(common) = common(end) else { return };
        if self.callers.get(&common).is_none() {
            self.callers.insert(common, Arc::clone(end));
        }
    }

    fn find_caller(&self, end: &Arc<End>) {
        if !end.began
            && end.how().is_none()
            && let Some(caller) = common(end).and_then(|common| self.callers.get(&common))
        {
            end.tie(caller, How::Wire);
        }
    }

    /// What names the caller of a request, so that it is known again where it is passed on.
    fn names(&self, begun: &Begun<'_>) -> [Option<u64>; NAMES_MAX] {
        let mut names = [None; NAMES_MAX];
        for (name, value) in begun.headers {
            let known = NAMES.iter().zip(&mut names).find(|(one, _)| *one == name);
            if let Some((_, place)) = known.filter(|_| value.len() >= NAME_BYTES_MIN) {
                *place = Some(self.hasher.hash_one((name, value)));
            }
        }
        names
    }

    /// A span that has all but its ids.
    pub(crate) fn hold(&mut self, held: Held) {
        self.waiting.push(self.now, held);
    }

    /// An end that is settled, and whose span does not wait: it is told at once, or not at all.
    pub(crate) fn leave(&mut self, end: &Arc<End>) {
        self.decide(end);
        self.pass_over(end);
    }

    /// The next span whose time has come. `caught_up`: everything was read that passed before this time
    /// of the monotonic clock.
    pub(crate) fn release(&mut self, caught_up: Option<u64>) -> Option<Held> {
        self.now = self.now.max(caught_up.unwrap_or(0));
        let Some((held, early)) = self.waiting.pop(self.now) else {
            // Those who have waited for them have left.
            while let Some((_, common)) = self.leaving.pop_front_if(|(due, _)| *due <= self.now) {
                self.callers.remove(&common);
            }
            return None;
        };
        if let Some(why) = early {
            self.metrics.gave_up(why);
        }
        self.decide(&held.end);
        self.forget(&held.end, self.wait_nanos);
        Some(held)
    }

    /// What passed until then was read, by the kernel's clock.
    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    /// The spans of requests that had ended by then have left.
    pub(crate) fn told_until(&self) -> u64 {
        self.now.saturating_sub(self.wait_nanos)
    }

    /// Threads that serve a request now, as far as it is known, and since when.
    pub(crate) fn served_now(&self) -> impl Iterator<Item = (u32, u64)> {
        self.serving.waited_for()
    }

    /// Nothing more comes that could change what is known of an end.
    fn decide(&mut self, end: &Arc<End>) {
        self.find_caller(end);
        let tied = match end.how() {
            Some(How::Wire) => Tied::Wire,
            Some(how) if !end.is_named() || how == How::Forwarded => how.into(),
            _ if end.is_named() => Tied::Headers,
            _ if end.may_be_of_several() => Tied::Several,
            _ => Tied::Root,
        };
        self.metrics.tied(tied);
    }

    /// An end that does not wait: it gives others their trace all the same, for as long as one that waits does.
    pub(crate) fn pass_over(&mut self, end: &End) {
        self.forget(end, 2 * self.wait_nanos);
    }

    /// Nobody is looked for by this end after so long.
    fn forget(&mut self, end: &End, after: u64) {
        if let Some(common) = common(end).filter(|_| end.began) {
            self.leaving.push_back((self.now.saturating_add(after), common));
        }
        while self.leaving.len() > self.leaving_max {
            let oldest = self.leaving.pop_front();
            if oldest.and_then(|(_, common)| self.callers.remove(&common)).is_some() {
                self.metrics.gave_up(GivenUp::Requests);
            }
        }
    }

    /// What was forgotten before its time.
    pub(crate) fn losses(&self, losses: &mut Losses) {
        self.metrics.losses(losses);
    }

    /// Shows how much is remembered.
    pub(crate) fn show(&mut self) {
        let requests = self.serving.len() + self.sent.len() + self.early.len() + self.callers.len();
        let bytes = requests * REQUEST_BYTES;
        self.memory.change(Holder::Requests, self.requests_bytes, bytes);
        self.requests_bytes = bytes;
        self.metrics.show(self.serving.len(), self.waiting.len());
    }
}

/// The end of it is that of its answer, or of its connection, and was seen.
fn is_whole(connection: &ConnectionInfo, exchange: &Exchange) -> bool {
    let ended = matches!(exchange.failure, None | Some(Failure::Closed | Failure::Reset));
    ended && !connection.gaps
}

/// Who began an exchange is above who took it.
fn began(exchange: &Exchange) -> bool {
    (exchange.role == Role::Client) != exchange.pushed()
}

/// Requests on connections that are older than the agent are known by their place alone.
const BY_PLACE: u64 = u64::MAX;

fn common(end: &End) -> Option<Common> {
    let by_number = end.shared.map(|shared| (shared.sequences, shared.ordinal));
    by_number.or_else(|| end.place.map(|place| (place, BY_PLACE)))
}

fn end_of(role: Role, newest: &Newest<'_>, begun: &Begun<'_>) -> End {
    let header = |name: &str| {
        let mut headers = begun.headers.iter();
        headers.find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    };
    let shared = Shared::new(newest.connection, begun.ordinal);
    let named = headers::parent(header);
    End::new(role, role == Role::Client, shared, named).at_place(newest.place)
}

fn finished(connection: &ConnectionInfo, exchange: &Exchange) -> End {
    let named = headers::parent(|name| exchange.request_header(name));
    let shared = Shared::new(connection, exchange.ordinal);
    End::new(exchange.role, began(exchange), shared, named)
}
