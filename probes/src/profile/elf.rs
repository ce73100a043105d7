//! What an executable or a library says of its own code.
//!
//! Invariants: no table is mapped, since a file that is cut meanwhile would end this process; of tables that have an
//! order no more is held than what finds a place in them; what a file says of itself is used only where it is within the file, and
//! no claim of it makes one read, or all reads for its headers, longer than is allowed.

mod bounded;
mod index;

use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;

use object::elf::{
    ELFCOMPRESS_ZLIB, FileHeader64, NT_GNU_BUILD_ID, PF_X, PT_LOAD, PT_NOTE, ProgramHeader64,
    SHT_DYNSYM, SHT_NOBITS, SHT_SYMTAB, SectionHeader64,
};
use object::read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _, SectionTable};
use object::read::{ReadCache, ReadRef};
use object::{Endianness, SectionIndex};

use bounded::{Bounded, Room};
pub(super) use index::{FunctionPart, Index};

use super::source::Source;
use super::symbols::{Symbols, Table};

type Header = FileHeader64<Endianness>;

/// The largest pages that are in use have 64 KiB.
const PAGE_BITS_MAX: u32 = 16;

/// A stretch of a file that is mapped as code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) offset: u64,
    pub(super) bytes: u64,
    /// Where the file wants to be mapped: what its own tables speak of.
    pub(super) address: u64,
}

/// A part of a file, and where it wants to be mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) address: u64,
    pub(super) bytes: Arc<[u8]>,
}

/// The same where it was not read.
#[derive(Debug, Clone, Copy)]
struct Part {
    /// Where in the file.
    at: u64,
    bytes: u64,
    address: u64,
}

/// What is known of a file.
#[derive(Debug, Default)]
pub(super) struct Image {
    /// In hex.
    pub(super) build_id: Option<Arc<str>>,
    pub(super) code: Vec<Segment>,
    /// Where `.text` is; tables may speak of distances to it.
    pub(super) text: Option<(u64, u64)>,
    /// Where each function's part of its unwind tables is.
    pub(super) index: Option<Index>,
    /// The tables themselves where there is no such index.
    pub(super) eh_frame: Option<Section>,
    pub(super) debug_frame: Option<Section>,
    pub(super) symbols: Option<Symbols>,
    /// Functions are told by the table that a file keeps for those who link to it, which leaves out
    /// those that are private to it.
    pub(super) stripped: bool,
    /// The name of the file to which the debug information was moved.
    pub(super) debug_link: Option<String>,
    /// A table was left out since it is too long.
    pub(super) cut: bool,
}

/// Reads a file; none where it is no ELF file of 64 bits.
pub(super) fn image(file: File, table_bytes_max: u64) -> Option<Image> {
    let file = Arc::new(file);
    let (cache, room) = (ReadCache::new(&*file), Room::new(table_bytes_max));
    let reader = Reader::new(Bounded::new(&cache, &room), table_bytes_max)?;
    let mut image = reader.image(&Source::File(Arc::clone(&file)))?;
    image.cut |= room.was_refused();
    Some(image)
}

/// Reads what is in memory as a file would be.
pub(super) fn image_of_bytes(bytes: Vec<u8>) -> Option<Image> {
    let bytes: Arc<[u8]> = Arc::from(bytes);
    Reader::new(&*bytes, bytes.len() as u64)?.image(&Source::Bytes(Arc::clone(&bytes)))
}

struct Reader<'data, R: ReadRef<'data>> {
    data: R,
    endian: Endianness,
    segments: &'data [ProgramHeader64<Endianness>],
    sections: SectionTable<'data, Header, R>,
    table_bytes_max: u64,
}

