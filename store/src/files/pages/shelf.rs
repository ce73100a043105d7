//! What is kept of which data files, and what goes when there is no room.
//!
//! Invariant: the bytes are those of all files that are known. A file goes in its turn, but for those that
//! somebody found something in since: each such time, up to a few, is a turn more.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::disk::{Loaded, Place};
use crate::catalog::{FileEntry, Snapshot};
use crate::model::{FileId, Table, UnixNanos};

/// The turns that a file may have saved up: what was asked for often once goes at last.
const TURNS_MAX: u8 = 3;

/// A data file, with what it takes to ask the catalog for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Name {
    table: Table,
    hour: UnixNanos,
    pub(super) id: FileId,
}

impl Name {
    /// Of a file.
    pub(super) const fn of(file: &FileEntry) -> Self {
        Self { table: file.table, hour: file.hour, id: file.id }
    }

    /// Of a file that was removed.
    pub(super) const fn new(table: Table, hour: UnixNanos, id: FileId) -> Self {
        Self { table, hour, id }
    }

    /// The name of what is kept of it.
    pub(super) fn file_name(&self) -> String {
        format!("{}.{}.{}", self.table, self.hour.0, self.id)
    }

    /// The data file of which something is kept under this name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('.');
        let table = parts.next()?.parse().ok()?;
        let hour = UnixNanos(parts.next()?.parse().ok()?);
        let id = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some(Self { table, hour, id })
    }

    /// How many bytes it has; `None` where the catalog does not name it.
    pub(super) fn file_bytes(&self, snapshot: &Snapshot) -> Option<u64> {
        snapshot.file(self.table, (self.hour, self.id)).map(|file| file.bytes)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    files: HashMap<Name, Kept>,
    /// The next to go first, each under its place in the row.
    order: BTreeMap<u64, Name>,
    /// The place behind the last.
    behind: u64,
    bytes: u64,
}

/// What is kept of one data file.
#[derive(Debug)]
struct Kept {
    /// `None` until somebody asks.
    blocks: Option<HashMap<u64, Place>>,
    /// Where they end.
    end: u64,
    /// What it takes on disk: more than that where its end is torn.
    bytes: u64,
    turns: u8,
    place: u64,
}

impl Shelf {
    /// Bytes on disk.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many data files something is kept of.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// All of them.
    pub(super) fn names(&self) -> Vec<Name> {
        self.order.values().copied().collect()
    }

    /// Whether anything is kept of a file.
    pub(super) fn knows(&self, name: &Name) -> bool {
        self.files.contains_key(name)
    }

    /// Something of so many bytes is kept of a file, and nobody has looked yet what.
    pub(super) fn found(&mut self, name: Name, bytes: u64) {
        if !self.knows(&name) {
            self.put(name, None, bytes);
        }
    }

    /// A file that is new, behind all others.
    fn put(&mut self, name: Name, blocks: Option<HashMap<u64, Place>>, bytes: u64) {
        let place = self.behind;
        self.files.insert(name, Kept { blocks, end: bytes, bytes, turns: 0, place });
        self.order.insert(place, name);
        self.behind += 1;
        self.bytes += bytes;
    }

    /// Whether somebody has to look what is kept of a file.
    pub(super) fn is_unread(&self, name: &Name) -> bool {
        self.files.get(name).is_some_and(|kept| kept.blocks.is_none())
    }

    /// This is what is kept of a file, unless somebody looked before.
    pub(super) fn read(&mut self, name: &Name, loaded: Loaded) {
        let Loaded { blocks, end, bytes } = loaded;
        if let Some(kept) = self.files.get_mut(name).filter(|kept| kept.blocks.is_none()) {
            self.bytes = self.bytes - kept.bytes + bytes;
            (kept.blocks, kept.end, kept.bytes) = (Some(blocks), end, bytes);
        }
    }

    /// Where the blocks are that are here of these runs, run by run; whoever finds some gives the file
    /// another turn.
    pub(super) fn places(
        &mut self,
        name: &Name,
        runs: &[Range<u64>],
    ) -> Vec<(Range<u64>, Vec<Place>)> {
        let mut found: Vec<(Range<u64>, Vec<Place>)> = Vec::new();
        let Some(kept) = self.files.get_mut(name) else { return found };
        let Some(blocks) = &kept.blocks else { return found };
        for run in runs {
            let mut next = None;
            for block in run.clone() {
                let Some(place) = blocks.get(&block).copied() else { continue };
                match found.last_mut().filter(|_| next == Some(block)) {
                    Some((here, places)) => {
                        here.end = block + 1;
                        places.push(place);
                    }
                    None => found.push((block..block + 1, vec![place])),
                }
                next = Some(block + 1);
            }
        }
        if !found.is_empty() {
            kept.turns = TURNS_MAX.min(kept.turns + 1);
        }
        found
    }

    /// Whether a block is still where it was.
    pub(super) fn has(&self, name: &Name, block: u64, place: &Place) -> bool {
        let blocks = self.files.get(name).and_then(|kept| kept.blocks.as_ref());
        blocks.and_then(|blocks| blocks.get(&block)) == Some(place)
    }

