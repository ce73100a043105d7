//! gRPC: what it adds to HTTP/2, and in the form for browsers to HTTP/1.1 as well.
//!
//! Invariants: a status is the one that was sent, or the one that gRPC's own libraries make of a
//! call that ended without; messages are counted only while each of their prefixes was read.

mod web;

use super::{Failure, RpcCall};
use web::{Text, Trailer};

/// What a body holds, by its `content-type`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Content {
    /// Something else.
    #[default]
    Other,
    /// Messages of gRPC.
    Plain,
    /// The same for browsers: the last message is what follows the response elsewhere.
    Web,
    /// The same as text.
    WebText,
}

impl Content {
    /// `application/grpc`, `application/grpc-web` or `application/grpc-web-text`, alone or with a format.
    pub(super) fn of(content_type: &[u8]) -> Self {
        const COMMON: &[u8] = b"application/grpc";
        let Some((start, rest)) = content_type.split_at_checked(COMMON.len()) else {
            return Self::Other;
        };
        let end = rest.iter().position(|byte| matches!(byte, b'+' | b';' | b' '));
        let kind = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        let is = |name: &[u8]| kind.eq_ignore_ascii_case(name);
        match start.eq_ignore_ascii_case(COMMON) {
            true if kind.is_empty() => Self::Plain,
            true if is(b"-web") => Self::Web,
            true if is(b"-web-text") => Self::WebText,
            _ => Self::Other,
        }
    }

    /// A call of any form.
    pub(super) fn is_call(self) -> bool {
        self != Self::Other
    }

    /// A call in the form for browsers.
    pub(super) fn is_web(self) -> bool {
        matches!(self, Self::Web | Self::WebText)
    }
}

/// Names by code.
const STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
/// Those that are the server's fault, by the semantic conventions.
const SERVER_FAULTS: [&str; 6] =
    ["UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"];

/// How a call ended, as far as HTTP/2 tells.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ending {
    /// The status that was sent.
    pub(super) sent: Option<u32>,
    /// The status of HTTP.
    pub(super) http: Option<u16>,
    pub(super) failure: Option<Failure>,
    /// The sender's deadline had come.
    pub(super) overdue: bool,
    /// The response was seen to its end, all of it.
    pub(super) whole: bool,
}

impl Ending {
    /// The name of the status; none where it was not seen or there is none.
    fn status(self) -> Option<String> {
        if let Some(code) = self.sent {
            let name = STATUSES.get(usize::try_from(code).unwrap_or(usize::MAX));
            return Some(name.map_or_else(|| code.to_string(), |&name| name.to_owned()));
        }
        let made = match (self.failure, self.http) {
            (Some(Failure::StreamReset(code)), _) => of_reset(code, self.overdue),
            (None, Some(status)) if self.whole => of_http(status),
            _ => return None,
        };
        Some(made.to_owned())
    }
}

/// What libraries make of a stream that was reset.
fn of_reset(code: u32, overdue: bool) -> &'static str {
    match code {
        0x7 => "UNAVAILABLE",
        0x8 if overdue => "DEADLINE_EXCEEDED",
        0x8 => "CANCELLED",
        0xb => "RESOURCE_EXHAUSTED",
        0xc => "PERMISSION_DENIED",
        _ => "INTERNAL",
    }
}

/// What libraries make of a response without a status of gRPC.
fn of_http(status: u16) -> &'static str {
    match status {
        400 => "INTERNAL",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "UNIMPLEMENTED",
        429 | 502..=504 => "UNAVAILABLE",
        _ => "UNKNOWN",
    }
}

/// The call of a request to `path`.
pub(super) fn call(path: Option<&str>, ending: Ending) -> RpcCall {
    let status = ending.status();
    let is = |wrong: &[&str]| status.as_deref().is_some_and(|status| wrong.contains(&status));
    let fault = status.is_some() && !is(&["OK"]);
    let server_fault = is(&SERVER_FAULTS);
    let method = path.map(|path| path.trim_start_matches('/').to_owned()).unwrap_or_default();
    RpcCall { system: "grpc", method, status, server_fault, fault, ..RpcCall::default() }
}

