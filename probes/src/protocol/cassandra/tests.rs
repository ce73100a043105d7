//! Conversations with Cassandra, one by one, as DataStax's Python driver writes them (`recorded-….txt`)
//! and by hand.

use super::segment::tests::segment;
use super::*;
use crate::protocol::script::{
    Step, Watched, answer, ask, check, check_cuts, check_losses, play, recorded, watch,
};
use crate::protocol::{Closing, Exchange, Followed};

/// The kinds of messages that are made by hand.
mod kind {
    pub(super) const ERROR: u8 = 0x00;
    pub(super) const READY: u8 = 0x02;
    pub(super) const AUTHENTICATE: u8 = 0x03;
    pub(super) const QUERY: u8 = 0x07;
    pub(super) const RESULT: u8 = 0x08;
    pub(super) const EXECUTE: u8 = 0x0a;
    pub(super) const RESPONSE: u8 = 0x0f;
    pub(super) const SUCCESS: u8 = 0x10;
}

fn message(version: u8, flags: u8, stream: i16, kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap();
    let head = [&[version, flags][..], &stream.to_be_bytes(), &[kind], &len.to_be_bytes()];
    [&head.concat(), body].concat()
}

fn long(text: &str) -> Vec<u8> {
    let len = i32::try_from(text.len()).unwrap();
    [&len.to_be_bytes()[..], text.as_bytes()].concat()
}

fn short(text: &str) -> Vec<u8> {
    let len = u16::try_from(text.len()).unwrap();
    [&len.to_be_bytes()[..], text.as_bytes()].concat()
}

/// A query at `quorum`, without anything behind it.
fn query(version: u8, stream: i16, text: &str) -> Vec<u8> {
    let flags: &[u8] = if version < 5 { &[0] } else { &[0; 4] };
    message(version, 0, stream, kind::QUERY, &[&long(text), &b"\0\x04"[..], flags].concat())
}

fn void(version: u8, stream: i16) -> Vec<u8> {
    message(0x80 | version, 0, stream, kind::RESULT, &1_i32.to_be_bytes())
}

fn error(version: u8, stream: i16, code: i32) -> Vec<u8> {
    let body = [&code.to_be_bytes()[..], &short("no")].concat();
    message(0x80 | version, 0, stream, kind::ERROR, &body)
}

/// `USE …` and its answer.
fn used(keyspace: &str) -> [Step; 2] {
    let set = [&3_i32.to_be_bytes()[..], &short(keyspace)].concat();
    [ask(query(4, 1, &format!("USE {keyspace}"))), answer(message(0x84, 0, 1, kind::RESULT, &set))]
}

fn call(exchange: &Exchange) -> &DatabaseCall {
    let Said::Database(call) = &exchange.said else { panic!("{exchange:?}") };
    call
}

fn detail(call: &DatabaseCall, key: &str) -> Option<String> {
    let found = call.details.iter().find(|(name, _)| *name == key);
    found.map(|(_, detail)| match detail {
        Detail::Text(text) => text.clone(),
        Detail::Number(number) => number.to_string(),
    })
}

