//! Compressed messages: what is in them, as much of it as is looked at.
//!
//! Invariants: no more is unpacked than was asked for, whatever a message says of its length; one that was
//! torn is its beginning, and one that is whole has to be as long as it says.

use std::io::{ErrorKind, Read};

use super::message::{Kind, MESSAGE_BYTES_MAX, compressor};
use crate::protocol::cassandra::unpack_snappy;
use crate::protocol::dialogue::Unit;

/// Kind and length of what is inside, and by what it is packed.
const HEAD_BYTES: usize = 9;
/// How far back frames of zstd may refer, as a power of two: what drivers ask for stays below.
const ZSTD_WINDOW_LOG_MAX: u32 = 24;

/// The message inside another.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Inside {
    pub(super) kind: Kind,
    pub(super) by: &'static str,
    body: Vec<u8>,
    body_bytes: u64,
    holed: bool,
}

impl Inside {
    /// The message as it would have travelled by itself.
    pub(super) fn unit<'a>(&'a self, outer: &Unit<'a>) -> Unit<'a> {
        let Self { body, body_bytes, holed, .. } = self;
        Unit { body, body_bytes: *body_bytes, holed: *holed, ..*outer }
    }
}

/// Unpacks a compressed message, at most `wanted` bytes of it; none where nothing can be made of it.
pub(super) fn inside(unit: &Unit<'_>, wanted: usize) -> Option<Inside> {
    let (head, packed) = unit.body.split_first_chunk::<HEAD_BYTES>()?;
    let [a, b, c, d, e, f, g, h, by] = *head;
    let kind =
        Kind::of(i32::from_le_bytes([a, b, c, d])).filter(|kind| *kind != Kind::Compressed)?;
    let said = i32::from_le_bytes([e, f, g, h]);
    let len = usize::try_from(said).ok().filter(|_| said < MESSAGE_BYTES_MAX)?;
    let torn = unit.body.len() as u64 != unit.body_bytes;
    // One more, which must not be there: so the end is read, with its checksum.
    let body = unpacked(by, packed, if len < wanted { len + 1 } else { wanted }, torn)?;
    let fits = body.len() == len.min(wanted) || torn && body.len() < len;
    let (body_bytes, holed) = (len as u64, body.len() < len.min(wanted));
    fits.then_some(Inside { kind, by: compressor(by)?, body, body_bytes, holed })
}

/// At most so many bytes.
fn unpacked(by: u8, packed: &[u8], wanted: usize, torn: bool) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = wanted as u64;
    let read = match by {
        0 => packed.take(limit).read_to_end(&mut bytes),
        1 => return unpack_snappy(packed, wanted).map(|(bytes, _)| bytes),
        2 => flate2::bufread::ZlibDecoder::new(packed).take(limit).read_to_end(&mut bytes),
        3 => {
            let mut frame = zstd::Decoder::with_buffer(packed).ok()?.single_frame();
            frame.window_log_max(ZSTD_WINDOW_LOG_MAX).ok()?;
            frame.take(limit).read_to_end(&mut bytes)
        }
        _ => return None,
    };
    match read {
        Ok(_) => Some(bytes),
        Err(error) => (torn && error.kind() == ErrorKind::UnexpectedEof).then_some(bytes),
    }
}
