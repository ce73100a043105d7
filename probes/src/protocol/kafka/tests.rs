//! Conversations with Kafka, one by one. Those of librdkafka with a broker are in `recorded_*.txt`.

use super::*;
use crate::protocol::script::{
    Step, Watched, answer, ask, call, check, check_cuts, check_losses, detail, play, recorded,
    watch,
};
use crate::protocol::{Closing, Followed};

/// A request of a client that is called `c`.
fn request(key: i16, version: i16, correlation: i32, flexible: bool, body: &[u8]) -> Vec<u8> {
    let tags: &[u8] = if flexible { b"\0" } else { b"" };
    request_of("c", key, version, correlation, &[tags, body].concat())
}

fn request_of(client: &str, key: i16, version: i16, correlation: i32, rest: &[u8]) -> Vec<u8> {
    let body = [&text(client), rest].concat();
    let size = i32::try_from(body.len()).unwrap() + 8;
    let head = [size.to_be_bytes().to_vec(), key.to_be_bytes().to_vec()].concat();
    [head, version.to_be_bytes().to_vec(), correlation.to_be_bytes().to_vec(), body].concat()
}

fn reply(correlation: i32, flexible: bool, body: &[u8]) -> Vec<u8> {
    let tags: &[u8] = if flexible { b"\0" } else { b"" };
    let size = i32::try_from(tags.len() + body.len()).unwrap() + 4;
    [&size.to_be_bytes(), &correlation.to_be_bytes(), tags, body].concat()
}

/// A record, with the key and the value that are given.
fn record(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(&str, &str)]) -> Vec<u8> {
    let number = |value: usize| match u8::try_from(value * 2) {
        Ok(small @ ..0x80) => vec![small],
        _ => {
            vec![
                u8::try_from((value * 2) & 0x7f).unwrap() | 0x80,
                u8::try_from(value >> 6).unwrap(),
            ]
        }
    };
    let blob = |bytes: Option<&[u8]>| match bytes {
        Some(bytes) => [number(bytes.len()), bytes.to_vec()].concat(),
        None => vec![1],
    };
    let headers = headers.iter().flat_map(|(name, value)| {
        [blob(Some(name.as_bytes())), blob(Some(value.as_bytes()))].concat()
    });
    let headers: Vec<u8> = headers.collect();
    // As if there were one; which is all that the tests need.
    let count = usize::from(!headers.is_empty());
    let body = [vec![0, 0, 0], blob(key), blob(value), number(count), headers].concat();
    [number(body.len()), body].concat()
}

fn batch(offset: i64, attributes: i16, count: i32, records: &[u8]) -> Vec<u8> {
    let length = i32::try_from(49 + records.len()).unwrap();
    let head = [offset.to_be_bytes().to_vec(), length.to_be_bytes().to_vec(), vec![0; 4]].concat();
    let marks = [vec![2, 0, 0, 0, 0], attributes.to_be_bytes().to_vec(), vec![0; 34]].concat();
    [head, marks, count.to_be_bytes().to_vec(), records.to_vec()].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&i16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat()
}

/// Version 3: one topic, one partition.
fn produce(correlation: i32, acks: i16, topic: &str, batches: &[u8]) -> Vec<u8> {
    let size = i32::try_from(batches.len()).unwrap().to_be_bytes();
    let head = [b"\xff\xff".as_slice(), &acks.to_be_bytes(), b"\0\0\0\x09\0\0\0\x01"].concat();
    let body =
        [head, text(topic), b"\0\0\0\x01\0\0\0\x05".to_vec(), size.to_vec(), batches.to_vec()];
    request(0, 3, correlation, false, &body.concat())
}

fn produced(correlation: i32, topic: &str, error: i16, offset: i64) -> Vec<u8> {
    let partition = [b"\0\0\0\x01\0\0\0\x05".as_slice(), &error.to_be_bytes()].concat();
    let rest = [offset.to_be_bytes().to_vec(), vec![0xff; 8], vec![0; 4]].concat();
    let body = [b"\0\0\0\x01".to_vec(), text(topic), partition, rest].concat();
    reply(correlation, false, &body)
}

