//! What was fetched and waits to be written to local disk.
//!
//! Invariant: what waits, and what is copied to wait, takes no more memory than it may: each part is a copy that
//! shares its memory with nothing. What it came with, be it a whole file, is let go of.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::blocks::{Part, missing, within};
use super::lock_of;
use super::shelf::Name;
use crate::work::blocking;

/// What may wait to be written; what comes beyond it is not kept. Some waves of a scan.
pub(super) const QUEUE_BYTES_MAX: usize = 32 << 20;

/// What is shorter is copied at once, which takes some 100 us at most.
const COPIED_AT_ONCE_BYTES_MAX: usize = 1 << 20;

/// What a part takes beside its bytes, about.
const PART_BYTES: usize = 256;

/// See the module.
#[derive(Debug)]
pub(super) struct Queue {
    room: Arc<Semaphore>,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    parts: VecDeque<(Name, Part, OwnedSemaphorePermit)>,
    /// Somebody writes, and goes on until nothing waits.
    writing: bool,
}

impl Default for Queue {
    fn default() -> Self {
        Self { room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)), waiting: Mutex::default() }
    }
}

impl Queue {
    /// Puts a copy at the end, and says whether somebody has to begin to write; `None` where too much waits.
    pub(super) async fn push(&self, name: Name, (run, bytes): Part) -> Option<bool> {
        let room = u32::try_from(bytes.len() + PART_BYTES).ok()?;
        let room = Arc::clone(&self.room).try_acquire_many_owned(room).ok()?;
        let (bytes, room) = copied(bytes, room).await?;
        let mut waiting = lock_of(&self.waiting);
        waiting.parts.push_back((name, (run, bytes), room));
        Some(!std::mem::replace(&mut waiting.writing, true))
    }

    /// What waits of these runs, in order: the pages of a small file come with its footer.
    pub(super) fn find(&self, name: &Name, runs: &[Range<u64>]) -> Vec<Part> {
        let mut found = Vec::new();
        let waiting = lock_of(&self.waiting);
        for (_, part, _) in waiting.parts.iter().filter(|(of, ..)| of == name) {
            let others = missing(runs, &found);
            found.extend(others.iter().filter_map(|run| within(part, run)));
            found.sort_by_key(|(run, _)| run.start);
        }
        found
    }

    /// What has waited longest, which goes on to be found here; `None`: whoever writes has nothing left to do.
    pub(super) fn first(&self) -> Option<(Name, Part)> {
        let mut waiting = lock_of(&self.waiting);
        let first = waiting.parts.front().map(|(name, part, _)| (*name, part.clone()));
        waiting.writing = first.is_some();
        first
    }

    /// That was written, or never will be.
    pub(super) fn done(&self) {
        lock_of(&self.waiting).parts.pop_front();
    }

    /// Memory that is taken.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        QUEUE_BYTES_MAX - self.room.available_permits()
    }

    /// Whether somebody writes.
    #[cfg(test)]
    pub(super) fn is_writing(&self) -> bool {
        lock_of(&self.waiting).writing
    }
}

/// The same bytes in memory of their own, for which there is room; `None` where the process is about to end.
async fn copied(bytes: Bytes, room: OwnedSemaphorePermit) -> Option<(Bytes, OwnedSemaphorePermit)> {
    if bytes.len() <= COPIED_AT_ONCE_BYTES_MAX {
        return Some((Bytes::copy_from_slice(&bytes), room));
    }
    // Whoever asked may be gone before it is copied.
    blocking(move || (Bytes::copy_from_slice(&bytes), room)).await.ok()
}
