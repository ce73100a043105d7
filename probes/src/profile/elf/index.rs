//! The index of a file's unwind tables (`.eh_frame_hdr`, as Linux Standard Base 5.0 describes it), and what those tables say of one function.
//!
//! Invariants: of all this one place in 64 is held, and no more: the tables of some libraries are larger than all else that an agent
//! holds, and few of their functions ever run; what is asked for is read then, and no longer than a function's part may be; what
//! does not fit together is none.

use std::sync::Arc;

use super::super::source::Source;
use super::{Part, Section};

/// Version 1; the distance to the tables from here, their count, and the index itself as pairs of 32 bits that are distances from the
/// section's beginning: what all linkers write.
const USUAL: [u8; 4] = [1, 0x1b, 0x03, 0x3b];
const HEAD_BYTES: usize = 12;
const ENTRY_BYTES: usize = 8;
/// Entries that are read at a time when one is looked for.
const STRETCH: usize = 64;
/// And when the first of each stretch is taken.
const READ_STRETCHES: usize = 128;
/// What is read of a function's part or of what it has in common with others; most are shorter.
const GUESS_BYTES: usize = 256;
/// A longer part is not believed.
const RECORD_BYTES_MAX: usize = 64 << 10;

/// Where each function's part of the tables is.
#[derive(Debug)]
pub(in super::super) struct Index {
    source: Source,
    index: Part,
    frames: Part,
    entries: u64,
    /// Where the first function of each stretch begins.
    firsts: Box<[i32]>,
}

/// What the tables say of one function.
#[derive(Debug)]
pub(in super::super) struct FunctionPart {
    /// Where it begins, and where the next one does.
    pub(in super::super) start: u64,
    pub(in super::super) next: u64,
    /// Its part and what it has in common with others, as tables of their own.
    pub(in super::super) tables: Section,
    /// Where in those its own part is.
    pub(in super::super) at: usize,
}

impl Index {
    /// None where it is written in another way, or longer than a table may be.
    pub(super) fn read(
        source: &Source,
        index: Part,
        frames: Part,
        table_bytes_max: u64,
    ) -> Option<Self> {
        let head: [u8; HEAD_BYTES] = source.exact(index.at)?;
        let begins = index.at + HEAD_BYTES as u64;
        let entries = u64::from(word(&head, 8)?);
        let bytes = entries * ENTRY_BYTES as u64;
        let fits = bytes <= index.bytes.checked_sub(HEAD_BYTES as u64)? && bytes <= table_bytes_max;
        if !head.starts_with(&USUAL) || !fits || entries == 0 {
            return None;
        }
        let mut firsts = Vec::with_capacity(usize::try_from(entries).ok()?.div_ceil(STRETCH));
        let mut buffer = vec![0; READ_STRETCHES * STRETCH * ENTRY_BYTES];
        let mut at = 0;
        while at < bytes {
            let left = usize::try_from(bytes - at).ok()?.min(buffer.len());
            let read = source.read(begins + at, &mut buffer[..left]);
            if read.len() < left {
                return None;
            }
            let stretches = read.chunks(STRETCH * ENTRY_BYTES);
            firsts.extend(stretches.filter_map(|one| word(one, 0)).map(u32::cast_signed));
            at += left as u64;
        }
        let firsts = firsts.into_boxed_slice();
        firsts.is_sorted().then(|| Self { source: source.clone(), index, frames, entries, firsts })
    }

    /// What it takes in memory.
    pub(in super::super) fn bytes(&self) -> usize {
        self.firsts.len() * size_of::<i32>()
    }

