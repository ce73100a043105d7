//! Processes, threads and connections by script, and whose child each span becomes.

mod at_once;
mod goroutines;
mod several;

use icecore_probe_events::INBOUND;

use super::*;
use crate::connection::piece_of;
use crate::protocol::{Header, HttpCall, Said};
use crate::rules::Share;
use crate::span::link::{Ids, Link, Parent};
use crate::span::tests::exchange;
use crate::span::{Draft, Whole};

const WAIT: Duration = Duration::from_millis(1);

/// A machine on which requests are read and sent.
struct Machine {
    ties: Ties,
    time: u64,
}

/// A connection as one end sees it, a request on it, and who works there.
#[derive(Debug, Clone)]
struct At {
    role: Role,
    connection: u64,
    sequences: u64,
    process: u32,
    thread: u32,
    goroutine: bool,
    waits: bool,
    start: u64,
    /// Of a connection that is older than the agent.
    place: Option<u64>,
    headers: Vec<Header>,
}

impl At {
    fn new(role: Role, connection: u64, process: u32) -> Self {
        // Both ends of a connection have numbers that differ in the last digit.
        let sequences = 7_000 + connection / 10;
        let (thread, waits) = (process * 100, role == Role::Server);
        let (start, place, headers) = (0, None, Vec::new());
        let goroutine = false;
        Self {
            role,
            connection,
            sequences,
            process,
            thread,
            goroutine,
            waits,
            start,
            place,
            headers,
        }
    }

    fn thread(self, thread: u32) -> Self {
        Self { thread, ..self }
    }

    fn goroutine(self, goroutine: u32) -> Self {
        Self { thread: goroutine, goroutine: true, waits: false, ..self }
    }

    fn never_waits(self) -> Self {
        Self { waits: false, ..self }
    }

    fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    fn info(&self) -> ConnectionInfo {
        let sequences = Some(self.sequences);
        let info = crate::span::tests::connection(self.role);
        ConnectionInfo { cookie: self.connection, sequences, pid: self.process, ..info }
    }
}

impl Machine {
    fn new() -> Self {
        let config = TieConfig { wait: WAIT, ..TieConfig::default() };
        Self { ties: Ties::new(&config, &mut Registry::default()), time: 1_000 }
    }

    fn pass(&mut self, at: &At, direction: u8) -> u64 {
        self.time += 10;
        let mut piece = piece_of(at.connection, self.time);
        piece.direction = u16::from(direction);
        piece.owner.pid = at.process;
        piece.owner.thread = at.thread;
        piece.flags |= if at.waits && direction == INBOUND { FLAG_WAITS } else { 0 };
        piece.flags |= if at.goroutine { FLAG_GOROUTINE } else { 0 };
        self.ties.begin(&piece);
        self.time
    }

    /// A request passes, the first one on its connection.
    fn begin(&mut self, mut at: At) -> At {
        let direction = if at.role == Role::Server { INBOUND } else { OUTBOUND };
        at.start = self.pass(&at, direction);
        let (start, headers) = (at.start, at.headers.as_slice());
        let ordinal = at.place.is_none().then_some(0);
        let begun = Some(Begun { start, ordinal, headers, waiting: 1 });
        let (connection, role) = (&at.info(), Some(at.role));
        self.ties
            .begun(&Newest { connection, role, begun, beside: vec![], place: at.place }, start);
        at
    }

    /// Its answer passes.
    fn end(&mut self, at: &At) -> Arc<End> {
        let direction = if at.role == Role::Server { OUTBOUND } else { INBOUND };
        self.pass(at, direction);
        let mut exchange = exchange(at.role, "GET", "/", 200);
        exchange.start = at.start;
        exchange.ordinal = at.place.is_none().then_some(0);
        let request_headers = at.headers.clone();
        exchange.said = Said::Http(HttpCall { request_headers, ..HttpCall::default() });
        self.ties.finish(&at.info(), &exchange)
    }

    /// All that passed is known.
    fn ids(&mut self, end: &Arc<End>) -> Ids {
        self.ties.decide(end);
        end.ids()
    }
}

