//! Conversations for tests: played whole, cut at every byte, and with every part of them lost.
//!
//! Invariant: what is asserted holds for both ends, and each byte is counted once.

use std::sync::Arc;

use super::{
    BodySize, Closing, Detail, Exchange, Following, Limits, MessagingCall, Role, Said, Segment,
};

/// Bytes of one end, in the order in which they travelled: true, those of the client.
pub(super) type Step = (bool, Vec<u8>);

/// The client's bytes.
pub(super) fn ask(bytes: impl AsRef<[u8]>) -> Step {
    (true, bytes.as_ref().to_vec())
}

/// The server's bytes.
pub(super) fn answer(bytes: impl AsRef<[u8]>) -> Step {
    (false, bytes.as_ref().to_vec())
}

/// A recorded conversation: lines of hexadecimal digits behind `>` (client) or `<`.
pub(super) fn recorded(text: &str) -> Vec<Step> {
    let bytes = |digits: &str| {
        let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    };
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let parts = lines.filter_map(|line| line.split_once(' '));
    parts.map(|(sign, digits)| (sign == ">", bytes(digits))).collect()
}

/// One exchange in the words of the tests: `GET ? -> ERR 12>34`, sizes with `+` where at least.
pub(super) fn told(exchange: &Exchange) -> String {
    let count = |count: Option<u64>| count.map_or("\u{2026}".to_owned(), |it| it.to_string());
    let size = |size| match size {
        BodySize::Exact(bytes) => format!("{bytes}"),
        BodySize::AtLeast(bytes) => format!("{bytes}+"),
    };
    let sizes = format!("{}>{}", size(exchange.request_body), size(exchange.response_body));
    let failure = exchange.failure.map_or(String::new(), |failure| format!(" {failure:?}"));
    match &exchange.said {
        Said::Database(call) => {
            let text = call.text.as_deref().or(call.operation.as_deref()).unwrap_or("-");
            let status = call.status.as_deref().or(call.error).unwrap_or("ok");
            format!("{text} -> {status} {sizes}{failure}")
        }
        Said::Rpc(call) => {
            let status = call.status.as_deref().unwrap_or("-");
            let count =
                |count: Option<u64>| count.map_or("\u{2026}".to_owned(), |it| it.to_string());
            let (sent, received) = (count(call.sent), count(call.received));
            format!("{} {status} {sent}>{received} {sizes}{failure}", call.method)
        }
        Said::Socket(call) => {
            let (sent, received) = (count(call.sent), count(call.received));
            let code = call.close_code.map_or("-".to_owned(), |code| code.to_string());
            format!("{} {code} {sent}>{received} {sizes}{failure}", call.target)
        }
        Said::Messaging(call) => {
            let destination = call.destination.as_deref().unwrap_or("-");
            let status = call.error.as_deref().unwrap_or("ok");
            format!("{} {destination} -> {status} {sizes}{failure}", call.operation)
        }
        Said::Dns(call) => {
            let code = call.code.as_deref().unwrap_or("-");
            let retries =
                if call.retries > 0 { format!(" again {}", call.retries) } else { String::new() };
            let answers = call.answers.join(",");
            format!("{} {} {code} [{answers}]{retries} {sizes}{failure}", call.kind, call.name)
        }
        Said::Http(call) => {
            let status = call.status.map_or("-".to_owned(), |status| status.to_string());
            format!("{} {} {status} {sizes}{failure}", call.method, call.target)
        }
    }
}

/// A connection that is fed.
#[derive(Debug)]
pub(super) struct Watched {
    role: Role,
    pub(super) following: Following,
    pub(super) time: u64,
    fed: u64,
    pub(super) out: Vec<Exchange>,
}

impl Watched {
    pub(super) fn new(role: Role, limits: Limits, from_start: bool) -> Self {
        let following = Following::new(Arc::new(limits), from_start);
        Self { role, following, time: 0, fed: 0, out: Vec::new() }
    }

    pub(super) fn segment(&mut self, asks: bool, captured: &[u8], omitted: u64) {
        self.time += 1;
        self.fed += captured.len() as u64 + omitted;
        let way = self.role.requests();
        let direction = if asks { way } else { way.opposite() };
        let time = self.time;
        let segment = Segment { direction, time, captured, omitted, gap_before: false };
        self.following.feed(&segment, &mut self.out);
    }

    pub(super) fn step(&mut self, (asks, bytes): &Step) {
        self.segment(*asks, bytes, 0);
    }

    /// What was understood, when the connection has ended.
    pub(super) fn close(&mut self, closing: Closing) -> Vec<String> {
        self.time += 1;
        self.following.close(self.time, closing, &mut self.out);
        let counts = self.following.take_counts();
        let sum = counts.parsed_bytes + counts.unparsed_bytes + counts.passed_bytes;
        assert_eq!(sum, self.fed, "each byte is counted once: {counts:?}");
        assert!(self.out.iter().all(|exchange| exchange.role == self.role));
        self.out.iter().map(told).collect()
    }
}

