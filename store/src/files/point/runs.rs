//! Small numbers in runs, packed by bits or repeated: levels, and places in dictionaries.
//!
//! Invariant: numbers are passed in order, each once; where there are no more it is an error.

use parquet::errors::Result;

use super::damaged;

/// See the module.
#[derive(Debug)]
pub(super) struct Runs<'a> {
    rest: &'a [u8],
    width: usize,
    run: Run<'a>,
    left: usize,
}

#[derive(Debug, Clone, Copy)]
enum Run<'a> {
    Same(u32),
    /// From this number on.
    Packed(&'a [u8], usize),
}

impl<'a> Runs<'a> {
    /// Numbers of `width` bits, 32 at most.
    pub(super) fn new(bytes: &'a [u8], width: usize) -> Result<Self> {
        if width > 32 {
            return Err(damaged("a width of bits"));
        }
        // Numbers of no bits are zero, however many there are.
        let left = if width == 0 { usize::MAX } else { 0 };
        Ok(Self { rest: bytes, width, run: Run::Same(0), left })
    }

    /// Passes some numbers.
    pub(super) fn skip(&mut self, count: usize) -> Result<()> {
        self.pass(count, |_, _, _| ())
    }

    /// The next number.
    pub(super) fn next(&mut self) -> Result<u32> {
        let mut number = 0;
        self.pass(1, |run, width, _| number = run.first(width))?;
        Ok(number)
    }

    /// How many of the next numbers, of one bit, are ones.
    pub(super) fn ones(&mut self, count: usize) -> Result<usize> {
        let mut ones = 0;
        self.pass(count, |run, _, here| ones += run.ones(here))?;
        Ok(ones)
    }

    /// Passes numbers of one bit until the next is a zero that so many zeros come before; says how
    /// many it passed.
    pub(super) fn pass_to_zero(&mut self, zeros: usize) -> Result<usize> {
        let (mut passed, mut zeros) = (0, zeros);
        loop {
            self.load()?;
            let before = self.left;
            while self.left > 0 && !(zeros == 0 && self.run.first(1) == 0) {
                let step = self.run.zeros_within(zeros, self.left);
                zeros -= step - self.run.ones(step);
                self.advance(step);
            }
            passed += before - self.left;
            if self.left > 0 {
                return Ok(passed);
            }
        }
    }

    /// The places of those of the next numbers that are `wanted`.
    pub(super) fn find(
        &mut self,
        count: usize,
        wanted: &[u32],
        found: &mut Vec<usize>,
        first: usize,
    ) -> Result<()> {
        let mut at = first;
        self.pass(count, |run, width, here| {
            match run {
                Run::Same(value) if wanted.contains(value) => found.extend(at..at + here),
                Run::Same(_) => {}
                Run::Packed(bytes, from) => {
                    for wanted in wanted {
                        find_packed(bytes, *from..from + here, width, *wanted, |nth| {
                            found.push(at + nth - from);
                        });
                    }
                }
            }
            at += here;
        })
    }

    /// Calls `each` with every run that the next numbers are in, and how many of them.
    fn pass(&mut self, count: usize, mut each: impl FnMut(&Run<'a>, usize, usize)) -> Result<()> {
        let mut count = count;
        while count > 0 {
            self.load()?;
            let here = count.min(self.left);
            each(&self.run, self.width, here);
            self.advance(here);
            count -= here;
        }
        Ok(())
    }

    fn advance(&mut self, count: usize) {
        self.left -= count;
        if let Run::Packed(_, at) = &mut self.run {
            *at += count;
        }
    }

    /// The next run, where this one is at its end.
    fn load(&mut self) -> Result<()> {
        while self.left == 0 {
            let header = usize::try_from(varint(&mut self.rest)?).map_err(|_large| ends())?;
            if header & 1 == 1 {
                let bytes = (header >> 1).checked_mul(self.width).ok_or_else(ends)?;
                // The last run may be cut off after its last number.
                let bytes = bytes.min(self.rest.len());
                let (packed, rest) = self.rest.split_at(bytes);
                self.left = (header >> 1).saturating_mul(8).min(bytes * 8 / self.width);
                (self.run, self.rest) = (Run::Packed(packed, 0), rest);
            } else {
                let bytes = self.width.div_ceil(8);
                let (value, rest) = self.rest.split_at_checked(bytes).ok_or_else(ends)?;
                let value = value.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte));
                if u64::from(value) >> self.width != 0 {
                    return Err(ends());
                }
                (self.run, self.rest, self.left) = (Run::Same(value), rest, header >> 1);
            }
            if self.left == 0 && self.rest.is_empty() {
                return Err(ends());
            }
        }
        Ok(())
    }
}

