//! HTTP/1.0 and HTTP/1.1, both directions of one connection.
//!
//! Invariants: responses are given to requests in the order of the requests; after a loss no
//! response is given to a request unless that request is the only one it can answer; what cannot be
//! matched is told as such and never made up. A request whose end cannot be told is one all the same.

mod body;
mod detect;
mod head;
mod lane;
mod matching;
mod pending;
#[cfg(test)]
mod tests;
mod tunnel;

use std::collections::VecDeque;
use std::sync::Arc;

use body::{Body, Then};
use detect::{Detection, detect};
use lane::{HeadStep, Lane, Place};
use pending::{Answer, Pending};

use super::opening::{Look, Opening};
use super::{
    Begun, Closing, Counts, Direction, Exchange, Failure, Limits, Protocol, Role, Segment,
    begun_beside,
};

/// After a loss on a connection with several requests under way, only silence tells that the
/// answers to them are all through.
const QUIET_NANOS: u64 = 1_000_000_000;

/// The parser of one HTTP/1.x connection.
#[derive(Debug)]
pub struct Http1 {
    limits: Arc<Limits>,
    role: Role,
    counts: Counts,
    requests: Lane,
    responses: Lane,
    pending: VecDeque<Pending>,
    /// The number of the next request, while every one before it was seen.
    ordinal: Option<u64>,
    /// A request was sent before the one before it was answered.
    pipelined: bool,
    /// Response bytes were lost while a request waited.
    response_lost: bool,
    /// Nothing can be matched until the connection was quiet for a while.
    blind: bool,
    /// What follows is not HTTP/1.x any more.
    passed: bool,
    /// Nor is it unknown: who reads it now.
    next: Option<Box<dyn Protocol>>,
    last_seen: u64,
}

/// A direction, by what travels there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Requests,
    Responses,
}

impl Http1 {
    /// `from_start`: no byte of the connection came before the first that will be fed.
    #[must_use]
    pub fn new(limits: Arc<Limits>, role: Role, from_start: bool) -> Self {
        let place = if from_start { Place::Head } else { Place::Lost { in_chunks: false } };
        Self {
            limits,
            role,
            counts: Counts::default(),
            requests: Lane::new(place.clone()),
            responses: Lane::new(place),
            pending: VecDeque::new(),
            ordinal: from_start.then_some(0),
            pipelined: false,
            response_lost: false,
            blind: false,
            passed: false,
            next: None,
            last_seen: 0,
        }
    }
}

/// A parser for a connection.
pub(super) fn parser(limits: Arc<Limits>, role: Role, from_start: bool) -> Box<dyn Protocol> {
    Box::new(Http1::new(limits, role, from_start))
}

/// HTTP/1.x begins with a line of a form that nothing else has.
pub(super) fn look(opening: &Opening<'_>) -> Look {
    let direction = opening.first();
    match detect(direction, &opening.bytes(direction)) {
        Detection::Http1(role) => Look::Certain(role),
        // A line that is too long for its server is answered before it is whole.
        Detection::Undecided if answers(opening) => Look::Certain(opening.asked_first()),
        Detection::Undecided if !opening.cut_off(direction) => Look::Possible,
        Detection::Undecided | Detection::Unknown => Look::Never,
    }
}

/// What travelled the other way answers a request of HTTP/1.x.
fn answers(opening: &Opening<'_>) -> bool {
    let direction = opening.first().opposite();
    let role = opening.asked_first();
    detect(direction, &opening.bytes(direction)) == Detection::Http1(role)
}

impl Protocol for Http1 {
    fn feed(&mut self, segment: &Segment<'_>, out: &mut Vec<Exchange>) {
        if let Some(next) = self.next.as_mut() {
            return next.feed(segment, out);
        }
        let side = self.side(segment.direction);
        if self.blind && !self.sees_again(side, segment) {
            self.last_seen = segment.time;
            self.counts.unparsed_bytes += segment.captured.len() as u64 + segment.omitted;
            return;
        }
        self.last_seen = segment.time;
        if segment.gap_before && !self.passed {
            self.gap(side, out);
        }
        let rest = self.read(side, segment, out);
        match self.next.as_mut() {
            Some(_) if rest.is_empty() && segment.omitted == 0 => {}
            Some(next) => next.feed(&Segment { captured: rest, ..*segment }, out),
            None => self.skip(side, segment, out),
        }
    }