    /// The function that begins at an address, or the last one before it.
    pub(in super::super) fn find(&self, address: u64) -> Option<FunctionPart> {
        let wanted = i32::try_from(address.wrapping_sub(self.index.address).cast_signed()).ok()?;
        let stretch = self.firsts.partition_point(|first| *first <= wanted).checked_sub(1)?;
        let begins = (stretch * STRETCH) as u64;
        // With the first one of the next stretch, where there is one.
        let mut buffer = [0; (STRETCH + 1) * ENTRY_BYTES];
        let count = usize::try_from(self.entries - begins).ok()?.min(STRETCH + 1);
        let at = self.index.at + HEAD_BYTES as u64 + begins * ENTRY_BYTES as u64;
        let read = self.source.read(at, &mut buffer[..count * ENTRY_BYTES]);
        let mut functions = read.chunks_exact(ENTRY_BYTES);
        let is_later = |entry: &&[u8]| word(entry, 0).is_none_or(|at| at.cast_signed() > wanted);
        let next = functions.position(|entry| is_later(&entry));
        let next = next.unwrap_or(read.len() / ENTRY_BYTES);
        let entry = read.chunks_exact(ENTRY_BYTES).nth(next.checked_sub(1)?)?;
        let next = read.chunks_exact(ENTRY_BYTES).nth(next).and_then(|entry| word(entry, 0));
        let (tables, at) = self.tables(self.address(word(entry, 4)?))?;
        Some(FunctionPart {
            start: self.address(word(entry, 0)?),
            next: next.map_or(u64::MAX, |next| self.address(next)),
            tables,
            at,
        })
    }

    fn address(&self, distance: u32) -> u64 {
        self.index.address.wrapping_add_signed(distance.cast_signed().into())
    }

    /// A function's part of the tables at an address, behind what it has in common with others.
    fn tables(&self, address: u64) -> Option<(Section, usize)> {
        let at = address.checked_sub(self.frames.address)?;
        let mut own = self.record(at)?;
        // Its second word is the distance from there back to what is common; as tables of their own that comes right before.
        let common = self.record((at + 4).checked_sub(word(&own, 4)?.into())?)?;
        let distance = u32::try_from(common.len()).ok()? + 4;
        own.get_mut(4..8)?.copy_from_slice(&distance.to_le_bytes());
        let (before, mut bytes) = (common.len(), common);
        bytes.append(&mut own);
        let address = address.wrapping_sub(before as u64);
        Some((Section { address, bytes: Arc::from(bytes) }, before))
    }

