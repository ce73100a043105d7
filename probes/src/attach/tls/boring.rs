//! What a file has to hook in which BoringSSL is compiled in without a symbol, as in gRPC's library for Python and in Envoy.
//!
//! What goes wrong in BoringSSL is handed to a queue of errors, with a reason and the name of the source file: so a function
//! is known by the reasons that it has, whatever the compiler made of it. Invariants: a function counts only if exactly
//! one has all that is known of it, and where a session keeps what the kernel programs ask for is read from the same code;
//! a file is read in parts, each bounded, and nothing in it is trusted.

mod code;
mod scan;
#[cfg(test)]
mod tests;

use std::fs::File;

use icecore_probe_events::shape;
use object::Endianness;
use object::elf::{
    ProgramHeader64, SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE, SHT_PROGBITS, SectionHeader64,
};
use object::read::ReadCache;
use object::read::elf::{FileHeader as _, SectionHeader as _};

use super::elf::{file_offset, head_of_x86_64};
use super::families::BORING;
use super::found::{Exits, Found, Function};
use super::hooks::{LIBRARY, Refusal};
use super::stretch::Stretch;
use code::Said;
use scan::Part;

const CODE: &[u8] = b".text";
const FRAMES: &[u8] = b".eh_frame_hdr";
/// BoringSSL alone has more code than that.
const CODE_BYTES_MIN: u64 = 512 << 10;
/// Of a browser it is less than that.
const CODE_BYTES_MAX: u64 = 256 << 20;
/// Constants of a file that are searched for the name.
const CONSTANTS_BYTES_MAX: u64 = 128 << 20;

/// Reasons of errors, which keep their numbers from release to release.
mod reason {
    /// `ERR_R_SHOULD_NOT_HAVE_BEEN_CALLED`
    pub(super) const NOT_HERE: u32 = 66;
    /// `SSL_R_BAD_LENGTH`
    pub(super) const BAD_LENGTH: u32 = 111;
    /// `SSL_R_SSL_HANDSHAKE_FAILURE`
    pub(super) const HANDSHAKE: u32 = 215;
    /// `SSL_R_UNINITIALIZED`
    pub(super) const UNINITIALIZED: u32 = 226;
}

/// Those of `SSL_write`, with a length to complain of as of 2022, and before.
const WRITES: [&[u32]; 2] = [
    &[reason::NOT_HERE, reason::BAD_LENGTH, reason::HANDSHAKE, reason::UNINITIALIZED],
    &[reason::NOT_HERE, reason::HANDSHAKE, reason::UNINITIALIZED],
];
/// That of `SSL_read`; and those of the function that does its work, which has others as well.
const READS: &[u32] = &[reason::NOT_HERE];
const WORKS: [u32; 2] = [reason::HANDSHAKE, reason::UNINITIALIZED];
/// The client's random number, which lies right before the buffer for what was received.
const RANDOM_BYTES: u32 = 32;

/// A file with BoringSSL.
struct Library<'f> {
    code: Part<'f>,
    /// Where functions begin, in order.
    starts: Vec<u64>,
    /// The address of the name of the source file.
    name: u64,
    segments: Vec<ProgramHeader64<Endianness>>,
    endian: Endianness,
}

/// Looks for BoringSSL in a file; none where it is not in there.
pub(super) fn functions(file: &File) -> Result<Option<Found>, Refusal> {
    let Some(library) = Library::read(file) else { return Ok(None) };
    let unclear = |what| Refusal::Hidden { what };
    let told = library.functions().ok_or_else(|| unclear("too much code has its name"))?;
    let [read, write, shape] = choose(&told).map_err(unclear)?;
    let place = |address| {
        let place = file_offset(&library.segments, library.endian, address);
        // Sections say where it was read, segments where it is mapped from: it must be the same.
        let place = place.filter(|place| library.code.place(address) == Some(*place));
        place.ok_or_else(|| unclear("a function lies outside of the code"))
    };
    let mut functions = Vec::new();
    for ((_, kind), address) in BORING.functions.iter().zip([read, write]) {
        let place = place(address)?;
        let (shape, exits) = (kind | shape, Exits::Caught);
        functions.push(Function { place, shape, exits, programs: LIBRARY });
    }
    Ok(Some(Found { family: &BORING, functions, goroutines_wait: false }))
}

