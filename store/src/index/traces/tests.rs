//! Look-ups beside a model, while the disk does its worst.

mod figures;

use std::collections::BTreeSet;

use prometheus_client::registry::Registry;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;
use ulid::Ulid;

use super::keep::Alive;
use super::*;
use crate::catalog::FileEntry;
use crate::catalog::record::{Body, Record, Removal, Sequence};
use crate::catalog::state::State;
use crate::index::tests::full::SmallDisk;
use crate::model::{LogPosition, UnixNanos, WriterId};

const IDS: u64 = 60;
const DAY: i64 = 24 * UnixNanos::HOUR;

fn id(number: u64) -> TraceId {
    TraceId(Ulid::from_parts(number, u128::from(number) << 30).to_bytes())
}

/// A catalog that grows and shrinks, its true ids, and the traces beside it.
struct World {
    folder: TempDir,
    state: State,
    traces: Arc<Traces>,
    truth: BTreeMap<FileKey, BTreeSet<u64>>,
    random: SmallRng,
    made: u64,
    removed: u64,
    disk_bytes_max: u64,
}

impl World {
    fn new(seed: u64, disk_bytes_max: u64) -> Self {
        let (folder, state) = (TempDir::new().unwrap(), State::default());
        let traces = Arc::new(open(folder.path(), disk_bytes_max, state.snapshot()));
        assert!(traces.begin());
        let random = SmallRng::seed_from_u64(seed);
        let (truth, made, removed) = (BTreeMap::new(), 0, 0);
        Self { folder, state, traces, truth, random, made, removed, disk_bytes_max }
    }

    fn apply(&mut self, sequence: Sequence, body: Body) {
        let id = Ulid::from_parts(self.made, self.random.random());
        let record = Record { id, at: UnixNanos(0), body };
        let change = self.state.apply(sequence, record).unwrap();
        assert!(!change.void);
        self.traces.added(&[change]);
    }

    /// A commit of a few files of some days.
    fn add(&mut self) {
        let (adds, ids): (Vec<_>, Vec<_>) = (0..3).map(|_| self.file()).unzip();
        let (from, to) = (LogPosition(self.made), LogPosition(self.made + 1));
        for (file, ids) in adds.iter().zip(ids) {
            // As a process has it that wrote the file itself.
            if self.random.random_bool(0.5) {
                self.traces.wrote(file.id, prints_of(&ids));
            }
            self.truth.insert(file.key(), ids);
        }
        let writer = Sequence::Writer(WriterId(Ulid::from_parts(1, 1)));
        self.apply(writer, Body::Commit { covers_from: from, covers_to: to, adds });
        self.made += 1;
    }

    fn file(&mut self) -> (FileEntry, BTreeSet<u64>) {
        let hour = UnixNanos(self.random.random_range(0..6) * DAY / 2);
        let count = self.random.random_range(1..20);
        let ids = (0..count).map(|_| self.random.random_range(0..IDS)).collect();
        let file = FileEntry {
            id: FileId(Ulid::from_parts(self.made, self.random.random())),
            table: Table::Spans,
            bytes: 1,
            rows: 1,
            time: TimeRange::covering(hour, hour),
            hour,
            layout: Arc::default(),
        };
        (file, ids)
    }

    /// Removes a file; sometimes it is deleted at once.
    fn remove(&mut self) {
        let keys: Vec<_> = self.state.snapshot().all(Table::Spans).map(|file| file.key()).collect();
        let Some(key) = keys.get(self.random.random_range(0..keys.len().max(1))) else { return };
        let file = self.state.snapshot().file(Table::Spans, *key).unwrap();
        let removes = vec![Removal::of(file)];
        self.apply(Sequence::Compaction, Body::Compaction { adds: Vec::new(), removes });
        self.removed += 1;
        if self.random.random_bool(0.5) {
            let gone: Vec<_> = self.state.removed().keys().copied().collect();
            self.state.forget(&gone);
        }
    }

    fn alive(&self) -> Alive {
        let snapshot = Arc::new(self.state.snapshot().clone());
        Alive {
            snapshot,
            removed: self.state.removed().keys().copied().collect(),
            now: UnixNanos(9 * DAY),
        }
    }

