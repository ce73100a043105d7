//! Conversations over HTTP/2, one by one. Recorded ones are in `nginx.txt` and `grpc.txt`.

mod calls;
mod property;

use super::frame::{END_HEADERS, END_STREAM, PADDED, PREFACE, PRIORITISED, SETTINGS};
use super::hpack::tests::Encoder;
use super::*;
use crate::protocol::script::{
    Step, Watched, answer, ask, check, check_cuts, check_losses, play, recorded, told,
};
use crate::protocol::{Followed, Said};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;

const PROMISE: u8 = 5;
const GO_AWAY: u8 = 7;
const CONTINUATION: u8 = 9;

fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Both ends of a connection.
struct Ends {
    client: Encoder,
    server: Encoder,
}

impl Ends {
    fn new() -> Self {
        Self { client: Encoder::new(), server: Encoder::new() }
    }

    fn get(&mut self, stream: u32, path: &str) -> Vec<u8> {
        let fields = request("GET", path);
        frame(HEADERS, END_HEADERS | END_STREAM, stream, self.client.block(&fields))
    }

    fn post(&mut self, stream: u32, path: &str) -> Vec<u8> {
        frame(HEADERS, END_HEADERS, stream, self.client.block(&request("POST", path)))
    }

    fn tunnel(&mut self, stream: u32, host: &str) -> Vec<u8> {
        let fields = [(":method", "CONNECT"), (":authority", host)];
        frame(HEADERS, END_HEADERS, stream, self.client.block(&fields))
    }

    fn call(&mut self, stream: u32, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
        let mut fields = request("POST", path).to_vec();
        fields.extend([("content-type", "application/grpc+proto"), ("te", "trailers")]);
        fields.extend(more);
        frame(HEADERS, END_HEADERS, stream, self.client.block(&fields))
    }

    fn status(&mut self, stream: u32, flags: u8, status: &str) -> Vec<u8> {
        let fields = [(":status", status), ("content-type", "text/plain"), ("server", "x")];
        frame(HEADERS, END_HEADERS | flags, stream, self.server.block(&fields))
    }

    fn fields(&mut self, stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
        frame(HEADERS, END_HEADERS | flags, stream, self.server.block(fields))
    }
}

fn request<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a str); 5] {
    let rest = [(":scheme", "http"), (":authority", "shop.example"), ("user-agent", "test/1")];
    [(":method", method), (":path", path), rest[0], rest[1], rest[2]]
}

fn settings() -> Vec<u8> {
    frame(SETTINGS, 0, 0, [0, 3, 0, 0, 0, 100])
}

fn opening() -> [Step; 2] {
    [ask([PREFACE.as_slice(), &settings()].concat()), answer(settings())]
}

fn message(len: u32) -> Vec<u8> {
    [&[0][..], &len.to_be_bytes(), &vec![7; len as usize]].concat()
}

fn steps(parts: impl IntoIterator<Item = Step>) -> Vec<Step> {
    opening().into_iter().chain(parts).collect()
}

/// Scenario: requests after one another with and without bodies, padding, priorities, header blocks
/// in three parts, an interim answer, trailers on both sides.
/// Guarantees: method, path, status and exact sizes of each, without padding.
#[test]
fn one_after_another() {
    let mut ends = Ends::new();
    let first = ends.get(1, "/a?b=c");
    let block = ends.client.block(&request("PUT", "/parts"));
    let (head, rest) = block.split_at(3);
    let (middle, tail) = rest.split_at(rest.len() / 2);
    let padded = [&[4, 0, 0, 0, 0, 9][..], head, &[0; 4]].concat();
    let flags = END_STREAM | PADDED | PRIORITISED;
    let parts = [
        frame(HEADERS, flags, 3, padded),
        frame(CONTINUATION, 0, 3, middle),
        frame(CONTINUATION, END_HEADERS, 3, tail),
    ];
    let trailers = [("x-sum", "1")];
    let post = ends.post(5, "/up");
    let own_trailers = ends.client.block(&trailers);
    let steps = steps([
        ask(first),
        answer(ends.status(1, END_STREAM, "404")),
        ask(parts.concat()),
        answer(
            [ends.status(3, 0, "200"), frame(DATA, PADDED | END_STREAM, 3, b"\x03hi\0\0\0")]
                .concat(),
        ),
        ask([post, frame(DATA, 0, 5, b"12345")].concat()),
        answer(ends.fields(5, 0, &[(":status", "100")])),
        ask([frame(DATA, 0, 5, b"678"), frame(HEADERS, END_HEADERS | END_STREAM, 5, own_trailers)]
            .concat()),
        answer(ends.fields(5, 0, &[(":status", "103"), ("link", "x")])),
        answer([ends.status(5, 0, "201"), frame(DATA, 0, 5, b"done")].concat()),
        answer(ends.fields(5, END_STREAM, &trailers)),
    ]);
    let wanted = ["GET /a?b=c 404 0>0", "PUT /parts 200 0>2", "POST /up 201 8>4"];
    check(&Limits::default(), &steps, &wanted);
}

