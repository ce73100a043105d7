//! Small numbers as runs and packed groups: the hybrid encoding that Parquet has for levels and for
//! places in a dictionary.

use std::ops::Range;

/// Numbers that are packed together; a run of fewer is packed with its neighbours.
const GROUP: usize = 8;

/// The bits that numbers up to `most` take; at least one, as not every reader knows of none.
pub(super) const fn width_of(most: u32) -> u32 {
    let bits = u32::BITS - most.leading_zeros();
    if bits == 0 { 1 } else { bits }
}

/// Stretches of equal numbers, one after the other.
pub(super) fn runs(numbers: &[u32]) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let first = numbers.get(at)?;
        let more = numbers[at..].iter().take_while(|number| *number == first).count();
        at += more;
        Some(at - more..at)
    })
}

/// About the bits that a run takes.
pub(super) const fn run_bits(length: usize, width: u32) -> usize {
    if length < GROUP { length * width as usize } else { 16 + width as usize }
}

/// Appends the numbers, each of at most `width` bits.
pub(super) fn write_hybrid(numbers: &[u32], width: u32, out: &mut Vec<u8>) {
    // Where the numbers begin that are still to be packed: whole groups up to the last of them.
    let mut packed = 0;
    for run in runs(numbers) {
        let fill = (run.start - packed).next_multiple_of(GROUP) - (run.start - packed);
        if run.len() >= fill + GROUP {
            write_packed(&numbers[packed..run.start + fill], width, out);
            write_run(numbers[run.start], run.len() - fill, width, out);
            packed = run.end;
        }
    }
    write_packed(&numbers[packed..], width, out);
}

/// Appends one number, again and again.
pub(super) fn write_run(number: u32, length: usize, width: u32, out: &mut Vec<u8>) {
    write_varint(length << 1, out);
    out.extend_from_slice(&number.to_le_bytes()[..(width as usize).div_ceil(8)]);
}

/// The last group is filled up with zeros: only the last numbers of all may not fill it.
fn write_packed(numbers: &[u32], width: u32, out: &mut Vec<u8>) {
    if numbers.is_empty() {
        return;
    }
    let groups = numbers.len().div_ceil(GROUP);
    write_varint(groups << 1 | 1, out);
    let (mut bits, mut filled) = (0_u64, 0);
    let padding = std::iter::repeat_n(&0, groups * GROUP - numbers.len());
    for number in numbers.iter().chain(padding) {
        bits |= u64::from(*number) << filled;
        filled += width;
        while filled >= 8 {
            out.push(bits.to_le_bytes()[0]);
            bits >>= 8;
            filled -= 8;
        }
    }
}

fn write_varint(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_varint(bytes: &mut &[u8]) -> usize {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            number |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return number;
            }
        }
    }

    /// Written from the specification, bit by bit.
    fn read(mut bytes: &[u8], width: u32, count: usize) -> Vec<u32> {
        let mut numbers = Vec::new();
        while numbers.len() < count {
            let header = read_varint(&mut bytes);
            if header & 1 == 0 {
                let mut number = [0; 4];
                let (value, rest) = bytes.split_at((width as usize).div_ceil(8));
                number[..value.len()].copy_from_slice(value);
                bytes = rest;
                numbers.extend(std::iter::repeat_n(u32::from_le_bytes(number), header >> 1));
                continue;
            }
            let (packed, rest) = bytes.split_at((header >> 1) * (width as usize));
            bytes = rest;
            let bit = |at: usize| u32::from(packed[at / 8] >> (at % 8) & 1);
            numbers.extend((0..(header >> 1) * 8).map(|at| {
                let first = at * (width as usize);
                (0..(width as usize)).map(|nth| bit(first + nth) << nth).sum::<u32>()
            }));
        }
        assert!(bytes.is_empty() && numbers.len() < count + 8, "no more than a group is filled up");
        numbers.truncate(count);
        numbers
    }

    proptest! {
        /// Scenario: numbers of any width, in runs of any length.
        /// Guarantees: they come back; the estimate is not far off.
        #[test]
        fn numbers_come_back(
            width in 1_u32..=32,
            lengths in prop::collection::vec((any::<u32>(), prop_oneof![1_usize..3, 1_usize..400]), 0..60),
        ) {
            let most = u32::MAX >> (32 - width);
            let numbers: Vec<u32> = lengths
                .iter()
                .flat_map(|(number, length)| std::iter::repeat_n(number & most, *length))
                .collect();
            let mut out = Vec::new();
            write_hybrid(&numbers, width, &mut out);
            prop_assert_eq!(read(&out, width, numbers.len()), numbers.clone());
            let bits: usize = runs(&numbers).map(|run| run_bits(run.len(), width)).sum();
            let slack = (runs(&numbers).count() + 1) * (4 + width as usize);
            prop_assert!(out.len() <= bits / 8 + slack);
            prop_assert!(width_of(numbers.iter().copied().max().unwrap_or_default()) <= width);
        }
    }
}
