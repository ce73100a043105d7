//! What the catalog says, folded at the moment when each record lands, in the plainest way.
//!
//! It shares no code with [`State`](crate::catalog::state::State) but the decoding of a record,
//! and sees each row. It watches what readers cannot see: that a merge keeps every row, that no
//! row goes without a reason or against a hold, and that nothing is deleted too early.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::epochs::Epochs;
use super::grounds::{Grounds, Rule};
use super::world::{GRACE, Object, SKEW_MAX};
use crate::catalog::FileEntry;
use crate::catalog::record::{Body, Cause, Record, Removal};
use crate::model::{FileId, UnixNanos};

/// The bodies of a file's rows.
pub(super) type Bodies = Arc<Vec<String>>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    pub(super) grounds: Grounds,
    epochs: Epochs,
    /// Numbers taken, by folder.
    numbers: BTreeMap<String, u64>,
    /// Every record, in the order in which they landed: one that counts no more by one fence may
    /// count again by the next, whose owner read the catalog before the other fence was there.
    history: Vec<Landed>,
    /// Rows that were gone by a record that counted no more.
    doubtful: BTreeSet<String>,
    files: BTreeMap<FileId, Bodies>,
    live: BTreeSet<FileId>,
    /// When each was removed.
    removed: BTreeMap<FileId, Duration>,
    /// Rows that count, by body.
    rows: BTreeSet<String>,
    /// Rows that went, and when.
    gone: BTreeMap<String, Duration>,
    /// Files that were deleted without their grace, and when the last of them was.
    hurried: (BTreeSet<FileId>, Option<Duration>),
}

/// A record, and when it landed.
#[derive(Debug, Clone)]
struct Landed {
    path: String,
    bytes: Bytes,
    now: Duration,
    wall: UnixNanos,
    counts: bool,
}

/// The bucket at one moment.
#[derive(Clone, Copy)]
pub(super) struct Moment<'a> {
    pub(super) objects: &'a BTreeMap<String, Object>,
    pub(super) now: Duration,
    /// The bucket's own clock.
    pub(super) wall: UnixNanos,
}

impl Oracle {
    /// Nothing yet, and rules by which rows go.
    pub(super) fn ruled_by(rules: &'static [Rule]) -> Self {
        Self { grounds: Grounds::ruled_by(rules), ..Self::default() }
    }

    /// A record landed; whether it counts. Where owners follow one another, one that is not of the
    /// epoch that its number is of does not; and it may land twice.
    pub(super) fn landed(&mut self, path: &str, bytes: &Bytes, moment: Moment<'_>) -> bool {
        let (_, _, epoch) = place(path);
        if epoch.is_some() && self.history.iter().any(|landed| landed.path == path) {
            return false;
        }
        let (path, bytes) = (path.to_owned(), bytes.clone());
        let counts = self.of_its_epoch(&path);
        self.history.push(Landed { path, bytes, now: moment.now, wall: moment.wall, counts });
        if counts {
            self.count(self.history.len() - 1, moment.objects);
        }
        counts
    }

    /// Whether a record is of the epoch that its number is of.
    fn of_its_epoch(&self, path: &str) -> bool {
        let (folder, number, epoch) = place(path);
        self.epochs.at(&folder, number) == epoch
    }

    /// A fence landed. Of the records that counted, so many count no more, and of the others so many
    /// count now.
    pub(super) fn fenced(
        &mut self,
        path: &str,
        bytes: &[u8],
        moment: Moment<'_>,
    ) -> (usize, usize) {
        let (mut less, mut more) = (0, 0);
        if !self.epochs.fence(path, bytes) {
            return (less, more);
        }
        for at in 0..self.history.len() {
            let counts = self.of_its_epoch(&self.history[at].path);
            let before = std::mem::replace(&mut self.history[at].counts, counts);
            less += usize::from(before && !counts);
            more += usize::from(!before && counts);
        }
        if (less, more) == (0, 0) {
            return (less, more);
        }
        self.grounds.forget_holds();
        let gone = std::mem::take(&mut self.gone);
        self.doubtful.extend(gone.into_keys());
        (self.live, self.rows) = (BTreeSet::new(), BTreeSet::new());
        (self.numbers, self.removed) = (BTreeMap::new(), BTreeMap::new());
        for at in 0..self.history.len() {
            if self.history[at].counts {
                self.count(at, moment.objects);
            }
        }
        (less, more)
    }

    /// Counts a record of the history, all before it being counted.
    fn count(&mut self, at: usize, objects: &BTreeMap<String, Object>) {
        let Landed { path, bytes, now, wall, .. } = self.history[at].clone();
        let (folder, number, _) = place(&path);
        let next = self.numbers.insert(folder, number + 1).unwrap_or(0);
        assert_eq!(number, next, "`{path}` leaves a gap");
        let moment = Moment { objects, now, wall };
        let record = Record::decode(&path, &bytes).expect("only records are put there");
        match record.body {
            Body::Commit { adds, .. } => self.replace(&[], &adds, None, moment),
            Body::Compaction { adds, removes } => self.replace(&removes, &adds, None, moment),
            Body::Deletion { adds, removes, cause, .. } => {
                self.replace(&removes, &adds, Some(cause), moment);
            }
            Body::Hold { name, time, condition, .. } => {
                self.grounds.hold((name, time), condition.as_deref(), moment.now);
            }
            Body::Release { name } => self.grounds.release(&name, moment.now),
            Body::Erasure(_) => {}
        }
    }

