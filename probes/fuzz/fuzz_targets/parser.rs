//! Feeds segments of arbitrary bytes to the parser of each protocol, past detection:
//! `cargo +nightly fuzz run parser`. The first byte of the input says which.
//!
//! Invariant under test: no panic, and each byte is counted once.
#![no_main]

use std::sync::Arc;

use icecore_probes::protocol::{self, Closing, Direction, Limits, Role, Segment};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((which, mut rest)) = input.split_first() else { return };
    let limits = Limits { head_bytes_max: 512, body_bytes_max: 16, ..Limits::default() };
    let names = protocol::names();
    let name = names[usize::from(which >> 2) % names.len()];
    let role = if which & 1 == 0 { Role::Server } else { Role::Client };
    let parser = protocol::parser(name, Arc::new(limits), role, which & 2 == 0);
    let mut parser = parser.expect("the name is one of the table's");
    let (mut out, mut fed, mut time) = (Vec::new(), 0, 0);
    // Each segment: flags, length, bytes.
    while let [flags, length, behind @ ..] = rest {
        let (captured, behind) = behind.split_at(behind.len().min(usize::from(*length)));
        let direction = if flags & 1 == 0 { Direction::Inbound } else { Direction::Outbound };
        let omitted = u64::from(flags >> 4);
        time += 1 + u64::from(flags & 4) * 1_000_000_000;
        let gap_before = flags & 2 != 0;
        fed += captured.len() as u64 + omitted;
        parser.feed(&Segment { direction, time, captured, omitted, gap_before }, &mut out);
        rest = behind;
    }
    parser.close(time, Closing::Reset, &mut out);
    let counts = parser.take_counts();
    assert_eq!(counts.parsed_bytes + counts.unparsed_bytes + counts.passed_bytes, fed);
});
