//! Reads the bucket and says what does not fit together.
//!
//! Records are read one by one from the first, checkpoints and the index are not believed. Every
//! file that counts is opened; every object that does not count is named, with the reason why it
//! is still there. Holds the catalog, and the listing of one day of one table.
//!
//! Invariant: nothing is written and nothing is deleted. What is found is told as it is found.

mod objects;
mod records;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{StreamExt, TryStreamExt};

use crate::catalog::invariants::{file_is_not_empty, file_is_within_its_hour};
use crate::catalog::state::State;
use crate::catalog::{FileEntry, Snapshot};
use crate::error::{Error, ErrorKind};
use crate::files::inspect;
use crate::model::{FileId, Table};
use crate::store::{CheckListener, CheckReport, Finding, Store};

/// Faults that a report lists; a listener hears of all.
const FAULTS_MAX: usize = 1000;

/// Files that are open at once.
const PARALLEL: usize = 8;

/// Files whose checks are made ready together.
const CHUNK_FILES: usize = 512;

/// Where everything that is found goes.
struct Findings<'a> {
    listener: &'a dyn CheckListener,
    report: Mutex<CheckReport>,
}

impl Findings<'_> {
    fn fault(&self, path: impl Into<String>, what: impl Into<String>) {
        let (path, what) = (path.into(), what.into());
        self.count(|report| {
            report.faults_all += 1;
            if report.faults.len() < FAULTS_MAX {
                report.faults.push(format!("`{path}`: {what}"));
            }
        });
        self.listener.found(&Finding::Fault { path, what });
    }

    fn orphan(&self, path: impl Into<String>, bytes: u64, why: impl Into<String>) {
        self.count(|report| report.unnamed += 1);
        self.listener.found(&Finding::Orphan { path: path.into(), bytes, why: why.into() });
    }

    fn count<T>(&self, count: impl FnOnce(&mut CheckReport) -> T) -> T {
        count(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Store {
    /// Reads all records and the footer of every file, with `deep` every row, and tells `listener`
    /// what does not fit and what does not count. Costs two requests a file, and what is read.
    pub async fn check_all(
        &self,
        deep: bool,
        listener: &dyn CheckListener,
    ) -> Result<CheckReport, Error> {
        let known = match self.refresh().await {
            // Up to there it is known, and what is damaged is found below.
            Err(error) if error.kind() == ErrorKind::Damaged => self.snapshot(),
            known => known?,
        };
        let findings = Findings { listener, report: Mutex::default() };
        let state = records::fold(&self.bucket, &findings).await?;
        records::checkpoints(&self.bucket, &findings).await?;
        let present = self.walk(&state, &findings).await?;
        self.inspect_all(&present, deep, &findings).await?;
        let mut report = findings.report.into_inner().unwrap_or_else(PoisonError::into_inner);
        let snapshot = state.snapshot();
        report.records = snapshot.records();
        report.files = Table::ALL.into_iter().map(|table| snapshot.totals(table).files).sum();
        report.rows = Table::ALL.into_iter().map(|table| snapshot.totals(table).rows).sum();
        report.index_agrees = same(&known, &state);
        Ok(report)
    }

    async fn inspect_all(
        &self,
        files: &[Arc<FileEntry>],
        deep: bool,
        findings: &Findings<'_>,
    ) -> Result<(), Error> {
        let mut done = 0;
        for files_now in files.chunks(CHUNK_FILES) {
            let checks = files_now.iter().map(|file| self.inspect_one(Arc::clone(file), deep));
            let checks: Vec<_> = checks.collect();
            let mut checks = futures::stream::iter(checks).buffer_unordered(PARALLEL);
            while let Some((path, faults)) = checks.try_next().await? {
                faults.into_iter().for_each(|what| findings.fault(path.as_str(), what));
                done += 1;
                findings.listener.checked(done, files.len() as u64);
            }
        }
        Ok(())
    }

    async fn inspect_one(
        &self,
        file: Arc<FileEntry>,
        deep: bool,
    ) -> Result<(String, Vec<String>), Error> {
        let mut faults = inspect(self.bucket.objects(), &file, deep).await?;
        if !file_is_not_empty(&file) || !file_is_within_its_hour(&file) {
            faults.push("the catalog puts it where it does not belong".to_owned());
        }
        Ok((file.path(), faults))
    }
}

/// Commits go on while a check runs, so the two may be some records apart: what both know must
/// be equal, and all of it where they have read the same records.
fn same(known: &Snapshot, state: &State) -> bool {
    let (known_files, files) = (entries(known), entries(state.snapshot()));
    if known.id() == state.snapshot().id() {
        return known_files == files && known.covered() == state.snapshot().covered();
    }
    known_files.iter().all(|(id, file)| files.get(id).is_none_or(|other| other == file))
}

fn entries(snapshot: &Snapshot) -> BTreeMap<FileId, &FileEntry> {
    let files = Table::ALL.into_iter().flat_map(|table| snapshot.all(table));
    files.map(|file| (file.id, &**file)).collect()
}

#[cfg(test)]
mod tests;
