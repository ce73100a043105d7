//! How much is shed: from what the agent has cost to the next level.
//!
//! Invariants: pure, so that the same costs give the same levels; bodies go before spans, and durations never
//! go; a step back to more is taken only where even the largest growth it can bring stays within the budget.

use super::level::Level;

/// Looks in a row with little cost before a step back is taken.
const CALM_MIN: u32 = 5;
/// The same after steps back that did not last.
const CALM_MAX: u32 = 80;
/// A step back that is undone within so many looks did not last.
const RELAPSE: u32 = 15;
/// A cost that leaves room for the smallest step back.
const ROOM: f64 = 2.0 / 3.0;
/// Each rise in a row is twice as high, so often at most: what the spans are not the cause of is soon found out.
const DOUBLED_MAX: u32 = 10;
/// What was decided shows in the cost after so many looks: spans wait, and leave in batches.
const SETTLE: u32 = 2;

/// What was used between two looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spent {
    /// Time that went by, in nanoseconds.
    pub(super) elapsed: f64,
    /// CPU time of the agent and its kernel programs in it, in nanoseconds.
    pub(super) cpu: f64,
    /// Of the memory that may be held, so much is.
    pub(super) memory: f64,
}

/// What may be used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Allowed {
    /// The share of one CPU; infinite where there is no bound.
    pub(super) cpu: f64,
    /// The time over which it is an average, in nanoseconds.
    pub(super) window: f64,
    /// No more than that is left out.
    pub(super) most: Level,
}

/// What is remembered from one look to the next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Control {
    level: Level,
    /// CPU time, in nanoseconds, that was allowed and not used: as much as a window brings at most.
    credit: f64,
    /// Looks in a row with room for a step back.
    calm: u32,
    /// How many it takes.
    calm_wanted: u32,
    /// Looks since the level rose and since it fell.
    since_rise: u32,
    since_fall: u32,
    /// Rises in a row that were not enough.
    rises: u32,
}

impl Control {
    /// Nothing is shed, and nothing was used yet.
    pub(super) fn new(allowed: Allowed) -> Self {
        Self {
            level: Level::default(),
            credit: allowed.cpu * allowed.window,
            calm: 0,
            calm_wanted: CALM_MIN,
            since_rise: SETTLE,
            since_fall: RELAPSE,
            rises: 0,
        }
    }

    pub(super) fn level(&self) -> Level {
        self.level
    }

    /// What comes of this cost.
    pub(super) fn after(self, spent: Spent, allowed: Allowed) -> Self {
        let mut next = self;
        let may = allowed.cpu * spent.elapsed;
        let full = allowed.cpu * allowed.window;
        next.credit = (self.credit + may - spent.cpu).clamp(0.0, full);
        next.since_rise = self.since_rise.saturating_add(1);
        next.since_fall = self.since_fall.saturating_add(1);
        // Without a bound both are infinite, and nothing of it was used.
        let used = if may.is_finite() { spent.cpu / may } else { 0.0 };
        let cpu_spent = next.credit <= 0.0 && used > 1.0;
        if cpu_spent || spent.memory > 1.0 {
            next.rise(if cpu_spent { used } else { 1.0 }, allowed.most);
        } else if used.max(spent.memory) < ROOM {
            next.rest(used.max(spent.memory));
        } else {
            next.calm = 0;
        }
        if used.max(spent.memory) <= 1.0 {
            next.rises = 0;
        }
        next
    }

    fn rise(&mut self, used: f64, most: Level) {
        self.calm = 0;
        if self.since_rise <= SETTLE || self.level >= most {
            return;
        }
        if self.since_fall < RELAPSE {
            self.calm_wanted = (self.calm_wanted * 2).min(CALM_MAX);
        }
        let before = self.level;
        self.level = before.shedding(used * f64::from(1_u32 << self.rises.min(DOUBLED_MAX)), most);
        // That bodies go says nothing of spans.
        self.rises += u32::from(!before.keeps_bodies());
        self.since_rise = 0;
    }

    fn rest(&mut self, used: f64) {
        self.calm = self.calm.saturating_add(1);
        if self.level == Level::default() {
            // A long rest is worth a fresh start.
            if self.since_fall > RELAPSE.saturating_add(self.calm_wanted) {
                self.calm_wanted = CALM_MIN;
            }
            return;
        }
        if self.calm >= self.calm_wanted {
            self.level = self.level.restoring(used);
            (self.calm, self.since_fall) = (0, 0);
        }
    }
}

#[cfg(test)]
mod tests;
