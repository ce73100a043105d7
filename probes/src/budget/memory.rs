//! What the agent holds, under one bound.
//!
//! Invariants: spans give way to connections: those that wait or are to be sent are refused or leave early once the
//! whole is over the bound, while connections are given up only once they alone hold half of what is free.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that are held. Cheap to clone; all clones count together.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    held: Arc<Held>,
    /// Rings, maps and tables, whose size does not change.
    fixed: usize,
    max: usize,
}

#[derive(Debug, Default)]
struct Held {
    connections: AtomicUsize,
    waiting: AtomicUsize,
    requests: AtomicUsize,
    /// Also counted up and down by those who send.
    queue: Arc<AtomicUsize>,
}

/// Who holds bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    /// What parsers hold of connections.
    Connections,
    /// Spans that wait until their trace is decided.
    Waiting,
    /// Requests under way, as far as they are tied to each other.
    Requests,
    /// What waits to be sent.
    Queue,
    /// Rings, maps and tables of files, as large as they may become.
    Fixed,
}

/// Without a bound.
impl Default for Memory {
    fn default() -> Self {
        Self::new(usize::MAX, 0)
    }
}

impl Memory {
    /// `fixed`: what is held in any case.
    pub(crate) fn new(max: usize, fixed: usize) -> Self {
        Self { held: Arc::default(), fixed, max }
    }

    /// Where those who send count what waits.
    pub(crate) fn queue(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.held.queue)
    }

    /// What was held is now so much.
    pub(crate) fn change(&self, holder: Holder, before: usize, now: usize) {
        let Some(count) = self.count(holder) else { return };
        if now >= before {
            count.fetch_add(now - before, Ordering::Relaxed);
        } else {
            count.fetch_sub(before - now, Ordering::Relaxed);
        }
    }

    /// Bytes that are held.
    pub(crate) fn of(&self, holder: Holder) -> usize {
        self.count(holder).map_or(self.fixed, |count| count.load(Ordering::Relaxed))
    }

    fn count(&self, holder: Holder) -> Option<&AtomicUsize> {
        match holder {
            Holder::Connections => Some(&self.held.connections),
            Holder::Waiting => Some(&self.held.waiting),
            Holder::Requests => Some(&self.held.requests),
            Holder::Queue => Some(&self.held.queue),
            Holder::Fixed => None,
        }
    }

    /// Bytes that may be held.
    pub(crate) fn max(&self) -> usize {
        self.max
    }

    fn changing(&self) -> usize {
        let parts = [Holder::Connections, Holder::Waiting, Holder::Requests, Holder::Queue];
        parts.into_iter().fold(0, |sum, part| sum.saturating_add(self.of(part)))
    }

    /// What may be held beyond what is fixed.
    fn free(&self) -> usize {
        self.max.saturating_sub(self.fixed)
    }

    /// No more spans can be held.
    pub(crate) fn is_full(&self) -> bool {
        self.changing() > self.free()
    }

    /// Connections hold more than they may.
    pub(crate) fn connections_are_full(&self) -> bool {
        self.of(Holder::Connections) > self.free() / 2
    }

    /// Of what may be held beyond what is fixed, so much is.
    pub(crate) fn share(&self) -> f64 {
        self.changing() as f64 / (self.free() as f64).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: a bound of 100 bytes of which 20 are fixed; spans come to wait, connections grow, and both shrink.
    /// Guarantees: it is full for spans once all of it together is over, and for connections once they have half
    /// of what is free.
    #[test]
    fn spans_give_way_to_connections() {
        let memory = Memory::new(100, 20);
        memory.change(Holder::Waiting, 0, 50);
        memory.queue().fetch_add(30, Ordering::Relaxed);
        assert!(!memory.is_full() && memory.share() == 1.0);
        memory.change(Holder::Connections, 0, 10);
        assert!(memory.is_full() && !memory.connections_are_full());
        memory.change(Holder::Connections, 10, 41);
        assert!(memory.connections_are_full());
        memory.change(Holder::Connections, 41, 40);
        memory.change(Holder::Waiting, 50, 0);
        assert!(!memory.is_full() && !memory.connections_are_full());
        assert_eq!(memory.of(Holder::Fixed), 20);
    }
}
