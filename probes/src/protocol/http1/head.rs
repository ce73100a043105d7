//! Reads the head of a message: its first line and the headers that matter.
//!
//! Invariant: pure, and what is kept is bounded by [`Limits`]; where a head names two different
//! lengths it is not known what follows, since either end might believe the other one.

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
    /// Where the request ends cannot be told: its head is cut, or contradicts itself.
    pub(super) endless: bool,
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
    /// Lengths that are none, or that contradict each other.
    Unclear,
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
            // An unclear one is refused before.
            Framing::None | Framing::OtherCoding | Framing::Unclear => Some(Body::UntilClose),
        }
    }
}

/// Reads the head of a request, blank line included. None: it is none.
pub(super) fn request(bytes: &[u8], limits: &Limits) -> Option<RequestHead> {
    let (line, rest) = split_line(bytes)?;
    let (method, line) = method_of(line)?;
    let last_space = memchr::memrchr(b' ', line)?;
    let (target, version) = line.split_at(last_space);
    let (target, version) = (target.trim_ascii(), version_of(version.trim_ascii())?);
    (!target.is_empty()).then(|| asked(method, target, version, rest, limits))
}

/// Reads the beginning of the head of a request, of which the rest was not read: by its server, which has answered
/// already, or by us. Of a line that is cut nobody knows the target, unless that is longer than what is kept of one, and
/// the version counts as 1.1.
pub(super) fn request_begun(bytes: &[u8], limits: &Limits) -> Option<RequestHead> {
    if memchr::memchr(b'\n', bytes).is_some() {
        let head = request(bytes, limits)?;
        return Some(RequestHead { body: None, endless: true, expects_continue: false, ..head });
    }
    let (method, target) = method_of(bytes)?;
    let target = Some(target.trim_ascii()).filter(|it| it.len() >= limits.value_bytes_max);
    let head = asked(method, target.unwrap_or_default(), "1.1", &[], limits);
    Some(RequestHead { endless: true, ..head })
}

/// The method of a request line, and what follows it.
fn method_of(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (method, rest) = line.split_at(memchr::memchr(b' ', line)?);
    let fits = !method.is_empty() && method.iter().all(u8::is_ascii_graphic);
    fits.then_some((method, rest))
}

fn asked(
    method: &[u8],
    target: &[u8],
    version: &'static str,
    rest: &[u8],
    limits: &Limits,
) -> RequestHead {
    let headers = headers(rest, &limits.request_headers, limits.value_bytes_max);
    let body = match headers.framing {
        Framing::Length(bytes) if bytes > 0 => Some(Body::Length(bytes)),
        Framing::Chunked => Some(Body::Chunked(Chunk::START)),
        Framing::None | Framing::Length(_) | Framing::OtherCoding | Framing::Unclear => None,
    };
    RequestHead {
        method: text(method, limits.value_bytes_max),
        target: text(target, limits.value_bytes_max),
        version,
        expects_continue: headers.expects_continue && body.is_some(),
        headers: headers.kept,
        body,
        // RFC 9112 section 6.3: with such a coding the length of a request cannot be told.
        endless: matches!(headers.framing, Framing::OtherCoding | Framing::Unclear),
        content: headers.content,
    }
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
    let headers = headers(rest, &limits.response_headers, limits.value_bytes_max);
    if headers.framing == Framing::Unclear {
        return None;
    }
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

fn headers(mut rest: &[u8], wanted: &[String], value_bytes_max: usize) -> Headers {
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
        found.framing = framing(found.framing, name, value);
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
    found
}

/// What a header adds to the framing.
fn framing(so_far: Framing, name: &[u8], value: &[u8]) -> Framing {
    let of_coding = name.eq_ignore_ascii_case(b"transfer-encoding");
    if so_far == Framing::Unclear || !of_coding && !name.eq_ignore_ascii_case(b"content-length") {
        return so_far;
    }
    if of_coding {
        let last = value.rsplit(|&byte| byte == b',').next().unwrap_or(value).trim_ascii();
        let chunked = last.eq_ignore_ascii_case(b"chunked");
        return if chunked { Framing::Chunked } else { Framing::OtherCoding };
    }
    match (so_far, length(value)) {
        (_, None) => Framing::Unclear,
        // RFC 9112 section 6.3: the transfer coding wins over the length.
        (Framing::Chunked | Framing::OtherCoding, Some(_)) => so_far,
        (Framing::Length(before), Some(length)) if before != length => Framing::Unclear,
        (_, Some(length)) => Framing::Length(length),
    }
}

/// The length that a header says, however often; none where it says none, or two.
fn length(value: &[u8]) -> Option<u64> {
    let mut length = None;
    for one in value.split(|&byte| byte == b',') {
        let one = std::str::from_utf8(one.trim_ascii()).ok()?;
        let one: u64 =
            one.bytes().all(|byte| byte.is_ascii_digit()).then(|| one.parse().ok())??;
        if length.is_some_and(|length| length != one) {
            return None;
        }
        length = Some(one);
    }
    length
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
    /// Guarantees: the framing of RFC 9112, and no end where the length is ambiguous.
    #[test]
    fn request_framing() {
        for (headers, end) in [
            ("", Some(None)),
            ("Content-Length: 0\r\n", Some(None)),
            ("content-LENGTH: 5\r\n", Some(Some(Body::Length(5)))),
            ("Content-Length: 5, 5\r\nContent-Length: 5\r\n", Some(Some(Body::Length(5)))),
            ("Content-Length: 5\r\nContent-Length: 6\r\n", None),
            ("Content-Length: 5\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n", None),
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
            let head = request_of(&format!("POST / HTTP/1.1\r\n{headers}\r\n")).unwrap();
            assert_eq!((!head.endless).then_some(head.body), end, "{headers:?}");
        }
    }

    /// Scenario: heads that are cut in their first line, behind it, and within a header; and what is no head.
    /// Guarantees: what is there is told, a header only if it is whole, and no end of the request.
    #[test]
    fn heads_that_are_cut() {
        let begun = |head: &str| request_begun(head.as_bytes(), &Limits::default());
        let long = format!("/{}", "l".repeat(9_000));
        let cut: String = long.chars().take(Limits::default().value_bytes_max).collect();
        for (head, target, headers) in [
            ("GET /long", "", 0),
            ("GET /long HTT", "", 0),
            (&*format!("GET {long}"), &*cut, 0),
            ("GET /long HTTP/1.1\r\n", "/long", 0),
            ("POST /long HTTP/1.0\r\nContent-Length: 3\r\nHost: x\r\nUser-Agent: cu", "/long", 1),
        ] {
            let read = begun(head).unwrap();
            assert_eq!((&*read.target, read.headers.len(), read.body), (target, headers, None));
            assert!(read.endless, "{head:?}");
        }
        for head in ["", "GET", " /", "GET / HTTP/2.0\r\n"] {
            assert_eq!(begun(head), None, "{head:?}");
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
