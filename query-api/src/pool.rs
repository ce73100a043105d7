//! The memory of one query, shared among the parts of its plan.
//!
//! Invariant: together they hold no more than the bound, but for what the engine takes without asking.
//! Where parts go on from disk, they hold at most half of it, and those that merge what is there a quarter,
//! each of a kind as much as the others, so that a part that can do neither finds the last quarter.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use datafusion::common::DataFusionError;
use datafusion::error::Result;
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};

/// What the engine calls the parts that merge what a sort has put on disk. They take as many streams
/// as they get memory for, which without a bound of their own is all: then what merges the sorts of
/// several threads has nothing.
const MERGES: &str = "ExternalSorterMerge";

/// See the module.
#[derive(Debug)]
pub(crate) struct QueryPool {
    bytes_max: usize,
    /// Whether what has no room goes to disk. Where nothing does, nothing need be kept for merges.
    to_disk: bool,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// By all parts.
    bytes: usize,
    spilling: usize,
    merging: usize,
}

/// How a part goes on where it gets no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// From disk.
    Spills,
    /// With fewer streams at a time.
    Merges,
    /// Not at all.
    Fails,
}

impl Kind {
    fn of(consumer: &MemoryConsumer) -> Self {
        match consumer.can_spill() {
            true => Self::Spills,
            false if consumer.name().starts_with(MERGES) => Self::Merges,
            false => Self::Fails,
        }
    }
}

impl Held {
    fn parts(&mut self, kind: Kind) -> Option<&mut usize> {
        match kind {
            Kind::Spills => Some(&mut self.spilling),
            Kind::Merges => Some(&mut self.merging),
            Kind::Fails => None,
        }
    }
}

impl QueryPool {
    /// Nothing held of so many bytes.
    pub(crate) fn new(bytes_max: usize, to_disk: bool) -> Self {
        Self { bytes_max, to_disk, held: Mutex::default() }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What one part of a kind may hold while there are so many of them.
    fn share(&self, kind: Kind, held: &Held) -> usize {
        match kind {
            Kind::Spills if self.to_disk => self.bytes_max / 2 / held.spilling.max(1),
            Kind::Merges if self.to_disk => self.bytes_max / 4 / held.merging.max(1),
            Kind::Spills | Kind::Merges | Kind::Fails => self.bytes_max,
        }
    }
}

impl MemoryPool for QueryPool {
    fn name(&self) -> &'static str {
        "query"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        if let Some(parts) = self.held().parts(Kind::of(consumer)) {
            *parts += 1;
        }
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        if let Some(parts) = self.held().parts(Kind::of(consumer)) {
            *parts = parts.saturating_sub(1);
        }
    }

    fn grow(&self, _: &MemoryReservation, additional: usize) {
        self.held().bytes += additional;
    }

    fn shrink(&self, _: &MemoryReservation, shrink: usize) {
        let mut held = self.held();
        held.bytes = held.bytes.saturating_sub(shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let mut held = self.held();
        let consumer = reservation.consumer();
        let share = self.share(Kind::of(consumer), &held);
        let (mine, all) = (reservation.size() + additional, held.bytes + additional);
        if mine <= share && all <= self.bytes_max {
            held.bytes = all;
            return Ok(());
        }
        let (name, max) = (consumer.name(), self.bytes_max);
        let text = format!("`{name}` would hold {mine} of {share} bytes, and all {all} of {max}");
        Err(DataFusionError::ResourcesExhausted(text))
    }

    fn reserved(&self) -> usize {
        self.held().bytes
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.bytes_max)
    }
}

impl fmt::Display for QueryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({} bytes)", self.name(), self.bytes_max)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Scenario: two parts that can spill and one that merges take what they get; one that can do
    /// neither comes after them, and takes more when one is done.
    /// Guarantees: each has its share and no more, the last one has what is left, and what is given back
    /// can be had again.
    #[test]
    fn what_can_do_nothing_else_finds_room() {
        let pool: Arc<dyn MemoryPool> = Arc::new(QueryPool::new(800, true));
        let consumer =
            |name: &str, spills| MemoryConsumer::new(name).with_can_spill(spills).register(&pool);
        let (one, two) = (consumer("sort", true), consumer("sort", true));
        assert!(one.try_grow(201).is_err() && one.try_grow(200).is_ok());
        assert!(two.try_grow(200).is_ok());
        let merges = consumer("ExternalSorterMerge[0]", false);
        assert!(merges.try_grow(201).is_err() && merges.try_grow(200).is_ok());
        let other = consumer("SortPreservingMergeExec[0]", false);
        assert!(other.try_grow(201).is_err() && other.try_grow(200).is_ok());
        assert_eq!(pool.reserved(), 800);
        drop(one);
        assert!(other.try_grow(200).is_ok() && two.try_grow(1).is_err());
        drop((merges, two, other));
        assert_eq!(pool.reserved(), 0);
        let pool: Arc<dyn MemoryPool> = Arc::new(QueryPool::new(800, false));
        let alone = MemoryConsumer::new("sort").with_can_spill(true).register(&pool);
        assert!(alone.try_grow(801).is_err() && alone.try_grow(800).is_ok());
    }
}
