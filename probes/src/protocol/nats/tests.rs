//! Conversations with NATS, one by one. One of nats-py with nats-server is in `recorded.txt`.

use super::*;
use crate::protocol::script::{
    Watched, answer, ask, call, check, check_cuts, check_losses, detail, play, recorded, watch,
};
use crate::protocol::{Closing, Followed};

const INFO: &str = "INFO {\"server_id\":\"A\",\"headers\":true}\r\n";
const CONNECT: &str =
    "CONNECT {\"verbose\":false,\"name\":\"me\",\"pass\":\"pa55word\"}\r\nPING\r\n";
const CONFIRMING: &str = "CONNECT {\"verbose\": true}\r\nPING\r\n";

/// Scenario: a connection is made; subscriptions by pattern and group; messages with and without
/// headers go out and come in, one of which holds what looks like another; a request and its reply
/// out of order with another one, a request of somebody else.
/// Guarantees: one exchange for each, with its own sizes; each reply is its own request's.
#[test]
fn messages_and_requests() {
    let steps = [
        answer(INFO),
        ask(CONNECT),
        answer("PONG\r\n"),
        ask(
            "SUB _INBOX.me.* 1\r\nsub a.> workers 2\r\nPUB a.b 8\r\na\r\nPUB b\r\nPUB a.c 0\r\n\r\n",
        ),
        answer("MSG a.b 2 8\r\na\r\nPUB b\r\nMSG a.c 2 0\r\n\r\nPING\r\n"),
        ask(
            "PONG\r\nPUB q _INBOX.me.1 1\r\n1\r\nHPUB q _INBOX.me.2 12 13\r\nNATS/1.0\r\n\r\n2\r\n",
        ),
        answer("MSG _INBOX.me.2 1 2\r\n22\r\nMSG _INBOX.me.1 1 1\r\n1\r\n"),
        answer("MSG a.d 2 _INBOX.other.1 1\r\n?\r\n"),
        ask("PUB _INBOX.other.1 2\r\n!!\r\nUNSUB 2 7\r\nUNSUB 2\r\n"),
    ];
    let wanted = [
        "connect - -> ok 57>6",
        "subscribe _INBOX.me.* -> ok 19>0",
        "subscribe a.> -> ok 19>0",
        "publish a.b -> ok 21>0",
        "publish a.c -> ok 13>0",
        "deliver a.b -> ok 23>0",
        "deliver a.c -> ok 15>0",
        "request q -> ok 41>25",
        "request q -> ok 24>24",
        "deliver a.d -> ok 31>0",
        "publish _INBOX.other.1 -> ok 26>0",
        "unsubscribe a.> -> ok 11>0",
        "unsubscribe a.> -> ok 9>0",
    ];
    check(&Limits::default(), &steps, &wanted);
    let watched = watch(Role::Client, Limits::default(), &steps);
    let calls: Vec<_> = watched.out.iter().map(call).collect();
    assert!(
        calls
            .iter()
            .all(|call| call.client.as_deref() == Some("me") || call.operation == "connect")
    );
    let subscription = "messaging.destination.subscription.name";
    assert_eq!(detail(calls[5], subscription).as_deref(), Some("a.>"));
    assert_eq!(calls[5].group.as_deref(), Some("workers"));
    assert_eq!((calls[3].body_bytes, calls[7].body_bytes), (Some(8), Some(1)));
    let conversation = "messaging.message.conversation_id";
    assert_eq!(detail(calls[9], conversation), detail(calls[10], conversation));
    assert!(calls[10].temporary && !calls[9].temporary && calls[9].pushed);
    let kept = format!("{:?}", watched.out);
    assert!(!kept.contains("pa55word"), "{kept}");
}

