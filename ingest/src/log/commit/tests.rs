//! The group commit against full disks, failing syncs and bounds.

use super::super::disk::Folder;
use super::super::faults::FaultyFolder;
use super::super::frame::HEAD_BYTES;
use super::super::harness::{CONTENTS, Log, Outcome, SETTINGS};
use super::super::recover::recover;
use super::*;

const GROUPS: [&[&[u8]]; 3] = [&[b"first", b"second"], &[b"a longer payload, third"], &[b"4"]];

/// Commits the groups; returns the payloads that were acknowledged.
fn commit_all(log: &mut Log) -> Vec<&'static [u8]> {
    let mut kept = Vec::new();
    for group in GROUPS {
        let outcomes = log.commit(group);
        let acknowledged = group.iter().zip(outcomes).filter(|(_, outcome)| outcome.is_ok());
        kept.extend(acknowledged.map(|(payload, _)| *payload));
    }
    kept
}

/// Scenario: groups are committed with nothing in the way.
/// Guarantees: positions follow each other, and what is read equals what was written.
#[test]
fn what_is_acknowledged_is_read() {
    let folder = FaultyFolder::default();
    let (mut log, _) = Log::open(&folder, SETTINGS);
    let first = log.commit(&[b"one", b"two"]);
    let second = log.commit(&[b"three"]);
    let all: Vec<Appended> = first.into_iter().chain(second).map(Result::unwrap).collect();
    assert!(all.windows(2).all(|pair| pair[0].next == pair[1].position), "{all:?}");
    assert_eq!(log.payloads(), ["one", "two", "three"]);
    assert_eq!(*log.segments.end().borrow(), all[2].next);
}

/// Scenario: the disk is full after each possible number of bytes, then has room again; power is
/// lost at the end with part of what was not synced.
/// Guarantees: refused is not there, acknowledged is there once, and the log goes on by itself.
#[test]
fn a_full_disk_loses_nothing_that_was_acknowledged() {
    for room in 0..320 {
        let folder = FaultyFolder::default();
        let (mut log, _) = Log::open(&folder, SETTINGS);
        folder.disk().room = Some(room);
        let mut kept = commit_all(&mut log);
        folder.disk().room = None;
        let outcome = log.commit(&[b"after"]);
        assert!(outcome[0].is_ok(), "room again, with {room} bytes before");
        kept.push(b"after");
        assert_eq!(log.payloads(), kept, "room {room}");
        folder.lose_power(room % 7);
        let (log, recovered) = Log::open(&folder, SETTINGS);
        assert_eq!(log.payloads(), kept, "after a restart, room {room}");
        assert_eq!(recovered.damage, [], "failed writes were cut off, room {room}");
    }
}

/// Scenario: a sync fails; the disk may or may not let the failed part be cut off.
/// Guarantees: nobody of that group is acknowledged, nothing is written to that segment again,
/// positions are not reused, and later groups are acknowledged.
#[test]
fn a_failed_sync_fails_its_segment() {
    for failing_cuts in [false, true] {
        let folder = FaultyFolder::default();
        let (mut log, _) = Log::open(&folder, SETTINGS);
        let before = log.commit(&[b"before"])[0].unwrap();
        folder.disk().failing_syncs = 1;
        folder.disk().failing_cuts = failing_cuts;
        assert_eq!(log.commit(&[b"lost", b"lost too"]), [Err(LogRefusal::Failed); 2]);
        let after = log.commit(&[b"after"])[0].unwrap();
        assert!(after.position > before.next, "the failed positions are burnt");
        assert_eq!(log.payloads(), ["before", "after"]);
        let segments = folder.files().unwrap();
        assert_eq!(segments.len(), 2, "{segments:?}");
        let recovered = recover(&folder).unwrap();
        assert_eq!(recovered.next, after.next);
    }
}

/// Scenario: nothing can be written for a while.
/// Guarantees: failed attempts leave no files behind.
#[test]
fn a_broken_disk_gathers_no_empty_segments() {
    let folder = FaultyFolder::default();
    let (mut log, _) = Log::open(&folder, SETTINGS);
    folder.disk().room = Some(0);
    for _ in 0..50 {
        assert_eq!(log.commit(&[b"refused"]), [Err(LogRefusal::Full)]);
    }
    assert_eq!(folder.files().unwrap(), []);
    assert_eq!(log.payloads(), [""; 0]);
}

/// Scenario: the log reaches its bound; then the store covers a part; then a slow reader holds it.
/// Guarantees: refused at the bound, accepted again by itself; a slow reader keeps segments only
/// as long as there is room.
#[test]
fn a_full_log_refuses_and_recovers() {
    let folder = FaultyFolder::default();
    let settings = WriterSettings { log_bytes_max: 1000, ..SETTINGS };
    let (mut log, _) = Log::open(&folder, settings);
    let fill = |log: &mut Log| {
        let mut ends = Vec::new();
        while let Outcome::Ok(appended) = log.commit(&[&[0; 100 - HEAD_BYTES]])[0] {
            ends.push(appended.next);
        }
        ends
    };
    let ends = fill(&mut log);
    assert_eq!(ends.len(), 10, "ten frames of a hundred bytes");
    assert!(log.segments.bytes() <= 1000);

    log.segments.cover(ends[4]);
    let more = fill(&mut log);
    assert_eq!(more.len(), 4, "two segments of two frames are free again");
    assert!(log.segments.oldest() <= ends[4], "nothing uncovered was deleted");

    log.segments.retain("slow", log.segments.oldest());
    log.segments.cover(more[3]);
    let held = log.segments.oldest();
    assert!(log.commit(&[b"goes in at the cost of the slow reader"])[0].is_ok());
    assert!(log.segments.oldest() > held);
    let trimmed = log.tail.read_now(held, 1);
    assert!(matches!(trimmed, Err(icecore_store::PortError::Trimmed { .. })), "{trimmed:?}");
}

/// Scenario: the thread is given appends from several senders and then nobody can append any more.
/// Guarantees: all are answered, in the order of positions, and the thread ends.
#[test]
fn the_thread_answers_all_and_ends() {
    let folder = FaultyFolder::default();
    let (log, _) = Log::open(&folder, SETTINGS);
    let Log { segments, .. } = log;
    let clock = Arc::new(icecore_store::SystemClock::new());
    let metrics = super::super::harness::metrics();
    let start = *segments.end().borrow();
    let writer = Writer::new(SETTINGS, segments, start, clock, metrics);
    let (appends, queue) = mpsc::channel(4);
    let thread = std::thread::spawn(move || writer.run(queue));
    let (told, answers) = std::sync::mpsc::channel();
    for _ in 0..100 {
        let told = told.clone();
        let done = move |outcome: Outcome| told.send(outcome.unwrap().position).unwrap();
        let packed = Packed::plain(bytes::Bytes::from_static(b"span"));
        let (signal, contents) = (Signal::Traces, CONTENTS);
        let append = Append { signal, contents, packed, done: Box::new(done) };
        assert!(appends.blocking_send(append).is_ok());
    }
    drop((appends, told));
    thread.join().unwrap();
    let positions: Vec<LogPosition> = answers.iter().collect();
    assert_eq!(positions.len(), 100);
    assert!(positions.is_sorted());
}