fn whole() -> Limits {
    Limits { statements: Statements::Whole, ..Limits::default() }
}

/// Scenario: a connection begins with a request of each kind and version; the name of its client is short, missing or long.
/// Clients that do not ask for versions begin with what they want.
/// Guarantees: it is Kafka, and nothing else: metadata has the head of PostgreSQL's first message.
#[test]
fn any_request_opens_a_connection() {
    let each_version = |version| {
        [(version, 0, "c".into()), (version, 1, "".into()), (version, 3, "c".repeat(255))]
    };
    for key in 0..=88 {
        let wanted = Api::of(key).unwrap().operation();
        for (version, correlation, client) in (0..=16).flat_map(each_version) {
            let asked = request_of(&client, key, version, correlation, &[0; 9]);
            let steps = [ask(asked), answer(reply(correlation, false, &[0; 9]))];
            let told = play(Role::Client, &Limits::default(), &steps);
            assert!(told.len() == 1 && told[0].starts_with(wanted), "{wanted} {version}: {told:?}");
            if wanted == "Metadata" && client == "c" {
                check_cuts(Role::Server, &Limits::default(), &steps);
            }
        }
    }
}

/// Scenario: a client that wants no answers sends nothing but records on a connection; another sends the same number twice,
/// and one wants answers that do not come.
/// Guarantees: the first is understood from its second request on; the others are not made out to be Kafka.
#[test]
fn records_that_nobody_answers() {
    let steps = [0, 1, 2].map(|number| ask(produce(number, 0, "t", &batch(0, 0, 1, b"record"))));
    for role in [Role::Client, Role::Server] {
        let told = play(role, &Limits::default(), &steps);
        assert!(
            told.len() == 3 && told.iter().all(|one| one.starts_with("send t -> ok")),
            "{told:?}"
        );
    }
    let together = [ask(steps.iter().flat_map(|(_, bytes)| bytes.clone()).collect::<Vec<u8>>())];
    assert_eq!(play(Role::Client, &Limits::default(), &together).len(), 3);
    for others in [[(4, 0), (4, 0)], [(4, 1), (5, 1)]] {
        let steps = others.map(|(number, acks)| ask(produce(number, acks, "t", b"")));
        assert!(play(Role::Client, &Limits::default(), &steps).is_empty(), "{others:?}");
    }
}

/// Scenario: an old client sends one small message, of the formats that were before there were batches; a consumer gets one.
/// Guarantees: they are not counted as none.
#[test]
fn old_messages_are_not_counted() {
    for format in [0, 1] {
        let rest = [vec![0; 4], vec![format, 0], vec![0; 8 * usize::from(format)], vec![0xff; 8]];
        let rest = rest.concat();
        let size = i32::try_from(rest.len()).unwrap().to_be_bytes();
        let message = [[0; 8].as_slice(), &size, &rest].concat();
        assert_eq!(records::records(message.len(), &message).count, None);
    }
    let whole = batch(7, 0, 2, b"records");
    let cut = [whole.as_slice(), &whole[..40]].concat();
    assert_eq!(records::records(cut.len(), &cut).count, Some(2));
    assert_eq!(records::records(cut.len(), &whole).count, Some(2));
    assert_eq!(records::records(0, &[]).count, Some(0));
}

/// Scenario: records sent with and without acknowledgement, to a topic that is not there, two
/// requests before the first answer, answers out of order as no broker gives them.
/// Guarantees: each answer goes to the request that it names; who wants no answer waits for none.
#[test]
fn producers() {
    let one = batch(0, 0, 1, &record(Some(b"k"), Some(b"value"), &[]));
    check(
        &whole(),
        &[
            ask(request(18, 0, 1, false, b"")),
            answer(reply(1, false, b"\0\0\0\0\0\0")),
            ask(produce(2, 1, "orders", &one)),
            answer(produced(2, "orders", 0, 41)),
            ask(produce(3, 0, "orders", &one)),
            ask([produce(4, -1, "orders", &one), produce(5, -1, "none", &one)].concat()),
            answer([produced(5, "none", 3, -1), produced(4, "orders", 0, 42)].concat()),
            ask(request(12, 0, 6, false, &text("readers"))),
            answer(reply(6, false, b"\0\x1b")),
        ],
        &[
            "ApiVersions - -> ok 15>14",
            "send orders -> ok 121>50",
            "send orders -> ok 121>0",
            "send none -> UNKNOWN_TOPIC_OR_PARTITION 119>48",
            "send orders -> ok 121>50",
            "Heartbeat - -> REBALANCE_IN_PROGRESS 24>10",
        ],
    );
}

