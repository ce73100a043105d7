//! Conversations with MongoDB, one by one. One of pymongo with a server that keeps documents in SQLite
//! is in `recorded.txt`.

use super::*;
use crate::protocol::script::{
    Step, Watched, answer, ask, check, check_cuts, check_losses, play, recorded, watch,
};
use crate::protocol::{Closing, Exchange, Followed};

fn document(elements: &[Vec<u8>]) -> Vec<u8> {
    let inside = elements.concat();
    let len = i32::try_from(inside.len() + 5).unwrap();
    [&len.to_le_bytes()[..], &inside, b"\0"].concat()
}

fn element(kind: u8, name: &str, value: &[u8]) -> Vec<u8> {
    [&[kind], name.as_bytes(), b"\0", value].concat()
}

fn text(name: &str, value: &str) -> Vec<u8> {
    let len = i32::try_from(value.len() + 1).unwrap();
    element(2, name, &[&len.to_le_bytes()[..], value.as_bytes(), b"\0"].concat())
}

fn int(name: &str, value: i32) -> Vec<u8> {
    element(16, name, &value.to_le_bytes())
}

fn inner(name: &str, elements: &[Vec<u8>]) -> Vec<u8> {
    element(3, name, &document(elements))
}

fn array(name: &str, elements: &[Vec<u8>]) -> Vec<u8> {
    element(4, name, &document(elements))
}

fn message(id: i32, answers: i32, code: i32, body: &[u8]) -> Vec<u8> {
    let len = i32::try_from(body.len() + 16).unwrap();
    let head = [len, id, answers, code].map(i32::to_le_bytes).concat();
    [head, body.to_vec()].concat()
}

fn command(id: i32, flags: u32, elements: &[Vec<u8>]) -> Vec<u8> {
    message(id, 0, 2013, &[&flags.to_le_bytes()[..], b"\0", &document(elements)].concat())
}

fn reply(id: i32, to: i32, flags: u32, elements: &[Vec<u8>]) -> Vec<u8> {
    message(id, to, 2013, &[&flags.to_le_bytes()[..], b"\0", &document(elements)].concat())
}

fn ok() -> Vec<u8> {
    element(1, "ok", &1_f64.to_le_bytes())
}

fn handshake() -> [Step; 2] {
    let hello = [
        b"\0\0\0\0admin.$cmd\0\0\0\0\0\xff\xff\xff\xff".as_slice(),
        &document(&[
            int("isMaster", 1),
            inner("speculativeAuthenticate", &[text("payload", "pa55word")]),
        ]),
    ];
    let answered = [&[0; 16][..], &1_i32.to_le_bytes(), &document(&[ok()])].concat();
    [ask(message(1, 0, 2004, &hello.concat())), answer(message(9, 1, 1, &answered))]
}

