//! Which span files may hold a trace, told from local disk.
//!
//! Segments hold sorted pairs of trace id and file, so that one look-up among any number of files
//! reads about one page a segment, and there are few segments. They are made of the ids of files
//! that this process writes, and by reading that one column of files that others wrote. Nothing
//! here is on the way of an acknowledgement or of a commit.
//!
//! Invariant: every span file of a snapshot is answered for by a segment that was read without a
//! fault, or it counts as a candidate. Whatever is missing, torn or behind costs time, and never a
//! span.

mod keep;
mod known;
mod merge;
mod page;
mod plan;
mod prints;
mod run;
mod segment;
mod stash;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::{info, warn};

use self::known::{Known, View};
use self::segment::Segment;
use self::stash::Stash;
use crate::catalog::state::Change;
use crate::catalog::{FileEntry, FileKey, Snapshot};
use crate::config::TraceFilterConfig;
use crate::metrics::Metrics;
use crate::model::{FileId, Table, TimeRange, TraceId};

pub(crate) use prints::TracePrints;

/// How the files of segments end.
const SUFFIX: &str = "pairs";

/// Looks at what is known before a look-up takes every file: what is found damaged is put aside
/// between them.
const ATTEMPTS: u32 = 4;

/// Files that may hold a trace. A file is in one of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TraceFiles {
    /// Of which the index says so: as good as surely they do.
    pub told: Vec<Arc<FileEntry>>,
    /// Of which it does not know yet.
    pub untold: Vec<Arc<FileEntry>>,
}

impl TraceFiles {
    /// Nothing is known of the files of `snapshot`.
    fn any_of(snapshot: &Snapshot) -> Self {
        Self { told: Vec::new(), untold: snapshot.files(Table::Spans, TimeRange::ALL) }
    }

