//! Compressed packets: what packets travel in behind the login where both ends want it, several in one or one
//! in several.
//!
//! Invariants: of a packet no more is kept and no more is unpacked than a bound, and what is behind that is a hole
//! like any other; what is whole has to be as long as it says.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::io::{ErrorKind, Read};

use super::look;
use crate::protocol::dialogue::{Head, Input, Lane, Side, Unit};
use crate::protocol::{Direction, Segment};

/// Length, number, and the length of what is inside; that is 0 where it is not packed.
const HEAD_BYTES: usize = 7;
/// What is kept of a packet over several segments. Servers fill theirs from buffers of 16 KiB.
const KEPT_BYTES_MAX: usize = 64 << 10;
/// What is unpacked of a packet. A kilobyte may stand for a megabyte, which takes as long as a hundred requests; servers pack
/// what their buffers of 16 KiB hold.
const UNPACKED_BYTES_MAX: usize = 256 << 10;
/// What frames of zstd begin with. No stream of zlib does: the two bytes of its head are no multiple of 31 then.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// How far back frames may refer, as a power of two: no packet is longer.
const ZSTD_WINDOW_LOG_MAX: u32 = 24;

/// The packets within those of a connection.
#[derive(Debug, Default)]
pub(super) struct Packing {
    lanes: [Lane; 2],
}

impl Packing {
    pub(super) fn lane(&mut self, side: Side) -> &mut Lane {
        let [requests, responses] = &mut self.lanes;
        if side == Side::Requests { requests } else { responses }
    }

    /// Memory that is held.
    pub(super) fn held_bytes(&self) -> usize {
        self.lanes.iter().map(Lane::held_bytes).sum()
    }
}

/// The lengths of what is behind a head, and of what is inside that; and its number.
fn lengths(head: &[u8]) -> Option<(u32, u32, u8)> {
    let &[a, b, c, number, d, e, f] = head.first_chunk::<HEAD_BYTES>()?;
    Some((u32::from_le_bytes([a, b, c, 0]), u32::from_le_bytes([d, e, f, 0]), number))
}

/// The client begins something new with it.
pub(super) fn is_first(head: &[u8]) -> bool {
    matches!(lengths(head), Some((_, _, 0)))
}

/// Reads the head of a compressed packet.
pub(super) fn head(bytes: &[u8]) -> Head {
    match lengths(bytes) {
        None => Head::More,
        Some((body, ..)) => {
            Head::Whole { len: HEAD_BYTES, body: u64::from(body), keep: KEPT_BYTES_MAX }
        }
    }
}

/// What a compressed packet carries, as much of it as is there.
#[derive(Debug)]
pub(super) struct Carried<'a> {
    data: Cow<'a, [u8]>,
    bytes: u64,
}

impl Carried<'_> {
    /// The same as what is to be read of a direction.
    pub(super) fn input(&self, time: u64) -> Input<'_> {
        let omitted = self.bytes.saturating_sub(self.data.len() as u64);
        let direction = Direction::Inbound;
        let captured = &self.data;
        Input::new(&Segment { direction, time, captured, omitted, gap_before: false })
    }
}

/// What is in a compressed packet; none where nothing can be made of it.
pub(super) fn carried<'a>(unit: &Unit<'a>) -> Option<Carried<'a>> {
    let (_, inside, _) = lengths(unit.head)?;
    if inside == 0 {
        return Some(Carried { data: Cow::Borrowed(unit.body), bytes: unit.body_bytes });
    }
    let whole = unit.body.len() as u64 == unit.body_bytes;
    let data = unpacked(unit.body, usize::try_from(inside).ok()?, whole)?;
    Some(Carried { data: Cow::Owned(data), bytes: u64::from(inside) })
}

/// Unpacks what is so long when it is whole. `whole`: all of it is there, and nothing else.
fn unpacked(packed: &[u8], len: usize, whole: bool) -> Option<Vec<u8>> {
    if packed.len() < ZSTD.len() && !whole {
        // Too little to tell by what it is packed.
        return Some(Vec::new());
    }
    let bounded = len > UNPACKED_BYTES_MAX;
    // One more, which must not be there: so the end is read, with its checksum.
    let wanted = if bounded { UNPACKED_BYTES_MAX } else { len + 1 } as u64;
    let mut bytes = Vec::new();
    let read = if packed.starts_with(&ZSTD) {
        let mut frame = zstd::Decoder::with_buffer(packed).ok()?.single_frame();
        frame.window_log_max(ZSTD_WINDOW_LOG_MAX).ok()?;
        frame.take(wanted).read_to_end(&mut bytes)
    } else {
        flate2::bufread::ZlibDecoder::new(packed).take(wanted).read_to_end(&mut bytes)
    };
    let fits = match read {
        Ok(_) if bounded => bytes.len() == UNPACKED_BYTES_MAX || !whole,
        Ok(_) => bytes.len() == len || !whole && bytes.len() < len,
        Err(error) => !whole && error.kind() == ErrorKind::UnexpectedEof && bytes.len() <= len,
    };
    fits.then_some(bytes)
}

/// What is in the compressed packet with this number that all the bytes are.
pub(super) fn sole(bytes: &[u8], number: u8) -> Option<Cow<'_, [u8]>> {
    let (body_bytes, ..) = lengths(bytes)?;
    let whole = bytes.len() as u64 == HEAD_BYTES as u64 + u64::from(body_bytes);
    if whole { first(bytes, number) } else { None }
}

/// What is there of the inside of the compressed packet with this number that bytes begin with.
pub(super) fn first(bytes: &[u8], number: u8) -> Option<Cow<'_, [u8]>> {
    let Some((body_bytes, inside, found)) = lengths(bytes) else {
        // Of its head there is too little to tell.
        return Some(Cow::Borrowed(&[]));
    };
    if found != number || body_bytes == 0 {
        return None;
    }
    let wanted = usize::try_from(body_bytes).ok()?;
    let behind = bytes.get(HEAD_BYTES..).unwrap_or_default();
    let body = behind.split_at(wanted.min(behind.len())).0;
    if inside == 0 {
        return Some(Cow::Borrowed(body));
    }
    let data = unpacked(body, usize::try_from(inside).ok()?, body.len() == wanted)?;
    Some(Cow::Owned(data))
}

/// Bytes of the client begin with a compressed packet that begins with a command, or are its head.
pub(super) fn begins_command(bytes: &[u8]) -> bool {
    let Some((body_bytes, _, 0)) = lengths(bytes) else { return false };
    let body = bytes.get(HEAD_BYTES..).unwrap_or_default();
    let here = body.len() as u64;
    let body_bytes = u64::from(body_bytes);
    if here > body_bytes || body_bytes == 0 {
        return false;
    }
    if here == 0 {
        return true;
    }
    let head = bytes.get(..HEAD_BYTES).unwrap_or_default();
    let unit = Unit { head, body, holed: false, body_bytes, began: 0, ended: 0 };
    let Some(carried) = carried(&unit) else { return false };
    look::begins_command(&carried.data)
}
