//! Any bytes as a segment of the log, and whole frames that were damaged on the disk: a recovery
//! returns, its frames and its damage add up to the bytes, and what it read is what was written.
#![no_main]

use icecore_ingest::untrusted::{frames, payload, segment};
use libfuzzer_sys::fuzz_target;

/// Requests are bounded long before; so much is enough to be wrong about.
const PLAIN_BYTES_MAX: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let Some((head, rest)) = data.split_first_chunk::<8>() else { return };
    let first = u64::from_le_bytes(*head) >> 16;
    let _whole = segment(first, rest);
    let plain_bytes = usize::from(head[0]) << (head[1] % 13);
    let _packed = payload(rest, plain_bytes.min(PLAIN_BYTES_MAX));
    // Frames of some of the bytes, of which others are then overwritten as the rest says.
    let (payloads, changes) = rest.split_at(rest.len() / 2);
    let (mut bytes, count) = frames(first, payloads);
    assert_eq!(segment(first, &bytes), count);
    for change in changes.as_chunks::<4>().0 {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= change[2];
        }
    }
    assert!(segment(first, &bytes) <= count);
});