    /// Both.
    pub fn all(&self) -> impl Iterator<Item = &Arc<FileEntry>> {
        self.told.iter().chain(&self.untold)
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Traces {
    folder: PathBuf,
    config: TraceFilterConfig,
    metrics: Arc<Metrics>,
    known: Mutex<Known>,
    stash: Mutex<Stash>,
    /// Whether somebody makes segments here.
    kept: AtomicBool,
    /// Keeps other processes away; none where one has the folder, or there is none.
    lock: Option<File>,
}

impl Traces {
    /// Opens what is in `folder`, for the files of `snapshot`. Reads the lists of files of all
    /// segments.
    pub(crate) fn open(
        folder: &Path,
        config: TraceFilterConfig,
        metrics: Arc<Metrics>,
        snapshot: &Snapshot,
    ) -> Self {
        let folder = folder.join("traces");
        let lock = lock(&folder).inspect_err(|error| {
            warn!(folder = %folder.display(), %error, "trace filters cannot be had; going without");
        });
        let lock = lock.ok();
        let known = match lock {
            Some(_) => read_folder(&folder, snapshot),
            None => Known::default(),
        };
        let (known, stash) = (Mutex::new(known), Mutex::default());
        let traces =
            Self { folder, config, metrics, known, stash, kept: AtomicBool::new(false), lock };
        traces.measure();
        traces
    }

    /// None at all: every file is a candidate.
    pub(crate) fn off(config: TraceFilterConfig, metrics: Arc<Metrics>) -> Self {
        Self {
            folder: PathBuf::new(),
            config,
            metrics,
            known: Mutex::default(),
            stash: Mutex::default(),
            kept: AtomicBool::new(false),
            lock: None,
        }
    }

    /// The span files of `snapshot` that may hold the trace. Reads some pages from disk.
    pub(crate) fn find(&self, snapshot: &Snapshot, id: TraceId) -> TraceFiles {
        if self.lock.is_none() {
            return TraceFiles::any_of(snapshot);
        }
        let print = prints::print(id);
        for _ in 0..ATTEMPTS {
            let View { segments, unknown } = self.known().view(snapshot);
            match search(&segments, print) {
                Ok(keys) => {
                    let files = keys.iter().filter_map(|key| snapshot.file(Table::Spans, *key));
                    let told: BTreeMap<FileKey, _> =
                        files.map(|file| (file.key(), Arc::clone(file))).collect();
                    return self.with_stashed(print, told, unknown);
                }
                Err(lost) => lost.iter().for_each(|(segment, error)| self.lose(segment, error)),
            }
        }
        TraceFiles::any_of(snapshot)
    }

    /// Files of which the segments say that they have a print, and those that the stash knows of.
    fn with_stashed(
        &self,
        print: u64,
        mut told: BTreeMap<FileKey, Arc<FileEntry>>,
        unknown: Vec<Arc<FileEntry>>,
    ) -> TraceFiles {
        let mut untold = BTreeMap::new();
        let stash = self.stash();
        for file in unknown {
            match stash.has(file.id, print) {
                Some(true) => drop(told.insert(file.key(), file)),
                None if !told.contains_key(&file.key()) => drop(untold.insert(file.key(), file)),
                Some(false) | None => {}
            }
        }
        TraceFiles { told: told.into_values().collect(), untold: untold.into_values().collect() }
    }

    /// Files come into the catalog; called before a snapshot has them.
    pub(crate) fn added(&self, changes: &[Change]) {
        if self.lock.is_some() {
            let files = changes.iter().flat_map(|change| &change.added);
            let spans = files.filter(|file| file.table == Table::Spans);
            self.known().added(spans.map(|file| file.key()));
        }
    }

    /// Whether anybody here looks traces up.
    pub(crate) fn are_kept(&self) -> bool {
        self.kept.load(Ordering::Acquire)
    }

    /// A file is in the bucket that this process wrote, and may come into the catalog.
    pub(crate) fn wrote(&self, file: FileId, prints: Vec<u64>) {
        if self.are_kept() && !prints.is_empty() {
            self.stash().put(file, prints, self.config.pending_bytes_max);
        }
    }

    /// Throws everything away: every file of `snapshot` waits.
    pub(crate) fn clear(&self, snapshot: &Snapshot) {
        if self.lock.is_some() {
            let mut known = self.known();
            let segments: Vec<_> = known.segments().cloned().collect();
            *known = Known::new(Vec::new(), snapshot).0;
            drop(known);
            segments.iter().for_each(|segment| remove(&segment.path));
            self.measure();
        }
    }

    /// A segment cannot be read.
    fn lose(&self, segment: &Arc<Segment>, error: &io::Error) {
        // One that was merged meanwhile is gone as it should be.
        if self.known().lose(segment) {
            self.metrics.traces.segment_lost();
            let (path, files) = (segment.path.display(), segment.files.len());
            warn!(%path, files, %error, "a trace filter is lost, its files are read again");
            remove(&segment.path);
            self.measure();
        }
    }

    fn measure(&self) {
        let known = self.known();
        let (waiting, covered) = known.counts();
        self.metrics.traces.stand(waiting, covered, known.bytes());
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stash(&self) -> MutexGuard<'_, Stash> {
        self.stash.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Lost = Vec<(Arc<Segment>, io::Error)>;

/// The files that the segments name, or the segments that cannot be read.
fn search(segments: &[Arc<Segment>], print: u64) -> Result<Vec<FileKey>, Lost> {
    let (mut found, mut lost) = (Vec::new(), Lost::new());
    for segment in segments {
        match segment.find(print) {
            Ok(files) => found.extend(files),
            Err(error) => lost.push((Arc::clone(segment), error)),
        }
    }
    if lost.is_empty() { Ok(found) } else { Err(lost) }
}

fn lock(folder: &Path) -> io::Result<File> {
    std::fs::create_dir_all(folder)?;
    let file = File::create(folder.join("lock"))?;
    file.try_lock()?;
    Ok(file)
}

/// What the folder says of the files of `snapshot`. What says nothing, or nothing sensible, goes.
fn read_folder(folder: &Path, snapshot: &Snapshot) -> Known {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let named = |path: &PathBuf, suffix: &str| path.extension().is_some_and(|end| end == suffix);
    let (segments, others): (Vec<_>, Vec<_>) = paths.partition(|path| named(path, SUFFIX));
    // Left by a process that ended while it wrote.
    others.iter().filter(|path| named(path, "tmp")).for_each(|path| remove(path));
    let mut opened = Vec::new();
    for path in segments {
        match Segment::open(&path) {
            Ok(segment) => opened.push(segment),
            Err(error) => {
                warn!(path = %path.display(), %error, "a trace filter is unusable, deleting it");
                remove(&path);
            }
        }
    }
    let count = opened.len();
    let (known, useless) = Known::new(opened, snapshot);
    useless.iter().for_each(|segment| remove(&segment.path));
    let (waiting, covered) = known.counts();
    info!(segments = count - useless.len(), covered, waiting, "trace filters read");
    known
}

/// What cannot be deleted now is found at the next start.
fn remove(path: &Path) {
    drop(std::fs::remove_file(path));
}

#[cfg(test)]
mod tests;