/// Scenario: the server refuses a connection, complains of a subject, confirms every operation but
/// one that is not allowed, goes over to TLS; nobody takes a request, nobody answers one.
/// Guarantees: errors are those of what they belong to; what is encrypted is let go.
#[test]
fn errors() {
    check(
        &Limits::default(),
        &[answer(INFO), ask(CONNECT), answer("-ERR 'Authorization Violation'\r\n")],
        &["connect - -> Authorization Violation 57>32"],
    );
    check(
        &Limits::default(),
        &[
            answer(INFO),
            ask(CONFIRMING),
            answer("+OK\r\nPONG\r\n"),
            ask("SUB a 1\r\nPUB b 1\r\nb\r\nPUB c _INBOX.x 1\r\nc\r\nPUB d 1\r\nd\r\n"),
            answer("+OK\r\n-ERR 'Permissions Violation for Publish to \"b\"'\r\n+OK\r\n"),
            answer("HMSG _INBOX.x 9 16 16\r\nNATS/1.0 503\r\n\r\n\r\n+OK\r\n"),
        ],
        &[
            "connect - -> ok 27>5",
            "subscribe a -> ok 9>5",
            "publish b -> Permissions Violation 12>49",
            "request c -> 503 21>41",
            "publish d -> ok 12>5",
        ],
    );
    check(
        &Limits::default(),
        &[
            answer(INFO),
            ask("PUB b 1\r\nb\r\n"),
            answer("-ERR 'Permissions Violation for Publish to \"b\"'\r\n"),
        ],
        &["publish b -> ok 12>0", "error b -> Permissions Violation 49>0"],
    );

    let mut watched =
        watch(Role::Client, Limits::default(), &[answer(INFO), ask("PUB c _INBOX.x 1\r\nc\r\n")]);
    watched.time += Limits::default().answer_nanos_max + 1;
    watched.step(&ask("PING\r\n"));
    assert_eq!(watched.close(Closing::Reset), ["request c -> ok 21>0+ Unanswered"]);

    let tls = "INFO {\"server_id\":\"A\",\"tls_required\":true}\r\n";
    let mut watched = watch(Role::Client, Limits::default(), &[answer(tls), ask(b"\x16\x03\x01")]);
    assert_eq!(watched.following.followed(), Followed::Ignored);
    assert!(watched.close(Closing::Orderly).is_empty());
}

/// Scenario: JetStream stores a message, refuses a request and a message (as recorded), delivers one that is
/// acknowledged in every way, with a domain in front as well, has nothing to fetch, shows that it is there.
/// Guarantees: a message is published, stored or not; settling names what it settles; an empty fetch is no error;
/// signs of life are no messages.
#[test]
fn streams() {
    let steps = [
        answer(INFO),
        ask("SUB _INBOX.f 1\r\nPUB a _INBOX.r.1 1\r\na\r\nPUB b _INBOX.r.2 1\r\nb\r\n"),
        answer("MSG _INBOX.r.1 9 23\r\n{\"stream\":\"S\",\"seq\":71}\r\n"),
        answer("MSG _INBOX.r.2 9 36\r\n{\"error\":{\"code\":4,\"err_code\":1008}}\r\n"),
        ask("HPUB d _INBOX.r.3 45 46\r\nNATS/1.0\r\nNats-Expected-Last-Sequence: 99\r\n\r\nm\r\n"),
        answer(concat!(
            "MSG _INBOX.r.3 9 99\r\n{\"error\":{\"code\":400,\"err_code\":10071,\"description\":",
            "\"wrong last sequence: 2\"},\"stream\":\"S\",\"seq\":0}\r\n"
        )),
        ask("PUB $JS.API.CONSUMER.MSG.NEXT.S.c _INBOX.f 0\r\n\r\n"),
        answer("HMSG _INBOX.f 1 16 16\r\nNATS/1.0 100\r\n\r\n\r\n"),
        answer(
            "MSG a 1 $JS.ACK.S.c.1.71.1.99.0 1\r\na\r\nMSG b 1 $JS.ACK._.H.S.c.2.72.2.99.0.rnd 1\r\nb\r\n",
        ),
        ask("PUB $JS.ACK.S.c.1.71.1.99.0 4\r\n+WPI\r\nPUB $JS.ACK.S.c.1.71.1.99.0 0\r\n\r\n"),
        ask(
            "PUB $JS.ACK._.H.S.c.2.72.2.99.0.rnd 4\r\n-NAK\r\nPUB $JS.API.CONSUMER.MSG.NEXT.S.c _INBOX.f 0\r\n\r\n",
        ),
        answer("HMSG _INBOX.f 1 16 16\r\nNATS/1.0 408\r\n\r\n\r\n"),
    ];
    let wanted = [
        "subscribe _INBOX.f -> ok 16>0",
        "publish a -> ok 23>44",
        "request b -> 1008 23>58",
        "publish d -> 10071 74>121",
        "fetch $JS.API.CONSUMER.MSG.NEXT.S.c -> ok 46>36",
        "deliver a -> ok 37>0",
        "deliver b -> ok 45>0",
        "in_progress a -> ok 37>0",
        "ack a -> ok 33>0",
        "nak b -> ok 45>0",
        "fetch $JS.API.CONSUMER.MSG.NEXT.S.c -> ok 46>41",
    ];
    let told = play(Role::Client, &Limits::default(), &steps);
    let without_sizes =
        |one: &str| one.rsplit_once(' ').map(|(what, _)| what.to_owned()).unwrap_or_default();
    let told: Vec<_> = told.iter().map(|one| without_sizes(one)).collect();
    assert_eq!(told, wanted.map(without_sizes));
    let watched = watch(Role::Client, Limits::default(), &steps);
    let calls: Vec<_> = watched.out.iter().map(call).collect();
    assert_eq!(detail(calls[6], "icecore.nats.delivery.count").as_deref(), Some("2"));
    assert_eq!((calls[6].group.as_deref(), calls[8].handling), (Some("c"), Some(Handling::Settle)));
    assert_eq!(detail(calls[1], "icecore.nats.stream.sequence").as_deref(), Some("71"));
    assert_eq!(calls[10].messages, Some(0));
}

