//! The kernel programs on the real kernel: what another process moves is what they say it moved.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use icecore_probe_events::{Counter, FLAG_FROM_START, INBOUND, OUTBOUND, Piece, Record};
use serde_json::Value;

use super::*;
use crate::config::RungChoice;

#[path = "../../tests/it/guest.rs"]
mod guest;
use guest::{Guest, KERNELS};

mod talks;

const REQUEST: &[u8] = b"POST /x HTTP/1.1\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n";
/// Cases in which the bytes never were in the sender's memory.
const NOT_IN_MEMORY: [&str; 2] = ["file", "pipe"];
/// Cases in which the bytes never were in the receiver's memory.
const NOT_RECEIVED: [&str; 1] = ["discarded"];

/// Scenario: every call that can send or receive, in every shape, seen by the socket tracepoints.
/// Guarantees: each byte is counted once, what was copied is what was sent, and connections begin
/// and end once.
#[test]
fn every_call_is_seen_by_socket_tracepoints() {
    check_calls(RungChoice::BtfTracepoints);
}

/// Scenario: the same, seen on the functions of TCP and UDP.
/// Guarantees: the same.
#[test]
fn every_call_is_seen_by_functions() {
    check_calls(RungChoice::Functions);
}

/// Scenario: the same, seen by the system call tracepoints.
/// Guarantees: the same.
#[test]
fn every_call_is_seen_by_system_call_tracepoints() {
    check_calls(RungChoice::SyscallTracepoints);
}

/// Scenario: the same, and all that is attached beside it, on older kernels, each in a guest of its own, on
/// every rung that the kernel has.
/// Guarantees: the same; no test is left out there.
#[test]
fn every_call_is_seen_by_other_kernels() {
    let socket_tracepoints = "load::tests::every_call_is_seen_by_socket_tracepoints";
    let everywhere = [
        "kernel::tests::the_running_kernel_has_every_field",
        "load::tests::everything_is_attached",
        "load::tests::without_an_iterator_everything_else_is_attached",
        "load::tests::talks::datagrams_are_counted_by_functions",
        "load::tests::every_call_is_seen_by_functions",
        "load::tests::every_call_is_seen_by_system_call_tracepoints",
    ];
    for kernel in KERNELS {
        let mut tests = everywhere.to_vec();
        // They came with Linux 6.3.
        let later =
            [socket_tracepoints, "load::tests::talks::datagrams_are_counted_by_tracepoints"];
        tests.extend(later.into_iter().filter(|_| kernel != "6.1"));
        guest::check(kernel, &Guest { tests: &tests, programs: &["python3"] });
    }
}

