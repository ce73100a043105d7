//! How a column of numbers is best encoded, told from samples of it.
//!
//! No encoding of Parquet suits all numbers: a counter, a state and a clock that ticks alike in many
//! series each want another, and a column of metrics is any of them, from one row group to the next.
//! Encoding a part of it each way told better, but took half of the time of a flush; what is here
//! takes some microseconds a column, and one pass where numbers may repeat from series to series.

use std::hash::{BuildHasher, BuildHasherDefault};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Float64Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType, UInt32Type,
    UInt64Type,
};
use hashbrown::{DefaultHashBuilder, HashSet};
use parquet::basic::Encoding;

/// How numbers are encoded. Every reader knows these; `BYTE_STREAM_SPLIT` was no shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Numbers {
    /// Few different ones.
    Dictionary,
    /// They go up or down by about as much each time.
    Differences,
    /// As they are: whatever they share with each other is for compression to find.
    Plain,
}

impl Numbers {
    /// The encoding; `None` for a dictionary.
    pub(super) const fn encoding(self) -> Option<Encoding> {
        match self {
            Self::Dictionary => None,
            Self::Differences => Some(Encoding::DELTA_BINARY_PACKED),
            Self::Plain => Some(Encoding::PLAIN),
        }
    }
}

/// Stretches of a column that are looked at, and how long each is: two blocks of differences.
const STRETCHES: usize = 8;
const STRETCH: usize = 256;

/// A column with at most one different value in so many gets a dictionary.
const VALUES_PER_DISTINCT: usize = 64;

/// Values come in an order that was there before, where each pair of neighbours is there so often.
const REPEATS_MIN: usize = 4;

/// Of the pairs of neighbours, one in so many is counted, whatever their number.
const PAIRS_PER_SAMPLE: u64 = 16;

/// What a plain value costs beside its bytes that are not those of the value before, and one that
/// is the value before; in bits. By measurement: compression is no formula.
const PLAIN_OVERHEAD_BITS: usize = 5;
const PLAIN_SAME_BITS: usize = 1;

/// Bits that the values of a block of differences share: how long, and the least of them.
const BLOCK: usize = 128;
const MINIBLOCK: usize = 32;

/// The best way for these values; `None` where they are no numbers or none is there.
pub(super) fn best(values: &ArrayRef) -> Option<Numbers> {
    if values.null_count() == values.len() {
        return None;
    }
    let numbers = numbers(values)?;
    let stretches = stretches(&numbers);
    if few(&stretches) {
        return Some(Numbers::Dictionary);
    }
    if matches!(values.data_type(), DataType::Float64) {
        return Some(Numbers::Plain);
    }
    let (differences, plain) = bits(&stretches);
    if differences < plain && !repeats(&numbers) {
        return Some(Numbers::Differences);
    }
    Some(Numbers::Plain)
}

/// The values that are there, as 64 bits.
fn numbers(values: &ArrayRef) -> Option<Vec<i64>> {
    macro_rules! of {
        ($kind:ty, $wide:expr) => {{
            let values = values.as_primitive_opt::<$kind>()?;
            let wide = |(start, end): (usize, usize)| {
                values.values()[start..end].iter().copied().map($wide)
            };
            match values.nulls() {
                // Values of one kind of points stand together.
                Some(nulls) => nulls.valid_slices().flat_map(wide).collect(),
                None => wide((0, values.len())).collect(),
            }
        }};
    }
    Some(match values.data_type() {
        DataType::Float64 => of!(Float64Type, |value: f64| value.to_bits().cast_signed()),
        DataType::Int16 => of!(Int16Type, i64::from),
        DataType::Int32 => of!(Int32Type, i64::from),
        DataType::UInt32 => of!(UInt32Type, i64::from),
        DataType::Int64 => of!(Int64Type, |value| value),
        DataType::UInt64 => of!(UInt64Type, |value: u64| value.cast_signed()),
        DataType::Timestamp(_, _) => of!(TimestampMicrosecondType, |value| value),
        _ => return None,
    })
}

/// Some stretches of the values, from all over; all of them where they are few.
fn stretches(numbers: &[i64]) -> Vec<&[i64]> {
    let apart = (numbers.len() / STRETCHES).max(STRETCH);
    let starts = (0..numbers.len()).step_by(apart).take(STRETCHES);
    starts.map(|at| &numbers[at..numbers.len().min(at + STRETCH)]).collect()
}

