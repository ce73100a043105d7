use super::*;
use crate::connection::Tls;
use crate::protocol::{BodySize, Failure};
use icecore_probe_events::{Flow, OUTBOUND};

/// A piece without payload, inbound, on a connection of this identity.
pub(crate) fn piece(connection: u64, time: u64) -> Piece {
    Piece {
        connection,
        generation: 1,
        time,
        position: 0,
        position_other: 0,
        omitted: 0,
        owner: Owner {
            pid: 7,
            thread: 7,
            started: 3,
            cgroup: 0,
            comm: *b"server\0\0\0\0\0\0\0\0\0\0",
        },
        flow: Flow {
            local_addr: [127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            remote_addr: [10, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            local_port: 80,
            remote_port: 4_000,
            netns: 1,
        },
        sequences: [1, 2],
        captured: 0,
        direction: u16::from(INBOUND),
        flags: FLAG_FROM_START,
    }
}

struct Bench {
    table: Table,
    clock: WallClock,
    seen: Vec<(ConnectionInfo, Exchange)>,
}

impl Bench {
    fn new(connections_max: usize) -> Self {
        Self::within(connections_max, Memory::default())
    }

    fn within(connections_max: usize, memory: Memory) -> Self {
        let limits = Arc::new(Limits::default());
        let config = TableConfig { connections_max, idle_max_nanos: 1_000, limits, memory };
        Self { table: Table::new(config), clock: WallClock::new(), seen: Vec::new() }
    }

    fn feed(&mut self, piece: Piece, payload: &[u8]) -> Verdict {
        let captured = u16::try_from(payload.len()).unwrap();
        let piece = Piece { captured, ..piece };
        let Self { table, clock, seen } = self;
        let mut sink =
            |info: &ConnectionInfo, _: &mut Memo, it: Exchange| seen.push((info.clone(), it));
        table.begin(&piece, clock, &mut sink);
        table.feed(&piece, payload, clock, &mut sink)
    }

    fn end(&mut self, connection: u64, generation: u64) {
        self.end_after(connection, generation, [0; 2]);
    }

    fn end_after(&mut self, connection: u64, generation: u64, passed: [u64; 2]) {
        let Self { table, clock, seen } = self;
        let end = End { connection, generation, time: 9, passed, flags: 0, reserved: 0 };
        table.end(&end, clock, &mut |info, _, it| seen.push((info.clone(), it)));
    }
}

/// Scenario: a connection ends under the generation that is followed, and under another.
/// Guarantees: only the first closes it.
#[test]
fn an_end_closes_its_own_generation() {
    let mut bench = Bench::new(10);
    bench.feed(piece(1, 5), b"GET / HTTP/1.1\r\n\r\n");
    bench.end(1, 2);
    assert_eq!(bench.table.len(), 1);
    bench.end(1, 1);
    assert_eq!(bench.table.len(), 0);
}

/// Scenario: an identity comes back with another generation, its end having been lost.
/// Guarantees: the old connection is closed and counted; the new one starts with nothing of it.
#[test]
fn a_new_generation_replaces_the_old() {
    let mut bench = Bench::new(10);
    bench.feed(piece(1, 5), b"GET /old HTTP/1.1\r\n");
    bench.feed(Piece { generation: 2, ..piece(1, 6) }, b"GET /new HTTP/1.1\r\n\r\n");
    assert_eq!(bench.table.len(), 1);
    assert_eq!(bench.table.take_figures().0.replaced, 1);
}

/// Scenario: more connections than the table holds.
/// Guarantees: the bound holds, the oldest leave, and each is counted.
#[test]
fn the_table_keeps_its_bound() {
    let mut bench = Bench::new(32);
    for connection in 1..=100 {
        bench.feed(piece(connection, connection), b"GET / HTTP/1.1\r\n");
        assert!(bench.table.len() <= 32);
    }
    assert!(bench.table.info(100).is_some() && bench.table.info(1).is_none());
    let held = u64::try_from(bench.table.len()).unwrap();
    assert_eq!(bench.table.take_figures().0.evicted, 100 - held);
}

/// Scenario: connections with long heads that are not whole, together more than the memory that they may have.
/// Guarantees: those used the longest ago are given up, and counted apart; what is held stays within the bound,
/// and nothing counts as held once all have ended.
#[test]
fn connections_keep_to_the_memory() {
    let memory = Memory::new(1 << 20, 0);
    let mut bench = Bench::within(1_000, memory.clone());
    let head = [b"GET / HTTP/1.1\r\nX-Long: ".as_slice(), &[b'x'; 8_000]].concat();
    for connection in 1..=200 {
        bench.feed(piece(connection, connection), &head);
        assert!(!memory.connections_are_full());
    }
    assert!(memory.of(Holder::Connections) > 200_000);
    assert!(bench.table.info(200).is_some() && bench.table.info(1).is_none());
    let held = u64::try_from(bench.table.len()).unwrap();
    let figures = bench.table.take_figures().0;
    assert_eq!((figures.evicted_for_memory, figures.evicted), (200 - held, 0));
    (1..=200).for_each(|connection| bench.end(connection, 1));
    assert_eq!(memory.of(Holder::Connections), 0);
}

/// Scenario: time passes on a connection without traffic.
/// Guarantees: it is forgotten after the bound and not before.
#[test]
fn idle_connections_expire() {
    let mut bench = Bench::new(10);
    bench.feed(piece(1, 5_000), b"GET / HTTP/1.1\r\n");
    bench.table.expire(5_900, &bench.clock, &mut |_, _, _| ());
    assert_eq!(bench.table.len(), 1);
    bench.table.expire(6_100, &bench.clock, &mut |_, _, _| ());
    assert_eq!(bench.table.len(), 0);
}

/// Scenario: bytes of an IPv4 socket, an IPv6 one, and an IPv6 one that carries IPv4.
/// Guarantees: addresses read as an operator would write them.
#[test]
fn addresses_are_as_people_write_them() {
    let clock = WallClock::new();
    let mut six = piece(1, 1);
    assert_eq!(info(&six, &clock).local.to_string(), "127.0.0.1:80");
    six.flags |= FLAG_IPV6;
    six.flow.local_addr = Ipv6Addr::LOCALHOST.octets();
    six.flow.remote_addr = Ipv4Addr::new(10, 0, 0, 2).to_ipv6_mapped().octets();
    assert_eq!(info(&six, &clock).local.to_string(), "[::1]:80");
    assert_eq!(info(&six, &clock).remote.to_string(), "10.0.0.2:4000");
}

/// Scenario: pieces amid a body found no room in the ring.
/// Guarantees: the size of the body is exact all the same, and the next message is understood.
#[test]
fn a_body_is_followed_over_a_hole() {
    let mut bench = Bench::new(10);
    let out = Piece { direction: u16::from(OUTBOUND), ..piece(1, 5) };
    let asked = b"GET / HTTP/1.1\r\n\r\n";
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n";
    for turn in 0..3 {
        let start = turn * (head.len() as u64 + 9_000);
        bench.feed(Piece { position: turn * asked.len() as u64, ..piece(1, 5) }, asked);
        bench.feed(Piece { position: start, ..out }, head);
        bench.feed(Piece { position: start + head.len() as u64 + 8_990, ..out }, b"the end :)");
    }
    assert_eq!(bench.seen.len(), 3);
    for (_, exchange) in &bench.seen {
        assert_eq!((exchange.response_body, exchange.failure), (BodySize::Exact(9_000), None));
    }
}

/// Scenario: the last pieces of an answer found no room, and the connection was closed.
/// Guarantees: the answer is whole, no failure is made up; what misses a head is told as unseen.
#[test]
fn a_hole_at_the_end_is_noticed() {
    let asked = b"GET / HTTP/1.1\r\n\r\n";
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n";
    for (answer, size, failure) in [
        (head.as_slice(), BodySize::Exact(9_000), None),
        (b"", BodySize::AtLeast(0), Some(Failure::Unseen)),
    ] {
        let mut bench = Bench::new(10);
        bench.feed(piece(1, 5), asked);
        if !answer.is_empty() {
            bench.feed(Piece { direction: u16::from(OUTBOUND), ..piece(1, 5) }, answer);
        }
        bench.end_after(1, 1, [asked.len() as u64, head.len() as u64 + 9_000]);
        let [(_, exchange)] = bench.seen.as_slice() else { panic!("{:?}", bench.seen) };
        assert_eq!((exchange.response_body, exchange.failure), (size, failure));
    }
}

/// Scenario: pieces of one direction with a hole between them.
/// Guarantees: the hole is counted with its size.
#[test]
fn holes_are_counted() {
    let mut bench = Bench::new(10);
    let out = Piece { direction: u16::from(OUTBOUND), ..piece(1, 5) };
    bench.feed(out, b"GET / HTTP/1.1\r\n\r\n");
    bench.feed(Piece { position: 118, ..out }, b"GET / HTTP/1.1\r\n\r\n");
    let (figures, _) = bench.table.take_figures();
    assert_eq!((figures.gaps, figures.gap_bytes, figures.pieces_followed), (1, 100, 2));
}

/// Scenario: a connection says much that nobody understands, and then a database query.
/// Guarantees: the kernel is told to watch once, then to copy once, and never to ignore it.
#[test]
fn the_kernel_is_told_what_was_found() {
    let mut bench = Bench::new(10);
    let looking = |time| Piece { flags: FLAG_FROM_START | FLAG_LOOKING, ..piece(1, time) };
    let mut told: Vec<Verdict> = (0..30).map(|time| bench.feed(looking(time), b"\x01x")).collect();
    let query = b"Q\0\0\0\x0dSELECT 1\0";
    told.push(bench.feed(looking(30), query));
    let answer = Piece { direction: u16::from(OUTBOUND), ..looking(31) };
    told.push(bench.feed(answer, b"C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I"));
    told.push(bench.feed(looking(32), query));
    told.retain(|verdict| *verdict != Verdict::Same);
    assert_eq!(told, [Verdict::Watch, Verdict::Copy]);
    assert_eq!(bench.seen.len(), 1);
}

/// Scenario: a connection begins with a TLS handshake; then what passes inside comes, and both end; of
/// what is encrypted nothing more was copied.
/// Guarantees: one exchange, on the connection of the socket, with what the handshake told; what was not
/// copied is no gap.
#[test]
fn the_inside_of_tls_is_told_of_its_handshake() {
    let mut bench = Bench::new(10);
    let hello = b"\x16\x03\x01\0\x04\x01\0\0\x09\x16\x03\x01\0\x05\x03\x03aaa";
    let outer = Piece { flags: FLAG_FROM_START | FLAG_TLS, ..piece(5, 10) };
    bench.feed(outer, hello);
    let inner = Piece { flags: FLAG_FROM_START | FLAG_PLAIN, ..piece(5 ^ PLAIN, 20) };
    bench.feed(inner, b"GET / HTTP/1.1\r\n\r\n");
    let answer = Piece { direction: u16::from(OUTBOUND), ..inner };
    bench.feed(answer, b"HTTP/1.1 204 No Content\r\n\r\n");
    let end = End {
        connection: 5,
        generation: 1,
        time: 30,
        passed: [9_000; 2],
        flags: FLAG_TLS,
        reserved: 0,
    };
    let Bench { table, clock, seen } = &mut bench;
    table.end(&end, clock, &mut |info, _, it| seen.push((info.clone(), it)));
    let [(info, exchange)] = bench.seen.try_into().unwrap();
    assert_eq!((info.cookie, info.tls), (5, Some(Tls::default())));
    assert_eq!(exchange.ordinal, Some(0));
    assert_eq!(bench.table.take_figures().0.gaps, 0);
}

/// Scenario: the first piece of a connection shows that it is the agent's own, and another one follows.
/// Guarantees: nothing comes of it, and each of the two counts as ignored: whoever compares what was read with what was
/// put into the ring finds no difference.
#[test]
fn what_is_ignored_is_counted_from_the_first_piece() {
    let mut bench = Bench::new(4);
    let first = piece(1, 10);
    bench.table.begin(&first, &bench.clock, &mut |_, _, _| {});
    bench.table.ignore(1);
    assert_eq!(bench.feed(Piece { position: 3, ..first }, b"GET"), Verdict::Ignored);
    let (figures, _) = bench.table.take_figures();
    assert_eq!((figures.pieces_ignored, figures.pieces_followed, bench.seen.len()), (2, 0, 0));
}
