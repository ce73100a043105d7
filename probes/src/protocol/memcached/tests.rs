//! Conversations with Memcached, one by one. A recorded one is in `recorded.txt`.

use super::*;
use crate::protocol::script::{
    Step, Watched, answer, ask, check, check_cuts, check_losses, play, recorded,
};
use crate::protocol::{Closing, Followed};

fn whole() -> Limits {
    Limits { statements: Statements::Whole, ..Limits::default() }
}

/// Scenario: values stored, read one and several at a time, counted, deleted, missed; commands
/// without a reply; figures; errors of all three kinds.
/// Guarantees: an answer a command, misses are no errors, no key and no value in the text.
#[test]
fn commands() {
    check(
        &Limits::default(),
        &[
            ask("set secret 0 60 5\r\nv\r\nlu\r\n"),
            answer("STORED\r\n"),
            ask("get secret other\r\n"),
            answer("VALUE secret 0 5\r\nEND\r\n\r\nEND\r\n"),
            ask("set secret 0 0 1 noreply\r\nx\r\ndelete secret noreply\r\nget secret\r\n"),
            answer("END\r\n"),
            ask("incr n 1\r\n"),
            answer("NOT_FOUND\r\n"),
            ask("add n 0 0 1\r\n1\r\n"),
            answer("STORED\r\n"),
            ask("incr n 41\r\n"),
            answer("42\r\n"),
            ask("cas n 0 0 1 7\r\n1\r\n"),
            answer("EXISTS\r\n"),
            ask("stats items\r\n"),
            answer("STAT a 1\r\nSTAT b 2\r\nEND\r\n"),
            ask("incr secret x\r\n"),
            answer("CLIENT_ERROR invalid\r\n"),
            ask("frob\r\n"),
            answer("ERROR\r\n"),
            ask("get secret\r\n"),
            answer("SERVER_ERROR out of memory\r\n"),
            ask("quit\r\n"),
        ],
        &[
            "set ? -> ok 26>8",
            "get ? ? -> ok 18>30",
            "set ? -> ok 29>0",
            "delete ? -> ok 23>0",
            "get ? -> ok 12>5",
            "incr ? -> ok 10>11",
            "add ? -> ok 16>8",
            "incr ? -> ok 11>4",
            "cas ? -> ok 18>8",
            "stats -> ok 13>25",
            "incr ? -> CLIENT_ERROR 15>22",
            "frob -> ERROR 6>7",
            "get ? -> SERVER_ERROR 12>28",
        ],
    );
}

/// Scenario: meta commands, loud and quiet, told apart by number, by key, and by what ends them.
/// Guarantees: those that kept silent take no answer, those that spoke have theirs.
#[test]
fn meta_commands() {
    check(
        &whole(),
        &[
            ask("ms a 2 T0\r\nhi\r\n"),
            answer("HD\r\n"),
            ask("mg a v\r\n"),
            answer("VA 2\r\nhi\r\n"),
            ask("mg none v\r\n"),
            answer("EN\r\n"),
            ask("mg x v q O1\r\nmg a v q O2\r\nms b 1 q\r\n1\r\nmn\r\n"),
            answer("VA 2 O2\r\nhi\r\nMN\r\n"),
            ask("mg x k v q\r\nmg a k v q\r\nmd y q\r\nmg z v\r\n"),
            answer("VA 2 ka\r\nhi\r\nEN\r\n"),
        ],
        &[
            "ms a 2 T0 -> ok 15>4",
            "mg a v -> ok 8>10",
            "mg none v -> ok 11>4",
            "mg x v q O1 -> ok 13>0",
            "mg a v q O2 -> ok 13>13",
            "ms b 1 q -> ok 13>0",
            "mn -> ok 4>4",
            "mg x k v q -> ok 12>0",
            "mg a k v q -> ok 12>13",
            "md y q -> ok 8>0",
            "mg z v -> ok 8>4",
        ],
    );
}