fn said(told: &[String]) -> Vec<String> {
    told.iter().map(|one| one.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

fn call(exchange: &Exchange) -> &DatabaseCall {
    let Exchanged::Database(call) = &exchange.said else { panic!("{exchange:?}") };
    call
}

/// Scenario: a handshake with credentials, commands with answers out of order, documents in a sequence
/// behind and in front of their command, one that wants no answer, answers that come without being asked for.
/// Guarantees: one exchange for each command, with its own answer; texts have no values, and
/// credentials are nowhere.
#[test]
fn commands_and_answers() {
    let database = text("$db", "shop");
    let find = [
        text("find", "users"),
        inner(
            "filter",
            &[inner("age", &[int("$gt", 7)]), array("tags", &[text("0", "a"), text("1", "b")])],
        ),
        inner("lsid", &[int("id", 5)]),
        database.clone(),
    ];
    let rows = [inner("0", &[int("a", 1)]), inner("1", &[])];
    let cursor = inner("cursor", &[array("firstBatch", &rows), text("ns", "shop.users")]);
    let documents = |size: usize| {
        let one = document(&[text("secret", &"v".repeat(size))]);
        let len = i32::try_from(one.len() + 4 + 10).unwrap();
        [b"\x01", &len.to_le_bytes()[..], b"documents\0", &one].concat()
    };
    let insert = document(&[text("insert", "users"), database.clone()]);
    let behind = [b"\0\0\0\0\0".as_slice(), &insert, &documents(30)].concat();
    let in_front = [b"\0\0\0\0".as_slice(), &documents(30), b"\0", &insert].concat();
    let [hello, hello_answer] = handshake();
    let steps = [
        hello,
        hello_answer,
        ask([command(2, 0, &find), message(3, 0, 2013, &behind)].concat()),
        answer(reply(10, 3, 0, &[int("n", 1), ok()])),
        answer(reply(11, 2, 0, &[cursor, ok()])),
        ask(command(4, 2, &[text("delete", "users"), database.clone()])),
        ask(message(5, 0, 2013, &in_front)),
        answer(reply(12, 5, 0, &[int("n", 1), ok()])),
        ask(command(6, 1 << 16, &[int("hello", 1), text("$db", "admin")])),
        answer(reply(13, 6, 2, &[ok()])),
        answer([reply(14, 13, 2, &[ok()]), reply(15, 14, 0, &[ok()])].concat()),
        ask(command(
            7,
            0,
            &[element(18, "getMore", &[9; 8]), text("collection", "users"), database],
        )),
        answer(reply(16, 7, 0, &[inner("cursor", &[array("nextBatch", &[])]), ok()])),
    ];
    let wanted = [
        "isMaster -> ok",
        r#"{"insert": "users"} -> ok"#,
        r#"{"find": "users", "filter": {"age": {"$gt": ?}, "tags": [?]}} -> ok"#,
        r#"{"delete": "users"} -> ok"#,
        r#"{"insert": "users"} -> ok"#,
        "hello -> ok",
        r#"{"getMore": ?, "collection": ?} -> ok"#,
    ];
    let limits = Limits { body_bytes_max: 1_000, ..Limits::default() };
    for role in [Role::Server, Role::Client] {
        assert_eq!(said(&play(role, &limits, &steps)), wanted);
        check_cuts(role, &limits, &steps);
    }
    let mut watched = watch(Role::Client, limits, &steps);
    let shown = format!("{:?}", watched.out);
    let kept: Vec<u8> = watched.out.iter().flat_map(|one| one.request_captured.clone()).collect();
    assert!(!shown.contains("pa55word") && !String::from_utf8_lossy(&kept).contains("pa55word"));
    let calls: Vec<_> = watched.out.iter().map(call).collect();
    assert_eq!((calls[2].rows, calls[6].rows), (Some(2), Some(0)));
    assert_eq!(calls[6].collection.as_deref(), Some("users"));
    assert_eq!(calls[3].namespace.as_deref(), Some("shop"));
    assert_eq!(watched.following.take_counts().responses_without_request, 0);

    let whole = Limits { statements: Statements::Whole, ..Limits::default() };
    let told = said(&play(Role::Client, &whole, &steps));
    assert_eq!(
        told[2],
        r#"{"find": "users", "filter": {"age": {"$gt": 7}, "tags": ["a", "b"]}} -> ok"#
    );
}

/// Scenario: a command fails with a number and without, writes fail in part, messages are compressed, an
/// answer is cut off before and behind its cursor, one is never given.
/// Guarantees: the number is the command's own; what is not known is said to be.
#[test]
fn errors_and_what_is_not_known() {
    let zero = || element(1, "ok", &0_f64.to_le_bytes());
    let find = |id| ask(command(id, 0, &[text("find", "a"), text("$db", "d")]));
    let failed = array("writeErrors", &[inner("0", &[int("index", 1), int("code", 11_000)])]);
    let compressed = [&2013_i32.to_le_bytes()[..], &99_i32.to_le_bytes(), b"\x02packed"].concat();
    let [hello, hello_answer] = handshake();
    let steps = [
        hello,
        hello_answer,
        find(2),
        answer(reply(1, 2, 0, &[zero(), text("errmsg", "no"), int("code", 59)])),
        find(3),
        answer(reply(1, 3, 0, &[zero()])),
        find(4),
        answer(reply(1, 4, 0, &[int("n", 0), failed, ok()])),
        find(5),
        answer(message(1, 5, 2012, &compressed)),
        ask(message(6, 0, 2012, &compressed)),
        answer(message(1, 6, 2012, &compressed)),
        find(7),
    ];
    let wanted = [
        "isMaster -> ok 110>53",
        "{\"find\": \"a\"} -> 59 49>63",
        "{\"find\": \"a\"} -> _OTHER 49>38",
        "{\"find\": \"a\"} -> 11000 49>92",
        "{\"find\": \"a\"} -> ok 49>31+ Unseen",
        "- -> ok 31>31+ Unseen",
        "{\"find\": \"a\"} -> ok 49>0+ Closed",
    ];
    check(&Limits::default(), &steps, &wanted);

    let [hello, hello_answer] = handshake();
    let mut watched =
        watch(Role::Client, Limits::default(), &[hello, hello_answer, find(2), find(3)]);
    let batch: Vec<_> = (0..100).map(|at| inner(&at.to_string(), &[text("a", "value")])).collect();
    let cursor = reply(1, 2, 0, &[inner("cursor", &[array("firstBatch", &batch)]), ok()]);
    watched.segment(false, &cursor[..200], cursor.len() as u64 - 200);
    let numbers = reply(1, 3, 0, &[array("values", &batch), ok()]);
    watched.segment(false, &numbers[..200], numbers.len() as u64 - 200);
    let told = watched.close(Closing::Orderly);
    assert_eq!(told[1], format!("{{\"find\": \"a\"}} -> ok 49>{}", cursor.len()));
    assert_eq!(told[2], format!("{{\"find\": \"a\"}} -> ok 49>{}+ Unseen", numbers.len()));
}

/// A message inside another: as it is (0), by Snappy, zlib or zstd.
fn packed(by: u8, plain: &[u8]) -> Vec<u8> {
    let (head, body) = plain.split_at(16);
    let len = i32::try_from(body.len()).unwrap();
    let inside = match by {
        1 => {
            let literal =
                |part: &[u8]| [&[u8::try_from(part.len() - 1).unwrap() << 2], part].concat();
            let low = |shift: u32| u8::try_from(len >> shift & 0x7f).unwrap();
            let preamble = vec![low(0) | 0x80, low(7) | 0x80, low(14)];
            [preamble, body.chunks(60).flat_map(literal).collect()].concat()
        }
        2 => {
            let mut packer =
                flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
            std::io::Write::write_all(&mut packer, body).unwrap();
            packer.finish().unwrap()
        }
        3 => zstd::bulk::compress(body, 3).unwrap(),
        _ => body.to_vec(),
    };
    let number = |at: usize| i32::from_le_bytes(*head[at..].first_chunk().unwrap());
    let about = [&head[12..], &len.to_le_bytes(), &[by], &inside].concat();
    message(number(4), number(8), 2012, &about)
}

/// The messages of a step.
fn messages(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut all = Vec::new();
    while let Some(len) = bytes.first_chunk::<4>().map(|len| u32::from_le_bytes(*len) as usize) {
        let (one, rest) = bytes.split_at(len);
        all.push(one);
        bytes = rest;
    }
    all
}

/// Scenario: a recorded conversation with each message compressed, by each method; one whose answer is too long to be
/// unpacked or was not copied to its end; messages that unpack to more or to less than they say.
/// Guarantees: it is told as if nothing were compressed, and by what it is; what is not known is said to be, and a
/// few bytes never become many.
#[test]
fn compressed_messages() {
    let steps = recorded(include_str!("recorded.txt"));
    let wanted = play(Role::Client, &Limits::default(), &steps);
    for by in 0..4 {
        let pack = |(asks, bytes): &Step| {
            (*asks, messages(bytes).into_iter().flat_map(|one| packed(by, one)).collect())
        };
        let compressed: Vec<Step> = steps.iter().map(pack).collect();
        for role in [Role::Server, Role::Client] {
            assert_eq!(play(role, &Limits::default(), &compressed), wanted, "{by}");
        }
        check_cuts(Role::Client, &Limits::default(), &compressed);
        let find = command(2, 0, &[text("find", "a"), text("$db", "d")]);
        let long =
            [inner("cursor", &[array("firstBatch", &[text("0", &"x".repeat(100_000))])]), ok()];
        let [hello, hello_answer] = handshake();
        let asked = [hello, hello_answer, ask(packed(by, &find))];
        let mut watched = watch(Role::Client, Limits::default(), &asked);
        watched.step(&answer(packed(by, &reply(1, 2, 0, &long))));
        let told = watched.close(Closing::Orderly);
        assert!(told[1].starts_with("{\"find\": \"a\"} -> ok "), "{by}: {told:?}");
        let said = format!("{:?}", call(&watched.out[1]).details);
        assert!(said.contains(COMPRESSOR) && said.contains(COMPRESSOR_OF_ANSWER), "{said}");

        let mut watched = watch(Role::Client, Limits::default(), &asked);
        let cut = packed(by, &reply(1, 2, 0, &long));
        watched.segment(false, &cut[..30], cut.len() as u64 - 30);
        let told = watched.close(Closing::Orderly);
        assert!(told[1].ends_with("+ Unseen"), "{by}: {told:?}");

        for wrong in [1, 1 << 30] {
            let mut lies = packed(by, &find);
            lies[20..24].copy_from_slice(&i32::to_le_bytes(wrong));
            let [hello, hello_answer] = handshake();
            let steps = [hello, hello_answer, ask(lies), answer(reply(1, 2, 0, &[ok()]))];
            let told = play(Role::Client, &Limits::default(), &steps);
            assert!(told[1].starts_with("- -> ok "), "{by}: {told:?}");
        }
    }
}

/// Scenario: a compressed answer that is longer than what is kept of one and hardly got shorter, so that of some ways of packing nothing can
/// be unpacked before its end, while another command is under way.
/// Guarantees: both commands are told, the second with its answer.
#[test]
fn answers_that_do_not_shrink() {
    let mut state = 1_u64;
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'!' + u8::try_from(state >> 58).unwrap())
    };
    let noise: String = (0..200_000).map(|_| letter()).collect();
    let long = [inner("cursor", &[array("firstBatch", &[text("0", &noise)])]), ok()];
    let find = |id| command(id, 0, &[text("find", "a"), text("$db", "d")]);
    for by in 0..4 {
        let [hello, hello_answer] = handshake();
        let asked = [ask(packed(by, &find(2))), ask(packed(by, &find(3)))];
        let [first, next] = [reply(1, 2, 0, &long), reply(2, 3, 0, &[ok()])];
        let answered = [answer(packed(by, &first)), answer(packed(by, &next))];
        let steps = [[hello, hello_answer], asked, answered].concat();
        let mut watched = watch(Role::Client, Limits::default(), &steps);
        let told = watched.close(Closing::Orderly);
        assert_eq!(told[2], "{\"find\": \"a\"} -> ok 49>38", "{by}: {told:?}");
        assert_eq!(told.len(), 3, "{by}: {told:?}");
    }
}

