//! The table by which Go's runtime names functions, `.gopclntab`, as it is since Go 1.18.
//!
//! It begins with a head; names lie one behind the other, each closed by a zero; and an index, in the
//! order of addresses, says where each function begins and where it is described, in the same order.
//! Invariant: memory that is held is bounded by the names and the index; what is read is bounded, whatever
//! a file says of itself.

use memchr::memmem;

use super::{Refusal, Stretch};

/// How tables begin, by version of Go: 1.18 and 1.19, and 1.20 and later.
const KNOWN: [u32; 2] = [0xffff_fff0, 0xffff_fff1];
/// Those of Go 1.2 to 1.15, and of 1.16 and 1.17.
const OLD: [u32; 2] = [0xffff_fffb, 0xffff_fffa];
const HEAD_BYTES: u64 = 72;
/// How a table begins in a program for this machine, in either version.
const HEADS: [[u8; 8]; 2] =
    [[0xf0, 0xff, 0xff, 0xff, 0, 0, 1, 8], [0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8]];
/// What is searched for a table.
const SEARCHED_BYTES_MAX: u64 = 256 << 20;
/// Functions of a program; one of the largest has 200,000.
const FUNCTIONS_MAX: u64 = 2 << 20;
/// All names of a program; one of the largest has 20 MiB of them.
const NAMES_BYTES_MAX: u64 = 64 << 20;
/// All descriptions of functions of a program, and what lies between them.
const DESCRIBED_BYTES_MAX: u64 = 256 << 20;
/// How names of functions end, or go on, that ask which of many descriptors are ready.
const POLLS: [&[u8]; 9] = [
    b"epollWait",
    b"EpollWait",
    b"epoll_wait",
    b"epollPwait",
    b"EpollPwait",
    b"unix.Poll\0",
    b"unix.Ppoll\0",
    b"unix.Select\0",
    b"syscall.Select\0",
];
/// Packages of which the runtime's own waiting is made.
const RUNTIME: [&[u8]; 3] = [b"runtime.", b"internal/runtime/", b"runtime/internal/"];
/// Places that look like the head of a table and are none.
const HEADS_MAX: usize = 1_000;
/// What is read at a time of the descriptions of functions.
const WINDOW_BYTES: u64 = 256 << 10;

/// From where to where the code of a function goes, counted from where code begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: u64,
    pub(super) end: u64,
}

/// Where functions are.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// The address at which code begins; 0: the table does not say it.
    pub(super) text: u64,
    /// In the order in which they were asked for; none for those that are not there.
    pub(super) functions: Vec<Option<Range>>,
    /// Something beside the runtime asks the kernel which of many descriptors are ready: an event loop in a goroutine.
    pub(super) polls: bool,
}

/// The head, as far as it is needed; places count from the beginning of the table.
struct Head {
    functions: u64,
    text: u64,
    names: u64,
    names_end: u64,
    index: u64,
}

/// Looks for functions by name; none where no name is there, or it is no such table.
pub(super) fn find(table: &Stretch<'_>, names: &[&str]) -> Result<Option<Named>, Refusal> {
    let Some(head) = head(table)? else { return Ok(None) };
    let unclear = |what| Refusal::Unclear { what };
    let all = all_names(table, &head).ok_or_else(|| unclear("names"))?;
    let wanted: Vec<_> = names.iter().map(|name| place_of(&all, name)).collect();
    if wanted.iter().all(Option::is_none) {
        return Ok(None);
    }
    let functions =
        ranges(table, &head, &wanted).ok_or_else(|| unclear("an index of functions"))?;
    Ok(Some(Named { text: head.text, functions, polls: polls(&all) }))
}

/// The table somewhere in a stretch, up to the end of that.
pub(super) fn within<'f>(stretch: &Stretch<'f>) -> Option<Stretch<'f>> {
    let searched = stretch.len.min(SEARCHED_BYTES_MAX);
    let windows = (0..searched).step_by(usize::try_from(WINDOW_BYTES).ok()?);
    // Tables are aligned, so that no window cuts the beginning of one.
    let heads = windows.filter_map(|from| Some((from, heads(stretch, from, searched - from)?)));
    let places = heads.flat_map(|(from, places)| places.into_iter().map(move |at| from + at));
    let mut tables = places.take(HEADS_MAX).filter_map(|at| {
        let start = stretch.start.checked_add(at)?;
        Some(Stretch { start, len: stretch.len - at, ..*stretch })
    });
    tables.find(|table| matches!(head(table), Ok(Some(head)) if is_plausible(&head, table.len)))
}