fn packet(magic: u8, opcode: u8, status: u8, opaque: u8, key: &str, value: &str) -> Vec<u8> {
    let body = u8::try_from(key.len() + value.len()).unwrap();
    let head = [magic, opcode, 0, u8::try_from(key.len()).unwrap(), 0, 0, 0, status, 0, 0, 0, body];
    [head.as_slice(), &[0, 0, 0, opaque], &[0; 8], key.as_bytes(), value.as_bytes()].concat()
}

/// Scenario: the binary protocol: a value, a miss, quiet reads ended by one that answers, figures.
/// Guarantees: as with text.
#[test]
fn binary_packets() {
    let ask_for = |opcode, opaque, key| packet(binary::REQUEST, opcode, 0, opaque, key, "");
    let reply =
        |opcode, status, opaque, value| packet(binary::RESPONSE, opcode, status, opaque, "", value);
    check(
        &Limits::default(),
        &[
            ask(packet(binary::REQUEST, 1, 0, 1, "key", "value")),
            answer(reply(1, 0, 1, "")),
            ask(ask_for(0, 2, "none")),
            answer(reply(0, 1, 2, "Not found")),
            ask([ask_for(9, 3, "none"), ask_for(9, 4, "key"), ask_for(10, 5, "")].concat()),
            answer([reply(9, 0, 4, "value"), reply(10, 0, 5, "")].concat()),
            ask(ask_for(0x10, 6, "")),
            answer(
                [packet(binary::RESPONSE, 0x10, 0, 6, "a", "1"), reply(0x10, 0, 6, "")].concat(),
            ),
            ask(ask_for(0, 7, "key")),
            answer(reply(0, 0x82, 7, "out of memory")),
        ],
        &[
            "set ? -> ok 32>24",
            "get ? -> ok 28>33",
            "get ? -> ok 28>0",
            "get ? -> ok 27>29",
            "noop -> ok 24>24",
            "stats -> ok 24>50",
            "get ? -> 0x82 27>37",
        ],
    );
}

/// Scenario: mail and shells, whose words are alike; a value of which nothing was copied.
/// Guarantees: the first are not taken for Memcached; sizes are exact.
#[test]
fn others_and_large_values() {
    let pairs: [[Step; 2]; 3] = [
        [ask("stats please\r\n"), answer("250 ok\r\n")],
        [ask("set x\r\n"), answer("OK\r\n")],
        [answer("VERSION 1\r\n"), ask("version\r\n")],
    ];
    for steps in pairs {
        let mut watched = Watched::new(Role::Server, whole(), true);
        steps.iter().for_each(|step| watched.step(step));
        assert_ne!(watched.following.followed(), Followed::Parsing(Role::Server), "{steps:?}");
        watched.close(Closing::Orderly);
    }
    let mut watched = Watched::new(Role::Client, whole(), true);
    watched.step(&ask("get a\r\n"));
    watched.segment(false, b"VALUE a 0 1000000\r\nbegin", 999_997);
    watched.step(&answer("END\r\n"));
    watched.segment(true, b"set a 0 0 1000000\r\n", 1_000_002);
    watched.step(&answer("STORED\r\n"));
    let wanted = ["get a -> ok 7>1000026", "set a 0 0 1000000 -> ok 1000021>8"];
    assert_eq!(watched.close(Closing::Orderly), wanted);
}

/// Scenario: a conversation between pymemcache and memcached, recorded; cut at every byte, and with
/// every chunk of it lost.
/// Guarantees: cuts change nothing, losses make nothing up and are got over.
#[test]
fn a_recorded_conversation() {
    let steps = recorded(include_str!("recorded.txt"));
    let told = play(Role::Client, &whole(), &steps);
    assert!(told.len() > 15, "{told:?}");
    let again = [ask("get again\r\n"), answer("VALUE again 0 1\r\nx\r\nEND\r\n")];
    for role in [Role::Server, Role::Client] {
        check_cuts(role, &whole(), &steps);
        for chunk in [7, 64, 1_000] {
            check_losses(role, &whole(), &steps, &again, chunk);
        }
    }
}
