//! Conversations with MySQL, one by one. Recorded ones, with MariaDB, are in `recorded.txt` (PyMySQL)
//! and `prepared.txt` (mysql-connector).

use super::*;
use crate::protocol::script::{
    Step, Watched, answer, ask, check, check_cuts, check_losses, play, recorded,
};
use crate::protocol::{Closing, Exchange, Followed, Said};

pub(super) fn packet(number: u8, body: &[u8]) -> Vec<u8> {
    let [a, b, c, _] = u32::try_from(body.len()).unwrap().to_le_bytes();
    [&[a, b, c, number], body].concat()
}

/// Packets in a row, numbered from 1.
pub(super) fn packets(bodies: &[&[u8]]) -> Vec<u8> {
    bodies.iter().zip(1..).flat_map(|(body, number)| packet(number, body)).collect()
}

pub(super) fn query(text: &str) -> Step {
    ask(packet(0, &[&[command::QUERY], text.as_bytes()].concat()))
}

pub(super) const DONE: &[u8] = b"\0\x01\0\x02\0\0\0";
pub(super) const END: &[u8] = b"\xfe\0\0\x02\0";
const END_MORE: &[u8] = b"\xfe\0\0\x0a\0";
pub(super) const COLUMN: &[u8] = b"\x03def\0\0\0\x01x";
const DEPRECATE_EOF: u32 = 1 << 24;

fn greeting(version: &str, flags: u32) -> Step {
    let [a, b, c, d] = flags.to_le_bytes();
    let fixed = [8, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, a, b, 33, 2, 0, c, d, 21];
    let body = [b"\x0a", version.as_bytes(), b"\0", &fixed, &[0; 10], b"123456789012\0"].concat();
    answer(packet(0, &body))
}

/// A login with a database, with these flags besides.
pub(super) fn session(version: &str, flags: u32) -> Vec<Step> {
    let flags = flags | 1 << 3 | 1 << 15;
    let body = [&flags.to_le_bytes(), [0; 28].as_slice(), b"u\0\x04hash", b"shop\0"].concat();
    vec![greeting(version, flags), ask(packet(1, &body)), answer(packet(2, DONE))]
}

fn with_session(flags: u32, steps: &[Step]) -> Vec<Step> {
    [session("8.0.36", flags), steps.to_vec()].concat()
}

pub(super) fn whole() -> Limits {
    Limits { statements: Statements::Whole, ..Limits::default() }
}

fn call(exchange: &Exchange) -> &DatabaseCall {
    let Said::Database(call) = &exchange.said else { panic!("{exchange:?}") };
    call
}

/// Scenario: results with rows and without, several at once, an error, another database, both ways
/// to end a list.
/// Guarantees: an exchange a command with its error by number; the database is the one in use.
#[test]
fn queries() {
    for (flags, ends) in [(0, [END, END].as_slice()), (DEPRECATE_EOF, &[])] {
        let [behind_columns, behind_rows] = match ends {
            [a, b] => [Some(*a), Some(*b)],
            _ => [None, Some(b"\xfe\0\0\x02\0\0\0".as_slice())],
        };
        let result = |rows: &[&'static [u8]]| {
            let columns = [b"\x02".as_slice(), COLUMN, COLUMN].into_iter().chain(behind_columns);
            packets(&columns.chain(rows.iter().copied()).chain(behind_rows).collect::<Vec<_>>())
        };
        let rows = result(&[b"\x01a\x01b", b"\xfb\x01b"]);
        let steps = with_session(
            flags,
            &[
                query("SELECT * FROM t WHERE a = \"x\""),
                answer(&rows),
                query("SELECT 1 FROM t"),
                answer(result(&[])),
                query("INSERT INTO t VALUES (1)"),
                answer(packets(&[b"\xff\x26\x04#23000Duplicate entry 'x'"])),
                query("USE other"),
                answer(packets(&[DONE])),
                ask(packet(0, b"\x0e")),
                answer(packets(&[DONE])),
                ask(packet(0, b"\x01")),
            ],
        );
        let told = [
            format!("SELECT * FROM t WHERE a = ? -> ok 34>{}", rows.len()),
            format!("SELECT ? FROM t -> ok 20>{}", result(&[]).len()),
            "INSERT INTO t VALUES (?) -> 1062 29>32".to_owned(),
            "USE other -> ok 14>11".to_owned(),
            "PING -> ok 5>11".to_owned(),
        ];
        check(&Limits::default(), &steps, &told.each_ref().map(String::as_str));
        let mut watched = Watched::new(Role::Client, Limits::default(), true);
        steps.iter().for_each(|step| watched.step(step));
        watched.close(Closing::Orderly);
        assert_eq!(call(&watched.out[0]).rows, Some(2));
        assert_eq!(call(&watched.out[3]).namespace.as_deref(), Some("shop"));
        assert_eq!(call(&watched.out[4]).namespace.as_deref(), Some("other"));
        assert_eq!(call(&watched.out[0]).system, "mysql");
    }
}