    fn close(&mut self, time: u64, closing: Closing, out: &mut Vec<Exchange>) {
        if let Some(next) = self.next.as_mut() {
            next.close(time, closing, out);
        }
        self.counts.unparsed_bytes += self.requests.drop_head() + self.responses.drop_head();
        let unseen = self.response_lost || matches!(self.responses.place, Place::Lost { .. });
        while let Some(front) = self.pending.front_mut() {
            let failure = match front.answer {
                Answer::Whole => None,
                Answer::Begun if self.responses.place == Place::Body(Body::UntilClose) => {
                    let whole = closing != Closing::Unwatched;
                    front.end_response(std::mem::take(&mut self.responses.kept), whole);
                    match closing {
                        Closing::Orderly => None,
                        Closing::Reset => Some(Failure::Reset),
                        Closing::Unwatched => Some(Failure::Unseen),
                    }
                }
                Answer::Begun | Answer::Awaited if unseen => Some(Failure::Unseen),
                Answer::Begun | Answer::Awaited => {
                    front.seen_until(time);
                    Some(match closing {
                        Closing::Orderly => Failure::Closed,
                        Closing::Reset => Failure::Reset,
                        Closing::Unwatched => Failure::Unseen,
                    })
                }
            };
            self.finish_front(failure, out);
        }
    }

    fn take_counts(&mut self) -> Counts {
        let mut counts = std::mem::take(&mut self.counts);
        if let Some(next) = self.next.as_mut() {
            counts.add(next.take_counts());
        }
        counts
    }

    fn held_bytes(&self) -> usize {
        let next = self.next.as_ref().map_or(0, |next| next.held_bytes());
        let lanes = self.requests.held_bytes() + self.responses.held_bytes();
        let pending = self.pending.iter().map(Pending::held_bytes).sum::<usize>();
        size_of::<Self>() + next + lanes + pending
    }

    fn role(&self) -> Role {
        self.next.as_ref().map_or(self.role, |next| next.role())
    }

    fn finished(&self) -> bool {
        self.next.as_ref().map_or(self.passed, |next| next.finished())
    }

    fn newest(&self) -> Option<Begun<'_>> {
        match &self.next {
            Some(next) => next.newest(),
            None => Some(self.pending.back()?.begun(self.pending.len())),
        }
    }

    fn beside(&self, time: u64) -> Vec<Begun<'_>> {
        let waiting = self.pending.len();
        match &self.next {
            Some(next) => next.beside(time),
            None => begun_beside(self.pending.iter().rev().map(|it| it.begun(waiting)), time),
        }
    }

    fn failures(&self) -> u32 {
        self.next.as_ref().map_or(0, |next| next.failures())
    }
}

/// Bytes in.
impl Http1 {
    fn side(&self, direction: Direction) -> Side {
        if direction == self.role.requests() { Side::Requests } else { Side::Responses }
    }

    fn lane(&mut self, side: Side) -> &mut Lane {
        match side {
            Side::Requests => &mut self.requests,
            Side::Responses => &mut self.responses,
        }
    }

