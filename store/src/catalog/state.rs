//! The fold of all records: the snapshot, and what is needed to go on from it.
//!
//! Invariant: two states that applied the same records are equal, whatever the order in which the
//! sequences were mixed, as long as every compaction came after the commits that it names.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tracing::{debug, error};
use ulid::Ulid;

use crate::catalog::invariants::commit_follows;
use crate::catalog::layouts::Layouts;
use crate::catalog::read::Run;
use crate::catalog::record::{Body, Record, Removal, Sequence};
use crate::catalog::{FileEntry, Snapshot};
use crate::error::Error;
use crate::model::{FileId, Hold, HoldName, LogPosition, Table, UnixNanos, WriterId};

/// How far a sequence was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Applied {
    /// The number that comes next.
    pub(crate) next: u64,
    /// The id of the record before it: tells an index of this bucket from one of another.
    pub(crate) last: Ulid,
}

/// A file that was removed, until it is deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Removed {
    /// Where it is.
    pub(crate) path: String,
    /// When the record that removed it landed, or later.
    pub(crate) at: UnixNanos,
}

/// What one record changed: exactly what the index must write.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) sequence: Sequence,
    pub(crate) applied: Applied,
    pub(crate) covered: Option<(WriterId, LogPosition)>,
    pub(crate) added: Vec<Arc<FileEntry>>,
    pub(crate) removed: Vec<Removal>,
    pub(crate) garbage: Vec<(FileId, Removed)>,
    /// A hold that was made, or (`None`) released.
    pub(crate) hold: Option<(HoldName, Option<Hold>)>,
    /// The record had no effect: it came second.
    pub(crate) void: bool,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    snapshot: Snapshot,
    sequences: BTreeMap<Sequence, Applied>,
    removed: BTreeMap<FileId, Removed>,
    layouts: [Layouts; Table::ALL.len()],
}

impl State {
    /// Puts together what an index kept.
    pub(crate) fn restore(
        files: impl IntoIterator<Item = FileEntry>,
        covered: BTreeMap<WriterId, LogPosition>,
        sequences: BTreeMap<Sequence, Applied>,
        removed: BTreeMap<FileId, Removed>,
    ) -> Self {
        let mut state = Self { sequences, removed, ..Self::default() };
        files.into_iter().for_each(|file| drop(state.add(file)));
        covered.into_iter().for_each(|(writer, to)| state.snapshot.cover(writer, to));
        state.seal();
        state
    }

    /// Puts back the holds that an index kept.
    pub(crate) fn with_holds(mut self, holds: Vec<Hold>) -> Self {
        for hold in holds {
            self.snapshot.set_hold(hold.name.clone(), Some(hold));
        }
        self
    }

    /// The catalog as it stands.
    pub(crate) const fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// How far each sequence was applied.
    pub(crate) const fn sequences(&self) -> &BTreeMap<Sequence, Applied> {
        &self.sequences
    }

    /// Files that were removed and perhaps not yet deleted.
    pub(crate) const fn removed(&self) -> &BTreeMap<FileId, Removed> {
        &self.removed
    }

    /// Those of them that were removed before then.
    pub(crate) fn removed_before(&self, then: UnixNanos) -> Vec<FileId> {
        let old = self.removed.iter().filter(|(_, removed)| removed.at < then);
        old.map(|(id, _)| *id).collect()
    }

    /// The number that the next record of a sequence gets.
    pub(crate) fn next(&self, sequence: Sequence) -> u64 {
        self.sequences.get(&sequence).map_or(0, |applied| applied.next)
    }

    /// The next number of every sequence that is known.
    pub(crate) fn next_numbers(&self) -> BTreeMap<Sequence, u64> {
        self.sequences.iter().map(|(sequence, applied)| (*sequence, applied.next)).collect()
    }

    /// Applies what is new of a run; what was applied meanwhile is passed over. `changes` gets
    /// what took effect, also where a later record fails.
    pub(crate) fn apply_run(&mut self, run: Run, changes: &mut Vec<Change>) -> Result<(), Error> {
        let Run { sequence, first, records } = run;
        let known = usize::try_from(self.next(sequence).saturating_sub(first));
        for record in records.into_iter().skip(known.unwrap_or(usize::MAX)) {
            changes.push(self.apply(sequence, record)?);
        }
        Ok(())
    }

    /// Goes on with another number, past records that cannot be read. Only `store check` does
    /// that: a reader that passed over a record would answer wrongly.
    pub(crate) fn pass_over(&mut self, sequence: Sequence, next: u64) {
        self.sequences.insert(sequence, Applied { next, last: Ulid::nil() });
        self.seal();
    }