fn certain(parent: &Ids, remote: bool) -> Option<Parent> {
    Some(Parent { span_id: parent.span_id, remote })
}

/// Scenario: three services call each other, each in a thread that waits for its request; what a
/// sender did is seen before what the receiver did, or after it.
/// Guarantees: one trace, each span the child of the one that caused it.
#[test]
fn a_chain_is_one_trace() {
    for late in [false, true] {
        let mut machine = Machine::new();
        let first = machine.begin(At::new(Role::Server, 11, 1));
        let to_second = At::new(Role::Client, 20, 1);
        let second = At::new(Role::Server, 21, 2);
        let (to_second, second) = if late {
            let second = machine.begin(second);
            (machine.begin(to_second), second)
        } else {
            let to_second = machine.begin(to_second);
            (to_second, machine.begin(second))
        };
        let to_third = machine.begin(At::new(Role::Client, 30, 2));
        let third = machine.begin(At::new(Role::Server, 31, 3));
        let ends = [&third, &to_third, &second, &to_second, &first].map(|at| machine.end(at));
        let [third, to_third, second, to_second, first] = ends.map(|end| machine.ids(&end));
        let all = [&third, &to_third, &second, &to_second];
        assert!(all.iter().all(|ids| ids.trace_id == first.trace_id), "{all:?} {first:?}");
        assert!(all.iter().all(|ids| ids.links.is_empty()), "{all:?}");
        assert_eq!(third.parent, certain(&to_third, true));
        assert_eq!(to_third.parent, certain(&second, false));
        assert_eq!(second.parent, certain(&to_second, true));
        assert_eq!((to_second.parent, first.parent), (certain(&first, false), None));
        assert_eq!((to_second.how, second.how), (Some("thread"), None));
    }
}

/// Scenario: two services on a connection that is older than the agent, so that nobody knows the
/// request's number, but its place among all bytes; then on one that has another place.
/// Guarantees: the called one's span is the child of the caller's, and has its trace; or it is neither.
#[test]
fn older_connections_go_by_place() {
    for (place, joined) in [(77, true), (78, false)] {
        let mut machine = Machine::new();
        let call = At { place: Some(77), ..At::new(Role::Client, 20, 1) };
        let called = At { place: Some(place), ..At::new(Role::Server, 21, 2) };
        let (call, called) = (machine.begin(call), machine.begin(called));
        let (called, call) = (machine.end(&called), machine.end(&call));
        let (called, call) = (machine.ids(&called), machine.ids(&call));
        assert_eq!(called.parent == certain(&call, true), joined);
        assert_eq!(called.trace_id == call.trace_id, joined);
    }
}

/// Scenario: the called service is on another machine, or no service that is watched.
/// Guarantees: the caller's span says where that end's span is, which derived its ids by itself.
#[test]
fn what_is_called_elsewhere_is_linked() {
    let mut machine = Machine::new();
    let served = machine.begin(At::new(Role::Server, 11, 1));
    let call = machine.begin(At::new(Role::Client, 20, 1));
    let call = machine.end(&call);
    machine.end(&served);
    let call = machine.ids(&call);

    let mut elsewhere = Machine::new();
    let called = elsewhere.begin(At::new(Role::Server, 21, 9));
    let called = elsewhere.end(&called);
    let called = elsewhere.ids(&called);
    assert_ne!(call.trace_id, called.trace_id);
    let Link { trace_id, span_id, what } = &call.links[0];
    assert_eq!((*trace_id, *span_id, *what), (called.trace_id, called.span_id, "derived"));
    assert_eq!((call.links.len(), called.parent), (1, None));
}

