//! Conversations with AMQP, one by one. One of pika with RabbitMQ is in `recorded.txt`.

use super::*;
use crate::protocol::script::{
    Step, Watched, answer, ask, call, check, check_cuts, check_losses, detail, play, recorded,
    watch,
};
use crate::protocol::{Closing, Exchange, Followed, Handling};

fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[kind], &channel.to_be_bytes()[..], &len, payload, b"\xce"].concat()
}

/// A method; its arguments as they are on the wire.
fn method(channel: u16, class: u16, number: u16, arguments: &[u8]) -> Vec<u8> {
    let payload = [&class.to_be_bytes()[..], &number.to_be_bytes(), arguments].concat();
    frame(1, channel, &payload)
}

/// Properties without any, and a body in two pieces.
fn content(channel: u16, body: &[u8]) -> Vec<u8> {
    let len = (body.len() as u64).to_be_bytes();
    let properties = [b"\0\x3c\0\0".as_slice(), &len, b"\0\0"].concat();
    let pieces = body.chunks(4).flat_map(|piece| frame(3, channel, piece));
    [frame(2, channel, &properties), pieces.collect()].concat()
}

fn publish(channel: u16, exchange: &str, key: &str, body: &[u8]) -> Vec<u8> {
    let arguments = [b"\0\0".as_slice(), &text(exchange), &text(key), b"\0"].concat();
    [method(channel, 60, 40, &arguments), content(channel, body)].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

fn long(text: &[u8]) -> Vec<u8> {
    [&u32::try_from(text.len()).unwrap().to_be_bytes()[..], text].concat()
}

/// To confirm, settle or refuse.
fn tagged(number: u16, tag: u64, bits: u8) -> Vec<u8> {
    method(1, 60, number, &[&tag.to_be_bytes()[..], &[bits]].concat())
}

fn deliver(consumer: &str, tag: u64, bits: u8, exchange: &str, key: &str) -> Vec<u8> {
    let parts = [text(consumer), tag.to_be_bytes().to_vec(), vec![bits], text(exchange), text(key)];
    method(1, 60, 60, &parts.concat())
}

/// The beginning of a connection, as far as its client has the credentials wrong or right.
fn opening() -> Vec<Step> {
    let table = [text("connection_name"), b"S".to_vec(), long(b"me")].concat();
    let arguments =
        [long(&table), text("PLAIN"), long(b"\0user\0pa55word"), text("en_US")].concat();
    vec![
        ask(frame::HEADER),
        answer(method(0, 10, 10, b"\0\x09\0\0\0\0\0\0\0\x05PLAIN\0\0\0\x05en_US")),
        ask(method(0, 10, 11, &arguments)),
    ]
}

fn connected() -> Vec<Step> {
    let tune = b"\x07\xff\0\x02\0\0\0\x3c";
    let mut steps = opening();
    steps.extend([
        answer(method(0, 10, 30, tune)),
        ask([method(0, 10, 31, tune), method(0, 10, 40, b"\x02/v\0\0")].concat()),
        answer(method(0, 10, 41, b"\0")),
    ]);
    steps
}

/// The same, with two channels.
fn with_channels() -> Vec<Step> {
    let mut steps = connected();
    for channel in [1, 2] {
        steps.push(ask(method(channel, 20, 10, b"\0")));
        steps.push(answer(method(channel, 20, 11, b"\0\0\0\0")));
    }
    steps
}

const OPENED: &str = "channel.open - -> ok 13>16";
const CONNECTED: &str = "connect - -> ok 114>69";

fn declare(queue: &str, bits: u8) -> Vec<u8> {
    let arguments = [b"\0\0".as_slice(), &text(queue), &[bits], b"\0\0\0\0"].concat();
    method(1, 50, 10, &arguments)
}

fn declared(queue: &str) -> Vec<u8> {
    method(1, 50, 11, &[text(queue), vec![0; 8]].concat())
}

/// Closes a channel (20) or the connection (10) for something.
fn close(channel: u16, class: u16, code: u16, of: (u16, u16)) -> Vec<u8> {
    let [code, of_class, of_method] = [code, of.0, of.1].map(u16::to_be_bytes);
    let arguments = [&code[..], b"\x02no", &of_class, &of_method].concat();
    method(channel, class, if class == 10 { 50 } else { 40 }, &arguments)
}

/// Without sizes.
fn said(told: &[String]) -> Vec<String> {
    told.iter().map(|one| one.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

fn checked(steps: &[Step], wanted: &[&str]) -> Vec<Exchange> {
    let limits = Limits::default();
    for role in [Role::Server, Role::Client] {
        assert_eq!(said(&play(role, &limits, steps)), wanted, "{role:?}");
        check_cuts(role, &limits, steps);
    }
    watch(Role::Client, limits, steps).out
}

/// Scenario: a connection is made; messages go out on two channels, frame between frame, and come in
/// for consumers that acknowledge and that do not; one is fetched, none is left; they are settled one
/// by one, several at once, in every way.
/// Guarantees: one exchange for each, with its own sizes and places; credentials are kept nowhere.
#[test]
fn messages_both_ways() {
    let (one, two) = (publish(1, "ex", "key.1", b"first body"), publish(2, "", "", b""));
    let (one_head, one_body) = one.split_at(20);
    let mut steps = with_channels();
    steps.extend([
        ask([one_head, one_body, &two].concat()),
        ask(method(1, 60, 20, b"\0\0\x01q\x01a\0\0\0\0\0")),
        answer(method(1, 60, 21, b"\x01a")),
        ask(method(1, 60, 20, b"\0\0\x01p\0\x02\0\0\0\0")),
        answer(method(1, 60, 21, b"\x05ctag2")),
        answer([deliver("a", 1, 0, "ex", "key.1"), content(1, b"hello")].concat()),
        answer([deliver("a", 2, 1, "ex", "q"), content(1, b"")].concat()),
        answer([deliver("ctag2", 3, 0, "", "p"), content(1, b"1234")].concat()),
        ask([frame(8, 0, b""), tagged(80, 1, 0), tagged(120, 2, 3)].concat()),
        ask(method(1, 60, 70, b"\0\0\x01q\0")),
        answer(
            [method(1, 60, 71, b"\0\0\0\0\0\0\0\x04\0\0\x01q\0\0\0\x02"), content(1, b"got")]
                .concat(),
        ),
        ask(tagged(90, 4, 1)),
        ask(method(1, 60, 70, b"\0\0\x01q\0")),
        answer(method(1, 60, 72, b"\0")),
    ]);
    let wanted = [
        CONNECTED,
        OPENED,
        OPENED,
        "publish ex:key.1 -> ok 80>0",
        "publish amq.default -> ok 39>0",
        "consume q -> ok 23>14",
        "consume p -> ok 22>18",
        "deliver ex:key.1:q -> ok 75>0",
        "deliver ex:q -> ok 50>0",
        "deliver p -> ok 64>0",
        "ack ex:key.1:q -> ok 21>0",
        "nack ex:q -> ok 21>0",
        "get q -> ok 17>61",
        "reject q -> ok 21>0",
        "get q -> ok 17>13",
    ];
    let limits = Limits { body_bytes_max: 100, ..Limits::default() };
    check(&limits, &steps, &wanted);
    let out = watch(Role::Client, limits, &steps).out;
    let shown: Vec<_> =
        out.iter().map(|one| String::from_utf8_lossy(&one.request_captured).into_owned()).collect();
    assert!(shown[3].contains("firs") && !shown.concat().contains("pa55word"), "{shown:?}");
    assert!(!format!("{out:?}").contains("pa55word"));
    let calls: Vec<_> = out.iter().map(call).collect();
    assert!(calls.iter().all(|call| call.client.as_deref() == Some("me")));
    assert_eq!(detail(calls[0], "icecore.amqp.virtual_host").as_deref(), Some("/v"));
    let key = "messaging.rabbitmq.destination.routing_key";
    assert_eq!(detail(calls[3], key).as_deref(), Some("key.1"));
    assert_eq!(detail(calls[8], "icecore.amqp.redelivered").as_deref(), Some("true"));
    assert_eq!(detail(calls[11], "icecore.amqp.multiple").as_deref(), Some("true"));
    let tag = "messaging.rabbitmq.message.delivery_tag";
    assert_eq!(
        (detail(calls[9], tag).as_deref(), detail(calls[12], tag).as_deref()),
        (Some("3"), Some("4"))
    );
    assert_eq!(
        (calls[7].body_bytes, calls[12].body_bytes, calls[14].messages),
        (Some(5), Some(3), Some(0))
    );
    assert!(calls[7].pushed && calls[7].handling == Some(Handling::Process));
    assert_eq!(calls[14].handling, Some(Handling::Receive));
    assert!(!format!("{:?}", out[13]).contains("deliver p"));
}

/// Scenario: the broker confirms messages one by one, several at once, not at all, and out of order; one
/// comes back, one is refused; messages before it was asked to, and on another channel, it does not
/// confirm.
/// Guarantees: each confirmation is that of its own message.
#[test]
fn confirmations() {
    let returned = [b"\x01\x38\x08NO_ROUTE".as_slice(), &text("ex"), &text("lost")].concat();
    let mut steps = with_channels();
    steps.extend([
        ask([publish(1, "ex", "zero", b"0"), method(1, 85, 10, b"\0")].concat()),
        answer(method(1, 85, 11, b"")),
        ask([publish(1, "ex", "one", b"1"), publish(1, "ex", "two", b"2")].concat()),
        ask([publish(2, "ex", "other", b"?"), publish(1, "ex", "three", b"3")].concat()),
        answer(tagged(80, 3, 0)),
        ask(publish(1, "ex", "four", b"4")),
        answer([tagged(80, 2, 1), tagged(120, 4, 0)].concat()),
        ask([publish(1, "ex", "lost", b"5"), publish(1, "ex", "lost", b"6!")].concat()),
        answer([method(1, 60, 50, &returned), content(1, b"6!"), tagged(80, 6, 1)].concat()),
        ask(publish(1, "ex", "seven", b"7")),
    ]);
    let out = checked(
        &steps,
        &[
            "connect - -> ok",
            "channel.open - -> ok",
            "channel.open - -> ok",
            "publish ex:zero -> ok",
            "confirm.select - -> ok",
            "publish ex:other -> ok",
            "publish ex:three -> ok",
            "publish ex:one -> ok",
            "publish ex:two -> ok",
            "publish ex:four -> nack",
            "return ex:lost -> 312",
            "publish ex:lost -> ok",
            "publish ex:lost -> 312",
            "publish ex:seven -> ok 55>0+",
        ],
    );
    assert_eq!(detail(call(&out[10]), "icecore.amqp.reply_text").as_deref(), Some("NO_ROUTE"));
}

/// Scenario: everything that is asked of the broker: channels, exchanges, queues without a name,
/// bindings, transactions, several requests before the first answer, requests without one; channels
/// and connections that are closed by either end amid it all, wrong credentials, another version.
/// Guarantees: each answer is its own request's; each error has its code and what it was for.
#[test]
fn requests_and_errors() {
    let mut steps = connected();
    steps.extend([
        ask(method(1, 20, 10, b"\0")),
        answer(method(1, 20, 11, b"\0\0\0\0")),
        ask(method(1, 40, 10, b"\0\0\x02ex\x05topic\0\0\0\0\0")),
        answer(method(1, 40, 11, b"")),
        ask([declare("a", 0), declare("", 0), declare("c", 16), method(1, 90, 10, b"")].concat()),
        answer([declared("a"), declared("amq.gen-x"), method(1, 90, 11, b"")].concat()),
        ask(declare("", 0)),
        answer(declared("amq.gen-y")),
        ask(method(1, 50, 20, b"\0\0\0\x02ex\x05key.#\0\0\0\0\0")),
        answer(method(1, 50, 21, b"")),
        ask([publish(1, "none", "", b""), declare("d", 1)].concat()),
        answer(close(1, 20, 404, (60, 40))),
        ask(method(1, 20, 41, b"")),
        ask(method(1, 20, 10, b"\0")),
        answer(method(1, 20, 11, b"\0\0\0\0")),
        ask([method(1, 85, 10, b"\x01"), publish(1, "", "q", b"?"), close(1, 20, 200, (0, 0))]
            .concat()),
        answer(method(1, 20, 41, b"")),
        answer(method(0, 10, 60, b"\x06memory")),
        answer(close(0, 10, 320, (0, 0))),
        ask(method(0, 10, 51, b"")),
    ]);
    let out = checked(
        &steps,
        &[
            "connect - -> ok",
            "channel.open - -> ok",
            "exchange.declare ex -> ok",
            "queue.declare c -> ok",
            "queue.declare a -> ok",
            "queue.declare amq.gen-x -> ok",
            "tx.select - -> ok",
            "queue.declare amq.gen-y -> ok",
            "queue.bind amq.gen-y -> ok",
            "publish none -> ok",
            "queue.declare d -> 404",
            "channel.close - -> 404",
            "channel.open - -> ok",
            "confirm.select - -> ok",
            "publish q -> channel_closed",
            "channel.close - -> ok",
            "connection.blocked - -> ok",
            "connection.close - -> 320",
        ],
    );
    let calls: Vec<_> = out.iter().map(call).collect();
    assert!(calls[5].temporary && calls[8].temporary && !calls[4].temporary);
    assert_eq!(detail(calls[11], "icecore.amqp.failed_operation").as_deref(), Some("publish"));
    assert_eq!(detail(calls[16], "icecore.amqp.reply_text").as_deref(), Some("memory"));

    let mut refused = opening();
    refused.push(answer(close(0, 10, 403, (10, 11))));
    let wanted = ["connect - -> 403", "connection.close - -> 403"];
    checked(&refused, &wanted);
    checked(
        &[ask(frame::HEADER), answer(b"AMQP\0\0\x09\0")],
        &["connect - -> unsupported_version"],
    );
}

/// Scenario: a trace goes with a message that also has headers of every kind; of a large one only the
/// beginning was copied; another one is given up amid its body.
/// Guarantees: the trace is honoured; sizes are exact, what follows is understood.
#[test]
fn properties_and_large_messages() {
    let entry =
        |name: &str, kind: &str, value: &[u8]| [&text(name)[..], kind.as_bytes(), value].concat();
    let headers = [
        entry("t", "t", b"\x01"),
        entry("d", "D", b"\x02\0\0\0\x01"),
        entry("l", "l", &[0; 8]),
        entry("f", "F", &long(&entry("traceparent", "S", &long(b"inner")))),
        entry("a", "A", &long(b"t\x01")),
        entry("v", "V", b""),
        entry("traceparent", "S", &long(b"00-aa-bb-01")),
    ];
    let parts = [
        b"\0\x3c\0\0".as_slice(),
        &100_000_u64.to_be_bytes(),
        b"\xff\xc0\x02tx\0",
        &long(&headers.concat()),
        b"\x02\x05\x03c-1\x02re\x0260\x03m-1",
        &[0; 8],
    ];
    let mut watched = watch(Role::Server, Limits::default(), &connected());
    let start = [
        method(3, 60, 40, b"\0\0\x02ex\x03k.1\0"),
        frame(2, 3, &parts.concat()),
        b"\x03\0\x03\0\x01\x86\xa0".to_vec(),
    ];
    let start = start.concat();
    watched.segment(true, &start, 100_000);
    watched.segment(true, b"\xce", 0);
    watched.step(&ask(method(3, 60, 40, b"\0\0\x02ex\x03k.2\0")));
    watched.step(&ask(publish(3, "ex", "k.3", b"")));
    let message = &watched.out[1];
    assert_eq!(message.request_header("traceparent"), Some("00-aa-bb-01"));
    assert_eq!(call(message).body_bytes, Some(100_000));
    assert_eq!(detail(call(message), "messaging.message.id").as_deref(), Some("m-1"));
    let conversation = "messaging.message.conversation_id";
    assert_eq!(detail(call(message), conversation).as_deref(), Some("c-1"));
    let told = watched.close(Closing::Orderly);
    let large = format!("publish ex:k.1 -> ok {}>0+ Unseen", start.len() + 100_001);
    assert_eq!(told[1..], [large, "publish ex:k.3 -> ok 44>0+ Unseen".to_owned()]);
}

/// Scenario: the probe starts amid a message, with the broker's bytes or the client's first; other
/// protocols that look alike, a version that is not understood.
/// Guarantees: methods are found by what only one end sends; nothing is made up; others are left alone.
#[test]
fn started_amid_and_others() {
    for client_first in [true, false] {
        let mut watched = Watched::new(Role::Client, Limits::default(), false);
        let mut steps = [
            ask([b"of a body\xce".as_slice(), &publish(1, "a", "b", b"c")].concat()),
            answer([deliver("c", 9, 0, "a", "b"), content(1, b"hi")].concat()),
        ];
        if !client_first {
            steps.reverse();
        }
        steps.iter().for_each(|step| watched.step(step));
        steps.iter().for_each(|step| watched.step(step));
        watched.step(&ask(tagged(80, 9, 0)));
        watched.step(&answer(tagged(80, 3, 0)));
        let told = said(&watched.close(Closing::Orderly));
        for wanted in ["publish a:b -> ok 50>0+", "deliver a:b -> ok", "ack a:b -> ok"] {
            assert!(told.iter().any(|one| one == wanted), "{told:?}");
        }
        assert!(told.len() >= 4, "{told:?}");
    }
    let others: [&[u8]; 6] = [
        b"AMQP\0\x01\0\0",
        b"AMQP\x03\x01\0\0",
        b"\x01\0\x01\0\0\0\x05\0\x3c\0\x46\0\xce",
        b"\x01\0\x01\0\0\0\x04\0\x3c\0\x63\xce",
        b"\x03\0\x01\0\0\0\x04text\xce",
        b"\x01\x02\x03\x04",
    ];
    for bytes in others {
        let watched = watch(Role::Server, Limits::default(), &[ask(bytes), answer(b"\0\0\0\0")]);
        assert_ne!(watched.following.followed(), Followed::Parsing(Role::Server), "{bytes:?}");
        assert!(watched.out.is_empty());
    }
}

/// Scenario: pika with RabbitMQ, recorded: topology, messages with and without confirmation, a return,
/// transactions, a channel that the broker closes; cut at every byte, and with every chunk lost.
/// Guarantees: cuts change nothing, losses make nothing up and are got over.
#[test]
fn recorded_conversation() {
    let again = [
        ask(publish(9, "again", "key", b"yes")),
        answer([deliver("again", 1, 0, "too", "key"), content(9, b"no")].concat()),
    ];
    let steps = recorded(include_str!("recorded.txt"));
    let told = play(Role::Client, &Limits::default(), &steps);
    let count = |word: &str| told.iter().filter(|one| one.starts_with(word)).count();
    assert_eq!((count("publish"), count("deliver"), count("get")), (7, 3, 3), "{told:#?}");
    for wanted in [
        "publish orders:nowhere -> 312 ",
        "return orders:nowhere -> 312 ",
        "queue.declare missing -> 404 ",
        "channel.close - -> 404 ",
        "tx.rollback - -> ok ",
        "connection.close - -> ok ",
    ] {
        assert!(told.iter().any(|one| one.starts_with(wanted)), "{wanted}: {told:#?}");
    }
    for role in [Role::Server, Role::Client] {
        check_cuts(role, &Limits::default(), &steps);
        for chunk in [16, 64, 1_000] {
            check_losses(role, &Limits::default(), &steps, &again, chunk);
        }
    }
}
