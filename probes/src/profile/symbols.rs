//! The functions of a file, and what they are called.
//!
//! Invariant: the name of a function is given for addresses inside of it alone: an address in a gap has
//! no name, and never that of its neighbour. A name is written no further than it is shown, however much
//! it stands for.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// A mangled name that is longer than this is cut.
pub(super) const NAME_BYTES_MAX: usize = 4 << 10;
/// What is shown of a name: some of those of generic code have no end.
const SHOWN_BYTES_MAX: usize = 512;

/// A function: where it begins, how long it is (0: nobody says), and where its name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Symbol {
    pub(super) address: u64,
    pub(super) size: u32,
    pub(super) name: u32,
}

/// Where names are.
#[derive(Debug)]
pub(super) enum Names {
    /// In a file, from this offset on: read one by one, since few are ever asked for.
    File(File, u64),
    /// In memory.
    Bytes(Vec<u8>),
}

/// All functions of a file.
#[derive(Debug)]
pub(super) struct Symbols {
    /// In the order of addresses, each once.
    list: Vec<Symbol>,
    names: Names,
}

impl Symbols {
    /// Of several symbols at one address the longest counts.
    pub(super) fn new(mut list: Vec<Symbol>, names: Names) -> Self {
        list.sort_unstable_by_key(|symbol| (symbol.address, std::cmp::Reverse(symbol.size)));
        list.dedup_by_key(|symbol| symbol.address);
        list.shrink_to_fit();
        Self { list, names }
    }

    /// What it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        let names = match &self.names {
            Names::File(..) => 0,
            Names::Bytes(bytes) => bytes.capacity(),
        };
        self.list.capacity() * size_of::<Symbol>() + names
    }

    /// The function that an address is in: where it begins, and what it is called.
    pub(super) fn find(&self, address: u64) -> Option<(u64, Arc<str>)> {
        let before = self.list.partition_point(|symbol| symbol.address <= address);
        let symbol = self.list.get(before.checked_sub(1)?)?;
        let within = address - symbol.address;
        if symbol.size != 0 && within >= u64::from(symbol.size) {
            return None;
        }
        let name = self.names.read(symbol.name)?;
        Some((symbol.address, Arc::from(shown(&name))))
    }
}

impl Names {
    /// The text at a place, up to its end.
    fn read(&self, at: u32) -> Option<String> {
        let mut buffer = [0; NAME_BYTES_MAX];
        let bytes = match self {
            Self::File(file, start) => {
                let length = file.read_at(&mut buffer, start + u64::from(at)).ok()?;
                buffer.get(..length)?
            }
            Self::Bytes(bytes) => bytes.get(usize::try_from(at).ok()?..)?,
        };
        let name = bytes.split(|byte| *byte == 0).next().filter(|name| !name.is_empty())?;
        Some(String::from_utf8_lossy(name.get(..NAME_BYTES_MAX).unwrap_or(name)).into_owned())
    }
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

    fn symbols(list: &[(u64, u32, u32)]) -> Symbols {
        let symbol = |&(address, size, name): &_| Symbol { address, size, name };
        let names = Names::Bytes(b"\0first\0second\0alias\0".to_vec());
        Symbols::new(list.iter().map(symbol).collect(), names)
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
        assert!(symbols.bytes() > 0);
    }
}
