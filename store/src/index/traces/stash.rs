//! Prints of files that this process wrote itself, until they are in a segment.
//!
//! Invariant: the stash stays within its bound. What it lets go is read from the bucket later.

use std::collections::BTreeMap;

use crate::model::FileId;

#[derive(Debug, Default)]
pub(super) struct Stash {
    files: BTreeMap<FileId, Vec<u64>>,
    bytes: usize,
}

impl Stash {
    /// Keeps the prints of a file; the oldest go where they would take more than `bytes_max`.
    pub(super) fn put(&mut self, file: FileId, prints: Vec<u64>, bytes_max: usize) {
        self.bytes += bytes_of(&prints);
        if let Some(same) = self.files.insert(file, prints) {
            self.bytes -= bytes_of(&same);
        }
        while self.bytes > bytes_max {
            let Some((_, oldest)) = self.files.pop_first() else { return };
            self.bytes -= bytes_of(&oldest);
        }
    }

    /// Takes the files that are wanted.
    pub(super) fn take(&mut self, wanted: impl Fn(FileId) -> bool) -> Vec<(FileId, Vec<u64>)> {
        let ids: Vec<FileId> = self.files.keys().copied().filter(|id| wanted(*id)).collect();
        let taken: Vec<_> = ids.into_iter().filter_map(|id| self.files.remove_entry(&id)).collect();
        self.bytes -= taken.iter().map(|(_, prints)| bytes_of(prints)).sum::<usize>();
        taken
    }
}

const fn bytes_of(prints: &[u64]) -> usize {
    size_of_val(prints) + size_of::<(FileId, Vec<u64>)>()
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;

    fn id(number: u64) -> FileId {
        FileId(Ulid::from_parts(number, 0))
    }

    /// Scenario: files come in until there is no room, one of them twice; some are taken.
    /// Guarantees: the oldest go, what is taken is gone, and the bytes add up.
    #[test]
    fn the_oldest_go_first() {
        let mut stash = Stash::default();
        let room = 3 * bytes_of(&[0; 10]);
        (0..5).for_each(|number| stash.put(id(number), vec![number; 10], room));
        stash.put(id(4), vec![9; 10], room);
        assert_eq!(stash.files.keys().copied().collect::<Vec<_>>(), [id(2), id(3), id(4)]);
        assert_eq!(stash.take(|file| file != id(3)), [(id(2), vec![2; 10]), (id(4), vec![9; 10])]);
        assert_eq!(stash.bytes, bytes_of(&[0; 10]));
        stash.put(id(6), vec![0; 1000], room);
        assert!(stash.files.is_empty() && stash.bytes == 0);
    }
}