fn few(stretches: &[&[i64]]) -> bool {
    let all = stretches.iter().map(|stretch| stretch.len()).sum::<usize>();
    let most = (all / VALUES_PER_DISTINCT).max(1);
    let mut seen: HashSet<i64> = HashSet::with_capacity(most + 1);
    stretches.iter().copied().flatten().all(|number| {
        seen.insert(*number);
        seen.len() <= most
    })
}

/// What the stretches take as differences, and what they take plain and compressed, about.
fn bits(stretches: &[&[i64]]) -> (usize, usize) {
    let (mut differences, mut plain) = (0, 0);
    for stretch in stretches {
        let steps = stretch.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]));
        let steps: Vec<i64> = steps.collect();
        differences += steps.chunks(BLOCK).map(block_bits).sum::<usize>();
        plain += stretch.windows(2).map(|pair| plain_bits(pair[0], pair[1])).sum::<usize>();
    }
    (differences, plain)
}

fn block_bits(steps: &[i64]) -> usize {
    let least = steps.iter().copied().min().unwrap_or_default();
    let widths = steps.chunks(MINIBLOCK).map(|steps| {
        let most = steps.iter().map(|step| step.wrapping_sub(least).cast_unsigned()).max();
        (u64::BITS - most.unwrap_or_default().leading_zeros()) as usize * steps.len()
    });
    widths.sum()
}

fn plain_bits(before: i64, number: i64) -> usize {
    if before == number {
        return PLAIN_SAME_BITS;
    }
    let other = (before ^ number).to_le_bytes();
    (8 * other.iter().filter(|byte| **byte != 0).count() + PLAIN_OVERHEAD_BITS).min(64)
}

/// Whether neighbours mostly were neighbours before: times are the same for all series that one
/// process measures at once. Of every pair that is looked at, all copies are; where none is looked
/// at, there are few different ones.
fn repeats(numbers: &[i64]) -> bool {
    let hasher = BuildHasherDefault::<Mixer>::default();
    let (mut all, mut distinct) = (0_usize, HashSet::<u64, DefaultHashBuilder>::default());
    for pair in numbers.windows(2) {
        let hash = hasher.hash_one((pair[0], pair[1]));
        if hash % PAIRS_PER_SAMPLE == 0 {
            all += 1;
            distinct.insert(hash);
        }
    }
    all >= distinct.len() * REPEATS_MIN
}

/// Enough of a hash to choose by.
#[derive(Debug, Default)]
struct Mixer(u64);

impl std::hash::Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(23) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_i64(&mut self, number: i64) {
        self.write_u64(number.cast_unsigned());
    }
}

#[cfg(test)]
mod tests {
    use std::hash::DefaultHasher;
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int64Array, StringArray};

    use super::*;

    fn way(values: impl Array + 'static) -> Option<Numbers> {
        best(&(Arc::new(values) as ArrayRef))
    }

    /// As good as random.
    fn mixed(at: i64) -> i64 {
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        hasher.hash_one(at).cast_signed()
    }

    /// Scenario: a steady counter, times that come again series by series and times that do not, few
    /// values in any order, values at random, doubles, nulls, and texts.
    /// Guarantees: each gets what it is for.
    #[test]
    fn each_kind_of_numbers_has_its_way() {
        let ints = |of: &dyn Fn(i64) -> i64| way(Int64Array::from_iter_values((0..50_000).map(of)));
        assert_eq!(ints(&|at| at * 100_000 + (mixed(at) & 63)), Some(Numbers::Differences));
        assert_eq!(ints(&|at| 1_000_000 * at + mixed(at) % 9_000), Some(Numbers::Differences));
        let again = |at: i64| 1_000_000 * (at % 240) + mixed(at % 240) % 9_000;
        assert_eq!(ints(&again), Some(Numbers::Plain));
        assert_eq!(ints(&|at| mixed(mixed(at) & 3)), Some(Numbers::Dictionary));
        assert_eq!(ints(&|_| 7), Some(Numbers::Dictionary));
        assert_eq!(ints(&mixed), Some(Numbers::Plain));
        let doubles = (0..50_000).map(|at| 0.5 + (mixed(at) & 0xffff) as f64 * 1e-9);
        assert_eq!(way(Float64Array::from_iter_values(doubles)), Some(Numbers::Plain));
        let few = (0..50_000).map(|at| (mixed(at) & 7) as f64 / 8.0);
        assert_eq!(way(Float64Array::from_iter_values(few)), Some(Numbers::Dictionary));
        assert_eq!(way(Float64Array::from(vec![None; 10])), None);
        assert_eq!(way(Float64Array::from(Vec::<f64>::new())), None);
        assert_eq!(way(StringArray::from(vec!["a"])), None);
    }
}
