//! What passes by UDP on the real kernel: what the sockets of another process have counted.

use std::io::{BufRead, BufReader, Write};

use icecore_probe_events::Talk;
use serde_json::Value;

use super::{peer, skipped};
use crate::attach::Chat;
use crate::config::{CaptureConfig, RungChoice};
use crate::load::load;
use crate::profile::ProfileConfig;

/// One in so many rounds is made: where this runs on other kernels, each takes long.
const SHARE: u64 = 5;

/// Scenario: datagrams of all kinds between two sockets each, seen by the socket tracepoints.
/// Guarantees: at each end the bytes and datagrams that the sockets have counted, and at the one that answers the other
/// one's address; what threads with other names have moved has the name of their process.
#[test]
fn datagrams_are_counted_by_tracepoints() {
    check(RungChoice::BtfTracepoints);
}

/// Scenario: the same, seen on the functions of UDP.
/// Guarantees: the same.
#[test]
fn datagrams_are_counted_by_functions() {
    check(RungChoice::Functions);
}

fn check(rung: RungChoice) {
    let mut client = peer("datagrams_client.py", &[&SHARE.to_string()]);
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    let config = CaptureConfig { rung, ..CaptureConfig::default() };
    let loaded = match load(&config, &ProfileConfig::default()) {
        Ok(loaded) => loaded,
        Err(error) => {
            drop(client.kill());
            drop(client.wait());
            return skipped(error);
        }
    };
    assert!(loaded.senders);
    client.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let rows: Vec<Value> = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    let pid = client.id();
    assert!(client.wait().unwrap().success());
    let mut chats = loaded.datagrams.unwrap().take();
    assert!(chats.iter().all(|chat| chat.talk != Talk::ELSEWHERE), "one found no place");
    chats.retain(|chat| chat.talk.pid == pid);
    assert!(rows.len() >= 26, "{rows:?}");
    rows.iter().for_each(|row| check_row(row, &chats));
    let named = |chat: &Chat| chat.comm.starts_with("python") && chat.talk.started > 0;
    assert!(chats.iter().all(named), "{chats:?}");
}

fn check_row(row: &Value, chats: &[Chat]) {
    let number = |key: &str| row[key].as_u64().unwrap();
    let (sent, received) = (number("sent"), number("received"));
    let (asked, answered) = (number("asked"), number("answered"));
    let at_end = |is_client: bool| {
        let at = move |chat: &&Chat| {
            let port = u64::from(chat.talk.port) == row["port"].as_u64().unwrap();
            port && (chat.talk.client != 0) == is_client
        };
        chats.iter().filter(at)
    };
    // Two clients ask one server, each from an address of its own.
    let shared = row["kind"] == "threads";
    let at_server = total(at_end(false).filter(|chat| !shared || is_of(row, chat)));
    assert_eq!(at_server, [received, sent, answered, asked], "{row}: {chats:?}");
    if !shared {
        assert_eq!(total(at_end(true)), [sent, received, asked, answered], "{row}: {chats:?}");
    }
    let [_, _, _, heard] = total(at_end(false).filter(|chat| is_of(row, chat)));
    assert_eq!(heard, asked, "{row}: {chats:?}");
}

fn total<'c>(chats: impl Iterator<Item = &'c Chat>) -> [u64; 4] {
    chats.fold([0; 4], |sum, chat| std::array::from_fn(|at| sum[at] + chat.moved[at]))
}

/// The other end is who the row says.
fn is_of(row: &Value, chat: &Chat) -> bool {
    let address = crate::connection::address(chat.talk.remote_addr, chat.talk.version == 6);
    match row["seen"].as_str() {
        Some(seen) => address.to_canonical().to_string() == seen,
        None => address.is_unspecified(),
    }
}
