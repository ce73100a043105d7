//! Remote procedure calls over HTTP/2, those of browsers among them.

use super::*;

/// Scenario: gRPC calls of all four kinds, errors with and without messages, one that the client
/// cancels, one whose time is up, one that no gRPC server answers, and some that the server ends before it has the
/// message.
/// Guarantees: method, status, messages and bytes each way; messages that may still be under way are not counted as none.
#[test]
fn remote_procedure_calls() {
    let mut ends = Ends::new();
    let answered = [(":status", "200"), ("content-type", "application/grpc")];
    let ok = [("grpc-status", "0"), ("grpc-message", "")];
    let mut refused = answered.to_vec();
    refused.extend([("grpc-status", "12"), ("grpc-message", "nobody")]);
    let last = |stream, bytes: Vec<u8>| frame(DATA, END_STREAM, stream, bytes);
    let cancel = |stream| frame(RESET, 0, stream, 8_u32.to_be_bytes());
    let steps = steps([
        ask([ends.call(1, "/a.S/Unary", &[]), last(1, message(5))].concat()),
        answer(
            [
                ends.fields(1, 0, &answered),
                frame(DATA, 0, 1, message(7)),
                ends.fields(1, END_STREAM, &ok),
            ]
            .concat(),
        ),
        ask([
            ends.call(3, "/a.S/Upload", &[]),
            frame(DATA, 0, 3, [message(1), message(2)].concat()),
        ]
        .concat()),
        ask(last(3, message(0))),
        answer(
            [
                ends.fields(3, 0, &answered),
                frame(DATA, 0, 3, message(0)),
                ends.fields(3, END_STREAM, &ok),
            ]
            .concat(),
        ),
        ask([ends.call(5, "/a.S/Download", &[]), last(5, message(0))].concat()),
        answer([ends.fields(5, 0, &answered), frame(DATA, 0, 5, message(300))].concat()),
        answer(
            [frame(DATA, 0, 5, message(300)), ends.fields(5, END_STREAM, &[("grpc-status", "13")])]
                .concat(),
        ),
        ask([ends.call(7, "/a.S/Both", &[]), frame(DATA, 0, 7, message(4))].concat()),
        answer([ends.fields(7, 0, &answered), frame(DATA, 0, 7, message(4))].concat()),
        answer(ends.fields(7, END_STREAM, &[("grpc-status", "8")])),
        ask([ends.call(9, "/a.S/Nothing", &[]), last(9, message(1))].concat()),
        answer(ends.fields(9, END_STREAM, &refused)),
        ask([ends.call(11, "/a.S/Cancelled", &[("grpc-timeout", "9S")]), cancel(11)].concat()),
        ask([ends.call(13, "/a.S/Late", &[("grpc-timeout", "1n")]), cancel(13)].concat()),
        ask([ends.call(15, "/a.S/Proxy", &[]), last(15, message(1))].concat()),
        answer(ends.status(15, END_STREAM, "503")),
        ask(ends.call(17, "/a.S/Early", &[])),
        answer(ends.fields(17, END_STREAM, &refused)),
        ask(last(17, message(1))),
        ask(ends.call(19, "/a.S/Reset", &[])),
        answer(frame(RESET, 0, 19, 7_u32.to_be_bytes())),
    ]);
    let wanted = [
        "a.S/Unary OK 1>1 10>12",
        "a.S/Upload OK 3>1 18>5",
        "a.S/Download INTERNAL 1>2 5>610",
        "a.S/Both RESOURCE_EXHAUSTED …>1 9+>9",
        "a.S/Nothing UNIMPLEMENTED 1>0 6>0",
        "a.S/Cancelled CANCELLED 0>0 0+>0+",
        "a.S/Late DEADLINE_EXCEEDED 0>0 0+>0+",
        "a.S/Proxy UNAVAILABLE 1>0 6>0",
        "a.S/Early UNIMPLEMENTED …>0 0+>0",
        "a.S/Reset UNAVAILABLE …>0 0+>0+",
    ];
    check(&Limits::default(), &steps, &wanted);
}

