//! Records as the kernel lays them out, in a file in memory, and headers that no kernel writes.

use std::fs::File;
use std::os::fd::FromRawFd as _;
use std::os::unix::fs::FileExt as _;

use proptest::prelude::*;

use super::*;

const RING_BYTES: usize = 256 << 10;

/// A file with the layout of the kernel's rings: a page of who reads, one of who writes, the records.
struct Written {
    file: File,
    page_bytes: usize,
    at: usize,
}

impl Written {
    fn new() -> Self {
        // SAFETY: the name ends with a zero byte, and the descriptor is owned by nobody else.
        let file = unsafe { File::from_raw_fd(libc::memfd_create(c"ring".as_ptr(), 0)) };
        let page_bytes = page_bytes().expect("pages have a size");
        let length = 2 * page_bytes + 2 * RING_BYTES;
        file.set_len(length as u64).expect("memory is there");
        Self { file, page_bytes, at: 0 }
    }

    fn ring(&self) -> Ring {
        let fd = self.file.try_clone().expect("a descriptor is there").into();
        Ring::mapped(fd, RING_BYTES).expect("it can be mapped")
    }

    fn record(&mut self, header: u32, record: &[u8]) {
        let mut whole = u64::from(header).to_ne_bytes().to_vec();
        whole.extend_from_slice(record);
        let place = self.at % RING_BYTES;
        let (before, over) = whole.split_at(whole.len().min(RING_BYTES - place));
        for run in [0, RING_BYTES] {
            self.bytes(2 * self.page_bytes + run + place, before);
            self.bytes(2 * self.page_bytes + run, over);
        }
        self.at += whole.len().next_multiple_of(8);
        self.bytes(self.page_bytes, &self.at.to_ne_bytes());
    }

    fn bytes(&self, at: usize, bytes: &[u8]) {
        self.file.write_all_at(bytes, at as u64).expect("a file in memory takes it");
    }

    fn read_up_to(&self) -> usize {
        let mut position = [0; size_of::<usize>()];
        self.file.read_exact_at(&mut position, 0).expect("it is there");
        usize::from_ne_bytes(position)
    }
}

fn length(record: &[u8]) -> u32 {
    u32::try_from(record.len()).expect("it is short")
}

/// Scenario: records of odd lengths, the longest ones among them, go around the ring several times.
/// Guarantees: each is read whole, also over the end, and its place is given back when it was read.
#[test]
fn records_over_the_end_are_read_whole() {
    let mut written = Written::new();
    let mut ring = written.ring();
    for turn in 0..24_u8 {
        let bytes = if turn % 3 == 0 { STACK_BYTES_MAX + 1_100 } else { 31_013 };
        let record: Vec<u8> = (0..=250).cycle().take(bytes).map(|at: u8| at ^ turn).collect();
        written.record(length(&record), &record);
        let before = written.read_up_to();
        let item = ring.next().expect("it was written");
        assert!(*item == record[..], "turn {turn}");
        assert_eq!(written.read_up_to(), before, "it is still being read");
        drop(item);
        assert_eq!(written.read_up_to(), written.at);
        assert!(ring.next().is_none());
    }
    assert!(written.at > 3 * RING_BYTES);
}

/// Scenario: a record that is still being written lies before one that is whole; one was thrown away.
/// Guarantees: what comes behind the first waits for it; what was thrown away is passed over.
#[test]
fn what_is_being_written_is_waited_for() {
    let mut written = Written::new();
    let mut ring = written.ring();
    written.record(3 | BUSY, b"one");
    written.record(4 | DISCARDED, b"gone");
    written.record(3, b"two");
    assert!(ring.next().is_none());
    written.bytes(2 * written.page_bytes, &3_u32.to_ne_bytes());
    assert_eq!(&*ring.next().expect("it is whole"), b"one");
    assert_eq!(&*ring.next().expect("it was whole"), b"two");
    assert!(ring.next().is_none());
    assert_eq!(written.read_up_to(), written.at);
}

/// Scenario: a ring of which a good part is written and read.
/// Guarantees: of the second run of its pages no more is mapped than the longest record needs.
#[test]
fn pages_are_mapped_once() {
    let ring = Written::new().ring();
    assert_eq!(ring.producer.length, ring.page_bytes + RING_BYTES + TAIL_BYTES);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Scenario: headers that say anything, at the beginning of the ring and at its end.
    /// Guarantees: nothing outside of the mapping is read.
    #[test]
    fn any_header_is_withstood(header: u32, at in prop_oneof![Just(0), Just(RING_BYTES - 8)]) {
        let mut written = Written::new();
        written.at = at;
        written.bytes(0, &at.to_ne_bytes());
        written.record(header, b"");
        let mut ring = written.ring();
        if let Some(item) = ring.next() {
            prop_assert!(item.len() <= RING_BYTES + TAIL_BYTES);
            // The header, where the whole ring is taken for the record.
            prop_assert!(item.iter().filter(|byte| **byte != 0).count() <= HEADER_BYTES);
        }
    }
}