/// Scenario: two results and a count in answer to one command; a file that the server asks for; a
/// cursor whose rows are fetched; MariaDB telling how far it is.
/// Guarantees: each belongs to its command.
#[test]
fn long_answers() {
    let more = b"\0\0\0\x0a\0\0\0";
    check(
        &whole(),
        &with_session(
            0,
            &[
                query("SELECT 1; UPDATE t SET a = 1; SELECT 2"),
                answer(packets(&[b"\x01", COLUMN, END, b"\x011", END_MORE])),
                answer([packet(6, more), packet(7, b"\x01"), packet(8, COLUMN)].concat()),
                answer([packet(9, END), packet(10, b"\x012"), packet(11, END)].concat()),
                query("LOAD DATA LOCAL INFILE 'f' INTO TABLE t"),
                answer(packets(&[b"\xfbf"])),
                ask([packet(2, b"1\n2\n"), packet(3, b"")].concat()),
                answer(packet(4, DONE)),
                query("ALTER TABLE t ADD b int"),
                answer(packets(&[b"\xff\xff\xff\x01\x01\x03\0\0\0", DONE])),
            ],
        ),
        &[
            "SELECT 1; UPDATE t SET a = 1; SELECT 2 -> ok 43>95",
            "LOAD DATA LOCAL INFILE 'f' INTO TABLE t -> ok 56>17",
            "ALTER TABLE t ADD b int -> ok 28>24",
        ],
    );
}

/// Scenario: a statement is prepared, run twice, once with an error, closed; parameters without
/// columns; the last prepared one by no number.
/// Guarantees: an execution has the text that it runs; what is not answered takes no answer.
#[test]
fn prepared_statements() {
    let prepare = |text: &str| ask(packet(0, &[&[command::PREPARE], text.as_bytes()].concat()));
    let execute = |number: u8| ask(packet(0, &[command::EXECUTE, number, 0, 0, 0, 0, 1, 0, 0, 0]));
    let last = [command::EXECUTE, 255, 255, 255, 255, 0, 1, 0, 0, 0];
    check(
        &whole(),
        &with_session(
            0,
            &[
                prepare("SELECT a FROM t WHERE b = ?"),
                answer(packets(&[b"\0\x01\0\0\0\x01\0\x01\0\0\0\0", COLUMN, END, COLUMN, END])),
                execute(1),
                answer(packets(&[b"\x01", COLUMN, END, b"\0\0\x01a", END])),
                ask(packet(0, &[command::SEND_LONG_DATA, 1, 0, 0, 0, 0, 0, b'x'])),
                execute(1),
                answer(packets(&[b"\xff\x26\x04#23000no"])),
                ask(packet(0, &[command::CLOSE, 1, 0, 0, 0])),
                prepare("DELETE FROM t"),
                answer(packets(&[b"\0\x02\0\0\0\0\0\0\0\0\0\0"])),
                ask(packet(0, &last)),
                answer(packets(&[DONE])),
                execute(1),
                answer(packets(&[b"\xff\xdb\x04#HY000no"])),
            ],
        ),
        &[
            "SELECT a FROM t WHERE b = ? -> ok 32>60",
            "SELECT a FROM t WHERE b = ? -> ok 14>44",
            "SELECT a FROM t WHERE b = ? -> 1062 14>15",
            "DELETE FROM t -> ok 18>16",
            "DELETE FROM t -> ok 14>11",
            "- -> 1243 14>15",
        ],
    );
}

/// Scenario: a command and a row of more than 16 MiB, in several packets, not all copied; a server
/// that reads the head of a packet by itself.
/// Guarantees: sizes are exact, what follows is understood.
#[test]
fn large_packets() {
    let mut watched = Watched::new(Role::Server, whole(), true);
    session("8.0.36", 0).iter().for_each(|step| watched.step(step));
    watched.segment(true, b"\xff\xff\xff\0", 0);
    watched.segment(true, b"\x03INSERT INTO t VALUES ('xxx", 0xff_ffff - 27);
    watched.segment(true, b"\x02\0\0\x01')", 0);
    watched.step(&answer(packets(&[DONE])));
    watched.step(&query("SELECT a FROM t"));
    watched.step(&answer(packets(&[b"\x01", COLUMN, END])));
    watched.segment(false, b"\xff\xff\xff\x04\xfe\0\0\0\x01\0\0\0\0xxx", 0xff_ffff - 12);
    watched.segment(false, b"\x0a\0\0\x05xxxxxxxxxx", 0);
    watched.step(&answer(packet(6, END)));
    watched.step(&query("SELECT 1"));
    watched.step(&answer(packets(&[DONE])));
    let wanted = [
        "INSERT INTO t VALUES ('xxx\u{2026} -> ok 16777225>11",
        "SELECT a FROM t -> ok 20>16777269",
        "SELECT 1 -> ok 13>11",
    ];
    assert_eq!(watched.close(Closing::Orderly), wanted);
}

