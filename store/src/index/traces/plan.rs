//! Which segments of a day to merge. Pure.
//!
//! Invariant: once nothing is left to merge, a day has at most a few segments of each size, so
//! that a look-up reads a number of pages that grows with the days and the logarithm of the files.

use std::sync::Arc;

use super::segment::Segment;
use crate::catalog::FileKey;
use crate::model::UnixNanos;

/// Segments of one size class that are merged into one of the next.
const FAN_IN: usize = 4;

/// The same for a day that is over: it gets few more segments, and is looked up for years.
const FAN_IN_OVER: usize = 2;

/// A class holds segments up to this many times the size of the class below.
const CLASS_FACTOR: u64 = 4;

/// A day in UTC, counted from 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Day(i64);

impl Day {
    /// The day of a segment: all its files are of one.
    pub(super) fn of(segment: &Segment) -> Self {
        segment.files.first().map_or(Self(0), |file| Self::of_file(*file))
    }

    pub(super) const fn of_file((hour, _): FileKey) -> Self {
        Self(hour.0.div_euclid(24 * UnixNanos::HOUR))
    }

    pub(super) const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Whether it ended more than an hour before.
    pub(super) const fn is_over(self, now: UnixNanos) -> bool {
        self.0 < UnixNanos(now.0.saturating_sub(UnixNanos::HOUR)).0.div_euclid(24 * UnixNanos::HOUR)
    }
}

/// The segments that are to become one next, of those of one day.
pub(super) fn merge(segments: &[Arc<Segment>], over: bool) -> Option<Vec<Arc<Segment>>> {
    let fan_in = if over { FAN_IN_OVER } else { FAN_IN };
    let mut classes: Vec<(u32, &Arc<Segment>)> =
        segments.iter().map(|segment| (class(segment.pairs), segment)).collect();
    classes.sort_by_key(|(class, _)| *class);
    let mut chunks = classes.chunk_by(|one, other| one.0 == other.0);
    let full = chunks.find(|chunk| chunk.len() >= fan_in)?;
    Some(full.iter().map(|(_, segment)| Arc::clone(segment)).collect())
}

fn class(pairs: u64) -> u32 {
    pairs.max(1).ilog(CLASS_FACTOR)
}
