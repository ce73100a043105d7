//! Recovery against every cut, every damaged byte, and random histories.

use icecore_store::LogPosition;
use proptest::prelude::*;

use super::super::faults::FaultyFolder;
use super::super::harness::{Log, SETTINGS};
use super::*;
use crate::log::commit::Appended;

/// A log of five frames in one segment, and where they stand.
fn five() -> (FaultyFolder, Vec<Appended>) {
    let folder = FaultyFolder::default();
    let settings = super::super::commit::WriterSettings { segment_bytes_max: 10_000, ..SETTINGS };
    let (mut log, _) = Log::open(&folder, settings);
    let outcomes = log.commit(&[b"one", b"two", b"three", b"four", b"five"]);
    (folder, outcomes.into_iter().map(Result::unwrap).collect())
}

fn first_name() -> String {
    Segment { first: LogPosition(0), bytes: 0 }.name()
}

/// Scenario: the process dies while the last frame is being written, at every byte of it.
/// Guarantees: whole frames are found, the torn one is cut off and reported, positions go on
/// after it.
#[test]
fn a_torn_tail_ends_the_log() {
    let (_, frames) = five();
    let (start, end) = (frames[4].position.0, frames[4].next.0);
    for len in start..=end {
        let (folder, _) = five();
        folder.damage(&first_name(), |bytes| bytes.truncate(usize::try_from(len).unwrap()));
        let (log, recovered) = Log::open(&folder, SETTINGS);
        let whole = if len == end { 5 } else { 4 };
        assert_eq!(log.payloads().len(), whole, "cut at {len}");
        assert_eq!(recovered.next, LogPosition(len));
        let torn = Damage { position: LogPosition(start), bytes: len - start, torn: true };
        let expected = if (start + 1..end).contains(&len) { vec![torn] } else { vec![] };
        assert_eq!(recovered.damage, expected, "cut at {len}");
        assert_eq!(recover(&folder).unwrap().damage, [], "the tail was cut off");
    }
}

/// Scenario: each byte of a frame in the middle is damaged in turn.
/// Guarantees: exactly that frame is lost and reported with its place; all others are read.
#[test]
fn damage_in_the_middle_is_skipped() {
    let (_, frames) = five();
    let (start, end) = (frames[2].position, frames[2].next);
    for at in start.0..end.0 {
        let (folder, _) = five();
        folder.damage(&first_name(), |bytes| bytes[usize::try_from(at).unwrap()] ^= 0x55);
        let (log, recovered) = Log::open(&folder, SETTINGS);
        let damage = Damage { position: start, bytes: end.0 - start.0, torn: false };
        assert_eq!(recovered.damage, [damage], "byte {at}");
        assert_eq!(recovered.frames, 4);
        for bytes_max in [1, 40, 10_000] {
            let items = log.read_all(LogPosition(0), bytes_max);
            let payloads: Vec<_> = items.iter().map(|item| item.payload.as_ref()).collect();
            assert_eq!(payloads, [&b"one"[..], b"two", b"four", b"five"], "byte {at}");
        }
    }
}

/// Scenario: files of other names, an empty segment, zeros after the last frame.
/// Guarantees: none of them is taken for data.
#[test]
fn foreign_files_and_zeros_are_no_data() {
    let (folder, frames) = five();
    folder.damage("writer", |bytes| bytes.extend_from_slice(b"id"));
    folder.damage("12.log", |bytes| bytes.extend_from_slice(b"short name"));
    folder.damage(&first_name(), |bytes| bytes.resize(bytes.len() + 4096, 0));
    let (log, recovered) = Log::open(&folder, SETTINGS);
    assert_eq!(log.payloads().len(), 5);
    let torn = Damage { position: frames[4].next, bytes: 4096, torn: true };
    assert_eq!(recovered.damage, [torn]);
    assert_eq!(recovered.next.0, frames[4].next.0 + 4096);
}

/// What can happen to a log.
#[derive(Debug, Clone)]
enum Step {
    /// A group of payloads of these sizes.
    Commit(Vec<u8>),
    /// The disk takes so many bytes more, then fails until the next step of this kind.
    Room(Option<u8>),
    /// So many syncs fail.
    FailSyncs(u8),
    /// The store covers what was acknowledged up to this one (of those that are left).
    Cover(u8),
    /// Power is lost; so many bytes beyond the synced ones are still there.
    Die(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => prop::collection::vec(0..120u8, 1..5).prop_map(Step::Commit),
        1 => prop::option::of(any::<u8>()).prop_map(Step::Room),
        1 => (0..3u8).prop_map(Step::FailSyncs),
        1 => any::<u8>().prop_map(Step::Cover),
        2 => any::<u8>().prop_map(Step::Die),
    ];
    prop::collection::vec(step, 1..40)
}

/// What the log promised.
#[derive(Debug, Default)]
struct Promises {
    /// Acknowledged and not covered: position and payload.
    kept: Vec<(LogPosition, Vec<u8>)>,
    covered: LogPosition,
    highest: LogPosition,
    written: u8,
}

impl Promises {
    fn commit(&mut self, log: &mut Log, sizes: &[u8]) {
        let payload = |size: &u8| {
            self.written = self.written.wrapping_add(1);
            vec![self.written; usize::from(*size)]
        };
        let payloads: Vec<Vec<u8>> = sizes.iter().map(payload).collect();
        let group: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        for (outcome, payload) in log.commit(&group).into_iter().zip(&payloads) {
            let Ok(Appended { position, next }) = outcome else { continue };
            assert!(position >= self.highest, "a position was used twice");
            self.highest = next;
            self.kept.push((position, payload.clone()));
        }
    }

    fn cover(&mut self, log: &Log, upto: u8) {
        let count = usize::from(upto) % (self.kept.len() + 1);
        self.kept.drain(..count);
        self.covered = self.kept.first().map_or(self.highest, |(position, _)| *position);
        log.segments.cover(self.covered);
    }

    fn check(&self, log: &Log) {
        let from = self.covered.max(log.segments.oldest());
        let read = log.read_all(from, 100).into_iter();
        let read: Vec<_> = read.map(|item| (item.position, item.payload.to_vec())).collect();
        for kept in &self.kept {
            let times = read.iter().filter(|item| *item == kept).count();
            assert_eq!(times, 1, "{kept:?} was acknowledged");
        }
        assert!(read.is_sorted_by(|one, next| one.0 < next.0), "in log order");
    }
}

proptest! {
    /// Scenario: any history of groups, full disks, failed syncs, flushes and power failures.
    /// Guarantees: after every step, what was acknowledged and not covered is read exactly once,
    /// in order, and no position was used twice.
    #[test]
    fn a_log_keeps_its_promises(steps in steps()) {
        let folder = FaultyFolder::default();
        let (mut log, _) = Log::open(&folder, SETTINGS);
        let mut promises = Promises::default();
        for step in steps {
            match step {
                Step::Commit(sizes) => promises.commit(&mut log, &sizes),
                Step::Room(room) => folder.disk().room = room.map(usize::from),
                Step::FailSyncs(count) => folder.disk().failing_syncs = usize::from(count),
                Step::Cover(upto) => promises.cover(&log, upto),
                Step::Die(kept) => {
                    folder.lose_power(usize::from(kept));
                    log = Log::open(&folder, SETTINGS).0;
                }
            }
            promises.check(&log);
        }
    }
}
