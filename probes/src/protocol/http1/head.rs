//! Reads the head of a message: its first line and the headers that matter.
//!
//! Invariant: pure, and what is kept is bounded by [`Limits`]; a head that names two different
//! lengths is refused, since either end might believe the other one.

use super::body::{Body, Chunk};
use crate::protocol::grpc::Content;
use crate::protocol::{Header, Limits, Text};

/// The head of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestHead {
    pub(super) method: Text,
    pub(super) target: Text,
    pub(super) version: &'static str,
    pub(super) headers: Vec<Header>,
    /// None where there is no body.
    pub(super) body: Option<Body>,
    /// The sender may wait for a 100 before it sends the body, and may then not send it at all.
    pub(super) expects_continue: bool,
    /// What its body holds.
    pub(super) content: Content,
}

/// What a connection becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upgrade {
    WebSocket,
    Http2,
}

/// The head of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ResponseHead {
    pub(super) status: u16,
    pub(super) headers: Vec<Header>,
    /// What its body holds.
    pub(super) content: Content,
    /// The status of a call that ended without a body.
    pub(super) grpc_status: Option<u32>,
    upgrade: Option<Upgrade>,
    /// As the headers have it; status and method of the request may say otherwise.
    framing: Framing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    None,
    Length(u64),
    Chunked,
    /// A transfer coding that does not end with `chunked`.
    OtherCoding,
}

#[derive(Debug)]
struct Headers {
    kept: Vec<Header>,
    framing: Framing,
    expects_continue: bool,
    upgrade: Option<Upgrade>,
    content: Content,
    grpc_status: Option<u32>,
}

impl ResponseHead {
    /// What the connection goes on as, behind this head.
    pub(super) fn upgrade(&self) -> Option<Upgrade> {
        self.upgrade.filter(|_| self.status == 101)
    }

    /// 1xx other than 101: the real response is still to come.
    pub(super) fn interim(&self) -> bool {
        matches!(self.status, 100..=199) && self.status != 101
    }

    /// The body that follows, given what the request asked.
    pub(super) fn body(&self, method: &str) -> Option<Body> {
        if method == "HEAD" || matches!(self.status, 100..=199 | 204 | 304) {
            return None;
        }
        match self.framing {
            Framing::Chunked => Some(Body::Chunked(Chunk::START)),
            Framing::Length(0) => None,
            Framing::Length(bytes) => Some(Body::Length(bytes)),
            Framing::None | Framing::OtherCoding => Some(Body::UntilClose),
        }
    }
}

/// Reads the head of a request, blank line included. None: it is none.
pub(super) fn request(bytes: &[u8], limits: &Limits) -> Option<RequestHead> {
    let (line, rest) = split_line(bytes)?;
    let space = memchr::memchr(b' ', line)?;
    let (method, line) = line.split_at(space);
    let last_space = memchr::memrchr(b' ', line)?;
    let (target, version) = line.split_at(last_space);
    let target = target.trim_ascii();
    if method.is_empty() || !method.iter().all(u8::is_ascii_graphic) || target.is_empty() {
        return None;
    }
    let version = version_of(version.trim_ascii())?;
    let headers = headers(rest, &limits.request_headers, limits.value_bytes_max)?;
    let body = match headers.framing {
        Framing::None | Framing::Length(0) => None,
        Framing::Length(bytes) => Some(Body::Length(bytes)),
        Framing::Chunked => Some(Body::Chunked(Chunk::START)),
        // RFC 9112 section 6.3: the length of such a request cannot be told.
        Framing::OtherCoding => return None,
    };
    Some(RequestHead {
        method: text(method, limits.value_bytes_max),
        target: text(target, limits.value_bytes_max),
        version,
        expects_continue: headers.expects_continue && body.is_some(),
        headers: headers.kept,
        body,
        content: headers.content,
    })
}

