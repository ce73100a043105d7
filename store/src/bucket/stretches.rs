//! Stretches of an object that are fetched together.
//!
//! Invariant: every range lies in one of the stretches, which are in order and do not touch.

use std::ops::Range;

/// Of a bucket that is far away, stretches of an object that are this close together are one request:
/// the bytes between them take less time than another would.
pub(crate) const FAR_GAP_BYTES_MAX: u64 = 2 << 20;

/// The ranges in order, those joined that are no further apart than `gap` bytes.
pub(crate) fn joined(ranges: &[Range<u64>], gap: u64) -> Vec<Range<u64>> {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(sorted.len());
    for range in sorted {
        match joined.last_mut() {
            Some(last) if range.start <= last.end + gap => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}
