//! Segments: what messages of version 5 travel in, several in one or one in several.
//!
//! Invariant: pure; a head counts only with the checksum of its own bytes.

use std::borrow::Cow;

use super::lz4;

/// Lengths, a flag, and their checksum, where nothing is compressed and where something may be.
pub(super) const PLAIN_HEAD_BYTES: usize = 6;
pub(super) const PACKED_HEAD_BYTES: usize = 8;
/// The checksum behind the payload.
const TRAILER_BYTES: u64 = 4;
const LEN_BITS: u32 = 17;
const LEN_MAX: u64 = (1 << LEN_BITS) - 1;
/// What the checksum of a payload begins with, ahead of its bytes.
const CRC32_SALT: [u8; 4] = [0xfa, 0x2d, 0x55, 0xca];
const CRC24_FIRST: u32 = 0x87_5060;
const CRC24_POLYNOMIAL: u32 = 0x197_4f0b;

/// Whether segments of a connection may be compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    Packed,
}

impl Form {
    /// Bytes of a head.
    pub(super) fn head_bytes(self) -> usize {
        match self {
            Self::Plain => PLAIN_HEAD_BYTES,
            Self::Packed => PACKED_HEAD_BYTES,
        }
    }

    /// The form whose heads are so long.
    pub(super) fn of_head(len: usize) -> Option<Self> {
        [Self::Plain, Self::Packed].into_iter().find(|form| form.head_bytes() == len)
    }
}

/// The head of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    payload_bytes: u64,
    /// Bytes of the payload once it is unpacked; 0: it is not packed.
    unpacked_bytes: u64,
    /// Its messages begin and end in it.
    pub(super) contained: bool,
}

/// Reads the head of a segment of this form.
pub(super) fn header(form: Form, bytes: &[u8]) -> Option<Header> {
    let fields_bytes = form.head_bytes() - 3;
    let (fields, rest) = bytes.split_at_checked(fields_bytes)?;
    let sum = rest.first_chunk::<3>()?;
    let fields_value = little_endian(fields);
    let (bits, unpacked_bytes) = match form {
        Form::Plain => (LEN_BITS, 0),
        Form::Packed => (2 * LEN_BITS, fields_value >> LEN_BITS & LEN_MAX),
    };
    let payload_bytes = fields_value & LEN_MAX;
    let flags = fields_value >> bits;
    // Cheap first: this is asked at every place after a loss.
    let known = flags <= 1 && payload_bytes > 0;
    let whole = known && u64::from(crc24(fields)) == little_endian(sum);
    whole.then_some(Header { payload_bytes, unpacked_bytes, contained: flags == 1 })
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

impl Header {
    /// Bytes behind the head.
    pub(super) fn body_bytes(self) -> u64 {
        self.payload_bytes + TRAILER_BYTES
    }

    /// Bytes that it carries of messages.
    pub(super) fn carried_bytes(self) -> u64 {
        if self.unpacked_bytes > 0 { self.unpacked_bytes } else { self.payload_bytes }
    }

    /// What it carries of messages, from its first byte on, as much as was kept of its body and no more
    /// than is wanted; none where a checksum or a length is wrong.
    pub(super) fn carried(self, body: &[u8], wanted: usize) -> Option<Cow<'_, [u8]>> {
        let payload_bytes = usize::try_from(self.payload_bytes).ok()?;
        let (payload, trailer) = body.split_at(payload_bytes.min(body.len()));
        let whole = trailer.first_chunk::<4>();
        if whole.is_some_and(|sum| u32::from_le_bytes(*sum) != crc32(payload)) {
            return None;
        }
        if self.unpacked_bytes == 0 {
            return Some(Cow::Borrowed(payload.get(..wanted.min(payload.len()))?));
        }
        let all = usize::try_from(self.unpacked_bytes).ok()?;
        let unpacked = lz4::unpack(payload, all.min(wanted));
        let fits = unpacked.bytes.len() == all.min(wanted) && (unpacked.whole || wanted < all);
        let fits = whole.is_none() || fits;
        fits.then_some(Cow::Owned(unpacked.bytes))
    }
}

/// The checksum of a head.
fn crc24(bytes: &[u8]) -> u32 {
    bytes.iter().fold(CRC24_FIRST, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte) << 16, |sum, _| {
            let shifted = sum << 1;
            if shifted & 1 << 24 == 0 { shifted } else { shifted ^ CRC24_POLYNOMIAL }
        })
    })
}

/// The checksum of a payload.
fn crc32(payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&CRC32_SALT);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::envelope::HEAD_BYTES;
    use super::*;
    use crate::protocol::script::recorded;

    /// A segment that carries this, as one end writes it. `packed`: by so many bytes, compressed.
    pub(in crate::protocol::cassandra) fn segment(
        carried: &[u8],
        packed: Option<&[u8]>,
        form: Form,
        contained: bool,
    ) -> Vec<u8> {
        let payload = packed.unwrap_or(carried);
        let unpacked = if packed.is_some() { carried.len() } else { 0 };
        let (bits, lens) = match form {
            Form::Plain => (17, payload.len() as u64),
            Form::Packed => (34, payload.len() as u64 | (unpacked as u64) << 17),
        };
        let fields = (lens | u64::from(contained) << bits).to_le_bytes();
        let fields = &fields[..form.head_bytes() - 3];
        let sum = crc24(fields).to_le_bytes();
        [fields, &sum[..3], payload, &crc32(payload).to_le_bytes()].concat()
    }

    /// Scenario: segments that DataStax's Python driver has written, cut off, and with any bit of their
    /// heads or of their payloads flipped; the heads of messages that travel by themselves.
    /// Guarantees: what was written is read, and nothing else is.
    #[test]
    fn checksums() {
        for text in [include_str!("recorded-segments.txt"), include_str!("recorded-packed.txt")] {
            let steps = recorded(text);
            let form = if text.contains("plain") { Form::Plain } else { Form::Packed };
            for (_, bytes) in &steps[..4] {
                let none = [Form::Plain, Form::Packed].map(|form| header(form, bytes));
                assert_eq!(none, [None; 2], "{bytes:?}");
            }
            for (_, bytes) in &steps[4..] {
                check(form, bytes);
            }
        }
    }

    fn check(form: Form, bytes: &[u8]) {
        let (head, body) = bytes.split_at(form.head_bytes());
        let wanted = header(form, head).unwrap();
        assert_eq!((wanted.contained, wanted.body_bytes()), (true, body.len() as u64));
        let carried = wanted.carried(body, usize::MAX).unwrap();
        assert_eq!(carried.len() as u64, wanted.carried_bytes());
        let begun = wanted.carried(body, HEAD_BYTES).unwrap();
        assert_eq!(begun, carried.get(..HEAD_BYTES).unwrap());
        for cut in 0..body.len() {
            let part = wanted.carried(&body[..cut], usize::MAX).unwrap();
            assert!(carried.starts_with(&part), "cut at {cut}");
        }
        for bit in 0..8 * bytes.len() {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let (head, body) = flipped.split_at(form.head_bytes());
            let read =
                header(form, head).filter(|header| header.carried(body, usize::MAX).is_some());
            assert_eq!(read, None, "bit {bit}");
        }
    }
}
