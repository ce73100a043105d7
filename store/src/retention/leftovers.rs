//! Objects that count no more and still hold rows that were to go.
//!
//! A snapshot is not the bucket: removed files stay for their grace, merges that came second leave
//! their output behind, and so do commits that died. Here the bucket itself is read, object by
//! object, by what each says of itself.
//!
//! Invariant: nothing that counts, or could come to count, is deleted here.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::info;

use crate::catalog::FileEntry;
use crate::catalog::collect::{Prospect, id_of, list_data, live_ids, prospect};
use crate::error::Error;
use crate::files::describe;
use crate::model::{FileId, UnixNanos};
use crate::retention::execute::Judge;
use crate::retention::select::{RowRule, Wanted};
use crate::store::Store;

/// An object that counts no more and still holds such rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Where it is, below the storage prefix.
    pub path: String,
    /// How many.
    pub rows: u64,
    /// When it may be deleted by itself; `None` while something may still come to name it.
    pub gone_by: Option<UnixNanos>,
}

/// What lies in the bucket beside what counts.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    /// Objects with such rows.
    pub(super) found: Vec<Leftover>,
    /// Objects that cannot be read, so that nobody knows.
    pub(super) unreadable: Vec<String>,
}

impl Store {
    /// Reads every object that does not count and may hold rows that `by` wants to go.
    pub(super) async fn leftovers(&self, by: &dyn Judge) -> Result<Leftovers, Error> {
        // Listed first, as for garbage: what is committed meanwhile counts in the snapshot.
        let paths = list_data(&self.bucket).await?;
        let live: BTreeSet<FileId> = live_ids(&*self.refresh().await?);
        let mut leftovers = Leftovers::default();
        for path in paths {
            let Some(id) = id_of(&path).filter(|id| !live.contains(id)) else { continue };
            match describe(self.bucket.objects(), id, &path).await {
                // Collected meanwhile.
                Ok(None)
                | Err(Error::Bucket { source: object_store::Error::NotFound { .. }, .. }) => {}
                Ok(Some(entry)) => {
                    let rows = self.rows_of(by, &Arc::new(entry)).await?;
                    if rows > 0 {
                        let gone_by = self.gone_by(id, &path).await?;
                        leftovers.found.push(Leftover { path, rows, gone_by });
                    }
                }
                Err(Error::Parquet { .. } | Error::Damaged { .. }) => {
                    leftovers.unreadable.push(path);
                }
                Err(other) => return Err(other),
            }
        }
        Ok(leftovers)
    }

    /// Rows of the file that `by` wants to go, whatever holds say.
    async fn rows_of(&self, by: &dyn Judge, file: &Arc<FileEntry>) -> Result<u64, Error> {
        let (Wanted { due, .. }, _) = by.wanted(file);
        let due: Vec<_> = due.into_iter().filter(|due| due.may_touch(file)).collect();
        if due.is_empty() {
            return Ok(0);
        }
        let rule = RowRule::new(file.table, Wanted { due, ..Wanted::default() });
        match self.look(&rule, file).await {
            Err(Error::Bucket { source: object_store::Error::NotFound { .. }, .. }) => Ok(0),
            looked => Ok(looked?.going),
        }
    }

    /// When garbage collection may delete an object.
    async fn gone_by(&self, id: FileId, path: &str) -> Result<Option<UnixNanos>, Error> {
        let grace = i64::try_from(self.config.garbage_grace.as_nanos()).unwrap_or(i64::MAX);
        let state = self.state.lock().await.clone();
        if let Some(removed) = state.removed().get(&id) {
            return Ok(Some(UnixNanos(removed.at.0.saturating_add(grace))));
        }
        let made_ns =
            i64::try_from(id.0.timestamp_ms()).unwrap_or(i64::MAX).saturating_mul(1_000_000);
        let never = prospect(&self.bucket, &state, id, path).await? == Prospect::Never;
        Ok(never.then_some(UnixNanos(made_ns.saturating_add(grace))))
    }

    /// Deletes those of the objects that can never count again, without waiting for their grace:
    /// a query that reads an older snapshot loses them. Returns the paths that are absent now.
    pub(super) async fn delete_leftovers(
        &self,
        leftovers: &[Leftover],
    ) -> Result<Vec<String>, Error> {
        self.own_as_process().await?;
        let doomed = leftovers.iter().filter(|leftover| leftover.gone_by.is_some());
        let paths: Vec<String> = doomed.map(|leftover| leftover.path.clone()).collect();
        self.confirm_owner().await?;
        let deleted = self.bucket.delete(paths.clone()).await?;
        info!(deleted, "deleted files with erased rows at once");
        self.metrics.deleted(deleted);
        self.forget(paths.iter().filter_map(|path| id_of(path)).collect()).await;
        self.absent(paths).await
    }

    /// Those of the paths at which the bucket says that nothing is.
    pub(super) async fn absent(&self, paths: Vec<String>) -> Result<Vec<String>, Error> {
        let mut absent = Vec::with_capacity(paths.len());
        for path in paths {
            if self.bucket.head(&path).await?.is_none() {
                absent.push(path);
            }
        }
        Ok(absent)
    }
}
