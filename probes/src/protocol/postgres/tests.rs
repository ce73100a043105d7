//! Conversations with PostgreSQL, one by one. A recorded one is in `recorded.txt`.

use super::*;
use crate::protocol::script::{
    Step, Watched, answer, ask, check, check_cuts, check_losses, play, recorded,
};
use crate::protocol::{Closing, Followed, Said};

fn message(tag: char, fields: &[u8]) -> Vec<u8> {
    let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
    [&[u8::try_from(tag).unwrap()], length.as_slice(), fields].concat()
}

/// Messages in a row, their fields as text.
fn messages(all: &[(char, &str)]) -> Vec<u8> {
    all.iter().flat_map(|(tag, fields)| message(*tag, fields.as_bytes())).collect()
}

fn startup(fields: &str) -> Vec<u8> {
    let length = u32::try_from(fields.len() + 8).unwrap().to_be_bytes();
    [length.as_slice(), &[0, 3, 0, 0], fields.as_bytes()].concat()
}

const WISH: [u8; 8] = [0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f];
const READY: (char, &str) = ('Z', "I");

fn session() -> [Step; 2] {
    [
        ask(startup("user\0u\0database\0shop\0\0")),
        answer(messages(&[('R', "\0\0\0\0"), ('S', "a\0b\0"), ('K', "12345678"), READY])),
    ]
}

fn in_session(steps: &[Step]) -> Vec<Step> {
    session().iter().chain(steps).cloned().collect()
}

fn whole() -> Limits {
    Limits { statements: Statements::Whole, ..Limits::default() }
}

/// Scenario: a replica asks who the server is and for its changes, which stream both ways until the connection ends.
/// Guarantees: what it has asked for was granted when the stream began; the end of a stream is no error.
#[test]
fn replication() {
    let steps = in_session(&[
        ask(messages(&[('Q', "IDENTIFY_SYSTEM\0")])),
        answer(messages(&[('T', "\0\x01"), ('D', "\0\x01"), ('C', "IDENTIFY_SYSTEM\0"), READY])),
        ask(messages(&[('Q', "START_REPLICATION SLOT \"s\" LOGICAL 0/0\0")])),
        answer(messages(&[('W', "\0\0\0")])),
        answer(messages(&[('d', "w123")])),
        ask(messages(&[('d', "r123")])),
    ]);
    let told = play(Role::Client, &Limits::default(), &steps);
    assert_eq!(told[0], "IDENTIFY_SYSTEM -> ok 21>41");
    assert_eq!(told[1..], ["START_REPLICATION SLOT \"s\" LOGICAL ?/? -> ok 44>8"]);
    check_cuts(Role::Server, &Limits::default(), &steps);
}

/// Scenario: a wish for encryption that is refused, a session with a password, simple queries with
/// rows, an error, several statements, none at all, notices anywhere.
/// Guarantees: an exchange a query, its error by SQLSTATE, values out of the text.
#[test]
fn simple_queries() {
    let password = Limits { body_bytes_max: 1 << 10, ..Limits::default() };
    let steps = [
        ask(WISH),
        answer("N"),
        ask(startup("user\0u\0\0")),
        answer(messages(&[('R', "\0\0\0\x03")])),
        ask(messages(&[('p', "pa55word\0")])),
        answer(messages(&[('R', "\0\0\0\0"), ('S', "a\0b\0"), READY])),
        ask(messages(&[('Q', "SELECT * FROM t WHERE a = 'x'\0")])),
        answer(messages(&[('T', "\0\0"), ('D', "\0\0"), ('D', "\0\0"), ('N', "\0")])),
        answer(messages(&[('C', "SELECT 2\0"), READY])),
        ask(messages(&[('Q', "INSERT INTO t VALUES (1)\0")])),
        answer(messages(&[('E', "SERROR\0C23505\0Mduplicate key x\0\0"), READY])),
        ask(messages(&[('Q', "BEGIN; SELECT 1\0"), ('Q', "\0")])),
        answer(messages(&[('C', "BEGIN\0"), ('T', ""), ('C', "SELECT 0\0"), READY])),
        answer(messages(&[('A', "note"), ('I', ""), READY, ('N', "\0")])),
        ask(messages(&[('X', "")])),
    ];
    check(
        &password,
        &steps,
        &[
            "SELECT * FROM t WHERE a = ? -> ok 35>47",
            "INSERT INTO t VALUES (?) -> 23505 30>43",
            "BEGIN; SELECT ? -> ok 21>36",
            " -> ok 6>20",
        ],
    );
    let mut watched = Watched::new(Role::Server, password, true);
    steps.iter().for_each(|step| watched.step(step));
    watched.close(Closing::Orderly);
    assert!(!format!("{:?}", watched.out).contains("pa55"));
    let Said::Database(call) = &watched.out[0].said else { panic!() };
    assert_eq!((call.namespace.as_deref(), call.rows), (Some("u"), Some(2)));
    assert_eq!(call.summary.as_deref(), Some("SELECT t"));
}

