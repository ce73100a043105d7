//! Functions that a process has made while it runs, as it writes them down for profilers.
//!
//! Invariants: of two functions that were at one address one after the other, the later one counts; what is
//! kept of all processes was taken from one room before.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::SystemTime;

use super::symbols::{NAME_BYTES_MAX, shown};
use crate::foreign::Found;

/// What is read of such a file. A long-lived process of Node.js writes some MB.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Functions of one process that are read; of Node.js some 200,000 are in as much text.
const FUNCTIONS_MAX: usize = 1 << 18;

/// What may be held of the functions of all processes together.
#[derive(Debug)]
pub(super) struct Room {
    left: AtomicUsize,
    /// Files of which nothing was kept since there was too little.
    refused: AtomicU64,
}

impl Room {
    pub(super) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(bytes_max), refused: AtomicU64::new(0) })
    }

    /// Files of which nothing was kept, since it was last asked.
    pub(super) fn take_refused(&self) -> u64 {
        self.refused.swap(0, Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok();
        self.refused.fetch_add(u64::from(!taken), Ordering::Relaxed);
        taken
    }
}

/// The functions of one process.
#[derive(Debug)]
pub(super) struct Made {
    functions: Functions,
    /// What the file was like when it was read.
    read: Option<(u64, SystemTime)>,
    room: Arc<Room>,
    /// What was taken of the room.
    taken: usize,
}

#[derive(Debug, Default)]
struct Functions {
    /// In the order of addresses; the order in which they were written where those are equal.
    list: Vec<Function>,
    names: String,
}

#[derive(Debug, Clone, Copy)]
struct Function {
    start: u64,
    size: u64,
    /// Where its name is, and how long.
    name: (u32, u32),
}

impl Drop for Made {
    fn drop(&mut self) {
        self.forget();
    }
}

impl Made {
    pub(super) fn new(room: Arc<Room>) -> Self {
        Self { functions: Functions::default(), read: None, room, taken: 0 }
    }

    /// Gives its room back.
    pub(super) fn forget(&mut self) {
        self.functions = Functions::default();
        self.read = None;
        self.room.left.fetch_add(std::mem::take(&mut self.taken), Ordering::Relaxed);
    }

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
            self.forget();
            let functions = parse(&String::from_utf8_lossy(&text));
            let bytes = functions.bytes();
            if self.room.take(bytes) {
                (self.functions, self.taken) = (functions, bytes);
            }
            // Without room it is not read again before it has changed.
            self.read = Some(now);
        }
        Some(())
    }

    /// What it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.taken
    }

    /// The function that an address is in: where it begins, and what it is called.
    pub(super) fn find(&self, address: u64) -> Option<(u64, Arc<str>)> {
        let Functions { list, names } = &self.functions;
        let before = list.partition_point(|function| function.start <= address);
        let Function { start, size, name } = *list.get(before.checked_sub(1)?)?;
        let (from, length) = (usize::try_from(name.0).ok()?, usize::try_from(name.1).ok()?);
        let name = names.get(from..from + length)?;
        (address - start < size).then(|| (start, Arc::from(shown(name))))
    }
}

impl Functions {
    fn bytes(&self) -> usize {
        self.list.capacity() * size_of::<Function>() + self.names.capacity()
    }
}

/// The last number of `NSpid`: the pid as the process itself knows it.
fn inner_pid(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_ascii_whitespace().last()?.parse().ok()
}

/// A line is `start size name`, the numbers in hex; the name may hold spaces.
fn parse(text: &str) -> Functions {
    // The last line may not be whole yet.
    let whole = text.rfind('\n').and_then(|end| text.get(..end)).unwrap_or_default();
    let mut functions = Functions::default();
    for (start, size, name) in whole.lines().filter_map(line).take(FUNCTIONS_MAX) {
        let place = (u32::try_from(functions.names.len()), u32::try_from(name.len()));
        let (Ok(at), Ok(length)) = place else { break };
        functions.names.push_str(name);
        functions.list.push(Function { start, size, name: (at, length) });
    }
    let list = &mut functions.list;
    list.sort_by_key(|function| function.start);
    // Of those that begin at one place, the last that was written is kept.
    list.reverse();
    list.dedup_by_key(|function| function.start);
    list.reverse();
    list.shrink_to_fit();
    functions.names.shrink_to_fit();
    functions
}