    /// Files in the place of others, unless one of those is gone: then nothing happens.
    fn replace(
        &mut self,
        removes: &[Removal],
        adds: &[FileEntry],
        cause: Option<Cause>,
        moment: Moment<'_>,
    ) {
        if !removes.iter().all(|file| self.live.contains(&file.id)) {
            return;
        }
        let mut before: BTreeSet<String> = BTreeSet::new();
        for Removal { id, .. } in removes {
            self.live.remove(id);
            self.removed.insert(*id, moment.now);
            before.extend(self.files[id].iter().cloned());
        }
        before.iter().for_each(|body| assert!(self.rows.remove(body), "{body} was not there"));
        for file in adds {
            self.add(file, moment);
            for body in self.files[&file.id].iter() {
                assert!(self.rows.insert(body.clone()), "{body} is there twice");
                assert!(before.remove(body) || removes.is_empty(), "{body} was in no input");
                assert!(!self.gone.contains_key(body), "{body} comes back");
            }
        }
        for body in before {
            let latest = UnixNanos(self.latest(moment));
            let cause = cause.unwrap_or_else(|| panic!("{body} is lost in a merge"));
            self.grounds.check(cause, &body, latest);
            self.gone.insert(body, moment.now);
        }
    }

    /// What the fastest clock says.
    fn latest(&self, moment: Moment<'_>) -> i64 {
        moment.wall.0 + i64::try_from(SKEW_MAX.as_nanos()).unwrap_or(0)
    }

    fn add(&mut self, file: &FileEntry, moment: Moment<'_>) {
        let FileEntry { id, rows, .. } = file;
        assert!(!self.removed.contains_key(id), "{id} comes back");
        assert!(self.live.insert(*id), "{id} is added twice");
        if self.files.contains_key(id) {
            return;
        }
        let object = moment.objects.get(&file.path());
        let object = object.unwrap_or_else(|| panic!("{id} counts and is not there"));
        let bodies = bodies(&object.bytes);
        assert_eq!(*rows, bodies.len() as u64, "rows of {id}");
        self.files.insert(*id, bodies);
    }

    /// A file is deleted.
    pub(super) fn deleted(&mut self, file: FileId, now: Duration) {
        assert!(!self.live.contains(&file), "{file} is deleted and counts");
        let Some(removed) = self.removed.get(&file) else { return };
        let stayed = now.saturating_sub(*removed);
        // How long a reader may count on it.
        if stayed < GRACE.saturating_sub(SKEW_MAX) {
            let asked = self.files[&file].iter().any(|body| self.grounds.hurries(body));
            assert!(asked, "{file} is deleted {stayed:?} after it was removed");
            self.hurried.0.insert(file);
            self.hurried.1 = Some(now);
        }
    }

    /// Whether the file was deleted without its grace.
    pub(super) fn was_hurried(&self, file: FileId) -> bool {
        self.hurried.0.contains(&file)
    }

    /// Whether any was since.
    pub(super) fn hurried_since(&self, since: Duration) -> bool {
        self.hurried.1.is_some_and(|at| at >= since)
    }

    /// Whether the file counts.
    pub(super) fn is_live(&self, file: FileId) -> bool {
        self.live.contains(&file)
    }

    /// Rows that count and have the text.
    pub(super) fn rows_with(&self, text: &str) -> Vec<String> {
        self.rows.iter().filter(|body| body.contains(text)).cloned().collect()
    }

    /// Whether the row counts.
    pub(super) fn has(&self, body: &str) -> bool {
        self.rows.contains(body)
    }

    /// Whether the row was gone by a record that counts no more.
    pub(super) fn is_doubtful(&self, body: &str) -> bool {
        self.doubtful.contains(body)
    }

    /// When the row went.
    pub(super) fn gone(&self, body: &str) -> Option<Duration> {
        self.gone.get(body).copied()
    }
}

/// Folder, number and epoch of the record at a path.
fn place(path: &str) -> (String, u64, Option<String>) {
    let (folder, name) = path.rsplit_once('/').expect("a record is in a folder");
    let name = name.strip_suffix(".json").expect("a record is JSON");
    let (number, epoch) = match name.split_once('-') {
        Some((number, epoch)) => (number, Some(epoch.to_owned())),
        None => (name, None),
    };
    (folder.to_owned(), number.parse().expect("a record has a number"), epoch)
}

/// The bodies in a file, by nothing of ours.
pub(super) fn bodies(bytes: &Bytes) -> Bodies {
    let file = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).unwrap();
    let mask = ProjectionMask::columns(file.parquet_schema(), ["body"]);
    let batches = file.with_projection(mask).build().unwrap();
    let mut bodies = Vec::new();
    for batch in batches {
        let batch = batch.unwrap();
        let column = batch.column(0).as_string::<i32>();
        assert_eq!(column.null_count(), 0);
        bodies.extend(column.iter().flatten().map(str::to_owned));
    }
    Arc::new(bodies)
}
