//! Samples of an interval, each distinct stack of a process once.
//!
//! Invariant: every sample that was added is in the counts of its process, whatever its stack: beyond the
//! bound of stacks it is under one that says so.

use std::collections::HashMap;

use super::frames::OTHER;

/// A process and all that is known of it when it has ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Owner {
    pub(crate) pid: u32,
    /// In nanoseconds since boot; 0: unknown.
    pub(crate) started: u64,
}

/// Stacks of one process: numbers of places, innermost first, and how often each was seen.
#[derive(Debug, Default)]
pub(super) struct Stacks {
    /// What the kernel calls its thread that was seen first.
    pub(super) comm: String,
    pub(super) counts: HashMap<Box<[u32]>, u64>,
}

/// An interval.
#[derive(Debug)]
pub(super) struct Fold {
    processes: HashMap<Owner, Stacks>,
    stacks: usize,
    stacks_max: usize,
    /// Samples under the stack of all others.
    overflowed: u64,
}

impl Fold {
    pub(super) fn new(stacks_max: usize) -> Self {
        Self { processes: HashMap::new(), stacks: 0, stacks_max, overflowed: 0 }
    }

    /// Adds one sample.
    pub(super) fn add(&mut self, owner: &Owner, comm: &str, stack: &[u32]) {
        if !self.processes.contains_key(owner) {
            let stacks = Stacks { comm: comm.to_owned(), ..Stacks::default() };
            self.processes.insert(owner.clone(), stacks);
        }
        let Some(process) = self.processes.get_mut(owner) else { return };
        if let Some(count) = process.counts.get_mut(stack) {
            *count += 1;
        } else if self.stacks < self.stacks_max {
            self.stacks += 1;
            process.counts.insert(Box::from(stack), 1);
        } else {
            self.overflowed += 1;
            *process.counts.entry(Box::from([OTHER])).or_insert(0) += 1;
        }
    }

    /// What was added since it was last asked, and how many samples are under the stack of all others.
    pub(super) fn take(&mut self) -> (HashMap<Owner, Stacks>, u64) {
        self.stacks = 0;
        (std::mem::take(&mut self.processes), std::mem::take(&mut self.overflowed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: stacks of two processes, some of them often, in an interval that holds three.
    /// Guarantees: each sample is counted once under its process; what finds no room is under the stack of
    /// all others, and said; the next interval begins empty.
    #[test]
    fn no_sample_is_lost() {
        let mut fold = Fold::new(3);
        let (a, b) = (Owner { pid: 1, started: 10 }, Owner { pid: 1, started: 20 });
        for (owner, stack) in [
            (&a, &[1, 2][..]),
            (&a, &[1, 2]),
            (&b, &[1, 2]),
            (&a, &[2]),
            (&a, &[3]),
            (&b, &[4]),
            (&b, &[5]),
        ] {
            fold.add(owner, "comm", stack);
        }
        let (processes, overflowed) = fold.take();
        let count = |owner, stack: &[u32]| processes[owner].counts.get(stack).copied();
        assert_eq!(
            (count(&a, &[1, 2]), count(&a, &[2]), count(&a, &[OTHER])),
            (Some(2), Some(1), Some(1))
        );
        assert_eq!((count(&b, &[1, 2]), count(&b, &[OTHER])), (Some(1), Some(2)));
        assert_eq!(overflowed, 3);
        assert_eq!(processes[&b].comm, "comm");
        fold.add(&a, "comm", &[3]);
        let (processes, overflowed) = fold.take();
        assert_eq!((processes[&a].counts[&[3][..]], overflowed), (1, 0));
    }
}