/// The addresses of the functions that read and write, and where a session keeps its number, as a shape has it.
fn choose(told: &[(u64, Said)]) -> Result<[u64; 3], &'static str> {
    let with = |wanted: &'static [u32]| move |(_, said): &&(u64, Said)| said.reasons == wanted;
    let write = WRITES.into_iter().find_map(|wanted| one(told.iter().filter(with(wanted))));
    let (write, state) = write
        .and_then(|(address, said)| Some((*address, said.state?)))
        .ok_or("no function is the one that writes")?;
    let works = |address: &u64| {
        let has = |said: &Said| WORKS.iter().all(|wanted| said.reasons.contains(wanted));
        let mut others = told.iter().filter(|(address, _)| *address != write);
        others.any(|(one, said)| one == address && has(said))
    };
    let reads = told.iter().filter(with(READS)).filter(|(_, said)| said.calls.iter().any(works));
    // There is one that only looks at the bytes, and hands over no buffer to be emptied.
    let reads = reads.filter(|(_, said)| !said.handed.is_empty());
    let (read, said) = one(reads).ok_or("no function is the one that reads")?;
    let random = match *said.handed {
        [buffer] => buffer.checked_sub(RANDOM_BYTES),
        _ => None,
    };
    let random = random.and_then(|random| shape::with_random(state, random));
    Ok([*read, write, random.ok_or("a session has no room for its number")?])
}

/// What comes, if it is alone.
fn one<T>(mut several: impl Iterator<Item = T>) -> Option<T> {
    several.next().filter(|_| several.next().is_none())
}

impl<'f> Library<'f> {
    fn read(file: &'f File) -> Option<Self> {
        let cache = ReadCache::new(file);
        let (header, endian) = head_of_x86_64(&cache)?;
        let sections = header.sections(endian, &cache).ok()?;
        let part = |section: &SectionHeader64<Endianness>| {
            let (start, len) = section.file_range(endian)?;
            Some(Part { stretch: Stretch { file, start, len }, address: section.sh_addr(endian) })
        };
        let named = |name| part(sections.section_by_name(endian, name)?.1);
        let bounds = CODE_BYTES_MIN..=CODE_BYTES_MAX;
        let code = named(CODE).filter(|code| bounds.contains(&code.stretch.len))?;
        let constants = sections.iter().filter(|section| is_constant(section, endian));
        let mut left = CONSTANTS_BYTES_MAX;
        let mut within = constants.filter_map(part).take_while(|part| {
            let fits = left.checked_sub(part.stretch.len);
            left = fits.unwrap_or_default();
            fits.is_some()
        });
        let name = within.find_map(|part| part.name())?;
        let starts = named(FRAMES)?.starts()?;
        let segments = header.program_headers(endian, &cache).ok()?.to_vec();
        Some(Self { code, starts, name, segments, endian })
    }

    /// What the functions say of themselves that have the name; none where they are too many.
    fn functions(&self) -> Option<Vec<(u64, Said)>> {
        let ranges = self.code.around(&self.code.references(self.name)?, &self.starts)?;
        let told = ranges.into_iter().filter_map(|range| {
            let bytes = self.code.read(&range)?;
            Some((range.start, code::said(&bytes, range.start, self.name)?))
        });
        Some(told.collect())
    }
}

/// What a program reads and neither writes nor executes.
fn is_constant(section: &SectionHeader64<Endianness>, endian: Endianness) -> bool {
    let flags = section.sh_flags(endian);
    let other = u64::from(SHF_WRITE | SHF_EXECINSTR);
    section.sh_type(endian) == SHT_PROGBITS
        && flags & u64::from(SHF_ALLOC) != 0
        && flags & other == 0
}
