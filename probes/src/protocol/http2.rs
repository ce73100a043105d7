//! HTTP/2, both directions of one connection.
//!
//! Invariants: a response is given to the request of its own stream and to no other; what was lost
//! makes fields and sizes unknown, never wrong; streams, header blocks and tables are bounded.

mod frame;
mod hpack;
mod lane;
mod look;
mod message;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use lane::{Event, Lane};
pub(super) use look::look;
use message::{Message, Rules};
use stream::Stream;

use super::{
    Begun, Closing, Counts, Direction, Exchange, Failure, HttpCall, Limits, Protocol, Role,
    Segment, begun_beside,
};

/// A response of which bytes were lost, and of which nothing came for so long, is given up when the
/// next request begins.
const QUIET_NANOS: u64 = 1_000_000_000;
/// Calls in a row that may begin with no frame before the protocol counts as mistaken, where nothing
/// was understood yet.
const LOST_SEGMENTS_MAX: u32 = 64;
/// The peer has not begun with a stream: it can be tried again.
const REFUSED_STREAM: u32 = 0x7;

/// The parser of one HTTP/2 connection.
#[derive(Debug)]
pub struct Http2 {
    role: Role,
    rules: Rules,
    body_bytes_max: usize,
    streams_max: usize,
    counts: Counts,
    requests: Lane,
    responses: Lane,
    streams: BTreeMap<u32, Stream>,
    /// The number of the request on the first stream.
    first_ordinal: Option<u64>,
    failures: u32,
    lost_segments: u32,
    /// An exchange was whole.
    proven: bool,
}

/// A direction, by what travels there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Requests,
    Responses,
}

impl Http2 {
    /// `from_start`: no byte of the connection came before the first that will be fed.
    #[must_use]
    pub fn new(limits: &Limits, role: Role, from_start: bool) -> Self {
        let rules = Rules::new(limits);
        Self {
            role,
            requests: Lane::new(&rules, from_start, true),
            responses: Lane::new(&rules, from_start, false),
            rules,
            body_bytes_max: limits.body_bytes_max,
            streams_max: limits.streams_max,
            counts: Counts::default(),
            streams: BTreeMap::new(),
            first_ordinal: Some(0),
            failures: 0,
            lost_segments: 0,
            proven: false,
        }
    }

    /// A connection that HTTP/1.1 has left: its first stream is the request that asked for it.
    pub(super) fn upgraded(limits: &Limits, asked: &Exchange, call: &HttpCall) -> Self {
        let mut http2 = Self::new(limits, asked.role, true);
        http2.first_ordinal = asked.ordinal;
        http2.streams.insert(1, Stream::upgraded(asked, call, limits.body_bytes_max));
        http2
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
}

/// A parser for a connection.
pub(super) fn parser(limits: Arc<Limits>, role: Role, from_start: bool) -> Box<dyn Protocol> {
    Box::new(Http2::new(&limits, role, from_start))
}

impl Protocol for Http2 {
    fn feed(&mut self, segment: &Segment<'_>, out: &mut Vec<Exchange>) {
        let side = self.side(segment.direction);
        if segment.gap_before {
            self.lose(side, out);
        }
        let mut input = segment.captured;
        self.lane(side).find(input, side == Side::Requests);
        self.read(side, &mut input, segment.time, out);
        self.counts.unparsed_bytes += input.len() as u64;
        let mut omitted = segment.omitted;
        self.skip(side, &mut omitted, segment.time, out);
        let lost = self.lane(side).lost();
        self.lost_segments = if lost { self.lost_segments.saturating_add(1) } else { 0 };
        self.collect(side);
    }

    fn close(&mut self, time: u64, closing: Closing, out: &mut Vec<Exchange>) {
        let unseen = self.responses.lost() || closing == Closing::Unwatched;
        for lane in [Side::Requests, Side::Responses] {
            self.lane(lane).lose();
            self.collect(lane);
        }
        for (id, mut stream) in std::mem::take(&mut self.streams) {
            stream.end_if_answered();
            let failure = match closing {
                _ if stream.response.done => None,
                _ if unseen || stream.suspect || stream.unsure => Some(Failure::Unseen),
                Closing::Reset => Some(Failure::Reset),
                Closing::Orderly | Closing::Unwatched => Some(Failure::Closed),
            };
            if failure.is_some() {
                stream.seen_until(time);
            }
            self.finish(id, stream, failure, out);
        }
    }

    fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    fn held_bytes(&self) -> usize {
        let lanes = self.requests.held_bytes() + self.responses.held_bytes();
        size_of::<Self>() + lanes + self.streams.values().map(Stream::held_bytes).sum::<usize>()
    }

    fn role(&self) -> Role {
        self.role
    }

    fn finished(&self) -> bool {
        false
    }

    fn newest(&self) -> Option<Begun<'_>> {
        let (&id, stream) = self.streams.last_key_value()?;
        Some(stream.begun(self.ordinal(id), self.streams.len()))
    }

    fn beside(&self, time: u64) -> Vec<Begun<'_>> {
        let newest_first = self.streams.iter().rev();
        let waiting = self.streams.len();
        let begun = newest_first.map(|(&id, stream)| stream.begun(self.ordinal(id), waiting));
        begun_beside(begun, time)
    }

    fn failures(&self) -> u32 {
        if !self.proven && self.lost_segments > LOST_SEGMENTS_MAX {
            return u32::MAX;
        }
        self.failures
    }
}

/// Bytes in.
impl Http2 {
    fn read(&mut self, side: Side, input: &mut &[u8], time: u64, out: &mut Vec<Exchange>) {
        loop {
            let Self { requests, responses, rules, .. } = self;
            let lane = match side {
                Side::Requests => requests,
                Side::Responses => responses,
            };
            match lane.next(input, time, rules) {
                Some(event) => self.take(side, event, time, out),
                None => return,
            }
        }
    }

    fn skip(&mut self, side: Side, omitted: &mut u64, time: u64, out: &mut Vec<Exchange>) {
        if *omitted == 0 {
            return;
        }
        loop {
            let Self { requests, responses, rules, .. } = self;
            let lane = match side {
                Side::Requests => requests,
                Side::Responses => responses,
            };
            match lane.skip(omitted, rules) {
                Some(event) => self.take(side, event, time, out),
                None => break,
            }
        }
        if *omitted > 0 {
            self.counts.unparsed_bytes += *omitted;
            self.lose(side, out);
        }
    }

    /// What became of the bytes of a lane.
    fn collect(&mut self, side: Side) {
        let (parsed, unparsed) = self.lane(side).take_counts();
        self.counts.parsed_bytes += parsed;
        self.counts.unparsed_bytes += unparsed;
    }

    fn take(&mut self, side: Side, event: Event<'_>, time: u64, out: &mut Vec<Exchange>) {
        match event {
            Event::Message { stream, began, end_stream, message } => {
                match (side, message) {
                    (Side::Requests, Some(message)) => self.ask(stream, began, message, out),
                    (Side::Responses, Some(message)) => self.answer(stream, time, message, out),
                    (Side::Responses, None) => {
                        if let Some(stream) = self.streams.get_mut(&stream) {
                            stream.answer_unread();
                        }
                    }
                    // Nobody knows what was asked.
                    (Side::Requests, None) => {}
                }
                if end_stream {
                    self.end(side, stream, time, out);
                }
            }
            Event::Data { stream, bytes } => self.half(side, stream, time, |half| half.push(bytes)),
            Event::Skipped { stream, bytes } => {
                self.half(side, stream, time, |half| half.skip(bytes));
            }
            Event::DataEnd { stream } => self.end(side, stream, time, out),
            Event::Reset { stream, code } => self.reset(stream, code, time, out),
            Event::GoAway { last } if side == Side::Responses => self.refuse(last, time, out),
            Event::GoAway { .. } => {}
            Event::Broken => {
                self.failures = self.failures.saturating_add(1);
                self.lose(side, out);
            }
        }
    }
}

/// What the frames mean.
impl Http2 {
    /// A header block of the client: a request, or what follows one.
    fn ask(&mut self, id: u32, began: u64, message: Message, out: &mut Vec<Exchange>) {
        let known = self.streams.contains_key(&id);
        if known && !message.asks() || !message.asks() && !message.unknown {
            return;
        }
        if let Some(older) = self.streams.remove(&id) {
            // Numbers are not used twice: the end of that stream was lost.
            self.finish(id, older, Some(Failure::Unseen), out);
        }
        self.give_up_suspects(began, out);
        if self.streams.len() >= self.streams_max
            && let Some((oldest, stream)) = self.streams.pop_first()
        {
            self.counts.requests_shed += 1;
            self.finish(oldest, stream, Some(Failure::Unseen), out);
        }
        let mut stream = Stream::new(began, message, self.body_bytes_max);
        stream.suspect = self.responses.lost();
        self.streams.insert(id, stream);
    }

