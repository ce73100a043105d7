//! What was fetched of data files, kept on local disk for the next reader.
//!
//! Invariants: a data file never changes and its id is never reused, so that what is kept is right, and what
//! does not add up is dropped and fetched again. Nothing is kept of a file that left the catalog: it goes with
//! the record that removes it, and nothing is put in for it afterwards. All of it may be deleted at any time.
//! It takes no more bytes than it may, and whoever waits for a file waits for no write to it.

mod blocks;
mod disk;
mod folder;
mod shelf;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Error, ErrorKind};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tracing::{debug, info, warn};

pub(super) use blocks::{Part, bytes_of, covering, missing, whole};
use disk::{HEADER_BYTES, Place};
use shelf::{Name, Shelf};

use crate::catalog::record::Removal;
use crate::catalog::{FileEntry, Snapshot};
use crate::config::PageCacheConfig;
use crate::metrics::{Dropped, PageMetrics, Skipped};
use crate::ports::Clock;
use crate::work::{beside, blocking};

/// What may wait to be written; what comes beyond it is not kept. Some waves of a scan.
const QUEUE_BYTES_MAX: usize = 32 << 20;

/// What is shorter is copied before it waits: up to 2 MiB on either side of it came with the same request, and
/// would wait with it. Takes some 100 us at most.
const COPIED_BYTES_MAX: usize = 1 << 20;

/// How long nothing is kept after the disk was full.
const FULL_PAUSE: Duration = Duration::from_secs(60);

/// How often it is looked whether everything that is kept is of a file that counts. The record that removes
/// a file says so at once; this is for records that never said it, and for files that could not be removed.
const LOOK_AFTER: Duration = Duration::from_secs(150);

/// See the module.
#[derive(Debug)]
pub(crate) struct Pages {
    folder: PathBuf,
    bytes_max: u64,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    clock: Arc<dyn Clock>,
    metrics: PageMetrics,
    shelf: Mutex<Shelf>,
    queue: Mutex<Queue>,
    /// Held by whoever changes files. Readers do not.
    turn: Mutex<()>,
    /// Until when nothing is kept, and when it was last looked after, in milliseconds of [`Clock::elapsed`].
    paused_ms: AtomicU64,
    looked_ms: AtomicU64,
    _lock: File,
}

/// What waits to be written.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<(Name, Part)>,
    bytes: usize,
    /// Somebody writes, and goes on until nothing waits.
    writing: bool,
}

/// Whoever has it may change files.
type Turn<'a> = MutexGuard<'a, ()>;

impl Pages {
    /// Opens what is kept; `None` where another process has the folder, or the disk fails: then there is no
    /// cache. Takes a look at each file's name and size: call it off the runtime.
    pub(crate) fn open(
        config: &PageCacheConfig,
        snapshot: watch::Receiver<Arc<Snapshot>>,
        clock: Arc<dyn Clock>,
        metrics: PageMetrics,
    ) -> Option<Arc<Self>> {
        let PageCacheConfig { dir, bytes_max, near: _ } = config;
        match Self::try_open(dir, *bytes_max, snapshot, clock, metrics) {
            Ok(Some(pages)) => Some(Arc::new(pages)),
            Ok(None) => {
                warn!(folder = %dir.display(), "another process has the page cache; going without");
                None
            }
            Err(error) => {
                warn!(folder = %dir.display(), %error, "there can be no page cache; going without");
                None
            }
        }
    }

    /// Removes what an earlier run has kept, where nothing is kept any more: no erasure would reach it. What another
    /// process has stays.
    pub(crate) fn clear(dir: &std::path::Path) {
        if let Err(error) = folder::clear(dir) {
            warn!(folder = %dir.display(), %error, "the page cache of before cannot be removed");
        }
    }

    fn try_open(
        dir: &std::path::Path,
        bytes_max: u64,
        snapshot: watch::Receiver<Arc<Snapshot>>,
        clock: Arc<dyn Clock>,
        metrics: PageMetrics,
    ) -> std::io::Result<Option<Self>> {
        let Some((folder, lock)) = folder::open(dir)? else { return Ok(None) };
        let mut shelf = Shelf::default();
        for (name, bytes) in folder::list(&folder)? {
            shelf.found(name, bytes);
        }
        let pages = Self {
            folder,
            bytes_max,
            snapshot,
            clock,
            metrics,
            shelf: Mutex::new(shelf),
            queue: Mutex::default(),
            turn: Mutex::default(),
            paused_ms: AtomicU64::new(0),
            looked_ms: AtomicU64::new(0),
            _lock: lock,
        };
        pages.drop_uncounted();
        pages.make_room(&lock_of(&pages.turn), None, 0);
        let (files, bytes) = pages.tell();
        info!(folder = %pages.folder.display(), files, bytes, "page cache open");
        Ok(Some(pages))
    }

