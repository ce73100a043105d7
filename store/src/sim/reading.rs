//! The queries: whole snapshots, read row by row and compared with what was promised.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::oracle::Bodies;
use super::process::Process;
use super::promises::Promises;
use super::world::{GRACE, SKEW_MAX};
use crate::catalog::{FileEntry, Snapshot};
use crate::error::{Error, ErrorKind};
use crate::model::{Table, TimeRange};
use crate::sample::bodies_of;
use crate::store::Store;

/// A snapshot that somebody reads.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) snapshot: Arc<Snapshot>,
    /// When it was asked for.
    pub(super) at: Duration,
    /// Until when every file of it must be there.
    pub(super) until: Duration,
}

impl Process {
    pub(super) async fn query(self, store: Arc<Store>) {
        let mut old: Option<Reading> = None;
        while !self.world.is_calm() {
            self.pause(5, 120).await;
            if let Some(old) = &old {
                self.check(&store, old).await;
            }
            let trimmed = self.world.inside().promises.trimmed();
            let at = self.world.schedule.now();
            match store.refresh().await {
                Ok(snapshot) => {
                    let covered = Promises::check_covered(&snapshot, &trimmed);
                    covered.unwrap_or_else(|lost| panic!("{}: {lost}", self.name));
                    let until = at + GRACE - SKEW_MAX;
                    let reading = Reading { snapshot, at, until };
                    self.check(&store, &reading).await;
                    if old.is_none() || self.world.below(3) == 0 {
                        old = Some(reading);
                    }
                }
                Err(error) => self.tolerate("refresh", &error),
            }
        }
    }

    /// Reads everything that a snapshot has.
    pub(super) async fn check(&self, store: &Store, reading: &Reading) {
        let Reading { snapshot, at, until } = reading;
        let mut found = BTreeMap::new();
        for file in snapshot.files(Table::Logs, TimeRange::ALL) {
            match self.bodies(store, &file).await {
                Ok(bodies) => bodies.iter().for_each(|body| {
                    *found.entry(body.clone()).or_default() += 1;
                }),
                Err(error) if error.kind() == ErrorKind::Unavailable => return,
                Err(_) if self.world.schedule.now() >= *until => return,
                Err(_) if self.world.inside().oracle.was_hurried(file.id) => return,
                Err(error) => panic!("{} cannot read {}: {error}", self.name, file.path()),
            }
        }
        let inside = self.world.inside();
        let wrong = inside.promises.check_rows(&inside.oracle, (snapshot, *at), &found);
        drop(inside);
        wrong.unwrap_or_else(|wrong| panic!("{} at {}: {wrong}", self.name, snapshot.id()));
    }

    /// The bodies in a file. It is decoded once in a run, and looked for every time.
    async fn bodies(&self, store: &Store, file: &Arc<FileEntry>) -> Result<Bodies, Error> {
        let known = self.world.inside().contents.get(&file.id).cloned();
        if let Some(known) = known {
            let found = store.bucket.objects().head(&Path::from(file.path())).await;
            found.map_err(|source| {
                let path = file.path();
                Error::Bucket { action: "read", path, source }
            })?;
            return Ok(known);
        }
        let batches: Vec<_> = store.read_rows(file, TimeRange::ALL).try_collect().await?;
        let bodies = Arc::new(bodies_of(&batches));
        self.world.inside().contents.insert(file.id, Arc::clone(&bodies));
        Ok(bodies)
    }
}