    /// What the loop does, the bucket read included.
    fn keep(&mut self, sweep: bool) {
        self.traces.keep_stashed(self.state.snapshot()).unwrap();
        if self.traces.has_stashed() {
            self.traces.drop_stashed(&self.alive().removed);
        }
        let waiting = self.traces.waiting(self.state.snapshot(), &BTreeSet::new(), 64);
        let read = waiting.into_iter().map(|file| (file, prints_of(&self.truth[&file]).into()));
        self.traces.keep(read.collect()).unwrap();
        let alive = self.alive();
        if sweep {
            self.traces.sweep(&alive).unwrap();
        }
        self.traces.merge(&alive).unwrap();
    }

    fn restart(&mut self) {
        self.traces = Arc::new(open(&self.folder.path().join("none"), 0, self.state.snapshot()));
        self.traces =
            Arc::new(open(self.folder.path(), self.disk_bytes_max, self.state.snapshot()));
        assert!(self.traces.begin());
    }

    fn segments(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.folder.path().join("traces")).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.extension().is_some_and(|end| end == SUFFIX)).collect()
    }

    fn damage(&mut self) {
        let segments = self.segments();
        let Some(path) = segments.get(self.random.random_range(0..segments.len().max(1))) else {
            return;
        };
        let mut bytes = std::fs::read(path).unwrap();
        let at = self.random.random_range(0..bytes.len());
        match self.random.random_range(0..4) {
            0 => return remove(path),
            1 => bytes.truncate(at),
            2 => bytes[at..].fill(0),
            _ => bytes[at] ^= 1 << self.random.random_range(0..8),
        }
        std::fs::write(path, bytes).unwrap();
    }

    /// Looks every id up in a snapshot; how many candidates were none.
    fn check(&self, snapshot: &Snapshot) -> usize {
        let mut needless = 0;
        for number in 0..IDS {
            let found = self.traces.find(snapshot, id(number));
            let told: BTreeSet<FileKey> = found.told.iter().map(|file| file.key()).collect();
            assert!(found.untold.iter().all(|file| !told.contains(&file.key())));
            let found: BTreeSet<FileKey> = found.all().map(|file| file.key()).collect();
            let files = snapshot.all(Table::Spans).map(|file| file.key());
            let expected: BTreeSet<_> =
                files.filter(|file| self.truth[file].contains(&number)).collect();
            assert!(expected.is_subset(&found), "trace {number} lacks {:?}", &expected - &found);
            assert!(told.is_subset(&expected), "trace {number} is told to be elsewhere");
            needless += found.len() - expected.len();
        }
        needless
    }
}

fn open(folder: &Path, disk_bytes_max: u64, snapshot: &Snapshot) -> Traces {
    let metrics = Arc::new(Metrics::register(&mut Registry::default()));
    let config = TraceFilterConfig { disk_bytes_max, pending_bytes_max: 4096 };
    Traces::open(folder, config, metrics, snapshot)
}

fn prints_of(ids: &BTreeSet<u64>) -> Vec<u64> {
    let prints: BTreeSet<u64> = ids.iter().map(|number| prints::print(id(*number))).collect();
    prints.into_iter().collect()
}

/// Scenario: hundreds of commits, removals, deletions, merges of segments and restarts, while
/// segments are deleted, cut and overwritten at random.
/// Guarantees: no look-up leaves a file out, in the newest snapshot or an older one; once the disk
/// behaves and everything is made again, none finds a file too many.
#[test]
fn damage_only_costs_time() {
    for seed in 0..4 {
        let mut world = World::new(seed, u64::MAX);
        let mut held = world.state.snapshot().clone();
        for _ in 0..100 {
            match world.random.random_range(0..10) {
                0..=3 => world.add(),
                4 => world.remove(),
                5 | 6 => world.keep(false),
                7 => world.keep(true),
                8 => world.damage(),
                _ if world.random.random_bool(0.3) => {
                    world.restart();
                    // No snapshot outlives its process.
                    held = world.state.snapshot().clone();
                }
                _ => held = world.state.snapshot().clone(),
            }
            world.check(&held);
            world.check(world.state.snapshot());
        }
        for _ in 0..30 {
            world.keep(true);
            world.check(world.state.snapshot());
        }
        assert_eq!(world.check(world.state.snapshot()), 0, "seed {seed}");
        assert!(world.removed > 0);
        let (waiting, _) = world.traces.known().counts();
        assert_eq!(waiting, 0);
    }
}

