//! Numbers as differences to those before them, packed in blocks.
//!
//! Invariant: sums wrap as they did when the differences were taken, at 64 bits; what is narrower
//! is cut to its width by who knows it.

use parquet::errors::Result;

use super::damaged;
use super::runs::{each_packed, varint};

/// The numbers at these places, in order.
pub(super) fn numbers(bytes: &[u8], places: &[usize]) -> Result<Vec<i64>> {
    let mut rest = bytes;
    let block = size(&mut rest)?;
    let parts = size(&mut rest)?;
    let count = size(&mut rest)?;
    let mut sum = zigzag(varint(&mut rest)?);
    if parts == 0 || block % parts != 0 || places.last().is_some_and(|last| *last >= count) {
        return Err(broken());
    }
    let mut wanted = places.iter().copied().peekable();
    let mut numbers = Vec::with_capacity(places.len());
    let part = block / parts;
    let mut at = 0;
    if wanted.next_if_eq(&at).is_some() {
        numbers.push(sum);
    }
    while wanted.peek().is_some() {
        let least = zigzag(varint(&mut rest)?);
        let (widths, packed) = cut(rest, parts)?;
        rest = packed;
        for width in widths.iter().map(|width| usize::from(*width)) {
            if wanted.peek().is_none() {
                return Ok(numbers);
            }
            let bytes = part.checked_mul(width).filter(|_| width <= 64).ok_or_else(broken)? / 8;
            let (packed, after) = cut(rest, bytes)?;
            rest = after;
            let all = part.min(count - 1 - at);
            let mut here = all;
            while here > 0
                && let Some(next) = wanted.peek()
            {
                // Up to the next that is wanted, or to the end of the part.
                let step = here.min(next - at);
                let mut more = 0_i64;
                let from = all - here;
                each_packed(packed, from, step, width, |number| {
                    more = more.wrapping_add(number.cast_signed());
                });
                let leasts = least.wrapping_mul(i64::try_from(step).map_err(|_large| broken())?);
                sum = sum.wrapping_add(leasts).wrapping_add(more);
                (at, here) = (at + step, here - step);
                if wanted.next_if_eq(&at).is_some() {
                    numbers.push(sum);
                }
            }
        }
    }
    Ok(numbers)
}

fn cut(bytes: &[u8], at: usize) -> Result<(&[u8], &[u8])> {
    bytes.split_at_checked(at).ok_or_else(broken)
}

fn size(bytes: &mut &[u8]) -> Result<usize> {
    usize::try_from(varint(bytes)?).map_err(|_large| broken())
}

fn zigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

fn broken() -> parquet::errors::ParquetError {
    damaged("a page of differences")
}
