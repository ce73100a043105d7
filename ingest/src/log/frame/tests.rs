//! Frames against every cut, every flipped bit, and bytes that only look like frames.

use proptest::prelude::*;

use super::*;

const HERE: LogPosition = LogPosition(4096);

const CONTENTS: Contents = Contents { rows: 3, time: TimeRange::ALL, alone: true };

const fn frame(payload: &[u8]) -> Frame<'_> {
    let plain_bytes = payload.len() + 1;
    Frame { signal: Signal::Logs, time: UnixNanos(-7), contents: CONTENTS, plain_bytes, payload }
}

fn framed(position: LogPosition, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out, position, &frame(payload));
    out
}

/// Scenario: a frame is cut at every byte.
/// Guarantees: the whole is read back; every cut says how much is missing and never panics.
#[test]
fn a_cut_frame_is_short() {
    let whole = framed(HERE, b"span");
    assert_eq!(read(HERE, &whole), Read::Whole(frame(b"span"), b""));
    for cut in 0..whole.len() {
        let wanted = if cut < HEAD_BYTES { HEAD_BYTES } else { whole.len() };
        assert_eq!(read(HERE, &whole[..cut]), Read::Short(wanted), "cut at {cut}");
    }
}

/// Scenario: each bit of a frame is flipped in turn, and the frame is read elsewhere.
/// Guarantees: no damaged or misplaced frame is ever taken for whole.
#[test]
fn a_flipped_bit_is_found() {
    let whole = framed(HERE, b"payload");
    for bit in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(read(HERE, &damaged), Read::Bad, "bit {bit}");
    }
    assert_eq!(read(LogPosition(HERE.0 + 1), &whole), Read::Bad);
}

/// Scenario: a damaged payload that quotes another frame; a damaged head.
/// Guarantees: a whole head skips exactly its frame, else the next magic is tried.
#[test]
fn damage_skips_to_the_next_candidate() {
    let mut quoting = framed(HERE, &framed(LogPosition(0), b"inner"));
    let size = quoting.len();
    *quoting.last_mut().unwrap() ^= 1;
    quoting.extend(framed(LogPosition(HERE.0 + size as u64), b"next"));
    assert_eq!(skip(HERE, &quoting), size);
    quoting[5] ^= 1;
    assert_eq!(skip(HERE, &quoting), HEAD_BYTES, "the quoted frame is only a candidate");
    assert_eq!(read(LogPosition(HERE.0 + HEAD_BYTES as u64), &quoting[HEAD_BYTES..]), Read::Bad);
    assert_eq!(skip(HERE, b"nothing here"), 9);
}

proptest! {
    /// Scenario: any bytes at any position.
    /// Guarantees: reading and skipping never panic, and skipping always goes on.
    #[test]
    fn any_bytes_are_survived(position: u64, bytes: Vec<u8>) {
        let position = LogPosition(position);
        if let Read::Whole(..) = read(position, &bytes) {
            panic!("random bytes passed both sums");
        }
        prop_assert!(bytes.is_empty() || skip(position, &bytes) >= 1);
    }

    /// Scenario: frames of any payload at any position, one after the other.
    /// Guarantees: what was written is read.
    #[test]
    fn frames_round_trip(start: u32, payloads: Vec<Vec<u8>>) {
        let mut out = Vec::new();
        let at = |len: usize| LogPosition(u64::from(start) + len as u64);
        for payload in &payloads {
            let position = at(out.len());
            write(&mut out, position, &frame(payload));
        }
        let mut rest = out.as_slice();
        for payload in &payloads {
            let Read::Whole(found, after) = read(at(out.len() - rest.len()), rest) else {
                panic!("a written frame is whole");
            };
            prop_assert_eq!(found, frame(payload));
            rest = after;
        }
        prop_assert!(rest.is_empty());
    }
}
