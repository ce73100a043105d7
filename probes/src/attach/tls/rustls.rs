//! What a program written in Rust has to hook if it has rustls: what encrypts, what hands records to a socket, and what takes
//! decrypted bytes.
//!
//! What encrypts is called by a table, whatever the compiler inlines, and so is a function in each program that has symbols.
//! Invariants: a file without the name of one function is not looked into further; a program is hooked whole or not at
//! all; of releases whose messages lie in memory in another way (before 0.23) nothing is hooked.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::File;

use icecore_probe_events::shape;
use memchr::memmem;
use object::Endianness;
use object::elf::{ProgramHeader64, SHT_SYMTAB, Sym64};
use object::read::ReadCache;
use object::read::elf::FileHeader as _;

use super::elf::{Symbols, file_offset, head_of_x86_64};
use super::families::RUSTLS;
use super::found::{Exits, Found, Function};
use super::hooks::{Programs, RUSTLS_OPENED, RUSTLS_SEAL, RUSTLS_SENT, Refusal};
use super::returns::{BYTES_MAX, returns};
use super::stretch::Stretch;

/// What a name holds of the function that takes decrypted bytes, whichever way names are written.
const TAKES: &[u8] = b"take_received_plaintext";
/// What the names of those hold that encrypt, and of the one that hands over records.
const SEALS: &[u8] = b"MessageEncrypter";
const SENDS: &[u8] = b"ChunkVecBuffer";
/// Releases from 0.23 on, which decrypt bytes where they were received.
const SINCE: &[u8] = b"OutboundChunks";
/// Functions that encrypt; a program with two libraries for that has ten.
const SEALS_MAX: usize = 32;
/// Names with one of these words that are read; a large program has some hundred.
const HITS_MAX: usize = 10_000;
/// Of a key that is none yet.
const NO_KEY: &str = "InvalidMessageEncrypter";

/// What a function of rustls is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Takes,
    Seals,
    Sends,
}

/// A program with rustls.
struct Program<'f> {
    file: &'f File,
    segments: Vec<ProgramHeader64<Endianness>>,
    endian: Endianness,
    /// Its functions, with address and length of each.
    functions: Vec<(Part, u64, u64)>,
}

/// Looks for rustls in a file; none where it is not in there, or the file has no symbols.
pub(super) fn functions(file: &File) -> Result<Option<Found>, Refusal> {
    let Some(program) = Program::read(file) else { return Ok(None) };
    let count = |part| program.functions.iter().filter(|(one, ..)| *one == part).count();
    let unclear = |what| Refusal::Sealed { what };
    match (count(Part::Takes), count(Part::Sends), count(Part::Seals)) {
        (0, ..) => return Err(unclear("nothing takes decrypted bytes")),
        (_, 0, _) => return Err(unclear("nothing hands over records")),
        (_, _, 0) => return Err(unclear("nothing encrypts")),
        (_, _, SEALS_MAX..) => return Err(unclear("too much encrypts")),
        _ => {}
    }
    let functions = program.functions.iter().map(|&function| program.function(function));
    let functions = functions.collect::<Result<Vec<_>, _>>().map_err(unclear)?;
    Ok(Some(Found { family: &RUSTLS, functions }))
}

impl<'f> Program<'f> {
    fn read(file: &'f File) -> Option<Self> {
        let cache = ReadCache::new(file);
        let (header, endian) = head_of_x86_64(&cache)?;
        let sections = header.sections(endian, &cache).ok()?;
        let symbols = Symbols::read(&sections, endian, &cache, SHT_SYMTAB)?;
        let has = |text| memmem::find(symbols.names, text).is_some();
        if !has(TAKES) || !has(SINCE) {
            return None;
        }
        let parts = parts(symbols.names);
        let functions = symbols.all.iter().filter_map(|symbol| {
            let part = parts.get(&symbol.st_name.get(endian))?;
            let (address, len) = (symbol.st_value.get(endian), symbol.st_size.get(endian));
            Some((*part, address, len)).filter(|_| is_function(symbol) && address != 0)
        });
        // One more than may be is enough to know that they are too many.
        let mut functions: Vec<_> = functions.take(2 * SEALS_MAX).collect();
        functions.sort_unstable_by_key(|&(_, address, _)| address);
        // Functions that are alike may be one.
        functions.dedup_by_key(|&mut (_, address, _)| address);
        let segments = header.program_headers(endian, &cache).ok()?.to_vec();
        Some(Self { file, segments, endian, functions })
    }

    fn function(&self, (part, address, len): (Part, u64, u64)) -> Result<Function, &'static str> {
        let place = file_offset(&self.segments, self.endian, address);
        let place = place.ok_or("a function lies outside of the code")?;
        let (shape, programs) = part.hooked();
        if programs.leave.is_none() {
            return Ok(Function { place, shape, exits: Exits::Caught, programs });
        }
        let len = Some(len).filter(|len| (1..=BYTES_MAX).contains(len));
        let len = len.ok_or("a function has no end")?;
        let code = Stretch { file: self.file, start: place, len }.read(0, len);
        let exits = returns(&code.ok_or("a function lies outside of the file")?)?;
        let exits = Exits::At(exits.into_iter().map(|at| place + at).collect());
        Ok(Function { place, shape, exits, programs })
    }
}

impl Part {
    /// How it is hooked.
    fn hooked(self) -> (u64, Programs) {
        match self {
            Self::Takes => (shape::READ, RUSTLS_OPENED),
            Self::Seals => (shape::WRITE, RUSTLS_SEAL),
            Self::Sends => (shape::WRITE, RUSTLS_SENT),
        }
    }
}

fn is_function(symbol: &Sym64<Endianness>) -> bool {
    symbol.st_type() == object::elf::STT_FUNC
}

/// What is to be hooked by the names of a table of symbols, by where those stand.
fn parts(names: &[u8]) -> HashMap<u32, Part> {
    let hits = [TAKES, SEALS, SENDS].map(|word| memmem::find_iter(names, word).take(HITS_MAX));
    let named = hits.into_iter().flatten().filter_map(|at| {
        let start = memchr::memrchr(0, names.get(..at)?).map_or(0, |end| end + 1);
        let end = at + memchr::memchr(0, names.get(at..)?)?;
        Some((u32::try_from(start).ok()?, part(names.get(start..end)?)?))
    });
    named.collect()
}

/// What the function of this name is for.
fn part(name: &[u8]) -> Option<Part> {
    if !name.starts_with(b"_ZN") && !name.starts_with(b"_R") {
        return None;
    }
    let name = format!("{:#}", rustc_demangle::demangle(std::str::from_utf8(name).ok()?));
    // The newer way to write names has the type in brackets.
    match name.replace(['<', '>'], "").as_str() {
        "rustls::common_state::CommonState::take_received_plaintext" => Some(Part::Takes),
        "rustls::vecbuf::ChunkVecBuffer::write_to" => Some(Part::Sends),
        name => {
            let encrypts = name.ends_with(" as rustls::crypto::cipher::MessageEncrypter::encrypt");
            (encrypts && !name.contains(NO_KEY)).then_some(Part::Seals)
        }
    }
}
