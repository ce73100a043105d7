//! Conversations as they stand in the wild, one by one. Random ones are in `property.rs`.

mod cut;
mod property;
mod tunnels;

use std::sync::Arc;

use super::*;
use crate::protocol::{BodySize, Followed, Following, HttpCall, Said};

/// What happens on a connection: bytes one way or the other.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Request(Vec<u8>),
    Response(Vec<u8>),
}

fn requests(bytes: &str) -> Step {
    Step::Request(bytes.as_bytes().to_vec())
}

fn responses(bytes: &str) -> Step {
    Step::Response(bytes.as_bytes().to_vec())
}

fn call(exchange: &Exchange) -> &HttpCall {
    let Said::Http(call) = &exchange.said else { panic!("not HTTP: {exchange:?}") };
    call
}

/// One exchange, in the words of these tests: `GET /a 200 0>5`, sizes with `+` where at least.
fn told(exchange: &Exchange) -> String {
    let size = |size| match size {
        BodySize::Exact(bytes) => format!("{bytes}"),
        BodySize::AtLeast(bytes) => format!("{bytes}+"),
    };
    let HttpCall { method, target, status, .. } = call(exchange);
    let status = status.map_or("-".to_owned(), |status| status.to_string());
    let failure = exchange.failure.map_or(String::new(), |failure| format!(" {failure:?}"));
    format!(
        "{method} {target} {status} {}>{}{failure}",
        size(exchange.request_body),
        size(exchange.response_body)
    )
}

#[derive(Debug)]
struct Watched {
    role: Role,
    following: Following,
    time: u64,
    fed: u64,
    out: Vec<Exchange>,
}

impl Watched {
    fn new(role: Role, limits: Limits) -> Self {
        let following = Following::new(Arc::new(limits), true);
        Self { role, following, time: 0, fed: 0, out: Vec::new() }
    }

    fn segment(&mut self, requests: bool, captured: &[u8], omitted: u64, gap_before: bool) {
        self.time += 1;
        self.fed += captured.len() as u64 + omitted;
        let way = self.role.requests();
        let direction = if requests { way } else { way.opposite() };
        let segment = Segment { direction, time: self.time, captured, omitted, gap_before };
        self.following.feed(&segment, &mut self.out);
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Request(bytes) => self.segment(true, bytes, 0, false),
            Step::Response(bytes) => self.segment(false, bytes, 0, false),
        }
    }

    fn close(&mut self, closing: Closing) -> Vec<String> {
        self.end(closing);
        self.out.iter().map(told).collect()
    }

    fn end(&mut self, closing: Closing) {
        self.time += 1;
        self.following.close(self.time, closing, &mut self.out);
        let counts = self.following.take_counts();
        let sum = counts.parsed_bytes + counts.unparsed_bytes + counts.passed_bytes;
        assert_eq!(sum, self.fed, "each byte is counted once: {counts:?}");
    }
}

/// Feeds the steps whole, and cut in two at every byte of every step, for both roles.
fn check(steps: &[Step], closing: Closing, wanted: &[&str]) {
    for role in [Role::Server, Role::Client] {
        let mut whole = Watched::new(role, Limits::default());
        steps.iter().for_each(|step| whole.step(step));
        assert_eq!(whole.close(closing), wanted, "{role:?}, whole");
        assert!(whole.out.iter().all(|exchange| exchange.role == role));
        for (at, step) in steps.iter().enumerate() {
            let (is_request, bytes) = match step {
                Step::Request(bytes) => (true, bytes),
                Step::Response(bytes) => (false, bytes),
            };
            for cut in 1..bytes.len() {
                let mut watched = Watched::new(role, Limits::default());
                for (index, step) in steps.iter().enumerate() {
                    if index == at {
                        let (head, tail) = bytes.split_at(cut);
                        watched.segment(is_request, head, 0, false);
                        watched.segment(is_request, tail, 0, false);
                    } else {
                        watched.step(step);
                    }
                }
                assert_eq!(watched.close(closing), wanted, "{role:?}, step {at} cut at {cut}");
            }
        }
    }
}

