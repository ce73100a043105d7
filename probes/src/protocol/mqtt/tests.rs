//! Conversations with MQTT, one by one. One of paho-mqtt with mosquitto is in `recorded.txt`.

use super::*;
use crate::protocol::script::{
    Watched, answer, ask, call, check, check_cuts, check_losses, detail, play, recorded, watch,
};
use crate::protocol::{Closing, Direction, Followed, Segment};

/// Version 3.1.1, client `me`, with a name and a password.
const CONNECT: &[u8] = b"\x10\x1a\0\x04MQTT\x04\xc2\0\x3c\0\x02me\0\x02us\0\x06secret";
const CONNECT_FIVE: &[u8] = b"\x10\x0f\0\x04MQTT\x05\x02\0\x3c\0\0\x02me";

/// Scenario: messages of each quality of service both ways under the same numbers, subscriptions that
/// are granted and refused, signs of life.
/// Guarantees: one exchange for each, as long as its handshake; numbers of both ends are kept apart.
#[test]
fn qualities_of_service() {
    let steps = [
        ask(CONNECT),
        answer(b"\x20\x02\0\0"),
        ask(b"\x82\x06\0\x01\0\x01a\x01\x82\x06\0\x02\0\x01b\0\xa2\x05\0\x03\0\x01a"),
        answer(b"\x90\x03\0\x01\x01\x90\x03\0\x02\x80\xb0\x02\0\x03"),
        ask(b"\x30\x05\0\x01ahi\x32\x08\0\x01a\0\x07one\x34\x08\0\x01b\0\x08two"),
        answer(b"\x32\x07\0\x01a\0\x07in\x35\x09\0\x01b\0\x08both"),
        answer(b"\x50\x02\0\x08\x40\x02\0\x07"),
        ask(b"\x62\x02\0\x08\x40\x02\0\x07\x50\x02\0\x08\xc0\0"),
        answer(b"\xd0\0\x62\x02\0\x08\x70\x02\0\x08"),
        ask(b"\x70\x02\0\x08\xe0\0"),
    ];
    let wanted = [
        "connect - -> ok 28>4",
        "subscribe a -> ok 8>5",
        "subscribe b -> unspecified_error 8>5",
        "unsubscribe a -> ok 7>4",
        "publish a -> ok 7>0",
        "publish a -> ok 10>4",
        "deliver a -> ok 9>4",
        "publish b -> ok 10>8",
        "deliver b -> ok 11>8",
    ];
    check(&Limits::default(), &steps, &wanted);
    let limits = Limits { body_bytes_max: 100, ..Limits::default() };
    let watched = watch(Role::Server, limits, &steps);
    let shown = format!(
        "{:?}",
        watched
            .out
            .iter()
            .map(|one| String::from_utf8_lossy(&one.request_captured).into_owned())
            .collect::<Vec<_>>()
    );
    assert!(!shown.contains("secret"), "{shown}");
    let deliver = call(&watched.out[8]);
    assert!(deliver.pushed && deliver.handling == Some(Handling::Process));
    assert_eq!((deliver.body_bytes, deliver.client.as_deref()), (Some(4), Some("me")));
    assert_eq!(detail(deliver, "icecore.mqtt.qos").as_deref(), Some("2"));
    assert_eq!(detail(deliver, "icecore.mqtt.retain").as_deref(), Some("true"));
}

/// Scenario: version 5: a trace in the properties, a topic by its alias, a group, refusals with their
/// reasons, a broker that says goodbye.
/// Guarantees: the trace is honoured, the alias has its name, each error is its own packet's.
#[test]
fn the_fifth_version() {
    let trace = [
        b"\x32\x26\0\x01a\0\x01\x1b\x23\0\x05\x26\0\x0btraceparent\0\x08".as_slice(),
        b"00-aa-01payld",
    ]
    .concat();
    let steps = [
        ask(CONNECT_FIVE),
        answer(b"\x20\x03\0\0\0"),
        ask(&trace),
        ask(b"\x34\x09\0\0\0\x02\x03\x23\0\x05x"),
        answer(b"\x40\x03\0\x01\x10\x50\x03\0\x02\x87"),
        ask(b"\x82\x10\0\x03\0\0\x0a$share/g/t\x01"),
        answer(b"\x90\x04\0\x03\0\x9e"),
        answer(b"\xe0\x02\x8b\0"),
    ];
    let steps = steps.map(|(asks, mut bytes)| {
        // The lengths are those of what is behind them.
        if bytes.len() < 128 && bytes[0] & 0xf0 == 0x30 {
            bytes[1] = u8::try_from(bytes.len() - 2).unwrap();
        }
        (asks, bytes)
    });
    let wanted = [
        "connect - -> ok 17>5",
        "publish a -> ok 40>5",
        "publish a -> not_authorized 11>5",
        "subscribe $share/g/t -> shared_subscriptions_not_supported 18>6",
        "disconnect - -> server_shutting_down 4>0",
    ];
    check(&Limits::default(), &steps, &wanted);
    let watched = watch(Role::Server, Limits::default(), &steps);
    assert_eq!(watched.out[1].request_header("traceparent"), Some("00-aa-01"));
    assert_eq!(call(&watched.out[1]).body_bytes, Some(5));
    assert_eq!(call(&watched.out[3]).group.as_deref(), Some("g"));
    let refusals: [(&[u8], &str); 2] =
        [(b"\x20\x02\0\x05", "not_authorized"), (b"\x20\x02\0\x04", "bad_user_name_or_password")];
    for (refusal, reason) in refusals {
        let told = play(Role::Client, &Limits::default(), &[ask(CONNECT), answer(refusal)]);
        assert_eq!(told, [format!("connect - -> {reason} 28>4")]);
    }
}

