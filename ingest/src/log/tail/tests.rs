//! Reading the log as the bridge does.

use icecore_store::Signal;

use super::super::faults::FaultyFolder;
use super::super::harness::{Log, SETTINGS};
use super::*;

/// Scenario: a reader asks for a little, for much, for one frame larger than it asked for, and
/// across segments.
/// Guarantees: at least one item where there is one, about as much as asked for, each once.
#[test]
fn a_reader_gets_what_it_asks_for() {
    let folder = FaultyFolder::default();
    let (mut log, _) = Log::open(&folder, SETTINGS);
    let payloads: Vec<Vec<u8>> = (1..20_u8).map(|n| vec![n; usize::from(n) * 11]).collect();
    for payload in &payloads {
        log.commit(&[payload])[0].unwrap();
    }
    assert!(folder.disk_files() > 5, "several segments");
    for bytes_max in [0, 1, 50, 130, 1_000_000] {
        let items = log.read_all(LogPosition(0), bytes_max);
        let read: Vec<&[u8]> = items.iter().map(|item| item.payload.as_ref()).collect();
        assert_eq!(read, payloads, "{bytes_max} bytes at a time");
        assert!(items.iter().all(|item| item.signal == Signal::Traces));
    }
    assert_eq!(log.tail.read_now(LogPosition(0), 1).unwrap().len(), 1);
    let end = *log.tail.end().borrow();
    assert!(log.tail.read_now(end, 1).unwrap().is_empty());
    assert!(log.tail.read_now(LogPosition(end.0 + 9), 1).unwrap().is_empty());
}

/// Scenario: a reader waits for the end to move.
/// Guarantees: it is woken by the next commit, and what it then reads is the new frame.
#[tokio::test]
async fn a_waiting_reader_is_woken() {
    let folder = FaultyFolder::default();
    let (mut log, _) = Log::open(&folder, SETTINGS);
    let mut end = log.tail.end();
    let from = *end.borrow_and_update();
    log.commit(&[b"new"])[0].unwrap();
    end.changed().await.unwrap();
    let items = log.tail.read(from, 100).await.unwrap();
    assert_eq!(items.len(), 1);
    assert_eq!(items[0].payload, "new");
    assert_eq!(items[0].next, *end.borrow());
}

/// Scenario: a segment's file is shorter than it was, or gone.
/// Guarantees: the reader goes on behind it, or is told where the log begins; it never hangs.
#[test]
fn a_reader_survives_missing_bytes() {
    let folder = FaultyFolder::default();
    let (mut log, _) = Log::open(&folder, SETTINGS);
    let payload = [7; 180];
    let appended: Vec<_> = (0..3).map(|_| log.commit(&[&payload])[0].unwrap()).collect();
    let name = Segment { first: appended[1].position, bytes: 0 }.name();
    folder.damage(&name, |bytes| bytes.truncate(50));
    let items = log.read_all(LogPosition(0), 1000);
    let positions: Vec<LogPosition> = items.iter().map(|item| item.position).collect();
    assert_eq!(positions, [appended[0].position, appended[2].position]);
    folder.damage(&name, Vec::clear);
    assert_eq!(log.read_all(LogPosition(0), 1000).len(), 2);
}
