//! Messages and losses: which response answers which request.
//!
//! Invariant: the front of the queue is the request whose response is read or comes next; every
//! request that enters the queue leaves it as one exchange.

use super::body::Body;
use super::detect::Detection;
use super::head::{RequestHead, Upgrade};
use super::lane::Place;
use super::pending::{Answer, Pending};
use super::tunnel::Tunnel;
use super::{Exchange, Failure, Http1, Protocol, QUIET_NANOS, Segment, Side, head, looks_like};
use crate::protocol::grpc::{Content, Messages};
use crate::protocol::http2::Http2;
use crate::protocol::kept::{Kept, Reading};
use crate::protocol::websocket::WebSocket;

/// A head that was read; none where the bytes are no head.
pub(super) type Read = Option<()>;

impl Http1 {
    pub(super) fn request_head(&mut self, bytes: &[u8], out: &mut Vec<Exchange>) -> Read {
        let head = head::request(bytes, &self.limits)?;
        self.ask(head, out);
        Some(())
    }

    /// A request of whose head no more will be read.
    pub(super) fn request_cut(&mut self, bytes: &[u8], out: &mut Vec<Exchange>) -> Read {
        let head = head::request_begun(bytes, &self.limits)?;
        self.ask(head, out);
        Some(())
    }

    fn ask(&mut self, mut head: RequestHead, out: &mut Vec<Exchange>) {
        if self.response_lost {
            // Its sender goes on: what it waited for came, and we missed it.
            self.flush_unseen(out);
        }
        if self.pending.len() >= self.limits.pending_max {
            self.counts.requests_shed += self.pending.len() as u64 + 1;
            return self.go_blind(out);
        }
        self.end_lost_request(out);
        let (body, endless, content) = (head.body.take(), head.endless, head.content);
        let ordinal = self.ordinal;
        self.ordinal = ordinal.map(|ordinal| ordinal + 1);
        let began = self.requests.began;
        // In one call, that is; a request that merely comes early may be one whose predecessor was
        // answered by bytes that were lost, which nobody knows yet.
        self.pipelined |= self.pending.back().is_some_and(|one| one.began_at(began));
        self.pending.push_back(Pending::new(self.role, ordinal, began, head));
        self.requests.kept = self.kept(content);
        match body {
            _ if endless => self.lose(Side::Requests, out),
            Some(body) => self.requests.place = Place::Body(body),
            None => self.request_end(out),
        }
    }

    /// The request before this one lost its end.
    fn end_lost_request(&mut self, out: &mut Vec<Exchange>) {
        if let Some(owner) = self.pending.back_mut().filter(|owner| !owner.request_done) {
            owner.end_request(std::mem::take(&mut self.requests.kept), false);
            self.settle(out);
        }
    }

    pub(super) fn request_end(&mut self, out: &mut Vec<Exchange>) {
        self.requests.place = Place::Head;
        let kept = std::mem::take(&mut self.requests.kept);
        // A request that was refused has left already, or is done.
        if let Some(owner) = self.pending.back_mut().filter(|owner| !owner.request_done) {
            owner.end_request(kept, true);
        }
        self.settle(out);
    }

    pub(super) fn response_head(
        &mut self,
        bytes: &[u8],
        time: u64,
        out: &mut Vec<Exchange>,
    ) -> Read {
        let head = head::response(bytes, &self.limits)?;
        if self.response_lost {
            // What passed unread was the answer, or its end.
            self.flush_unseen(out);
        }
        self.pipelined |= self.pending.iter().skip(1).any(|one| one.answer == Answer::Awaited);
        if self.pending.is_empty() && !head.interim() {
            self.answered_early(out);
        }
        let Some(front) = self.pending.front_mut().filter(|one| one.answer == Answer::Awaited)
        else {
            if !head.interim() {
                self.counts.responses_without_request += 1;
                // Without its request nobody knows whether it has a body.
                self.responses.place = Place::Lost { in_chunks: false };
            }
            return Some(());
        };
        if head.interim() {
            front.expects_continue = false;
            return Some(());
        }
        if let Some(upgrade) = head.upgrade() {
            self.upgrade(upgrade, head, time, out);
            return Some(());
        }
        let tunnel = front.method() == "CONNECT" && matches!(head.status, 200..=299);
        let passed = tunnel || head.status == 101;
        let body = head.body(front.method()).filter(|_| !passed);
        let content = head.content;
        front.begin_response(head);
        front.seen_until(time);
        self.responses.kept = self.kept(content);
        match body {
            Some(body) => self.responses.place = Place::Body(body),
            None => self.response_end(out),
        }
        if tunnel {
            self.dig(time, out);
        } else if passed {
            self.pass(out);
        }
        Some(())
    }