/// Reads the head of a response, blank line included. None: it is none.
pub(super) fn response(bytes: &[u8], limits: &Limits) -> Option<ResponseHead> {
    let (line, rest) = split_line(bytes)?;
    let (version, line) = line.split_at_checked(b"HTTP/1.1".len())?;
    version_of(version)?;
    let [b' ', hundreds, tens, ones, ..] = line else { return None };
    let mut status = 0;
    for digit in [hundreds, tens, ones] {
        status = status * 10 + u16::try_from((*digit as char).to_digit(10)?).ok()?;
    }
    let headers = headers(rest, &limits.response_headers, limits.value_bytes_max)?;
    let Headers { kept, framing, upgrade, content, grpc_status, expects_continue: _ } = headers;
    Some(ResponseHead { status, headers: kept, upgrade, framing, content, grpc_status })
}

fn version_of(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        b"HTTP/1.1" => Some("1.1"),
        b"HTTP/1.0" => Some("1.0"),
        _ => None,
    }
}

/// The next line without its end, and what follows it.
fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b'\n', bytes)?;
    let (line, rest) = bytes.split_at(end);
    let (_, rest) = rest.split_first()?;
    Some((line.strip_suffix(b"\r").unwrap_or(line), rest))
}

fn headers(mut rest: &[u8], wanted: &[String], value_bytes_max: usize) -> Option<Headers> {
    let mut found = Headers {
        kept: Vec::new(),
        framing: Framing::None,
        expects_continue: false,
        upgrade: None,
        content: Content::Other,
        grpc_status: None,
    };
    while let Some((line, behind)) = split_line(rest) {
        rest = behind;
        // A folded line goes on with the value before it, which is never one that matters here.
        if line.is_empty() || line.starts_with(b" ") || line.starts_with(b"\t") {
            continue;
        }
        // Servers refuse such a line; that answer is worth a span too.
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii();
        found.framing = framing(found.framing, name, value)?;
        if name.eq_ignore_ascii_case(b"expect") && value.eq_ignore_ascii_case(b"100-continue") {
            found.expects_continue = true;
        }
        if name.eq_ignore_ascii_case(b"content-type") {
            found.content = Content::of(value);
        }
        if name.eq_ignore_ascii_case(b"grpc-status") {
            found.grpc_status = std::str::from_utf8(value).ok().and_then(|it| it.parse().ok());
        }
        if name.eq_ignore_ascii_case(b"upgrade") {
            found.upgrade = upgrade(value);
        }
        if let Some(wanted) = wanted.iter().find(|key| name.eq_ignore_ascii_case(key.as_bytes())) {
            found.kept.push((wanted.into(), text(value, value_bytes_max)));
        }
    }
    Some(found)
}

/// What a header adds to the framing; none where it contradicts what came before.
fn framing(so_far: Framing, name: &[u8], value: &[u8]) -> Option<Framing> {
    if name.eq_ignore_ascii_case(b"transfer-encoding") {
        let last = value.rsplit(|&byte| byte == b',').next().unwrap_or(value).trim_ascii();
        return Some(if last.eq_ignore_ascii_case(b"chunked") {
            Framing::Chunked
        } else {
            Framing::OtherCoding
        });
    }
    if !name.eq_ignore_ascii_case(b"content-length") {
        return Some(so_far);
    }
    let mut length = match so_far {
        Framing::Length(length) => Some(length),
        _ => None,
    };
    for one in value.split(|&byte| byte == b',') {
        let one = std::str::from_utf8(one.trim_ascii()).ok()?;
        let one: u64 =
            one.bytes().all(|byte| byte.is_ascii_digit()).then(|| one.parse().ok())??;
        if length.is_some_and(|length| length != one) {
            return None;
        }
        length = Some(one);
    }
    match so_far {
        // RFC 9112 section 6.3: the transfer coding wins over the length.
        Framing::Chunked | Framing::OtherCoding => Some(so_far),
        Framing::None | Framing::Length(_) => length.map(Framing::Length),
    }
}

fn upgrade(value: &[u8]) -> Option<Upgrade> {
    if value.eq_ignore_ascii_case(b"websocket") {
        return Some(Upgrade::WebSocket);
    }
    value.eq_ignore_ascii_case(b"h2c").then_some(Upgrade::Http2)
}

