//! Where a process has mapped code.
//!
//! Invariant: the list is in the order of addresses, and no two entries overlap: it is the kernel's own.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Mappings of one process that are kept; code beyond them is not told apart.
const MAPPINGS_MAX: usize = 8_192;

/// A stretch of memory that may be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) range: Range<u64>,
    pub(super) backing: Backing,
}

/// What is mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Backing {
    /// A file, from this offset on; its path as its process sees it.
    File { offset: u64, path: Arc<str> },
    /// The code that the kernel lends to every process.
    Vdso,
    /// Nothing but memory: code that the process has made itself.
    Memory,
}

/// What `maps` of a process says.
pub(super) fn parse(text: &str) -> Vec<Mapping> {
    text.lines().filter_map(mapping).take(MAPPINGS_MAX).collect()
}

/// `start-end perms offset dev inode path`; the path may hold spaces.
fn mapping(line: &str) -> Option<Mapping> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    let range = number(start)?..number(end)?;
    if !fields.next()?.contains('x') {
        return None;
    }
    let offset = number(fields.next()?)?;
    let inode: u64 = fields.nth(1)?.parse().ok()?;
    let path = fields.next().unwrap_or_default().trim_start();
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let backing = match path {
        "[vdso]" => Backing::Vdso,
        // The kernel emulates what is left of it.
        "[vsyscall]" => return None,
        // A shared mapping of memory shows as a file of these names.
        _ if inode == 0 || path == "/dev/zero" || path.starts_with("/memfd:") => Backing::Memory,
        _ => Backing::File { offset, path: Arc::from(path) },
    };
    (range.start < range.end).then_some(Mapping { range, backing })
}

/// The mapping that holds an address.
pub(super) fn find(list: &[Mapping], address: u64) -> Option<usize> {
    let at = list.partition_point(|mapping| mapping.range.end <= address);
    list.get(at).filter(|mapping| mapping.range.contains(&address)).map(|_| at)
}

/// The kernel's own link to the file behind a mapping.
pub(super) fn link(process_dir: &Path, range: &Range<u64>) -> PathBuf {
    process_dir.join(format!("map_files/{:x}-{:x}", range.start, range.end))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
        00400000-00452000 r-xp 00001000 08:02 173521      /usr/bin/db server\n\
        00651000-00652000 r--p 00051000 08:02 173521      /usr/bin/db server\n\
        7f0000000000-7f0000010000 rwxp 00000000 00:00 0 \n\
        7f0000010000-7f0000020000 r-xp 00002000 fd:01 99  /lib/old.so (deleted)\n\
        7f0000020000-7f0000030000 r-xs 00000000 00:01 7   /memfd:jit (deleted)\n\
        7ffd2b5f1000-7ffd2b5f3000 r-xp 00000000 00:00 0   [vdso]\n\
        ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n\
        nonsense\n";

    /// Scenario: the mappings of a process: its program, a deleted library, code that it has made, and a
    /// line that is none.
    /// Guarantees: what may be executed is there, as what it is, and each address is found in its own.
    #[test]
    fn mappings_are_told_apart() {
        let list = parse(TEXT);
        let file = |offset, path| Backing::File { offset, path: Arc::from(path) };
        let found: Vec<Backing> = list.iter().map(|mapping| mapping.backing.clone()).collect();
        let (memory, vdso) = (Backing::Memory, Backing::Vdso);
        let old = file(0x2000, "/lib/old.so");
        assert_eq!(found, [file(0x1000, "/usr/bin/db server"), memory.clone(), old, memory, vdso]);
        assert_eq!(find(&list, 0x40_0000), Some(0));
        assert_eq!(find(&list, 0x45_1fff), Some(0));
        assert_eq!(find(&list, 0x45_2000), None);
        assert_eq!(find(&list, 0x7f00_0001_0000), Some(2));
        assert_eq!(find(&list, 0), None);
        assert_eq!(find(&list, u64::MAX), None);
    }
}
