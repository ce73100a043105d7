//! What passes by UDP, by process and peer.
//!
//! Invariants: each figure is handed on once, as what was added since the last time; the map's entries are
//! bounded, and once half of them are taken, those that have not grown make room.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use aya::Ebpf;
use aya::maps::{MapData, PerCpuHashMap};
use aya::programs::{CgroupAttachMode, CgroupSockAddr};
use icecore_probe_events::{TALK_BYTES, TALKED_BYTES, Talk};

use super::tracepoints::{program, refused};
use crate::error::Error;

/// The words of what is counted: sent, received, how many datagrams of either, and the process's name.
const WORDS: usize = TALKED_BYTES / size_of::<u64>();
/// Those of them that only grow.
const FIGURES: usize = 4;
/// The map as the kernel program fills it.
pub(crate) type Talks = PerCpuHashMap<MapData, Key, [u64; WORDS]>;
type Key = [u8; TALK_BYTES];
type Figures = [u64; FIGURES];

/// What an entry begins with.
pub(crate) const NOTHING: [u64; WORDS] = [0; WORDS];

/// Called as a datagram is given to who asks from whom it is.
const SENDERS: [&str; 2] = ["sender4", "sender6"];
/// Where the control groups of all processes may be seen, by the one tree that has all of them.
const CGROUPS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
/// A file of each of them but the root.
const NOT_OF_ROOT: &str = "cgroup.events";
/// A file of each control group of that tree, and of no other tree.
const OF_ALL: &str = "cgroup.controllers";

/// Has it told from whom datagrams are that sockets receive which are not connected: no tracepoint says it.
pub(crate) fn attach_senders(programs: &mut Ebpf) -> Result<(), Error> {
    let root = root()?;
    for name in SENDERS {
        let program: &mut CgroupSockAddr = program(programs, name)?;
        program.load().map_err(refused(name))?;
    }
    SENDERS.into_iter().try_for_each(|name| {
        let program: &mut CgroupSockAddr = program(programs, name)?;
        // By a link, which always leaves room for those of others, and goes with this process.
        let attached = program.attach(&root, CgroupAttachMode::Single);
        attached.map(drop).map_err(refused(name))
    })
}

/// The control group that all processes are in is seen from here.
pub(crate) fn cgroups_seen() -> bool {
    root_path().is_some()
}

fn root_path() -> Option<&'static Path> {
    let is_root = |path: &&Path| path.join(OF_ALL).exists() && !path.join(NOT_OF_ROOT).exists();
    CGROUPS.iter().map(Path::new).find(is_root)
}

fn root() -> Result<File, Error> {
    let unsupported = |reason| Error::Unsupported { reason };
    let none = || unsupported("the root of the control groups (v2) is not seen here".to_owned());
    let root = root_path().ok_or_else(none)?;
    File::open(root)
        .map_err(|error| unsupported(format!("cannot open {}: {error}", root.display())))
}

/// What a process and a peer have told each other by UDP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chat {
    pub(crate) talk: Talk,
    /// Bytes sent and received, datagrams sent and received.
    pub(crate) moved: Figures,
    /// The kernel's name of the process.
    pub(crate) comm: String,
}

/// Reads the map whenever it is asked to.
pub(crate) struct Datagrams {
    held: Mutex<Held>,
    entries_max: usize,
}

struct Held {
    talks: Talks,
    /// What was handed on.
    told: HashMap<Key, Figures>,
}

impl Datagrams {
    pub(crate) fn new(talks: Talks, entries_max: u32) -> Self {
        let held = Mutex::new(Held { talks, told: HashMap::new() });
        Self { held, entries_max: usize::try_from(entries_max).unwrap_or(usize::MAX) }
    }

    /// What has passed since the last call. Takes a microsecond for each process and peer.
    pub(crate) fn take(&self) -> Vec<Chat> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Held { talks, told } = &mut *held;
        let mut chats = Vec::new();
        let mut idle = Vec::new();
        for (key, cpus) in talks.iter().flatten().take(self.entries_max) {
            let now = figures(cpus.iter());
            let before = told.insert(key, now).unwrap_or_default();
            let moved = std::array::from_fn(|at| now[at].saturating_sub(before[at]));
            let talk = Talk::from_bytes(key);
            if moved != [0; FIGURES] {
                let comm = cpus.iter().map(comm).find(|name| !name.is_empty()).unwrap_or_default();
                chats.push(Chat { talk, moved, comm });
            } else if talk != Talk::ELSEWHERE {
                idle.push(key);
            }
        }
        if told.len() > self.entries_max / 2 {
            make_room(talks, told, idle);
        }
        chats
    }
}

/// Where the entries are that make room.
trait Entries {
    fn figures(&self, key: &Key) -> Option<Figures>;
    fn remove(&mut self, key: &Key);
}

impl Entries for Talks {
    fn figures(&self, key: &Key) -> Option<Figures> {
        Some(figures(self.get(key, 0).ok()?.iter()))
    }

    fn remove(&mut self, key: &Key) {
        drop(PerCpuHashMap::remove(self, key));
    }
}

/// Removes those of the idle entries that have not grown since they were found idle: it is a while since the first of
/// them was. What passes within the microsecond between the look and the removal goes with its entry.
fn make_room(entries: &mut impl Entries, told: &mut HashMap<Key, Figures>, idle: Vec<Key>) {
    for key in idle {
        let now = entries.figures(&key);
        if now.is_none() || now.as_ref() == told.get(&key) {
            entries.remove(&key);
            told.remove(&key);
        }
    }
}

/// Those of all CPUs together.
fn figures<'a>(cpus: impl Iterator<Item = &'a [u64; WORDS]> + Clone) -> Figures {
    std::array::from_fn(|at| cpus.clone().filter_map(|one| one.get(at)).sum())
}

/// The process's name, behind the figures.
fn comm(words: &[u64; WORDS]) -> String {
    let bytes = words.iter().skip(FIGURES).flat_map(|word| word.to_ne_bytes());
    let bytes: Vec<u8> = bytes.take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    //! Entries that make room, and those that do not.

    use super::*;

    /// What a look at the map finds now.
    struct Map(HashMap<Key, Figures>);

    impl Entries for Map {
        fn figures(&self, key: &Key) -> Option<Figures> {
            self.0.get(key).copied()
        }

        fn remove(&mut self, key: &Key) {
            self.0.remove(key);
        }
    }

    /// Scenario: of three entries that were found idle, one has grown since, and one is gone from the map.
    /// Guarantees: the one that has grown stays, with what was told of it, so that the rest is told next time.
    #[test]
    fn what_has_grown_is_kept() {
        let key = |of| [of; TALK_BYTES];
        let mut told: HashMap<Key, Figures> =
            [1, 2, 3].map(|of| (key(of), [u64::from(of); FIGURES])).into();
        let mut map = Map([(key(1), [1; FIGURES]), (key(2), [2, 2, 3, 2])].into());
        make_room(&mut map, &mut told, vec![key(1), key(2), key(3)]);
        assert_eq!(told, HashMap::from([(key(2), [2; FIGURES])]));
        assert_eq!(map.0, HashMap::from([(key(2), [2, 2, 3, 2])]));
    }
}
