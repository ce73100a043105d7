//! Blocks of Snappy, as much of them as is there. See [`super::lz4`].
//!
//! Invariant: no more is unpacked than was asked for.

use super::unpacked::Unpacked;

/// Unpacks the beginning of a block, at most `wanted` bytes of it; none where it does not say its length.
pub(super) fn unpack(packed: &[u8], wanted: usize) -> Option<Unpacked> {
    let (bytes, mut packed) = preamble(packed)?;
    let mut unpacked = Unpacked::new(wanted);
    let mut torn = false;
    while !torn && !packed.is_empty() {
        torn = element(&mut packed, &mut unpacked).is_none();
    }
    unpacked.whole = !torn && unpacked.bytes.len() as u64 == bytes;
    Some(unpacked)
}

/// The same for other protocols: what was unpacked, and whether that is all of it.
pub(in crate::protocol) fn unpack_to(packed: &[u8], wanted: usize) -> Option<(Vec<u8>, bool)> {
    unpack(packed, wanted).map(|unpacked| (unpacked.bytes, unpacked.whole))
}

/// How long the unpacked block is, by seven bits a byte.
fn preamble(packed: &[u8]) -> Option<(u64, &[u8])> {
    let mut bytes = 0;
    for (at, byte) in packed.iter().take(5).enumerate() {
        bytes |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((bytes, packed.get(at + 1..)?));
        }
    }
    None
}

/// Literals, or a repetition. None: it is torn, wrong, or more than was wanted.
fn element(packed: &mut &[u8], unpacked: &mut Unpacked) -> Option<()> {
    let tag = number(packed, 1)?;
    let (low, high) = (tag & 3, tag >> 2);
    match low {
        0 => {
            // From 60 on, so many bytes less 59 hold the length.
            let len = if high < 60 { high } else { number(packed, high - 59)? } + 1;
            let (taken, rest) = packed.split_at(len.min(packed.len()));
            *packed = rest;
            unpacked.push(taken)?;
            (taken.len() == len).then_some(())
        }
        1 => {
            let distance = (high >> 3) << 8 | number(packed, 1)?;
            unpacked.repeat(distance, 4 + (high & 7))
        }
        _ => {
            let distance = number(packed, if low == 2 { 2 } else { 4 })?;
            unpacked.repeat(distance, 1 + high)
        }
    }
}

/// A number of so many bytes, at most four, the lowest first.
fn number(packed: &mut &[u8], bytes: usize) -> Option<usize> {
    let (taken, rest) = packed.split_at_checked(bytes)?;
    *packed = rest;
    Some(taken.iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte)))
}
