//! A request and its response, on a stream of their own.
//!
//! Invariant: an exchange leaves here once, with what was seen of it; what was not seen whole is
//! marked so, and is no error of the exchange.

use super::message::Message;
use crate::protocol::grpc::{self, Content, Messages};
use crate::protocol::kept::Kept;
use crate::protocol::{Begun, BodySize, Exchange, Failure, HttpCall, Role, RpcCall, Said};

/// One way of a stream.
#[derive(Debug)]
pub(super) struct Half {
    /// Nothing more is waited for.
    pub(super) done: bool,
    whole: bool,
    kept: Kept,
    messages: Messages,
}

/// A stream.
#[derive(Debug)]
pub(super) struct Stream {
    start: u64,
    end: u64,
    /// When anything of the response passed.
    pub(super) heard: u64,
    asked: Message,
    answered: Option<Message>,
    /// Of what follows the response.
    grpc_status: Option<u32>,
    /// Not all fields of the response, or of what follows it, are known.
    fields_unknown: bool,
    pub(super) request: Half,
    pub(super) response: Half,
    /// Bytes were lost that may have been the end of the response.
    pub(super) suspect: bool,
    /// Bytes were lost with which the client may have given it up.
    pub(super) unsure: bool,
}

/// A client gives a call up with this.
const CANCEL: u32 = 0x8;
/// Senders round the deadline that they send.
const OVERDUE_TENTHS: u64 = 9;

impl Half {
    fn new(body_bytes_max: usize, content: Option<Content>) -> Self {
        let kept = Kept::wanted(body_bytes_max);
        let messages = Messages::of(content.unwrap_or_default());
        Self { done: false, whole: false, kept, messages }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.kept.push(bytes);
        self.messages.push(bytes);
    }

    pub(super) fn skip(&mut self, bytes: u64) {
        self.kept.bytes += bytes;
        self.messages.skip(bytes);
    }

    pub(super) fn finish(&mut self) {
        self.done = true;
        self.whole = true;
    }

    /// An unknown number of its bytes is missing.
    pub(super) fn lose(&mut self) {
        self.kept.holed = true;
        self.messages.lose();
    }
}

impl Stream {
    pub(super) fn new(start: u64, asked: Message, body_bytes_max: usize) -> Self {
        let request = Half::new(body_bytes_max, asked.content);
        Self {
            start,
            end: start,
            heard: start,
            asked,
            answered: None,
            grpc_status: None,
            fields_unknown: false,
            request,
            response: Half::new(body_bytes_max, None),
            suspect: false,
            unsure: false,
        }
    }

    /// The request of another protocol that was whole before this one began.
    pub(super) fn upgraded(asked: &Exchange, call: &HttpCall, body_bytes_max: usize) -> Self {
        let message = Message {
            method: Some(call.method.clone()),
            path: Some(call.target.clone()),
            kept: call.request_headers.clone(),
            ..Message::default()
        };
        let mut stream = Self::new(asked.start, message, body_bytes_max);
        let (bytes, exact) = match asked.request_body {
            BodySize::Exact(bytes) => (bytes, true),
            BodySize::AtLeast(bytes) => (bytes, false),
        };
        stream.request.kept.bytes = bytes;
        stream.request.kept.start = asked.request_captured.clone();
        (stream.request.done, stream.request.whole) = (true, exact);
        stream
    }

    /// About what is held.
    pub(super) fn held_bytes(&self) -> usize {
        let said = self.asked.kept_bytes + self.answered.as_ref().map_or(0, |said| said.kept_bytes);
        size_of::<Self>() + said + self.request.kept.held_bytes() + self.response.kept.held_bytes()
    }