/// Scenario: three streams whose parts come in turn, answered in another order; one is answered
/// before its request is whole.
/// Guarantees: each answer is at its own request, ordinals are those of the streams.
#[test]
fn many_at_once() {
    let mut ends = Ends::new();
    let steps = steps([
        ask([ends.post(1, "/one"), ends.get(3, "/two"), ends.post(5, "/three")].concat()),
        ask([frame(DATA, 0, 1, b"11"), frame(DATA, END_STREAM, 5, b"555")].concat()),
        answer([ends.status(5, 0, "200"), ends.status(3, 0, "200")].concat()),
        answer([frame(DATA, 0, 3, b"22"), frame(DATA, END_STREAM, 5, b"5")].concat()),
        answer(ends.status(1, END_STREAM, "500")),
        answer(frame(DATA, END_STREAM, 3, b"22")),
        ask(frame(DATA, END_STREAM, 1, b"11")),
    ]);
    let wanted = ["POST /three 200 3>1", "GET /two 200 0>4", "POST /one 500 4>0"];
    check(&Limits::default(), &steps, &wanted);
    let mut watched = Watched::new(Role::Client, Limits::default(), true);
    steps.iter().for_each(|step| watched.step(step));
    let ordinals: Vec<_> = watched.out.iter().map(|one| one.ordinal).collect();
    assert_eq!(ordinals, [Some(2), Some(1), Some(0)]);
    let Said::Http(call) = &watched.out[0].said else { panic!("not HTTP") };
    assert_eq!((call.version, call.scheme), ("2", Some("http")));
    assert_eq!(watched.out[0].request_header("host"), Some("shop.example"));
    assert_eq!(watched.out[0].request_header("user-agent"), Some("test/1"));
    assert_eq!(call.response_headers, [("content-type".into(), "text/plain".into())]);
}

/// Scenario: streams that are reset by either end, before and behind their answer; a server that
/// goes away; a promise; a tunnel; the end of the connection.
/// Guarantees: what failed says how, what was whole does not; a promise is nobody's request.
#[test]
fn ends_of_streams() {
    let mut ends = Ends::new();
    let reset = |stream, code: u32| frame(RESET, 0, stream, code.to_be_bytes());
    let promised = [&[0, 0, 0, 2][..], &ends.server.block(&request("GET", "/pushed"))].concat();
    let mut away = 9_u32.to_be_bytes().to_vec();
    away.extend([0; 4]);
    let steps = steps([
        ask([ends.get(1, "/cancelled"), ends.get(3, "/refused"), ends.post(5, "/early")].concat()),
        ask(reset(1, 8)),
        answer([reset(3, 7), frame(PROMISE, END_HEADERS, 5, promised)].concat()),
        answer([ends.status(5, END_STREAM, "413"), reset(5, 0)].concat()),
        ask(ends.tunnel(7, "far.example:1")),
        answer([ends.status(2, END_STREAM, "200"), ends.status(7, 0, "200")].concat()),
        ask(frame(DATA, 0, 7, b"anything")),
        ask([ends.get(9, "/last"), ends.get(11, "/too-late")].concat()),
        answer([frame(GO_AWAY, 0, 0, away), ends.status(9, 0, "200")].concat()),
    ]);
    let wanted = [
        "GET /cancelled - 0>0+ StreamReset(8)",
        "GET /refused - 0>0+ StreamReset(7)",
        "POST /early 413 0+>0",
        "CONNECT far.example:1 200 0+>0+",
        "GET /too-late - 0>0+ StreamReset(7)",
        "GET /last 200 0>0+ Closed",
    ];
    check(&Limits::default(), &steps, &wanted);
}

