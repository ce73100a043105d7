//! Looks through parts of a file for a name, for the code that has it, and for the functions around that code.
//!
//! Invariant: a part is read window by window, so that no claim of a file takes more memory than one, and what is found is
//! bounded as well.

use std::ops::Range;

use memchr::{memmem, memrchr};

use super::Stretch;

/// How the name of BoringSSL's source file ends in which sessions are read and written, wherever that lay.
const NAME: &[u8] = b"/ssl/ssl_lib.cc\0";
/// The longest name.
const NAME_BYTES_MAX: u64 = 256;
const WINDOW_BYTES: u64 = 1 << 20;
/// `lea rcx, [rip + …]`: the fourth argument of a call is an address.
const ADDRESS: &[u8] = b"\x48\x8d\x0d";
const ADDRESS_BYTES: u64 = 7;
/// Places that have the name: ten times as many as there are.
const REFERENCES_MAX: usize = 1_024;
/// Longer than any function that is looked for.
const FUNCTION_BYTES_MAX: u64 = 8 << 10;
/// The head of the table of frames, and how it begins: its version, and how its numbers are written.
const FRAMES_HEAD: u64 = 12;
const FRAMES: [u8; 4] = [1, 0x1b, 0x03, 0x3b];
/// Functions of a program.
const FUNCTIONS_MAX: u64 = 2 << 20;

/// A part of a file, and the address at which it is mapped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'f> {
    pub(super) stretch: Stretch<'f>,
    pub(super) address: u64,
}

impl Part<'_> {
    /// What stands at these addresses.
    pub(super) fn read(&self, range: &Range<u64>) -> Option<Vec<u8>> {
        let at = range.start.checked_sub(self.address)?;
        self.stretch.read(at, range.end.checked_sub(range.start)?)
    }

    /// Where in the file an address is.
    pub(super) fn place(&self, address: u64) -> Option<u64> {
        let within = address.checked_sub(self.address).filter(|at| *at < self.stretch.len)?;
        self.stretch.start.checked_add(within)
    }

    /// Goes through the windows, each of which has the end of the one before it: the first thing that is found.
    fn windows<T>(&self, overlap: u64, mut look: impl FnMut(u64, &[u8]) -> Option<T>) -> Option<T> {
        let mut at = 0;
        while at < self.stretch.len {
            let from = at - overlap.min(at);
            let end = self.stretch.len.min(at + WINDOW_BYTES);
            let bytes = self.stretch.read(from, end - from)?;
            if let Some(found) = look(self.address.wrapping_add(from), &bytes) {
                return Some(found);
            }
            at = end;
        }
        None
    }

    /// The address of the name.
    pub(super) fn name(&self) -> Option<u64> {
        let finder = memmem::Finder::new(NAME);
        self.windows(NAME_BYTES_MAX, |address, bytes| {
            let before = bytes.get(..finder.find(bytes)?)?;
            let start = memrchr(0, before)? as u64 + 1;
            let short = before.len() as u64 - start < NAME_BYTES_MAX;
            short.then(|| address.wrapping_add(start))
        })
    }

    /// The addresses of instructions that hand over this address; none where they are too many.
    pub(super) fn references(&self, wanted: u64) -> Option<Vec<u64>> {
        let finder = memmem::Finder::new(ADDRESS);
        let mut found = Vec::new();
        let too_many = self.windows(ADDRESS_BYTES - 1, |address, bytes| {
            for at in finder.find_iter(bytes) {
                let Some(distance) = bytes.get(at + ADDRESS.len()..).and_then(<[u8]>::first_chunk)
                else {
                    continue;
                };
                let here = address.wrapping_add(at as u64);
                let distance = i64::from(i32::from_le_bytes(*distance));
                let target = here.wrapping_add(ADDRESS_BYTES).wrapping_add_signed(distance);
                if target == wanted {
                    found.push(here);
                }
            }
            (found.len() > REFERENCES_MAX).then_some(())
        });
        too_many.is_none().then_some(found)
    }

    /// The functions around these places, each once, as far as they are short enough.
    pub(super) fn around(&self, places: &[u64], starts: &[u64]) -> Option<Vec<Range<u64>>> {
        let end = self.address.checked_add(self.stretch.len)?;
        let mut ranges = Vec::new();
        for place in places {
            let next = starts.partition_point(|start| start <= place);
            let Some(&start) = next.checked_sub(1).and_then(|at| starts.get(at)) else { continue };
            let range = start..starts.get(next).copied().unwrap_or(end).min(end);
            if range.end - range.start <= FUNCTION_BYTES_MAX && !ranges.contains(&range) {
                ranges.push(range);
            }
        }
        Some(ranges)
    }

    /// Where functions begin, in order: this part is the table by which frames are found.
    pub(super) fn starts(&self) -> Option<Vec<u64>> {
        let head = self.stretch.read(0, FRAMES_HEAD)?;
        let count = u64::from(u32::from_le_bytes(*head.get(8..)?.first_chunk()?));
        if !head.starts_with(&FRAMES) || count > FUNCTIONS_MAX {
            return None;
        }
        let table = self.stretch.read(FRAMES_HEAD, count * 8)?;
        let start = |entry: &[u8]| {
            let distance = i32::from_le_bytes(*entry.first_chunk()?);
            Some(self.address.wrapping_add_signed(distance.into()))
        };
        let mut starts: Vec<u64> = table.chunks_exact(8).filter_map(start).collect();
        starts.sort_unstable();
        starts.dedup();
        Some(starts)
    }
}