impl<'data, R: ReadRef<'data>> Reader<'data, R> {
    fn new(data: R, table_bytes_max: u64) -> Option<Self> {
        let header = Header::parse(data).ok()?;
        let endian = header.endian().ok()?;
        let segments = header.program_headers(endian, data).ok()?;
        let sections = header.sections(endian, data).ok()?;
        Some(Self { data, endian, segments, sections, table_bytes_max })
    }

    fn image(&self, source: &Source) -> Option<Image> {
        let code = |segment: &&ProgramHeader64<Endianness>| {
            segment.p_type(self.endian) == PT_LOAD && segment.p_flags(self.endian) & PF_X != 0
        };
        let part = |segment: &ProgramHeader64<Endianness>| Segment {
            offset: segment.p_offset(self.endian),
            bytes: segment.p_filesz(self.endian),
            address: segment.p_vaddr(self.endian),
        };
        let code: Vec<Segment> = self.segments.iter().filter(code).map(part).collect();
        let text = self.named(b".text").map(|text| {
            let start = text.sh_addr(self.endian);
            (start, start.saturating_add(text.sh_size(self.endian)))
        });
        let mut cut = false;
        let mut section = |name: &[u8]| self.section(name, &mut cut);
        let index = self.index(source);
        let eh_frame = if index.is_none() { section(b".eh_frame") } else { None };
        let has_none = index.is_none() && eh_frame.is_none();
        let debug_frame = if has_none { section(b".debug_frame") } else { None };
        let (symbols, stripped) = self.symbols(source, &mut cut);
        Some(Image {
            build_id: self.build_id(),
            code,
            text,
            index,
            eh_frame,
            debug_frame,
            symbols,
            stripped,
            debug_link: self.debug_link(),
            cut,
        })
    }

    /// What finds a function in the unwind tables, where both are in the file as they are used.
    fn index(&self, source: &Source) -> Option<Index> {
        let part = |name| {
            let section = self.named(name)?;
            let packed = section.compression(self.endian, self.data).ok()?.is_some();
            let is_there = section.sh_type(self.endian) != SHT_NOBITS && !packed;
            is_there.then(|| Part {
                at: section.sh_offset(self.endian),
                bytes: section.sh_size(self.endian),
                address: section.sh_addr(self.endian),
            })
        };
        Index::read(source, part(b".eh_frame_hdr")?, part(b".eh_frame")?, self.table_bytes_max)
    }

    fn named(&self, name: &[u8]) -> Option<&'data SectionHeader64<Endianness>> {
        self.sections.section_by_name(self.endian, name).map(|(_, section)| section)
    }

    fn section(&self, name: &[u8], cut: &mut bool) -> Option<Section> {
        let section = self.named(name)?;
        if section.sh_type(self.endian) == SHT_NOBITS {
            return None;
        }
        let packed = section.compression(self.endian, self.data).ok()?;
        let size =
            packed.map_or(section.sh_size(self.endian), |(head, ..)| head.ch_size.get(self.endian));
        if size > self.table_bytes_max {
            *cut = true;
            return None;
        }
        let bytes: Arc<[u8]> = match packed {
            None => Arc::from(section.data(self.endian, self.data).ok()?),
            Some((head, at, packed)) if head.ch_type.get(self.endian) == ELFCOMPRESS_ZLIB => {
                Arc::from(unpacked(self.data.read_bytes_at(at, packed).ok()?, size)?)
            }
            Some(_) => return None,
        };
        let address = section.sh_addr(self.endian);
        (!bytes.is_empty()).then_some(Section { address, bytes })
    }

    fn build_id(&self) -> Option<Arc<str>> {
        let notes = self.segments.iter().filter(|one| one.p_type(self.endian) == PT_NOTE);
        for segment in notes {
            let Ok(Some(mut notes)) = segment.notes(self.endian, self.data) else { continue };
            while let Ok(Some(note)) = notes.next() {
                if note.name() == b"GNU" && note.n_type(self.endian) == NT_GNU_BUILD_ID {
                    let hex: String =
                        note.desc().iter().take(64).map(|byte| format!("{byte:02x}")).collect();
                    return Some(Arc::from(hex)).filter(|hex: &Arc<str>| !hex.is_empty());
                }
            }
        }
        None
    }

    fn debug_link(&self) -> Option<String> {
        let section = self.named(b".gnu_debuglink")?;
        let bytes = section.data(self.endian, self.data).ok()?;
        let name = bytes.split(|byte| *byte == 0).next().filter(|name| !name.is_empty())?;
        Some(String::from_utf8_lossy(name).into_owned())
    }

    /// The whole table where there is one, else that for those who link to the file; true where it is the latter.
    fn symbols(&self, source: &Source, cut: &mut bool) -> (Option<Symbols>, bool) {
        for kind in [SHT_SYMTAB, SHT_DYNSYM] {
            let Some(table) = self.table(kind) else { continue };
            let symbols = if table.bytes > self.table_bytes_max {
                *cut = true;
                Symbols::default()
            } else {
                Symbols::read(source.clone(), table)
            };
            if kind == SHT_DYNSYM || !symbols.is_empty() || *cut {
                return (Some(symbols), kind == SHT_DYNSYM);
            }
        }
        (None, false)
    }

    fn table(&self, kind: u32) -> Option<Table> {
        let section = self.sections.iter().find(|section| section.sh_type(self.endian) == kind)?;
        let names = usize::try_from(section.sh_link(self.endian)).ok()?;
        let names_at = self.sections.section(SectionIndex(names)).ok()?.sh_offset(self.endian);
        let (at, bytes) = (section.sh_offset(self.endian), section.sh_size(self.endian));
        Some(Table { at, bytes, names_at, endian: self.endian })
    }
}