/// Messages of one direction: a flag, a length of four bytes, and so many bytes each.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Messages {
    prefix: Vec<u8>,
    left: u64,
    count: u64,
    lost: bool,
    /// A flag was none of gRPC's.
    other: bool,
    /// What stands in the place of the last message for browsers.
    trailer: Option<Box<Trailer>>,
    text: Option<Text>,
}

/// Flag and length.
const PREFIX_BYTES: usize = 5;

impl Messages {
    /// Of a body with this content.
    pub(super) fn of(content: Content) -> Self {
        Self {
            trailer: content.is_web().then(Box::default),
            text: (content == Content::WebText).then(Text::default),
            ..Self::default()
        }
    }

    /// How many were whole; none where the beginning of one was not seen.
    pub(super) fn count(&self) -> Option<u64> {
        (!self.lost).then_some(self.count)
    }

    /// The status that came within the body.
    pub(super) fn status(&self) -> Option<u32> {
        self.trailer.as_ref().and_then(|trailer| trailer.status())
    }

    /// All that has come is messages, to the last byte: seldom true of anything but gRPC.
    pub(super) fn exact(&self) -> bool {
        !self.lost && !self.other && self.left == 0 && self.prefix.is_empty()
    }

    /// Bytes that were read.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.lost {
            return;
        }
        match self.text.as_mut().map(|text| text.decoded(bytes)) {
            Some(decoded) => self.read(&decoded),
            None => self.read(bytes),
        }
    }

    fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.lost {
            if self.left > 0 {
                let taken = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                let (taken, rest) = bytes.split_at(taken);
                if let Some(trailer) = self.trailer.as_mut() {
                    trailer.push(taken);
                }
                self.pass(taken.len() as u64);
                bytes = rest;
                continue;
            }
            let wanted = PREFIX_BYTES - self.prefix.len();
            let (taken, rest) = bytes.split_at(wanted.min(bytes.len()));
            self.prefix.extend_from_slice(taken);
            bytes = rest;
            if let &[flag, a, b, c, d] = self.prefix.as_slice() {
                self.prefix.clear();
                let ends = web::is_trailer(flag) && self.trailer.is_some();
                self.other |= flag > 1 && !ends;
                self.left = u64::from(u32::from_be_bytes([a, b, c, d]));
                if let Some(trailer) = self.trailer.as_mut() {
                    trailer.begin(ends);
                }
                self.count += u64::from(self.left == 0 && !ends);
            }
        }
    }

    /// So many bytes passed that were not read.
    pub(super) fn skip(&mut self, bytes: u64) {
        if bytes > 0 && (self.text.is_some() || self.is_in_trailer()) {
            return self.lose();
        }
        self.pass(bytes);
    }

    fn is_in_trailer(&self) -> bool {
        self.trailer.as_ref().is_some_and(|trailer| trailer.open())
    }

    fn pass(&mut self, bytes: u64) {
        if self.lost {
            return;
        }
        // The length of a message is among them.
        self.lost = bytes > self.left;
        let whole = self.left > 0 && bytes >= self.left;
        self.count += u64::from(whole && !self.is_in_trailer());
        self.left = self.left.saturating_sub(bytes);
    }

    /// An unknown number of bytes is missing.
    pub(super) fn lose(&mut self) {
        self.lost = true;
        self.prefix = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: messages of 0, 1 and 300 bytes, cut at every byte, and one that was not copied.
    /// Guarantees: each is counted once; what follows a length that was not read is not counted.
    #[test]
    fn messages() {
        let message = |len: u32| {
            let len_bytes = len.to_be_bytes();
            [&[0][..], &len_bytes, &vec![7; len as usize]].concat()
        };
        let all = [message(0), message(1), message(300), message(0)].concat();
        for cut in 0..all.len() {
            let mut messages = Messages::default();
            messages.push(&all[..cut]);
            messages.push(&all[cut..]);
            assert_eq!(messages.count(), Some(4), "at {cut}");
        }
        let mut messages = Messages::default();
        messages.push(&message(300)[..10]);
        messages.skip(295);
        messages.push(&message(0));
        assert_eq!(messages.count(), Some(2));
        messages.push(&message(300)[..10]);
        messages.skip(296);
        messages.push(&message(0));
        assert_eq!(messages.count(), None);
    }

    /// Scenario: bodies for browsers, binary and as text (which ends and begins again amid it), with fields
    /// behind the messages, cut at every byte; and of which a part was not copied.
    /// Guarantees: messages are counted without what ends them, and that tells the status.
    #[test]
    fn bodies_for_browsers() {
        let part = |flag: u8, body: &[u8]| {
            [&[flag][..], &u32::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
        };
        let fields = b"grpc-message: no%20one\r\nGRPC-Status: 5\r\n";
        let binary = [part(0, b"abc"), part(1, b""), part(0, &[7; 300]), part(0x80, fields)];
        let text: Vec<u8> = binary.iter().flat_map(|one| web::encoded(one)).collect();
        for (content, all) in [(Content::Web, binary.concat()), (Content::WebText, text)] {
            for cut in 0..all.len() {
                let mut messages = Messages::of(content);
                messages.push(&all[..cut]);
                messages.push(&all[cut..]);
                assert_eq!((messages.count(), messages.status()), (Some(3), Some(5)), "{cut}");
            }
            let mut messages = Messages::of(content);
            messages.push(&all[..all.len() - 20]);
            messages.skip(20);
            assert_eq!(messages.status(), None);
        }
    }

    /// Scenario: content types of gRPC in all its forms, and of others.
    /// Guarantees: each is told from the others.
    #[test]
    fn contents() {
        for (text, content) in [
            ("application/grpc", Content::Plain),
            ("application/grpc+proto", Content::Plain),
            ("application/grpc;charset=utf-8", Content::Plain),
            ("application/grpc-web", Content::Web),
            ("Application/gRPC-Web+proto", Content::Web),
            ("application/grpc-web-text", Content::WebText),
            ("application/grpc-web-text+proto", Content::WebText),
            ("application/grpcx", Content::Other),
            ("application/grpc-webx", Content::Other),
            ("text/html", Content::Other),
        ] {
            assert_eq!(Content::of(text.as_bytes()), content, "{text}");
        }
    }

    /// Scenario: statuses that were sent, unknown ones among them, and calls that ended otherwise.
    /// Guarantees: the name of the status, and whose fault it is; none where none was seen.
    #[test]
    fn statuses() {
        let ended = Ending { http: Some(200), whole: true, ..Ending::default() };
        let reset = |code| Ending { failure: Some(Failure::StreamReset(code)), ..ended };
        for (ending, status, fault, server_fault) in [
            (Ending { sent: Some(0), ..ended }, Some("OK"), false, false),
            (Ending { sent: Some(5), ..ended }, Some("NOT_FOUND"), true, false),
            (Ending { sent: Some(13), ..ended }, Some("INTERNAL"), true, true),
            (Ending { sent: Some(77), ..ended }, Some("77"), true, false),
            (ended, Some("UNKNOWN"), true, true),
            (Ending { http: Some(503), ..ended }, Some("UNAVAILABLE"), true, true),
            (reset(8), Some("CANCELLED"), true, false),
            (Ending { overdue: true, ..reset(8) }, Some("DEADLINE_EXCEEDED"), true, true),
            (Ending { whole: false, ..ended }, None, false, false),
            (Ending { failure: Some(Failure::Closed), ..ended }, None, false, false),
        ] {
            let call = call(Some("/shop.Cart/Add"), ending);
            assert_eq!((call.status.as_deref(), &*call.method), (status, "shop.Cart/Add"));
            assert_eq!((call.fault, call.server_fault), (fault, server_fault), "{status:?}");
        }
    }
}
