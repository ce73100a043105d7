//! What was fetched of data files, kept on local disk for the next reader.
//!
//! Invariants: a data file never changes and its id is never reused, so that what is kept is right, and what
//! does not add up is dropped and fetched again. Nothing is kept of a file that left the catalog: it goes with
//! the record that removes it, and nothing is put in for it afterwards. All of it may be deleted at any time.
//! It takes no more bytes than it may, and whoever waits for a file waits for no write to it.

mod blocks;
mod disk;
mod flights;
mod folder;
mod leaving;
mod queue;
mod shelf;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{Error, ErrorKind};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use tokio::sync::watch;
use tracing::{debug, info, warn};

pub(super) use blocks::{Part, bytes_of, covering, missing, whole};
use disk::{Fault, HEADER_BYTES};
use flights::Flights;
pub(super) use flights::{Awaited, Brought, Flight};
use leaving::Leaving;
use queue::Queue;
use shelf::{Name, Shelf};

use crate::bucket::Turn as FetchTurn;
use crate::catalog::{FileEntry, Snapshot};
use crate::config::PageCacheConfig;
use crate::metrics::{Dropped, PageMetrics, Skipped};
use crate::ports::Clock;
use crate::work::{beside, blocking};

/// How long a reader waits for what others fetch, before it fetches that itself: the other may be of a query that
/// waits for whoever reads its answer.
const AWAITED_MAX: Duration = Duration::from_secs(2);

