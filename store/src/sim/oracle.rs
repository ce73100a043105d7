//! What the catalog says, folded at the moment when each record lands, in the plainest way.
//!
//! It shares no code with [`State`](crate::catalog::state::State) but the decoding of a record,
//! and watches what readers cannot see: that nothing is deleted too early.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::catalog::record::{Body, Record};
use crate::model::FileId;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    /// Numbers taken, by folder.
    numbers: BTreeMap<String, u64>,
    live: BTreeSet<FileId>,
    /// When each was removed.
    removed: BTreeMap<FileId, Duration>,
}

impl Oracle {
    /// A record landed.
    pub(super) fn landed(&mut self, path: &str, bytes: &[u8], now: Duration) {
        let record = Record::decode(path, bytes).expect("only records are put there");
        let (folder, name) = path.rsplit_once('/').expect("a record is in a folder");
        let number: u64 = name.strip_suffix(".json").and_then(|name| name.parse().ok()).unwrap();
        let next = self.numbers.entry(folder.to_owned()).or_default();
        assert_eq!(number, *next, "`{path}` leaves a gap");
        *next += 1;
        match record.body {
            Body::Commit { adds, .. } => self.add(adds.iter().map(|file| file.id)),
            Body::Hold { .. } | Body::Release { .. } | Body::Erasure(_) => {}
            Body::Compaction { adds, removes } | Body::Deletion { adds, removes, .. } => {
                if removes.iter().all(|file| self.live.contains(&file.id)) {
                    for file in &removes {
                        self.live.remove(&file.id);
                        self.removed.insert(file.id, now);
                    }
                    self.add(adds.iter().map(|file| file.id));
                }
            }
        }
    }

    fn add(&mut self, files: impl Iterator<Item = FileId>) {
        for file in files {
            assert!(!self.removed.contains_key(&file), "{file} comes back");
            assert!(self.live.insert(file), "{file} is added twice");
        }
    }

    /// A file is deleted; `grace` is how long a reader may count on it.
    pub(super) fn deleted(&self, file: FileId, grace: Duration, now: Duration) {
        assert!(!self.live.contains(&file), "{file} is deleted and counts");
        if let Some(removed) = self.removed.get(&file) {
            let stayed = now.saturating_sub(*removed);
            assert!(stayed >= grace, "{file} is deleted {stayed:?} after it was removed");
        }
    }
}
