//! Histograms as numbers, pure: how they add up and where a share of them lies.

use std::collections::BTreeMap;

use datafusion::common::{Result, exec_err};

use super::super::collect::bytes::{Reader, Write};

/// Counts of an exponential histogram, from a bucket on.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Buckets {
    pub(super) offset: i32,
    pub(super) counts: Vec<u64>,
}

/// One data point. `min` and `max` are of its observations, where they are known.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    Explicit {
        /// Finite and growing.
        bounds: Vec<f64>,
        /// One more than there are bounds.
        counts: Vec<u64>,
        min: Option<f64>,
        max: Option<f64>,
    },
    Exponential {
        scale: i32,
        zeros: u64,
        threshold: f64,
        positive: Buckets,
        negative: Buckets,
        min: Option<f64>,
        max: Option<f64>,
    },
}

impl Shape {
    /// One with explicit bounds; none where the counts do not fit them.
    pub(super) fn explicit(
        mut bounds: Vec<f64>,
        counts: Vec<u64>,
        min: Option<f64>,
        max: Option<f64>,
    ) -> Option<Self> {
        // Some senders name the last bound, which is always there.
        if bounds.last() == Some(&f64::INFINITY) && bounds.len() == counts.len() {
            bounds.pop();
        }
        let grows = bounds.windows(2).all(|pair| pair[0] < pair[1]);
        let fits = counts.len() == bounds.len() + 1 && bounds.iter().all(|bound| bound.is_finite());
        (grows && fits).then_some(Self::Explicit { bounds, counts, min, max })
    }

    /// Memory beside itself.
    pub(super) fn bytes(&self) -> usize {
        let words = match self {
            Self::Explicit { bounds, counts, .. } => bounds.capacity() + counts.capacity(),
            Self::Exponential { positive, negative, .. } => {
                positive.counts.capacity() + negative.counts.capacity()
            }
        };
        words * size_of::<u64>()
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut counts = |counts: &[u64]| {
            out.u64(counts.len() as u64);
            counts.iter().for_each(|count| out.u64(*count));
        };
        let ends = match self {
            Self::Explicit { bounds, counts: of_buckets, min, max } => {
                counts(&[0]);
                counts(&bounds.iter().map(|bound| bound.to_bits()).collect::<Vec<_>>());
                counts(of_buckets);
                [min, max]
            }
            Self::Exponential { scale, zeros, threshold, positive, negative, min, max } => {
                let offsets = [*scale, positive.offset, negative.offset];
                let [scale, above, below] = offsets.map(|number| i64::from(number).cast_unsigned());
                counts(&[1, scale, *zeros, threshold.to_bits(), above, below]);
                counts(&positive.counts);
                counts(&negative.counts);
                [min, max]
            }
        };
        ends.into_iter().for_each(|end| out.f64(end.unwrap_or(f64::NAN)));
    }

    pub(super) fn read(bytes: &mut Reader<'_>) -> Result<Self> {
        let mut list = || bytes.list(Reader::u64);
        let (head, first, second) = (list()?, list()?, list()?);
        let ends = (bytes.f64()?, bytes.f64()?);
        let known = |end: f64| (!end.is_nan()).then_some(end);
        let (min, max) = (known(ends.0), known(ends.1));
        match head.as_slice() {
            [0] => {
                let bounds = first.into_iter().map(f64::from_bits).collect();
                Ok(Self::Explicit { bounds, counts: second, min, max })
            }
            [1, scale, zeros, threshold, above, below] => {
                let number = |word: &u64| i32::try_from(word.cast_signed()).unwrap_or_default();
                Ok(Self::Exponential {
                    scale: number(scale),
                    zeros: *zeros,
                    threshold: f64::from_bits(*threshold),
                    positive: Buckets { offset: number(above), counts: first },
                    negative: Buckets { offset: number(below), counts: second },
                    min,
                    max,
                })
            }
            _ => exec_err!("rows broke off"),
        }
    }
}

