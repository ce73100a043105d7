//! Samples of an interval, each distinct stack of a process once, and once more for each request that it was
//! seen in.
//!
//! Invariant: every sample that was added is in the counts of its process, whatever its stack: beyond the
//! bound of stacks it is under one that says so.

use std::collections::HashMap;

use super::frames::OTHER;
use super::links::SpanLink;

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
    /// When those were seen that are told one by one, by the monotonic clock in nanoseconds.
    pub(super) moments: HashMap<Told, Vec<u64>>,
}

/// A stack, and the request in which it was seen.
pub(super) type Told = (Box<[u32]>, Option<SpanLink>);

/// A sample whose time is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// Monotonic clock in nanoseconds.
    pub(super) time: u64,
    /// The request that was served.
    pub(super) link: Option<SpanLink>,
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

    /// Adds one sample, whose thread has this name.
    pub(super) fn add(&mut self, owner: &Owner, comm: impl FnOnce() -> String, stack: &[u32]) {
        let process = process(&mut self.processes, owner, comm);
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

    /// Adds one sample with its time, and says whether there was room for it; else nothing is added.
    pub(super) fn add_moment(
        &mut self,
        owner: &Owner,
        comm: impl FnOnce() -> String,
        stack: &[u32],
        moment: Moment,
    ) -> bool {
        let process = process(&mut self.processes, owner, comm);
        let key = (Box::from(stack), moment.link);
        if let Some(times) = process.moments.get_mut(&key) {
            times.push(moment.time);
            return true;
        }
        let room = self.stacks < self.stacks_max;
        if room {
            self.stacks += 1;
            process.moments.insert(key, vec![moment.time]);
        }
        room
    }

    /// What was added since it was last asked, and how many samples are under the stack of all others.
    pub(super) fn take(&mut self) -> (HashMap<Owner, Stacks>, u64) {
        self.stacks = 0;
        (std::mem::take(&mut self.processes), std::mem::take(&mut self.overflowed))
    }
}

fn process<'a>(
    processes: &'a mut HashMap<Owner, Stacks>,
    owner: &Owner,
    comm: impl FnOnce() -> String,
) -> &'a mut Stacks {
    processes.entry(owner.clone()).or_insert_with(|| Stacks { comm: comm(), ..Stacks::default() })
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
            fold.add(owner, || "comm".to_owned(), stack);
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
        fold.add(&a, || "comm".to_owned(), &[3]);
        let (processes, overflowed) = fold.take();
        assert_eq!((processes[&a].counts[&[3][..]], overflowed), (1, 0));
    }

    /// Scenario: one stack in two requests and without one, in an interval that holds two.
    /// Guarantees: each request has its own, with all times; what finds no room is not added, and said.
    #[test]
    fn a_request_has_its_own_stacks() {
        let mut fold = Fold::new(2);
        let owner = Owner { pid: 1, started: 10 };
        let link = |number| Some(SpanLink { trace_id: [number; 16], span_id: [number; 8] });
        let mut add =
            |time, link| fold.add_moment(&owner, String::new, &[1, 2], Moment { time, link });
        assert_eq!(
            [add(5, link(1)), add(6, None), add(7, link(2)), add(8, link(1))],
            [true, true, false, true]
        );
        let (processes, _) = fold.take();
        let moments = &processes[&owner].moments;
        let times = |link| moments.get(&(Box::from([1, 2]), link)).map(Vec::as_slice);
        assert_eq!((times(link(1)), times(None)), (Some(&[5, 8][..]), Some(&[6][..])));
        assert_eq!((moments.len(), processes[&owner].counts.len()), (2, 0));
    }
}