    /// The server has answered what it had of a head: that was too long for it, too slow, or wrong.
    fn answered_early(&mut self, out: &mut Vec<Exchange>) {
        if self.requests.place == Place::Head && !self.requests.doubtful {
            let head = self.requests.hand_on();
            self.counts.unparsed_bytes += head.len() as u64;
            // What cannot be read leaves a response without its request.
            self.request_cut(&head, out);
        }
    }

    pub(super) fn response_end(&mut self, out: &mut Vec<Exchange>) {
        self.responses.place = Place::Head;
        self.response_lost = false;
        let kept = std::mem::take(&mut self.responses.kept);
        if let Some(front) = self.pending.front_mut().filter(|one| one.answer == Answer::Begun) {
            front.end_response(kept, true);
            if front.expects_continue && !front.request_done {
                self.refuse_body();
            }
        }
        self.settle(out);
    }

    /// The final answer came before the body that a 100 should have asked for: it may never come.
    fn refuse_body(&mut self) {
        if let (Some(back), Place::Body(body), 0) =
            (self.pending.back_mut(), &self.requests.place, self.requests.kept.bytes)
        {
            self.requests.place = Place::Refused(body.clone());
            back.end_request(Kept::default(), false);
        }
    }

    /// Lets the front go when both of its halves are whole.
    fn settle(&mut self, out: &mut Vec<Exchange>) {
        while let Some(front) = self.pending.front()
            && front.request_done
            && front.answer == Answer::Whole
        {
            self.finish_front(None, out);
        }
    }

    pub(super) fn finish_front(&mut self, failure: Option<Failure>, out: &mut Vec<Exchange>) {
        let Some(mut front) = self.pending.pop_front() else { return };
        if !front.request_done {
            front.end_request(std::mem::take(&mut self.requests.kept), false);
        }
        if front.answer == Answer::Begun {
            front.end_response(std::mem::take(&mut self.responses.kept), false);
        }
        out.push(front.finish(failure));
    }

    pub(super) fn front_begun(&self) -> bool {
        self.pending.front().is_some_and(|front| front.answer == Answer::Begun)
    }

    /// Response bytes pass unread: the answer to the request that waits may be among them.
    pub(super) fn response_unread(&mut self, side: Side) {
        let awaited = self.pending.front().is_some_and(|front| front.answer == Answer::Awaited);
        self.response_lost |= side == Side::Responses && awaited;
        self.requests.doubtful |= side == Side::Responses;
    }

    fn kept(&self, content: Content) -> Kept {
        let messages = content.is_web().then(|| Box::new(Reading::new(Messages::of(content))));
        Kept { messages, ..Kept::wanted(self.limits.body_bytes_max) }
    }

    /// What follows is a protocol that is understood.
    fn upgrade(
        &mut self,
        upgrade: Upgrade,
        head: head::ResponseHead,
        time: u64,
        out: &mut Vec<Exchange>,
    ) {
        let Some(front) = self.pending.front_mut() else { return };
        front.seen_until(time);
        let (asked, call) = front.parts();
        let next: Box<dyn Protocol> = match upgrade {
            Upgrade::WebSocket => Box::new(WebSocket::new(asked, call.clone())),
            Upgrade::Http2 => Box::new(Http2::upgraded(&self.limits, asked, call)),
        };
        match upgrade {
            Upgrade::WebSocket => {
                front.begin_response(head);
                self.response_end(out);
            }
            // Its answer comes in the new protocol.
            Upgrade::Http2 => drop(self.pending.pop_front()),
        }
        self.hand_over(next, time, out);
    }

