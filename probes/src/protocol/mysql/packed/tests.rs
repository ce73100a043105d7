//! Compressed conversations: a recorded one, and ones that are made of packets of zlib and zstd.

use std::io::Write;

use proptest::prelude::*;

use super::*;
use crate::protocol::mysql::tests::{COLUMN, DONE, END, packet, packets, query, session, whole};
use crate::protocol::script::{Step, Watched, answer, ask, check, check_cuts, play, recorded};
use crate::protocol::{Closing, Role};

const RECORDED: &str = include_str!("../recorded-packed.txt");
const ZLIB_FLAG: u32 = 1 << 5;
const ZSTD_FLAG: u32 = 1 << 26;

#[derive(Debug, Clone, Copy)]
enum By {
    Nothing,
    Zlib,
    Zstd,
}

/// A compressed packet with this in it.
fn packed(by: By, number: u8, inside: &[u8]) -> Vec<u8> {
    let body = match by {
        By::Nothing => inside.to_vec(),
        By::Zlib => {
            let mut packer =
                flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
            packer.write_all(inside).unwrap();
            packer.finish().unwrap()
        }
        By::Zstd => zstd::bulk::compress(inside, 3).unwrap(),
    };
    let len = if matches!(by, By::Nothing) { 0 } else { inside.len() };
    with_head(number, &body, len)
}

fn with_head(number: u8, body: &[u8], len: usize) -> Vec<u8> {
    let three = |len: usize| u32::try_from(len).unwrap().to_le_bytes();
    [&three(body.len())[..3], &[number], &three(len)[..3], body].concat()
}

fn again() -> [Step; 2] {
    let (_, asked) = query("SELECT 'again'");
    [ask(packed(By::Nothing, 0, &asked)), answer(packed(By::Zlib, 1, &packets(&[DONE])))]
}

const AGAIN: &str = "SELECT 'again' -> ok 19>11";

/// Scenario: a conversation of mysql-connector with MariaDB, cut at every byte.
/// Guarantees: it is told as if nothing were compressed.
#[test]
fn a_recorded_conversation() {
    let steps = recorded(RECORDED);
    let told = play(Role::Client, &whole(), &steps);
    let wanted = [
        "SET NAMES 'utf8mb4' COLLATE 'utf8mb4_general_ci' -> ok 53>11",
        "SET @@session.autocommit = ON -> ok 34>11",
        "PING -> ok 5>11",
        "CREATE TABLE IF NOT EXISTS p (id int primary key, word longtext) -> ok 69>11",
    ];
    assert_eq!(told.get(..4).unwrap(), wanted);
    for one in [
        "INSERT INTO p VALUES (1, 'x') -> 1062 34>50",
        "SELECT nope FROM p -> 1054 23>46",
        "SELECT * FROM p -> ok 20>1144",
        "SELECT ?, 'prepared' FROM p WHERE id = ? -> ok 23>101",
    ] {
        assert!(told.iter().any(|other| other == one), "{one}: {told:#?}");
    }
    assert!(!told.concat().contains("Unseen"), "{told:?}");
    for role in [Role::Server, Role::Client] {
        check_cuts(role, &whole(), &steps);
    }
}

/// Scenario: the same, with every chunk of it lost behind its login.
/// Guarantees: each byte is counted once, and what follows a silence is understood.
#[test]
fn losses_are_got_over() {
    let steps = recorded(RECORDED);
    let (login, rest) = steps.split_at(3);
    for chunk in [7, 64, 1_000] {
        let chunks: Vec<Step> = rest
            .iter()
            .flat_map(|(asks, bytes)| bytes.chunks(chunk).map(|part| (*asks, part.to_vec())))
            .collect();
        for lost in 0..chunks.len() {
            let mut watched = Watched::new(Role::Client, whole(), true);
            login.iter().for_each(|step| watched.step(step));
            for (at, (asks, bytes)) in chunks.iter().enumerate() {
                let omitted = if at == lost { bytes.len() } else { 0 };
                watched.segment(*asks, bytes.get(omitted..).unwrap(), omitted as u64);
            }
            for _ in 0..2 {
                watched.time += 2_000_000_000;
                again().iter().for_each(|step| watched.step(step));
            }
            let told = watched.close(Closing::Orderly);
            assert_eq!(told.last().unwrap(), AGAIN, "chunk {lost} of {chunk} lost: {told:?}");
        }
    }
}