impl Run<'_> {
    fn first(&self, width: usize) -> u32 {
        match self {
            Self::Same(value) => *value,
            Self::Packed(bytes, at) => packed(bytes, *at, width),
        }
    }

    fn ones(&self, count: usize) -> usize {
        match self {
            Self::Same(value) => usize::from(*value == 1) * count,
            Self::Packed(bytes, at) => {
                let (mut at, end) = (*at, at + count);
                let mut ones = 0;
                while at < end {
                    let here = (8 - at % 8).min(end - at);
                    let mask = u8::MAX >> (8 - here);
                    ones += (bytes[at / 8] >> (at % 8) & mask).count_ones() as usize;
                    at += here;
                }
                ones
            }
        }
    }

    /// A number of bits, one at least, of which no more than `zeros` are zeros, or one is a one.
    fn zeros_within(&self, zeros: usize, left: usize) -> usize {
        match self {
            Self::Same(0) => zeros.min(left),
            Self::Same(_) => left,
            Self::Packed(_, _) => zeros.clamp(1, left),
        }
    }
}

fn ends() -> parquet::errors::ParquetError {
    damaged("a run of numbers")
}

/// A number of `width` bits, 32 at most.
fn packed(bytes: &[u8], at: usize, width: usize) -> u32 {
    let number = packed_long(bytes, at, width);
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A number of `width` bits, 64 at most, of those packed one after the other.
pub(super) fn packed_long(bytes: &[u8], at: usize, width: usize) -> u64 {
    let bit = at * width;
    let rest = bytes.get(bit / 8..).unwrap_or_default();
    let word = match rest.first_chunk::<8>() {
        Some(word) => u64::from_le_bytes(*word),
        None => rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    let low = word >> (bit % 8);
    let high = match rest.get(8) {
        // Of more than 57 bits some may be in a ninth byte.
        Some(ninth) if bit % 8 + width > 64 => u64::from(*ninth) << (64 - bit % 8),
        _ => 0,
    };
    let mask = if width >= 64 { u64::MAX } else { (1 << width) - 1 };
    (low | high) & mask
}

/// Calls `each` with so many numbers of `width` bits, 64 at most, from one of them on.
pub(super) fn each_packed(
    bytes: &[u8],
    from: usize,
    count: usize,
    width: usize,
    mut each: impl FnMut(u64),
) {
    let mut at = from;
    let end = from + count;
    // A word has a few numbers: all of them are taken from one load.
    if (1..=28).contains(&width) {
        let (mask, in_word) = ((1_u64 << width) - 1, 57 / width);
        while at < end {
            let bit = at * width;
            let Some(word) = bytes.get(bit / 8..).and_then(<[u8]>::first_chunk::<8>) else { break };
            let mut word = u64::from_le_bytes(*word) >> (bit % 8);
            let here = in_word.min(end - at);
            for _ in 0..here {
                each(word & mask);
                word >>= width;
            }
            at += here;
        }
    }
    (at..end).for_each(|at| each(packed_long(bytes, at, width)));
}

/// Calls `each` with the places, among these, of the numbers of `width` bits that are `wanted`.
fn find_packed(
    bytes: &[u8],
    places: std::ops::Range<usize>,
    width: usize,
    wanted: u32,
    mut each: impl FnMut(usize),
) {
    let mut at = places.start;
    let mut rest = |places: std::ops::Range<usize>| {
        places.filter(|at| packed(bytes, *at, width) == wanted).for_each(&mut each);
    };
    if (1..=28).contains(&width) && u64::from(wanted) >> width == 0 {
        // All numbers of a word are looked at together: one that is wanted leaves nothing where it
        // was, and taking one from nothing borrows from the highest bit of its place.
        let in_word = 57 / width;
        let lowest = (0..in_word).fold(0_u64, |bits, nth| bits | 1 << (nth * width));
        let highest = lowest << (width - 1);
        let pattern = lowest * u64::from(wanted);
        while at + in_word <= places.end {
            let bit = at * width;
            let Some(word) = bytes.get(bit / 8..).and_then(<[u8]>::first_chunk::<8>) else { break };
            let differs = u64::from_le_bytes(*word) >> (bit % 8) ^ pattern;
            if differs.wrapping_sub(lowest) & !differs & highest != 0 {
                rest(at..at + in_word);
            }
            at += in_word;
        }
    }
    rest(at..places.end);
}

/// A number of seven bits a byte.
pub(super) fn varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or_else(ends)?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(ends())
}
