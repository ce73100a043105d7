//! Functions that a process has made while it runs, as it writes them down for profilers.
//!
//! Invariant: of two functions that were at one address one after the other, the later one counts.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::symbols::{NAME_BYTES_MAX, shown};
use crate::foreign::Found;

/// What is read of such a file. A long-lived process of Node.js writes some MB.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// The functions of one process.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// In the order of addresses; the order in which they were written where those are equal.
    list: Vec<(u64, u64, Box<str>)>,
    /// What the file was like when it was read.
    read: Option<(u64, SystemTime)>,
}

impl Made {
    /// Reads the file again where it has changed. None: there is no such file.
    pub(super) fn refresh(&mut self, process_dir: &Path) -> Option<()> {
        let pid = inner_pid(&fs::read_to_string(process_dir.join("status")).ok()?)?;
        // Inside the file system of the process, where it is pid so-and-so of its own namespace.
        let path = format!("tmp/perf-{pid}.map");
        let found = Found::below(&process_dir.join("root"), Path::new(&path)).ok()?;
        let metadata = found.metadata();
        if !metadata.is_file() {
            return None;
        }
        let now = (metadata.len(), metadata.modified().ok()?);
        if self.read != Some(now) {
            let mut text = Vec::new();
            found.open().ok()?.take(FILE_BYTES_MAX).read_to_end(&mut text).ok()?;
            self.list = parse(&String::from_utf8_lossy(&text));
            self.read = Some(now);
        }
        Some(())
    }

    /// What it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.list.iter().map(|(.., name)| name.len() + size_of::<(u64, u64, Box<str>)>()).sum()
    }

    /// The function that an address is in: where it begins, and what it is called.
    pub(super) fn find(&self, address: u64) -> Option<(u64, Arc<str>)> {
        let before = self.list.partition_point(|(start, ..)| *start <= address);
        let (start, size, name) = self.list.get(before.checked_sub(1)?)?;
        (address - start < *size).then(|| (*start, Arc::from(shown(name))))
    }
}

/// The last number of `NSpid`: the pid as the process itself knows it.
fn inner_pid(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_ascii_whitespace().last()?.parse().ok()
}

/// A line is `start size name`, the numbers in hex; the name may hold spaces.
fn parse(text: &str) -> Vec<(u64, u64, Box<str>)> {
    let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
    let line = |line: &str| {
        let mut fields = line.splitn(3, ' ');
        let (start, size) = (number(fields.next()?)?, number(fields.next()?)?);
        let name = fields.next()?;
        let name = name.get(..name.floor_char_boundary(NAME_BYTES_MAX)).unwrap_or_default();
        Some((start, size, Box::from(name)))
    };
    // The last line may not be whole yet.
    let whole = text.rfind('\n').and_then(|end| text.get(..end)).unwrap_or_default();
    let mut list: Vec<(u64, u64, Box<str>)> = whole.lines().filter_map(line).collect();
    list.sort_by_key(|(start, ..)| *start);
    // Of those that begin at one place, the last that was written is kept.
    list.reverse();
    list.dedup_by_key(|(start, ..)| *start);
    list.reverse();
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: the file of a process that has made functions, one where another one was before, and is
    /// just about to write one more.
    /// Guarantees: each address has the name of the function that is there now.
    #[test]
    fn the_later_function_counts() {
        let text = "3ef414c0 398 LazyCompile:~fetch /app/a.js:1\nnonsense\n\
                    3ef41900 0x10 RegExp:a b\n3ef414c0 100 LazyCompile:*fetch /app/a.js:1\n3ef42";
        let made = Made { list: parse(text), read: None };
        let name = |address| made.find(address).map(|(_, name)| name.to_string());
        assert_eq!(made.list.len(), 2);
        assert_eq!(name(0x3ef4_14c0).as_deref(), Some("LazyCompile:*fetch /app/a.js:1"));
        assert_eq!(name(0x3ef4_15c0), None, "the function that was there was longer");
        assert_eq!(name(0x3ef4_1905).as_deref(), Some("RegExp:a b"));
        assert_eq!(name(0), None);
        assert!(made.bytes() > 50);
        assert_eq!(inner_pid("Name:\tnode\nNSpid:\t4711\t12\n"), Some(12));
        assert!(parse("").is_empty());
        let long = parse(&format!("10 10 {}\n", "é".repeat(NAME_BYTES_MAX)));
        assert_eq!(long[0].2.len(), NAME_BYTES_MAX);
    }

    /// Scenario: a folder that looks like a process with such a file, which then grows.
    /// Guarantees: what was added is found after the next look, and without a file nothing is.
    #[test]
    fn the_file_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut made = Made::default();
        assert_eq!(made.refresh(dir.path()), None);
        fs::write(dir.path().join("status"), "NSpid:\t9\n").unwrap();
        fs::create_dir_all(dir.path().join("root/tmp")).unwrap();
        let map = dir.path().join("root/tmp/perf-9.map");
        fs::write(&map, "10 10 one\n").unwrap();
        made.refresh(dir.path()).unwrap();
        fs::write(&map, "10 10 one\n20 10 two\n").unwrap();
        assert!(made.find(0x25).is_none());
        made.refresh(dir.path()).unwrap();
        assert_eq!(&*made.find(0x25).unwrap().1, "two");
    }
}