/// Scenario: the probe starts amid a message, heads are read by themselves; other protocols that look alike.
/// Guarantees: messages are found; nothing is made up; others are left alone.
#[test]
fn started_amid_and_others() {
    let mut watched = Watched::new(Role::Server, Limits::default(), false);
    watched.step(&ask(b"the rest of a message"));
    for id in [7, 8] {
        let find = command(id, 0, &[text("find", "a"), text("$db", "d")]);
        watched.segment(true, &find[..16], 0);
        watched.segment(true, &find[16..], 0);
        watched.step(&answer(reply(1, id, 0, &[ok()])));
    }
    let told = said(&watched.close(Closing::Orderly));
    assert_eq!(told, [r#"{"find": "a"} -> ok"#; 2]);
    let others: [&[u8]; 4] = [
        b"\x20\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\x05\x01\x02\x03\x04",
        b"\x20\0\0\0\x01\0\0\0\x01\0\0\0\xd4\x07\0\0\0\0\0\0\x05\x01\x02\x03\x04",
        b"\x0f\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0\0",
        b"\x01\0\0\x63",
    ];
    for bytes in others {
        let watched = watch(Role::Server, Limits::default(), &[ask(bytes), answer(b"\0\0\0\0")]);
        assert_ne!(watched.following.followed(), Followed::Parsing(Role::Server), "{bytes:?}");
        assert!(watched.out.is_empty());
    }
}

/// Scenario: pymongo, recorded: a handshake, documents in and out, an index, cursors, errors; cut at every
/// byte, and with every chunk lost.
/// Guarantees: cuts change nothing, losses make nothing up and are got over.
#[test]
fn recorded_conversation() {
    let again = [
        ask(command(1 << 30, 0, &[text("find", "again"), text("$db", "d")])),
        answer(reply(1, 1 << 30, 0, &[ok()])),
    ];
    let steps = recorded(include_str!("recorded.txt"));
    let told = play(Role::Client, &Limits::default(), &steps);
    let count = |word: &str| told.iter().filter(|one| one.contains(word)).count();
    assert!(count("{\"insert\": \"people\"") >= 2 && count(" -> 11000 ") == 1, "{told:#?}");
    assert!(count("{\"find\": \"people\"") >= 2 && count("getMore") >= 1, "{told:#?}");
    for role in [Role::Server, Role::Client] {
        check_cuts(role, &Limits::default(), &steps);
        for chunk in [16, 64, 1_000] {
            check_losses(role, &Limits::default(), &steps, &again, chunk);
        }
    }
}