/// Where a table may begin within a window, which may end after so many bytes.
fn heads(stretch: &Stretch<'_>, from: u64, bytes: u64) -> Option<Vec<u64>> {
    let bytes = stretch.read(from, WINDOW_BYTES.min(bytes))?;
    let heads = HEADS.iter().flat_map(|head| memmem::find_iter(&bytes, head));
    Some(heads.map(|at| at as u64).collect())
}

/// The names come before the index, and both are there.
fn is_plausible(head: &Head, len: u64) -> bool {
    HEAD_BYTES <= head.names
        && head.names < head.names_end
        && head.names_end <= head.index
        && head.index < len
}

fn head(table: &Stretch<'_>) -> Result<Option<Head>, Refusal> {
    let Some(bytes) = table.read(0, HEAD_BYTES) else { return Ok(None) };
    let number = |at: usize| {
        let bytes = bytes.get(at..)?.first_chunk()?;
        Some(u64::from_le_bytes(*bytes))
    };
    let magic = bytes.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
    if magic.is_some_and(|magic| OLD.contains(&magic)) {
        return Err(Refusal::Old);
    }
    if !magic.is_some_and(|magic| KNOWN.contains(&magic)) || bytes.get(7) != Some(&8) {
        return Ok(None);
    }
    let read = || {
        let (functions, text) = (number(8)?, number(24)?);
        let (names, names_end, index) = (number(32)?, number(40)?, number(64)?);
        Some(Head { functions, text, names, names_end, index })
    };
    Ok(read())
}

/// All names, each closed by a zero.
fn all_names(table: &Stretch<'_>, head: &Head) -> Option<Vec<u8>> {
    let len = head.names_end.checked_sub(head.names).filter(|&len| len <= NAMES_BYTES_MAX)?;
    table.read(head.names, len)
}

/// Where a name stands among all.
fn place_of(all: &[u8], name: &str) -> Option<u32> {
    let closed = [b"\0", name.as_bytes(), b"\0"].concat();
    u32::try_from(memmem::find(all, &closed)? + 1).ok()
}

/// One of these is a function that asks the kernel for the descriptors that are ready.
fn polls(all: &[u8]) -> bool {
    POLLS.iter().any(|word| {
        memmem::find_iter(all, word).any(|at| {
            let (before, _) = all.split_at(at);
            let start = memchr::memrchr(0, before).map_or(0, |zero| zero + 1);
            let name = before.get(start..).unwrap_or_default();
            !RUNTIME.iter().any(|package| name.starts_with(package))
        })
    })
}

/// Where the functions are whose names stand at these places.
fn ranges(table: &Stretch<'_>, head: &Head, wanted: &[Option<u32>]) -> Option<Vec<Option<Range>>> {
    let count = Some(head.functions).filter(|&count| count <= FUNCTIONS_MAX)?;
    let index = table.read(head.index, count * 8 + 4)?;
    let numbers: Vec<u32> = index.chunks_exact(4).map(number).collect();
    let mut described = Window { table, base: head.index, at: 0, bytes: Vec::new(), read: 0 };
    let mut found = vec![None; wanted.len()];
    for entry in numbers.windows(3).step_by(2) {
        let &[start, description, end] = entry else { continue };
        let name = described.number(u64::from(description) + 4)?;
        let places = wanted.iter().zip(&mut found);
        for (_, range) in places.filter(|(wanted, _)| **wanted == Some(name)) {
            *range = Some(Range { start: start.into(), end: end.into() });
        }
    }
    Some(found)
}

fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// A part of a table that is read from front to back.
struct Window<'f> {
    table: &'f Stretch<'f>,
    base: u64,
    /// Where `bytes` stand behind the base.
    at: u64,
    bytes: Vec<u8>,
    /// Bytes that were read so far.
    read: u64,
}

impl Window<'_> {
    /// The number there, which may not be before what was read already.
    fn number(&mut self, at: u64) -> Option<u32> {
        if at.checked_sub(self.at)? + 4 > self.bytes.len() as u64 {
            let from = self.base.checked_add(at)?;
            let len = self.table.len.checked_sub(from)?.min(WINDOW_BYTES);
            self.read = Some(self.read + len).filter(|&read| read <= DESCRIBED_BYTES_MAX)?;
            self.bytes = self.table.read(from, len)?;
            self.at = at;
        }
        let from = usize::try_from(at - self.at).ok()?;
        self.bytes.get(from..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
    }
}