/// Scenario: single records with a key, headers and without a value; a compressed batch; two batches.
/// Guarantees: what a record says of itself, keys only by rule, counts, the offset that it was given.
#[test]
fn what_records_say() {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let traced = batch(0, 0, 1, &record(Some(b"key"), Some(b"12345"), &[("traceparent", parent)]));
    let tombstone = batch(0, 0, 1, &record(Some(b"key"), None, &[]));
    let compressed = batch(0, 4, 7, b"squeezed");
    let two = [batch(0, 0, 2, b"..."), batch(2, 0, 3, b"...")].concat();
    let parts = [traced, tombstone, compressed, two];
    let steps: Vec<Step> = parts
        .iter()
        .zip(1..)
        .flat_map(|(part, at)| {
            [ask(produce(at, 1, "t", part)), answer(produced(at, "t", 0, i64::from(at)))]
        })
        .collect();
    let watched = watch(Role::Client, whole(), &steps);
    let calls: Vec<_> = watched.out.iter().map(call).collect();
    let counts: Vec<_> = calls.iter().map(|call| call.messages).collect();
    assert_eq!(counts, [Some(1), Some(1), Some(7), Some(5)]);
    assert_eq!(watched.out[0].request_header("traceparent"), Some(parent));
    assert_eq!(calls[0].body_bytes, Some(5));
    assert_eq!(detail(calls[0], "messaging.kafka.message.key").as_deref(), Some("key"));
    assert_eq!(detail(calls[0], "messaging.kafka.offset").as_deref(), Some("1"));
    assert_eq!(calls[0].partition.as_deref(), Some("5"));
    assert_eq!(detail(calls[1], "messaging.kafka.message.tombstone").as_deref(), Some("true"));
    assert_eq!((calls[2].body_bytes, calls[3].body_bytes), (None, None));

    let watched = watch(Role::Server, Limits::default(), &steps);
    assert_eq!(detail(call(&watched.out[0]), "messaging.kafka.message.key"), None);
}

/// Scenario: a batch of a megabyte of which the beginning was copied, one of which nothing was.
/// Guarantees: sizes are exact, what follows is understood, counts that are not certain are left out.
#[test]
fn large_batches() {
    let large = produce(1, 1, "t", &batch(0, 0, 1, &vec![0; 1_000_000]));
    let (seen, unseen) = large.split_at(4_000);
    let mut watched = Watched::new(Role::Client, whole(), true);
    watched.segment(true, seen, unseen.len() as u64);
    watched.step(&answer(produced(1, "t", 10, -1)));
    let (head, rest) = large.split_at(HEAD_BYTES + 3);
    watched.segment(true, head, rest.len() as u64);
    watched.step(&answer(produced(1, "t", 0, 7)));
    watched.step(&ask(produce(2, 1, "u", b"")));
    watched.step(&answer(produced(2, "u", 0, 8)));
    let wanted = [
        format!("send t -> MESSAGE_TOO_LARGE {}>45", large.len()),
        format!("send t -> ok {}>45", large.len()),
        "send u -> ok 42>45".to_owned(),
    ];
    assert_eq!(watched.close(Closing::Orderly), wanted);
    assert_eq!(call(&watched.out[1]).messages, None);
}