/// Scenario: a client that encrypts, one that compresses, one that does neither, one that is refused, a server that turns
/// everybody away, a change of user.
/// Guarantees: what cannot be read is let go, a refusal is told, what proves a user is not kept.
#[test]
fn logins() {
    for (steps, followed) in [
        (
            vec![
                greeting("8.0.36", 1 << 11),
                ask(packet(1, &[[0, 8, 0, 0].as_slice(), &[0; 28]].concat())),
            ],
            Followed::Ignored,
        ),
        (session("8.0.36", 1 << 5), Followed::Parsing(Role::Server)),
        (session("10.11.6-MariaDB-0", 0), Followed::Parsing(Role::Server)),
    ] {
        let mut watched = Watched::new(Role::Server, whole(), true);
        steps.iter().for_each(|step| watched.step(step));
        assert_eq!(watched.following.followed(), followed);
        watched.step(&query("SELECT 1"));
        watched.close(Closing::Orderly);
    }
    let kept = Limits { body_bytes_max: 1 << 10, ..whole() };
    let mut watched = Watched::new(Role::Client, kept, true);
    for step in session("10.11.6-MariaDB-0", 0).iter().take(2) {
        watched.step(step);
    }
    watched.step(&answer(packet(2, b"\xfemysql_native_password\0nonce")));
    watched.step(&ask(packet(3, b"hash of it")));
    watched.step(&answer(packet(4, b"\xff\x15\x04#28000Access denied")));
    assert_eq!(watched.close(Closing::Orderly), ["CONNECT -> 1045 48>58"]);
    assert_eq!(call(&watched.out[0]).system, "mariadb");
    assert!(watched.out[0].request_captured.is_empty());
    let refused = [answer(packet(0, b"\xff\x10\x04Too many connections"))];
    assert_eq!(play(Role::Client, &whole(), &refused), [""; 0]);
}

/// Scenario: the probe starts amid a conversation, within a result, with classic ends of lists.
/// Guarantees: the next command is understood, and a preparation, though the flags are not known.
#[test]
fn started_amid() {
    for ends in [true, false] {
        let end = |list: &[&'static [u8]]| [list, if ends { &[END] } else { &[] }].concat();
        let mut watched = Watched::new(Role::Server, whole(), false);
        watched.step(&answer(packet(9, b"\x01a")));
        watched.step(&answer(packet(10, END)));
        watched.step(&query("SELECT a FROM t"));
        watched.step(&answer(packets(&[end(&[b"\x01", COLUMN]), vec![b"\x01a", END]].concat())));
        watched.step(&ask(packet(0, b"\x16SELECT ?")));
        let ok: &[u8] = b"\0\x01\0\0\0\x01\0\x01\0\0\0\0";
        watched.step(&answer(packets(&[end(&[ok, COLUMN]), end(&[COLUMN])].concat())));
        watched.step(&query("SELECT b FROM t"));
        watched.step(&answer(packets(&[DONE])));
        let told = watched.close(Closing::Orderly);
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].starts_with("SELECT a FROM t -> ok 20>"), "{told:?}");
        assert!(told[1].starts_with("SELECT ? -> ok 13>"), "{told:?}");
        assert_eq!(told[2], "SELECT b FROM t -> ok 20>11");
    }
}

/// Scenario: conversations with MariaDB, recorded; cut at every byte, and with every chunk lost.
/// Guarantees: cuts change nothing, losses make nothing up and are got over.
#[test]
fn recorded_conversations() {
    let again = [query("SELECT 'again'"), answer(packets(&[DONE]))];
    for (text, least) in [(include_str!("recorded.txt"), 15), (include_str!("prepared.txt"), 6)] {
        let steps = recorded(text);
        let told = play(Role::Client, &whole(), &steps);
        assert!(told.len() >= least, "{told:?}");
        assert!(!told.concat().contains("Unseen"), "{told:?}");
        for role in [Role::Server, Role::Client] {
            check_cuts(role, &whole(), &steps);
            for chunk in [5, 64, 1_000] {
                check_losses(role, &whole(), &steps, &again, chunk);
            }
        }
    }
}