    /// The same, while it waits as one of so many.
    pub(super) fn begun(&self, ordinal: Option<u64>, waiting: usize) -> Begun<'_> {
        Begun { start: self.start, ordinal, headers: &self.asked.kept, waiting }
    }

    /// Something of the response passed.
    pub(super) fn hear(&mut self, time: u64) {
        self.heard = time;
        self.end = time.max(self.start);
        self.suspect = false;
    }

    /// Its end, where the response is not seen to one.
    pub(super) fn seen_until(&mut self, time: u64) {
        self.end = time.max(self.end);
    }

    /// A header block of the response.
    pub(super) fn answer(&mut self, message: Message) {
        let interim = matches!(message.status, Some(100..=199));
        if interim {
            return;
        }
        let status_known = self.answered.as_ref().is_some_and(|head| head.status.is_some());
        let trailers = self.answered.is_some() && (status_known || message.status.is_none());
        self.grpc_status = message.grpc_status.or(self.grpc_status);
        self.fields_unknown |= message.unknown;
        if !trailers {
            // Where the field that says it is older than the probe, a call is answered as it was asked.
            let asked = self.asked.content.filter(|_| message.unknown);
            let content = message.content.or(asked).unwrap_or_default();
            self.response.messages = Messages::of(content);
            self.answered = Some(message);
        }
    }

    /// The client has all that it was promised: it need not wait until the server says so as well.
    pub(super) fn end_if_answered(&mut self) {
        let promised = self.answered.as_ref().and_then(|head| head.content_length);
        let Kept { bytes, holed, .. } = self.response.kept;
        if !holed && promised == Some(bytes) {
            self.response.finish();
        }
    }

    /// A header block of the response that was not read.
    pub(super) fn answer_unread(&mut self) {
        self.fields_unknown = true;
    }

    /// What follows is no response but another protocol.
    pub(super) fn tunnels(&self) -> bool {
        let connects = self.asked.method.as_deref() == Some("CONNECT");
        connects && matches!(self.status(), Some(200..=299))
    }

    /// The server has said its last word, whatever the client still sends.
    pub(super) fn over(&self) -> bool {
        self.response.done && (self.request.done || self.is_grpc())
    }

    fn status(&self) -> Option<u16> {
        self.answered.as_ref().and_then(|head| head.status)
    }

    fn is_grpc(&self) -> bool {
        let answered = || self.answered.as_ref().and_then(|head| head.content);
        let framed = || self.grpc_status.is_some() || self.asked.unknown && self.looks_like_grpc();
        self.asked.content.or_else(answered).map_or_else(framed, Content::is_call)
    }

    /// Of gRPC, wherever it was sent.
    fn sent_status(&self) -> Option<u32> {
        self.grpc_status.or_else(|| self.response.messages.status())
    }

    /// Where the fields that say it are older than the probe: a method's name, and nothing but
    /// messages.
    fn looks_like_grpc(&self) -> bool {
        let Half { messages: sent, .. } = &self.request;
        let names = self.asked.path.as_deref().is_none_or(|path| path.matches('/').count() == 2);
        let posted = self.asked.method.as_deref() == Some("POST");
        let some = sent.count().is_some_and(|count| count > 0);
        names && posted && some && sent.exact() && self.response.messages.exact()
    }

    /// What must be known of an exchange that was answered is not.
    fn partly_unknown(&self, grpc: bool) -> bool {
        let asked = self.asked.method.is_none() || self.asked.target().is_none();
        let status = grpc && self.sent_status().is_none() && self.fields_unknown;
        asked || self.status().is_none() || status
    }

    /// How many messages the client sent. Where the server ends a call early, more may be under way.
    fn sent_messages(&self, failure: Option<Failure>) -> Option<u64> {
        let server_ended = match failure {
            Some(Failure::StreamReset(code)) => code != CANCEL,
            _ => self.response.whole,
        };
        self.request.messages.count().filter(|_| self.request.whole || !server_ended)
    }

    /// It is over.
    pub(super) fn finish(
        self,
        role: Role,
        ordinal: Option<u64>,
        failure: Option<Failure>,
    ) -> Exchange {
        let grpc = self.is_grpc();
        let unknown = failure.is_none() && self.partly_unknown(grpc);
        let Half { whole: request_whole, kept: request, .. } = &self.request;
        let Half { whole: response_whole, kept: response, messages: received, .. } = &self.response;
        let overdue = self.asked.grpc_timeout_nanos.is_some_and(|nanos| {
            self.end.saturating_sub(self.start) >= nanos / 10 * OVERDUE_TENTHS
        });
        let ending = grpc::Ending {
            sent: self.sent_status(),
            http: self.status(),
            failure,
            overdue,
            whole: *response_whole && !response.holed && !unknown,
        };
        let mut exchange = Exchange {
            role,
            ordinal,
            start: self.start,
            end: self.end,
            request_body: request.size(*request_whole),
            response_body: response.size(*response_whole),
            request_captured: request.start.clone(),
            response_captured: response.start.clone(),
            failure: failure.or(unknown.then_some(Failure::Unseen)),
            said: Said::Http(HttpCall::default()),
        };
        let (sent, received) = (self.sent_messages(failure), received.count());
        exchange.said = if grpc {
            // Then the status tells.
            let told = matches!(exchange.failure, Some(Failure::StreamReset(_)));
            exchange.failure = exchange.failure.filter(|_| !told);
            Said::Rpc(self.rpc(ending, sent, received))
        } else {
            Said::Http(self.http())
        };
        exchange
    }

    fn rpc(self, ending: grpc::Ending, sent: Option<u64>, received: Option<u64>) -> RpcCall {
        let Message { path, authority, kept: headers, .. } = self.asked;
        let call = grpc::call(path.as_deref(), ending);
        RpcCall {
            authority: authority.map(Into::into),
            sent,
            received,
            headers,
            version: "2",
            ..call
        }
    }

    fn http(self) -> HttpCall {
        let status = self.status();
        let target = self.asked.target().unwrap_or_default().into();
        let Message { method, scheme, authority, kept: mut request_headers, .. } = self.asked;
        let method = method.unwrap_or_default();
        if let Some(authority) = authority {
            request_headers.insert(0, ("host".into(), authority));
        }
        HttpCall {
            method,
            target,
            scheme: scheme.as_deref().and_then(scheme_of),
            version: "2",
            request_headers,
            response_headers: self.answered.map(|head| head.kept).unwrap_or_default(),
            status,
        }
    }
}

fn scheme_of(scheme: &str) -> Option<&'static str> {
    ["http", "https"].into_iter().find(|known| *known == scheme)
}
