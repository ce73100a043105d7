//! What is known of the files that processes execute code of.
//!
//! Invariants: what is held is bounded in files and bytes; the file that was used the longest ago makes room,
//! but not within an interval in which it was used: files that are in use do not take turns in being read, and
//! one that finds no room goes without its tables, beyond some of those all go as one; a file that nobody has
//! used for a while is let go; the number of a file is never that of another one.

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use super::elf::{self, Image};
use super::frames::{Kind, Line, Origin, Place};
use super::unwind::{Learnt, RULES_BYTES, Rules};
use crate::foreign::Found;

/// Where debug information is installed apart from the files that it is of.
const DEBUG_DIR: &str = "usr/lib/debug";
/// Intervals after which a file that was not used is let go: it may have been deleted since, and takes its
/// place on the disk until it is closed.
const KEPT_ROUNDS: usize = 6;

/// Which file it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    /// One that could be looked at; one that is written anew in its place is another one.
    Seen { device: u64, inode: u64, bytes: u64, modified: (i64, i64) },
    /// One that could not.
    Unseen(Arc<str>),
    /// The code that the kernel lends to every process.
    Vdso,
    /// All for which there is no room even without their tables.
    Others,
}

/// A file with code.
#[derive(Debug)]
pub(super) struct CodeFile {
    image: Image,
    /// Its symbols and no more, from the file to which its debug information was moved.
    debug: Option<Image>,
    pub(super) rules: Rules,
    origin: Arc<Origin>,
    bytes: usize,
    used: u64,
}

/// Which part of the room is for functions that were seen. Beyond it all are forgotten, and read again when they are
/// seen.
const FUNCTIONS_SHARE: usize = 4;

/// What a file takes without its tables: most of it is what the unwinder keeps of rules.
const OWN_BYTES: usize = size_of::<CodeFile>() + RULES_BYTES;

/// All files that are held.
#[derive(Debug)]
pub(super) struct Files {
    list: HashMap<u32, CodeFile>,
    numbers: HashMap<Key, u32>,
    next: u32,
    bytes: usize,
    bytes_max: usize,
    /// What was learnt of their functions meanwhile.
    learnt: Learnt,
    /// The longest table that is read.
    table_bytes_max: u64,
    files_max: usize,
    /// Counts looks, to tell which file was used the longest ago.
    looks: u64,
    /// Looks when the last intervals began, this one's last.
    rounds: [u64; KEPT_ROUNDS],
    /// Files that were read, and those of which a table was left out, since it was last asked.
    counts: (u64, u64),
}

impl Files {
    pub(super) fn new(bytes_max: usize, files_max: usize) -> Self {
        Self {
            list: HashMap::new(),
            numbers: HashMap::new(),
            next: 0,
            bytes: 0,
            bytes_max,
            learnt: Learnt::default(),
            table_bytes_max: bytes_max as u64 / 2,
            files_max: files_max.max(1),
            looks: 0,
            rounds: [0; KEPT_ROUNDS],
            counts: (0, 0),
        }
    }

    /// The file of a number; none where it has made room for others.
    pub(super) fn get(&mut self, number: u32) -> Option<&mut CodeFile> {
        self.looks += 1;
        if self.learnt.all() > self.bytes_max / FUNCTIONS_SHARE {
            self.list.values_mut().for_each(|file| file.rules.forget());
        }
        let file = self.list.get_mut(&number)?;
        file.used = self.looks;
        Some(file)
    }

    /// Another interval begins: lets go of what was not used for some.
    pub(super) fn next_round(&mut self) {
        self.looks += 1;
        let oldest = self.rounds[1];
        self.rounds.rotate_left(1);
        self.rounds[KEPT_ROUNDS - 1] = self.looks;
        self.list.retain(|_, file| file.used >= oldest);
        self.bytes = self.list.values().map(|file| file.bytes).sum();
        self.numbers.retain(|_, number| self.list.contains_key(number));
    }

    /// Files and bytes that are held.
    pub(super) fn held(&self) -> (usize, usize) {
        (self.list.len(), self.bytes + self.learnt.all())
    }

    /// Files that were read, and those of which a table was left out, since it was last asked.
    pub(super) fn take_counts(&mut self) -> (u64, u64) {
        std::mem::take(&mut self.counts)
    }

