//! Where bytes of the log enter, opened to the fuzz targets (feature `fuzz`) and to nobody else.

use bytes::Bytes;
use icecore_store::{LogPosition, Signal, TimeRange, UnixNanos};

use super::frame::{self, Contents, Frame, Read};
use super::pack::Packer;
use super::recover::scan;

/// A segment's bytes at a position of the log: what a recovery finds in them. Gives the number of
/// whole frames.
///
/// # Panics
/// Where frames and damage do not add up to the bytes, or a frame that was read is another one when
/// it was written and read again.
#[must_use]
pub fn segment(first: u64, bytes: &[u8]) -> u64 {
    let first = LogPosition(first);
    let found = scan(first, bytes, true);
    let damaged: u64 = found.damage.iter().map(|damage| damage.bytes).sum();
    let (mut whole, mut frames) = (0, 0);
    let mut rest = bytes;
    while !rest.is_empty() {
        let position = LogPosition(first.0 + (bytes.len() - rest.len()) as u64);
        match frame::read(position, rest) {
            Read::Whole(read, after) => {
                let mut written = Vec::new();
                frame::write(&mut written, position, &read);
                // What no reader looks at may differ; what it reads may not.
                assert_eq!(frame::read(position, &written), Read::Whole(read, &[]));
                whole += (rest.len() - after.len()) as u64;
                frames += 1;
                rest = after;
            }
            Read::Short(_) | Read::Bad => {
                let skipped = frame::skip(position, rest);
                assert!(skipped > 0, "a recovery must get on");
                rest = rest.get(skipped..).unwrap_or_default();
            }
        }
    }
    assert_eq!((found.frames, whole + damaged), (frames, bytes.len() as u64));
    frames
}

/// Whole frames that stand at a position, their payloads cut out of these bytes; and how many.
#[must_use]
pub fn frames(first: u64, payloads: &[u8]) -> (Vec<u8>, u64) {
    let (mut bytes, mut count) = (Vec::new(), 0);
    for payload in payloads.chunks(97) {
        let position = LogPosition(first + bytes.len() as u64);
        let time = TimeRange::covering(UnixNanos(1), UnixNanos(2));
        let rows = u32::from(payload[0]);
        let frame = Frame {
            signal: Signal::ALL[usize::from(payload[0]) % Signal::ALL.len()],
            time: UnixNanos(3),
            contents: Contents { rows, time, alone: rows % 2 == 0 },
            plain_bytes: payload.len(),
            payload,
        };
        frame::write(&mut bytes, position, &frame);
        count += 1;
    }
    (bytes, count)
}

/// A packed payload that is said to unpack to so many bytes.
///
/// # Panics
/// Where packing what was unpacked and unpacking it again gives something else.
#[must_use]
pub fn payload(packed: &[u8], plain_bytes: usize) -> bool {
    let packer = Packer::default();
    let Ok(plain) = packer.unpack(packed, plain_bytes, <[u8]>::to_vec) else { return false };
    let again = packer.pack(Bytes::from(plain.clone()));
    let back = packer.unpack(&again.bytes, again.plain_bytes, <[u8]>::to_vec);
    assert_eq!(back.ok(), Some(plain), "what was packed must come back");
    true
}