fn said(told: &[String]) -> Vec<String> {
    told.iter().map(|one| one.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

/// All that is recorded, by its version.
const RECORDED: [(u8, &str); 4] = [
    (3, include_str!("recorded-snappy.txt")),
    (4, include_str!("recorded-lz4.txt")),
    (5, include_str!("recorded-segments.txt")),
    (5, include_str!("recorded-packed.txt")),
];

/// What the recorded conversations say, in the order in which it was answered.
const TOLD: [&str; 12] = [
    "OPTIONS -> ok",
    "STARTUP -> ok",
    "REGISTER -> ok",
    "USE shop -> ok",
    "SELECT nothing FROM users -> 8704",
    "INSERT INTO other.notes (id, note) VALUES (?, ?) -> ok",
    "SELECT id, tags FROM users WHERE name = ? -> ok",
    "INSERT INTO users (id, name) VALUES (?, ?) -> ok",
    "- -> 9472",
    "INSERT INTO users (id, name) VALUES (?, ?) -> ok",
    "DELETE FROM users WHERE id = ?; INSERT INTO users (id, name) VALUES (?, ?); \u{2026} -> ok",
    "INSERT INTO users (id, name) VALUES (?, ?) -> ok",
];

/// Scenario: the same conversation by version 3 with Snappy, by version 4 with LZ4, by version 5 in segments,
/// plain and packed: options, keyspaces, events, answers out of order, errors, prepared statements, one of them
/// by a name that nobody has given, batches; cut at every byte.
/// Guarantees: all of them say the same, on both ends.
#[test]
fn recorded_conversations() {
    for (version, text) in RECORDED {
        let steps = recorded(text);
        for role in [Role::Server, Role::Client] {
            let limits = Limits::default();
            assert_eq!(said(&play(role, &limits, &steps)), TOLD, "version {version}");
            check_cuts(role, &limits, &steps);
        }
        let mut watched = watch(Role::Client, Limits::default(), &steps);
        let counts = watched.following.take_counts();
        let calls: Vec<_> = watched.out.iter().map(call).collect();
        assert!(calls.iter().all(|call| detail(call, "icecore.cassandra.compression").is_none()));
        check_calls(&calls);
        assert_eq!((counts.unparsed_bytes, counts.responses_without_request), (0, 0));
    }
}

fn check_calls(calls: &[&DatabaseCall]) {
    let level = |at: usize| detail(calls[at], "cassandra.consistency.level");
    let namespaces: Vec<_> = calls.iter().map(|call| call.namespace.as_deref()).collect();
    assert_eq!(namespaces[..4], [None; 4]);
    assert_eq!(namespaces[4..], [Some("shop"); 8]);
    let select = calls[6];
    assert_eq!(
        (select.operation.as_deref(), select.collection.as_deref()),
        (Some("SELECT"), Some("users"))
    );
    assert_eq!((select.rows, level(6)), (Some(2), Some("quorum".to_owned())));
    assert_eq!(detail(select, "cassandra.page.size").as_deref(), Some("100"));
    assert_eq!(calls[5].collection.as_deref(), Some("other.notes"));
    let prepare = calls[7];
    assert_eq!(
        (prepare.operation.as_deref(), prepare.summary.as_deref()),
        (Some("PREPARE"), Some("PREPARE INSERT users"))
    );
    assert_eq!(
        detail(calls[8], "icecore.cassandra.prepared.statement").as_deref(),
        Some("unknown")
    );
    assert_eq!(detail(calls[8], "icecore.cassandra.prepared.id"), Some("11".repeat(16)));
    let execute = calls[9];
    assert_eq!(
        (execute.operation.as_deref(), level(9)),
        (Some("INSERT"), Some("local_one".to_owned()))
    );
    let (mixed, same) = (calls[10], calls[11]);
    assert_eq!((mixed.operation.as_deref(), mixed.collection.as_deref()), (Some("BATCH"), None));
    assert_eq!(
        (same.operation.as_deref(), same.collection.as_deref()),
        (Some("BATCH INSERT"), Some("users"))
    );
    let sizes = [mixed, same].map(|call| detail(call, "db.operation.batch.size").unwrap());
    assert_eq!(sizes, ["3", "2"]);
    assert_eq!((level(10), level(11)), (Some("all".to_owned()), Some("one".to_owned())));
    let types = [mixed, same].map(|call| detail(call, "icecore.cassandra.batch.type").unwrap());
    assert_eq!(types, ["logged", "unlogged"]);
}

/// Scenario: the recorded conversations with every chunk of them lost.
/// Guarantees: nothing is made up, and after a silence they are understood again.
#[test]
fn every_chunk_lost() {
    for (version, text) in RECORDED {
        let steps = recorded(text);
        let form = match text.contains("plain") {
            _ if version < 5 => None,
            true => Some(Form::Plain),
            false => Some(Form::Packed),
        };
        let wrap = |bytes: Vec<u8>| match form {
            Some(form) => segment(&bytes, None, form, true),
            None => bytes,
        };
        let again =
            [ask(wrap(query(version, 99, "SELECT again FROM t"))), answer(wrap(void(version, 99)))];
        for role in [Role::Server, Role::Client] {
            for chunk in [7, 16, 64, 1_000] {
                check_losses(role, &Limits::default(), &steps, &again, chunk);
            }
        }
    }
}

/// Scenario: values of many kilobytes of which the kernel has not copied the end, in a statement, bound to one,
/// and in an answer; then other statements, in the next call and behind the hole.
/// Guarantees: each of them is told with its length and what is there of its text; none is lost.
#[test]
fn long_values() {
    let text = format!("INSERT INTO notes (id, note) VALUES (1, '{}')", "n".repeat(40_000));
    let insert = query(4, 2, &text);
    let rows = [
        &2_i32.to_be_bytes()[..],
        &4_i32.to_be_bytes(),
        &1_i32.to_be_bytes(),
        &1_i32.to_be_bytes(),
        &vec![7; 90_000],
    ];
    let rows = message(0x84, 0, 3, kind::RESULT, &rows.concat());
    for role in [Role::Server, Role::Client] {
        let mut watched = watch(role, Limits::default(), &used("shop"));
        watched.segment(true, &insert[..16_384], insert.len() as u64 - 16_384);
        watched.step(&answer(void(4, 2)));
        watched.step(&ask(query(4, 3, "SELECT note FROM notes")));
        watched.segment(false, &rows[..8_192], rows.len() as u64 - 8_192);
        watched.step(&ask(query(4, 4, "SELECT id FROM notes")));
        watched.step(&answer(void(4, 4)));
        let rows_told = call(&watched.out[2]).rows;
        let told = watched.close(Closing::Orderly);
        assert_eq!(rows_told, Some(1));
        let wanted = [
            "USE shop -> ok 24>19".to_owned(),
            format!("INSERT INTO notes (id, note) VALUES (?, ?\u{2026} -> ok {}>13", insert.len()),
            format!("SELECT note FROM notes -> ok 38>{}", rows.len()),
            "SELECT id FROM notes -> ok 36>13".to_owned(),
        ];
        assert_eq!(told, wanted);
    }
}

/// Scenario: a statement over three segments, and one whose segment is not copied to its end, alone and in front of
/// others; packed as well.
/// Guarantees: what is alone in its segments is told with its length; where a hole may have hidden other messages,
/// what waits is said to be unseen, and what follows is understood.
#[test]
fn long_segments() {
    let note = |bytes| format!("INSERT INTO notes (id, note) VALUES (1, '{}')", "n".repeat(bytes));
    let insert = query(5, 2, &note(300_000));
    let shorter = note(100_000);
    let insert_bytes = insert.len();
    let whole = |bytes: &[u8]| segment(bytes, None, Form::Plain, true);
    let mut watched = watch(Role::Client, Limits::default(), &recorded(RECORDED[2].1)[..6]);
    for part in insert.chunks((128 << 10) - 1) {
        watched.step(&ask(segment(part, None, Form::Plain, false)));
    }
    watched.step(&answer(whole(&void(5, 2))));
    let alone = whole(&query(5, 3, &shorter));
    watched.segment(true, &alone[..16_384], alone.len() as u64 - 16_384);
    watched.step(&answer(whole(&void(5, 3))));
    let both = whole(&[query(5, 4, &shorter), query(5, 5, "SELECT hidden FROM t")].concat());
    watched.segment(true, &both[..16_384], both.len() as u64 - 16_384);
    watched.step(&answer(whole(&[void(5, 4), void(5, 5)].concat())));
    watched.step(&ask(whole(&query(5, 6, "SELECT seen FROM t"))));
    watched.step(&answer(whole(&void(5, 6))));
    let told = watched.close(Closing::Orderly);
    let statement = "INSERT INTO notes (id, note) VALUES (?, ?\u{2026} -> ok";
    assert_eq!(told[3], format!("{statement} {insert_bytes}>13"));
    assert_eq!(told[4], format!("{statement} {}>13", shorter.len() + 19));
    assert_eq!(told[5], format!("{statement} {}>0+ Unseen", shorter.len() + 19));
    assert_eq!(told[6..], ["SELECT seen FROM t -> ok 37>13"]);
}

/// Scenario: a login, a traced answer with warnings, a statement with a payload in front, one without an answer, an answer
/// that nobody asked for, one that is packed by nobody knows what, an error of which the number was not copied.
/// Guarantees: credentials are nowhere; what is not known is said to be.
#[test]
fn what_stands_in_front_and_what_is_not_known() {
    let token = |secret: &str| long(secret);
    let warned = [&[9; 16][..], b"\0\x01", &short("slow"), &1_i32.to_be_bytes()].concat();
    let payload =
        [b"\0\x01", &short("key")[..], &long("value"), &long("SELECT b FROM t"), b"\0\x01\0"]
            .concat();
    let steps = [
        ask(message(4, 0, 0, kind::RESPONSE, &token("pa55word"))),
        answer(message(0x84, 0, 0, kind::SUCCESS, &token("t0ken"))),
        ask(query(4, 1, "SELECT a FROM t")),
        answer(message(0x84, 0x0a, 1, kind::RESULT, &warned)),
        ask(message(4, 4, 2, kind::QUERY, &payload)),
        answer(error(4, 2, 0x1100)),
        ask(message(4, 1, 3, kind::QUERY, b"packed by nobody")),
        answer(void(4, 3)),
        answer(void(4, 77)),
        ask(query(4, 5, "SELECT c FROM t")),
    ];
    let wanted = [
        "AUTH_RESPONSE -> ok 21>18",
        "SELECT a FROM t -> ok 31>37",
        "SELECT b FROM t -> 4352 47>17",
        "- -> ok 25>13",
        "SELECT c FROM t -> ok 31>0+ Closed",
    ];
    check(&Limits::default(), &steps, &wanted);
    let limits = Limits { body_bytes_max: 1_000, ..Limits::default() };
    let mut watched = watch(Role::Server, limits, &steps);
    let kept = |exchange: &Exchange| {
        [&exchange.request_captured[..], &exchange.response_captured].concat()
    };
    let kept: Vec<u8> = watched.out.iter().flat_map(kept).collect();
    let kept = String::from_utf8_lossy(&kept);
    assert!(kept.contains("SELECT a") && !kept.contains("pa55word") && !kept.contains("t0ken"));
    let packed = detail(call(&watched.out[3]), "icecore.cassandra.compression");
    assert_eq!(packed.as_deref(), Some("unknown"));
    let counts = watched.following.take_counts();
    assert_eq!((counts.unparsed_bytes, counts.responses_without_request), (25, 1));

    let mut watched = watch(Role::Server, Limits::default(), &steps);
    let failed = error(4, 5, 0x2200);
    watched.segment(false, &failed[..10], failed.len() as u64 - 10);
    assert_eq!(watched.close(Closing::Orderly)[4], "SELECT c FROM t -> _OTHER 31>17");
}

/// Scenario: connections that are older than the probe: the end of a message first, an answer first, a prepared
/// statement, packed bodies, segments; other protocols that look alike.
/// Guarantees: whole messages are told, what is not known is said to be, others are left alone.
#[test]
fn started_amid_and_others() {
    let execute = [&short("0123456789abcdef")[..], b"\0\x0a\0"].concat();
    let amid = [
        ask(b"the rest of a message"),
        answer(void(4, 7)),
        ask(message(4, 0, 8, kind::EXECUTE, &execute)),
        answer(void(4, 8)),
    ];
    check_amid(&amid, &["- -> ok 30>13"]);
    for (version, text) in RECORDED {
        let steps = recorded(text);
        let told: Vec<&str> =
            TOLD[4..].iter().map(|one| if one.contains("8704") { "" } else { *one }).collect();
        let mut watched = Watched::new(Role::Client, Limits::default(), false);
        steps[8..].iter().for_each(|step| watched.step(step));
        let found = said(&watched.close(Closing::Orderly));
        let known = found.iter().filter(|one| told.contains(&one.as_str())).count();
        assert_eq!((found.len(), known), (8, 7), "version {version}: {found:#?}");
    }
    let others: [&[u8]; 6] = [
        b"\x04\0\0\0\x07\0\0\0\x08\0\0\0\x04\x01\x02\x03\x04",
        b"\x04\0\0\0\x08\0\0\0\x08SELECT 1",
        b"\x04\0\0\0\x04abcd",
        b"\x05\0\0\0\x03quit",
        b"\x03\0\0\0\x07\x7f\0\0\0",
        b"\x84\0\0\x01\x08\0\0\0\x04\0\0\0\x09",
    ];
    for bytes in others {
        let watched = watch(Role::Server, Limits::default(), &[ask(bytes), answer(b"\0\0\0\0")]);
        assert!(!matches!(watched.following.followed(), Followed::Parsing(_)), "{bytes:?}");
        assert!(watched.out.is_empty());
    }
}

fn check_amid(steps: &[Step], wanted: &[&str]) {
    for role in [Role::Server, Role::Client] {
        let mut watched = Watched::new(role, Limits::default(), false);
        steps.iter().for_each(|step| watched.step(step));
        assert_eq!(watched.following.role(), Some(role));
        assert_eq!(watched.close(Closing::Orderly), wanted, "{role:?}");
    }
}

/// Scenario: a login by name, and a server that speaks an older version than it is asked for.
/// Guarantees: both go on as what they are.
#[test]
fn beginnings() {
    let options = message(5, 0, 0, 0x05, b"");
    let refused = [&0x0a_i32.to_be_bytes()[..], &short("Invalid version")].concat();
    let authenticator = short("org.apache.cassandra.auth.PasswordAuthenticator");
    let startup = [b"\0\x01", &short("CQL_VERSION")[..], &short("3.0.0")].concat();
    let steps = [
        ask(options),
        answer(message(0x84, 0, 0, kind::ERROR, &refused)),
        ask(message(4, 0, 0, 0x01, &startup)),
        answer(message(0x84, 0, 0, kind::AUTHENTICATE, &authenticator)),
        ask(message(4, 0, 0, kind::RESPONSE, &(-1_i32).to_be_bytes())),
        answer(error(4, 0, 0x100)),
        ask(message(4, 0, 0, 0x0b, &[b"\0\x01", &short("STATUS_CHANGE")[..]].concat())),
        answer(message(0x84, 0, 0, kind::READY, b"")),
    ];
    let wanted = [
        "OPTIONS -> 10 9>30",
        "STARTUP -> ok 31>58",
        "AUTH_RESPONSE -> 256 13>17",
        "REGISTER -> ok 26>9",
    ];
    check(&Limits::default(), &steps, &wanted);
}
