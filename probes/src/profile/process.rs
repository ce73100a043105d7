//! The processes that were seen to run, and where their code is.
//!
//! Invariants: what is known of one process, or of one program that it was, is never told of another;
//! what is held is bounded.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use icecore_probe_events::Sample;

use super::budget::Budget;
use super::files::Files;
use super::frames::{Kind, Line, Origin, Place, Places};
use super::jit::{Made, Room};
use super::maps::{self, Backing, Mapping};
use super::unwind::{Code, Rules};

/// A list of mappings is read again no sooner than after this, when an address is in none of them.
const READ_AGAIN_NANOS: u64 = 1_000_000_000;
/// And when none is missed, after this: something else may be where something was.
const READ_ANEW_NANOS: u64 = 60_000_000_000;

/// One process.
#[derive(Debug)]
pub(super) struct Process {
    dir: PathBuf,
    started: u64,
    execs: u32,
    mappings: Vec<Mapping>,
    /// What each mapping was found to be.
    found: Vec<Found>,
    read: u64,
    /// An address was in none of the mappings.
    missed: bool,
    made: Made,
    made_read: u64,
    /// How code without a file goes back to its callers, where there was any.
    rules: Option<Box<Rules>>,
    seen: u64,
}

/// What a mapping is.
#[derive(Debug, Clone, Copy)]
enum Found {
    NotYet,
    File { number: u32, bias: u64 },
    Memory,
}

/// All processes that are held.
#[derive(Debug)]
pub(super) struct Processes {
    proc_dir: PathBuf,
    list: HashMap<u32, Process>,
    processes_max: usize,
    /// For what they have written down of their functions.
    room: Arc<Room>,
    made_bytes_max: usize,
}

impl Processes {
    pub(super) fn new(proc_dir: PathBuf, processes_max: usize, made_bytes_max: usize) -> Self {
        let (list, room) = (HashMap::new(), Room::new(made_bytes_max));
        Self { proc_dir, list, processes_max: processes_max.max(1), room, made_bytes_max }
    }

    /// What was left out of what processes have written down, since it was last asked.
    pub(super) fn take_refused(&self) -> u64 {
        self.room.take_refused()
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// The process that a sample is of, and whether it is new. Its mappings are read where they may have
    /// changed.
    pub(super) fn of(&mut self, sample: &Sample) -> (&mut Process, bool) {
        let Sample { pid, started, execs, time, .. } = *sample;
        let same = |process: &Process| process.started == started;
        let new = !self.list.get(&pid).is_some_and(same);
        if new && self.list.len() >= self.processes_max {
            let oldest = self.list.iter().min_by_key(|(_, process)| process.seen);
            if let Some(oldest) = oldest.map(|(pid, _)| *pid) {
                self.list.remove(&oldest);
            }
        }
        let fresh = || {
            let dir = self.proc_dir.join(pid.to_string());
            Process::new(dir, Made::new(Arc::clone(&self.room)), (started, execs))
        };
        let process = self.list.entry(pid).or_insert_with(fresh);
        if new || process.execs != execs {
            *process = fresh();
        }
        process.seen = time;
        process.refresh(sample);
        (process, new)
    }

    /// Forgets those that were not seen since then, and what is over half the room for what processes have
    /// written down of their functions: those with the most are read again when they are needed.
    pub(super) fn forget(&mut self, before: u64) {
        self.list.retain(|_, process| process.seen >= before);
        let mut sizes: Vec<(usize, u32)> =
            self.list.iter().map(|(pid, process)| (process.made.bytes(), *pid)).collect();
        sizes.sort_unstable();
        let mut held = 0;
        for (bytes, pid) in sizes {
            held += bytes;
            if let Some(process) =
                self.list.get_mut(&pid).filter(|_| held > self.made_bytes_max / 2)
            {
                process.made.forget();
            }
        }
    }
}

impl Process {
    fn new(dir: PathBuf, made: Made, (started, execs): (u64, u32)) -> Self {
        Self {
            dir,
            started,
            execs,
            mappings: Vec::new(),
            found: Vec::new(),
            read: 0,
            missed: false,
            made,
            made_read: 0,
            rules: None,
            seen: 0,
        }
    }

    fn refresh(&mut self, sample: &Sample) {
        if sample.ip == 0 {
            return;
        }
        let age = sample.time.saturating_sub(self.read);
        let missed = self.missed || maps::find(&self.mappings, sample.ip).is_none();
        let due = self.read == 0 || age > READ_ANEW_NANOS || missed && age > READ_AGAIN_NANOS;
        if !due {
            return;
        }
        (self.read, self.missed) = (sample.time.max(1), false);
        // One that has ended since is followed by what was known of it.
        let Ok(text) = fs::read(self.dir.join("maps")) else { return };
        let mappings = maps::parse(&String::from_utf8_lossy(&text));
        if !mappings.is_empty() && mappings != self.mappings {
            self.found = vec![Found::NotYet; mappings.len()];
            self.mappings = mappings;
        }
    }

    /// What the mapping is that holds an address; not yet known where looking would take more than is left.
    fn find(&mut self, address: u64, files: &mut Files, budget: &mut Budget) -> Option<Found> {
        let Some(at) = maps::find(&self.mappings, address) else {
            self.missed = true;
            return None;
        };
        let (mapping, found) = (self.mappings.get(at)?, self.found.get_mut(at)?);
        let held = match *found {
            Found::NotYet => false,
            Found::File { number, .. } => files.get(number).is_some(),
            Found::Memory => true,
        };
        if !held {
            if budget.is_spent_now() {
                return Some(Found::NotYet);
            }
            *found = look(mapping, &self.dir, files);
        }
        Some(*found)
    }

