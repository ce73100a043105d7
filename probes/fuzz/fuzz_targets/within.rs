//! Feeds segments of arbitrary bytes behind openings that a parser cannot guess: `cargo +nightly fuzz run within`. The first
//! byte of the input says which: WebSocket behind its upgrade, gRPC-Web in both its forms, Cassandra with each of its
//! compressions agreed on.
//!
//! Invariant under test: no panic, and each byte is counted once.
#![no_main]

use std::sync::Arc;

use icecore_probes::protocol::{self, Closing, Direction, Limits, Protocol, Role, Segment};
use libfuzzer_sys::fuzz_target;

/// What a client and what its server says first.
type Opening = (&'static str, Vec<u8>, Vec<u8>);

fuzz_target!(|input: &[u8]| {
    let Some((which, mut rest)) = input.split_first() else { return };
    let (name, asked, answered) = opening(which >> 2);
    let role = if which & 1 == 0 { Role::Server } else { Role::Client };
    let limits = Limits { body_bytes_max: 16, ..Limits::default() };
    let parser = protocol::parser(name, Arc::new(limits), role, true);
    let mut fed = Fed { parser: parser.expect("the name is one of the table's"), bytes: 0 };
    fed.feed((role.requests(), 1), (&asked, 0), false);
    if which & 2 == 0 {
        fed.feed((other(role.requests()), 2), (&answered, 0), false);
    }
    let mut time = 2;
    // Each segment: flags, length, bytes.
    while let [flags, length, behind @ ..] = rest {
        let (captured, behind) = behind.split_at(behind.len().min(usize::from(*length)));
        let direction = if flags & 1 == 0 { role.requests() } else { other(role.requests()) };
        time += 1 + u64::from(flags & 4) * 1_000_000_000;
        fed.feed((direction, time), (captured, u64::from(flags >> 4)), flags & 2 != 0);
        rest = behind;
    }
    fed.parser.close(time, Closing::Reset, &mut Vec::new());
    let counts = fed.parser.take_counts();
    assert_eq!(counts.parsed_bytes + counts.unparsed_bytes + counts.passed_bytes, fed.bytes);
});

struct Fed {
    parser: Box<dyn Protocol>,
    bytes: u64,
}

impl Fed {
    fn feed(
        &mut self,
        (direction, time): (Direction, u64),
        (captured, omitted): (&[u8], u64),
        gap_before: bool,
    ) {
        self.bytes += captured.len() as u64 + omitted;
        let segment = Segment { direction, time, captured, omitted, gap_before };
        self.parser.feed(&segment, &mut Vec::new());
    }
}

fn opening(which: u8) -> Opening {
    match which % 7 {
        0 => (
            "http1",
            b"GET /a HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
                .to_vec(),
            b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n".to_vec(),
        ),
        1 => web("grpc-web+proto", "Content-Length: 300"),
        2 => web("grpc-web-text", "Content-Length: 300"),
        3 => web("grpc-web-text", "Transfer-Encoding: chunked"),
        4 => cassandra(4, Some("lz4")),
        5 => cassandra(4, Some("snappy")),
        _ => cassandra(5, (which / 7 % 2 == 1).then_some("lz4")),
    }
}

fn web(kind: &str, length: &str) -> Opening {
    let content = format!("Content-Type: application/{kind}\r\n{length}\r\n\r\n");
    let asked = format!("POST /a.S/M HTTP/1.1\r\nHost: a\r\n{content}");
    ("http1", asked.into_bytes(), format!("HTTP/1.1 200 OK\r\n{content}").into_bytes())
}

/// `STARTUP` and `READY`.
fn cassandra(version: u8, compression: Option<&str>) -> Opening {
    let text = |text: &str| [&[0, u8::try_from(text.len()).unwrap_or(0)], text.as_bytes()].concat();
    let mut options = vec![("CQL_VERSION", "3.0.0")];
    options.extend(compression.map(|name| ("COMPRESSION", name)));
    let mut body = vec![0, u8::try_from(options.len()).unwrap_or(0)];
    for (name, value) in options {
        body.extend([text(name), text(value)].concat());
    }
    let length = u8::try_from(body.len()).unwrap_or(0);
    let asked = [&[version, 0, 0, 1, 1, 0, 0, 0, length], &*body].concat();
    ("cassandra", asked, vec![0x80 | version, 0, 0, 1, 2, 0, 0, 0, 0])
}

fn other(direction: Direction) -> Direction {
    match direction {
        Direction::Inbound => Direction::Outbound,
        Direction::Outbound => Direction::Inbound,
    }
}
