//! Points and stretches of time, in nanoseconds since 1970 UTC.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// Nanoseconds since 1970-01-01T00:00:00Z; good from 1677 to 2262.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixNanos(pub i64);

impl UnixNanos {
    /// Nanoseconds in an hour: the width of a partition.
    pub const HOUR: i64 = 3_600_000_000_000;

    /// The start of the hour that holds this instant.
    #[must_use]
    pub const fn hour(self) -> Self {
        Self(self.0.div_euclid(Self::HOUR).saturating_mul(Self::HOUR))
    }
}

impl fmt::Display for UnixNanos {
    /// RFC 3339 in UTC with nine decimals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time: DateTime<Utc> = DateTime::from_timestamp_nanos(self.0);
        f.write_str(&time.to_rfc3339_opts(SecondsFormat::Nanos, true))
    }
}

impl fmt::Debug for UnixNanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A stretch of time, `start` in, `end` out; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TimeRange {
    start: UnixNanos,
    end: UnixNanos,
}

impl TimeRange {
    /// All of time.
    pub const ALL: Self = Self { start: UnixNanos(i64::MIN), end: UnixNanos(i64::MAX) };

    /// The range from `start` up to but without `end`; `None` where that is empty.
    #[must_use]
    pub fn new(start: UnixNanos, end: UnixNanos) -> Option<Self> {
        (start < end).then_some(Self { start, end })
    }

    /// The smallest range that holds both instants, in either order.
    #[must_use]
    pub fn covering(one: UnixNanos, other: UnixNanos) -> Self {
        let (first, last) = (one.min(other), one.max(other));
        // The very last nanosecond cannot be enclosed by a half-open range; it counts as covered.
        Self { start: first.min(UnixNanos(i64::MAX - 1)), end: UnixNanos(last.0.saturating_add(1)) }
    }

    /// The first instant in the range.
    #[must_use]
    pub const fn start(&self) -> UnixNanos {
        self.start
    }

    /// The first instant after the range.
    #[must_use]
    pub const fn end(&self) -> UnixNanos {
        self.end
    }

    /// Whether any instant is in both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// Whether the instant is in the range.
    #[must_use]
    pub fn contains(&self, time: UnixNanos) -> bool {
        self.start <= time && time < self.end
    }

    /// The instants that are in both; `None` where there are none.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }

    /// The smallest range that holds both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: ranges that touch, overlap, or hold the edges of time.
    /// Guarantees: half-open arithmetic, no overflow.
    #[test]
    fn ranges_are_half_open() {
        let range = |start, end| TimeRange::new(UnixNanos(start), UnixNanos(end)).unwrap();
        assert!(TimeRange::new(UnixNanos(5), UnixNanos(5)).is_none());
        assert!(!range(0, 5).overlaps(&range(5, 9)));
        assert!(range(0, 6).overlaps(&range(5, 9)));
        assert!(range(0, 5).contains(UnixNanos(0)) && !range(0, 5).contains(UnixNanos(5)));
        assert!(TimeRange::covering(UnixNanos(3), UnixNanos(3)).contains(UnixNanos(3)));
        let end_of_time = TimeRange::covering(UnixNanos(i64::MAX), UnixNanos(i64::MAX));
        assert!(end_of_time.contains(UnixNanos(i64::MAX - 1)));
        assert_eq!(UnixNanos(-1).hour(), UnixNanos(-UnixNanos::HOUR));
    }
}