/// Scenario: clients that have all bytes they were promised do not wait for the empty frame behind them: one gives the
/// stream up, another closes the connection; a third has only the beginning.
/// Guarantees: the first two have a whole answer, the third has not.
#[test]
fn answers_whole_by_their_length() {
    let mut ends = Ends::new();
    let mut watched = Watched::new(Role::Client, Limits::default(), true);
    let mut parts = vec![];
    for (stream, path, length) in [(1, "/a", "5"), (3, "/b", "5"), (5, "/c", "5000000005")] {
        parts.push(ask(ends.get(stream, path)));
        let head = ends.fields(stream, 0, &[(":status", "200"), ("content-length", length)]);
        parts.push(answer([head, frame(DATA, 0, stream, b"hello")].concat()));
    }
    parts.push(ask(frame(RESET, 0, 1, 8_u32.to_be_bytes())));
    steps(parts).iter().for_each(|step| watched.step(step));
    let wanted = ["GET /a 200 0>5", "GET /b 200 0>5", "GET /c 200 0>5+ Reset"];
    assert_eq!(watched.close(Closing::Reset), wanted);
}

/// Scenario: the probe starts amid a connection whose table has the path and other fields; later
/// the client names them again.
/// Guarantees: what is not known is told as such, the role is right, and what is said anew is known.
#[test]
fn started_amid() {
    let mut ends = Ends::new();
    let missed = [ends.get(1, "/known"), ends.post(3, "/long")].concat();
    let missed_answer = ends.status(1, END_STREAM, "418");
    assert!(missed.len() + missed_answer.len() > 60);
    let steps = [
        answer(ends.status(3, 0, "200")),
        answer(frame(DATA, 0, 3, b"of an older request")),
        ask(ends.get(5, "/known")),
        answer(ends.status(5, END_STREAM, "418")),
        ask(ends.get(7, "/new")),
        answer(ends.status(7, END_STREAM, "404")),
        ask(ends.get(9, "/new")),
        answer([ends.status(9, 0, "200"), frame(DATA, END_STREAM, 9, b"ok")].concat()),
    ];
    for role in [Role::Server, Role::Client] {
        let mut watched = Watched::new(role, Limits::default(), false);
        steps.iter().for_each(|step| watched.step(step));
        assert_eq!(watched.following.followed(), Followed::Parsing(role));
        assert_eq!(watched.following.take_counts().responses_without_request, 1);
        let wanted = ["GET  - 0>0 Unseen", "GET /new 404 0>0", "GET /new 200 0>2"];
        assert_eq!(watched.out.iter().map(told).collect::<Vec<_>>(), wanted);
    }
}

/// Scenario: a server that speaks before the client; a preface behind that of a load balancer; a
/// preface of which only the beginning comes; HTTP/1 and noise.
/// Guarantees: the first two are understood from their first byte, the others are not taken for it.
#[test]
fn beginnings() {
    let mut ends = Ends::new();
    let preface = [PREFACE.as_slice(), &settings()].concat();
    let exchange = [ask(ends.get(1, "/")), answer(ends.status(1, END_STREAM, "204"))];
    let early = [vec![answer(settings()), ask(&preface)], exchange.to_vec()].concat();
    check(&Limits::default(), &early, &["GET / 204 0>0"]);
    let balanced = [b"PROXY TCP4 127.0.0.1 127.0.0.1 50000 80\r\n".as_slice(), &preface].concat();
    let balanced = [vec![ask(balanced), answer(settings())], exchange.to_vec()].concat();
    check(&Limits::default(), &balanced, &["GET / 204 0>0"]);
    for other in ["PRI * HTTP/2.0\r\n\r\nSM", "PRI * HTTP/1.1\r\n\r\n", "\0\0\0\0\0\0\0\0\0\0\0\0"]
    {
        let told = play(Role::Server, &Limits::default(), &[ask(other), answer("no")]);
        assert!(
            told.len() < 2 && !told.iter().any(|one| one.contains("200")),
            "{other:?} {told:?}"
        );
    }
}