/// Scenario: a recorded conversation of which the login was not seen, and perhaps not what came next; one that is
/// packed by zstd, and one that only says that it is there; bytes that are none of it.
/// Guarantees: it is told from the first command on; what is not known is not told.
#[test]
fn amid_a_conversation() {
    let steps = recorded(RECORDED);
    let all = play(Role::Client, &whole(), &steps);
    for role in [Role::Server, Role::Client] {
        for first in (3..steps.len()).filter(|&at| steps[at].0) {
            let told = amid(role, steps.get(first..).unwrap());
            let sizes = |one: &String| one.rsplit(' ').next().unwrap().to_owned();
            let wanted = all.get(all.len() - told.len()..).unwrap();
            assert_eq!(
                told.iter().map(sizes).collect::<Vec<_>>(),
                wanted.iter().map(sizes).collect::<Vec<_>>()
            );
            let asked = steps.iter().skip(first).filter(|(asks, _)| *asks).count();
            // It is told by a command that is whole, small, and of those that say what they are.
            assert!(told.len() + 5 >= asked, "{first}: {asked} asked");
        }
        assert_eq!(amid(role, steps.get(3..).unwrap()), all);
    }
    let (_, asked) = query(&format!("SELECT '{}'", "x".repeat(90)));
    let zstd = [ask(packed(By::Zstd, 0, &asked)), answer(packed(By::Zstd, 1, &packets(&[DONE])))];
    assert_eq!(amid(Role::Client, &zstd).len(), 1);
    let sign = ask(packed(By::Nothing, 0, &packet(0, b"\x0e")));
    let [_, done] = again();
    assert_eq!(amid(Role::Server, &[sign.clone(), done]), ["PING -> ok 5>11"]);
    let [asks, _] = again();
    let wrong = [answer(packets(&[DONE])), answer(packed(By::Nothing, 2, &packets(&[DONE])))];
    for answer in wrong {
        assert!(amid(Role::Client, &[asks.clone(), answer.clone()]).is_empty());
        assert!(amid(Role::Client, &[sign.clone(), answer]).is_empty());
    }
}

/// What is told of a connection of which something came before.
fn amid(role: Role, steps: &[Step]) -> Vec<String> {
    let mut watched = Watched::new(role, whole(), false);
    steps.iter().for_each(|step| watched.step(step));
    watched.close(Closing::Orderly)
}

/// Scenario: packets of zlib and of zstd; several packets in one, and one over several; some that are not packed.
/// Guarantees: an exchange a command, with the sizes that it has where nothing is compressed.
#[test]
fn packets_within_packets() {
    for (flags, by) in [(ZLIB_FLAG, By::Zlib), (ZSTD_FLAG, By::Zstd), (ZLIB_FLAG, By::Nothing)] {
        let (_, asked) = query(&format!("SELECT a FROM t WHERE b = '{}'", "x".repeat(100)));
        let rows = packets(&[b"\x01", COLUMN, END, b"\x01a", b"\x01b", END]);
        let (begin, end) = rows.split_at(9);
        let (asks, more) = asked.split_at(40);
        let steps = [
            session("8.0.36", flags),
            vec![
                ask([packed(by, 0, asks), packed(by, 1, more)].concat()),
                answer([packed(by, 2, begin), packed(By::Nothing, 3, end)].concat()),
                again()[0].clone(),
                again()[1].clone(),
            ],
        ]
        .concat();
        let told = format!("SELECT a FROM t WHERE b = ? -> ok {}>{}", asked.len(), rows.len());
        check(&crate::protocol::Limits::default(), &steps, &[&told, "SELECT ? -> ok 19>11"]);
        let all = packed(by, 1, &[rows.as_slice(), &packets(&[DONE])].concat());
        let mut watched = Watched::new(Role::Server, whole(), true);
        session("8.0.36", flags).iter().for_each(|step| watched.step(step));
        let two = [asked.as_slice(), &packet(0, b"\x0e")].concat();
        watched.step(&ask(packed(by, 0, &two)));
        watched.step(&answer(all));
        let told = watched.close(Closing::Orderly);
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[1], "PING -> ok 5>11");
    }
}

