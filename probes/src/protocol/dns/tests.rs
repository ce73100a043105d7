//! Conversations by DNS, one by one.

use std::sync::Arc;

use super::message::code_name;
use super::*;
use crate::protocol::script::{Watched, answer, ask, check, check_losses, told};
use crate::protocol::{Closing, Failure, Limits, Role};

fn name(text: &str) -> Vec<u8> {
    let labels = text.split('.').filter(|label| !label.is_empty());
    let label = |label: &str| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat();
    [labels.map(label).collect::<Vec<_>>().concat(), vec![0]].concat()
}

/// A message with one question and so many records of addresses, each named by a reference.
fn message(id: u16, flags: u16, text: &str, kind: u16, addresses: &[&[u8]]) -> Vec<u8> {
    let count = u16::try_from(addresses.len()).unwrap();
    let words =
        |words: &[u16]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>();
    let mut bytes = words(&[id, flags, 1, count, 0, 0]);
    bytes.extend(name(text));
    bytes.extend(words(&[kind, 1]));
    for address in addresses {
        bytes.extend([0xc0, 12]);
        bytes.extend(words(&[kind, 1, 0, 60, u16::try_from(address.len()).unwrap()]));
        bytes.extend(*address);
    }
    bytes
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat()
}

const QUERY: u16 = 0x0100;
const ANSWER: u16 = 0x8180;
/// A part of a zone: an answer without a question.
const PART: &[u8] = &[0, 3, 0x81, 0x80, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3];

/// Scenario: addresses of both kinds, a name with odd bytes, the root, a code, an answer that is cut
/// off, and bytes that are no message.
/// Guarantees: what they say; nothing of the others.
#[test]
fn messages() {
    let two: [&[u8]; 2] = [&[192, 0, 2, 7], &[192, 0, 2, 8]];
    let read = Message::read(&message(7, ANSWER, "a.test", 1, &two)).unwrap();
    assert_eq!((read.id, read.is_answer, read.code), (7, true, 0));
    assert_eq!((&*read.question.name, &*read.question.kind()), ("a.test", "A"));
    assert_eq!(read.answers, ["192.0.2.7", "192.0.2.8"]);
    let v6 = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[7]].concat();
    let read = Message::read(&message(7, 0x8383, "a\\ü.test", 28, &[&v6])).unwrap();
    assert_eq!((&*read.question.name, read.truncated), ("a\\\\\\195\\188.test", true));
    assert_eq!((&*read.answers[0], &*code_name(read.code)), ("2001:db8::7", "NXDOMAIN"));
    assert_eq!(Message::read(&message(7, QUERY, "", 65_280, &[])).unwrap().question.name, ".");
    let whole = message(7, ANSWER, "a.test", 1, &two);
    for cut in 0..whole.len() {
        let read = Message::read(&whole[..cut]);
        assert_eq!(read.is_some(), cut >= 24, "at {cut}");
    }
    let mut endless = message(7, QUERY, "a.test", 1, &[]);
    endless[12..14].copy_from_slice(&[0xc0, 12]);
    let mut other_kind = message(7, QUERY, "a.test", 1, &[]);
    other_kind[2] = 0x28;
    let answers_itself = message(7, QUERY, "a.test", 1, &two);
    for bad in [endless, other_kind, vec![0; 40], answers_itself] {
        assert_eq!(Message::read(&bad), None, "{bad:?}");
    }
}

/// Scenario: questions over TCP, several at once and answered in another order; a zone in parts; an
/// end before the answer.
/// Guarantees: each has its own answer; what was not answered says so.
#[test]
fn over_tcp() {
    let query = |id, text: &str, kind| framed(&message(id, QUERY, text, kind, &[]));
    let found = |id, text: &str| framed(&message(id, ANSWER, text, 1, &[&[192, 0, 2, 7]]));
    let zone = framed(&message(3, ANSWER, "zone.test", 252, &[]));
    let steps = [
        ask([query(1, "one.test", 1), query(2, "two.test", 1)].concat()),
        answer([found(2, "two.test"), found(1, "one.test")].concat()),
        ask(query(3, "zone.test", 252)),
        answer([zone, framed(PART)].concat()),
        ask(query(4, "lost.test", 1)),
    ];
    let wanted = [
        "A two.test NOERROR [192.0.2.7] 26>42",
        "A one.test NOERROR [192.0.2.7] 26>42",
        "AXFR zone.test NOERROR [] 27>27",
        "A lost.test - [] 27>0+ Closed",
    ];
    check(&Limits::default(), &steps, &wanted);
    let again = [ask(query(9, "again.test", 1)), answer(found(9, "again.test"))];
    let limits = Limits { answer_nanos_max: 1_000_000_000, ..Limits::default() };
    for role in [Role::Server, Role::Client] {
        check_losses(role, &limits, &steps[..4], &again, 16);
        check_losses(role, &limits, &steps[..4], &again, 200);
    }
    let mut watched = Watched::new(Role::Client, Limits::default(), true);
    watched.step(&ask(query(1, "slow.test", 1)));
    watched.time += 10_000_000_000;
    watched.step(&ask(query(2, "next.test", 1)));
    let told: Vec<_> = watched.out.iter().map(told).collect();
    assert_eq!(told, ["A slow.test - [] 27>0+ Unanswered"]);
    assert_eq!(watched.out[0].failure, Some(Failure::Unanswered));
    watched.close(Closing::Unwatched);
}

/// Scenario: a client that asks again, two clients of a server with one number, answers that nobody
/// asked for, more questions than may wait; then two sockets, one after the other under one identity, that ask the same.
/// Guarantees: asking again is no new question for its client; answers go to the right socket; the
/// oldest is shed; what another socket asks is a question of its own, and its answer is no other's.
#[test]
fn in_datagrams() {
    let limits = Arc::new(Limits::default());
    let mut questions = Questions::new(2, limits.answer_nanos_max);
    let read = |flags| Message::read(&message(5, flags, "a.test", 1, &[])).unwrap();
    let socket = |id| Socket { id, port: 7 };
    let passed = |id, role| Passed { socket: socket(id), role, ordinal: None, time: 1, bytes: 24 };
    assert!(questions.ask(passed(1, Role::Client), read(QUERY), "a").is_none());
    assert!(questions.ask(passed(1, Role::Client), read(QUERY), "again").is_none());
    assert!(questions.ask(passed(2, Role::Server), read(QUERY), "b").is_none());
    assert!(questions.answered(socket(3), &read(ANSWER)).is_none());
    let asked = questions.answered(socket(1), &read(ANSWER)).unwrap();
    let (exchange, by) = asked.answered_by(read(ANSWER), 9, 24);
    assert_eq!((told(&exchange), by), ("A a.test NOERROR [] again 1 24>24".to_owned(), "a"));
    assert!(questions.ask(passed(2, Role::Server), read(QUERY), "c").is_none());
    let shed = questions.ask(passed(2, Role::Server), read(QUERY), "d").unwrap();
    assert_eq!(shed.by, "b");
    assert!(questions.overdue(limits.answer_nanos_max).is_none());
    assert_eq!(questions.overdue(limits.answer_nanos_max + 1).unwrap().by, "c");
    drop(questions.give_up());
    let later = Socket { id: 1, port: 8 };
    assert!(questions.ask(passed(1, Role::Client), read(QUERY), "e").is_none());
    let asked = Passed { socket: later, ..passed(1, Role::Client) };
    assert!(questions.ask(asked, read(QUERY), "f").is_none());
    assert_eq!(questions.answered(later, &read(ANSWER)).unwrap().by, "f");
    assert_eq!(questions.give_up().unwrap().by, "e");
}