/// Scenario: a thread has two requests; one that never waits; one of a process whose answers come from
/// other threads; one that serves nobody, while others do.
/// Guarantees: no parent; what is likely is a link that says so, and the trace is the call's own.
#[test]
fn what_is_not_certain_is_no_parent() {
    let call_of = |machine: &mut Machine, process: u32, thread: u32| {
        let call = machine.begin(At::new(Role::Client, 90, process).thread(thread));
        let call = machine.end(&call);
        machine.ids(&call)
    };
    // Two at a time on one thread: the one that it has read just now, likely.
    let mut machine = Machine::new();
    machine.begin(At::new(Role::Server, 11, 1));
    let second = machine.begin(At::new(Role::Server, 21, 1));
    let call = call_of(&mut machine, 1, 100);
    let second = machine.end(&second);
    assert_eq!((call.parent, call.how, call.links[0].what), (None, Some("likely"), "likely"));
    assert_eq!(call.links[0].span_id, second.span_id);
    assert_ne!(call.trace_id, machine.ids(&second).trace_id);
    // With another call in between, nothing speaks for either of them.
    machine.begin(At::new(Role::Server, 31, 1));
    let call = call_of(&mut machine, 1, 100);
    assert_eq!(call.how, Some("likely"));
    let call = call_of(&mut machine, 1, 100);
    assert_eq!((call.parent, call.how, call.links.len()), (None, None, 0));

    let mut machine = Machine::new();
    machine.begin(At::new(Role::Server, 11, 1).never_waits());
    let call = call_of(&mut machine, 1, 100);
    assert_eq!((call.parent, call.how), (None, Some("likely")));
    // A thread that serves nobody, of a process that serves one request.
    assert_eq!(call_of(&mut machine, 1, 101).how, Some("likely"));
    assert_eq!(call_of(&mut machine, 2, 200).how, None);

    let mut machine = Machine::new();
    let handed_over = machine.begin(At::new(Role::Server, 11, 1));
    machine.end(&handed_over.thread(101));
    machine.begin(At::new(Role::Server, 21, 1));
    let call = call_of(&mut machine, 1, 100);
    assert_eq!((call.parent, call.how), (None, Some("likely")));
}

/// Scenario: a proxy with several requests at a time passes `traceparent` on as it came, or the number
/// of a request; two requests carry the same one.
/// Guarantees: what names one request is certain, and the call its child; what names two is not.
#[test]
fn what_is_passed_on_is_known_again() {
    let context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let number = "7a1c3ad5-0b3e-4a6e";
    for (name, value) in [("traceparent", context), ("x-request-id", number)] {
        let mut machine = Machine::new();
        let first = At::new(Role::Server, 11, 1).never_waits().header(name, value);
        let first = machine.begin(first);
        machine.begin(At::new(Role::Server, 21, 1).never_waits());
        let call = || At::new(Role::Client, 90, 1).header(name, value);
        let to_next = machine.begin(call());
        let next = machine.begin(At::new(Role::Server, 91, 2).header(name, value));
        machine.begin(At::new(Role::Server, 31, 1).never_waits().header(name, value));
        let doubtful = machine.begin(At { connection: 50, sequences: 1, ..call() });
        let ends = [&next, &to_next, &doubtful, &first].map(|at| machine.end(at));
        let [next, to_next, doubtful, first] = ends.map(|end| machine.ids(&end));
        assert_eq!((to_next.parent, to_next.how), (certain(&first, false), Some("forwarded")));
        assert_eq!(next.parent, certain(&to_next, true));
        assert_eq!((next.trace_id, to_next.trace_id), (first.trace_id, first.trace_id));
        assert_ne!(doubtful.parent, certain(&first, false));
        let named = name == "traceparent";
        assert_eq!(first.parent.is_some(), named);
        assert_eq!((first.trace_id[..2] == [0x4b, 0xf9], first.flags), (named, u8::from(!named)));
    }
}

/// Scenario: both ends of a connection are watched by agents that know nothing of each other; then
/// the request is another one, or not certainly the same.
/// Guarantees: both derive one trace and different spans; where it is not certain, ids are random.
#[test]
fn both_ends_derive_the_same_trace() {
    let trace = |role: Role, ordinal: Option<u64>| {
        let mut machine = Machine::new();
        let connection = crate::span::tests::connection(role);
        let exchange = Exchange { ordinal, ..exchange(role, "GET", "/", 200) };
        let end = machine.ties.finish(&connection, &exchange);
        (machine.ids(&end).trace_id, end.span_id)
    };
    let (client, server) = (trace(Role::Client, Some(0)), trace(Role::Server, Some(0)));
    assert_eq!(client.0, server.0);
    assert_ne!(client.1, server.1);
    assert_ne!(trace(Role::Server, Some(1)).0, client.0);
    assert_ne!(trace(Role::Server, None), trace(Role::Server, None));
}

