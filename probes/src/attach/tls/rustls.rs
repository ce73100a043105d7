//! What a program written in Rust has to hook if it has rustls: what encrypts, what hands records to a socket, and what takes
//! decrypted bytes.
//!
//! What encrypts is called by a table, whatever the compiler inlines, and so is a function in each program that has symbols.
//! Invariants: a file without the name of one function is not looked into further; a program is hooked whole or not at
//! all; of releases whose messages lie in memory in another way (before 0.23) nothing is hooked. However a file is made, few of
//! its names are taken apart, each no further than it is wanted, and few probes are put on it.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
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
use super::returns;
use crate::profile;

/// What a name holds of the function that takes decrypted bytes, whichever way names are written.
const TAKES: &[u8] = b"take_received_plaintext";
/// What the names of those hold that encrypt, and of the one that hands over records.
const SEALS: &[u8] = b"MessageEncrypter";
const SENDS: &[u8] = b"ChunkVecBuffer";
/// Releases from 0.23 on, which decrypt bytes where they were received.
const SINCE: &[u8] = b"OutboundChunks";
/// Functions that encrypt; a program with two libraries for that has ten.
const SEALS_MAX: usize = 32;
/// Functions that do one of the other things; a program with two releases of rustls has two.
const OTHERS_MAX: usize = 4;
/// Places of a program that are hooked where functions return.
const EXITS_MAX: usize = 256;
/// Places with one of these words that are looked at; a large program has some hundred.
const HITS_MAX: usize = 1_000;
/// As far before and behind such a word a name reaches; those that are wanted are below 200 bytes.
const NAME_BYTES_MAX: usize = 1 << 10;
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
    /// Its functions, with address and length of each. More than may be, where there are too many.
    functions: Vec<(Part, u64, u64)>,
}

/// Looks for rustls in a file; none where it is not in there, or the file has no symbols.
pub(super) fn functions(file: &File) -> Result<Option<Found>, Refusal> {
    let Some(program) = Program::read(file) else { return Ok(None) };
    let unclear = |what| Refusal::Sealed { what };
    whole(program.functions.iter().map(|(part, ..)| *part)).map_err(unclear)?;
    let functions = program.functions.iter().map(|&function| program.function(function));
    let functions = functions.collect::<Result<Vec<_>, _>>().map_err(unclear)?;
    few_exits(&functions).map_err(unclear)?;
    Ok(Some(Found { family: &RUSTLS, functions, goroutines_wait: false }))
}

/// Whether a program has all parts, and none of them too often.
fn whole(parts: impl Iterator<Item = Part> + Clone) -> Result<(), &'static str> {
    let count = |part| parts.clone().filter(|one| *one == part).count();
    match (count(Part::Takes), count(Part::Sends), count(Part::Seals)) {
        (0, ..) => Err("nothing takes decrypted bytes"),
        (_, 0, _) => Err("nothing hands over records"),
        (_, _, 0) => Err("nothing encrypts"),
        (takes, ..) if takes > OTHERS_MAX => Err("too much takes decrypted bytes"),
        (_, sends, _) if sends > OTHERS_MAX => Err("too much hands over records"),
        (.., seals) if seals > SEALS_MAX => Err("too much encrypts"),
        _ => Ok(()),
    }
}

/// Whether few enough places are to be hooked where functions return.
fn few_exits(functions: &[Function]) -> Result<(), &'static str> {
    let exits = functions.iter().map(|function| match &function.exits {
        Exits::Caught => 0,
        Exits::At(places) => places.len(),
    });
    if exits.sum::<usize>() > EXITS_MAX { Err("it returns in too many places") } else { Ok(()) }
}

impl<'f> Program<'f> {
    fn read(file: &'f File) -> Option<Self> {
        let cache = ReadCache::new(file);
        let (header, endian) = head_of_x86_64(&cache)?;
        let sections = header.sections(endian, &cache).ok()?;
        let has = |names: &[u8], text| memmem::find(names, text).is_some();
        let worth = |names: &[u8]| has(names, TAKES) && has(names, SINCE);
        let symbols = Symbols::read(&sections, endian, &cache, SHT_SYMTAB, worth)?;
        let parts = parts(symbols.names);
        let functions = symbols.all.iter().filter_map(|symbol| {
            let part = parts.get(&symbol.st_name.get(endian))?;
            let (address, len) = (symbol.st_value.get(endian), symbol.st_size.get(endian));
            Some((*part, address, len)).filter(|_| is_function(symbol) && address != 0)
        });
        let functions = distinct(functions);
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
        let exits = returns::exits(place, &returns::code(self.file, place, len)?)?;
        Ok(Function { place, shape, exits: Exits::At(exits), programs })
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

/// Each place once: functions that are alike may be one. Of too many, no more than it takes to know that they are.
fn distinct(functions: impl Iterator<Item = (Part, u64, u64)>) -> Vec<(Part, u64, u64)> {
    let mut distinct = BTreeMap::new();
    for function in functions {
        distinct.entry(function.1).or_insert(function);
        if distinct.len() > SEALS_MAX + 2 * OTHERS_MAX {
            break;
        }
    }
    distinct.into_values().collect()
}

/// What is to be hooked by the names of a table of symbols, by where those stand.
fn parts(names: &[u8]) -> HashMap<u32, Part> {
    let hits = [TAKES, SEALS, SENDS].map(|word| memmem::find_iter(names, word).take(HITS_MAX));
    // Each once, however many words there are in it.
    let around: BTreeMap<_, _> =
        hits.into_iter().flatten().filter_map(|at| around(names, at)).collect();
    let named = around.into_iter().filter_map(|(start, name)| Some((start, part(name)?)));
    named.collect()
}

/// The name that is around a place, and where it begins; none where it is longer than one may be.
fn around(names: &[u8], at: usize) -> Option<(u32, &[u8])> {
    let first = at.saturating_sub(NAME_BYTES_MAX);
    let start = match memchr::memrchr(0, names.get(first..at)?) {
        Some(end) => first + end + 1,
        None if first == 0 => 0,
        None => return None,
    };
    let last = names.len().min(at + NAME_BYTES_MAX);
    let end = at + memchr::memchr(0, names.get(at..last)?)?;
    Some((u32::try_from(start).ok()?, names.get(start..end)?))
}

/// What the function of this name is for.
fn part(name: &[u8]) -> Option<Part> {
    if !name.starts_with(b"_ZN") && !name.starts_with(b"_R") {
        return None;
    }
    let name = profile::shown_in_rust(std::str::from_utf8(name).ok()?)?;
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