    /// What follows is whatever client and server behind a proxy say to each other.
    fn dig(&mut self, time: u64, out: &mut Vec<Exchange>) {
        match Tunnel::new(&self.limits, self.role, self.ordinal) {
            Some(tunnel) => self.hand_over(Box::new(tunnel), time, out),
            None => self.pass(out),
        }
    }

    /// What its sender has sent early belongs to what follows.
    fn hand_over(&mut self, mut next: Box<dyn Protocol>, time: u64, out: &mut Vec<Exchange>) {
        self.flush_unseen(out);
        let (direction, early) = (self.role.requests(), self.requests.hand_on());
        if !early.is_empty() {
            let early =
                Segment { direction, time, captured: &early, omitted: 0, gap_before: false };
            next.feed(&early, out);
        }
        self.next = Some(next);
    }

    /// What follows is another protocol.
    fn pass(&mut self, out: &mut Vec<Exchange>) {
        self.passed = true;
        self.flush_unseen(out);
        self.counts.passed_bytes += self.requests.drop_head() + self.responses.drop_head();
    }
}

/// Losses.
impl Http1 {
    /// An unknown number of bytes of this side is missing.
    pub(super) fn gap(&mut self, side: Side, out: &mut Vec<Exchange>) {
        if self.lane(side).place == Place::Body(Body::UntilClose) {
            self.lane(side).kept.holed = true;
            return;
        }
        if self.pipelined {
            return self.go_blind(out);
        }
        if side == Side::Requests && self.requests.place == Place::Head {
            // The sender went on, and so had its answers. Those that were lost would be noticed
            // only later, and then be taken for answers to what comes now.
            self.flush_unseen(out);
        }
        self.lose(side, out);
    }

    /// What came is not what must come here.
    pub(super) fn broken(&mut self, side: Side, out: &mut Vec<Exchange>) {
        let in_head = self.lane(side).place == Place::Head;
        let awaited = self.pending.front().is_some_and(|front| front.answer == Answer::Awaited);
        if side == Side::Responses && in_head && awaited && !self.response_lost {
            self.finish_front(Some(Failure::Malformed), out);
        }
        self.lose(side, out);
    }

    fn lose(&mut self, side: Side, out: &mut Vec<Exchange>) {
        self.counts.resyncs += 1;
        let lane = self.lane(side);
        let in_chunks =
            matches!(lane.place, Place::Body(Body::Chunked(_)) | Place::Lost { in_chunks: true });
        lane.place = Place::Lost { in_chunks };
        lane.kept.holed = true;
        let dropped = lane.drop_head();
        self.counts.unparsed_bytes += dropped;
        self.requests.doubtful |= side == Side::Responses;
        match side {
            // What was lost may hold the whole answer to any request but one that is being answered.
            Side::Responses if self.pending.len() == 1 && self.front_begun() => {
                self.response_lost = true;
            }
            Side::Responses => self.flush_unseen(out),
            Side::Requests => {
                self.ordinal = None;
                // The end of a body that goes on in chunks may still be recognised.
                if !in_chunks {
                    self.end_lost_request(out);
                }
            }
        }
    }

    /// Gives up every request under way: which answers are still to come cannot be told.
    fn go_blind(&mut self, out: &mut Vec<Exchange>) {
        self.flush_unseen(out);
        self.blind = true;
        self.ordinal = None;
        self.counts.resyncs += 1;
        self.counts.unparsed_bytes += self.requests.drop_head() + self.responses.drop_head();
        self.requests.place = Place::Lost { in_chunks: false };
        self.responses.place = Place::Lost { in_chunks: false };
    }

    fn flush_unseen(&mut self, out: &mut Vec<Exchange>) {
        while let Some(front) = self.pending.front() {
            let whole = front.request_done && front.answer == Answer::Whole;
            self.finish_front((!whole).then_some(Failure::Unseen), out);
        }
        self.response_lost = false;
    }

    /// A request after a silence: every answer before it is through.
    pub(super) fn sees_again(&mut self, side: Side, segment: &Segment<'_>) -> bool {
        let quiet = segment.time.saturating_sub(self.last_seen) >= QUIET_NANOS;
        let request = side == Side::Requests
            && looks_like(self.role, side, segment.captured) == Detection::Http1(self.role);
        if quiet && request {
            self.blind = false;
            self.pipelined = false;
        }
        !self.blind
    }
}
