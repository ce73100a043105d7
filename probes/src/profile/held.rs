//! Samples that wait until it is known which request their thread was serving.
//!
//! Invariants: they leave in the order in which they are due, each once; no more of them than the bound.

use std::collections::VecDeque;

use super::fold::Owner;

/// A sample whose stack was followed.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) owner: Owner,
    /// What the kernel calls its thread.
    pub(super) comm: [u8; 16],
    pub(super) thread: u32,
    /// Monotonic clock in nanoseconds.
    pub(super) time: u64,
    /// Numbers of places, innermost first.
    pub(super) stack: Box<[u32]>,
}

impl Waiting {
    /// The name of its thread.
    pub(super) fn comm(&self) -> String {
        let comm = self.comm.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(comm).into_owned()
    }
}

/// Those that wait.
#[derive(Debug)]
pub(super) struct Held {
    /// When each is due.
    samples: VecDeque<(u64, Waiting)>,
    max: usize,
}

impl Held {
    pub(super) fn new(max: usize) -> Self {
        Self { samples: VecDeque::new(), max }
    }

    /// Holds one, whose due time is no earlier than those of all others, or nearly so.
    pub(super) fn push(&mut self, due: u64, sample: Waiting) {
        self.samples.push_back((due, sample));
    }

    /// The next one that is due by now, or for which there is no room; true where it is the latter.
    pub(super) fn pop(&mut self, now: u64) -> Option<(Waiting, bool)> {
        let crowded = match self.samples.front()? {
            (due, _) if *due <= now => false,
            _ if self.samples.len() > self.max => true,
            _ => return None,
        };
        self.samples.pop_front().map(|(_, sample)| (sample, crowded))
    }

    pub(super) fn len(&self) -> usize {
        self.samples.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: five samples where three may wait; then time goes by.
    /// Guarantees: the two oldest leave before their time and say so, the others when they are due, in order.
    #[test]
    fn what_waits_is_bounded() {
        let mut held = Held::new(3);
        for time in 1..=5 {
            let (owner, stack) = (Owner { pid: 1, started: 1 }, Box::default());
            let comm = *b"name\0of a thread";
            held.push(time * 10, Waiting { owner, comm, thread: 1, time, stack });
        }
        let mut left = |now| {
            let left = std::iter::from_fn(|| held.pop(now));
            left.map(|(one, early)| (one.time, early)).collect::<Vec<_>>()
        };
        assert_eq!(left(0), [(1, true), (2, true)]);
        assert_eq!(left(40), [(3, false), (4, false)]);
        assert_eq!(left(u64::MAX), [(5, false)]);
        assert_eq!(held.len(), 0);
    }

    /// Scenario: the name of a thread, with what was there before it behind its end.
    /// Guarantees: the name alone.
    #[test]
    fn a_name_ends_where_it_ends() {
        let (owner, stack) = (Owner { pid: 1, started: 1 }, Box::default());
        let sample = Waiting { owner, comm: *b"name\0of a thread", thread: 1, time: 1, stack };
        assert_eq!(sample.comm(), "name");
    }
}