fn text(bytes: &[u8], bytes_max: usize) -> Text {
    let bytes = bytes.split_at(bytes.len().min(bytes_max)).0;
    Text::from_utf8_lossy(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request_of(head: &str) -> Option<RequestHead> {
        request(head.as_bytes(), &Limits::default())
    }

    fn response_body(head: &str, method: &str) -> Option<Body> {
        response(head.as_bytes(), &Limits::default()).unwrap().body(method)
    }

    /// Scenario: request lines in all four forms, odd spaces and line ends, and lines that are none.
    /// Guarantees: method, target and version are those of the line, or there is no head.
    #[test]
    fn request_lines() {
        for (line, method, target, version) in [
            ("GET / HTTP/1.1", "GET", "/", "1.1"),
            ("GET http://a.example/b?c HTTP/1.0", "GET", "http://a.example/b?c", "1.0"),
            ("CONNECT a.example:443 HTTP/1.1", "CONNECT", "a.example:443", "1.1"),
            ("OPTIONS * HTTP/1.1", "OPTIONS", "*", "1.1"),
            ("M-SEARCH /a b HTTP/1.1", "M-SEARCH", "/a b", "1.1"),
        ] {
            for end in ["\r\n", "\n"] {
                let head = request_of(&format!("{line}{end}Host: x{end}{end}")).unwrap();
                assert_eq!((&*head.method, &*head.target, head.version), (method, target, version));
                assert_eq!(head.headers, [("host".into(), "x".into())]);
            }
        }
        for line in ["GET /", "GET HTTP/1.1", "GET / HTTP/2.0", " / HTTP/1.1", "\0 / HTTP/1.1"] {
            assert_eq!(request_of(&format!("{line}\r\n\r\n")), None, "{line:?}");
        }
    }

    /// Scenario: lengths that agree, disagree, are no numbers, or stand beside chunks.
    /// Guarantees: the framing of RFC 9112, and no head where the length is ambiguous.
    #[test]
    fn request_framing() {
        for (headers, body) in [
            ("", Some(None)),
            ("Content-Length: 0\r\n", Some(None)),
            ("content-LENGTH: 5\r\n", Some(Some(Body::Length(5)))),
            ("Content-Length: 5, 5\r\nContent-Length: 5\r\n", Some(Some(Body::Length(5)))),
            ("Content-Length: 5\r\nContent-Length: 6\r\n", None),
            ("Content-Length: +5\r\n", None),
            ("Content-Length: \r\n", None),
            ("Transfer-Encoding: gzip, Chunked\r\n", Some(Some(Body::Chunked(Chunk::START)))),
            (
                "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                Some(Some(Body::Chunked(Chunk::START))),
            ),
            ("Transfer-Encoding: gzip\r\n", None),
            ("no colon\r\nContent-Length: 5\r\n", Some(Some(Body::Length(5)))),
        ] {
            let head = request_of(&format!("POST / HTTP/1.1\r\n{headers}\r\n"));
            assert_eq!(head.map(|head| head.body), body, "{headers:?}");
        }
    }

    /// Scenario: responses whose body depends on the status and on the request's method.
    /// Guarantees: HEAD, 1xx, 204 and 304 have none whatever the headers say.
    #[test]
    fn response_framing() {
        let five = "Content-Length: 5\r\n\r\n";
        assert_eq!(response_body(&format!("HTTP/1.1 200 OK\r\n{five}"), "HEAD"), None);
        assert_eq!(response_body(&format!("HTTP/1.1 304 Not\r\n{five}"), "GET"), None);
        assert_eq!(response_body(&format!("HTTP/1.1 204\r\n{five}"), "GET"), None);
        assert_eq!(response_body(&format!("HTTP/1.1 200\r\n{five}"), "GET"), Some(Body::Length(5)));
        assert_eq!(response_body("HTTP/1.0 200 OK\r\n\r\n", "GET"), Some(Body::UntilClose));
        for line in ["HTTP/1.1 20", "HTTP/1.1 2xx OK", "HTTP/3.0 200 OK", "ICY 200 OK"] {
            let head = format!("{line}\r\n\r\n");
            assert_eq!(response(head.as_bytes(), &Limits::default()), None, "{line}");
        }
    }
}
