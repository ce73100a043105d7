//! Feeds segments of arbitrary bytes to a connection of which nothing is known:
//! `cargo +nightly fuzz run connection`. `parser.rs` goes past detection.
//!
//! Invariant under test: no panic, and each byte is counted once.
#![no_main]

use std::sync::Arc;

use icecore_probes::protocol::{Closing, Direction, Following, Limits, Segment};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let limits = Limits { head_bytes_max: 512, body_bytes_max: 16, ..Limits::default() };
    let mut following = Following::new(Arc::new(limits), true);
    let (mut out, mut fed, mut rest) = (Vec::new(), 0, input);
    let mut time = 0;
    // Each segment: flags, length, bytes.
    while let [flags, length, behind @ ..] = rest {
        let (captured, behind) = behind.split_at(behind.len().min(usize::from(*length)));
        let direction = if flags & 1 == 0 { Direction::Inbound } else { Direction::Outbound };
        let omitted = u64::from(flags >> 4);
        time += 1 + u64::from(flags & 4) * 1_000_000_000;
        let gap_before = flags & 2 != 0;
        fed += captured.len() as u64 + omitted;
        following.feed(&Segment { direction, time, captured, omitted, gap_before }, &mut out);
        rest = behind;
    }
    following.close(time, Closing::Reset, &mut out);
    let counts = following.take_counts();
    assert_eq!(counts.parsed_bytes + counts.unparsed_bytes + counts.passed_bytes, fed);
});