/// Scenario: credentials in a request and what the broker says to them, with bodies kept.
/// Guarantees: neither is in what is kept.
#[test]
fn credentials_are_not_kept() {
    let limits = Limits { body_bytes_max: 1_000, ..whole() };
    let steps = [
        ask(request(17, 1, 1, false, &text("PLAIN"))),
        answer(reply(1, false, b"\0\0\0\0\0\x01\0\x05PLAIN")),
        ask(request(36, 0, 2, false, b"\0\0\0\x0c\0user\0pa55word")),
        answer(reply(2, false, b"\0\x3a\xff\xff\0\0\0\x04pa55")),
    ];
    let mut watched = watch(Role::Server, limits, &steps);
    assert!(!watched.out[0].request_captured.is_empty());
    assert!(watched.out[1].request_captured.is_empty());
    let shown = format!("{:?}", watched.out);
    let kept = String::from_utf8_lossy(&watched.out[1].response_captured).into_owned();
    assert!(!shown.contains("pa55") && !kept.contains("pa55"), "{shown}");
    let told = watched.close(Closing::Orderly);
    assert_eq!(told[1], "SaslAuthenticate - -> SASL_AUTHENTICATION_FAILED 33>20");
}

/// Scenario: the probe starts amid a pipeline: in the middle of an answer, with requests under way
/// whose answers come; bytes that are shaped like a request, whose answer is none.
/// Guarantees: nothing is matched that does not belong together; other protocols are left alone.
#[test]
fn started_amid_and_others() {
    let one = batch(0, 0, 1, &record(None, Some(b"v"), &[]));
    let mut watched = Watched::new(Role::Server, whole(), false);
    watched.step(&answer(b"rest of an answer"));
    watched.step(&ask(produce(8, 1, "t", &one)));
    watched.step(&answer(produced(7, "t", 0, 6)));
    watched.step(&ask(produce(9, 1, "t", &one)));
    watched.step(&answer([produced(8, "t", 0, 7), produced(9, "t", 0, 8)].concat()));
    let told = watched.close(Closing::Reset);
    assert_eq!(told, ["send t -> ok 111>45", "send t -> ok 111>45"]);
    assert!(watched.out.iter().all(|one| one.ordinal.is_none()));

    for steps in [
        [ask(produce(1, 1, "t", &one)), answer(b"\0\0\0\x02no, not this")],
        [ask(produce(1, 1, "t", &one)), answer(produced(2, "t", 0, 1))],
        [ask(b"\0\0\0\x10\0\x70\0\0\0\0\0\x01\0\x01c"), answer(reply(1, false, b""))],
        [ask(b"\0\0\0\x0b\0\x05\x01\0\0\0\0\x01\0\x01c"), answer(reply(1, false, b""))],
    ] {
        let mut watched = watch(Role::Server, whole(), &steps);
        assert_eq!(watched.following.followed(), Followed::Undecided, "{steps:?}");
        watched.close(Closing::Orderly);
    }
}

/// Scenario: a producer and a consumer of librdkafka with a broker, recorded (topics by name and by
/// number, flexible versions, requests before answers); cut at every byte, and with every chunk lost.
/// Guarantees: cuts change nothing, losses make nothing up and are got over.
#[test]
fn recorded_conversations() {
    let again = [
        ask(produce(9_001, 1, "again", &batch(0, 0, 1, &record(None, Some(b"v"), &[])))),
        answer(produced(9_001, "again", 0, 6)),
    ];
    for (text, wanted) in [
        (include_str!("recorded_producer.txt"), ("send orders -> ok 183>57", 12)),
        (include_str!("recorded_consumer.txt"), ("poll - -> ok 128>1203", 5)),
    ] {
        let steps = recorded(text);
        let told = play(Role::Client, &whole(), &steps);
        assert!(told.iter().any(|one| one == wanted.0) && told.len() == wanted.1, "{told:?}");
        for role in [Role::Server, Role::Client] {
            check_cuts(role, &whole(), &steps);
            for chunk in [7, 64, 1_000] {
                check_losses(role, &whole(), &steps, &again, chunk);
            }
        }
    }
    let steps = recorded(include_str!("recorded_consumer.txt"));
    let watched = watch(Role::Client, whole(), &steps);
    let polled = watched.out.iter().map(call).find(|call| call.operation == "poll").unwrap();
    assert_eq!(polled.messages, Some(9));
    assert_eq!(detail(polled, "icecore.kafka.topic.id").map(|id| id.len()), Some(32));
}