    /// What is kept of these runs of blocks, or waits to be, in order.
    pub(super) async fn find(self: &Arc<Self>, file: &FileEntry, runs: &[Range<u64>]) -> Vec<Part> {
        let name = Name::of(file);
        let asked: u64 = runs.iter().map(|run| run.end - run.start).sum();
        let mut found = self.waiting(&name, runs);
        let others = missing(runs, &found);
        if !others.is_empty() && self.shelf().knows(&name) {
            let pages = Arc::clone(self);
            // Whoever panicked found nothing.
            let more = blocking(move || pages.find_now(name, &others)).await.unwrap_or_default();
            found.extend(more);
            found.sort_by_key(|(run, _)| run.start);
        }
        let hits = found.iter().map(|(run, _)| run.end - run.start).sum();
        let bytes = found.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        self.metrics.found(hits, asked.saturating_sub(hits), bytes);
        found
    }

    /// What waits to be written of these runs: the pages of a small file come with its footer.
    fn waiting(&self, name: &Name, runs: &[Range<u64>]) -> Vec<Part> {
        let mut found = Vec::new();
        let queue = lock_of(&self.queue);
        for (_, part) in queue.waiting.iter().filter(|(of, _)| of == name) {
            let others = missing(runs, &found);
            found.extend(others.iter().filter_map(|run| blocks::within(part, run)));
            found.sort_by_key(|(run, _)| run.start);
        }
        found
    }

    fn find_now(&self, name: Name, runs: &[Range<u64>]) -> Vec<Part> {
        self.look_into(&name);
        let places = self.shelf().places(&name, runs);
        if places.is_empty() {
            return Vec::new();
        }
        match disk::read(&self.path(&name), &places) {
            Ok(found) => found,
            Err(error) => {
                self.lost(&name, &places, &error);
                Vec::new()
            }
        }
    }

    /// Keeps what was fetched, unless too much waits for that. Waits for nothing.
    pub(super) fn keep(self: &Arc<Self>, file: &FileEntry, part: Part) {
        let (run, mut bytes) = part;
        if bytes.len() <= COPIED_BYTES_MAX {
            bytes = Bytes::copy_from_slice(&bytes);
        }
        {
            let mut queue = lock_of(&self.queue);
            if queue.bytes + bytes.len() > QUEUE_BYTES_MAX {
                return self.metrics.skipped(Skipped::Busy, run.end - run.start);
            }
            queue.bytes += bytes.len();
            queue.waiting.push_back((Name::of(file), (run, bytes)));
            if std::mem::replace(&mut queue.writing, true) {
                return;
            }
        }
        let pages = Arc::clone(self);
        beside(move || pages.write_all());
    }

    fn write_all(&self) {
        loop {
            let (name, part) = {
                let mut queue = lock_of(&self.queue);
                let Some(first) = queue.waiting.front().cloned() else {
                    queue.writing = false;
                    return;
                };
                first
            };
            {
                let turn = lock_of(&self.turn);
                if let Err(why) = self.write(&turn, name, &part) {
                    self.metrics.skipped(why, part.0.end - part.0.start);
                }
                self.tell();
            }
            // Only now: until here it was found among what waits.
            let mut queue = lock_of(&self.queue);
            queue.waiting.pop_front();
            queue.bytes -= part.1.len();
        }
    }

