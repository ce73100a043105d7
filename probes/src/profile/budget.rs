//! The share of a CPU that the profiler may use.
//!
//! Invariant: within any second the work that is counted stops soon after the share is used up, and goes on
//! in the next.

use crate::clock::{monotonic, thread_nanos};

const SECOND: u64 = 1_000_000_000;

/// What was used.
#[derive(Debug)]
pub(super) struct Budget {
    nanos_max: u64,
    /// When the second began, and what the thread had used by then.
    second: (u64, u64),
    used: u64,
    /// What was used when it was last told.
    told: u64,
}

impl Budget {
    /// So many hundredths of one CPU, for the thread that looks.
    pub(super) fn new(percent: u64) -> Self {
        Self { nanos_max: percent.saturating_mul(SECOND / 100), second: (0, 0), used: 0, told: 0 }
    }

    /// Reads the clocks; takes half a microsecond.
    pub(super) fn look(&mut self) {
        self.look_at(monotonic(), thread_nanos());
    }

    fn look_at(&mut self, now: u64, used: u64) {
        if now.saturating_sub(self.second.0) >= SECOND {
            self.second = (now, used);
        }
        self.used = used;
    }

    /// The share of this second is used up.
    pub(super) fn is_spent(&self) -> bool {
        self.used.saturating_sub(self.second.1) > self.nanos_max
    }

    /// The same as it is now, where much may have been done since the last look.
    pub(super) fn is_spent_now(&mut self) -> bool {
        self.look();
        self.is_spent()
    }

    /// Microseconds that were used since it was last asked.
    pub(super) fn take_micros(&mut self) -> u64 {
        self.look();
        let micros = self.used.saturating_sub(self.told) / 1_000;
        self.told += micros * 1_000;
        micros
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: a thread with 2 % of a CPU works for 10 ms, then for 15 more, and a second goes by.
    /// Guarantees: the share is used up by then and not before; the next second has its own.
    #[test]
    fn the_share_is_by_the_second() {
        let mut budget = Budget::new(2);
        budget.look_at(5 * SECOND, 7_000_000);
        assert!(!budget.is_spent());
        budget.look_at(5 * SECOND + 100, 17_000_000);
        assert!(!budget.is_spent());
        budget.look_at(5 * SECOND + 200, 32_000_000);
        assert!(budget.is_spent());
        budget.look_at(6 * SECOND, 32_000_000);
        assert!(!budget.is_spent());
    }
}