    /// The number of the place of an address of this process.
    fn place(
        &mut self,
        address: u64,
        files: &mut Files,
        budget: &mut Budget,
        places: &mut Places,
    ) -> u32 {
        match self.find(address, files, budget) {
            Some(Found::File { number, bias }) => {
                let address = address.wrapping_sub(bias);
                if let Some(place) = places.known(number, address) {
                    return place;
                }
                let Some(file) = files.get(number) else { return super::frames::OTHER };
                let place = places.number(file.place(address));
                places.learn(number, address, place);
                place
            }
            Some(Found::Memory) => places.number(self.made_place(address, budget)),
            Some(Found::NotYet) | None => places.number(nowhere(Kind::Native, "[unknown]", 0)),
        }
    }

    /// A function that the process has made.
    fn made_place(&mut self, address: u64, budget: &mut Budget) -> Place {
        let mut found = self.made.find(address);
        let due = self.seen.saturating_sub(self.made_read) > READ_AGAIN_NANOS;
        if found.is_none() && due && !budget.is_spent_now() {
            self.made_read = self.seen;
            if self.made.refresh(&self.dir).is_some() {
                found = self.made.find(address);
            }
        }
        let start = maps::find(&self.mappings, address).and_then(|at| self.mappings.get(at));
        let start = start.map_or(0, |mapping| mapping.range.start);
        let nameless = nowhere(Kind::Made, "[jit]", start);
        match found {
            Some((address, function)) => {
                let lines = vec![Line { function, ..Line::default() }];
                Place { address, lines, ..nameless }
            }
            None => nameless,
        }
    }
}

fn nowhere(kind: Kind, name: &str, address: u64) -> Place {
    let origin = Arc::new(Origin { name: Arc::from(name), ..Origin::default() });
    Place { kind, origin, address, lines: Vec::new() }
}

fn look(mapping: &Mapping, dir: &std::path::Path, files: &mut Files) -> Found {
    let start = mapping.range.start;
    let (number, offset) = match &mapping.backing {
        Backing::Memory => return Found::Memory,
        Backing::Vdso => (files.vdso(own_vdso), 0),
        Backing::File { offset, path } => {
            let link = maps::link(dir, &mapping.range);
            (files.number(path, &link, &dir.join("root")), *offset)
        }
    };
    let bias = files.get(number).map_or(0, |file| file.bias(start, offset));
    Found::File { number, bias }
}

/// The code that the kernel lends to this process, as to every other.
fn own_vdso() -> Option<Vec<u8>> {
    let text = fs::read_to_string("/proc/self/maps").ok()?;
    let mut mappings = maps::parse(&text).into_iter();
    let range = mappings.find(|mapping| mapping.backing == Backing::Vdso)?.range;
    let mut bytes = vec![0; usize::try_from(range.end - range.start).ok()?];
    let memory = fs::File::open("/proc/self/mem").ok()?;
    std::os::unix::fs::FileExt::read_exact_at(&memory, &mut bytes, range.start).ok()?;
    Some(bytes)
}

/// The code of a process for the time of one way back.
pub(super) struct Space<'a> {
    process: &'a mut Process,
    files: &'a mut Files,
    budget: &'a mut Budget,
    /// Something that is needed was not looked at, for now.
    pub(super) put_off: bool,
}

impl<'a> Space<'a> {
    pub(super) fn new(
        process: &'a mut Process,
        files: &'a mut Files,
        budget: &'a mut Budget,
    ) -> Self {
        Self { process, files, budget, put_off: false }
    }

    /// The number of the place of an address.
    pub(super) fn place(&mut self, address: u64, places: &mut Places) -> u32 {
        self.process.place(address, self.files, self.budget, places)
    }
}

impl Code for Space<'_> {
    fn rules(&mut self, address: u64) -> Option<(&mut Rules, u64)> {
        match self.process.find(address, self.files, self.budget)? {
            Found::File { number, bias } => Some((&mut self.files.get(number)?.rules, bias)),
            Found::Memory => {
                let rules = || Box::new(Rules::of_frame_pointers());
                Some((self.process.rules.get_or_insert_with(rules), 0))
            }
            Found::NotYet => {
                self.put_off = true;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: a sample of this test's own process when the share of a CPU is used up, and when it is not.
    /// Guarantees: no file is read in the first case, and it is told that the stack was put off; what was put
    /// off is read in the second.
    #[test]
    fn beyond_its_share_nothing_is_read() {
        let here = beyond_its_share_nothing_is_read as fn() as usize as u64;
        let sample = Sample {
            time: 1,
            started: 0,
            pid: std::process::id(),
            thread: 0,
            comm: [0; 16],
            ip: here,
            sp: 0,
            fp: 0,
            lr: 0,
            execs: 0,
            stack_bytes: 0,
            kernel_frames: 0,
            reserved: 0,
        };
        let mut processes = Processes::new(PathBuf::from("/proc"), 1, 0);
        let mut files = Files::new(1 << 30, 10);
        let process = processes.of(&sample).0;
        let (mut none, mut enough) = (Budget::new(0), Budget::new(u64::MAX));
        none.look();
        std::hint::black_box((0..100_000).fold(0_u64, |sum, at| sum ^ std::hint::black_box(at)));
        let mut space = Space::new(process, &mut files, &mut none);
        assert!(space.rules(here).is_none() && space.put_off);
        assert_eq!(files.take_counts(), (0, 0));
        let process = processes.of(&sample).0;
        let mut space = Space::new(process, &mut files, &mut enough);
        assert!(space.rules(here).is_some() && !space.put_off);
        assert_eq!(files.take_counts().0, 1);
    }
}