/// Scenario: a trace goes with a message; a large payload is not copied but for its beginning.
/// Guarantees: the trace is honoured; sizes are exact, what follows is understood.
#[test]
fn headers_and_large_payloads() {
    let headers = "NATS/1.0\r\nTraceparent: 00-aa-bb-01\r\nNats-Msg-Id: m1\r\n\r\n";
    let bytes = headers.len() + 100_000;
    let line = format!("HPUB a.b {} {bytes}\r\n{headers}", headers.len());
    let mut watched = watch(Role::Server, Limits::default(), &[answer(INFO)]);
    watched.segment(true, line.as_bytes(), 100_000);
    watched.segment(true, b"\r\nPUB c 1\r\nc\r\n", 0);
    assert_eq!(watched.out[0].request_header("traceparent"), Some("00-aa-bb-01"));
    assert_eq!(detail(call(&watched.out[0]), "messaging.message.id").as_deref(), Some("m1"));
    assert_eq!(call(&watched.out[0]).body_bytes, Some(100_000));
    let first = format!("publish a.b -> ok {}>0", line.len() + 100_002);
    assert_eq!(watched.close(Closing::Orderly), [first, "publish c -> ok 12>0".to_owned()]);
}

/// Scenario: the probe starts amid a payload and amid a request; other protocols that look alike.
/// Guarantees: messages are found by their ends; nothing is made up; others are left alone.
#[test]
fn started_amid_and_others() {
    let mut watched = Watched::new(Role::Client, Limits::default(), false);
    watched.step(&answer("of a payload\r\nMSG _INBOX.x 1 1\r\n1\r\n"));
    watched.step(&answer("MSG a 1 1\r\n1\r\n"));
    watched.step(&ask("rest\r\nPUB b 1\r\nb\r\n"));
    watched.step(&ask("PUB c 1\r\nc\r\n"));
    let told = watched.close(Closing::Orderly);
    assert_eq!(told, ["deliver a -> ok 14>0", "publish b -> ok 12>0", "publish c -> ok 12>0"]);
    for bytes in [
        "PUB b 1\r\nbbb",
        "MSG a b\r\n",
        "INFO\r\n",
        "PUB a.b -1\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\n\r\n",
    ] {
        let mut watched = watch(Role::Server, Limits::default(), &[ask(bytes)]);
        assert!(watched.out.is_empty(), "{bytes}");
        let told = watched.close(Closing::Orderly);
        assert!(
            told.iter().all(|one| !one.contains("publish") && !one.contains("deliver")),
            "{told:?}"
        );
    }
}

/// Scenario: nats-py with nats-server, recorded: messages, requests, JetStream; cut at every byte, and
/// with every chunk lost.
/// Guarantees: cuts change nothing, losses make nothing up and are got over.
#[test]
fn recorded_conversation() {
    let again = [ask("PUB again 3\r\nyes\r\n"), answer("MSG again.too 1 2\r\nno\r\n")];
    let steps = recorded(include_str!("recorded.txt"));
    let told = play(Role::Client, &Limits::default(), &steps);
    assert_eq!(told.len(), 19, "{told:#?}");
    for wanted in [
        "request none -> 503 ",
        "publish kept.1 -> ok ",
        "ack kept.1 -> ok ",
        "deliver orders.new -> ok ",
    ] {
        assert!(told.iter().any(|one| one.starts_with(wanted)), "{wanted}: {told:#?}");
    }
    for role in [Role::Server, Role::Client] {
        check_cuts(role, &Limits::default(), &steps);
        // What is lost may have been a reply: that is waited for only so long.
        let limits = Limits { answer_nanos_max: 1_000_000_000, ..Limits::default() };
        for chunk in [16, 64, 1_000] {
            check_losses(role, &limits, &steps, &again, chunk);
        }
    }
}
