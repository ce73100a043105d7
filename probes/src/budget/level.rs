//! How much is left out, from nothing to nearly all spans.
//!
//! Invariants: a level leaves out all that the one below it does; each but the first two keeps a share of the
//! traces that is written in a few hexadecimal digits.

/// What is left out. The first level keeps everything, the second leaves out bodies; each further one keeps
/// three quarters or two thirds of the traces of the one below it, so that two of them halve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Level(u32);

/// Bodies are left out.
const BODIES: u32 = 1;
/// Steps of the share: it ends at one trace in 1,024, so that something is always seen.
const SHARES: u32 = 20;

impl Level {
    pub(crate) const MOST: Self = Self(BODIES + SHARES);

    /// The one that leaves out most and still keeps one of so many traces.
    pub(crate) fn keeping(one_in: u64) -> Self {
        let keeps = |level: &Self| level.share() * one_in as f64 >= 1.0;
        (BODIES..=Self::MOST.0).rev().map(Self).find(keeps).unwrap_or(Self(BODIES))
    }

    /// As a number, for metrics.
    pub(crate) fn number(self) -> u32 {
        self.0
    }

    /// Bodies are told.
    pub(crate) fn keeps_bodies(self) -> bool {
        self.0 < BODIES
    }

    /// The share of traces that have spans.
    pub(crate) fn share(self) -> f64 {
        let step = self.0.saturating_sub(BODIES);
        let half = |times: u32| 1.0 / f64::from(1_u32 << times);
        if step.is_multiple_of(2) { half(step / 2) } else { half(step / 2) * 0.75 }
    }

    /// The level that brings down a cost of so many times what is allowed, were it the spans' alone. Bodies go
    /// by themselves first. `most` at most.
    pub(super) fn shedding(self, used: f64, most: Self) -> Self {
        if self.0 < BODIES {
            return Self(BODIES);
        }
        let above = |level: &Self| self.share() / level.share() >= used;
        let mut higher = (self.0 + 1..most.0).map(Self);
        higher.find(above).unwrap_or(most)
    }

    /// The lowest level that can be gone back to at so much of what is allowed, were all of it the spans'. Bodies
    /// come back by themselves, last.
    pub(super) fn restoring(self, used: f64) -> Self {
        if self.0 <= BODIES {
            return Self(0);
        }
        let stays_within = |level: &Self| used * level.share() / self.share() <= 1.0;
        let mut lower = (BODIES..self.0).map(Self);
        lower.find(stays_within).unwrap_or(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: all levels, in order.
    /// Guarantees: bodies go first; shares fall by a quarter and a third in turn, are exact, and end at one in
    /// 1,024.
    #[test]
    fn levels_leave_out_more_and_more() {
        let all: Vec<Level> = (0..=Level::MOST.0).map(Level).collect();
        let bodies: Vec<bool> = all.iter().take(3).map(|level| level.keeps_bodies()).collect();
        assert_eq!(bodies, [true, false, false]);
        let shares: Vec<f64> = all.iter().take(7).map(|level| level.share()).collect();
        assert_eq!(shares, [1.0, 1.0, 0.75, 0.5, 0.375, 0.25, 0.1875]);
        assert_eq!(Level::MOST.share(), 1.0 / 1024.0);
        assert!(all.windows(2).all(|pair| pair[0].share() >= pair[1].share()));
    }

    /// Scenario: that one trace of so many is kept at least.
    /// Guarantees: the level that leaves out most of those that keep as many.
    #[test]
    fn some_traces_are_kept() {
        let check = |one_in, share| assert_eq!(Level::keeping(one_in).share(), share, "{one_in}");
        check(1, 1.0);
        check(2, 0.5);
        check(7, 0.1875);
        check(8, 0.125);
        check(1024, 1.0 / 1024.0);
        assert!(!Level::keeping(1).keeps_bodies());
    }

    /// Scenario: costs of some times what is allowed, at some levels.
    /// Guarantees: bodies go and come back by themselves; of the shares as many steps are taken as the cost asks
    /// for, and on the way back none that could take it over.
    #[test]
    fn steps_are_as_long_as_they_have_to_be() {
        assert_eq!(Level(0).shedding(50.0, Level::MOST), Level(1));
        assert_eq!(Level(1).shedding(1.2, Level::MOST), Level(2));
        assert_eq!(Level(1).shedding(4.0, Level::MOST), Level(5));
        assert_eq!(Level(3).shedding(2.0, Level::MOST), Level(5));
        assert_eq!(Level(3).shedding(1e9, Level::MOST), Level::MOST);
        assert_eq!(Level(3).shedding(1e9, Level(6)), Level(6));
        assert_eq!(Level::MOST.restoring(0.0), Level(1));
        assert_eq!(Level(1).restoring(0.6), Level(0));
        assert_eq!(Level(3).restoring(0.66), Level(2));
        assert_eq!(Level(5).restoring(0.5), Level(3));
        assert_eq!(Level(4).restoring(0.99), Level(4));
    }
}