    /// The number of a file that a process sees at `path`: the one behind the kernel's own `link`, which takes a
    /// privilege that the agent may lack, else the one that is there below `root`. A file that is not known
    /// yet is read, which takes some milliseconds.
    pub(super) fn number(&mut self, path: &Arc<str>, link: &Path, root: &Path) -> u32 {
        let found = Found::at(link).or_else(|_| Found::below(root, Path::new(&**path))).ok();
        let unseen = || Key::Unseen(Arc::clone(path));
        let key = found.as_ref().map_or_else(unseen, |found| key(found.metadata()));
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        if !self.make_room(0) && self.list.len() >= self.files_max {
            return self.add_unread(key, path);
        }
        let table_bytes_max = self.table_bytes_max;
        let read = |found: Found| elf::image(found.open().ok()?, table_bytes_max);
        let image = found.and_then(read).unwrap_or_default();
        let debug = debug_paths(&image, path, root).into_iter().find_map(|(root, path)| {
            let debug = read(Found::linked_below(root, Path::new(&path)).ok()?)?;
            let same = debug.build_id == image.build_id && !debug.stripped;
            same.then(|| Image { symbols: debug.symbols, ..Image::default() })
        });
        self.add(key, path, image, debug)
    }

    /// The number of the code that the kernel lends to every process, which `read` finds.
    pub(super) fn vdso(&mut self, read: impl FnOnce() -> Option<Vec<u8>>) -> u32 {
        if let Some(number) = self.numbers.get(&Key::Vdso) {
            return *number;
        }
        let image = read().and_then(elf::image_of_bytes).unwrap_or_default();
        self.add(Key::Vdso, &Arc::from("[vdso]"), image, None)
    }

    fn add(
        &mut self,
        key: Key,
        path: &Arc<str>,
        mut image: Image,
        mut debug: Option<Image>,
    ) -> u32 {
        self.counts.0 += 1;
        self.counts.1 += u64::from(image.cut);
        let mut bytes = OWN_BYTES + image.bytes() + debug.as_ref().map_or(0, Image::bytes);
        if !self.make_room(bytes) {
            self.counts.1 += 1;
            (image, debug, bytes) = (image.without_tables(), None, OWN_BYTES);
        }
        self.hold(key, path, image, debug, bytes)
    }

    /// A file that is not read, so that it takes no descriptor: all that may be held are in use.
    fn add_unread(&mut self, key: Key, path: &Arc<str>) -> u32 {
        self.counts.1 += 1;
        if self.list.len() < self.files_max * 2 {
            return self.hold(key, path, Image::default(), None, OWN_BYTES);
        }
        let others = self.numbers.get(&Key::Others).copied();
        others.unwrap_or_else(|| {
            self.hold(Key::Others, &Arc::from("[others]"), Image::default(), None, OWN_BYTES)
        })
    }

    fn hold(
        &mut self,
        key: Key,
        path: &Arc<str>,
        mut image: Image,
        debug: Option<Image>,
        bytes: usize,
    ) -> u32 {
        let name = path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(path);
        let start = image.code.iter().map(|segment| segment.address).min().unwrap_or(0);
        let ends = image.code.iter().map(|segment| segment.address.saturating_add(segment.bytes));
        let range = (start, ends.max().unwrap_or(0));
        let origin = Origin { name: Arc::from(name), build_id: image.build_id.clone(), range };
        let rules = Rules::new(&mut image, self.learnt.share());
        let origin = Arc::new(origin);
        let file = CodeFile { image, debug, rules, origin, bytes, used: self.looks };
        self.next = self.next.wrapping_add(1);
        self.list.insert(self.next, file);
        self.numbers.insert(key, self.next);
        self.bytes += bytes;
        self.next
    }

    /// False where there is no room for one more file of so many bytes beside those in use.
    fn make_room(&mut self, bytes: usize) -> bool {
        let bytes_max = self.bytes_max - self.bytes_max / FUNCTIONS_SHARE;
        while self.list.len() >= self.files_max || self.bytes + bytes > bytes_max {
            let oldest = self.list.iter().min_by_key(|(_, file)| file.used);
            let Some((oldest, used)) = oldest.map(|(number, file)| (*number, file.used)) else {
                return false;
            };
            if used > self.rounds[KEPT_ROUNDS - 2] {
                return false;
            }
            self.bytes -= self.list.remove(&oldest).map_or(0, |file| file.bytes);
            self.numbers.retain(|_, number| *number != oldest);
        }
        true
    }
}