/// Some histograms as one.
#[derive(Debug, Default)]
pub(super) struct Merged {
    /// By the bits of their bounds: where bounds are alike, counts add up.
    explicit: BTreeMap<Vec<u64>, Vec<u64>>,
    /// Of the buckets above and below zero, by index, at `scale`.
    positive: BTreeMap<i32, u64>,
    negative: BTreeMap<i32, u64>,
    scale: Option<i32>,
    zeros: u64,
    threshold: f64,
    /// Of all observations; none where a histogram does not tell.
    min: Option<f64>,
    max: Option<f64>,
    any: bool,
}

impl Merged {
    /// With one more.
    pub(super) fn add(&mut self, shape: &Shape) {
        let (Shape::Explicit { min, max, .. } | Shape::Exponential { min, max, .. }) = shape;
        let either = |one: Option<f64>, other: Option<f64>, pick: fn(f64, f64) -> f64| {
            one.zip(other).map(|(one, other)| pick(one, other))
        };
        self.min = if self.any { either(self.min, *min, f64::min) } else { *min };
        self.max = if self.any { either(self.max, *max, f64::max) } else { *max };
        self.any = true;
        match shape {
            Shape::Explicit { bounds, counts, .. } => {
                let key = bounds.iter().map(|bound| bound.to_bits()).collect();
                let sums = self.explicit.entry(key).or_insert_with(|| vec![0; counts.len()]);
                sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            }
            Shape::Exponential { scale, zeros, threshold, positive, negative, .. } => {
                self.zeros += zeros;
                self.threshold = self.threshold.max(*threshold);
                let common = self.scale.map_or(*scale, |known| known.min(*scale));
                if let Some(known) = self.scale {
                    self.positive = coarser(&self.positive, known, common);
                    self.negative = coarser(&self.negative, known, common);
                }
                self.scale = Some(common);
                add_buckets(&mut self.positive, positive, scale - common);
                add_buckets(&mut self.negative, negative, scale - common);
            }
        }
    }

    /// Where the share of all observations is below; none where there is no observation, or where
    /// nothing tells how large they are.
    pub(super) fn quantile(&self, share: f64) -> Option<f64> {
        let mut pieces = self.pieces();
        pieces.retain(|piece| piece.count > 0.0);
        let total: f64 = pieces.iter().map(|piece| piece.count).sum();
        if total == 0.0
            || pieces.iter().any(|piece| !(piece.low.is_finite() && piece.high.is_finite()))
        {
            return None;
        }
        let found = find(&pieces, share * total);
        let found = self.min.map_or(found, |min| found.max(min));
        Some(self.max.map_or(found, |max| found.min(max)))
    }

    fn pieces(&self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for (bounds, counts) in &self.explicit {
            let bounds: Vec<f64> = bounds.iter().map(|bits| f64::from_bits(*bits)).collect();
            for (at, count) in counts.iter().enumerate() {
                let (low, high) = self.ends(&bounds, at);
                pieces.push(Piece::new(low, high, *count, false));
            }
        }
        if let Some(scale) = self.scale {
            let bound = |index: i32| (f64::from(index) * (-f64::from(scale)).exp2()).exp2();
            for (index, count) in &self.positive {
                pieces.push(Piece::new(bound(*index), bound(index + 1), *count, true));
            }
            for (index, count) in &self.negative {
                pieces.push(Piece::new(-bound(index + 1), -bound(*index), *count, true));
            }
            let low = if self.negative.is_empty() { 0.0 } else { -self.threshold };
            let high = if self.positive.is_empty() && low < 0.0 { 0.0 } else { self.threshold };
            pieces.push(Piece::new(low, high, self.zeros, false));
        }
        pieces
    }

    /// The ends of an explicit bucket. The first and the last have one bound: the other is what is
    /// known of the observations, or 0 below a positive bound, or the bound itself.
    fn ends(&self, bounds: &[f64], at: usize) -> (f64, f64) {
        let before = at.checked_sub(1).and_then(|at| bounds.get(at)).copied();
        let bound = bounds.get(at).copied();
        let low = before.or_else(|| {
            let min = self.min.filter(|min| bound.is_none_or(|bound| *min < bound));
            min.or_else(|| bound.map(|bound| bound.min(0.0)))
        });
        let high = bound.or_else(|| {
            let max = self.max.filter(|max| before.is_none_or(|before| *max > before));
            max.or(before)
        });
        (low.unwrap_or(f64::NEG_INFINITY), high.unwrap_or(f64::INFINITY))
    }
}