/// Scenario: a connection of HTTP/1.1 that becomes one of HTTP/2 with its second request, which has
/// a body; the answer comes with the upgrade or behind it.
/// Guarantees: the request has the answer of the first stream; ordinals go on.
#[test]
fn upgraded() {
    let upgrade = "POST /up HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n\
                   Upgrade: h2c\r\nHTTP2-Settings: AAMA\r\nContent-Length: 3\r\n\r\nabc";
    let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    let mut ends = Ends::new();
    let first = [ends.status(1, 0, "200"), frame(DATA, END_STREAM, 1, b"hello")].concat();
    let steps = [
        ask("GET /before HTTP/1.1\r\n\r\n"),
        answer("HTTP/1.1 204 No Content\r\n\r\n"),
        ask(upgrade),
        answer([switch.as_slice(), &settings(), &first].concat()),
        ask([PREFACE.as_slice(), &settings(), &ends.get(3, "/more")].concat()),
        answer(ends.status(3, END_STREAM, "404")),
    ];
    let wanted = ["GET /before 204 0>0", "POST /up 200 3>5", "GET /more 404 0>0"];
    check(&Limits::default(), &steps, &wanted);
    let mut watched = Watched::new(Role::Client, Limits::default(), true);
    steps.iter().for_each(|step| watched.step(step));
    let ordinals: Vec<_> = watched.out.iter().map(|one| one.ordinal).collect();
    assert_eq!(ordinals, [Some(0), Some(1), Some(2)]);
}

/// Scenario: a header block without an end, one that names a long field a thousand times, more open
/// streams than are followed, bytes that are no header block.
/// Guarantees: what is held is bounded, what was shed is counted, and the next request is understood.
#[test]
fn bounds() {
    let limits = Limits { streams_max: 4, head_bytes_max: 2_000, ..Limits::default() };
    let mut ends = Ends::new();
    let mut watched = Watched::new(Role::Server, limits, true);
    opening().iter().for_each(|step| watched.step(step));
    watched.step(&ask(frame(HEADERS, END_STREAM, 1, vec![0x82; 100])));
    for _ in 0..100 {
        watched.step(&ask(frame(CONTINUATION, 0, 1, vec![0x82; 100])));
    }
    watched.step(&ask(frame(CONTINUATION, END_HEADERS, 1, b"")));
    let long = "x".repeat(1_000);
    let mut block =
        ends.client.block(&[(":method", "GET"), (":path", "/bomb"), ("user-agent", &long)]);
    block.extend([0xbe; 900]);
    watched.step(&ask(frame(HEADERS, END_HEADERS | END_STREAM, 3, block)));
    watched.step(&answer(ends.status(3, END_STREAM, "200")));
    let Said::Http(call) = &watched.out[0].said else { panic!("not HTTP") };
    assert!(call.request_headers.len() < 3, "{}", call.request_headers.len());
    for stream in 0..6 {
        watched.step(&ask(ends.get(5 + 2 * stream, "/many")));
    }
    assert_eq!(watched.following.take_counts().requests_shed, 2);
    watched.step(&answer(ends.status(15, END_STREAM, "200")));
    assert_eq!(watched.out.last().map(told).unwrap(), "GET /many 200 0>0");
    watched.step(&ask(frame(HEADERS, END_HEADERS, 17, [0x80])));
    watched.time += QUIET_NANOS;
    let mut anew = Ends::new();
    watched.step(&ask(anew.get(19, "/next")));
    watched.step(&answer(ends.status(19, END_STREAM, "200")));
    assert_eq!(watched.out.last().map(told).unwrap(), "GET /next 200 0>0");
}