/// What was packed, if it is as long as was said.
fn unpacked(packed: &[u8], size: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    // Not one byte more than it may be, whatever is in there.
    flate2::read::ZlibDecoder::new(packed).take(size).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 == size).then_some(bytes)
}

impl Image {
    /// The address, as the file's own tables speak of it, of a place in the file. Files are mapped by
    /// pages, so that a mapping may begin before its code does.
    pub(super) fn address(&self, offset: u64) -> Option<u64> {
        let within = |segment: &&Segment| {
            offset >= segment.offset && offset - segment.offset < segment.bytes
        };
        let begins = |segment: &&Segment| {
            offset < segment.offset && offset >> PAGE_BITS_MAX == segment.offset >> PAGE_BITS_MAX
        };
        let code = || self.code.iter();
        let segment = code().find(within).or_else(|| code().find(begins))?;
        Some(segment.address.wrapping_add(offset.wrapping_sub(segment.offset)))
    }

    /// What is left of it where there is no room for its tables.
    pub(super) fn without_tables(self) -> Self {
        let Self { build_id, code, text, .. } = self;
        Self { build_id, code, text, cut: true, ..Self::default() }
    }

    /// What it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        let sections = [&self.eh_frame, &self.debug_frame];
        let sections: usize = sections.into_iter().flatten().map(|one| one.bytes.len()).sum();
        sections
            + self.index.as_ref().map_or(0, Index::bytes)
            + self.symbols.as_ref().map_or(0, Symbols::bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// Scenario: this test's own program, and its text; then bounds that are too tight for its tables.
    /// Guarantees: its code, build id where the linker makes one, unwind tables and functions are found,
    /// a function of it under its name; with the bounds it is said that something is missing.
    #[test]
    fn reads_itself() {
        let open = || File::open("/proc/self/exe").unwrap();
        let own = image(open(), 1 << 30).unwrap();
        assert!(!own.code.is_empty() && own.index.is_some() && own.eh_frame.is_none());
        assert!(!own.stripped && !own.cut && own.bytes() > 10_000);
        let segment = own.code[0];
        assert_eq!(own.address(segment.offset), Some(segment.address));
        assert_eq!(own.address(segment.offset + segment.bytes), None);
        let cut = image(open(), 16).unwrap();
        assert!(cut.cut && cut.index.is_none() && cut.eh_frame.is_none());
        assert!(cut.bytes() < own.bytes());
        assert!(image(File::open("/proc/version").unwrap(), 1 << 20).is_none());
        assert!(image_of_bytes(b"\x7fELF".to_vec()).is_none());
    }

    /// A program of 1 TiB without content, with a note that claims 10 GiB of it.
    fn boastful() -> File {
        const NOTE: u64 = 10 << 30;
        let mut bytes = vec![0_u8; 64 + 56];
        bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(32, &64_u64.to_le_bytes());
        put(52, &64_u16.to_le_bytes());
        put(54, &56_u16.to_le_bytes());
        put(56, &1_u16.to_le_bytes());
        put(64, &PT_NOTE.to_le_bytes());
        put(64 + 8, &4096_u64.to_le_bytes());
        put(64 + 32, &NOTE.to_le_bytes());
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        file.set_len(1 << 40).unwrap();
        file
    }

    /// Scenario: a sparse file of 1 TiB, of which a note claims 10 GiB.
    /// Guarantees: it is read as what it is, without its note, it is said that something is missing, and no
    /// more is read than may be held.
    #[test]
    fn claims_are_not_believed() {
        let image = image(boastful(), 1 << 20).unwrap();
        assert!(image.cut && image.build_id.is_none() && image.bytes() == 0);
    }

    /// Scenario: a part of a file that was packed, and such a part that is not as long as it says.
    /// Guarantees: the first is there as it was, the others are not, and no more is unpacked than was said.
    #[test]
    fn packed_parts_are_unpacked() {
        let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(&[7; 10_000]).unwrap();
        let packed = packer.finish().unwrap();
        assert_eq!(unpacked(&packed, 10_000), Some(vec![7; 10_000]));
        assert_eq!(unpacked(&packed, 10_001), None);
        assert_eq!(unpacked(&packed, 5_000).map(|bytes| bytes.len()), Some(5_000));
        assert_eq!(unpacked(&packed[..20], 10_000), None);
    }
}