/// Observations between two values.
#[derive(Debug, Clone, Copy)]
struct Piece {
    low: f64,
    high: f64,
    count: f64,
    /// Whether they are spread by ratio, not by difference.
    by_ratio: bool,
}

impl Piece {
    #[expect(clippy::cast_precision_loss, reason = "a share of 2^53 observations is as good")]
    const fn new(low: f64, high: f64, count: u64, by_ratio: bool) -> Self {
        Self { low, high, count: count as f64, by_ratio }
    }

    /// How many are at most `value`.
    fn below(&self, value: f64) -> f64 {
        if value >= self.high {
            return self.count;
        }
        if value <= self.low {
            return 0.0;
        }
        let share = match (self.by_ratio, self.low < 0.0) {
            (false, _) => (value - self.low) / (self.high - self.low),
            (true, false) => (value / self.low).ln() / (self.high / self.low).ln(),
            (true, true) => 1.0 - (value / self.high).ln() / (self.low / self.high).ln(),
        };
        self.count * share
    }

    /// The value that `count` of them are at most.
    fn at(&self, count: f64) -> f64 {
        let share = count / self.count;
        match (self.by_ratio, self.low < 0.0) {
            (false, _) => self.low + (self.high - self.low) * share,
            (true, false) => self.low * (self.high / self.low).powf(share),
            (true, true) => self.high * (self.low / self.high).powf(1.0 - share),
        }
    }
}

/// The value that `wanted` of all observations are at most.
fn find(pieces: &[Piece], wanted: f64) -> f64 {
    let mut ends: Vec<f64> = pieces.iter().flat_map(|piece| [piece.low, piece.high]).collect();
    ends.sort_unstable_by(f64::total_cmp);
    ends.dedup();
    let below = |value: f64| pieces.iter().map(|piece| piece.below(value)).sum::<f64>();
    // Between two ends no piece begins or ends.
    let at = ends.partition_point(|end| below(*end) < wanted);
    let (Some(low), high) = (at.checked_sub(1).map(|at| ends[at]), ends.get(at)) else {
        return smallest(pieces);
    };
    let Some(high) = high.copied() else { return low };
    let here: Vec<&Piece> =
        pieces.iter().filter(|piece| piece.low < high && piece.high > low).collect();
    match here.as_slice() {
        // Nothing between them: all the rest is at the upper end itself.
        [] => high,
        [only] if only.low == low => only.at((wanted - below(low)).min(only.count)),
        _ => bisect(low, high, &|value| below(value) < wanted),
    }
}

fn smallest(pieces: &[Piece]) -> f64 {
    pieces.iter().map(|piece| piece.low).fold(f64::INFINITY, f64::min)
}

fn bisect(mut low: f64, mut high: f64, is_below: &dyn Fn(f64) -> bool) -> f64 {
    // A double has 52 bits behind its point, and the ends are within a few powers of two.
    for _ in 0..100 {
        let middle = low + (high - low) / 2.0;
        if is_below(middle) { low = middle } else { high = middle }
    }
    high
}

/// Buckets of one scale as those of a smaller one, which are powers of two wider.
fn coarser(buckets: &BTreeMap<i32, u64>, from: i32, to: i32) -> BTreeMap<i32, u64> {
    let mut out = BTreeMap::new();
    for (index, count) in buckets {
        *out.entry(shifted(*index, from - to)).or_default() += count;
    }
    out
}

fn add_buckets(sums: &mut BTreeMap<i32, u64>, buckets: &Buckets, shift: i32) {
    for (index, count) in (buckets.offset..).zip(&buckets.counts) {
        if *count > 0 {
            *sums.entry(shifted(index, shift)).or_default() += count;
        }
    }
}

/// An index at a scale that is `by` smaller; towards minus infinity, as the bounds go.
fn shifted(index: i32, by: i32) -> i32 {
    index >> by.clamp(0, 31)
}
