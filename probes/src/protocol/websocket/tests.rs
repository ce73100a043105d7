//! Conversations over WebSocket, one by one.

use super::*;
use crate::protocol::script::{Step, Watched, answer, ask, check, check_losses, told};
use crate::protocol::{Followed, Limits};

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const MORE: u8 = 0;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const LAST: u8 = 0x80;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn frame(first: u8, masked: bool, payload: &[u8]) -> Vec<u8> {
    let bit = if masked { 0x80 } else { 0 };
    let mut frame = match u16::try_from(payload.len()) {
        Ok(len @ 0..=125) => vec![first, bit | u8::try_from(len).unwrap()],
        Ok(len) => [&[first, bit | 126], &len.to_be_bytes()[..]].concat(),
        Err(_) => [&[first, bit | 127], &(payload.len() as u64).to_be_bytes()[..]].concat(),
    };
    if masked {
        frame.extend(MASK);
        frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    } else {
        frame.extend(payload);
    }
    frame
}

fn client(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(first, true, payload)
}

fn server(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(first, false, payload)
}

/// The upgrade, with what the server says right behind it.
fn upgrade(more: &[u8]) -> [Step; 2] {
    let request = "GET /chat?room=1 HTTP/1.1\r\nHost: chat.example\r\nUpgrade: websocket\r\n\
                   Connection: Upgrade\r\nSec-WebSocket-Key: x\r\n\r\n";
    let response = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n\
                    Connection: Upgrade\r\nSec-WebSocket-Accept: y\r\n\r\n";
    [ask(request), answer([response.as_bytes(), more].concat())]
}

fn steps(parts: &[Step]) -> Vec<Step> {
    upgrade(&server(LAST | TEXT, b"welcome")).into_iter().chain(parts.iter().cloned()).collect()
}

/// Scenario: messages of all sizes both ways, in parts with a ping between, a goodbye of both.
/// Guarantees: the upgrade as HTTP; behind it messages and bytes without framing, and the code.
#[test]
fn a_conversation() {
    let long = vec![b'x'; 70_000];
    let parts = [
        ask([client(BINARY, b"first"), client(LAST | PING, b"hi"), client(LAST | MORE, b" part")]
            .concat()),
        answer([server(LAST | TEXT, &[b'y'; 200]), server(LAST | 10, b"hi")].concat()),
        ask(client(LAST | TEXT, b"")),
        answer(server(LAST | CLOSE, &[3, 0xe8])),
        ask(client(LAST | CLOSE, &[3, 0xe8])),
    ];
    let upgraded = "GET /chat?room=1 101 0>0";
    check(&Limits::default(), &steps(&parts), &[upgraded, "/chat?room=1 1000 2>2 10>207"]);

    let mut watched = Watched::new(Role::Server, Limits::default(), true);
    steps(&[]).iter().for_each(|step| watched.step(step));
    watched.step(&ask(client(LAST | TEXT, &long)));
    watched.step(&answer(server(LAST | TEXT, &long)));
    watched.step(&ask(client(LAST | CLOSE, b"\x03\xf1bad")));
    assert_eq!(watched.following.followed(), Followed::Parsing(Role::Server));
    watched.step(&answer(server(LAST | CLOSE, b"")));
    assert_eq!(watched.following.followed(), Followed::Ignored);
    assert_eq!(watched.out.last().map(told).unwrap(), "/chat?room=1 1009 1>2 70000>70007");
    assert_eq!(watched.out[1].ordinal, Some(1));
    assert_eq!(watched.out[1].request_header("host"), Some("chat.example"));
}

/// Scenario: connections that end without a goodbye, with one of one side, or in a message.
/// Guarantees: only the first and the last are failures, and say which.
#[test]
fn ends() {
    let close = |parts: &[Step], closing| {
        let mut watched = Watched::new(Role::Client, Limits::default(), true);
        steps(parts).iter().for_each(|step| watched.step(step));
        watched.close(closing).pop().unwrap()
    };
    let goodbye = [ask(client(LAST | CLOSE, &[3, 0xe9]))];
    assert_eq!(close(&goodbye, Closing::Reset), "/chat?room=1 1001 0>1 0>7");
    assert_eq!(close(&[], Closing::Orderly), "/chat?room=1 - 0>1 0>7 Closed");
    assert_eq!(close(&[], Closing::Unwatched), "/chat?room=1 - 0>1 0>7 Unseen");
    let cut = [ask(&client(LAST | TEXT, b"hello")[..8])];
    assert_eq!(close(&cut, Closing::Reset), "/chat?room=1 - 0>1 2>7 Reset");
}

/// Scenario: messages of which the middle was not copied, or more than their rest, or which were lost.
/// Guarantees: the first are exact, the others lower bounds; what follows is counted.
#[test]
fn losses() {
    let mut watched = Watched::new(Role::Server, Limits::default(), true);
    steps(&[]).iter().for_each(|step| watched.step(step));
    watched.segment(true, &client(LAST | TEXT, &[b'x'; 9_000])[..100], 8_908);
    watched.step(&ask(client(LAST | TEXT, b"hello")));
    watched.segment(false, &server(LAST | TEXT, &[b'x'; 100])[..10], 100);
    watched.step(&answer(b"\x20no frame"));
    watched.step(&answer(server(LAST | TEXT, b"next")));
    watched.step(&answer(server(LAST | CLOSE, &[3, 0xe8])));
    watched.step(&ask(client(LAST | CLOSE, b"")));
    let told = watched.close(Closing::Orderly).pop().unwrap();
    assert_eq!(told, "/chat?room=1 1000 2>\u{2026} 9005>111+");

    let parts = [
        ask(client(LAST | TEXT, &[b'q'; 300])),
        answer(server(LAST | TEXT, &[b'a'; 40])),
        ask(client(LAST | CLOSE, &[3, 0xe8])),
        answer(server(LAST | CLOSE, &[3, 0xe8])),
    ];
    check_losses(Role::Client, &Limits::default(), &steps(&parts), &[], 16);
    check_losses(Role::Server, &Limits::default(), &steps(&parts), &[], 7);
}
