//! Blocks of a data file: what is kept of it, and what is fetched of it where something is kept.
//!
//! Invariant: runs of blocks are in order and do not touch; whoever asks for ranges gets the runs that they
//! are in, none of which goes beyond the end of the file.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::bucket::joined;

/// The bytes of a block, but for the last of a file. Smaller ones would each cost their header and a read of
/// the disk, larger ones bring more than was asked for: at 90 MB a second such a block takes 1.5 ms.
pub(crate) const BLOCK_BYTES: u64 = 128 << 10;

/// Some blocks one behind the other, and their bytes.
pub(crate) type Part = (Range<u64>, Bytes);

/// The runs of blocks that these ranges of a file are in.
pub(crate) fn covering(ranges: &[Range<u64>], file_bytes: u64) -> Vec<Range<u64>> {
    let within = ranges.iter().map(|range| range.start..range.end.min(file_bytes));
    let blocks = within.filter(|range| range.start < range.end);
    let blocks = blocks.map(|range| range.start / BLOCK_BYTES..range.end.div_ceil(BLOCK_BYTES));
    joined(&blocks.collect::<Vec<_>>(), 0)
}

/// Where a run is in a file of so many bytes.
pub(crate) fn bytes_of(run: &Range<u64>, file_bytes: u64) -> Range<u64> {
    let at = |block: u64| block.saturating_mul(BLOCK_BYTES).min(file_bytes);
    at(run.start)..at(run.end)
}

/// What of these runs is in none of the parts, which are in order.
pub(crate) fn missing(runs: &[Range<u64>], parts: &[Part]) -> Vec<Range<u64>> {
    let mut missing = Vec::new();
    for run in runs {
        let mut from = run.start;
        let inside = |part: &&Part| part.0.start >= run.start && part.0.end <= run.end;
        for (part, _) in parts.iter().filter(inside) {
            if from < part.start {
                missing.push(from..part.start);
            }
            from = part.end;
        }
        if from < run.end {
            missing.push(from..run.end);
        }
    }
    missing
}

/// How many blocks these parts have.
pub(super) fn count(parts: &[Part]) -> u64 {
    parts.iter().map(|(run, _)| run.end - run.start).sum()
}

/// The bytes of each run, put together from parts that are in order and have all of it.
pub(crate) fn whole(runs: &[Range<u64>], parts: &[Part]) -> Vec<Bytes> {
    let of_run = |run: &Range<u64>| {
        let inside = |part: &&Part| part.0.start >= run.start && part.0.end <= run.end;
        let mut here = parts.iter().filter(inside).map(|(_, bytes)| bytes);
        let first = here.next().cloned().unwrap_or_default();
        let rest: Vec<&Bytes> = here.collect();
        if rest.is_empty() {
            return first;
        }
        let length = first.len() + rest.iter().map(|bytes| bytes.len()).sum::<usize>();
        let mut all = BytesMut::with_capacity(length);
        all.extend_from_slice(&first);
        rest.iter().for_each(|bytes| all.extend_from_slice(bytes));
        all.freeze()
    };
    runs.iter().map(of_run).collect()
}

/// What a part has of a run; `None` where that is nothing.
pub(super) fn within((blocks, bytes): &Part, run: &Range<u64>) -> Option<Part> {
    let (from, to) = (blocks.start.max(run.start), blocks.end.min(run.end));
    if from >= to {
        return None;
    }
    let at = |block: u64| {
        let at = (block - blocks.start).saturating_mul(BLOCK_BYTES);
        usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len())
    };
    Some((from..to, bytes.slice(at(from)..at(to))))
}

/// The blocks of a part, each alone.
pub(super) fn each((run, bytes): &Part) -> impl Iterator<Item = (u64, Bytes)> {
    let length = usize::try_from(BLOCK_BYTES).unwrap_or(usize::MAX);
    let blocks = run.clone().zip(0_usize..);
    blocks.map(move |(block, nth)| {
        let from = nth.saturating_mul(length).min(bytes.len());
        (block, bytes.slice(from..from.saturating_add(length).min(bytes.len())))
    })
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "one range is meant")]
mod tests {
    use super::*;

    const B: u64 = BLOCK_BYTES;

    /// Scenario: ranges within a block, over several, side by side, out of order, at and beyond the end of a
    /// file, empty, and such as only a damaged footer asks for.
    /// Guarantees: each is in one run; runs are in order, do not touch, and end with the file.
    #[test]
    fn ranges_are_in_runs() {
        let file = 10 * B + 5;
        assert_eq!(covering(&[3..4], file), [0..1]);
        assert_eq!(covering(&[B - 1..B + 1], file), [0..2]);
        assert_eq!(covering(&[7 * B..8 * B, 3..4, 0..B, B..2 * B], file), [0..2, 7..8]);
        assert_eq!(covering(&[10 * B..file], file), [10..11]);
        assert_eq!(covering(&[0..u64::MAX], file), [0..11]);
        assert_eq!(covering(&[file..file + 9, u64::MAX - 1..u64::MAX, 5..5], file), []);
        assert_eq!(bytes_of(&(9..11), file), 9 * B..file);
        assert_eq!(bytes_of(&(0..u64::MAX), file), 0..file);
    }

    /// Scenario: of two runs some parts are here: at the beginning, amid, at the end, all, none.
    /// Guarantees: what is missing and what is here come to the runs, each block once, with its bytes.
    #[test]
    fn what_is_here_and_what_is_missing_are_all() {
        let (runs, file) = ([1..5, 8..9], 8 * B + 3);
        let bytes: Bytes = (0..file).map(|at| (at / 1000 % 251) as u8).collect::<Vec<_>>().into();
        let part = |run: Range<u64>| {
            let at = bytes_of(&run, file);
            let [from, to] = [at.start, at.end].map(|at| usize::try_from(at).unwrap());
            (run, bytes.slice(from..to))
        };
        let check = |here: &[Range<u64>], lacking: &[Range<u64>]| {
            let mut parts: Vec<Part> = here.iter().cloned().map(part).collect();
            assert_eq!(missing(&runs, &parts), lacking);
            parts.extend(lacking.iter().cloned().map(part));
            parts.sort_by_key(|(run, _)| run.start);
            assert_eq!(missing(&runs, &parts), []);
            let whole = whole(&runs, &parts);
            assert_eq!(whole, [part(1..5).1, part(8..9).1]);
        };
        check(&[], &[1..5, 8..9]);
        check(&[1..2], &[2..5, 8..9]);
        check(&[2..3, 4..5, 8..9], &[1..2, 3..4]);
        check(&[1..5, 8..9], &[]);
        assert_eq!(within(&part(2..6), &(1..4)), Some(part(2..4)));
        assert_eq!(within(&part(7..9), &(8..12)), Some(part(8..9)));
        assert_eq!(within(&part(7..9), &(9..12)), None);
        let blocks: Vec<_> = each(&part(7..9)).collect();
        assert_eq!(blocks, [part(7..8), part(8..9)].map(|(run, bytes)| (run.start, bytes)));
    }
}
