//! Conversations with Redis, one by one. A recorded one is in `recorded.txt`.

use super::*;
use crate::protocol::script::{
    Watched, answer, ask, check, check_cuts, check_losses, play, recorded,
};
use crate::protocol::{Closing, Followed};

/// An array of strings.
fn command(words: &[&str]) -> String {
    let words = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    let words: Vec<_> = words.collect();
    format!("*{}\r\n{}", words.len(), words.concat())
}

fn sanitised() -> Limits {
    Limits::default()
}

fn whole() -> Limits {
    Limits { statements: Statements::Whole, ..Limits::default() }
}

/// Scenario: a value is set, read and misread; a null, an empty string, binary data, a nested reply.
/// Guarantees: a reply for each command, errors by their prefix, no value in the text.
#[test]
fn commands_and_replies() {
    check(
        &sanitised(),
        &[
            ask(command(&["SET", "secret", "value", "EX", "10"])),
            answer("+OK\r\n"),
            ask(command(&["get", "secret"])),
            answer("$5\r\nvalue\r\n"),
            ask(command(&["LPUSH", "secret", "a\r\nb"])),
            answer("-WRONGTYPE Operation against a key\r\n"),
            ask(command(&["GET", ""])),
            answer("$-1\r\n"),
            ask(command(&["CONFIG", "get", "maxmemory"])),
            answer("*2\r\n$9\r\nmaxmemory\r\n$0\r\n\r\n"),
            ask(command(&["EVAL", "return {1,{2,{}},'x'}", "0"])),
            answer("*3\r\n:1\r\n*2\r\n:2\r\n*0\r\n$1\r\nx\r\n"),
        ],
        &[
            "SET ? ? ? ? -> ok 52>5",
            "GET ? -> ok 25>11",
            "LPUSH ? ? -> WRONGTYPE 37>36",
            "GET ? -> ok 19>5",
            "CONFIG GET ? -> ok 40>25",
            "EVAL ? ? -> ok 49>27",
        ],
    );
}