/// Scenario: segments are merged as commits come, of three days that are over.
/// Guarantees: a day has few segments however many files it has, and nothing else is on disk.
#[test]
fn segments_are_few() {
    let mut world = World::new(99, u64::MAX);
    for _ in 0..100 {
        world.add();
        world.keep(false);
    }
    let segments = world.segments().len();
    assert!(segments <= 3 * 8, "{segments} segments");
    assert_eq!(segments, world.traces.known().segments().count());
    world.restart();
    assert_eq!(world.segments().len(), segments);
    assert_eq!(world.check(world.state.snapshot()), 0);
}

/// Scenario: more ids than there is room for, over several days.
/// Guarantees: the bound holds, the newest days are answered for exactly, the others are looked
/// into, and no file is read for nothing over and over.
#[test]
fn the_oldest_day_makes_room() {
    let bound = 20_000;
    let mut world = World::new(7, bound);
    for _ in 0..60 {
        world.add();
        world.keep(false);
        assert!(world.traces.known().bytes() <= bound);
    }
    for _ in 0..10 {
        world.keep(true);
    }
    assert!(world.check(world.state.snapshot()) > 0);
    let days: Vec<_> = world.traces.known().days().keys().copied().collect();
    assert!(!days.is_empty());
    assert_eq!(world.traces.waiting(world.state.snapshot(), &BTreeSet::new(), 9), []);
}

/// Scenario: files leave the catalog before there is a segment of them, some are deleted by then.
/// Guarantees: nothing is held of either for long, and all others are still answered for.
#[test]
fn what_left_is_not_held() {
    let mut world = World::new(11, u64::MAX);
    (0..20).for_each(|_| world.add());
    (0..30).for_each(|_| world.remove());
    assert!(world.traces.has_stashed());
    world.keep(true);
    assert!(!world.traces.has_stashed());
    assert_eq!(world.check(world.state.snapshot()), 0);
}

/// Scenario: a second process opens the folder of a live one; then there is no folder at all.
/// Guarantees: the second takes every file for a candidate, and leaves the folder alone.
#[test]
fn a_second_process_takes_every_file() {
    let mut world = World::new(3, u64::MAX);
    world.add();
    world.keep(false);
    let second = open(world.folder.path(), u64::MAX, world.state.snapshot());
    assert!(!second.begin());
    let all = TraceFiles::any_of(world.state.snapshot());
    assert_eq!(second.find(world.state.snapshot(), id(IDS)), all);
    second.clear(world.state.snapshot());
    assert_eq!(world.check(world.state.snapshot()), 0);
    std::fs::remove_dir_all(world.folder.path()).unwrap();
    world.check(world.state.snapshot());
}

/// Scenario: the disk is full when filters are made.
/// Guarantees: it is an error that leaves nothing behind, and every file stays a candidate.
#[test]
fn a_full_disk_makes_no_filters() {
    let Some(disk) = SmallDisk::mount("1m") else { return };
    let mut world = World::new(5, u64::MAX);
    world.add();
    let traces = open(disk.path(), u64::MAX, world.state.snapshot());
    disk.fill();
    let all = world.state.snapshot().files(Table::Spans, TimeRange::ALL);
    let files = all.iter().map(|file| (file.key(), (0..400_000).collect()));
    assert!(traces.keep(files.collect()).is_err());
    traces.end(&io::Error::other("the disk is full"));
    assert_eq!(traces.find(world.state.snapshot(), id(0)).untold, all);
    assert_eq!(traces.known().counts(), (all.len(), 0));
    let left = std::fs::read_dir(disk.path().join("traces")).unwrap();
    assert_eq!(left.count(), 1, "more than the lock is left");
}
