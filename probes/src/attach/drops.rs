//! What the kernel has thrown away of TCP's segments, by flow and reason.
//!
//! Invariants: each figure is handed on once, as what was added since the last time; the map's entries are
//! bounded, and once half of them are taken, those that have not grown make room.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aya::maps::{MapData, PerCpuHashMap};
use aya::{Btf, Ebpf};
use icecore_probe_events::{DROPPED_BYTES, Dropped};

use super::tracepoints::{attach_typed, load_typed};
use crate::error::Error;
use crate::kernel::Reasons;

/// The map as the kernel program fills it.
pub(crate) type Counts = PerCpuHashMap<MapData, [u8; DROPPED_BYTES], u64>;

const DROPS: &str = "kfree_skb";

/// Has thrown away segments counted from here on. The map has its entry for all others by then.
pub(crate) fn attach_drops(programs: &mut Ebpf, types: &Btf) -> Result<(), Error> {
    load_typed(programs, DROPS, types)?;
    attach_typed(programs, DROPS)
}

/// Segments of one flow that were thrown away for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fallen {
    pub(crate) dropped: Dropped,
    /// In the kernel's words.
    pub(crate) reason: Arc<str>,
    pub(crate) segments: u64,
}

/// Reads the map whenever it is asked to.
pub(crate) struct Drops {
    held: Mutex<Held>,
    reasons: Reasons,
    entries_max: usize,
}

struct Held {
    counts: Counts,
    /// What was handed on.
    told: HashMap<[u8; DROPPED_BYTES], u64>,
}

impl Drops {
    pub(crate) fn new(counts: Counts, reasons: Reasons, entries_max: u32) -> Self {
        let held = Mutex::new(Held { counts, told: HashMap::new() });
        Self { held, reasons, entries_max: usize::try_from(entries_max).unwrap_or(usize::MAX) }
    }

    /// What was thrown away since the last call. Takes a microsecond for each flow that lost something.
    pub(crate) fn take(&self) -> Vec<Fallen> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Held { counts, told } = &mut *held;
        let mut fallen = Vec::new();
        let mut idle = Vec::new();
        for (key, counts) in counts.iter().flatten().take(self.entries_max) {
            let count = counts.iter().sum();
            let before = told.insert(key, count).unwrap_or(0);
            let dropped = Dropped::from_bytes(key);
            match count.saturating_sub(before) {
                0 if dropped != Dropped::ELSEWHERE => idle.push(key),
                0 => {}
                segments => {
                    let reason = self.reasons.name(dropped.reason);
                    fallen.push(Fallen { dropped, reason, segments });
                }
            }
        }
        if told.len() > self.entries_max / 2 {
            for key in idle {
                // What falls in this very moment goes with its entry.
                drop(counts.remove(&key));
                told.remove(&key);
            }
        }
        fallen
    }
}