/// Scenario: a pipeline in one write with its answers in one; a transaction; one that is aborted.
/// Guarantees: answers go to commands in order; a queued command is no error and changes nothing.
#[test]
fn pipelines_and_transactions() {
    let pipeline = [command(&["SET", "a", "1"]), command(&["INCR", "a"]), command(&["PING"])];
    let select = command(&["SELECT", "3"]);
    check(
        &whole(),
        &[
            ask(pipeline.concat()),
            answer("+OK\r\n:2\r\n+PONG\r\n"),
            ask([command(&["MULTI"]), select.clone(), command(&["EXEC"])].concat()),
            answer("+OK\r\n+QUEUED\r\n*1\r\n-ERR inside\r\n"),
            ask(command(&["EXEC"])),
            answer("-ERR EXEC without MULTI\r\n"),
        ],
        &[
            "SET a 1 -> ok 27>5",
            "INCR a -> ok 21>4",
            "PING -> ok 14>7",
            "MULTI -> ok 15>5",
            "SELECT 3 -> ok 23>9",
            "EXEC -> ok 14>17",
            "EXEC -> ERR 14>25",
        ],
    );
    let mut watched = Watched::new(Role::Client, whole(), true);
    watched.step(&ask(select + &command(&["PING"])));
    watched.step(&answer("+OK\r\n+PONG\r\n"));
    watched.step(&ask(command(&["PING"])));
    watched.step(&answer("+PONG\r\n"));
    let namespace = |at: usize| match &watched.out[at].said {
        Said::Database(call) => call.namespace.clone().unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!([namespace(0), namespace(1), namespace(2)], ["0", "0", "3"]);
}

/// Scenario: subscriptions to two channels and a pattern, messages before, between and behind the
/// confirmations, an end of all subscriptions; the same in RESP3, beside ordinary commands.
/// Guarantees: each command has all of its confirmations and nothing else, no message is a reply.
#[test]
fn subscribers() {
    let message = "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n";
    let confirm = |word: &str, channel: &str, total: u64| {
        format!("*3\r\n${}\r\n{word}\r\n$1\r\n{channel}\r\n:{total}\r\n", word.len())
    };
    let subscribed = confirm("subscribe", "a", 1) + message + &confirm("subscribe", "b", 2);
    let ended = confirm("unsubscribe", "a", 2) + message + &confirm("unsubscribe", "b", 1);
    check(
        &whole(),
        &[
            ask(command(&["SUBSCRIBE", "a", "b"])),
            answer(subscribed),
            answer(message),
            ask(command(&["PSUBSCRIBE", "p"])),
            answer(message.to_owned() + &confirm("psubscribe", "p", 3)),
            ask(command(&["PING"])),
            answer(message.to_owned() + "*2\r\n$4\r\npong\r\n$0\r\n\r\n"),
            ask(command(&["UNSUBSCRIBE"])),
            answer(ended),
            ask(command(&["PUNSUBSCRIBE", "p"])),
            answer(confirm("punsubscribe", "p", 0)),
            ask(command(&["GET", "x"])),
            answer("$7\r\nmessage\r\n"),
        ],
        &[
            "SUBSCRIBE a b -> ok 33>60",
            "PSUBSCRIBE p -> ok 28>32",
            "PING -> ok 14>20",
            "UNSUBSCRIBE -> ok 22>66",
            "PUNSUBSCRIBE p -> ok 30>34",
            "GET x -> ok 20>13",
        ],
    );
    check(
        &whole(),
        &[
            ask(command(&["HELLO", "3"])),
            answer("%1\r\n+proto\r\n:3\r\n"),
            ask(command(&["SUBSCRIBE", "a"]) + &command(&["LRANGE", "x", "0", "2"])),
            answer(">3\r\n+subscribe\r\n+a\r\n:1\r\n>2\r\n+invalidate\r\n*1\r\n+k\r\n"),
            answer("*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n"),
            ask(command(&["GET", "x"])),
            answer("|1\r\n+ttl\r\n:9\r\n_\r\n"),
        ],
        &[
            "HELLO ? -> ok 22>16",
            "SUBSCRIBE a -> ok 26>24",
            "LRANGE x 0 2 -> ok 37>32",
            "GET x -> ok 20>17",
        ],
    );
}

/// Scenario: commands as people type them, blank lines, replies switched off, skipped and on again,
/// a monitor.
/// Guarantees: what is not answered takes nobody's answer; what a monitor is shown is no reply.
#[test]
fn odd_clients() {
    check(
        &whole(),
        &[
            ask("PING\r\n"),
            answer("+PONG\r\n"),
            ask("set a 1\r\n\r\nget a\n"),
            answer("+OK\r\n$1\r\n1\r\n"),
            ask(command(&["CLIENT", "REPLY", "SKIP"]) + &command(&["SET", "b", "2"])),
            ask(command(&["CLIENT", "REPLY", "OFF"]) + &command(&["SET", "c", "3"])),
            ask(command(&["CLIENT", "REPLY", "ON"])),
            answer("+OK\r\n"),
            ask(command(&["MONITOR"])),
            answer("+OK\r\n+1700000000.123456 [0 127.0.0.1:1] \"PING\"\r\n"),
            ask("QUIT\r\n"),
            answer("+1700000000.123457 [0 127.0.0.1:1] \"PING\"\r\n+OK\r\n"),
        ],
        &[
            "PING -> ok 6>7",
            "set a 1 -> ok 9>5",
            "get a -> ok 6>7",
            "CLIENT REPLY SKIP -> ok 37>0",
            "SET b 2 -> ok 27>0",
            "CLIENT REPLY OFF -> ok 36>0",
            "SET c 3 -> ok 27>0",
            "CLIENT REPLY ON -> ok 35>5",
            "MONITOR -> ok 17>5",
            "QUIT -> ok 6>5",
        ],
    );
}

/// Scenario: passwords in every command that takes one, bodies and statements kept.
/// Guarantees: no password is in any part of an exchange.
#[test]
fn credentials_are_not_kept() {
    let limits = Limits { body_bytes_max: 1 << 10, ..whole() };
    let mut watched = Watched::new(Role::Server, limits, true);
    for words in [
        ["AUTH", "user", "pa55word"].as_slice(),
        &["auth", "pa55word"],
        &["HELLO", "3", "AUTH", "user", "pa55word"],
        &["CONFIG", "SET", "requirepass", "pa55word"],
        &["ACL", "SETUSER", "x", ">pa55word"],
        &["MIGRATE", "h", "1", "k", "0", "1", "AUTH", "pa55word"],
    ] {
        watched.step(&ask(command(words)));
        watched.step(&answer("+OK\r\n"));
    }
    watched.step(&ask(command(&["GET", "k"])));
    watched.step(&answer("$1\r\nv\r\n"));
    let told = watched.close(Closing::Orderly);
    assert_eq!(told.len(), 7);
    assert!(!told.concat().contains("pa55"), "{told:?}");
    let captured = |it: &crate::protocol::Exchange| it.request_captured.clone();
    assert!(watched.out[..6].iter().all(|it| captured(it).is_empty()));
    assert_eq!(captured(&watched.out[6]), command(&["GET", "k"]).into_bytes());
    assert_eq!(watched.out[6].response_captured, b"$1\r\nv\r\n");
}

/// Scenario: a value of a megabyte of which only the beginning was copied, as an argument and in a
/// reply; one that was lost whole.
/// Guarantees: sizes are exact, and what follows is understood.
#[test]
fn large_values() {
    let mut watched = Watched::new(Role::Client, sanitised(), true);
    watched.segment(true, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\nbegin", 999_995 + 2);
    watched.step(&answer("+OK\r\n"));
    watched.step(&ask(command(&["GET", "k"])));
    watched.segment(false, b"$1000000\r\n", 1_000_000);
    watched.step(&answer("\r\n"));
    watched.step(&ask(command(&["PING"])));
    watched.step(&answer("+PONG\r\n"));
    let wanted = ["SET ? ? -> ok 1000032>5", "GET ? -> ok 20>1000012", "PING -> ok 14>7"];
    assert_eq!(watched.close(Closing::Orderly), wanted);
}

/// Scenario: the probe starts amid a conversation: in the middle of a value, and amid a pipeline.
/// Guarantees: no reply is given to a command that it may not belong to; after a silence all is well.
#[test]
fn started_amid() {
    let mut watched = Watched::new(Role::Server, whole(), false);
    watched.step(&ask("rest of a value\r\n"));
    watched.step(&answer("+OK\r\n"));
    watched.step(&ask(command(&["GET", "a"])));
    watched.step(&answer("$1\r\n1\r\n"));
    assert_eq!(watched.following.followed(), Followed::Parsing(Role::Server));
    assert_eq!(watched.close(Closing::Orderly), ["GET a -> ok 20>7"]);
    assert_eq!(watched.out[0].ordinal, None);

    let mut watched = Watched::new(Role::Server, whole(), false);
    watched.step(&ask(command(&["GET", "a"])));
    watched.step(&ask(command(&["GET", "b"])));
    watched.step(&answer("$7\r\nearlier\r\n"));
    watched.step(&answer("$1\r\na\r\n"));
    watched.time += 2_000_000_000;
    watched.step(&ask(command(&["GET", "c"])));
    watched.step(&answer("$1\r\nc\r\n"));
    let wanted = ["GET a -> ok 20>0+ Unseen", "GET b -> ok 20>0+ Unseen", "GET c -> ok 20>7"];
    assert_eq!(watched.close(Closing::Orderly), wanted);
}

/// Scenario: other protocols whose first bytes are words, a mail server, garbage.
/// Guarantees: none is taken for Redis.
#[test]
fn others() {
    for steps in [
        [ask("get a\r\n"), answer("nothing\r\n")],
        [answer("+OK POP3 ready\r\n"), ask("AUTH PLAIN\r\n")],
        [ask("*1 IDLE\r\n"), answer("+ idling\r\n")],
        [ask("*2\r\n$3\r\nG T\r\n"), answer("+OK\r\n")],
    ] {
        let mut watched = Watched::new(Role::Server, sanitised(), true);
        steps.iter().for_each(|step| watched.step(step));
        assert_eq!(watched.following.followed(), Followed::Undecided, "{steps:?}");
        watched.close(Closing::Orderly);
    }
}

/// Scenario: a connection that looked like Redis and goes on as something else; replication.
/// Guarantees: the first is looked at anew, the second is let go.
#[test]
fn no_redis_after_all() {
    let mut watched = Watched::new(Role::Server, sanitised(), true);
    watched.step(&ask(command(&["GET", "a"])));
    for _ in 0..100 {
        watched.step(&answer("no reply\r\n"));
        watched.step(&ask("no command"));
    }
    assert_ne!(watched.following.followed(), Followed::Parsing(Role::Server));
    assert_eq!(watched.close(Closing::Orderly), ["GET ? -> ok 20>0+ Unseen"]);

    let mut watched = Watched::new(Role::Server, sanitised(), true);
    watched.step(&ask(command(&["PSYNC", "?", "-1"])));
    watched.step(&answer("+FULLRESYNC 1 2\r\n$100000\r\n"));
    assert_eq!(watched.following.followed(), Followed::Ignored);
    watched.close(Closing::Orderly);
}

/// Scenario: a conversation between redis-py and redis-server, recorded; cut at every byte, and with
/// every chunk of it lost.
/// Guarantees: cuts change nothing, losses make nothing up and are got over.
#[test]
fn a_recorded_conversation() {
    let steps = recorded(include_str!("recorded.txt"));
    let told = play(Role::Client, &whole(), &steps);
    assert!(told.len() > 20, "{told:?}");
    let again = [ask(command(&["ECHO", "again"])), answer("$5\r\nagain\r\n")];
    for role in [Role::Server, Role::Client] {
        check_cuts(role, &whole(), &steps);
        for chunk in [7, 64, 1_000] {
            check_losses(role, &whole(), &steps, &again, chunk);
        }
    }
}
