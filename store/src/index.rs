//! A local copy of the catalog, so that a start reads only what is new.
//!
//! Invariant: nothing is ever believed because it is here. Every sequence is checked against the
//! bucket before the copy is used; a copy that is missing, torn, of another version or of another
//! bucket is moved aside and made anew. Deleting the folder is always right.

mod disk;
mod keys;
mod row;
mod traces;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::{info, warn};

use crate::catalog::state::{Change, State};
use crate::error::Error;
use crate::index::disk::{Disk, Fault};
use crate::metrics::{Metrics, RebuildReason};
use crate::model::FileId;
use crate::ports::Clock;
use crate::work::blocking;

pub use traces::TraceFiles;
pub(crate) use traces::{TracePrints, Traces};

/// How often an open looks again for an index that somebody has: for two seconds in all. A process that
/// is ending lets it go within half a second, the pace of sled's flushes, or once its disk has answered;
/// one that stays costs the second one so much of its start.
const BUSY_LOOKS: u32 = 40;

/// How long it waits in between.
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// The local copy; off where another process has the folder or the disk fails.
#[derive(Debug)]
pub(crate) struct Index {
    folder: PathBuf,
    metrics: Arc<Metrics>,
    /// `None` where there is to be none; within it, none where it failed.
    disk: Option<Arc<Mutex<Option<Disk>>>>,
    /// A whole catalog is being written: what changes meanwhile is written after it.
    paused: AtomicBool,
}

impl Index {
    /// Opens what is in `folder`, and what it says. An unusable copy is replaced by an empty one; for
    /// one that another process has it waits a moment, and then goes without.
    pub(crate) async fn open(
        folder: &Path,
        metrics: Arc<Metrics>,
        clock: &dyn Clock,
    ) -> Result<(Self, State), Error> {
        let folder = folder.join("catalog");
        let (disk, state) = match open_when_free(&folder, clock).await? {
            Ok((disk, state)) => {
                if state.sequences().is_empty() {
                    metrics.rebuilt(RebuildReason::Missing);
                }
                (Some(disk), state)
            }
            Err(Fault::Busy) => {
                warn!(folder = %folder.display(), "another process has the index; going without");
                (None, State::default())
            }
            Err(Fault::Damaged(reason)) => {
                warn!(folder = %folder.display(), reason, "the index is unusable, making it anew");
                metrics.rebuilt(RebuildReason::Damaged);
                (replace_disk(&folder, &metrics).await?, State::default())
            }
        };
        let (disk, paused) = (Some(Arc::new(Mutex::new(disk))), AtomicBool::new(false));
        Ok((Self { folder, metrics, disk, paused }, state))
    }

    /// No copy at all.
    pub(crate) fn off(metrics: Arc<Metrics>) -> Self {
        Self { folder: PathBuf::new(), metrics, disk: None, paused: AtomicBool::new(false) }
    }

    /// Empties the copy.
    pub(crate) async fn clear(&self, reason: RebuildReason) {
        if self.disk.is_none() {
            return;
        }
        self.metrics.rebuilt(reason);
        info!(folder = %self.folder.display(), ?reason, "emptying the index");
        self.with_disk("empty", Disk::clear).await;
    }

    /// Writes what records changed. A failure turns the index off: it is only a copy.
    pub(crate) async fn write(&self, changes: Vec<Change>) {
        if !changes.is_empty() && !self.paused.load(Ordering::Acquire) {
            self.with_disk("write", move |disk| disk.write(&changes)).await;
        }
    }

    /// Writes a whole state into an empty copy.
    pub(crate) async fn fill(&self, state: State) {
        self.with_disk("write", move |disk| disk.fill(&state)).await;
    }

    /// Puts a state in the place of what is there. Changes are not written from here on: whoever
    /// asked for this brings the state up to them, and then calls [`Self::resume`].
    pub(crate) async fn refill(&self, reason: RebuildReason, state: State) {
        self.paused.store(true, Ordering::Release);
        self.clear(reason).await;
        self.fill(state).await;
    }