    /// Writes what is not there yet.
    fn write(&self, turn: &Turn<'_>, name: Name, part: &Part) -> Result<(), Skipped> {
        if self.now_ms() < self.paused_ms.load(Ordering::Relaxed) {
            return Err(Skipped::DiskFull);
        }
        // Asked with the turn in hand: whoever removes it does so with the turn, after it left the catalog.
        if !name.counts(&self.snapshot.borrow()) {
            return Err(Skipped::Removed);
        }
        self.look_into(&name);
        let (lacking, mut end) = self.shelf().lacks(&name, &part.0);
        let wanted: Vec<_> =
            blocks::each(part).filter(|(block, _)| lacking.contains(block)).collect();
        let more = wanted.iter().map(|(_, bytes)| (bytes.len() + HEADER_BYTES) as u64).sum();
        if wanted.is_empty() {
            return Ok(());
        }
        if !self.make_room(turn, Some(&name), more) {
            return Err(Skipped::Room);
        }
        let path = self.path(&name);
        let mut written = disk::append(&path, name.id, end, &wanted);
        if written.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            // Somebody deleted it, or everything.
            self.drop_file(turn, &name, Dropped::Gone);
            end = 0;
            written = std::fs::create_dir_all(&self.folder)
                .and_then(|()| disk::append(&path, name.id, end, &wanted));
        }
        match written {
            Ok((places, ends)) => {
                self.shelf().grown(name, places, ends);
                self.metrics.written(ends.saturating_sub(end));
                Ok(())
            }
            Err(error) => Err(self.not_written(turn, &name, &error)),
        }
    }

    /// What could not be written goes with what was there of the file. On a full disk everything does: there
    /// is nothing on it that can be missed less.
    fn not_written(&self, turn: &Turn<'_>, name: &Name, error: &Error) -> Skipped {
        let is_full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        if !is_full {
            debug!(file = name.file_name(), %error, "a file of the page cache cannot be written");
            // It may be there and not be known: then it is removed all the same.
            self.drop_file(turn, name, Dropped::Failed);
            return Skipped::Failed;
        }
        let names = self.shelf().names();
        warn!(%error, files = names.len(), "the disk is full: the page cache makes room");
        self.drop_file(turn, name, Dropped::DiskFull);
        names.iter().for_each(|name| self.drop_file(turn, name, Dropped::DiskFull));
        let pause = u64::try_from(FULL_PAUSE.as_millis()).unwrap_or(u64::MAX);
        self.paused_ms.store(self.now_ms().saturating_add(pause), Ordering::Relaxed);
        Skipped::DiskFull
    }

    /// Lets go of what is kept of files that left the catalog.
    pub(crate) async fn forget(self: &Arc<Self>, removed: Vec<Removal>) {
        if removed.is_empty() {
            return;
        }
        let names = removed.iter().map(|file| Name::new(file.table, file.hour, file.id));
        let names: Vec<Name> = names.collect();
        // Whoever writes now may have asked the catalog before. Who comes later sees what it says now.
        let writing = lock_of(&self.queue).writing;
        if !writing && !names.iter().any(|name| self.shelf().knows(name)) {
            return;
        }
        let pages = Arc::clone(self);
        let forget = blocking(move || {
            let turn = lock_of(&pages.turn);
            let known: Vec<_> = names.iter().filter(|name| pages.shelf().knows(name)).collect();
            known.iter().for_each(|name| pages.drop_file(&turn, name, Dropped::Removed));
            pages.tell();
        });
        if let Err(error) = forget.await {
            warn!(%error, "the page cache could not let go of removed files; it will try again");
        }
    }

    /// Looks whether everything that is kept is of a file that counts, if that is due; `now` is a time of
    /// [`Clock::elapsed`].
    pub(crate) async fn look_after(self: &Arc<Self>, now: Duration) {
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let before = self.looked_ms.load(Ordering::Relaxed);
        let due = u128::from(now.saturating_sub(before)) >= LOOK_AFTER.as_millis();
        let (same, relaxed) = (Ordering::Relaxed, Ordering::Relaxed);
        if due && self.looked_ms.compare_exchange(before, now, same, relaxed).is_ok() {
            let pages = Arc::clone(self);
            if let Err(error) = blocking(move || pages.drop_uncounted()).await {
                warn!(%error, "the page cache was not looked after");
            }
        }
    }

    fn drop_uncounted(&self) {
        let turn = lock_of(&self.turn);
        let names = self.shelf().names();
        let snapshot = Arc::clone(&self.snapshot.borrow());
        let gone = names.iter().filter(|name| !name.counts(&snapshot));
        gone.for_each(|name| self.drop_file(&turn, name, Dropped::Removed));
        self.tell();
    }

    /// Lets go of files until so many bytes more fit; whether they do.
    fn make_room(&self, turn: &Turn<'_>, asking: Option<&Name>, more: u64) -> bool {
        while self.shelf().bytes() + more > self.bytes_max {
            let Some(next) = self.shelf().next_to_go(asking) else { return false };
            self.drop_file(turn, &next, Dropped::Room);
            if self.shelf().knows(&next) {
                return false;
            }
        }
        true
    }

    /// A file of the cache could not be read as it was written.
    fn lost(&self, name: &Name, places: &[(Range<u64>, Vec<Place>)], error: &Error) {
        let turn = lock_of(&self.turn);
        let first = places.first().and_then(|(run, places)| Some((run.start, *places.first()?)));
        // It may have made room and come back since.
        if !first.is_some_and(|(block, place)| self.shelf().has(name, block, &place)) {
            return;
        }
        let why =
            if error.kind() == ErrorKind::NotFound { Dropped::Gone } else { Dropped::Damaged };
        info!(file = name.file_name(), %error, "a file of the page cache is dropped");
        self.drop_file(&turn, name, why);
        self.tell();
    }

    /// Removes what is kept of a data file. What cannot be removed stays known, and is tried again.
    fn drop_file(&self, _turn: &Turn<'_>, name: &Name, why: Dropped) {
        match std::fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                warn!(file = name.file_name(), %error, "a file of the page cache cannot be removed");
                return self.metrics.failed();
            }
            _ => {}
        }
        if let Some(bytes) = self.shelf().remove(name) {
            self.metrics.dropped(why, bytes);
        }
    }

    /// Reads what is kept of a file, where nobody has yet. One that is gone has nothing.
    fn look_into(&self, name: &Name) {
        if !self.shelf().is_unread(name) {
            return;
        }
        let (blocks, end) = disk::load(&self.path(name), name.id).unwrap_or_default();
        self.shelf().read(name, blocks, end);
    }

    fn tell(&self) -> (usize, u64) {
        let (files, bytes) = {
            let shelf = self.shelf();
            (shelf.len(), shelf.bytes())
        };
        self.metrics.stand(files, bytes);
        (files, bytes)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn path(&self, name: &Name) -> PathBuf {
        self.folder.join(name.file_name())
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        lock_of(&self.shelf)
    }
}

/// Nothing is left half done under any of these locks, whoever panics elsewhere.
fn lock_of<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