/// What is said of messages.
pub(super) fn call(exchange: &Exchange) -> &MessagingCall {
    let Said::Messaging(call) = &exchange.said else { panic!("{exchange:?}") };
    call
}

/// What only one system has, as a text.
pub(super) fn detail(call: &MessagingCall, key: &str) -> Option<String> {
    let found = call.details.iter().find(|(name, _)| *name == key);
    found.map(|(_, detail)| match detail {
        Detail::Text(text) => text.clone(),
        Detail::Number(number) => number.to_string(),
    })
}

/// A connection on which all of this has passed.
pub(super) fn watch(role: Role, limits: Limits, steps: &[Step]) -> Watched {
    let mut watched = Watched::new(role, limits, true);
    steps.iter().for_each(|step| watched.step(step));
    watched
}

/// What is understood of the steps, whole.
pub(super) fn play(role: Role, limits: &Limits, steps: &[Step]) -> Vec<String> {
    play_from(true, role, limits, steps)
}

fn play_from(start: bool, role: Role, limits: &Limits, steps: &[Step]) -> Vec<String> {
    let mut watched = Watched::new(role, limits.clone(), start);
    steps.iter().for_each(|step| watched.step(step));
    watched.close(Closing::Orderly)
}

/// Feeds the steps whole, cut in two at every byte of every step, and byte by byte, for both roles.
pub(super) fn check(limits: &Limits, steps: &[Step], wanted: &[&str]) {
    for role in [Role::Server, Role::Client] {
        assert_eq!(play(role, limits, steps), wanted, "{role:?}, whole");
        check_cuts(role, limits, steps);
    }
}

/// However the steps are cut, they mean the same.
pub(super) fn check_cuts(role: Role, limits: &Limits, steps: &[Step]) {
    let wanted = play(role, limits, steps);
    for (at, (asks, bytes)) in steps.iter().enumerate() {
        for cut in 1..bytes.len() {
            let (head, tail) = bytes.split_at(cut);
            let mut parts = steps.to_vec();
            parts.splice(at..=at, [(*asks, head.to_vec()), (*asks, tail.to_vec())]);
            assert_eq!(play(role, limits, &parts), wanted, "{role:?}, step {at} cut at {cut}");
        }
    }
    let bytes =
        steps.iter().flat_map(|(asks, bytes)| bytes.iter().map(|byte| (*asks, vec![*byte])));
    // Too many parts to be held while nothing is known.
    let limits =
        Limits { open_segments_max: u32::MAX, detect_segments_max: u32::MAX, ..limits.clone() };
    assert_eq!(play(role, &limits, &bytes.collect::<Vec<_>>()), wanted, "{role:?}, byte by byte");
}

/// The one is told like the other, of a destination of which the last part is not known.
fn says_less(one: &str, other: &str) -> bool {
    match (one.split_once(" -> "), other.split_once(" -> ")) {
        (Some((less, rest)), Some((whole, rest_too))) => {
            rest == rest_too && whole.strip_prefix(less).is_some_and(|more| more.starts_with(':'))
        }
        _ => false,
    }
}

/// Loses every part of a conversation in which each exchange is told differently: chunks of
/// `chunk` bytes, with their length known (a hole) or not (a gap).
///
/// Nothing panics, nothing is made up, what is told keeps its order, and after a silence the
/// conversation is understood again.
pub(super) fn check_losses(
    role: Role,
    limits: &Limits,
    steps: &[Step],
    again: &[Step],
    chunk: usize,
) {
    let wanted = play(role, limits, steps);
    let last = play_from(false, role, limits, again);
    let chunks: Vec<Step> = steps
        .iter()
        .flat_map(|(asks, bytes)| bytes.chunks(chunk).map(|part| (*asks, part.to_vec())))
        .collect();
    for lost in 0..chunks.len() {
        let mut watched = Watched::new(role, limits.clone(), true);
        for (at, (asks, bytes)) in chunks.iter().enumerate() {
            if at == lost {
                watched.segment(*asks, &[], bytes.len() as u64);
            } else {
                watched.segment(*asks, bytes, 0);
            }
        }
        // Two rounds: the first request behind a silence may have to pay for what was before it.
        for _ in 0..2 {
            watched.time += 2_000_000_000;
            again.iter().for_each(|step| watched.step(step));
        }
        let told = watched.close(Closing::Orderly);
        // What says that it was not seen whole, or does not know its text, may differ.
        let partial = |one: &str| {
            let marks = ["Unseen", "_OTHER", "USE ->", "\u{2026}", "+>"];
            one.starts_with("- ->")
                || one.contains(" - ->")
                || one.ends_with('+')
                || marks.iter().any(|mark| one.contains(mark))
        };
        let whole: Vec<_> = told.iter().filter(|one| !partial(one)).collect();
        let mut expected = wanted.iter().chain(&last).chain(&last);
        for one in &whole {
            assert!(
                expected.any(|other| other == *one || says_less(one, other)),
                "chunk {lost} lost, made up {one}: {told:?}"
            );
        }
        assert!(told.ends_with(&last), "{role:?}, chunk {lost} lost: {told:?}");
    }
}
