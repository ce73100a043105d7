//! One pass of retention over the catalog.
//!
//! Invariant: a file is read at most once for each age that all of it has passed, for as long as
//! rules and holds stay as they are and this process lives.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::{info, warn};

use crate::catalog::collect::live_ids;
use crate::catalog::record::Cause;
use crate::catalog::{FileEntry, Snapshot};
use crate::error::{Error, ErrorKind};
use crate::model::{FileId, Table, UnixNanos};
use crate::ports::Conditions;
use crate::retention::execute::Judge;
use crate::retention::holds::Holding;
use crate::retention::report::DeletionReport;
use crate::retention::rules::Rules;
use crate::retention::select::{Verdict, Wanted, judge};
use crate::store::Store;
use crate::work::off_runtime;

/// Files that one record removes at most, where none of them has to be read.
const DROPS_A_RECORD: usize = 256;

/// Files that were looked into, and the marks under which no row of theirs has to go.
#[derive(Debug, Default)]
pub(crate) struct Examined(Mutex<BTreeMap<FileId, u64>>);

impl Examined {
    fn is_settled(&self, file: FileId, mark: u64) -> bool {
        self.with(|known| known.get(&file) == Some(&mark))
    }

    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<FileId, u64>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Forgets files that are gone.
    fn prune(&self, snapshot: &Snapshot) {
        let live = live_ids(snapshot);
        self.with(|known| known.retain(|id, _| live.contains(id)));
    }
}

/// The rules at one moment.
#[derive(Debug, Clone)]
struct ByAge {
    rules: Arc<Rules>,
    examined: Arc<Examined>,
    now: UnixNanos,
    trial: bool,
}

impl Judge for ByAge {
    fn cause(&self) -> Cause {
        Cause::Retention
    }

    fn wanted(&self, file: &FileEntry) -> (Wanted, u64) {
        self.rules.wanted(file, self.now)
    }

    fn is_settled(&self, file: &FileEntry, mark: u64) -> bool {
        self.examined.is_settled(file.id, mark)
    }

    fn settle(&self, file: &FileEntry, mark: u64) {
        self.examined.with(|known| known.insert(file.id, mark));
    }

    fn is_trial(&self) -> bool {
        self.trial
    }
}

impl Store {
    /// Gives the store what understands SQL conditions, and checks every rule of retention with
    /// it. Call it before anything is served; the second call changes nothing.
    pub fn understand(&self, conditions: Arc<dyn Conditions>) -> Result<(), Error> {
        // Whoever is second finds the first in place, which understands the same.
        drop(self.conditions.set(conditions));
        self.check_rules()
    }

    /// Checks that every rule of retention is understood.
    pub fn check_rules(&self) -> Result<(), Error> {
        self.rules(&self.snapshot()).map(drop)
    }

    fn rules(&self, snapshot: &Snapshot) -> Result<Rules, Error> {
        Rules::compile(&self.config.retention, self.conditions.get(), snapshot)
    }

    /// One pass over the catalog that removes what is older than the rules allow. A trial only
    /// says what a pass would do. A file that fails is passed over, logged and counted.
    pub async fn retain(&self, trial: bool) -> Result<DeletionReport, Error> {
        if self.config.retention.is_empty() {
            return Ok(DeletionReport::default());
        }
        if !trial {
            self.own_as_process().await?;
        }
        let snapshot = self.refresh().await?;
        let rules = Arc::new(self.rules(&snapshot)?);
        let examined = Arc::clone(&self.examined);
        let by = ByAge { rules, examined, now: self.clock.now(), trial };
        let mut report = DeletionReport::default();
        for chunk in self.due(snapshot, by.clone()).await? {
            match self.remove_rows(&chunk, &by).await {
                Ok(done) => report.add(done),
                Err(fatal) if fatal.kind() == ErrorKind::Setup || fatal.is_retryable() => {
                    return Err(fatal);
                }
                Err(failed) => {
                    report.failed += chunk.len() as u64;
                    let (files, error) = (chunk.len(), &failed as &dyn std::error::Error);
                    warn!(files, error, "cannot remove rows of some files");
                }
            }
        }
        self.metrics.retained(&report);
        let (rows, held) = report.rows();
        if rows > 0 || report.looked > 0 {
            let (files, looked) = (report.files(), report.looked);
            info!(rows, held, files, looked, trial, "retention passed");
        }
        Ok(report)
    }

    /// The files of which rows may have to go, in pieces that one record takes.
    async fn due(
        &self,
        snapshot: Arc<Snapshot>,
        by: ByAge,
    ) -> Result<Vec<Vec<Arc<FileEntry>>>, Error> {
        let holding = Holding::of(&snapshot, self.conditions.get());
        off_runtime("planning retention", move || {
            by.examined.prune(&snapshot);
            Ok(plan(&snapshot, &by, &holding))
        })
        .await
    }
}

/// See [`Store::due`]. Pure, but for what was looked into before.
fn plan(snapshot: &Snapshot, by: &ByAge, holding: &Holding) -> Vec<Vec<Arc<FileEntry>>> {
    let (mut drops, mut looks) = (Vec::new(), Vec::new());
    for table in Table::ALL {
        let Some(old) = by.rules.old(table, by.now) else { continue };
        for file in snapshot.files(table, old) {
            let (mut wanted, mark) = by.wanted(&file);
            wanted.held = holding.over(&file);
            match judge(wanted, &file) {
                Verdict::Keep => {}
                Verdict::Drop => drops.push(file),
                Verdict::Look(_) if by.is_settled(&file, mark ^ holding.mark) => {}
                Verdict::Look(_) => looks.push(vec![file]),
            }
        }
    }
    let drops = drops.chunks(DROPS_A_RECORD).map(<[_]>::to_vec);
    drops.chain(looks).collect()
}