    /// The blocks of a run that are not kept, and where the file ends.
    pub(super) fn lacks(&self, name: &Name, run: &Range<u64>) -> (Vec<u64>, u64) {
        let Some(kept) = self.files.get(name) else { return (run.clone().collect(), 0) };
        let has = |block: &u64| kept.blocks.as_ref().is_some_and(|all| all.contains_key(block));
        (run.clone().filter(|block| !has(block)).collect(), kept.end)
    }

    /// Blocks were put behind the others.
    pub(super) fn grown(&mut self, name: Name, places: Vec<(u64, Place)>, end: u64) {
        if !self.knows(&name) {
            self.put(name, Some(HashMap::new()), 0);
        }
        let Some(kept) = self.files.get_mut(&name) else { return };
        kept.blocks.get_or_insert_default().extend(places);
        self.bytes = self.bytes - kept.bytes + end;
        (kept.end, kept.bytes) = (end, end);
    }

    /// The file that goes next to make room, but for the one that it is made for.
    pub(super) fn next_to_go(&mut self, other: Option<&Name>) -> Option<Name> {
        // Each has at most so many turns, and then one comes to its end.
        for _ in 0..self.order.len() * (usize::from(TURNS_MAX) + 1) {
            let (_, name) = self.order.pop_first()?;
            let kept = self.files.get_mut(&name)?;
            kept.place = self.behind;
            self.order.insert(self.behind, name);
            self.behind += 1;
            if Some(&name) == other {
                continue;
            }
            if kept.turns == 0 {
                return Some(name);
            }
            kept.turns -= 1;
        }
        None
    }

    /// Nothing is kept of a file any more; how many bytes were.
    pub(super) fn remove(&mut self, name: &Name) -> Option<u64> {
        let kept = self.files.remove(name)?;
        self.order.remove(&kept.place);
        self.bytes -= kept.bytes;
        Some(kept.bytes)
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "one range is meant")]
mod tests {
    use super::super::disk;
    use super::*;

    fn name(number: u128) -> Name {
        Name::new(Table::Spans, UnixNanos(-3_600_000_000_000), FileId(ulid::Ulid(number)))
    }

    /// Scenario: three files, one of which something is found in, have to make room one after the other.
    /// Guarantees: what nobody used goes first, in the order in which it came; what was used goes after, and
    /// the one that asks for room never; bytes are those of what is left.
    #[test]
    fn what_was_used_has_another_turn() {
        let mut shelf = Shelf::default();
        (1..=3).for_each(|number| shelf.found(name(number), 10));
        shelf.found(name(2), 10);
        assert!(shelf.is_unread(&name(1)) && shelf.places(&name(1), &[0..1]).is_empty());
        let (loaded, end) = loaded(3);
        shelf.read(&name(1), loaded);
        assert_eq!(shelf.bytes(), 20 + end + 3, "what is torn takes its room");
        let found = shelf.places(&name(1), &[0..2, 5..6]);
        assert!(matches!(&found[..], [(run, places)] if *run == (0..1) && places.len() == 1));
        assert_eq!(shelf.lacks(&name(1), &(0..3)), (vec![1, 2], end));
        let mut gone = Vec::new();
        while let Some(next) = shelf.next_to_go(Some(&name(3))) {
            assert!(shelf.remove(&next).is_some());
            gone.push(next);
        }
        assert_eq!(gone, [name(2), name(1)]);
        assert_eq!((shelf.bytes(), shelf.len(), shelf.names()), (10, 1, vec![name(3)]));
    }

    /// One block of a data file of seven bytes, and so many bytes behind it that are torn.
    fn loaded(torn: u64) -> (Loaded, u64) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one");
        let block = (0, bytes::Bytes::from_static(b"a block"));
        let (_, end) = disk::append(&path, name(1).id, 0, &[block]).unwrap();
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(end + torn).unwrap();
        (disk::load(&path, name(1).id, 7).unwrap(), end)
    }

    /// Scenario: what was torn is written over; then the file goes.
    /// Guarantees: it takes what it takes on disk, and nothing once it is gone.
    #[test]
    fn bytes_are_those_on_disk() {
        let mut shelf = Shelf::default();
        shelf.found(name(1), 999);
        let (loaded, end) = loaded(40);
        shelf.read(&name(1), loaded);
        assert_eq!((shelf.bytes(), shelf.lacks(&name(1), &(0..1)).1), (end + 40, end));
        shelf.grown(name(1), Vec::new(), end + 9);
        assert_eq!(shelf.bytes(), end + 9);
        shelf.grown(name(2), Vec::new(), 5);
        assert_eq!((shelf.remove(&name(1)), shelf.remove(&name(1))), (Some(end + 9), None));
        assert_eq!((shelf.bytes(), shelf.names()), (5, vec![name(2)]));
    }

    /// Scenario: names as they are written, and names of other things.
    /// Guarantees: the former come back, the latter are none.
    #[test]
    fn names_come_back() {
        let one = name(77);
        assert_eq!(Name::parse(&one.file_name()), Some(one));
        for other in ["lock", "spans.1", "spans.x.01ARZ3NDEKTSV4RRFFQ69G5FAV", "..", ""] {
            assert_eq!(Name::parse(other), None, "{other}");
        }
        assert_eq!(Name::parse(&format!("{}.tmp", one.file_name())), None);
    }
}
