//! The functions of a file, and what they are called.
//!
//! Invariant: the name of a function is given for addresses inside of it alone: an address in a gap has
//! no name, and never that of its neighbour. A name is written no further than it is shown, however much
//! it stands for.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use object::elf::{STB_LOCAL, STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE, Sym64};
use object::read::elf::Sym as _;
use object::{Endianness, pod};

use super::source::Source;

/// A mangled name that is longer than this is cut.
pub(super) const NAME_BYTES_MAX: usize = 4 << 10;
/// What is shown of a name: some of those of generic code have no end.
const SHOWN_BYTES_MAX: usize = 512;

/// Where a file has the table of its symbols.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    pub(super) at: u64,
    pub(super) bytes: u64,
    /// Where the names are.
    pub(super) names_at: u64,
    pub(super) endian: Endianness,
}

/// A symbol as the table has it.
type Entry = Sym64<Endianness>;

/// What one takes there.
const ENTRY_BYTES: usize = size_of::<Entry>();
/// What is read of a table at a time.
const READ_ENTRIES: usize = 2_048;

/// All functions of a file.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    /// Where the first one begins.
    base: u64,
    /// In the order of addresses, each once: how far behind the first one, and its number in the table, from which the
    /// rest is read when it is asked for: of few it ever is.
    list: Box<[(u32, u32)]>,
    /// Nothing where there was no room for it.
    table: Option<(Source, Table)>,
}

