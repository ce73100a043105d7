//! How far behind the log a destination is, in seconds.
//!
//! Invariant: bounded memory whatever the lag; the figure is never too high, and too low by at
//! most the distance of two marks.

use std::collections::VecDeque;
use std::time::Duration;

use icecore_store::LogPosition;

/// Marks kept; when full, every second one goes, so that hours fit at a coarser grain.
const MARKS_MAX: usize = 1024;

/// When the log's end was seen where.
#[derive(Debug, Default)]
pub(crate) struct Lag {
    marks: VecDeque<(LogPosition, Duration)>,
}

impl Lag {
    /// Notes that the log ended at `end` at `now`.
    pub(crate) fn mark(&mut self, end: LogPosition, now: Duration) {
        if self.marks.back().is_some_and(|(last, _)| *last >= end) {
            return;
        }
        if self.marks.len() >= MARKS_MAX {
            let mut at = 0_usize;
            self.marks.retain(|_| {
                at += 1;
                at % 2 == 1
            });
        }
        self.marks.push_back((end, now));
    }

    /// The age of the oldest noted byte that `cursor` has not passed; zero where it has passed all.
    pub(crate) fn behind(&mut self, cursor: LogPosition, now: Duration) -> Duration {
        while self.marks.front().is_some_and(|(end, _)| *end <= cursor) {
            self.marks.pop_front();
        }
        self.marks.front().map_or(Duration::ZERO, |(_, seen)| now.saturating_sub(*seen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: a log that grows while the cursor stands, catches up a part, then all.
    /// Guarantees: the age of what is still to be sent; bounded marks.
    #[test]
    fn lag_is_the_age_of_the_oldest_byte() {
        let second = Duration::from_secs;
        let mut lag = Lag::default();
        assert_eq!(lag.behind(LogPosition(0), second(9)), second(0));
        lag.mark(LogPosition(10), second(10));
        lag.mark(LogPosition(10), second(11));
        lag.mark(LogPosition(20), second(12));
        assert_eq!(lag.behind(LogPosition(9), second(15)), second(5));
        assert_eq!(lag.behind(LogPosition(10), second(15)), second(3));
        assert_eq!(lag.behind(LogPosition(20), second(15)), second(0));
        (0..100_000).for_each(|at| lag.mark(LogPosition(100 + at), second(at)));
        assert!(lag.marks.len() <= MARKS_MAX);
    }
}