/// Scenario: gRPC for browsers: the fields that end a response stand in its body, as bytes and as text, or
/// in its head where there is no body.
/// Guarantees: they are calls like others, and what ends them is no message.
#[test]
fn calls_of_browsers() {
    let mut ends = Ends::new();
    let part = |flag: u8, body: &[u8]| {
        [&[flag][..], &u32::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
    };
    let binary = [part(0, b"hello"), part(0x80, b"grpc-status:7\r\ngrpc-message:no\r\n")].concat();
    let call = |ends: &mut Ends, stream, path, content| {
        let fields = [(":method", "POST"), (":scheme", "http"), (":path", path)];
        let fields: Vec<_> = fields.into_iter().chain([("content-type", content)]).collect();
        frame(HEADERS, END_HEADERS, stream, ends.client.block(&fields))
    };
    let web = "application/grpc-web+proto";
    let text = "application/grpc-web-text";
    // What `\0\0\0\0\x01a` and an `OK` behind it are as text, in pieces of their own.
    let [asked, said, ended] = ["AAAAAAFh", "AAAAAAFiAAAAAAFj", "gAAAABBncnBjLXN0YXR1czogMA0K"];
    let last = |stream, bytes: &[u8]| frame(DATA, END_STREAM, stream, bytes);
    let steps = steps([
        ask([call(&mut ends, 1, "/a.S/Web", web), last(1, &part(0, b"hi"))].concat()),
        answer(
            [ends.fields(1, 0, &[(":status", "200"), ("content-type", web)]), last(1, &binary)]
                .concat(),
        ),
        ask([call(&mut ends, 3, "/a.S/Text", text), last(3, asked.as_bytes())].concat()),
        answer(
            [
                ends.fields(3, 0, &[(":status", "200"), ("content-type", text)]),
                frame(DATA, 0, 3, said),
                last(3, ended.as_bytes()),
            ]
            .concat(),
        ),
        ask([call(&mut ends, 5, "/a.S/Bare", web), last(5, &part(0, b""))].concat()),
        answer(ends.fields(
            5,
            END_STREAM,
            &[(":status", "200"), ("content-type", web), ("grpc-status", "12")],
        )),
    ]);
    let wanted = [
        "a.S/Web PERMISSION_DENIED 1>1 7>47",
        "a.S/Text OK 1>2 8>44",
        "a.S/Bare UNIMPLEMENTED 1>0 5>0",
    ];
    check(&Limits::default(), &steps, &wanted);
}

/// Scenario: the probe starts amid a connection of gRPC: what says that it is gRPC was sent before.
/// Guarantees: it is told by its messages; a status that is not known is not made up; a body of
/// another form is HTTP.
#[test]
fn remote_procedure_calls_amid() {
    let mut ends = Ends::new();
    let answered = [(":status", "200"), ("content-type", "application/grpc")];
    let ok = [("grpc-status", "0")];
    let mut call = |stream, path: &str, body: &[u8]| {
        [
            ask([ends.call(stream, path, &[]), frame(DATA, END_STREAM, stream, body)].concat()),
            answer(
                [ends.fields(stream, 0, &answered), frame(DATA, 0, stream, message(7))].concat(),
            ),
            answer(ends.fields(stream, END_STREAM, &ok)),
        ]
    };
    drop(call(1, "/a.S/Before", &message(1)));
    let steps = [call(3, "/a.S/After", &message(5)), call(5, "/a.S/Other", b"a=b&c=d")].concat();
    for role in [Role::Server, Role::Client] {
        let mut watched = Watched::new(role, Limits::default(), false);
        steps.iter().for_each(|step| watched.step(step));
        let wanted = ["a.S/After - 1>1 10>12 Unseen", "POST /a.S/Other 200 7>12"];
        assert_eq!(watched.close(Closing::Orderly), wanted);
    }
}

/// Scenario: one segment carries what opens the connection, and three requests; a later one carries another; one
/// is answered. The same over HTTP/1.1, where requests are sent ahead.
/// Guarantees: each segment tells all that it has begun, in order, by numbers of their own; what an earlier one has
/// begun is not told again.
#[test]
fn all_that_a_segment_begins_is_told() {
    let mut ends = Ends::new();
    let first = [ends.get(1, "/a"), ends.get(3, "/b"), ends.get(5, "/c")].concat();
    let first = [PREFACE.as_slice(), &settings(), &first].concat();
    let get = |path| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let ahead = ["/a", "/b", "/c"].map(get).concat().into_bytes();
    let of_both = [(first, ends.get(7, "/d")), (ahead, get("/d").into_bytes())];
    for (first, second) in of_both {
        let mut following = crate::protocol::Following::new(Arc::default(), true);
        let mut begins = |captured: &[u8], time| {
            let direction = Direction::Outbound;
            let segment = Segment { direction, time, captured, omitted: 0, gap_before: false };
            following.feed(&segment, &mut Vec::new());
            let newest = following.newest().and_then(|it| it.ordinal);
            let numbers = following.beside(time).iter().map(|it| it.ordinal.unwrap()).collect();
            (numbers, newest)
        };
        assert_eq!(begins(&first, 10), (vec![0, 1], Some(2)));
        assert_eq!(begins(&second, 20), (Vec::<u64>::new(), Some(3)));
    }
}