/// Scenario: a statement of 8 MiB in a packet of a few kilobytes, and one of 300 KB that is not packed and of
/// which only the first 2,000 bytes were copied.
/// Guarantees: the size is exact, the text is cut, what follows is understood; no more is unpacked than the bound.
#[test]
fn large_packets() {
    for (flags, by) in [(ZLIB_FLAG, By::Zlib), (ZSTD_FLAG, By::Zstd)] {
        let mut watched = Watched::new(Role::Server, whole(), true);
        session("8.0.36", flags).iter().for_each(|step| watched.step(step));
        let (_, large) = query(&format!("INSERT INTO t VALUES ('{}')", "x".repeat(8 << 20)));
        watched.step(&ask(packed(by, 0, &large)));
        watched.step(&answer(packed(By::Nothing, 1, &packets(&[DONE]))));
        let noise: String = ('('..'\\').cycle().take(300_000).collect();
        let (_, torn) = query(&format!("UPDATE t SET a = \"{noise}\""));
        let bytes = packed(By::Nothing, 0, &torn);
        let (copied, rest) = bytes.split_at(2_000);
        watched.segment(true, copied, rest.len() as u64);
        watched.step(&answer(packed(By::Nothing, 1, &packets(&[DONE]))));
        again().iter().for_each(|step| watched.step(step));
        let told = watched.close(Closing::Orderly);
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].ends_with(&format!("-> ok {}>11", large.len())), "{}", told[0].len());
        assert!(told[1].ends_with(&format!("-> ok {}>11", torn.len())), "{}", told[1].len());
        assert_eq!(told[2], AGAIN);
        let bytes = packed(by, 0, &large);
        let unit = Unit {
            head: &bytes[..HEAD_BYTES],
            body: &bytes[HEAD_BYTES..],
            holed: false,
            body_bytes: (bytes.len() - HEAD_BYTES) as u64,
            began: 1,
            ended: 1,
        };
        let carried = carried(&unit).unwrap();
        assert_eq!((carried.data.len(), carried.bytes), (UNPACKED_BYTES_MAX, large.len() as u64));
    }
}

/// Scenario: packets that are longer or shorter inside than they say, with a wrong checksum, or not packed at all
/// though they say so.
/// Guarantees: they count as not understood, nothing is made of them, and the next command is.
#[test]
fn what_lies() {
    let (_, asked) = query("SELECT 'a lie'");
    for by in [By::Zlib, By::Zstd] {
        let good = packed(by, 0, &asked);
        let body = good.get(HEAD_BYTES..).unwrap();
        let mut flipped = packed(By::Zlib, 0, &asked);
        *flipped.last_mut().unwrap() ^= 1;
        for bad in [
            with_head(0, body, asked.len() - 1),
            with_head(0, body, asked.len() + 1),
            with_head(0, &body[..body.len() - 3], asked.len()),
            with_head(0, b"no such thing", asked.len()),
            with_head(0, b"", asked.len()),
            flipped,
        ] {
            let mut watched = Watched::new(Role::Client, whole(), true);
            session("8.0.36", ZLIB_FLAG).iter().for_each(|step| watched.step(step));
            watched.step(&ask(&bad));
            let counts = watched.following.take_counts();
            assert_eq!(counts.unparsed_bytes, bad.len() as u64, "{by:?} {bad:?}");
            assert_eq!(counts.resyncs, 1);
            again().iter().for_each(|step| watched.step(step));
            let told: Vec<_> = watched.out.iter().map(crate::protocol::script::told).collect();
            assert_eq!(told.last().unwrap(), AGAIN, "{told:?}");
            assert!(!told.concat().contains("lie"), "{told:?}");
        }
    }
}

proptest! {
    /// Scenario: the recorded conversation with bytes of it changed, cut anywhere, and anything behind it.
    /// Guarantees: nothing panics, and each byte is counted once.
    #[test]
    fn anything(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        tail in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..60)), 0..6),
    ) {
        let mut steps = recorded(RECORDED);
        for (at, byte) in changes {
            let step = 3 + at.index(steps.len() - 3);
            let bytes = &mut steps[step].1;
            let place = at.index(bytes.len());
            bytes[place] = byte;
        }
        steps.truncate(3 + cut.index(steps.len() - 3));
        steps.extend(tail);
        for role in [Role::Server, Role::Client] {
            play(role, &whole(), &steps);
        }
    }

    /// Scenario: what is packed, cut anywhere, and any bytes.
    /// Guarantees: of the first its beginning is unpacked, and never more than was said of either.
    #[test]
    fn cut_anywhere(
        plain in prop::collection::vec(0..4_u8, 8..3_000),
        cut in any::<prop::sample::Index>(),
        any_bytes in prop::collection::vec(any::<u8>(), 0..200),
        len in 1..9_000_usize,
    ) {
        for by in [By::Zlib, By::Zstd] {
            let bytes = packed(by, 0, &plain);
            let body = &bytes[HEAD_BYTES..];
            prop_assert_eq!(unpacked(body, plain.len(), true), Some(plain.clone()));
            let part = &body[..cut.index(body.len())];
            prop_assert_eq!(unpacked(part, plain.len(), true), None);
            let begun = unpacked(part, plain.len(), false).unwrap();
            prop_assert!(plain.starts_with(&begun));
        }
        for start in [&[][..], &ZSTD, &[0x78, 0x9c]] {
            let bytes = [start, &any_bytes].concat();
            for whole in [true, false] {
                let unpacked = unpacked(&bytes, len, whole).unwrap_or_default();
                prop_assert!(unpacked.len() <= len);
            }
        }
    }
}
