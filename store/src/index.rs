//! A local copy of the catalog, so that a start reads only what is new.
//!
//! Invariant: nothing is ever believed because it is here. Every sequence is checked against the
//! bucket before the copy is used; a copy that is missing, torn, of another version or of another
//! bucket is moved aside and made anew. Deleting the folder is always right.

mod disk;
mod keys;
mod row;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::{info, warn};

use crate::catalog::state::{Change, State};
use crate::error::Error;
use crate::index::disk::{Disk, Fault};
use crate::metrics::{Metrics, RebuildReason};
use crate::model::FileId;

/// The local copy; off where another process has the folder or the disk fails.
#[derive(Debug)]
pub(crate) struct Index {
    folder: PathBuf,
    metrics: Arc<Metrics>,
    /// `None` where there is to be none; within it, none where it failed.
    disk: Option<Arc<Mutex<Option<Disk>>>>,
}

impl Index {
    /// Opens what is in `folder`, and what it says. An unusable copy is replaced by an empty one.
    pub(crate) async fn open(folder: &Path, metrics: Arc<Metrics>) -> Result<(Self, State), Error> {
        let folder = folder.join("catalog");
        let (disk, state) = match open_disk(&folder).await? {
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
                (Some(replace_disk(&folder).await?), State::default())
            }
        };
        let disk = Some(Arc::new(Mutex::new(disk)));
        Ok((Self { folder, metrics, disk }, state))
    }

    /// No copy at all.
    pub(crate) fn off(metrics: Arc<Metrics>) -> Self {
        Self { folder: PathBuf::new(), metrics, disk: None }
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
        if !changes.is_empty() {
            self.with_disk("write", move |disk| disk.write(&changes)).await;
        }
    }

    /// Writes a whole state into an empty copy.
    pub(crate) async fn fill(&self, state: State) {
        self.with_disk("write", move |disk| disk.fill(&state)).await;
    }

    /// Forgets files that are deleted.
    pub(crate) async fn forget(&self, deleted: Vec<FileId>) {
        self.with_disk("write", move |disk| disk.forget(&deleted)).await;
    }

    async fn with_disk<F>(&self, action: &'static str, work: F)
    where
        F: FnOnce(&mut Disk) -> Result<(), Fault> + Send + 'static,
    {
        let Some(disk) = self.disk.clone() else { return };
        let done = tokio::task::spawn_blocking(move || {
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

/// What is on disk. sled may panic over what it finds there: that is damage as any other.
async fn open_disk(folder: &Path) -> Result<Result<(Disk, State), Fault>, Error> {
    let path = folder.to_owned();
    let opened = tokio::task::spawn_blocking(move || {
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

/// Moves the unusable copy aside, in place of the one before it, and opens an empty one.
async fn replace_disk(folder: &Path) -> Result<Disk, Error> {
    let path = folder.to_owned();
    let failed = {
        let folder = folder.display().to_string();
        move |source: std::io::Error| Error::Index { action: "replace", folder, source }
    };
    let work = tokio::task::spawn_blocking(move || {
        let aside = path.with_extension("broken");
        if aside.exists() {
            std::fs::remove_dir_all(&aside)?;
        }
        std::fs::rename(&path, &aside)?;
        Disk::open(&path).map_err(|fault| std::io::Error::other(fault.to_string()))
    });
    match work.await {
        Ok(opened) => opened.map_err(failed),
        Err(source) => Err(Error::Interrupted { work: "replacing the index", source }),
    }
}

#[cfg(test)]
mod tests;