const PARSE: (char, &str) = ('P', "s\0SELECT $1 FROM a\0\0\0");
const BIND: (char, &str) = ('B', "\0s\0\0\0\0\0\0\0");
const RUN: (char, &str) = ('E', "\0\0\0\0\0");
const SYNC: (char, &str) = ('S', "");

/// Scenario: an extended query in one go, a statement prepared in a round trip of its own and then
/// run twice, once in two parts; a cursor; a statement that is closed and one that nobody knows.
/// Guarantees: each execution is an exchange with the text that it runs, a preparation is one too.
#[test]
fn extended_queries() {
    check(
        &whole(),
        &in_session(&[
            ask(messages(&[
                ('P', "\0UPDATE b SET c = $1\0\0\0"),
                ('B', "\0\0\0\0"),
                ('D', "P\0"),
                RUN,
                SYNC,
            ])),
            answer(messages(&[('1', ""), ('2', ""), ('n', ""), ('C', "UPDATE 1\0"), READY])),
            ask(messages(&[PARSE, ('D', "Ss\0"), SYNC])),
            answer(messages(&[('1', ""), ('t', "\0\0"), ('T', "\0\0"), READY])),
            ask(messages(&[BIND, RUN, SYNC])),
            answer(messages(&[('2', ""), ('D', "\0\0"), ('C', "SELECT 1\0"), READY])),
            ask(messages(&[BIND])),
            ask(messages(&[RUN, ('H', "")])),
            answer(messages(&[('2', ""), ('s', "")])),
            ask(messages(&[RUN, SYNC])),
            answer(messages(&[('C', "SELECT 1\0"), READY])),
            ask(messages(&[('C', "Ss\0"), SYNC])),
            answer(messages(&[('3', ""), READY])),
            ask(messages(&[BIND, RUN, SYNC])),
            answer(messages(&[('E', "C26000\0\0"), READY])),
        ]),
        &[
            "UPDATE b SET c = $1 -> ok 59>35",
            "SELECT $1 FROM a -> ok 39>25",
            "SELECT $1 FROM a -> ok 29>32",
            "SELECT $1 FROM a -> ok 29>10",
            "SELECT $1 FROM a -> ok 15>20",
            "- -> 26000 29>19",
        ],
    );
}

/// Scenario: three executions behind one another with one synchronisation, of which the second
/// fails; the answer to the first comes before the rest is sent; then two synchronised ones at once.
/// Guarantees: the third is told as skipped, and what is behind the synchronisation is right.
#[test]
fn pipelines() {
    let one = |text: &str| {
        let parse = format!("\0{text}\0\0\0");
        messages(&[('P', &parse), ('B', "\0\0\0\0"), RUN])
    };
    let done: [(char, &str); 3] = [('1', ""), ('2', ""), ('C', "SELECT 0\0")];
    let [sync, ready] = [messages(&[SYNC]), messages(&[READY])];
    check(
        &whole(),
        &in_session(&[
            ask([one("SELECT 'a'"), one("SELECT 'b'"), one("SELECT 'c'"), sync.clone()].concat()),
            answer(messages(&done)),
            answer([messages(&[('1', ""), ('E', "C22012\0\0")]), ready.clone()].concat()),
            ask(one("SELECT 'd'")),
            answer(messages(&[('E', "C42601\0\0")])),
            ask(one("SELECT 'e'")),
            ask(sync.clone()),
            answer(&ready),
            ask([one("SELECT 'f'"), sync.clone(), one("SELECT 'g'"), sync].concat()),
            answer([messages(&done), ready.clone(), messages(&done), ready].concat()),
        ]),
        &[
            "SELECT 'a' -> ok 38>24",
            "SELECT 'b' -> 22012 38>18",
            "SELECT 'c' -> pipeline_aborted 43>6",
            "SELECT 'd' -> 42601 38>13",
            "SELECT 'e' -> pipeline_aborted 43>6",
            "SELECT 'f' -> ok 43>30",
            "SELECT 'g' -> ok 43>30",
        ],
    );
}

/// Scenario: a driver prepares with a flush and no synchronisation (asyncpg does), looks at the
/// statement, and copies by a simple query, whose rows it sends before it was told to; then it
/// prepares and executes, with the same flush between.
/// Guarantees: the preparation ends with its answer, and what follows is seen whole.
#[test]
fn flushed_preparations() {
    let prepare = [('P', "a\0SELECT * FROM t WHERE a = $1\0\0\0"), ('D', "Sa\0"), ('H', "")];
    let described = [('1', ""), ('t', "\0\0"), ('T', "\0\0")];
    check(
        &whole(),
        &in_session(&[
            ask(messages(&prepare)),
            answer(messages(&described)),
            ask(messages(&[('Q', "COPY t FROM STDIN\0")])),
            ask(messages(&[('d', "1\n"), ('c', "")])),
            answer(messages(&[('G', "\0\0\0")])),
            answer(messages(&[('C', "COPY 1\0"), READY])),
            ask(messages(&prepare)),
            answer(messages(&described)),
            ask(messages(&[('B', "\0a\0"), ('E', "\0"), ('S', "")])),
            answer(messages(&[('2', ""), ('D', "\0\0"), ('C', "SELECT 1\0"), READY])),
        ]),
        &[
            "SELECT * FROM t WHERE a = $1 -> ok 51>19",
            "COPY t FROM STDIN -> ok 35>26",
            "SELECT * FROM t WHERE a = $1 -> ok 51>19",
            "SELECT * FROM t WHERE a = $1 -> ok 19>32",
        ],
    );
}