    /// A record of the tables: its length, and as many bytes.
    fn record(&self, at: u64) -> Option<Vec<u8>> {
        let left = usize::try_from(self.frames.bytes.checked_sub(at)?).ok()?;
        let from = self.frames.at.checked_add(at)?;
        let mut bytes = vec![0; GUESS_BYTES];
        let read = self.source.read(from, &mut bytes).len();
        let length = usize::try_from(word(&bytes, 0)?).ok()?.checked_add(4)?;
        // The end of the tables, or a record that says its length by 64 bits.
        if length < ENTRY_BYTES || length > left.min(RECORD_BYTES_MAX) {
            return None;
        }
        bytes.resize(length, 0);
        if read < length {
            let read = read.min(GUESS_BYTES);
            let rest = self.source.read(from + read as u64, &mut bytes[read..]);
            if rest.len() < length - read {
                return None;
            }
        }
        Some(bytes)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use gimli::{
        BaseAddresses, EhFrame, EhFrameHdr, EhFrameOffset, LittleEndian, UnwindSection as _,
    };
    use object::{Object as _, ObjectSection as _};

    use super::*;

    /// The tables of this test's own program and no more.
    fn own() -> (Vec<u8>, Part, Part) {
        let bytes = fs::read("/proc/self/exe").unwrap();
        let file = object::File::parse(&*bytes).unwrap();
        let mut tables = Vec::new();
        let mut part = |name| {
            let section = file.section_by_name(name).unwrap();
            let (at, data) = (tables.len() as u64, section.data().unwrap());
            tables.extend_from_slice(data);
            Part { at, bytes: data.len() as u64, address: section.address() }
        };
        let (index, frames) = (part(".eh_frame_hdr"), part(".eh_frame"));
        (tables, index, frames)
    }

    fn size(number: u64) -> usize {
        usize::try_from(number).unwrap()
    }

    fn range(part: &FunctionPart) -> Option<(u64, u64)> {
        let bases = BaseAddresses::default().set_eh_frame(part.tables.address);
        let tables = EhFrame::new(&part.tables.bytes, LittleEndian);
        let own = tables.fde_from_offset(&bases, EhFrameOffset(part.at), EhFrame::cie_from_offset);
        let own = own.ok()?;
        Some((own.initial_address(), own.len()))
    }

    /// Scenario: this test's own program: addresses all over its code, before and behind it.
    /// Guarantees: what is read of a function is what a reader of the whole tables finds; nothing is where that finds
    /// nothing; and little is held.
    #[test]
    fn finds_what_the_whole_tables_say() {
        let (bytes, index, frames) = own();
        let source = Source::Bytes(Arc::from(&*bytes));
        let ours = Index::read(&source, index, frames, 1 << 30).unwrap();
        assert!(ours.bytes() as u64 <= index.bytes / 100);
        let cut = |part: Part| &bytes[size(part.at)..size(part.at + part.bytes)];
        let bases =
            BaseAddresses::default().set_eh_frame_hdr(index.address).set_eh_frame(frames.address);
        let whole = EhFrameHdr::new(cut(index), LittleEndian).parse(&bases, 8).unwrap();
        let (table, frames) = (whole.table().unwrap(), EhFrame::new(cut(frames), LittleEndian));
        let first = ours.address(ours.firsts[0].cast_unsigned());
        let last = ours.address(ours.firsts.last().unwrap().cast_unsigned());
        let mut found = 0;
        for address in (first.saturating_sub(9)..last + 4096).step_by(613) {
            let theirs = table.lookup(address, &bases).ok().filter(|_| address >= first);
            let theirs = theirs.map(|at| table.pointer_to_offset(at).unwrap());
            let theirs = theirs.map(|at| {
                let own = frames.fde_from_offset(&bases, at, EhFrame::cie_from_offset).unwrap();
                (own.initial_address(), own.len())
            });
            let part = ours.find(address);
            assert_eq!(part.as_ref().and_then(range), theirs, "{address:x}");
            found +=
                usize::from(part.is_some_and(|one| one.start <= address && address < one.next));
        }
        assert!(found > 1_000, "{found}");
        assert!(Index::read(&source, index, index, 16).is_none(), "longer than allowed");
    }

    /// Scenario: the same program with bytes of its tables turned over, and cut anywhere.
    /// Guarantees: nothing is read beyond a record's bound, and nothing panics; a function that is found still is one of the
    /// addresses before the one that was asked for.
    #[test]
    fn what_does_not_fit_together_is_none() {
        let (bytes, index, frames) = own();
        for round in 0..100_u64 {
            let spread = round.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut bytes = bytes.clone();
            for (part, step) in [(index, 1_009), (frames, 31)] {
                let mut at = part.at + spread % step;
                while at < part.at + part.bytes.min(40_000) {
                    bytes[size(at)] ^= 1 << (spread % 8);
                    at += step;
                }
            }
            if round % 4 == 0 {
                bytes.truncate(size(index.at + spread % (index.bytes * 2)));
            }
            let source = Source::Bytes(Arc::from(bytes));
            let Some(ours) = Index::read(&source, index, frames, 1 << 30) else { continue };
            for step in 0..200_u64 {
                let address =
                    ours.address(u32::try_from(spread >> 40).unwrap()).wrapping_add(step * 409);
                let part = ours.find(address);
                let Some(part) = part else { continue };
                assert!(part.tables.bytes.len() <= 2 * RECORD_BYTES_MAX);
                std::hint::black_box(range(&part));
            }
        }
    }
}