impl Symbols {
    /// Reads a table. Of several symbols at one address the longest counts; what is 4 GiB behind the first is no function of the
    /// same file.
    pub(super) fn read(source: Source, table: Table) -> Self {
        let mut found = functions(&source, table);
        found.sort_unstable_by_key(|one| (one.0, std::cmp::Reverse(one.1)));
        found.dedup_by_key(|one| one.0);
        let base = found.first().map_or(0, |one| one.0);
        let near =
            |(address, _, number): (u64, _, _)| Some((u32::try_from(address - base).ok()?, number));
        let list = found.into_iter().filter_map(near).collect();
        Self { base, list, table: Some((source, table)) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// What it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        let source = self.table.as_ref().map_or(0, |(source, _)| source.bytes());
        self.list.len() * size_of::<(u32, u32)>() + source
    }

    /// The function that an address is in: where it begins, and what it is called.
    pub(super) fn find(&self, address: u64) -> Option<(u64, Arc<str>)> {
        let wanted = u32::try_from(address.checked_sub(self.base)?).unwrap_or(u32::MAX);
        let before = self.list.partition_point(|(start, _)| *start <= wanted);
        let (start, number) = *self.list.get(before.checked_sub(1)?)?;
        let start = self.base + u64::from(start);
        let (source, table) = self.table.as_ref()?;
        let entry = entry_at(source, table.at + u64::from(number) * ENTRY_BYTES as u64)?;
        // 0: nobody says.
        let size = entry.st_size(table.endian);
        if size != 0 && address - start >= size {
            return None;
        }
        let name =
            name_at(source, table.names_at.saturating_add(entry.st_name(table.endian).into()))?;
        Some((start, Arc::from(shown(&name))))
    }
}

/// The functions in a table: where each begins, its length, and its number.
fn functions(source: &Source, table: Table) -> Vec<(u64, u32, u32)> {
    let mut found = Vec::new();
    // Of words, so that symbols are where they may be.
    let mut buffer = vec![0_u64; READ_ENTRIES * ENTRY_BYTES / size_of::<u64>()];
    let buffer = pod::bytes_of_slice_mut(&mut buffer);
    let (mut at, mut number) = (0, 0);
    while at < table.bytes {
        let left =
            usize::try_from(table.bytes - at).map_or(buffer.len(), |it| it.min(buffer.len()));
        let read = source.read(table.at + at, &mut buffer[..left]);
        let count = read.len() / ENTRY_BYTES;
        let Ok((entries, _)) = pod::slice_from_bytes::<Entry>(read, count) else { break };
        if entries.is_empty() {
            break;
        }
        for entry in entries {
            let size = u32::try_from(entry.st_size(table.endian)).unwrap_or(u32::MAX);
            let is_function = is_function(entry, table.endian);
            found.extend(is_function.then(|| (entry.st_value(table.endian), size, number)));
            number += 1;
        }
        at += (count * ENTRY_BYTES) as u64;
    }
    found
}

fn is_function(symbol: &Entry, endian: Endianness) -> bool {
    let code = match symbol.st_type() {
        STT_FUNC | STT_GNU_IFUNC => true,
        // What was written in assembler may have no type; marks of the assembler are local.
        STT_NOTYPE => symbol.st_bind() != STB_LOCAL,
        _ => false,
    };
    code && symbol.st_value(endian) != 0 && !symbol.is_undefined(endian)
}

/// One symbol of a table.
fn entry_at(source: &Source, at: u64) -> Option<Entry> {
    let mut words = [0_u64; ENTRY_BYTES / size_of::<u64>()];
    let (entry, _) = pod::from_bytes(source.read(at, pod::bytes_of_slice_mut(&mut words))).ok()?;
    Some(*entry)
}

/// The text at a place, up to its end.
fn name_at(source: &Source, at: u64) -> Option<String> {
    let mut buffer = [0; NAME_BYTES_MAX];
    let name = source.read(at, &mut buffer).split(|byte| *byte == 0).next()?;
    (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
}

/// A name as people write it in Rust or C++, or as it is where it is of another language.
pub(super) fn shown(name: &str) -> String {
    // A version of a function that the linker or the compiler has made.
    let mangled = name.split_once("@@").map_or(name, |(name, _)| name);
    let mut shown = Shown::default();
    if demangle(mangled, &mut shown).is_none() {
        shown = Shown::default();
        shown.add(mangled);
    }
    let Shown { mut text, full } = shown;
    if full {
        text.push('…');
    }
    text
}

/// The same of a name that Rust has mangled; none of any other, and of one that is cut.
pub(crate) fn shown_in_rust(name: &str) -> Option<String> {
    let mut shown = Shown::default();
    // Without the hash that tells apart two builds.
    write!(shown, "{:#}", rustc_demangle::try_demangle(name).ok()?).ok()?;
    Some(shown.text)
}

/// None: it is not mangled, or cannot be told.
fn demangle(name: &str, out: &mut Shown) -> Option<()> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let written = if let Ok(rust) = rustc_demangle::try_demangle(name) {
        // Without the hash that tells apart two builds.
        write!(out, "{rust:#}")
    } else if name.starts_with("_Z") {
        let options = cpp_demangle::DemangleOptions::new().no_params().no_return_type();
        let options = options.recursion_limit(64);
        cpp_demangle::Symbol::new(name).ok()?.structured_demangle(out, &options)
    } else {
        return None;
    };
    (written.is_ok() || out.full).then_some(())
}

/// As much of a name as is shown. A short name can stand for one without end, since parts of it can refer to
/// others: whoever writes is told to stop, and each part that has others in it writes something of its own.
#[derive(Debug, Default)]
struct Shown {
    text: String,
    full: bool,
}

impl Shown {
    fn add(&mut self, part: &str) {
        let room = SHOWN_BYTES_MAX - self.text.len();
        self.full |= part.len() > room;
        self.text.push_str(part.get(..part.floor_char_boundary(room)).unwrap_or_default());
    }
}

impl fmt::Write for Shown {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        self.add(part);
        if self.full { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::monotonic;

    /// Scenario: names of Rust (both manglings), C++, C and Go, one that only looks mangled, and a long one.
    /// Guarantees: what people would write; what cannot be read stays as it is; nothing is without end.
    #[test]
    fn names_are_readable() {
        let check = |name: &str, wanted: &str| assert_eq!(shown(name), wanted, "{name}");
        check("_ZN4core3fmt9Formatter3pad17h0123456789abcdefE", "core::fmt::Formatter::pad");
        check("_RNvC6_123foo3bar", "123foo::bar");
        check("_ZN5space3fooEibc", "space::foo");
        check(
            "_ZNSt6vectorIiSaIiEE9push_backERKi",
            "std::vector<int, std::allocator<int> >::push_back",
        );
        check("memcpy@@GLIBC_2.14", "memcpy");
        check("main.(*server).handle", "main.(*server).handle");
        check("_Z9", "_Z9");
        let long = shown(&"x".repeat(10_000));
        assert!(long.len() < 600 && long.ends_with('…'), "{long}");
    }

    fn digits(number: usize, base: usize) -> String {
        let all = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        let digit = char::from(all[number % base]);
        let before = if number < base { String::new() } else { digits(number / base, base) };
        format!("{before}{digit}")
    }

    /// A template's arguments: each is a pair of the one before, so that the last has 2^40 parts.
    fn doubling_in_cpp() -> String {
        let mut name = "_Z1fI4pairIiiE".to_owned();
        for at in 0..40 {
            let before = digits(at + 1, 36).to_uppercase();
            name += &format!("S0_IS{before}_S{before}_E");
        }
        name + "Evv"
    }

    /// The same in the mangling of Rust, whose references are distances from the beginning.
    fn doubling_in_rust() -> String {
        let (mut name, mut before) = ("INvC1a1fTuuE".to_owned(), 8);
        for _ in 0..40 {
            let next = name.len();
            let to = digits(before - 1, 62);
            name += &format!("TB{to}_B{to}_E");
            before = next;
        }
        format!("_R{name}E")
    }

    /// Scenario: names that double with each of their parts, in C++ and in Rust; packs of nothing that do; and
    /// a name that is longer than any that is taken apart.
    /// Guarantees: as much is written as is shown, in the time that takes.
    #[test]
    fn names_without_end_are_cut() {
        let packs: String =
            (0..30).map(|at| format!("JT{0}_T{0}_E", digits(at, 36).to_uppercase())).collect();
        let (cpp, rust) = (doubling_in_cpp(), doubling_in_rust());
        assert!(
            cpp_demangle::Symbol::new(&cpp).is_ok() && rustc_demangle::try_demangle(&rust).is_ok()
        );
        for (name, endless) in [
            (cpp, true),
            (rust, true),
            (format!("_Z1fIJE{packs}EvT_"), false),
            (format!("_Z{}", "N1a".repeat(100_000)), true),
        ] {
            let began = monotonic();
            let shown = shown(&name);
            assert!(shown.len() <= SHOWN_BYTES_MAX + '…'.len_utf8(), "{shown}");
            assert!(!endless || shown.ends_with('…'), "{shown}");
            assert!(monotonic() - began < 10_000_000_000, "{shown}");
        }
    }

    /// A table, and behind it the names.
    fn symbols(list: &[(u64, u64, u32)]) -> Symbols {
        let mut bytes = Vec::new();
        for (address, size, name) in list {
            bytes.extend_from_slice(&name.to_le_bytes());
            // A global function in the first section.
            bytes.extend_from_slice(&[0x12, 0, 1, 0]);
            bytes.extend_from_slice(&address.to_le_bytes());
            bytes.extend_from_slice(&size.to_le_bytes());
        }
        let names_at = bytes.len() as u64;
        bytes.extend_from_slice(b"\0first\0second\0alias\0");
        let table = Table { at: 0, bytes: names_at, names_at, endian: Endianness::Little };
        Symbols::read(Source::Bytes(Arc::from(bytes)), table)
    }

    /// Scenario: two functions with a gap between them, one of which has a shorter alias.
    /// Guarantees: each address inside has the name of its function and no other has one.
    #[test]
    fn a_gap_has_no_name() {
        let symbols = symbols(&[(200, 0, 7), (100, 50, 1), (100, 10, 14)]);
        let name = |address| symbols.find(address).map(|(start, name)| (start, name.to_string()));
        assert_eq!(name(99), None);
        assert_eq!(name(100), Some((100, "first".to_owned())));
        assert_eq!(name(149), Some((100, "first".to_owned())));
        assert_eq!(name(150), None);
        assert_eq!(name(5_000), Some((200, "second".to_owned())), "nobody says where it ends");
        assert_eq!(name((5 << 32) + 5_000), Some((200, "second".to_owned())));
        assert!(symbols.bytes() > 0 && !symbols.is_empty());
    }
}
