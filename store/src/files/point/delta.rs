//! Numbers as differences to those before them, packed in blocks.
//!
//! Invariant: sums wrap as they did when the differences were taken, at 64 bits; what is narrower
//! is cut to its width by who knows it.

use parquet::errors::Result;

use super::damaged;
use super::runs::{packed_long, varint};

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
            for nth in 0..part.min(count - 1 - at) {
                let more = packed_long(packed, nth, width).cast_signed();
                sum = sum.wrapping_add(least).wrapping_add(more);
                at += 1;
                if wanted.next_if_eq(&at).is_some() {
                    numbers.push(sum);
                    if wanted.peek().is_none() {
                        return Ok(numbers);
                    }
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
