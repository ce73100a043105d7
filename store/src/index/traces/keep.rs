//! Makes, merges and drops segments. All of it is work on local disk, for blocking threads.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::{info, warn};
use ulid::Ulid;

use super::merge::merge;
use super::page::Pair;
use super::plan::{self, Day};
use super::segment::{Segment, write};
use super::{SUFFIX, Traces, remove};
use crate::catalog::{FileKey, Snapshot};
use crate::model::{FileId, Table, UnixNanos};

/// Which files are there still.
#[derive(Debug)]
pub(super) struct Alive {
    /// The newest snapshot.
    pub(super) snapshot: Arc<Snapshot>,
    /// Files that left the catalog and are not deleted yet: older snapshots have them.
    pub(super) removed: BTreeSet<FileId>,
    pub(super) now: UnixNanos,
}

impl Alive {
    fn has(&self, file: FileKey) -> bool {
        self.snapshot.file(Table::Spans, file).is_some() || self.removed.contains(&file.1)
    }
}

impl Traces {
    /// Begins to keep prints of files that this process writes; `false` where there is no folder.
    pub(super) fn begin(&self) -> bool {
        self.kept.store(self.lock.is_some(), Ordering::Release);
        self.lock.is_some()
    }

    /// Ends it until the next start: the disk fails. What is there goes on to answer.
    pub(super) fn end(&self, error: &io::Error) {
        self.kept.store(false, Ordering::Release);
        *self.stash() = super::Stash::default();
        self.metrics.index_failed();
        let folder = self.folder.display();
        warn!(%folder, %error, "no more trace filters are made until the next start");
    }

    /// Makes segments of the files that wait and whose prints are at hand; whether there were any.
    /// They answer from the stash until a segment does.
    pub(super) fn keep_stashed(&self, snapshot: &Snapshot) -> io::Result<bool> {
        let wanted: BTreeMap<FileId, FileKey> = {
            let known = self.known();
            let waiting = known.waiting().map(|file| (file.1, file));
            waiting.filter(|(_, file)| snapshot.file(Table::Spans, *file).is_some()).collect()
        };
        let stashed = self.stash().some(|id| wanted.contains_key(&id));
        let files: Vec<_> = stashed.into_iter().map(|(id, prints)| (wanted[&id], prints)).collect();
        let ids: Vec<FileId> = files.iter().map(|(file, _)| file.1).collect();
        self.keep(files)?;
        let mut stash = self.stash();
        ids.iter().for_each(|id| stash.forget(*id));
        Ok(!ids.is_empty())
    }

    /// Whether there are prints of files that no segment was made of.
    pub(super) fn has_stashed(&self) -> bool {
        self.stash().files().next().is_some()
    }

    /// Lets go of the prints of files that left the catalog before there was a segment of them: no
    /// new query comes for those.
    pub(super) fn drop_stashed(&self, removed: &BTreeSet<FileId>) {
        let mut stash = self.stash();
        let gone: Vec<FileId> = stash.files().filter(|id| removed.contains(id)).collect();
        gone.into_iter().for_each(|id| stash.forget(id));
    }

    /// Files of the snapshot that wait, newest first.
    pub(super) fn waiting(
        &self,
        snapshot: &Snapshot,
        unreadable: &BTreeSet<FileId>,
        files_max: usize,
    ) -> Vec<FileKey> {
        let known = self.known();
        let files = known.waiting().filter(|file| !unreadable.contains(&file.1));
        files.filter(|file| snapshot.file(Table::Spans, *file).is_some()).take(files_max).collect()
    }

    /// Makes segments of these files, one a day. A day that there is no room for is left to wait.
    pub(super) fn keep(&self, files: Vec<(FileKey, Arc<[u64]>)>) -> io::Result<()> {
        let mut days: BTreeMap<Day, BTreeMap<FileKey, Arc<[u64]>>> = BTreeMap::new();
        for (file, prints) in files {
            days.entry(Day::of_file(file)).or_default().insert(file, prints);
        }
        for (day, files) in days {
            let pairs: usize = files.values().map(|prints| prints.len()).sum();
            let mut sorted: Vec<Pair> = Vec::with_capacity(pairs);
            for (number, prints) in (0..).zip(files.values()) {
                sorted.extend(prints.iter().map(|print| (*print, number)));
            }
            sorted.sort_unstable();
            let names = files.into_keys().collect();
            let segment = write(&self.path(), names, sorted.into_iter().map(Ok))?;
            if self.make_room(day, segment.bytes) {
                self.known().cover(segment);
            } else {
                remove(&segment.path);
            }
        }
        self.measure();
        Ok(())
    }