/// Scenario: bodies of which only the beginning was copied, over the ends of frames and not.
/// Guarantees: sizes are exact while no frame begins in what was not copied; else a lower bound.
#[test]
fn bytes_that_were_not_copied() {
    let mut ends = Ends::new();
    let mut watched =
        Watched::new(Role::Client, Limits { body_bytes_max: 4, ..Limits::default() }, true);
    opening().iter().for_each(|step| watched.step(step));
    let body = frame(DATA, END_STREAM, 1, vec![b'a'; 1_000]);
    watched.step(&ask(ends.post(1, "/a")));
    watched.segment(true, &body[..20], 989);
    watched.step(&answer(ends.status(1, END_STREAM, "200")));
    watched.step(&ask(ends.get(3, "/b")));
    let body =
        [frame(DATA, 0, 3, vec![b'b'; 500]), frame(DATA, END_STREAM, 3, vec![b'b'; 500])].concat();
    watched.step(&answer(ends.status(3, 0, "200")));
    watched.segment(false, &body[..100], body.len() as u64 - 100);
    watched.time += 2 * QUIET_NANOS;
    watched.step(&ask(ends.get(5, "/c")));
    watched.step(&answer(Ends::new().status(5, END_STREAM, "200")));
    let wanted = ["POST /a 200 1000>0", "GET /b 200 0>500+ Unseen", "GET /c 200 0>0"];
    assert_eq!(watched.close(Closing::Orderly), wanted);
    assert_eq!(watched.out[0].request_captured, b"aaaa");
}

/// Scenario: conversations recorded between real programs (curl and httpx with nginx; grpcio), cut
/// at every byte.
/// Guarantees: what the programs did, in both roles, however it is cut.
#[test]
fn recorded_conversations() {
    let nginx = recorded(include_str!("nginx.txt"));
    let wanted = include_str!("nginx-told.txt").lines().collect::<Vec<_>>();
    assert_eq!(play(Role::Client, &Limits::default(), &nginx), wanted);
    check_cuts(Role::Server, &Limits::default(), &nginx);
    let grpc = recorded(include_str!("grpc.txt"));
    let wanted = include_str!("grpc-told.txt").lines().collect::<Vec<_>>();
    assert_eq!(play(Role::Server, &Limits::default(), &grpc), wanted);
    check_cuts(Role::Client, &Limits::default(), &grpc);
}

/// Scenario: every part of conversations is lost, of one recorded and one made up.
/// Guarantees: nothing is made up, what is not sure says so, and the next exchanges are understood.
#[test]
fn losses() {
    let mut ends = Ends::new();
    let mut parts = opening().to_vec();
    for turn in 0..4_u32 {
        let (first, second) = (4 * turn + 1, 4 * turn + 3);
        let (one, two) = (format!("/one-{turn}"), format!("/two-{turn}"));
        parts.push(ask([ends.post(first, &one), ends.get(second, &two)].concat()));
        parts.push(ask(frame(DATA, END_STREAM, first, vec![0; 30 + turn as usize])));
        parts.push(answer([ends.status(second, 0, "200"), ends.status(first, 0, "201")].concat()));
        parts.push(answer(frame(DATA, 0, first, vec![1; 40])));
        let ends =
            [frame(DATA, END_STREAM, second, vec![2; 50]), frame(DATA, END_STREAM, first, b"")];
        parts.push(answer(ends.concat()));
    }
    let mut anew = Ends::new();
    let again = [ask(anew.get(1_001, "/again")), answer(anew.status(1_001, END_STREAM, "204"))];
    let grpc = recorded(include_str!("grpc.txt"));
    for role in [Role::Server, Role::Client] {
        for chunk in [7, 16, 64] {
            check_losses(role, &Limits::default(), &parts, &again, chunk);
        }
        check_losses(role, &Limits::default(), &grpc, &again, 200);
    }
}