    /// What it returns is not HTTP/1.x any more, and to be read by who is next.
    fn read<'a>(&mut self, side: Side, segment: &Segment<'a>, out: &mut Vec<Exchange>) -> &'a [u8] {
        let mut rest = segment.captured;
        let mut may_resync = true;
        while !rest.is_empty() && self.next.is_none() {
            if self.passed {
                self.counts.passed_bytes += rest.len() as u64;
                return &[];
            }
            let at_start = rest.len() == segment.captured.len();
            if at_start && may_resync && self.begins_anew(side, rest) {
                may_resync = false;
                self.lane(side).place = Place::Head;
            }
            let used = match self.lane(side).place {
                Place::Head => self.read_head(side, rest, segment.time, out),
                Place::Body(_) | Place::Refused(_) => self.read_body(side, rest, segment.time, out),
                Place::Lost { in_chunks } => {
                    self.read_lost(side, rest, segment, in_chunks, out);
                    rest.len()
                }
            };
            rest = rest.split_at(used).1;
        }
        rest
    }

    /// The lane waits for a message to begin, and one does.
    fn begins_anew(&mut self, side: Side, bytes: &[u8]) -> bool {
        let waits = matches!(self.lane(side).place, Place::Lost { .. } | Place::Refused(_));
        waits && looks_like(self.role, side, bytes) == Detection::Http1(self.role)
    }

    fn read_head(&mut self, side: Side, input: &[u8], time: u64, out: &mut Vec<Exchange>) -> usize {
        let (role, head_bytes_max) = (self.role, self.limits.head_bytes_max);
        let lane = self.lane(side);
        if lane.head().is_empty() && matches!(input, [b'\r' | b'\n', ..]) {
            // Empty lines between messages: RFC 9112 section 2.2.
            self.counts.parsed_bytes += 1;
            return 1;
        }
        match lane.take_head(input, time, head_bytes_max) {
            HeadStep::More => {
                if looks_like(role, side, lane.head()) == Detection::Unknown {
                    self.broken(side, out);
                }
                input.len()
            }
            HeadStep::Whole { head, used } => {
                let read = match side {
                    Side::Requests => self.request_head(&head, out),
                    Side::Responses => self.response_head(&head, time, out),
                };
                if read.is_some() {
                    self.counts.parsed_bytes += head.len() as u64;
                } else {
                    self.counts.unparsed_bytes += head.len() as u64;
                    self.broken(side, out);
                }
                used
            }
            HeadStep::TooLong { head, used } => {
                self.counts.unparsed_bytes += head.len() as u64;
                match side {
                    Side::Requests if self.request_cut(&head, out).is_some() => {}
                    _ => self.broken(side, out),
                }
                used
            }
        }
    }

    fn read_body(&mut self, side: Side, input: &[u8], time: u64, out: &mut Vec<Exchange>) -> usize {
        self.response_seen(side, time);
        let lane = self.lane(side);
        let (Place::Body(body) | Place::Refused(body)) = &mut lane.place else { return 0 };
        let taken = body.take(input, &mut lane.kept);
        self.counts.parsed_bytes += taken.used;
        self.after_body(side, taken.then, out);
        usize::try_from(taken.used).unwrap_or(input.len())
    }

    fn read_lost(
        &mut self,
        side: Side,
        input: &[u8],
        segment: &Segment<'_>,
        in_chunks: bool,
        out: &mut Vec<Exchange>,
    ) {
        self.response_seen(side, segment.time);
        self.response_unread(side);
        self.counts.unparsed_bytes += input.len() as u64;
        let in_chunks = in_chunks && (side == Side::Requests || self.front_begun());
        if in_chunks && segment.omitted == 0 && input.ends_with(b"0\r\n\r\n") {
            self.lane(side).kept.holed = true;
            self.after_body(side, Then::Done, out);
        }
    }

    /// Bytes of which only the number is known.
    fn skip(&mut self, side: Side, segment: &Segment<'_>, out: &mut Vec<Exchange>) {
        if segment.omitted == 0 {
            return;
        }
        if self.passed {
            self.counts.passed_bytes += segment.omitted;
            return;
        }
        self.response_seen(side, segment.time);
        let lane = self.lane(side);
        let used = match &mut lane.place {
            Place::Body(body) | Place::Refused(body) => {
                let taken = body.skip(segment.omitted, &mut lane.kept);
                self.after_body(side, taken.then, out);
                taken.used
            }
            Place::Head | Place::Lost { .. } => 0,
        };
        self.counts.parsed_bytes += used;
        self.counts.unparsed_bytes += segment.omitted - used;
        if used == segment.omitted {
            return;
        }
        // The beginning of a message was not copied.
        match self.lane(side).place {
            Place::Lost { .. } => self.response_unread(side),
            _ => self.gap(side, out),
        }
    }

    fn after_body(&mut self, side: Side, then: Then, out: &mut Vec<Exchange>) {
        match (then, side) {
            (Then::More, _) => {
                let lane = self.lane(side);
                if let Place::Refused(body) = &lane.place {
                    lane.place = Place::Body(body.clone());
                }
            }
            (Then::Done, Side::Requests) => self.request_end(out),
            (Then::Done, Side::Responses) => self.response_end(out),
            (Then::Broken, _) => self.broken(side, out),
        }
    }

    fn response_seen(&mut self, side: Side, time: u64) {
        if let (Side::Responses, Some(front)) = (side, self.pending.front_mut())
            && front.answer == Answer::Begun
        {
            front.seen_until(time);
        }
    }
}

/// What `bytes` would be as the beginning of a message of this side.
fn looks_like(role: Role, side: Side, bytes: &[u8]) -> Detection {
    let requests = role.requests();
    let status_line = bytes.starts_with(b"HTTP/");
    match side {
        Side::Requests if status_line => Detection::Unknown,
        Side::Requests => detect(requests, bytes),
        Side::Responses if status_line || b"HTTP/".starts_with(bytes) => {
            detect(requests.opposite(), bytes)
        }
        Side::Responses => Detection::Unknown,
    }
}