impl CodeFile {
    /// What to take from an address in a mapping that begins at `start`, and in the file at `offset`, to
    /// speak of it as the file does.
    pub(super) fn bias(&self, start: u64, offset: u64) -> u64 {
        // Where the file does not say, places in it stand for addresses.
        start.wrapping_sub(self.image.address(offset).unwrap_or(offset))
    }

    /// The place of an address, as the file speaks of it.
    pub(super) fn place(&mut self, address: u64) -> Place {
        let place = |address, lines| {
            let origin = Arc::clone(&self.origin);
            Place { kind: Kind::Native, origin, address, lines }
        };
        let symbols = |image: &Image| image.symbols.as_ref()?.find(address);
        let found = self.debug.as_ref().and_then(symbols).or_else(|| symbols(&self.image));
        match found {
            Some((start, function)) => place(start, vec![Line { function, ..Line::default() }]),
            None => place(self.rules.function(address).unwrap_or(address), Vec::new()),
        }
    }
}

fn key(metadata: &Metadata) -> Key {
    Key::Seen {
        device: metadata.dev(),
        inode: metadata.ino(),
        bytes: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
    }
}

/// Where the debug information of a file may be, below which root; none where the file has its own.
fn debug_paths<'a>(image: &Image, path: &str, root: &'a Path) -> Vec<(&'a Path, String)> {
    let Some((first, rest)) = image.build_id.as_deref().and_then(|id| id.split_at_checked(2))
    else {
        return Vec::new();
    };
    if image.symbols.is_some() && !image.stripped {
        return Vec::new();
    }
    let by_id = format!("{DEBUG_DIR}/.build-id/{first}/{rest}.debug");
    let mut paths = vec![(root, by_id.clone()), (Path::new("/"), by_id)];
    let link = image.debug_link.as_deref().filter(|link| !link.contains('/'));
    if let (Some(link), Some((dir, _))) = (link, path.rsplit_once('/')) {
        let dir = dir.trim_start_matches('/');
        paths.push((root, format!("{dir}/{link}")));
        paths.push((root, format!("{dir}/.debug/{link}")));
        paths.push((root, format!("{DEBUG_DIR}/{dir}/{link}")));
    }
    paths
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    fn number(files: &mut Files, path: &str) -> u32 {
        files.number(&Arc::from(path), Path::new("/nowhere"), Path::new("/"))
    }

    /// Scenario: a file is looked for twice, then another, in a table that holds two; more come while both are in
    /// use, and again when they were not used for two intervals.
    /// Guarantees: a file is read once while it is held; one in use makes no room, so that the others go unread,
    /// a few by themselves and all beyond as one; the one used the longest ago makes room, and when it comes
    /// again it has another number; what is no program, and what is nowhere, is held as well, so that it is not
    /// read again and again.
    #[test]
    fn files_make_room() {
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().join("text");
        fs::write(&text, "not a program").unwrap();
        let text = text.display().to_string();
        let mut files = Files::new(1 << 30, 2);
        let own = std::env::current_exe().unwrap().display().to_string();
        let first = number(&mut files, &own);
        assert_eq!(number(&mut files, &own), first);
        let second = number(&mut files, &text);
        assert!(files.get(first).is_some() && files.get(second).is_some());
        let unread = number(&mut files, "/nowhere/1");
        assert_eq!(number(&mut files, "/nowhere/1"), unread);
        assert_ne!(number(&mut files, "/nowhere/2"), unread);
        let others = number(&mut files, "/nowhere/3");
        assert_eq!(number(&mut files, "/nowhere/4"), others);
        assert!(files.get(first).is_some() && files.get(second).is_some(), "they are in use");
        assert_eq!((files.take_counts(), files.held().0), ((2, 4), 5));
        let two_rounds = |files: &mut Files, used| {
            files.next_round();
            files.next_round();
            assert!(files.get(used).is_some());
        };
        two_rounds(&mut files, first);
        let third = number(&mut files, "/nowhere/at/all");
        assert_eq!(number(&mut files, "/nowhere/at/all"), third);
        assert!(files.get(second).is_none(), "it was used the longest ago");
        two_rounds(&mut files, third);
        assert_ne!(number(&mut files, &text), second);
        assert_eq!(files.held().0, 2);
        assert_eq!(files.take_counts().0, 2);
        let place = files.get(third).map(|file| file.place(0x1234));
        assert!(place.is_none_or(|place| place.lines.is_empty()));
    }

    /// Scenario: functions all over this test's own program are looked at, with little room for what is learnt of them.
    /// Guarantees: what is held stays within its room, whatever a function's tables take.
    #[test]
    fn functions_make_room() {
        let own = std::env::current_exe().unwrap().display().to_string();
        let mut files = Files::new(64 << 20, 10);
        files.table_bytes_max = 1 << 30;
        let first = number(&mut files, &own);
        files.bytes_max = 1 << 20;
        let tables = files.bytes;
        let (start, end) = files.get(first).unwrap().origin.range;
        let (mut found, mut most) = (0, 0);
        for address in (start..end).step_by(4_099).take(5_000) {
            let file = files.get(first).unwrap();
            found += u32::from(file.rules.function(address).is_some());
            most = most.max(files.held().1 - tables);
        }
        assert!(found > 1_000, "{found}");
        let room = (1 << 20) / FUNCTIONS_SHARE;
        assert!(most > room / 2 && most < room + (130 << 10), "{most}");
        files.list.clear();
        assert_eq!(files.learnt.all(), 0);
    }

    /// Scenario: of two files one is used in each interval.
    /// Guarantees: the other is let go, with what it takes.
    #[test]
    fn files_that_nobody_uses_are_let_go() {
        let mut files = Files::new(1 << 30, 10);
        let (used, unused) = (number(&mut files, "/nowhere/1"), number(&mut files, "/nowhere/2"));
        assert!(files.get(unused).is_some());
        for round in 0..KEPT_ROUNDS {
            assert_eq!(files.held(), (2, 2 * OWN_BYTES), "{round}");
            files.next_round();
            assert!(files.get(used).is_some());
        }
        assert_eq!(files.held(), (1, OWN_BYTES));
        assert_ne!(number(&mut files, "/nowhere/2"), unused);
    }

    /// Scenario: there is room for one file's tables, that file is in use, and another one comes; then it is not
    /// used for two intervals, and one more comes.
    /// Guarantees: the second goes without its tables, and that is counted, rather than both being read again and
    /// again; the third has its own in the place of the first.
    #[test]
    fn files_in_use_do_not_take_turns() {
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let copy = |name: &str| {
            let path = dir.path().join(name).display().to_string();
            fs::write(&path, &own).unwrap();
            path
        };
        let image = elf::image(File::open(copy("of")).unwrap(), 1 << 30).unwrap();
        let mut files = Files::new(image.bytes() * 3 / 2, 10);
        files.table_bytes_max = 1 << 30;
        let has_tables = |files: &mut Files, number| files.get(number).unwrap().image.bytes() > 0;
        let first = number(&mut files, &copy("first"));
        assert!(has_tables(&mut files, first));
        let second = number(&mut files, &copy("second"));
        assert!(has_tables(&mut files, first) && !has_tables(&mut files, second));
        assert_eq!(files.take_counts(), (2, 1));
        files.next_round();
        files.next_round();
        let third = number(&mut files, &copy("third"));
        assert!(has_tables(&mut files, third) && files.get(first).is_none());
        assert!(files.held().1 <= image.bytes() * 3 / 2);
    }

    /// Scenario: a stripped file beside the file to which its debug information was moved.
    /// Guarantees: it is looked for where distributions and debuggers have it; a file with all its symbols
    /// is not looked for, and a name that leads elsewhere is not followed.
    #[test]
    fn debug_files_are_where_they_should_be() {
        let mut image = Image {
            build_id: Some(Arc::from("abcdef")),
            debug_link: Some("app.debug".to_owned()),
            ..Image::default()
        };
        let of = |image: &Image| {
            let paths = debug_paths(image, "/opt/bin/app", Path::new("/proc/7/root"));
            let whole = |(root, path): &(&Path, String)| root.join(path).display().to_string();
            paths.iter().map(whole).collect::<Vec<_>>()
        };
        assert_eq!(
            of(&image),
            [
                "/proc/7/root/usr/lib/debug/.build-id/ab/cdef.debug",
                "/usr/lib/debug/.build-id/ab/cdef.debug",
                "/proc/7/root/opt/bin/app.debug",
                "/proc/7/root/opt/bin/.debug/app.debug",
                "/proc/7/root/usr/lib/debug/opt/bin/app.debug",
            ]
        );
        image.debug_link = Some("../../secret".to_owned());
        assert_eq!(of(&image).len(), 2);
        image.build_id = None;
        assert!(of(&image).is_empty());
    }
}
