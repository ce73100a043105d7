//! Prints of files that this process wrote itself, until they are in a segment.
//!
//! Invariant: the stash stays within its bound. What it lets go is read from the bucket later. The
//! prints of a file are all that its rows have, so that they answer for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::FileId;

#[derive(Debug, Default)]
pub(super) struct Stash {
    files: BTreeMap<FileId, Arc<[u64]>>,
    bytes: usize,
}

impl Stash {
    /// Keeps the prints of a file, which are in order; the oldest go where they would take more than `bytes_max`.
    pub(super) fn put(&mut self, file: FileId, prints: Vec<u64>, bytes_max: usize) {
        self.bytes += bytes_of(&prints);
        if let Some(same) = self.files.insert(file, prints.into()) {
            self.bytes -= bytes_of(&same);
        }
        while self.bytes > bytes_max {
            let Some((_, oldest)) = self.files.pop_first() else { return };
            self.bytes -= bytes_of(&oldest);
        }
    }

    /// Whether a file has a print; `None` where nothing is known of it.
    pub(super) fn has(&self, file: FileId, print: u64) -> Option<bool> {
        self.files.get(&file).map(|prints| prints.binary_search(&print).is_ok())
    }

    /// The files that are wanted.
    pub(super) fn some(&self, wanted: impl Fn(FileId) -> bool) -> Vec<(FileId, Arc<[u64]>)> {
        let files = self.files.iter().filter(|(id, _)| wanted(**id));
        files.map(|(id, prints)| (*id, Arc::clone(prints))).collect()
    }

    /// The files that it knows of.
    pub(super) fn files(&self) -> impl Iterator<Item = FileId> {
        self.files.keys().copied()
    }

    /// Lets go of a file.
    pub(super) fn forget(&mut self, file: FileId) {
        if let Some(prints) = self.files.remove(&file) {
            self.bytes -= bytes_of(&prints);
        }
    }
}

const fn bytes_of(prints: &[u64]) -> usize {
    size_of_val(prints) + size_of::<(FileId, Arc<[u64]>)>()
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;

    fn id(number: u64) -> FileId {
        FileId(Ulid::from_parts(number, 0))
    }

    /// Scenario: files come in until there is no room, one of them twice; some are let go of.
    /// Guarantees: the oldest go, those that are there answer for themselves and no others, and the
    /// bytes add up.
    #[test]
    fn the_oldest_go_first() {
        let mut stash = Stash::default();
        let room = 3 * bytes_of(&[0; 10]);
        (0..5).for_each(|number| stash.put(id(number), vec![number; 10], room));
        stash.put(id(4), vec![9; 10], room);
        assert_eq!(stash.files.keys().copied().collect::<Vec<_>>(), [id(2), id(3), id(4)]);
        let some = [(id(2), Arc::from([2; 10])), (id(4), Arc::from([9; 10]))];
        assert_eq!(stash.some(|file| file != id(3)), some);
        let has = |file, print| stash.has(id(file), print);
        assert_eq!((has(4, 9), has(4, 4), has(1, 1)), (Some(true), Some(false), None));
        [2, 4, 4].into_iter().for_each(|file| stash.forget(id(file)));
        assert_eq!(stash.bytes, bytes_of(&[0; 10]));
        stash.put(id(6), vec![0; 1000], room);
        assert!(stash.files.is_empty() && stash.bytes == 0);
    }
}