/// How long nothing is kept after the disk was full.
const FULL_PAUSE: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub(crate) struct Pages {
    folder: PathBuf,
    bytes_max: u64,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    clock: Arc<dyn Clock>,
    metrics: PageMetrics,
    shelf: Mutex<Shelf>,
    queue: Queue,
    flights: Flights,
    leaving: Mutex<Leaving>,
    /// Held by whoever changes files. Readers do not.
    turn: Mutex<()>,
    /// Until when nothing is kept, and when it was last looked after, in milliseconds of [`Clock::elapsed`].
    paused_ms: AtomicU64,
    looked_ms: AtomicU64,
    _lock: File,
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
            queue: Queue::default(),
            flights: Flights::default(),
            leaving: Mutex::default(),
            turn: Mutex::default(),
            paused_ms: AtomicU64::new(0),
            looked_ms: AtomicU64::new(0),
            _lock: lock,
        };
        {
            let turn = lock_of(&pages.turn);
            pages.drop_uncounted(&turn);
            pages.make_room(&turn, None, 0);
        }
        let (files, bytes) = pages.tell();
        info!(folder = %pages.folder.display(), files, bytes, "page cache open");
        Ok(Some(pages))
    }

    /// What is kept of these runs of blocks, or waits to be, in order.
    pub(super) async fn find(self: &Arc<Self>, file: &FileEntry, runs: &[Range<u64>]) -> Vec<Part> {
        let found = self.look(file, runs).await;
        let asked: u64 = runs.iter().map(|run| run.end - run.start).sum();
        let hits = blocks::count(&found);
        let bytes = found.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        self.metrics.found(hits, asked.saturating_sub(hits), bytes);
        found
    }

    async fn look(self: &Arc<Self>, file: &FileEntry, runs: &[Range<u64>]) -> Vec<Part> {
        let name = Name::of(file);
        let mut found = self.queue.find(&name, runs);
        let others = missing(runs, &found);
        if !others.is_empty() && self.shelf().knows(&name) {
            let (pages, file_bytes) = (Arc::clone(self), file.bytes);
            // Whoever panicked found nothing.
            let more = blocking(move || pages.find_now(name, file_bytes, &others)).await;
            found.extend(more.unwrap_or_default());
            found.sort_by_key(|(run, _)| run.start);
        }
        found
    }

    /// Whether something of these runs may be kept.
    pub(super) fn may_have(&self, file: &FileEntry, runs: &[Range<u64>]) -> bool {
        let (name, shelf) = (Name::of(file), self.shelf());
        let has = |run: &Range<u64>| (shelf.lacks(&name, run).0.len() as u64) < run.end - run.start;
        shelf.is_unread(&name) || runs.iter().any(has)
    }

    fn find_now(&self, name: Name, file_bytes: u64, runs: &[Range<u64>]) -> Vec<Part> {
        if let Err(error) = self.look_into(&name, file_bytes) {
            self.lost(&name, &error, |shelf| shelf.is_unread(&name));
            return Vec::new();
        }
        let places = self.shelf().places(&name, runs);
        let first = places.first().and_then(|(run, places)| Some((run.start, *places.first()?)));
        let Some((block, place)) = first else { return Vec::new() };
        match disk::read(&self.path(&name), &places) {
            Ok(found) => found,
            Err(error) => {
                // It may have made room and come back since.
                self.lost(&name, &error, |shelf| shelf.has(&name, block, &place));
                Vec::new()
            }
        }
    }

    /// Divides what was not found: what the caller is to fetch, with what was put here since it looked, and
    /// what others fetch already. `alone`: whatever others do.
    pub(super) async fn begin(
        self: &Arc<Self>,
        file: &FileEntry,
        runs: &[Range<u64>],
        alone: bool,
    ) -> (Flight, Vec<Part>, Vec<Awaited>) {
        let name = Name::of(file);
        let (flight, others) = match alone {
            true => (self.flights.begin_alone(name, runs), Vec::new()),
            false => self.flights.begin(name, runs),
        };
        let here = self.look(file, &flight.runs).await;
        (flight, here, others)
    }

    /// All of these runs, of which nothing is kept, for whoever asks now and reads in their turn; `None` where others
    /// have done so.
    pub(super) fn begin_ahead(
        &self,
        file: &FileEntry,
        runs: &[Range<u64>],
        turn: &FetchTurn,
    ) -> Option<Flight> {
        self.flights.begin_ahead(Name::of(file), runs, turn)
    }

    /// What others brought. It may not be all: then the caller has to see to the rest.
    pub(super) async fn awaited(&self, others: Vec<Awaited>) -> Brought {
        let mut brought = Brought::default();
        if others.is_empty() {
            return brought;
        }
        let landing = async {
            for other in others {
                brought.parts.extend(other.landed().await);
            }
        };
        brought.late = tokio::select! {
            biased;
            () = landing => false,
            () = self.clock.sleep(AWAITED_MAX) => true,
        };
        self.metrics.shared(blocks::count(&brought.parts));
        brought
    }

    /// Keeps what was fetched, unless too much waits for that. Waits for no write.
    pub(super) async fn keep(self: &Arc<Self>, file: &FileEntry, part: Part) {
        let blocks = part.0.end - part.0.start;
        match self.queue.push(Name::of(file), part).await {
            None => self.metrics.skipped(Skipped::Busy, blocks),
            Some(false) => {}
            Some(true) => {
                let pages = Arc::clone(self);
                beside(move || pages.write_all());
            }
        }
    }

    fn write_all(&self) {
        while let Some((name, part)) = self.queue.first() {
            {
                let turn = lock_of(&self.turn);
                if let Err(why) = self.write(&turn, name, &part) {
                    self.metrics.skipped(why, part.0.end - part.0.start);
                }
                self.tell();
            }
            // Only now: until here it was found among what waits.
            self.queue.done();
        }
    }

    /// Writes what is not there yet.
    fn write(&self, turn: &Turn<'_>, name: Name, part: &Part) -> Result<(), Skipped> {
        if self.now_ms() < self.paused_ms.load(Ordering::Relaxed) {
            return Err(Skipped::DiskFull);
        }
        // Asked with the turn in hand: whoever removes it does so with the turn, after it left the catalog.
        let file_bytes = name.file_bytes(&self.snapshot.borrow()).ok_or(Skipped::Removed)?;
        if let Err(error) = self.look_into(&name, file_bytes)
            && !self.give_up(turn, &name, &error)
        {
            return Err(Skipped::Failed);
        }
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
            // It was not even opened, and is as it was.
            Err(error) if end > 0 && Fault::of(&error) == Fault::Passing => {
                self.give_up(turn, &name, &error);
                Err(Skipped::Failed)
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

    /// A file of the cache could not be read, and goes if it is `still` so. Whoever changes files is not waited
    /// for: who comes next finds the same.
    fn lost(&self, name: &Name, error: &Error, still: impl FnOnce(&Shelf) -> bool) {
        let turn = match self.turn.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let still = still(&self.shelf());
        if still {
            self.give_up(&turn, name, error);
            self.tell();
        }
    }

    /// Lets go of a file of the cache that could not be read, unless that is no fault of the file's; whether it
    /// did.
    fn give_up(&self, turn: &Turn<'_>, name: &Name, error: &Error) -> bool {
        let why = match Fault::of(error) {
            Fault::Passing => {
                debug!(file = name.file_name(), %error, "a file of the page cache is not read");
                self.metrics.failed();
                return false;
            }
            Fault::Gone => Dropped::Gone,
            Fault::Damaged => Dropped::Damaged,
            Fault::Failed => Dropped::Failed,
        };
        info!(file = name.file_name(), %error, "a file of the page cache is dropped");
        self.drop_file(turn, name, why);
        !self.shelf().knows(name)
    }

    /// Removes what is kept of a data file. What cannot be removed stays known, and is tried again.
    fn drop_file(&self, _turn: &Turn<'_>, name: &Name, why: Dropped) {
        if let Err(error) = disk::remove(&self.path(name)) {
            warn!(file = name.file_name(), %error, "a file of the page cache cannot be removed");
            return self.metrics.failed();
        }
        if let Some(bytes) = self.shelf().remove(name) {
            self.metrics.dropped(why, bytes);
        }
    }

    /// Reads what is kept of a file, where nobody has yet.
    fn look_into(&self, name: &Name, file_bytes: u64) -> std::io::Result<()> {
        if self.shelf().is_unread(name) {
            let loaded = disk::load(&self.path(name), name.id, file_bytes)?;
            self.shelf().read(name, loaded);
        }
        Ok(())
    }

    /// Keeps all others from changing files.
    #[cfg(test)]
    pub(crate) fn hold(&self) -> MutexGuard<'_, ()> {
        lock_of(&self.turn)
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