fn long_span() -> Draft {
    let mut span = Whole::default();
    span.trace_state = "x".repeat(30_000);
    Draft::Whole(span)
}

/// Scenario: spans with long texts that together are over the bound in bytes, and callers of which nobody tells.
/// Guarantees: the oldest leave before their time until the rest is within the bound, and the list of those who
/// are to be forgotten has its own.
#[test]
fn what_waits_is_bounded_in_bytes() {
    let config = TieConfig { wait: WAIT, requests_max: 20, bytes_max: 100_000 };
    let mut machine = Machine { ties: Ties::new(&config, &mut Registry::default()), time: 1_000 };
    for number in 0..60 {
        let call = machine.begin(At::new(Role::Client, 5_000 + number * 10, 1));
        let end = machine.end(&call);
        machine.ties.pass_over(&end);
        if number < 10 {
            let span = long_span();
            let (resource, share) = (Arc::default(), Share::default());
            machine.ties.hold(Held { resource, span, end, share });
        }
    }
    let early = std::iter::from_fn(|| machine.ties.release(None)).count();
    assert_eq!((early, machine.ties.waiting.len(), machine.ties.leaving.len()), (7, 3, 20));
    assert_eq!(std::iter::from_fn(|| machine.ties.release(Some(u64::MAX))).count(), 3);
}

/// Scenario: spans that together are over the memory of the agent, though within their own bound.
/// Guarantees: the oldest leave before their time until the rest is within it, and nothing counts as held in the
/// end.
#[test]
fn what_waits_keeps_to_the_memory() {
    let config = TieConfig { wait: WAIT, ..TieConfig::default() };
    let memory = Memory::new(70_000, 0);
    let ties = Ties::new(&config, &mut Registry::default()).bounded(memory.clone());
    let mut machine = Machine { ties, time: 1_000 };
    for number in 0..4 {
        let call = machine.begin(At::new(Role::Client, 5_000 + number * 10, 1));
        let end = machine.end(&call);
        let span = long_span();
        let (resource, share) = (Arc::default(), Share::default());
        machine.ties.hold(Held { resource, span, end, share });
    }
    let early = std::iter::from_fn(|| machine.ties.release(None)).count();
    assert_eq!((early, machine.ties.waiting.len()), (2, 2));
    assert_eq!(std::iter::from_fn(|| machine.ties.release(Some(u64::MAX))).count(), 2);
    assert_eq!(memory.of(Holder::Waiting), 0);
}

/// Scenario: more requests, calls and spans than the bound.
/// Guarantees: none is remembered beyond it, each span leaves once, and those before their time are
/// the oldest.
#[test]
fn what_is_remembered_is_bounded() {
    let config = TieConfig { wait: WAIT, requests_max: 4, ..TieConfig::default() };
    let mut machine = Machine { ties: Ties::new(&config, &mut Registry::default()), time: 1_000 };
    let resource = Arc::default();
    for number in 0..50 {
        let process = 1 + number;
        machine.begin(At::new(Role::Server, 1_000 + u64::from(number) * 10, process));
        let call = machine.begin(At::new(Role::Client, 5_000 + u64::from(number) * 10, process));
        let end = machine.end(&call);
        let span = Draft::default();
        machine.ties.hold(Held {
            resource: Arc::clone(&resource),
            span,
            end,
            share: Share::default(),
        });
    }
    assert_eq!((machine.ties.serving.len(), machine.ties.callers.len()), (4, 4));
    let early = std::iter::from_fn(|| machine.ties.release(None)).count();
    assert_eq!((early, machine.ties.waiting.len()), (46, 4));
    assert_eq!(std::iter::from_fn(|| machine.ties.release(Some(u64::MAX))).count(), 4);
}

