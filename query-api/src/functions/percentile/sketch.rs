//! How many values there are of each size, for one group of one query.
//!
//! Invariants: up to [`EXACT_MAX`] values are kept as they are, and a quantile of them is exact.
//! Beyond that a value is known by its bucket, which is less than 0.8 % of it wide, so that a quantile is
//! off by less than that. Merging sketches gives the sketch of all their values, in any order.

use std::cmp::Ordering;

/// Values that are kept as they are.
pub(super) const EXACT_MAX: usize = 1024;

/// Of a value's 52: with 7, buckets are 1/128 of a power of two wide.
const MANTISSA_BITS: u32 = 7;
const SHIFT: u32 = f64::MANTISSA_DIGITS - 1 - MANTISSA_BITS;
/// Below the smallest normal number everything counts as zero.
const NORMAL_MIN: i32 = 1 << MANTISSA_BITS;
const INFINITE: i32 = 0x7ff << MANTISSA_BITS;
/// SQL sorts what is no number behind everything else.
const NOT_A_NUMBER: i32 = INFINITE + 1;

/// Neighbouring buckets that are counted in one piece of memory: a quarter of a power of two.
const CHUNK_BUCKETS: usize = 32;
const CHUNK_BITS: u32 = CHUNK_BUCKETS.ilog2();
type Chunk = [u64; CHUNK_BUCKETS];

/// What is known of some values.
#[derive(Debug, Clone)]
pub(super) enum Sketch {
    /// All of them.
    Exact(Vec<f64>),
    /// How many there are of each size.
    Counted(Buckets),
}

impl Default for Sketch {
    fn default() -> Self {
        Self::Exact(Vec::new())
    }
}

impl Sketch {
    /// Adds a value, and says how many bytes the sketch grew by.
    pub(super) fn add(&mut self, value: f64) -> usize {
        match self {
            Self::Counted(buckets) => buckets.add(value),
            Self::Exact(values) if values.len() < EXACT_MAX => {
                let before = values.capacity();
                values.push(value);
                (values.capacity() - before) * size_of::<f64>()
            }
            Self::Exact(_) => {
                let before = self.bytes();
                self.counted().add(value);
                self.bytes().saturating_sub(before)
            }
        }
    }