    /// Merges segments until no day has too many.
    pub(super) fn merge(&self, alive: &Alive) -> io::Result<()> {
        loop {
            let plan = {
                let known = self.known();
                let mut days = known.days().iter();
                days.find_map(|(day, segments)| plan::merge(segments, day.is_over(alive.now)))
            };
            let Some(inputs) = plan else { break };
            self.merge_into_one(&inputs, alive)?;
        }
        self.measure();
        Ok(())
    }

    /// Lets go of files that are deleted, and writes segments anew that are mostly of such.
    pub(super) fn sweep(&self, alive: &Alive) -> io::Result<()> {
        let (gone, segments) = {
            let mut known = self.known();
            let gone = known.files().filter(|file| !alive.has(*file));
            let gone: BTreeSet<FileId> = gone.map(|file| file.1).collect();
            known.sweep(&gone, alive.snapshot.records());
            (gone, known.segments().cloned().collect::<Vec<_>>())
        };
        self.drop_stashed(&gone);
        for segment in segments {
            let left = segment.files.iter().filter(|file| !gone.contains(&file.1)).count();
            if left <= segment.files.len() / 2 {
                self.merge_into_one(&[segment], alive)?;
            }
        }
        self.measure();
        Ok(())
    }

    fn merge_into_one(&self, inputs: &[Arc<Segment>], alive: &Alive) -> io::Result<()> {
        let merged = match merge(&self.path(), inputs, |file| alive.has(*file)) {
            Ok(merged) => merged,
            Err(error) => return self.lose_unreadable(inputs, error),
        };
        let files = inputs.iter().flat_map(|segment| &segment.files);
        let gone = files.filter(|file| !alive.has(**file)).map(|file| file.1).collect();
        let path = merged.as_ref().map(|segment| segment.path.clone());
        let replaced = {
            let mut known = self.known();
            known.sweep(&gone, alive.snapshot.records());
            known.replace(inputs, merged)
        };
        match replaced {
            true => inputs.iter().for_each(|segment| remove(&segment.path)),
            false => path.iter().for_each(|path| remove(path)),
        }
        Ok(())
    }

    /// A merge failed: what cannot be read is lost; where all can, it is the disk that fails.
    fn lose_unreadable(&self, inputs: &[Arc<Segment>], error: io::Error) -> io::Result<()> {
        let mut lost = false;
        for segment in inputs {
            let read =
                segment.pairs().and_then(|mut pairs| pairs.try_for_each(|pair| pair.map(drop)));
            if let Err(error) = read {
                self.lose(segment, &error);
                lost = true;
            }
        }
        if lost { Ok(()) } else { Err(error) }
    }

    /// Puts older days out until there is room; `false` where there are none. Then this day and
    /// those before it are not tried again.
    fn make_room(&self, day: Day, bytes: u64) -> bool {
        loop {
            let evicted = {
                let mut known = self.known();
                if known.bytes() + bytes <= self.config.disk_bytes_max {
                    return true;
                }
                known.evict(day)
            };
            let Some(evicted) = evicted else { return false };
            let files: usize = evicted.iter().map(|segment| segment.files.len()).sum();
            let bound_bytes = self.config.disk_bytes_max;
            info!(files, bound_bytes, "the oldest day of trace filters made room for a newer one");
            evicted.iter().for_each(|segment| remove(&segment.path));
        }
    }

    fn path(&self) -> PathBuf {
        // A name that no other segment has, so that one which is lost is never taken for it.
        let name = Ulid::from(rand::random::<u128>());
        self.folder.join(format!("{name}.{SUFFIX}"))
    }
}
