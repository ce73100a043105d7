//! What an executable or a library has to hook.
//!
//! Invariants: an offset is one into the file, inside a part that is mapped; tables are read whole
//! and bounded, and never mapped, since a file that is cut meanwhile would end this process.

use std::collections::HashMap;
use std::fs::File;

use object::elf::{
    EM_X86_64, FileHeader64, PN_XNUM, ProgramHeader64, SHT_DYNSYM, SHT_SYMTAB, SectionHeader64,
    Sym64,
};
use object::read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _, SectionTable};
use object::read::{ReadCache, ReadRef};
use object::{Endianness, SectionIndex};

use super::families::FAMILIES;
use super::found::{Exits, Found, Function};
use super::hooks::LIBRARY;

type Header = FileHeader64<Endianness>;
type Addresses = HashMap<&'static str, u64>;

/// A symbol table or its names; those of a browser with debug information take some 100 MB.
const TABLE_BYTES_MAX: u64 = 256 << 20;

/// The head of a file whose tables of sections and parts are as long as the head itself says, which is below 4 MiB.
/// Where that number is too small, it stands elsewhere and may be anything: no program has so many.
pub(super) fn head<'data, R: ReadRef<'data>>(data: R) -> Option<&'data Header> {
    let header = Header::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let (sections, parts) = (header.e_shnum.get(endian), header.e_phnum.get(endian));
    let elsewhere = sections == 0 && header.e_shoff.get(endian) != 0 || parts == PN_XNUM;
    (!elsewhere).then_some(header)
}

/// The same of a file for x86-64, of which the code is read; none of any other.
pub(super) fn head_of_x86_64<'data, R: ReadRef<'data>>(
    data: R,
) -> Option<(&'data Header, Endianness)> {
    let header = head(data)?;
    let endian = header.endian().ok()?;
    (header.e_machine.get(endian) == EM_X86_64).then_some((header, endian))
}

/// Looks for a library in a file; none where it has none or is no ELF file of 64 bits.
pub(super) fn functions(file: &File) -> Option<Found> {
    let cache = ReadCache::new(file);
    let header = head(&cache)?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, &cache).ok()?;
    let segments = header.program_headers(endian, &cache).ok()?;
    [SHT_DYNSYM, SHT_SYMTAB].into_iter().find_map(|table| {
        let addresses = addresses(&sections, endian, &cache, table)?;
        let has = |name: &&str| addresses.contains_key(name);
        let family = FAMILIES.iter().find(|family| family.required.iter().all(has))?;
        let place = |&(name, shape): &(&str, u64)| {
            let place = file_offset(segments, endian, *addresses.get(name)?)?;
            Some(Function { place, shape, exits: Exits::Caught, programs: LIBRARY })
        };
        let functions = family.functions.iter().filter_map(place).collect();
        Some(Found { family, functions, goroutines_wait: false })
    })
}

/// A table of symbols.
pub(super) struct Symbols<'data> {
    /// Their names, each closed by a zero.
    pub(super) names: &'data [u8],
    pub(super) all: &'data [Sym64<Endianness>],
}

impl<'data> Symbols<'data> {
    /// The table of this kind; none where there is none, or it is too large. The names are read first, and no more where
    /// they are not worth it.
    pub(super) fn read<R: ReadRef<'data>>(
        sections: &SectionTable<'data, Header, R>,
        endian: Endianness,
        data: R,
        table: u32,
        worth: impl FnOnce(&[u8]) -> bool,
    ) -> Option<Self> {
        let small =
            |section: &&SectionHeader64<Endianness>| section.sh_size(endian) <= TABLE_BYTES_MAX;
        let section =
            sections.iter().find(|section| section.sh_type(endian) == table).filter(small)?;
        let names = sections.section(SectionIndex(section.sh_link(endian).try_into().ok()?));
        let names = Some(names.ok()?).filter(small)?.data(endian, data).ok()?;
        if !worth(names) {
            return None;
        }
        Some(Self { names, all: section.data_as_array(endian, data).ok()? })
    }
}

/// Where the functions of all families are, as far as a symbol table of the file has them.
fn addresses<'data, R: ReadRef<'data>>(
    sections: &SectionTable<'data, Header, R>,
    endian: Endianness,
    data: R,
    table: u32,
) -> Option<Addresses> {
    let symbols = Symbols::read(sections, endian, data, table, |_| true)?;
    let mut found = Addresses::new();
    for symbol in symbols.all {
        let at = usize::try_from(symbol.st_name.get(endian)).ok()?;
        let address = symbol.st_value.get(endian);
        if let Some(name) = symbols.names.get(at..).filter(|_| address != 0).and_then(wanted) {
            found.insert(name, address);
        }
    }
    Some(found)
}

/// The function that is named here, if it is one to hook.
fn wanted(text: &[u8]) -> Option<&'static str> {
    if !matches!(text.first(), Some(b'S' | b'g' | b'P')) {
        return None;
    }
    let functions = FAMILIES.iter().flat_map(|family| family.functions);
    let mut names = functions.map(|(name, _)| *name);
    names.find(|name| {
        text.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
    })
}

/// Where in the file an address lies.
pub(super) fn file_offset(
    segments: &[ProgramHeader64<Endianness>],
    endian: Endianness,
    address: u64,
) -> Option<u64> {
    segments.iter().find_map(|segment| {
        let within = address.checked_sub(segment.p_vaddr(endian))?;
        let loaded = segment.p_type(endian) == object::elf::PT_LOAD;
        let inside = loaded && within < segment.p_filesz(endian);
        segment.p_offset(endian).checked_add(within).filter(|_| inside)
    })
}