/// Scenario: the agent's programs as they are set by default.
/// Guarantees: the kernel takes all of them, those of the best rung that it offers, and also those without which the agent
/// would go on.
#[test]
fn everything_is_attached() {
    let loaded = match load(&CaptureConfig::default(), &ProfileConfig::default()) {
        Ok(loaded) => loaded,
        Err(error @ (Error::Unprivileged | Error::NotBuilt | Error::Unsupported { .. })) => {
            return println!("skipped: {error}");
        }
        Err(error) => panic!("{error}: {:?}", std::error::Error::source(&error)),
    };
    assert_eq!(Some(&loaded.rung), Survey::take().rungs(RungChoice::Auto).unwrap().first());
    let mut rings = 0;
    for (name, program) in loaded.programs.lock().unwrap().programs() {
        let checked = program.info().ok().and_then(|info| info.verified_instruction_count());
        if let Some(checked) = checked {
            rings += usize::from(name.starts_with("io_uring_"));
            println!("{name}: the verifier looked at {checked} instructions");
        }
    }
    let attached = [
        ("walk over open sockets", loaded.walks),
        ("lives of processes", loaded.lives),
        ("what is thrown away", loaded.drops.is_some()),
        ("whom datagrams are from", loaded.senders),
        ("requests of io_uring", rings == 2 || !rings_told()),
        ("TLS libraries", loaded.tls_ready.is_some()),
        ("profiler", loaded.profile.is_some()),
    ];
    let missing: Vec<&str> = attached.iter().filter(|it| !it.1).map(|it| it.0).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The kernel tells of them, from Linux 6.3 on.
fn rings_told() -> bool {
    ring_settings(Survey::take().btf.as_deref().unwrap()).is_some()
}

/// Scenario: a kernel whose types know no iterator over open files, as before Linux 5.8.
/// Guarantees: that is no error: walks are left out, and all other hooks are attached after it.
#[test]
fn without_an_iterator_everything_else_is_attached() {
    let config = CaptureConfig::default();
    match load(&config, &ProfileConfig::default()) {
        Ok(loaded) => assert!(loaded.walks),
        Err(error @ (Error::Unprivileged | Error::NotBuilt | Error::Unsupported { .. })) => {
            return println!("skipped: {error}");
        }
        Err(error) => panic!("{error}"),
    }
    let survey = Survey::take();
    let bytes = survey.btf.as_deref().unwrap();
    let types = Btf::parse(bytes, Endianness::default()).unwrap();
    let settings = settings(bytes, &config).unwrap();
    let profile = ProfileConfig::default();
    let profile_settings = profile_settings(bytes, &profile).unwrap();
    let profiled =
        Profiled { config: &profile, settings: profile_settings, drops: None, rings: None };
    for rung in survey.rungs(config.rung).unwrap() {
        let mut programs = open(&config, &settings, &profiled, &types).unwrap();
        assert!(!walks(&mut programs, &Btf::new()));
        match attach(&mut programs, rung, &types) {
            // Only a try tells whether programs may be put on functions.
            Err(Error::Unsupported { .. }) if rung == Rung::Functions => {}
            attached => attached.unwrap(),
        }
    }
}

/// One direction of one socket: its port, the other end's, and the way.
type Way = (u16, u16, u16);

#[derive(Default)]
struct Seen {
    pieces: HashMap<Way, Vec<(Piece, Vec<u8>)>>,
    ends: HashSet<(u64, u64)>,
}

fn check_calls(rung: RungChoice) {
    let mut peer = peer("calls.py", &[]);
    let mut lines = BufReader::new(peer.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    // Whatever else the machine does while this runs has its place beside it.
    let config = CaptureConfig { rung, data_ring_bytes: 64 << 20, ..CaptureConfig::default() };
    let mut loaded = match load(&config, &ProfileConfig::default()) {
        Ok(loaded) => loaded,
        Err(error) => {
            drop(peer.kill());
            drop(peer.wait());
            return skipped(error);
        }
    };
    peer.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let mut seen = Seen::default();
    let cases: Vec<Value> = lines
        .map(|line| {
            take(&mut loaded, &mut seen);
            serde_json::from_str(&line.unwrap()).unwrap()
        })
        .collect();
    assert!(peer.wait().unwrap().success());
    settle(&mut loaded, &mut seen);
    assert_eq!(cases.len(), 19);
    // What the kernel had no room for is not there to be compared.
    assert_eq!(figure(&loaded, Counter::PiecesRefused), 0);
    assert_eq!(figure(&loaded, Counter::EndsRefused), 0);
    cases.iter().for_each(|case| check_case(case, &seen));
}

/// Says that this machine does not let the agent in; any other error is one.
fn skipped(error: Error) {
    match error {
        Error::Unprivileged | Error::NotBuilt | Error::Unsupported { .. } => {
            println!("skipped: {error}");
        }
        error => panic!("{error}: {:?}", std::error::Error::source(&error)),
    }
}

fn peer(script: &str, arguments: &[&str]) -> Child {
    let script = format!("{}/tests/peers/{script}", env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new("python3");
    command.arg(script).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().unwrap()
}

fn take(loaded: &mut Loaded, seen: &mut Seen) {
    while let Some(bytes) = loaded.data.next() {
        match Record::read(&bytes).unwrap() {
            Record::End(end) => drop(seen.ends.insert((end.connection, end.generation))),
            Record::Piece(piece, payload) => {
                let way = (piece.flow.local_port, piece.flow.remote_port, piece.direction);
                seen.pieces.entry(way).or_default().push((piece, payload.to_vec()));
            }
        }
    }
}

/// The last calls and ends may still be on their way.
#[expect(clippy::disallowed_methods, reason = "no runtime here, and the kernel is waited for")]
fn settle(loaded: &mut Loaded, seen: &mut Seen) {
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(10));
        take(loaded, seen);
    }
}

fn figure(loaded: &Loaded, counter: Counter) -> u64 {
    loaded.figures.get(&0, 0).unwrap().iter().map(|cpu| cpu[counter as usize]).sum()
}

fn check_case(case: &Value, seen: &Seen) {
    let name = case["name"].as_str().unwrap();
    let number = |key: &str| case[key].as_u64().unwrap();
    let port = |key: &str| u16::try_from(number(key)).unwrap();
    let (client, server) = (port("client"), port("server"));
    let (inbound, outbound) = (u16::from(INBOUND), u16::from(OUTBOUND));
    let (request, response) = (number("request"), number("response"));
    let in_memory = !NOT_IN_MEMORY.contains(&name);
    let received = !NOT_RECEIVED.contains(&name);
    check_way(name, seen, (client, server, outbound), REQUEST, request, in_memory);
    check_way(name, seen, (server, client, inbound), REQUEST, request, received);
    check_way(name, seen, (server, client, outbound), RESPONSE, response, true);
    check_way(name, seen, (client, server, inbound), RESPONSE, response, true);
}

/// The pieces follow each other without a hole, cover `size` bytes, and hold what was sent.
fn check_way(name: &str, seen: &Seen, way: Way, head: &[u8], size: u64, copied: bool) {
    let pieces = seen.pieces.get(&way).unwrap_or_else(|| panic!("{name}: nothing of {way:?}"));
    let mut next = 0;
    let first = identity(seen, way);
    for (piece, payload) in pieces {
        assert_eq!(piece.position, next, "{name} {way:?}");
        next += u64::from(piece.captured) + piece.omitted;
        assert!(piece.omitted == 0 || !copied || size > 64 << 10, "{name} {way:?}: {piece:?}");
        for (at, byte) in (piece.position..).zip(payload) {
            assert_eq!(*byte, expected(head, at), "{name} {way:?} at {at}");
        }
        let from_start = piece.flags & FLAG_FROM_START != 0;
        assert_eq!(from_start, !name.starts_with("older"), "{name}");
        let is_first = (piece.connection, piece.generation) == first;
        assert!(is_first, "{name} {way:?} is another connection than its other way");
        assert!(
            piece.owner.pid > 0 && piece.owner.started > 0 && piece.flow.netns > 0,
            "{piece:?}"
        );
        assert!(seen.ends.contains(&(piece.connection, piece.generation)), "{name}: no end");
    }
    assert_eq!(next, size, "{name} {way:?}");
}

/// Of the first piece that was seen on a socket, whichever way it went.
fn identity(seen: &Seen, (local, remote, _): Way) -> (u64, u64) {
    let of = |way| seen.pieces.get(&(local, remote, u16::from(way))).into_iter().flatten();
    let (piece, _) = of(INBOUND).chain(of(OUTBOUND)).min_by_key(|(piece, _)| piece.time).unwrap();
    (piece.connection, piece.generation)
}

fn expected(head: &[u8], at: u64) -> u8 {
    let at = usize::try_from(at).unwrap();
    head.get(at).copied().unwrap_or_else(|| u8::try_from((at * 31 + 7) & 0xff).unwrap())
}
