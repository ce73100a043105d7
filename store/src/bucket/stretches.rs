//! Stretches of an object that are fetched together.
//!
//! Invariant: every range lies in one of the stretches, which are in order and do not touch.

use std::ops::Range;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use object_store::{Error, Result};

/// Of a bucket that is far away, stretches of an object that are this close together are one request:
/// the bytes between them take less time than another would.
pub(crate) const FAR_GAP_BYTES_MAX: u64 = 2 << 20;

/// Requests for stretches of one object that are on their way at one time.
const STRETCHES_AT_ONCE: usize = 64;

/// Stretches of an object that is far away, each by a request of its own; the ranges cut out of them.
pub(crate) async fn apart<F>(
    ranges: &[Range<u64>],
    get: impl Fn(Range<u64>) -> F,
) -> Result<Vec<Bytes>>
where
    F: Future<Output = Result<Bytes>>,
{
    let stretches = joined(ranges, FAR_GAP_BYTES_MAX);
    let pieces = stream::iter(stretches.clone()).map(get).buffered(STRETCHES_AT_ONCE);
    let pieces: Vec<Bytes> = pieces.try_collect().await?;
    let cut = ranges.iter().map(|range| {
        let at = stretches.partition_point(|stretch| stretch.end < range.end);
        let start = stretches.get(at).map_or(0, |stretch| stretch.start);
        let piece = pieces.get(at).cloned().unwrap_or_default();
        slice(&piece, range.start.saturating_sub(start)..range.end.saturating_sub(start))
    });
    cut.collect()
}

/// A range of what was fetched.
pub(super) fn slice(whole: &Bytes, range: Range<u64>) -> Result<Bytes> {
    let start = usize::try_from(range.start).unwrap_or(usize::MAX);
    let end = usize::try_from(range.end).unwrap_or(usize::MAX);
    if start > end || end > whole.len() {
        let source = format!("it has {} bytes, not {range:?}", whole.len()).into();
        return Err(Error::Generic { store: "bucket", source });
    }
    Ok(whole.slice(start..end))
}

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