/// Scenario: keep-alive with and without bodies, HEAD, 204, 304, chunks with trailers.
/// Guarantees: one exchange each, with the sizes of the bodies as they were on the wire.
#[test]
fn keep_alive() {
    check(
        &[
            requests("GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n"),
            responses("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
            requests("POST /b HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"),
            responses(
                "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\nT: u\r\n\r\n",
            ),
            requests("HEAD /c HTTP/1.1\r\n\r\n"),
            responses("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
            requests(
                "\r\nPUT /d HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
            ),
            responses("HTTP/1.1 204 No Content\r\n\r\n"),
            requests("GET /e HTTP/1.1\r\n\r\n"),
            responses("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"),
        ],
        Closing::Orderly,
        &[
            "GET /a?b=c 200 0>5",
            "POST /b 201 3>3",
            "HEAD /c 200 0>0",
            "PUT /d 204 1>0",
            "GET /e 304 0>0",
        ],
    );
}

/// Scenario: a load balancer says in either version of the PROXY protocol who its client is.
/// Guarantees: the requests behind it are numbered as if it were not there.
#[test]
fn behind_a_load_balancer() {
    for preamble in [
        "PROXY TCP4 127.0.0.1 127.0.0.1 50000 80\r\n",
        "\r\n\r\n\0\r\nQUIT\n!\u{11}\0\u{c}\u{7f}\0\0\u{1}\u{7f}\0\0\u{1}9\u{50}\0\u{50}",
    ] {
        check(
            &[
                requests(&format!("{preamble}GET /a HTTP/1.1\r\n\r\n")),
                responses("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
            ],
            Closing::Orderly,
            &["GET /a 200 0>2"],
        );
        let mut watched = Watched::new(Role::Server, Limits::default());
        watched.step(&requests(preamble));
        watched.step(&requests("GET /b HTTP/1.1\r\n\r\n"));
        watched.step(&responses("HTTP/1.1 204 No Content\r\n\r\n"));
        assert_eq!(watched.close(Closing::Orderly), ["GET /b 204 0>0"]);
        assert_eq!((watched.out[0].ordinal, watched.out[0].start), (Some(0), 2));
    }
}

/// Scenario: a header line that is none, which the server refuses.
/// Guarantees: the refusal is told.
#[test]
fn a_refused_header() {
    check(
        &[
            requests("GET /a HTTP/1.1\r\nno header\r\n\r\n"),
            responses("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
        ],
        Closing::Orderly,
        &["GET /a 400 0>0"],
    );
}

/// Scenario: three requests in one packet, three answers in one packet.
/// Guarantees: answers go to requests in order.
#[test]
fn pipelining() {
    check(
        &[
            requests(
                "GET /a HTTP/1.1\r\n\r\nPOST /b HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiHEAD /c HTTP/1.1\r\n\r\n",
            ),
            responses(
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\nHTTP/1.1 500 No\r\nContent-Length: 7\r\n\r\n",
            ),
        ],
        Closing::Orderly,
        &["GET /a 200 0>1", "POST /b 404 2>0", "HEAD /c 500 0>0"],
    );
}

/// Scenario: 100-continue and 103 before the answer; a body that is refused and never sent.
/// Guarantees: interim answers are no answers; the request after a refused one is understood.
#[test]
fn interim_answers() {
    check(
        &[
            requests("PUT /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"),
            responses("HTTP/1.1 100 Continue\r\n\r\n"),
            requests("data"),
            responses(
                "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            ),
        ],
        Closing::Orderly,
        &["PUT /a 200 4>0"],
    );
    let refused = [
        requests("PUT /b HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"),
        responses("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n"),
    ];
    check(&refused, Closing::Orderly, &["PUT /b 417 0+>0"]);
    let mut watched = Watched::new(Role::Server, Limits::default());
    refused.iter().for_each(|step| watched.step(step));
    watched.step(&requests("GET /c HTTP/1.1\r\n\r\n"));
    watched.step(&responses("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"));
    assert_eq!(watched.close(Closing::Orderly), ["PUT /b 417 0+>0", "GET /c 200 0>1"]);
}

/// Scenario: an answer without length, ended by close or by reset; a reset amid a body; no answer.
/// Guarantees: close ends the first kind well, everything else is a failure with its kind.
#[test]
fn ends_of_connections() {
    let get = requests("GET / HTTP/1.0\r\n\r\n");
    let open = responses("HTTP/1.0 200 OK\r\n\r\nsome bytes");
    let cut = responses("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome bytes");
    let both = [get.clone(), open];
    check(&both, Closing::Orderly, &["GET / 200 0>10"]);
    check(&both, Closing::Reset, &["GET / 200 0>10 Reset"]);
    check(&both, Closing::Unwatched, &["GET / 200 0>10+ Unseen"]);
    let both = [get.clone(), cut];
    check(&both, Closing::Orderly, &["GET / 200 0>10+ Closed"]);
    check(&both, Closing::Reset, &["GET / 200 0>10+ Reset"]);
    check(std::slice::from_ref(&get), Closing::Orderly, &["GET / - 0>0+ Closed"]);
    check(&[get], Closing::Unwatched, &["GET / - 0>0+ Unseen"]);
}

/// Scenario: an upgrade to what is not understood, and a proxy that makes no tunnel.
/// Guarantees: the exchange ends there, what follows is passed and the connection is let go; without a tunnel
/// it is read on.
#[test]
fn handed_off() {
    let request = "GET /x HTTP/1.1\r\nUpgrade: x\r\n\r\n";
    let answer = "HTTP/1.1 101 Switching\r\nContent-Length: 7\r\n\r\n\x16\x03";
    check(
        &[requests(request), responses(answer), requests("GET / HTTP/1.1\r\n\r\n")],
        Closing::Orderly,
        &["GET /x 101 0>0"],
    );
    let mut watched = Watched::new(Role::Client, Limits::default());
    watched.step(&requests(request));
    assert_eq!(watched.following.followed(), Followed::Parsing(Role::Client));
    watched.step(&responses(answer));
    assert_eq!(watched.following.followed(), Followed::Ignored);
    check(
        &[
            requests("CONNECT a:443 HTTP/1.1\r\n\r\n"),
            responses("HTTP/1.1 407 Auth\r\nContent-Length: 2\r\n\r\nno"),
            requests("GET http://a/ HTTP/1.1\r\n\r\n"),
            responses("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        ],
        Closing::Orderly,
        &["CONNECT a:443 407 0>2", "GET http://a/ 200 0>2"],
    );
}

/// Scenario: bodies of which only the beginning was copied, as sendfile and large writes do.
/// Guarantees: sizes are exact, and what follows is understood.
#[test]
fn bytes_that_were_not_copied() {
    let mut watched = Watched::new(Role::Server, Limits { body_bytes_max: 4, ..Limits::default() });
    let exchange = |watched: &mut Watched, name: &str| {
        watched.step(&requests(&format!("POST /{name} HTTP/1.1\r\nContent-Length: 90\r\n\r\n")));
        watched.segment(true, b"begin", 85, false);
        watched.segment(false, b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", 0, false);
        watched.segment(false, b"", 999_999, false);
        watched.segment(false, b"e", 0, false);
    };
    exchange(&mut watched, "a");
    exchange(&mut watched, "b");
    watched.step(&requests("GET /c HTTP/1.1\r\n\r\n"));
    watched.segment(
        false,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n",
        102,
        false,
    );
    watched.segment(false, b"0\r\n\r\n", 0, false);
    let wanted = ["POST /a 200 90>1000000", "POST /b 200 90>1000000", "GET /c 200 0>100"];
    assert_eq!(watched.close(Closing::Orderly), wanted);
    assert_eq!(watched.out[0].request_captured, b"begi");
    assert_eq!(watched.out[0].response_captured, b"");
}

/// Scenario: bytes are lost in a body, in a head, and between messages.
/// Guarantees: the damaged exchange says that it was not seen whole, the next one is right.
#[test]
fn losses() {
    let again = |watched: &mut Watched| {
        watched.step(&requests("GET /next HTTP/1.1\r\n\r\n"));
        watched.step(&responses("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    };
    for (part, wanted) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nab", "GET / 200 0>7+ Unseen"),
        ("HTTP/1.1 200 OK\r\nContent-Len", "GET / - 0>0+ Unseen"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "GET / 200 0>2+ Unseen"),
    ] {
        let mut watched = Watched::new(Role::Client, Limits::default());
        watched.step(&requests("GET / HTTP/1.1\r\n\r\n"));
        watched.segment(false, part.as_bytes(), 0, false);
        watched.segment(false, b"later", 0, true);
        again(&mut watched);
        again(&mut watched);
        let wanted = wanted.replace("7+", "2+");
        let told = watched.close(Closing::Orderly);
        assert_eq!(told, [&*wanted, "GET /next 200 0>2", "GET /next 200 0>2"], "{part:?}");
        assert_eq!(watched.out[0].ordinal, Some(0));
    }
    let mut watched = Watched::new(Role::Server, Limits::default());
    watched.segment(true, b"GET /unanswered HTTP/1.1\r\n\r\n", 0, false);
    watched.segment(true, b"GET /after HTTP/1.1\r\n\r\n", 0, true);
    watched.step(&responses("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    let told = watched.close(Closing::Orderly);
    assert_eq!(told, ["GET /unanswered - 0>0+ Unseen", "GET /after 200 0>0"]);
    assert_eq!(watched.out[1].ordinal, None, "some requests may be missing before it");
}

/// Scenario: the end of a chunked body comes after bytes of it were lost.
/// Guarantees: the answer counts as whole, its size as a lower bound.
#[test]
fn the_last_chunk_is_recognised_after_a_loss() {
    let mut watched = Watched::new(Role::Client, Limits::default());
    watched.step(&requests("GET / HTTP/1.1\r\n\r\n"));
    watched.step(&responses("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"));
    watched.segment(false, b"lost its place\r\n0\r\n\r\n", 0, true);
    assert_eq!(watched.out.iter().map(told).collect::<Vec<_>>(), ["GET / 200 0>2+"]);
    watched.close(Closing::Orderly);
}

/// Scenario: the probe starts amid a conversation.
/// Guarantees: an answer without its request is counted, not made up; the next exchange is right.
#[test]
fn started_amid() {
    let mut watched = Watched::new(Role::Server, Limits::default());
    watched.segment(true, b"rest of an old body", 0, false);
    watched.segment(false, b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nabc", 0, false);
    watched.segment(false, b"more of it", 0, false);
    watched.step(&requests("GET /b HTTP/1.1\r\nHost: x\r\n\r\n"));
    watched.step(&responses("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    assert_eq!(watched.following.take_counts().responses_without_request, 1);
    watched.fed = 0;
    assert_eq!(watched.close(Closing::Orderly), ["GET /b 200 0>0"]);
    assert_eq!(watched.out[0].ordinal, None);
}

/// Scenario: TLS, SSH, a database and a never-ending first line.
/// Guarantees: none is taken for HTTP/1, and the connection is let go after the bound.
#[test]
fn other_protocols() {
    let long = vec![b'A'; 100_000];
    let payloads: [&[u8]; 5] = [
        b"\x16\x03\x01\x02\x00\x01",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"Q\0\0\0\x0dSELECT 1\0",
        &long,
        b"",
    ];
    for payload in payloads {
        let limits = Limits { detect_segments_max: 3, ..Limits::default() };
        let mut watched = Watched::new(Role::Server, limits);
        for _ in 0..3 {
            watched.segment(true, payload, 1, false);
        }
        assert_eq!(watched.following.followed(), Followed::Ignored, "{payload:?}");
        assert_eq!(watched.close(Closing::Orderly), [""; 0]);
    }
}

/// Scenario: heads beyond the limit, more requests without an answer than may wait.
/// Guarantees: nothing grows, the loss is counted.
#[test]
fn bounds() {
    let limits = Limits { head_bytes_max: 1_000, pending_max: 4, ..Limits::default() };
    let mut watched = Watched::new(Role::Server, limits.clone());
    watched.step(&requests("GET / HTTP/1.1\r\n"));
    for _ in 0..100 {
        watched.step(&requests(&format!("X: {}\r\n", "y".repeat(100))));
    }
    assert_eq!(watched.close(Closing::Orderly), ["GET / - 0+>0+ Closed"]);

    let mut watched = Watched::new(Role::Server, limits);
    for _ in 0..5 {
        watched.step(&requests("GET / HTTP/1.1\r\n\r\n"));
    }
    assert_eq!(watched.out.len(), 4);
    assert_eq!(watched.following.take_counts().requests_shed, 5);
    watched.time += QUIET_NANOS;
    watched.step(&requests("GET /new HTTP/1.1\r\n\r\n"));
    watched.step(&responses("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    assert_eq!(watched.out.last().map(told).unwrap(), "GET /new 200 0>0");
}

/// Scenario: gRPC for browsers over HTTP/1.1: bodies in chunks and by length, as bytes and as text, a status
/// in the head, a proxy that does not know gRPC, a body of which a part was not copied.
/// Guarantees: each is a call with its method, status and messages, and its version of HTTP; what was not
/// seen has no status.
#[test]
fn calls_of_browsers() {
    let post = |path: &str, content: &str, body: &str| {
        requests(&format!(
            "POST {path} HTTP/1.1\r\nHost: a.example\r\nContent-Type: application/{content}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    };
    let answered = |content: &str, chunks: &[&str]| {
        let chunks = chunks.iter().map(|one| format!("{:x}\r\n{one}\r\n", one.len()));
        let chunks: String = chunks.collect();
        responses(&format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/{content}\r\n\
             Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"
        ))
    };
    let one = "\0\0\0\0\x02hi";
    let steps = [
        post("/a.S/Web", "grpc-web+proto", one),
        responses("HTTP/1.1 503 no\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nno"),
        post("/a.S/Text", "grpc-web-text", "AAAAAAFh"),
        answered("grpc-web-text", &["AAAAAAFi", "AAAAAAFj", "gAAAABBncnBjLXN0YXR1czogMA0K"]),
        post("/a.S/Head", "grpc-web", one),
        responses(
            "HTTP/1.1 200 OK\r\nContent-Type: application/grpc-web\r\ngrpc-status: 16\r\n\
             Content-Length: 0\r\n\r\n",
        ),
    ];
    for role in [Role::Server, Role::Client] {
        let mut watched = Watched::new(role, Limits::default());
        steps.iter().for_each(|step| watched.step(step));
        watched.end(Closing::Orderly);
        let told = watched.out.iter().map(crate::protocol::script::told).collect::<Vec<_>>();
        assert_eq!(
            told,
            [
                "a.S/Web UNAVAILABLE 1>\u{2026} 7>2",
                "a.S/Text OK 1>2 8>44",
                "a.S/Head UNAUTHENTICATED 1>0 7>0",
            ]
        );
        let Said::Rpc(call) = &watched.out[0].said else { panic!() };
        assert_eq!((call.version, call.authority.as_deref()), ("1.1", Some("a.example")));
    }
    let mut watched = Watched::new(Role::Server, Limits::default());
    watched.step(&post("/a.S/Web", "grpc-web", one));
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: application/grpc-web\r\nContent-Length: 100\r\n\r\n";
    watched.segment(false, head.as_bytes(), 100, false);
    watched.end(Closing::Orderly);
    let told = watched.out.iter().map(crate::protocol::script::told).collect::<Vec<_>>();
    assert_eq!(told, ["a.S/Web UNKNOWN 1>\u{2026} 7>100"]);
}
