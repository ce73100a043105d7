//! What is known: segments by day, and the files that are in none.
//!
//! Invariant: a span file that was ever in the catalog of this process is in a segment, or waits,
//! or is gone from every snapshot that has at least `floor` records.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::plan::Day;
use super::segment::Segment;
use crate::catalog::{FileEntry, FileKey, Snapshot};
use crate::model::{FileId, Table, UnixNanos};

#[derive(Debug, Default)]
pub(super) struct Known {
    days: BTreeMap<Day, Vec<Arc<Segment>>>,
    /// Files without a segment, and their hours. Names sort by the time at which they were given.
    waiting: BTreeMap<FileId, UnixNanos>,
    /// Snapshots of fewer records may have files that are in no set here any more.
    floor: u64,
    /// Days before it were put out for want of room, and are not filled again.
    evicted_before: Option<Day>,
}

/// What a look-up goes through, as it was at one moment.
#[derive(Debug)]
pub(super) struct View {
    pub(super) segments: Vec<Arc<Segment>>,
    /// Files that nothing is known of.
    pub(super) unknown: Vec<Arc<FileEntry>>,
}

impl Known {
    /// Begins anew over what the disk has: every other span file of the catalog waits. Returns the
    /// segments that say nothing that others do not.
    pub(super) fn new(mut segments: Vec<Segment>, snapshot: &Snapshot) -> (Self, Vec<Segment>) {
        let (mut known, mut covered, mut useless) = (Self::default(), HashSet::new(), Vec::new());
        segments.sort_by_key(|segment| std::cmp::Reverse(segment.files.len()));
        for segment in segments {
            let says = |file: &&FileKey| snapshot.file(Table::Spans, **file).is_some();
            let says: Vec<FileKey> = segment.files.iter().filter(says).copied().collect();
            if says.iter().all(|file| covered.contains(file)) {
                useless.push(segment);
                continue;
            }
            covered.extend(says);
            known.days.entry(Day::of(&segment)).or_default().push(Arc::new(segment));
        }
        let files = snapshot.all(Table::Spans).map(|file| file.key());
        let waiting = files.filter(|key| !covered.contains(key));
        known.waiting = waiting.map(|(hour, id)| (id, hour)).collect();
        (known, useless)
    }

    /// Files came into the catalog.
    pub(super) fn added(&mut self, files: impl Iterator<Item = FileKey>) {
        self.waiting.extend(files.map(|(hour, id)| (id, hour)));
    }

    /// What a look-up in this snapshot must go through.
    pub(super) fn view(&self, snapshot: &Snapshot) -> View {
        let segments: Vec<_> = self.days.values().flatten().cloned().collect();
        let unknown = if snapshot.records() < self.floor {
            let covered: HashSet<FileKey> =
                segments.iter().flat_map(|segment| segment.files.iter().copied()).collect();
            let files = snapshot.all(Table::Spans);
            files.filter(|file| !covered.contains(&file.key())).cloned().collect()
        } else {
            let waiting = self.waiting.iter().map(|(id, hour)| (*hour, *id));
            waiting.filter_map(|key| snapshot.file(Table::Spans, key).cloned()).collect()
        };
        View { segments, unknown }
    }

    /// A segment is there: its files wait no longer.
    pub(super) fn cover(&mut self, segment: Segment) {
        for (_, id) in &segment.files {
            self.waiting.remove(id);
        }
        self.days.entry(Day::of(&segment)).or_default().push(Arc::new(segment));
    }

    /// One segment stands for several now; `false` where one of those is gone meanwhile.
    pub(super) fn replace(&mut self, old: &[Arc<Segment>], new: Option<Segment>) -> bool {
        if !old.iter().all(|segment| self.has(segment)) {
            return false;
        }
        old.iter().for_each(|segment| self.take_out(segment));
        if let Some(new) = new {
            self.days.entry(Day::of(&new)).or_default().push(Arc::new(new));
        }
        true
    }

    /// A segment cannot be read: its files wait. `false` where it is not known any more.
    pub(super) fn lose(&mut self, segment: &Arc<Segment>) -> bool {
        let has = self.has(segment);
        if has {
            self.take_out(segment);
            self.added(segment.files.iter().copied());
        }
        has
    }

    /// Puts the oldest day before `day` out, and gives its segments; `None` where there is none.
    /// Neither what is put out nor what found no room is wanted again.
    pub(super) fn evict(&mut self, day: Day) -> Option<Vec<Arc<Segment>>> {
        let oldest = self.days.first_key_value().map(|(oldest, _)| *oldest);
        let out = oldest.filter(|oldest| *oldest < day);
        self.evicted_before = self.evicted_before.max(Some(out.unwrap_or(day).next()));
        let segments = self.days.remove(&out?)?;
        for segment in &segments {
            self.added(segment.files.iter().copied());
        }
        Some(segments)
    }

    /// Forgets files that are gone for good. From now on older snapshots are looked through whole.
    pub(super) fn sweep(&mut self, gone: &BTreeSet<FileId>, records: u64) {
        if !gone.is_empty() {
            self.waiting.retain(|id, _| !gone.contains(id));
            self.floor = self.floor.max(records);
        }
    }

    /// The files that wait, newest first, without those of days that were put out.
    pub(super) fn waiting(&self) -> impl Iterator<Item = FileKey> {
        let files = self.waiting.iter().rev().map(|(id, hour)| (*hour, *id));
        files.filter(|file| self.evicted_before.is_none_or(|day| day <= Day::of_file(*file)))
    }

    /// Every file that is known, in a segment or not.
    pub(super) fn files(&self) -> impl Iterator<Item = FileKey> {
        let covered = self.segments().flat_map(|segment| segment.files.iter().copied());
        covered.chain(self.waiting.iter().map(|(id, hour)| (*hour, *id)))
    }

    pub(super) const fn days(&self) -> &BTreeMap<Day, Vec<Arc<Segment>>> {
        &self.days
    }

    pub(super) fn segments(&self) -> impl Iterator<Item = &Arc<Segment>> {
        self.days.values().flatten()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.segments().map(|segment| segment.bytes).sum()
    }

    /// Files that wait, and files in segments; one that is in two counts twice.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.waiting.len(), self.segments().map(|segment| segment.files.len()).sum())
    }

    fn has(&self, segment: &Arc<Segment>) -> bool {
        let day = self.days.get(&Day::of(segment));
        day.is_some_and(|segments| segments.iter().any(|other| Arc::ptr_eq(other, segment)))
    }

    fn take_out(&mut self, segment: &Arc<Segment>) {
        let day = Day::of(segment);
        if let Some(segments) = self.days.get_mut(&day) {
            segments.retain(|other| !Arc::ptr_eq(other, segment));
            if segments.is_empty() {
                self.days.remove(&day);
            }
        }
    }
}