    /// Writes changes again.
    pub(crate) fn resume(&self) {
        self.paused.store(false, Ordering::Release);
    }

    /// Whether there is a copy.
    pub(crate) fn is_on(&self) -> bool {
        let disk = self.disk.as_ref();
        disk.is_some_and(|disk| disk.lock().unwrap_or_else(PoisonError::into_inner).is_some())
    }

    /// What to say of a fault.
    pub(crate) fn failed(&self, action: &'static str, source: std::io::Error) -> Error {
        Error::Index { action, folder: self.folder.display().to_string(), source }
    }

    /// Forgets files that are deleted.
    pub(crate) async fn forget(&self, deleted: Vec<FileId>) {
        // While paused, too: a row that comes back with the state goes at the next collection.
        self.with_disk("write", move |disk| disk.forget(&deleted)).await;
    }

    async fn with_disk<F>(&self, action: &'static str, work: F)
    where
        F: FnOnce(&mut Disk) -> Result<(), Fault> + Send + 'static,
    {
        let Some(disk) = self.disk.clone() else { return };
        let done = blocking(move || {
            let mut disk = disk.lock().unwrap_or_else(PoisonError::into_inner);
            let answer = disk.as_mut().map_or(Ok(()), work);
            if answer.is_err() {
                *disk = None;
            }
            answer
        });
        let fault = match done.await {
            Ok(Ok(())) => return,
            Ok(Err(fault)) => fault.to_string(),
            Err(panicked) => panicked.to_string(),
        };
        self.metrics.index_failed();
        warn!(action, fault, "the index failed and is off until the next start");
    }
}

/// What is on disk, once nobody else has it: a process that was told to end has it to its end, and
/// sled's own threads have it for a moment after the last handle is gone.
async fn open_when_free(
    folder: &Path,
    clock: &dyn Clock,
) -> Result<Result<(Disk, State), Fault>, Error> {
    for _ in 0..BUSY_LOOKS {
        match open_disk(folder).await? {
            Err(Fault::Busy) => clock.sleep(BUSY_PAUSE).await,
            opened => return Ok(opened),
        }
    }
    open_disk(folder).await
}

/// What is on disk. sled may panic over what it finds there: that is damage as any other.
async fn open_disk(folder: &Path) -> Result<Result<(Disk, State), Fault>, Error> {
    let path = folder.to_owned();
    let opened = blocking(move || {
        let mut disk = Disk::open(&path)?;
        let state = disk.load()?;
        Ok((disk, state))
    });
    match opened.await {
        Ok(opened) => Ok(opened),
        Err(panicked) if panicked.is_panic() => Ok(Err(Fault::Damaged(panicked.to_string()))),
        Err(source) => Err(Error::Interrupted { work: "opening the index", source }),
    }
}

/// Moves the unusable copy aside, in place of the one before it, and opens an empty one; none
/// where the disk does not let it, because it is full, say.
async fn replace_disk(folder: &Path, metrics: &Metrics) -> Result<Option<Disk>, Error> {
    let path = folder.to_owned();
    let work = blocking(move || {
        let aside = path.with_extension("broken");
        if aside.exists() {
            std::fs::remove_dir_all(&aside)?;
        }
        std::fs::rename(&path, &aside)?;
        Disk::open(&path).map_err(|fault| std::io::Error::other(fault.to_string()))
    });
    let fault = match work.await {
        Ok(Ok(disk)) => return Ok(Some(disk)),
        Ok(Err(fault)) => fault.to_string(),
        Err(panicked) if panicked.is_panic() => panicked.to_string(),
        Err(source) => return Err(Error::Interrupted { work: "replacing the index", source }),
    };
    metrics.index_failed();
    warn!(folder = %folder.display(), fault, "there can be no index; going without");
    Ok(None)
}

#[cfg(test)]
pub(crate) mod tests;