/// Scenario: a large message of which the beginning was copied; the probe starts amid a connection;
/// a handshake that is never through; other protocols that look alike.
/// Guarantees: sizes are exact; who is who is told by signs of life; nothing is made up.
#[test]
fn large_amid_and_others() {
    let mut watched =
        watch(Role::Client, Limits::default(), &[ask(CONNECT), answer(b"\x20\x02\0\0")]);
    watched.segment(true, b"\x30\xa0\x8d\x06\0\x01tbeginning", 100_000 - 12);
    watched.segment(true, b"", 0x186a0 - 100_000);
    let told = watched.close(Closing::Orderly);
    assert_eq!(told.len(), 2, "{told:?}");

    let mut watched = Watched::new(Role::Server, Limits::default(), false);
    watched.step(&ask(b"\x32\x07\0\x01a\0\x07in"));
    watched.step(&ask(b"\xc0\0"));
    watched.step(&answer(b"\xd0\0"));
    watched.step(&ask(b"\x32\x07\0\x01a\0\x08in"));
    watched.step(&answer(b"\x40\x02\0\x08"));
    watched.step(&ask(b"\x34\x07\0\x01a\0\x09in"));
    assert_eq!(
        watched.close(Closing::Reset),
        ["publish a -> ok 9>4", "publish a -> ok 9>0+ Reset"]
    );
    assert_eq!(call(&watched.out[0]).body_bytes, None);

    let others: [&[u8]; 4] =
        [b"\x10\x0f\0\x04MQTX\x05\x02", b"\x82\x01a", b"\xc0\0x", b"0 is a number"];
    for bytes in others {
        let watched = watch(Role::Server, Limits::default(), &[ask(bytes), answer(b"\xd0\x01")]);
        assert_ne!(watched.following.followed(), Followed::Parsing(Role::Server), "{bytes:?}");
        assert!(watched.out.is_empty());
    }
}

/// Scenario: paho-mqtt with mosquitto, version 5, recorded: subscriptions and messages of each quality
/// of service both ways; cut at every byte, and with every chunk lost.
/// Guarantees: cuts change nothing, losses make nothing up and are got over.
#[test]
fn recorded_conversation() {
    let again = [
        ask(b"\xc0\0"),
        answer(b"\xd0\0"),
        ask(b"\x30\x0a\0\x05again\0hi"),
        answer(b"\x30\x0b\0\x05again\0hey"),
    ];
    let steps = recorded(include_str!("recorded.txt"));
    let told = play(Role::Client, &Limits::default(), &steps);
    let count = |word: &str| told.iter().filter(|one| one.starts_with(word)).count();
    assert_eq!((count("publish"), count("deliver"), count("subscribe")), (6, 6, 1), "{told:#?}");
    for role in [Role::Server, Role::Client] {
        check_cuts(role, &Limits::default(), &steps);
        for chunk in [7, 64, 1_000] {
            check_losses(role, &Limits::default(), &steps, &again, chunk);
        }
    }
}

/// Scenario: after a loss, a short piece and the next one look like packets together, and the first of
/// them is none. (Found by fuzzing.)
/// Guarantees: the place is lost again, and each byte is counted once.
#[test]
fn a_short_piece_that_misleads() {
    let mut parser = parser(Arc::new(Limits::default()), Role::Server, true);
    let pieces: [(&[u8], u64, bool); 4] = [
        (b"\xc0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 4, true),
        (b"\x10\x10\0\x10\x10\0\0\0\x10\x10\x10\x10\x10\x10\x10\0", 0, false),
        (b"\x10\x0d\x0a\xa4\x10\x10\x10\x10\x10\x10\x10\x10\x10\x10\x10\x10", 0, false),
        (b"\x10\x10\x10\0", 1, false),
    ];
    let (mut fed, mut out) = (0, Vec::new());
    for (time, (captured, omitted, gap_before)) in (1..).zip(pieces) {
        let direction = Direction::Inbound;
        fed += captured.len() as u64 + omitted;
        parser.feed(&Segment { direction, time, captured, omitted, gap_before }, &mut out);
    }
    parser.close(9, Closing::Reset, &mut out);
    let counts = parser.take_counts();
    assert_eq!(counts.parsed_bytes + counts.unparsed_bytes, fed);
}
