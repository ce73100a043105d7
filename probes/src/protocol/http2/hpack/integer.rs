//! Numbers of HPACK: in the last bits of a byte where they fit, else in bytes of seven bits.
//!
//! Invariant: a number that is read is below 2^29, so that sums of it with another do not overflow.

use super::Malformed;

/// Bytes behind the first that a number may take.
const MORE_BYTES_MAX: usize = 4;

/// A number that begins in the last `bits` bits of the first byte, and what follows it.
pub(super) fn read(bytes: &[u8], bits: u8) -> Result<(usize, &[u8]), Malformed> {
    let (&first, mut rest) = bytes.split_first().ok_or(Malformed)?;
    let mask = (1_usize << bits) - 1;
    let mut number = usize::from(first) & mask;
    if number < mask {
        return Ok((number, rest));
    }
    for at in 0..MORE_BYTES_MAX {
        let (&byte, behind) = rest.split_first().ok_or(Malformed)?;
        rest = behind;
        number += usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok((number, rest));
        }
    }
    Err(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: the examples of RFC 7541 (C.1), numbers that are cut off, and one without an end.
    /// Guarantees: the first are read to their last byte, the others are none.
    #[test]
    fn numbers() {
        assert_eq!(read(&[0b1110_1010, 7], 5), Ok((10, &[7][..])));
        assert_eq!(read(&[0b0001_1111, 154, 10], 5), Ok((1337, &[][..])));
        assert_eq!(read(&[42], 8), Ok((42, &[][..])));
        assert_eq!(read(&[0x7f, 0xff, 0xff, 0xff, 0x7f], 7), Ok(((1 << 28) - 1 + 127, &[][..])));
        for bytes in [&[][..], &[0x1f], &[0x1f, 0x80], &[0x1f, 0x80, 0x80, 0x80, 0x80, 0x01]] {
            assert_eq!(read(bytes, 5), Err(Malformed), "{bytes:?}");
        }
    }
}
