//! Blocks of LZ4, as much of them as is there.
//!
//! Invariant: no more is unpacked than was asked for; of a torn block its beginning is, which is why
//! no library does this: they refuse it, and a long message is seldom copied to its end.

use super::unpacked::Unpacked;

/// The shortest repetition.
const MATCH_BYTES_MIN: usize = 4;

/// Unpacks the beginning of a block, at most `wanted` bytes of it.
pub(super) fn unpack(mut packed: &[u8], wanted: usize) -> Unpacked {
    let mut unpacked = Unpacked::new(wanted);
    unpacked.whole = loop {
        match sequence(&mut packed, &mut unpacked) {
            Some(Step::More) => {}
            Some(Step::End) => break packed.is_empty(),
            None => break false,
        }
    };
    unpacked
}

enum Step {
    More,
    End,
}

/// Literals, and what is repeated behind them. None: it is torn, wrong, or more than was wanted.
fn sequence(packed: &mut &[u8], unpacked: &mut Unpacked) -> Option<Step> {
    let token = take(packed)?;
    let literals = length(packed, token >> 4)?;
    let (taken, rest) = packed.split_at(literals.min(packed.len()));
    *packed = rest;
    unpacked.push(taken)?;
    if taken.len() < literals {
        return None;
    }
    if packed.is_empty() {
        // The last sequence of a block repeats nothing.
        return Some(Step::End);
    }
    let distance = usize::from(u16::from_le_bytes([take(packed)?, take(packed)?]));
    let repeated = length(packed, token & 0x0f)?.checked_add(MATCH_BYTES_MIN)?;
    unpacked.repeat(distance, repeated)?;
    Some(Step::More)
}

fn take(packed: &mut &[u8]) -> Option<u8> {
    let (first, rest) = packed.split_first()?;
    *packed = rest;
    Some(*first)
}

/// A length of which the token holds the beginning.
fn length(packed: &mut &[u8], begun: u8) -> Option<usize> {
    let mut len = usize::from(begun);
    if begun == 0x0f {
        loop {
            let more = take(packed)?;
            len = len.checked_add(usize::from(more))?;
            if more != u8::MAX {
                break;
            }
        }
    }
    Some(len)
}
