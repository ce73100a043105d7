//! Some rows of one row group.
//!
//! Invariant: the ranges are in order, do not touch each other, and are not empty.

use std::ops::Range;

use arrow::array::{Array, BooleanArray, BooleanBufferBuilder};
use arrow::buffer::BooleanBuffer;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};

/// A gap that is read and thrown away again rather than skipped. The reader of Parquet takes
/// selections that change more often than every 32 rows for masks, and then reads pages that
/// nobody fetched: no selection that [`Rows::coarse`] makes does so over more than one page.
const GAP_MIN: usize = 128;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rows {
    all: usize,
    ranges: Vec<Range<usize>>,
}

impl Rows {
    /// Every row of a group.
    pub(super) fn all(rows: usize) -> Self {
        Self::of(rows, std::iter::once(0..rows))
    }

    /// These ranges of a group, in order.
    pub(super) fn of(all: usize, ranges: impl Iterator<Item = Range<usize>>) -> Self {
        let mut joined: Vec<Range<usize>> = Vec::new();
        for range in ranges.filter(|range| !range.is_empty()) {
            match joined.last_mut() {
                Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
                _ => joined.push(range),
            }
        }
        Self { all, ranges: joined }
    }

    pub(super) fn count(&self) -> usize {
        self.ranges.iter().map(ExactSizeIterator::len).sum()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub(super) fn is_all(&self) -> bool {
        self.count() == self.all
    }

    /// Each of the rows, in order.
    pub(super) fn places(&self) -> Vec<usize> {
        self.ranges.iter().cloned().flatten().collect()
    }

    /// The rows that are in both.
    pub(super) fn intersection(&self, other: &Self) -> Self {
        let (mut mine, mut theirs) = (self.ranges.as_slice(), other.ranges.as_slice());
        let mut both = Vec::new();
        while let (Some(one), Some(two)) = (mine.first(), theirs.first()) {
            let common = one.start.max(two.start)..one.end.min(two.end);
            if !common.is_empty() {
                both.push(common);
            }
            if one.end <= two.end {
                mine = &mine[1..];
            } else {
                theirs = &theirs[1..];
            }
        }
        Self { all: self.all, ranges: both }
    }

    /// Those of the rows that are kept; the masks are over [`Self::count`] rows together.
    pub(super) fn kept(&self, masks: &[BooleanArray]) -> Self {
        let mut kept = Vec::new();
        let mut ranges = self.ranges.iter().cloned();
        let mut here = ranges.next().unwrap_or(0..0);
        for mask in masks {
            let mut done = 0;
            while done < mask.len() && !here.is_empty() {
                let step = here.len().min(mask.len() - done);
                let slices = arrow_slices(mask, done, step);
                kept.extend(slices.map(|(from, to)| here.start + from..here.start + to));
                done += step;
                here.start += step;
                if here.is_empty() {
                    here = ranges.next().unwrap_or(0..0);
                }
            }
        }
        Self::of(self.all, kept.into_iter())
    }

    /// Whether some row lies between these two.
    pub(super) fn touch(&self, from: usize, to: usize) -> bool {
        let next = self.ranges.partition_point(|range| range.end <= from);
        self.ranges.get(next).is_some_and(|range| range.start < to)
    }

    /// The same rows and those in short gaps between them.
    pub(super) fn coarse(&self) -> Self {
        let mut joined: Vec<Range<usize>> = Vec::with_capacity(self.ranges.len());
        for range in &self.ranges {
            match joined.last_mut() {
                Some(last) if range.start - last.end < GAP_MIN => last.end = range.end,
                _ => joined.push(range.clone()),
            }
        }
        Self { all: self.all, ranges: joined }
    }

    /// Which of the rows of `coarse` are rows here; `None` where all are.
    pub(super) fn mask_in(&self, coarse: &Self) -> Option<BooleanBuffer> {
        if self == coarse {
            return None;
        }
        let mut mask = BooleanBufferBuilder::new(coarse.count());
        let mut mine = self.ranges.iter().peekable();
        for range in &coarse.ranges {
            let mut at = range.start;
            while let Some(next) = mine.next_if(|next| next.start < range.end) {
                mask.append_n(next.start - at, false);
                mask.append_n(next.len(), true);
                at = next.end;
            }
            mask.append_n(range.end - at, false);
        }
        Some(mask.finish())
    }

    /// For the reader of Parquet; covers the whole group.
    pub(super) fn selection(&self) -> RowSelection {
        let mut selectors = Vec::with_capacity(self.ranges.len() * 2 + 1);
        let mut at = 0;
        for range in &self.ranges {
            selectors.push(RowSelector::skip(range.start - at));
            selectors.push(RowSelector::select(range.len()));
            at = range.end;
        }
        selectors.push(RowSelector::skip(self.all - at));
        selectors.retain(|selector| selector.row_count > 0);
        RowSelection::from(selectors)
    }
}

/// The stretches of a piece of a mask that are true, null being no.
fn arrow_slices(
    mask: &BooleanArray,
    from: usize,
    rows: usize,
) -> impl Iterator<Item = (usize, usize)> {
    let values = mask.values().slice(from, rows);
    let values = match mask.nulls() {
        Some(nulls) => &values & &nulls.inner().slice(from, rows),
        None => values,
    };
    let slices: Vec<(usize, usize)> = values.set_slices().collect();
    slices.into_iter()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(mask: &[bool]) -> Rows {
        Rows::all(mask.len()).kept(&[BooleanArray::from(mask.to_vec())])
    }

    proptest! {
        /// Scenario: random rows, cut down by random masks in random pieces, and brought together.
        /// Guarantees: what plain sets of rows would give; a coarse selection has the rows, and no
        /// gap that is short.
        #[test]
        fn rows_are_sets_of_rows(
            one in prop::collection::vec(any::<bool>(), 1..600),
            two in prop::collection::vec(any::<bool>(), 600),
            piece in 1_usize..200,
        ) {
            let (first, second) = (rows(&one), rows(&two[..one.len()]));
            let both: Vec<usize> = (0..one.len()).filter(|at| one[*at] && two[*at]).collect();
            prop_assert_eq!(first.intersection(&second).places(), both.clone());
            let keep: Vec<bool> = first.places().iter().map(|at| two[*at]).collect();
            let masks: Vec<_> =
                keep.chunks(piece).map(|piece| BooleanArray::from(piece.to_vec())).collect();
            prop_assert_eq!(first.kept(&masks).places(), both);
            let coarse = first.coarse();
            let mask = first.mask_in(&coarse).unwrap_or_else(|| BooleanBuffer::new_set(coarse.count()));
            let back: Vec<usize> = coarse.places()
                .into_iter()
                .zip(mask.iter())
                .filter_map(|(at, here)| here.then_some(at))
                .collect();
            prop_assert_eq!(back, first.places());
            for pair in coarse.ranges.windows(2) {
                prop_assert!(pair[1].start - pair[0].end >= GAP_MIN);
            }
            for (at, here) in one.iter().enumerate() {
                prop_assert_eq!(first.touch(at, at + 1), *here);
            }
            prop_assert_eq!(first.selection().row_count(), first.count());
        }
    }

    /// Scenario: a mask with nulls, and a group without rows.
    /// Guarantees: null is no; nothing is left of nothing.
    #[test]
    fn null_is_no() {
        let mask = BooleanArray::from(vec![Some(true), None, Some(false), Some(true)]);
        assert_eq!(mask.null_count(), 1);
        assert_eq!(Rows::all(4).kept(&[mask]).places(), [0, 3]);
        assert!(Rows::all(0).is_empty());
        assert!(Rows::all(0).is_all());
    }
}