    /// A header block of the server.
    fn answer(&mut self, id: u32, time: u64, message: Message, out: &mut Vec<Exchange>) {
        let Some(stream) = self.streams.get_mut(&id) else {
            let head = message.status.is_some_and(|status| status >= 200);
            self.counts.responses_without_request += u64::from(head);
            return;
        };
        stream.hear(time);
        stream.answer(message);
        if stream.tunnels()
            && let Some(stream) = self.streams.remove(&id)
        {
            self.finish(id, stream, None, out);
        }
    }

    fn half(&mut self, side: Side, id: u32, time: u64, note: impl FnOnce(&mut stream::Half)) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        match side {
            Side::Requests => note(&mut stream.request),
            Side::Responses => {
                stream.hear(time);
                note(&mut stream.response);
            }
        }
    }

    /// One side has said its last on a stream.
    fn end(&mut self, side: Side, id: u32, time: u64, out: &mut Vec<Exchange>) {
        self.half(side, id, time, stream::Half::finish);
        self.settle(id, out);
    }

    fn settle(&mut self, id: u32, out: &mut Vec<Exchange>) {
        if self.streams.get(&id).is_some_and(Stream::over)
            && let Some(stream) = self.streams.remove(&id)
        {
            self.finish(id, stream, None, out);
        }
    }

    fn reset(&mut self, id: u32, code: u32, time: u64, out: &mut Vec<Exchange>) {
        let Some(mut stream) = self.streams.remove(&id) else { return };
        stream.end_if_answered();
        let failure = (!stream.response.done).then_some(Failure::StreamReset(code));
        if failure.is_some() {
            stream.seen_until(time);
        }
        self.finish(id, stream, failure, out);
    }

    /// The server does not take up streams beyond `last`.
    fn refuse(&mut self, last: u32, time: u64, out: &mut Vec<Exchange>) {
        let refused = self.streams.split_off(&last.saturating_add(1));
        for (id, mut stream) in refused {
            stream.seen_until(time);
            self.finish(id, stream, Some(Failure::StreamReset(REFUSED_STREAM)), out);
        }
    }

    fn finish(
        &mut self,
        id: u32,
        stream: Stream,
        failure: Option<Failure>,
        out: &mut Vec<Exchange>,
    ) {
        if failure.is_none() {
            self.failures = 0;
            self.proven = true;
        }
        out.push(stream.finish(self.role, self.ordinal(id), failure));
    }

    /// Clients number their streams 1, 3, 5, ….
    fn ordinal(&self, id: u32) -> Option<u64> {
        self.first_ordinal.map(|first| first + u64::from(id / 2))
    }
}

/// Losses.
impl Http2 {
    /// It is not known what has passed on one side.
    fn lose(&mut self, side: Side, out: &mut Vec<Exchange>) {
        self.counts.resyncs += 1;
        self.lane(side).lose();
        let mut over = Vec::new();
        for (&id, stream) in &mut self.streams {
            stream.unsure |= side == Side::Requests;
            match side {
                Side::Requests if !stream.request.done => {
                    stream.request.lose();
                    stream.request.done = true;
                }
                Side::Responses if !stream.response.done => {
                    stream.response.lose();
                    stream.suspect = true;
                }
                Side::Requests | Side::Responses => {}
            }
            over.extend(stream.over().then_some(id));
        }
        over.into_iter().for_each(|id| self.settle(id, out));
    }

    fn give_up_suspects(&mut self, now: u64, out: &mut Vec<Exchange>) {
        let gone =
            |stream: &Stream| stream.suspect && now.saturating_sub(stream.heard) >= QUIET_NANOS;
        let ids: Vec<u32> =
            self.streams.iter().filter(|(_, one)| gone(one)).map(|(&id, _)| id).collect();
        for id in ids {
            if let Some(stream) = self.streams.remove(&id) {
                self.finish(id, stream, Some(Failure::Unseen), out);
            }
        }
    }
}