fn line(line: &str) -> Option<(u64, u64, &str)> {
    let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
    let mut fields = line.splitn(3, ' ');
    let (start, size) = (number(fields.next()?)?, number(fields.next()?)?);
    let name = fields.next()?;
    Some((start, size, name.get(..name.floor_char_boundary(NAME_BYTES_MAX))?))
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
        let functions = parse(text);
        assert_eq!(functions.list.len(), 2);
        assert!(functions.bytes() > 50);
        let mut made = Made::new(Room::new(0));
        made.functions = functions;
        let name = |address| made.find(address).map(|(_, name)| name.to_string());
        assert_eq!(name(0x3ef4_14c0).as_deref(), Some("LazyCompile:*fetch /app/a.js:1"));
        assert_eq!(name(0x3ef4_15c0), None, "the function that was there was longer");
        assert_eq!(name(0x3ef4_1905).as_deref(), Some("RegExp:a b"));
        assert_eq!(name(0), None);
        assert_eq!(inner_pid("Name:\tnode\nNSpid:\t4711\t12\n"), Some(12));
        assert!(parse("").list.is_empty());
        let long = parse(&format!("10 10 {}\n", "é".repeat(NAME_BYTES_MAX)));
        assert_eq!(long.names.len(), NAME_BYTES_MAX);
    }

    /// A folder that looks like a process with such a file.
    fn process(text: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("status"), "NSpid:\t9\n").unwrap();
        fs::create_dir_all(dir.path().join("root/tmp")).unwrap();
        fs::write(dir.path().join("root/tmp/perf-9.map"), text).unwrap();
        dir
    }

    /// Scenario: a process with such a file, which then grows.
    /// Guarantees: what was added is found after the next look, and without a file nothing is.
    #[test]
    fn the_file_is_read_again() {
        let mut made = Made::new(Room::new(1 << 20));
        assert_eq!(made.refresh(tempfile::tempdir().unwrap().path()), None);
        let dir = process("10 10 one\n");
        made.refresh(dir.path()).unwrap();
        fs::write(dir.path().join("root/tmp/perf-9.map"), "10 10 one\n20 10 two\n").unwrap();
        assert!(made.find(0x25).is_none());
        made.refresh(dir.path()).unwrap();
        assert_eq!(&*made.find(0x25).unwrap().1, "two");
    }

    /// Scenario: two processes with such files, and room for one; then the first is gone, and the second's file
    /// changes.
    /// Guarantees: no more is held than there is room for, what is left out is counted, and room is given back.
    #[test]
    fn all_processes_have_one_room() {
        let text = format!("10 10 {}\n", "x".repeat(1_000));
        let (one, two) = (process(&text), process(&text));
        let room = Room::new(1_500);
        let (mut first, mut second) = (Made::new(Arc::clone(&room)), Made::new(Arc::clone(&room)));
        first.refresh(one.path()).unwrap();
        second.refresh(two.path()).unwrap();
        assert!(first.find(0x15).is_some() && second.find(0x15).is_none());
        assert_eq!((room.take_refused(), second.bytes()), (1, 0));
        drop(first);
        fs::write(two.path().join("root/tmp/perf-9.map"), text.clone() + "30 10 y\n").unwrap();
        second.refresh(two.path()).unwrap();
        assert!(second.find(0x15).is_some() && second.bytes() > 1_000);
        second.forget();
        assert_eq!((room.take_refused(), room.left.load(Ordering::Relaxed)), (0, 1_500));
    }
}