/// Scenario: rows copied in and out, and a copy that fails amid the client's rows.
/// Guarantees: what is copied belongs to the statement, in either direction.
#[test]
fn copies() {
    check(
        &whole(),
        &in_session(&[
            ask(messages(&[('Q', "COPY a FROM STDIN\0")])),
            answer(messages(&[('G', "\0\0\0")])),
            ask(messages(&[('d', "1\n"), ('d', "2\n"), ('c', "")])),
            answer(messages(&[('C', "COPY 2\0"), READY])),
            ask(messages(&[('Q', "COPY a TO STDOUT\0")])),
            answer(messages(&[('H', "\0\0\0"), ('d', "1\n"), ('d', "2\n"), ('c', "")])),
            answer(messages(&[('C', "COPY 2\0"), READY])),
            ask(messages(&[('Q', "COPY a FROM STDIN\0")])),
            answer(messages(&[('G', "\0\0\0")])),
            ask(messages(&[('d', "x\n"), ('f', "no\0")])),
            answer(messages(&[('E', "C22P02\0\0"), READY])),
        ]),
        &[
            "COPY a FROM STDIN -> ok 42>26",
            "COPY a TO STDOUT -> ok 22>45",
            "COPY a FROM STDIN -> 22P02 38>27",
        ],
    );
}

/// Scenario: encryption that is granted, a cancellation, a session that is refused, one that ends
/// amid an answer.
/// Guarantees: the first is let go, the second is no exchange, the others say what went wrong.
#[test]
fn ends() {
    let mut watched = Watched::new(Role::Client, whole(), true);
    watched.step(&ask(WISH));
    watched.step(&answer("S"));
    watched.step(&ask("\x16\x03\x01"));
    assert_eq!(watched.following.followed(), Followed::Ignored);
    assert_eq!(watched.close(Closing::Orderly), [""; 0]);
    check(&whole(), &[ask(b"\0\0\0\x10\x04\xd2\x16\x2e12345678")], &[]);
    check(
        &whole(),
        &[ask(startup("user\0u\0\0")), answer(messages(&[('E', "SFATAL\0C28P01\0\0")]))],
        &["CONNECT -> 28P01 16>20"],
    );
    check(
        &whole(),
        &in_session(&[ask(messages(&[('Q', "SELECT 1\0")])), answer(messages(&[('T', "\0\0")]))]),
        &["SELECT 1 -> ok 14>7+ Closed"],
    );
}

/// Scenario: the probe starts amid a conversation, once within a result, once with a prepared
/// statement that was prepared before.
/// Guarantees: the next query is understood; a statement that was not seen has no text.
#[test]
fn started_amid() {
    let mut watched = Watched::new(Role::Server, whole(), false);
    watched.step(&answer(messages(&[('D', "\0\0"), ('C', "SELECT 1\0"), READY])));
    watched.step(&ask(messages(&[BIND, RUN, SYNC])));
    watched.step(&answer(messages(&[('2', ""), ('C', "SELECT 1\0"), READY])));
    watched.step(&ask(messages(&[('Q', "SELECT 1\0")])));
    watched.step(&answer(messages(&[('C', "SELECT 1\0"), READY])));
    assert_eq!(watched.close(Closing::Orderly), ["- -> ok 29>25", "SELECT 1 -> ok 14>20"]);
    assert_eq!(watched.out[0].ordinal, None);
}

/// Scenario: a conversation between psycopg and PostgreSQL, recorded; cut at every byte, and with
/// every chunk of it lost.
/// Guarantees: cuts change nothing, losses make nothing up and are got over.
#[test]
fn a_recorded_conversation() {
    let steps = recorded(include_str!("recorded.txt"));
    let told = play(Role::Client, &whole(), &steps);
    assert!(told.len() > 15, "{told:?}");
    let again = [
        ask(messages(&[('Q', "SELECT 'again'\0")])),
        answer(messages(&[('C', "SELECT 1\0"), READY])),
    ];
    for role in [Role::Server, Role::Client] {
        check_cuts(role, &whole(), &steps);
        for chunk in [11, 64, 1_000] {
            check_losses(role, &whole(), &steps, &again, chunk);
        }
    }
}