    /// Adds all values of another.
    pub(super) fn merge(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::Exact(mine), Self::Exact(theirs)) if mine.len() + theirs.len() <= EXACT_MAX => {
                mine.extend_from_slice(theirs);
            }
            (_, Self::Exact(theirs)) => {
                let mine = self.counted();
                for value in theirs {
                    mine.add(*value);
                }
            }
            (_, Self::Counted(theirs)) => self.counted().merge(theirs),
        }
    }

    fn counted(&mut self) -> &mut Buckets {
        if let Self::Exact(values) = self {
            let mut buckets = Buckets::default();
            for value in values {
                buckets.add(*value);
            }
            *self = Self::Counted(buckets);
        }
        match self {
            Self::Counted(buckets) => buckets,
            Self::Exact(_) => unreachable!("exact values were just counted"),
        }
    }

    /// The value that this share of all values is not above, between two values by its distance to
    /// each, as `percentile_cont` has it; `None` where there are no values.
    pub(super) fn quantile(&mut self, share: f64) -> Option<f64> {
        let count = match self {
            Self::Exact(values) => values.len() as u64,
            Self::Counted(buckets) => buckets.count,
        };
        let last = count.checked_sub(1)?;
        let rank = share * last as f64;
        // Shares are 0 to 1, so that a rank is a place among the values.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
        let below = (rank.floor() as u64).min(last);
        let above = (below + 1).min(last);
        let (low, high) = match self {
            Self::Exact(values) => neighbours(values, usize::try_from(below).ok()?)?,
            Self::Counted(buckets) => (buckets.at(below), buckets.at(above)),
        };
        Some(between(low, high, rank - below as f64))
    }

    /// Memory beside the sketch itself.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Exact(values) => values.capacity() * size_of::<f64>(),
            Self::Counted(buckets) => buckets.bytes(),
        }
    }

    /// For another step of the plan; see [`Self::read`].
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Exact(values) => {
                out.push(EXACT);
                out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            }
            Self::Counted(buckets) => {
                out.push(COUNTED);
                out.extend_from_slice(&buckets.min.to_le_bytes());
                out.extend_from_slice(&buckets.max.to_le_bytes());
                let mut before = 0;
                buckets.each(|bucket, count| {
                    let step = bucket - before;
                    write_varint(out, u64::from((step << 1 ^ step >> 31).cast_unsigned()));
                    write_varint(out, count);
                    before = bucket;
                });
            }
        }
    }

    /// What [`Self::write`] wrote; `None` where it is something else.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (kind, mut rest) = bytes.split_first()?;
        match *kind {
            EXACT => {
                let (values, torn) = rest.as_chunks::<8>();
                let values = values.iter().map(|value| f64::from_le_bytes(*value)).collect();
                torn.is_empty().then_some(Self::Exact(values))
            }
            COUNTED => {
                let min = read_double(&mut rest)?;
                let max = read_double(&mut rest)?;
                let mut buckets = Buckets { min, max, ..Buckets::default() };
                let mut bucket = 0_i32;
                while !rest.is_empty() {
                    let step = u32::try_from(read_varint(&mut rest)?).ok()?;
                    let step = (step >> 1).cast_signed() ^ -(step & 1).cast_signed();
                    bucket = bucket.checked_add(step)?;
                    let count = read_varint(&mut rest)?;
                    if !(-INFINITE..=NOT_A_NUMBER).contains(&bucket) {
                        return None;
                    }
                    buckets.put(bucket, count);
                    buckets.count = buckets.count.checked_add(count)?;
                }
                Some(Self::Counted(buckets))
            }
            _ => None,
        }
    }
}

/// The value at a place in the order of all, and the one after it.
fn neighbours(values: &mut [f64], place: usize) -> Option<(f64, f64)> {
    let by_order = |one: &f64, other: &f64| order(*one, *other);
    let (_, low, after) = values.select_nth_unstable_by(place, by_order);
    let low = *low;
    Some((low, after.iter().copied().min_by(by_order).unwrap_or(low)))
}

const EXACT: u8 = 0;
const COUNTED: u8 = 1;

/// How often each bucket was hit, in chunks from the first to the last that was.
#[derive(Debug, Clone)]
pub(super) struct Buckets {
    count: u64,
    min: f64,
    max: f64,
    first: i32,
    chunks: Vec<Option<Box<Chunk>>>,
    /// Chunks that are there.
    here: usize,
}

impl Default for Buckets {
    fn default() -> Self {
        let (min, max) = (f64::NAN, f64::NEG_INFINITY);
        Self { count: 0, min, max, first: 0, chunks: Vec::new(), here: 0 }
    }
}

impl Buckets {
    /// Adds a value, and returns the bytes that were needed for it.
    fn add(&mut self, value: f64) -> usize {
        self.reach(value);
        self.count += 1;
        self.put(bucket(value), 1)
    }

    /// Moves the ends.
    fn reach(&mut self, value: f64) {
        if self.count == 0 || order(value, self.min).is_lt() {
            self.min = value;
        }
        if self.count == 0 || order(value, self.max).is_gt() {
            self.max = value;
        }
    }

    fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        self.reach(other.min);
        self.count += other.count;
        self.reach(other.max);
        other.each(|bucket, count| {
            self.put(bucket, count);
        });
    }

    fn put(&mut self, bucket: i32, count: u64) -> usize {
        let chunk = bucket >> CHUNK_BITS;
        let place = bucket as usize % CHUNK_BUCKETS;
        let at = usize::try_from(chunk - self.first).ok();
        if let Some(Some(counts)) = at.and_then(|at| self.chunks.get_mut(at)) {
            counts[place] += count;
            return 0;
        }
        let before = self.bytes();
        let mut counts = Box::new([0; CHUNK_BUCKETS]);
        counts[place] = count;
        *self.room(chunk) = Some(counts);
        self.here += 1;
        self.bytes().saturating_sub(before)
    }

    fn room(&mut self, chunk: i32) -> &mut Option<Box<Chunk>> {
        if self.chunks.is_empty() {
            self.first = chunk;
        }
        let missing = usize::try_from(self.first - chunk).unwrap_or_default();
        if missing > 0 {
            self.chunks.splice(0..0, std::iter::repeat_n(None, missing));
            self.first = chunk;
        }
        let at = usize::try_from(chunk - self.first).unwrap_or_default();
        if at >= self.chunks.len() {
            self.chunks.resize(at + 1, None);
        }
        &mut self.chunks[at]
    }

    /// Every bucket that was hit, in order.
    fn each(&self, mut seen: impl FnMut(i32, u64)) {
        for (chunk, counts) in (self.first..).zip(&self.chunks) {
            let Some(counts) = counts else { continue };
            for (bucket, count) in (chunk << CHUNK_BITS..).zip(counts.iter()) {
                if *count > 0 {
                    seen(bucket, *count);
                }
            }
        }
    }

    /// About the value at this place in the order of all.
    fn at(&self, place: u64) -> f64 {
        if place == 0 {
            return self.min;
        }
        let mut before = 0;
        for (chunk, counts) in (self.first..).zip(&self.chunks) {
            let Some(counts) = counts else { continue };
            for (bucket, count) in (chunk << CHUNK_BITS..).zip(counts.iter()) {
                if place + 1 < self.count && place < before + count {
                    let (low, high) = bounds(bucket);
                    let share = ((place - before) as f64 + 0.5) / *count as f64;
                    return self.within(between(low, high, share));
                }
                before += count;
            }
        }
        self.max
    }

    fn within(&self, value: f64) -> f64 {
        if order(value, self.min).is_lt() {
            return self.min;
        }
        if order(value, self.max).is_gt() { self.max } else { value }
    }

    fn bytes(&self) -> usize {
        self.here * size_of::<Chunk>() + self.chunks.capacity() * size_of::<Option<Box<Chunk>>>()
    }
}

/// Buckets are in the order of their values: the upper bits of a positive double already are.
fn bucket(value: f64) -> i32 {
    if value.is_nan() {
        return NOT_A_NUMBER;
    }
    let size = i32::try_from(value.abs().to_bits() >> SHIFT).unwrap_or(INFINITE);
    match size {
        size if size < NORMAL_MIN => 0,
        size if value < 0.0 => -size,
        size => size,
    }
}

/// The smallest and the largest value of a bucket.
fn bounds(bucket: i32) -> (f64, f64) {
    let size = bucket.unsigned_abs();
    let value = |size: u32| f64::from_bits(u64::from(size) << SHIFT);
    match bucket {
        NOT_A_NUMBER => (f64::NAN, f64::NAN),
        0 => (0.0, 0.0),
        INFINITE => (f64::INFINITY, f64::INFINITY),
        bucket if bucket == -INFINITE => (f64::NEG_INFINITY, f64::NEG_INFINITY),
        bucket if bucket < 0 => (-value(size + 1), -value(size)),
        _ => (value(size), value(size + 1)),
    }
}

/// As SQL sorts doubles, all that are no number being one.
fn order(one: f64, other: f64) -> Ordering {
    one.partial_cmp(&other).unwrap_or_else(|| one.is_nan().cmp(&other.is_nan()))
}

/// The value a share of the way from one to another.
fn between(low: f64, high: f64, share: f64) -> f64 {
    if share <= 0.0 || order(low, high).is_eq() || low.is_infinite() {
        return low;
    }
    let way = high - low;
    if way.is_finite() { low + way * share } else { low * (1.0 - share) + high * share }
}

fn write_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn read_double(bytes: &mut &[u8]) -> Option<f64> {
    let (double, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(f64::from_le_bytes(*double))
}

#[cfg(test)]
mod tests;
