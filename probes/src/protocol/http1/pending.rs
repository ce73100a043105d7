//! A request that waits for its response.
//!
//! Invariant: an exchange leaves here once, with what was seen of it and nothing else.

use super::head::{RequestHead, ResponseHead};
use crate::protocol::grpc::{self, Messages};
use crate::protocol::kept::Kept;
use crate::protocol::{Begun, BodySize, Exchange, Failure, Header, HttpCall, Role, RpcCall, Said};

/// What a header takes beside its name and value.
const HEADER_BYTES: usize = size_of::<Header>();

/// How far the response has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// No final status yet.
    Awaited,
    /// Its head was read.
    Begun,
    /// It is whole; the request's body is not.
    Whole,
}

/// A request and what is known of its response.
#[derive(Debug)]
pub(super) struct Pending {
    exchange: Exchange,
    /// What the exchange says, until it has all of it.
    call: HttpCall,
    pub(super) request_done: bool,
    pub(super) answer: Answer,
    /// The sender may still wait for a 100 before it sends the body.
    pub(super) expects_continue: bool,
    grpc: Option<Box<WebCall>>,
}

/// What is known of a call of gRPC in the form for browsers.
#[derive(Debug, Default)]
struct WebCall {
    sent: Option<Messages>,
    received: Option<Messages>,
    /// From the head of the response.
    status: Option<u32>,
}

impl Pending {
    pub(super) fn new(role: Role, ordinal: Option<u64>, start: u64, head: RequestHead) -> Self {
        let RequestHead {
            method,
            target,
            version,
            headers,
            body: _,
            endless: _,
            expects_continue,
            content,
        } = head;
        let exchange = Exchange {
            role,
            ordinal,
            start,
            end: start,
            request_body: BodySize::Exact(0),
            response_body: BodySize::AtLeast(0),
            request_captured: Vec::new(),
            response_captured: Vec::new(),
            failure: None,
            said: Said::Http(HttpCall::default()),
        };
        let request_headers = headers;
        let call = HttpCall { method, target, version, request_headers, ..HttpCall::default() };
        let grpc = content.is_web().then(Box::default);
        Self {
            exchange,
            call,
            request_done: false,
            answer: Answer::Awaited,
            expects_continue,
            grpc,
        }
    }

    /// About what is held.
    pub(super) fn held_bytes(&self) -> usize {
        let bodies =
            self.exchange.request_captured.capacity() + self.exchange.response_captured.capacity();
        let headers = self.call.request_headers.iter().chain(&self.call.response_headers);
        let headers = headers.map(|(name, value)| HEADER_BYTES + name.len() + value.len());
        size_of::<Self>() + bodies + self.call.target.len() + headers.sum::<usize>()
    }

    pub(super) fn method(&self) -> &str {
        &self.call.method
    }

    /// The same, while it waits as one of so many.
    pub(super) fn begun(&self, waiting: usize) -> Begun<'_> {
        let Exchange { start, ordinal, .. } = self.exchange;
        Begun { start, ordinal, headers: &self.call.request_headers, waiting }
    }

    pub(super) fn began_at(&self, time: u64) -> bool {
        self.exchange.start == time
    }

    /// The last byte of the response so far passed at `time`.
    pub(super) fn seen_until(&mut self, time: u64) {
        self.exchange.end = time.max(self.exchange.start);
    }

    pub(super) fn begin_response(&mut self, head: ResponseHead) {
        self.answer = Answer::Begun;
        self.call.status = Some(head.status);
        self.call.response_headers = head.headers;
        if let Some(grpc) = &mut self.grpc {
            grpc.status = head.grpc_status;
        }
    }

    pub(super) fn end_request(&mut self, mut kept: Kept, whole: bool) {
        self.request_done = true;
        if let Some(grpc) = &mut self.grpc {
            grpc.sent = kept.take_messages();
        }
        self.exchange.request_body = kept.size(whole);
        self.exchange.request_captured = kept.start;
    }

    pub(super) fn end_response(&mut self, mut kept: Kept, whole: bool) {
        self.answer = Answer::Whole;
        if let Some(grpc) = &mut self.grpc {
            grpc.received = kept.take_messages();
        }
        self.exchange.response_body = kept.size(whole);
        self.exchange.response_captured = kept.start;
    }

    /// What is known of it while its answer is not whole.
    pub(super) fn parts(&self) -> (&Exchange, &HttpCall) {
        (&self.exchange, &self.call)
    }

    pub(super) fn finish(mut self, failure: Option<Failure>) -> Exchange {
        self.exchange.failure = failure;
        self.exchange.said = match self.grpc.take() {
            Some(grpc) => Said::Rpc(grpc.called(self.call, &self.exchange)),
            None => Said::Http(self.call),
        };
        self.exchange
    }
}

impl WebCall {
    fn called(self, http: HttpCall, exchange: &Exchange) -> RpcCall {
        let Self { sent, received, status } = self;
        let within = received.as_ref().and_then(Messages::status);
        let ending = grpc::Ending {
            sent: status.or(within),
            http: http.status,
            failure: exchange.failure,
            overdue: false,
            whole: matches!(exchange.response_body, BodySize::Exact(_)),
        };
        let HttpCall { target, version, request_headers: headers, .. } = http;
        let path = target.split('?').next().filter(|path| !path.is_empty());
        let host = headers.iter().find(|(name, _)| name == "host");
        RpcCall {
            version,
            authority: host.map(|(_, host)| host.to_string()),
            sent: sent.as_ref().and_then(Messages::count),
            received: received.as_ref().and_then(Messages::count),
            headers,
            ..grpc::call(path, ending)
        }
    }
}
