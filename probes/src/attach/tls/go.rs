//! What a program written in Go has to hook: it brings its own TLS, and seldom symbols, but always the
//! table by which its runtime names functions in stack traces.
//!
//! Invariants: a function is hooked only where its code begins as Go has its functions begin, and where
//! every one of its instructions was understood; tables are read in parts, each bounded, and nothing in
//! them is trusted.

mod code;
mod table;
#[cfg(test)]
mod tests;

use std::fs::File;

use icecore_probe_events::shape;
use object::Endianness;
use object::elf::ProgramHeader64;
use object::read::ReadCache;
use object::read::elf::{FileHeader as _, SectionHeader as _};

use super::elf::{file_offset, head_of_x86_64};
use super::families;
use super::found::{Exits, Found, Function};
use super::hooks::{GO, Refusal};
use super::returns;
use super::stretch::Stretch;
use table::Range;

/// Where functions are named, and that for a program that may lie anywhere in memory before Go 1.26.
const TABLES: [&[u8]; 2] = [b".gopclntab", b".data.rel.ro.gopclntab"];
/// Where a linker of C puts the latter among other things, and what tells that it is a Go program then.
const MIXED: &[u8] = b".data.rel.ro";
const BUILD: &[u8] = b".go.buildinfo";
/// What the runtime knows of the program, from Go 1.26 on in a section of its own.
const MODULE: &[u8] = b".go.module";
/// Where in there the address stands at which code begins.
const MODULE_TEXT: u64 = 176;
const CODE: &[u8] = b".text";

/// A program written in Go.
struct Program<'f> {
    file: &'f File,
    endian: Endianness,
    segments: Vec<ProgramHeader64<Endianness>>,
    table: Stretch<'f>,
    /// Where code begins, if the table does not say it.
    text: u64,
}

/// Looks for Go's TLS in a file; none where it is not in there.
pub(super) fn functions(file: &File) -> Result<Option<Found>, Refusal> {
    let Some(program) = Program::read(file) else { return Ok(None) };
    let names: Vec<&str> = families::GO.functions.iter().map(|(name, _)| *name).collect();
    let Some(named) = table::find(&program.table, &names)? else { return Ok(None) };
    let text = if named.text == 0 { program.text } else { named.text };
    let has = |name: &&str| {
        let mut names = families::GO.functions.iter().zip(&named.functions);
        names.any(|((one, _), range)| one == name && range.is_some())
    };
    if !families::GO.required.iter().all(has) {
        return Ok(None);
    }
    let goroutines_wait = !named.polls;
    let mut found = Found { family: &families::GO, functions: Vec::new(), goroutines_wait };
    for ((_, shape), range) in families::GO.functions.iter().zip(named.functions) {
        let Some(range) = range else { continue };
        if shape & shape::ASKS == 0 {
            found.functions.push(program.function(text, range, *shape)?);
        } else if goroutines_wait {
            // Without it calls by that package are likely at best, and all else is seen.
            found.functions.extend(program.function(text, range, *shape));
        }
    }
    Ok(Some(found))
}

impl<'f> Program<'f> {
    fn read(file: &'f File) -> Option<Self> {
        let cache = ReadCache::new(file);
        let (header, endian) = head_of_x86_64(&cache)?;
        let sections = header.sections(endian, &cache).ok()?;
        let section = |name: &[u8]| Some(sections.section_by_name(endian, name)?.1);
        let stretch = |name: &[u8]| {
            let (start, len) = section(name)?.file_range(endian)?;
            Some(Stretch { file, start, len })
        };
        let mixed = || stretch(BUILD).and_then(|_| table::within(&stretch(MIXED)?));
        let table = TABLES.into_iter().find_map(stretch).or_else(mixed)?;
        let said = stretch(MODULE).and_then(|module| module.number(MODULE_TEXT));
        let begins = || Some(section(CODE)?.sh_addr(endian));
        let text = said.filter(|&address| address != 0).or_else(begins)?;
        let segments = header.program_headers(endian, &cache).ok()?.to_vec();
        Some(Self { file, endian, segments, table, text })
    }

    /// Where a function begins and returns in the file.
    fn function(&self, text: u64, range: Range, shape: u64) -> Result<Function, Refusal> {
        let unclear = |what| Refusal::Unclear { what };
        let outside = || unclear("a function lies outside of the code");
        let address = text.checked_add(range.start).ok_or_else(outside)?;
        let place = file_offset(&self.segments, self.endian, address).ok_or_else(outside)?;
        let len = range.end.saturating_sub(range.start);
        let bytes = returns::code(self.file, place, len).map_err(unclear)?;
        if !code::begins(&bytes) {
            return Err(unclear("a function does not begin as Go has it"));
        }
        let exits = returns::exits(place, &bytes).map_err(unclear)?;
        // Only what moves bytes need be seen to end.
        let moves = shape & shape::KIND != shape::TOUCH;
        let exits = Exits::At(if moves { exits } else { Vec::new() });
        Ok(Function { place, shape, exits, programs: GO })
    }
}
