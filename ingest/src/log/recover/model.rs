//! A log on a disk that fails in every way that disks do, beside a model of what it promised.
//!
//! A seed decides the history. `SEED=n` replays one, `LOG_SEEDS=n` runs more of them.

use std::collections::BTreeMap;

use icecore_store::LogPosition;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::super::faults::FaultyFolder;
use super::super::harness::{Log, SETTINGS};
use super::*;

const SEEDS: u64 = 500;

/// What became of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// It was acknowledged: it must be there, here.
    Kept { position: u64, next: u64 },
    /// It was refused, or acknowledged over a sync that lied, or its bytes rotted: it may be.
    Perhaps,
}

struct Model {
    numbers: StdRng,
    folder: FaultyFolder,
    log: Log,
    /// By the number that each payload begins with.
    told: BTreeMap<u32, Told>,
    payloads: BTreeMap<u32, Vec<u8>>,
    covered: u64,
    highest: u64,
    /// Whether the disk lied or lost what it had.
    betrayed: bool,
    story: Vec<String>,
}

impl Model {
    fn new(seed: u64) -> Self {
        let folder = FaultyFolder::default();
        let (log, _) = Log::open(&folder, SETTINGS);
        let (told, payloads, story) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let numbers = StdRng::seed_from_u64(seed);
        Self {
            numbers,
            folder,
            log,
            told,
            payloads,
            covered: 0,
            highest: 0,
            betrayed: false,
            story,
        }
    }

    fn below(&mut self, end: usize) -> usize {
        self.numbers.random_range(0..end)
    }

    fn commit(&mut self) {
        let count = 1 + self.below(4);
        let first = u32::try_from(self.payloads.len()).unwrap();
        let ids: Vec<u32> = (first..).take(count).collect();
        for id in &ids {
            let mut payload = id.to_le_bytes().to_vec();
            payload.resize(4 + self.below(120), u8::try_from(id % 251).unwrap());
            self.payloads.insert(*id, payload);
        }
        let payloads: Vec<&[u8]> = ids.iter().map(|id| self.payloads[id].as_slice()).collect();
        let lies = self.folder.disk().lying_syncs;
        let outcomes = self.log.commit(&payloads);
        let lied = self.folder.disk().lying_syncs < lies;
        self.betrayed |= lied;
        for (id, outcome) in ids.into_iter().zip(outcomes) {
            let told = match outcome {
                Ok(appended) => {
                    let (position, next) = (appended.position.0, appended.next.0);
                    assert!(position >= self.highest, "position {position} was used before");
                    self.highest = next;
                    if lied { Told::Perhaps } else { Told::Kept { position, next } }
                }
                Err(_) => Told::Perhaps,
            };
            self.told.insert(id, told);
        }
    }

    fn cover(&mut self) {
        let kept = self.told.values().filter_map(|told| match told {
            Told::Kept { next, .. } if *next > self.covered => Some(*next),
            _ => None,
        });
        let ends: Vec<u64> = kept.collect();
        if ends.is_empty() {
            return;
        }
        self.covered = ends[self.below(ends.len())];
        self.log.segments.cover(LogPosition(self.covered));
    }

    /// The process starts again over whatever is there.
    fn restart(&mut self) -> Recovered {
        self.folder.disk().failing_cuts = false;
        let covered = LogPosition(self.covered);
        let (log, recovered) = Log::open_behind(&self.folder, SETTINGS, covered);
        self.log = log;
        self.log.segments.cover(LogPosition(self.covered));
        if self.betrayed {
            // Positions after a sync that lied, or that rotted, are nobody's any more.
            self.highest = self.highest.min(recovered.next.0);
        }
        recovered
    }

    /// A byte of some file turns, and the process starts again.
    fn rot(&mut self) {
        let files: Vec<(String, u64)> = self.folder.files().unwrap();
        let files: Vec<_> = files.into_iter().filter(|(_, bytes)| *bytes > 0).collect();
        if files.is_empty() {
            return;
        }
        let (name, bytes) = files[self.below(files.len())].clone();
        let at = self.below(usize::try_from(bytes).unwrap());
        self.folder.damage(&name, |bytes| bytes[at] ^= 0x10);
        let place = Segment::parse_name(&name).unwrap().0 + at as u64;
        self.story.push(format!("byte {at} of {name}"));
        let hit = |told: &&mut Told| match told {
            Told::Kept { position, next } => (*position..*next).contains(&place),
            Told::Perhaps => false,
        };
        self.betrayed = true;
        let mut lost = false;
        for told in self.told.values_mut().filter(hit) {
            (*told, lost) = (Told::Perhaps, true);
        }
        let recovered = self.restart();
        let reported = recovered
            .damage
            .iter()
            .any(|damage| (damage.position.0..damage.position.0 + damage.bytes).contains(&place));
        assert!(reported || !lost, "a frame was lost without a word: {:?}", recovered.damage);
    }

    fn step(&mut self) {
        let count = self.below(4);
        let step = self.below(16);
        self.story.push(format!("step {step} {count}"));
        match step {
            0..=5 => self.commit(),
            6 => self.folder.disk().room = Some(count * 40),
            7 => self.folder.disk().room = None,
            8 => self.folder.disk().failing_syncs = count,
            9 => self.folder.disk().failing_writes = count,
            10 => self.folder.disk().failing_folder_syncs = count,
            11 => self.folder.disk().failing_cuts = count > 1,
            12 => self.folder.disk().lying_syncs = usize::from(count == 0),
            13 => self.cover(),
            14 if count == 0 => self.rot(),
            14 => drop(self.restart()),
            _ => {
                self.folder.pull_plug(&mut self.numbers);
                drop(self.restart());
            }
        }
    }

    fn check(&self) {
        let from = LogPosition(self.covered).max(self.log.segments.oldest());
        let mut found: BTreeMap<u32, u64> = BTreeMap::new();
        let mut last = None;
        for item in self.log.read_all(from, 100) {
            assert!(last < Some(item.position), "out of order at {:?}", item.position);
            last = Some(item.position);
            let id = u32::from_le_bytes(item.payload[..4].try_into().unwrap());
            assert_eq!(self.payloads.get(&id).map(Vec::as_slice), Some(&item.payload[..]));
            assert_eq!(found.insert(id, item.position.0), None, "{id} is there twice");
        }
        for (id, told) in &self.told {
            let Told::Kept { position, .. } = *told else { continue };
            if position >= self.covered {
                assert_eq!(found.get(id), Some(&position), "{id} was acknowledged");
            }
        }
    }
}

fn check(seed: u64) {
    let mut model = Model::new(seed);
    let steps = 10 + model.below(80);
    let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        for _ in 0..steps {
            model.step();
            model.check();
        }
    }));
    assert!(ran.is_ok(), "seed {seed} failed, SEED={seed} replays it: {:#?}", model.story);
}

/// Scenario: histories of groups, full disks, writes that fail half-way, syncs that fail or lie,
/// folders that cannot be synced, failed segments that cannot be cut, flushes, deaths of the
/// process, power failures that tear sectors and undo what was not synced, and bytes that rot.
/// Guarantees: after every step each acknowledged request that is not covered is read once, at
/// its place and in order; what rotted is reported; nothing is read that was not sent.
#[test]
fn a_log_keeps_what_it_acknowledged_whatever_the_disk_does() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    match number("SEED") {
        Some(seed) => check(seed),
        None => (0..number("LOG_SEEDS").unwrap_or(SEEDS)).for_each(check),
    }
}