impl Machine {
    /// Some of an answer passes, and its request is not over.
    fn answer(&mut self, at: &At) -> u64 {
        let time = self.pass(at, OUTBOUND);
        let begun = Some(Begun { start: at.start, ordinal: Some(0), headers: &[], waiting: 1 });
        let (connection, role) = (&at.info(), Some(at.role));
        self.ties.begun(&Newest { connection, role, begun, beside: vec![], place: None }, time);
        time
    }

    /// A request ends with its connection, of which nobody tells by whom.
    fn close(&mut self, at: &At, gaps: bool, failure: Option<Failure>) -> Option<Served> {
        self.pass(&At::new(Role::Client, 990, 99), OUTBOUND);
        let exchange = Exchange { start: at.start, failure, ..exchange(at.role, "GET", "/", 200) };
        let end = self.ties.finish(&ConnectionInfo { gaps, ..at.info() }, &exchange);
        end.served().copied()
    }

    fn served(&mut self, at: &At) -> Option<(u32, u64, u64)> {
        let end = self.end(at);
        end.served().map(|served| (served.thread, served.from, served.until))
    }
}

/// Scenario: a thread waits for a request and answers it, at once or in parts; the connection ends behind it, as it
/// should, by the client, or with bytes that nobody saw.
/// Guarantees: its time is from its first byte to the last one that the thread was seen to send; where something
/// was lost it has none.
#[test]
fn a_thread_has_a_time_for_a_request() {
    let mut machine = Machine::new();
    let at = machine.begin(At::new(Role::Server, 11, 1));
    assert_eq!(machine.ties.served_now().collect::<Vec<_>>(), [(100, at.start)]);
    machine.answer(&at);
    assert_eq!(machine.served(&at), Some((100, at.start, machine.time)));
    assert_eq!(machine.ties.served_now().count(), 0);
    for (gaps, failure, known) in [
        (false, None, true),
        (false, Some(Failure::Closed), true),
        (false, Some(Failure::Unseen), false),
        (false, Some(Failure::Malformed), false),
        (true, None, false),
    ] {
        let at = machine.begin(At::new(Role::Server, 21, 1));
        let sent = machine.answer(&at);
        let served = machine.close(&at, gaps, failure);
        assert_eq!(served.map(|it| (it.from, it.until)), known.then_some((at.start, sent)));
    }
    // Nothing was sent.
    let at = machine.begin(At::new(Role::Server, 31, 1));
    assert_eq!(machine.close(&at, false, Some(Failure::Closed)), None);
}

/// Scenario: a thread that does not wait; two requests at a time on one thread, which end one behind the other;
/// another thread reads more of a request, sends some of the answer, or all of it; then the process has one that is
/// served as it should be.
/// Guarantees: none of them has a time of its own, and the last one has none either: its process hands requests over.
#[test]
fn who_is_not_certain_has_no_time() {
    let mut machine = Machine::new();
    let at = machine.begin(At::new(Role::Server, 11, 1).never_waits());
    assert_eq!(machine.ties.served_now().count(), 0);
    assert_eq!(machine.served(&at), None);
    let first = machine.begin(At::new(Role::Server, 21, 1));
    let second = machine.begin(At::new(Role::Server, 31, 1));
    assert_eq!(machine.ties.served_now().count(), 0);
    assert_eq!((machine.served(&first), machine.served(&second)), (None, None));
    let at = machine.begin(At::new(Role::Server, 41, 2));
    machine.answer(&at.clone().thread(201));
    assert_eq!(machine.served(&at), None);
    let alone = machine.begin(At::new(Role::Server, 51, 2));
    assert!(machine.served(&alone).is_some());
    let at = machine.begin(At::new(Role::Server, 61, 2));
    assert_eq!(machine.served(&at.thread(202)), None);
    let at = machine.begin(At::new(Role::Server, 71, 2));
    assert_eq!(machine.served(&at), None);
}