    /// Applies the next record of a sequence.
    pub(crate) fn apply(&mut self, sequence: Sequence, record: Record) -> Result<Change, Error> {
        let Record { id, at, body } = record;
        let number = self.next(sequence);
        let applied = Applied { next: number + 1, last: id };
        let mut change = match (sequence, body) {
            (Sequence::Writer(writer), Body::Commit { covers_from, covers_to, adds }) => {
                self.apply_commit(writer, covers_from, covers_to, adds)
            }
            (
                Sequence::Compaction,
                Body::Compaction { adds, removes }
                | Body::Deletion { cause: _, rows: _, adds, removes },
            ) => self.apply_compaction(adds, removes, at),
            (Sequence::Compaction, Body::Hold { name, time, condition, tables }) => {
                self.apply_hold(Hold { name, time, condition, tables, at })
            }
            (Sequence::Compaction, Body::Release { name }) => self.apply_release(name),
            (Sequence::Compaction, Body::Erasure(_)) => Change { void: false, ..Change::void() },
            (_, _) => {
                let reason = "it is of a kind that does not belong here".to_owned();
                return Err(Error::Damaged { path: sequence.path(number), reason });
            }
        };
        self.sequences.insert(sequence, applied);
        self.seal();
        change.sequence = sequence;
        change.applied = applied;
        if change.void {
            debug!(%sequence, number, "a catalog record is void");
        }
        Ok(change)
    }

    fn apply_commit(
        &mut self,
        writer: WriterId,
        covers_from: LogPosition,
        covers_to: LogPosition,
        adds: Vec<FileEntry>,
    ) -> Change {
        let covered_to = self.snapshot.covered_to(writer);
        if !commit_follows(covered_to, covers_from, covers_to) {
            // Nobody publishes such a record; counting it would show rows twice.
            error!(%writer, ?covers_from, ?covered_to, "a commit overlaps the one before it");
            return Change::void();
        }
        let added = adds.into_iter().map(|file| self.add(file)).collect();
        self.snapshot.cover(writer, covers_to);
        Change { added, covered: Some((writer, covers_to)), void: false, ..Change::void() }
    }

    fn apply_compaction(
        &mut self,
        adds: Vec<FileEntry>,
        removes: Vec<Removal>,
        at: UnixNanos,
    ) -> Change {
        if !removes.iter().all(|file| self.snapshot.has(file)) {
            // Its outputs were put for nothing: from here on they are garbage.
            let dead = adds.into_iter().map(|file| (file.id, Removed { path: file.path(), at }));
            let garbage: Vec<_> = dead.collect();
            self.removed.extend(garbage.iter().cloned());
            return Change { garbage, ..Change::void() };
        }
        let gone = |file: &Removal| (file.id, Removed { path: file.path.clone(), at });
        let garbage: Vec<_> = removes.iter().map(gone).collect();
        self.removed.extend(garbage.iter().cloned());
        for removal in &removes {
            self.snapshot.remove(removal);
        }
        let added = adds.into_iter().map(|file| self.add(file)).collect();
        Change { added, removed: removes, garbage, void: false, ..Change::void() }
    }

    fn add(&mut self, mut file: FileEntry) -> Arc<FileEntry> {
        if self.layouts[file.table as usize].share(&mut file.layout) {
            self.snapshot.add_types(file.table, &file.layout);
        }
        let file = Arc::new(file);
        self.snapshot.add(Arc::clone(&file));
        file
    }

    fn apply_hold(&mut self, hold: Hold) -> Change {
        if self.snapshot.hold(&hold.name).is_some() {
            // Nobody publishes such a record. The hold that was promised first is the one kept.
            error!(name = %hold.name, "a hold has the name of one that stands");
            return Change::void();
        }
        let name = hold.name.clone();
        self.snapshot.set_hold(name.clone(), Some(hold.clone()));
        Change { hold: Some((name, Some(hold))), void: false, ..Change::void() }
    }

    fn apply_release(&mut self, name: HoldName) -> Change {
        self.snapshot.set_hold(name.clone(), None);
        Change { hold: Some((name, None)), void: false, ..Change::void() }
    }

    /// Forgets files that are deleted.
    pub(crate) fn forget(&mut self, deleted: &[FileId]) {
        for id in deleted {
            self.removed.remove(id);
        }
    }

    fn seal(&mut self) {
        let records = self.sequences.values().map(|applied| applied.next).sum();
        let mut digest = DefaultHasher::new();
        self.sequences.hash(&mut digest);
        // No records is what a snapshot is by default, and must have one name.
        let digest = if records == 0 { 0 } else { digest.finish() };
        self.snapshot.seal(records, digest);
    }
}

impl Change {
    /// A change that changes nothing yet.
    fn void() -> Self {
        Self {
            sequence: Sequence::Compaction,
            applied: Applied { next: 0, last: Ulid::nil() },
            covered: None,
            added: Vec::new(),
            removed: Vec::new(),
            garbage: Vec::new(),
            hold: None,
            void: true,
        }
    }
}
