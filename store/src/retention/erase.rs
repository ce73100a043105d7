//! Erasure: rows that a condition names leave the bucket, and the bucket is read to prove it.
//!
//! Every file is dealt with by a record of its own, so that an erasure that dies is carried on by
//! asking for it again: what is gone is gone, and the proof is made anew. Rows that come in later
//! are new rows, whatever they say.
//!
//! Invariant: an erasure says that nothing is left only after it has read every object of the
//! bucket that can hold such a row.

use std::sync::Arc;

use ring::digest::{SHA256, digest};
use tracing::info;

use crate::catalog::record::{Body, Cause, Erasure, Record, Removal, Sequence};
use crate::catalog::{FileEntry, Snapshot};
use crate::error::Error;
use crate::model::{Table, TimeRange, UnixNanos};
use crate::ports::{Condition, Flush, Flushed};
use crate::retention::execute::Judge;
use crate::retention::holds::{Head, Holding};
use crate::retention::leftovers::Leftovers;
use crate::retention::look::Looked;
use crate::retention::report::{DeletionReport, EraseReport};
use crate::retention::rules::compile;
use crate::retention::select::{RowRule, Selection, Wanted};
use crate::store::Store;

/// How often the number of the last record may be taken by others.
const ATTEMPTS: u32 = 64;

/// The longest that an erasure sleeps before it looks again whether files are gone.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_secs(30);

/// What is to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EraseRequest {
    /// Rows that this SQL condition accepts.
    pub condition: String,
    /// Of these tables; none for every table on which the condition is understood.
    pub tables: Vec<Table>,
    /// Of this time.
    pub time: TimeRange,
    /// Who asks, in their own words; kept in the catalog.
    pub by: String,
    /// Only says what would go.
    pub trial: bool,
    /// Deletes the old files without their grace: queries that still read them fail.
    pub now: bool,
    /// Returns only when the old files are gone.
    pub wait: bool,
}

/// What an erasure is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EraseProgress {
    /// Acknowledged rows are in the bucket.
    Flushed(Flushed),
    /// So many files may hold such rows.
    Planned {
        /// How many.
        files: u64,
    },
    /// So many of them were read, and written anew where they did.
    Erased {
        /// How many.
        files: u64,
        /// Rows that went so far.
        rows: u64,
    },
    /// So many files were read once more.
    Proven {
        /// How many.
        files: u64,
    },
    /// The old files are still there, until then at least.
    Waiting {
        /// How many.
        files: u64,
        /// Until when.
        until: UnixNanos,
    },
}

/// Hears what an erasure is at. Must not block.
pub type Tell<'a> = &'a (dyn Fn(EraseProgress) + Send + Sync);

/// The condition on each table.
#[derive(Debug)]
struct ByCondition {
    conditions: [Option<Arc<dyn Condition>>; Table::ALL.len()],
    time: TimeRange,
    trial: bool,
}

impl Judge for ByCondition {
    fn cause(&self) -> Cause {
        Cause::Erasure
    }

    fn wanted(&self, file: &FileEntry) -> (Wanted, u64) {
        let condition = self.conditions[file.table as usize].clone();
        let selection = |condition| Selection { time: self.time, condition: Some(condition) };
        let due = condition.map(selection).into_iter().collect();
        (Wanted { due, ..Wanted::default() }, 0)
    }

    fn is_trial(&self) -> bool {
        self.trial
    }
}

impl ByCondition {
    /// The files that may hold such rows.
    fn files(&self, snapshot: &Snapshot) -> Vec<Arc<FileEntry>> {
        let files = Table::ALL.into_iter().flat_map(|table| snapshot.files(table, self.time));
        let touched =
            |file: &Arc<FileEntry>| self.wanted(file).0.due.iter().any(|due| due.may_touch(file));
        files.filter(touched).collect()
    }
}

impl Store {
    /// Erases rows, and proves it. May be repeated after any failure or crash.
    pub async fn erase(
        &self,
        request: EraseRequest,
        flush: Option<Arc<dyn Flush>>,
        tell: Tell<'_>,
    ) -> Result<EraseReport, Error> {
        let log = match flush {
            Some(flush) => Some(self.flushed(&*flush, tell).await?),
            None => None,
        };
        let (by, tables) = self.understand_erasure(&request).await?;
        let deleted = self.erase_files(&by, tell).await?;
        let mut report = self.prove(&by, &request, tables, deleted, tell).await?;
        report.log = log;
        if !request.trial {
            self.end_erasure(&by, &request, &mut report, tell).await?;
        }
        Ok(report)
    }

    async fn flushed(&self, flush: &dyn Flush, tell: Tell<'_>) -> Result<Flushed, Error> {
        let flushed = flush.flush().await.map_err(|source| Error::Flush { source })?;
        tell(EraseProgress::Flushed(flushed));
        Ok(flushed)
    }

    /// The condition, understood, and the tables on which it is.
    async fn understand_erasure(
        &self,
        request: &EraseRequest,
    ) -> Result<(ByCondition, Vec<Table>), Error> {
        let snapshot = self.refresh().await?;
        let sql = request.condition.as_str();
        let tables = self.understood(Some(sql), &request.tables, &snapshot)?;
        let mut conditions: [Option<Arc<dyn Condition>>; Table::ALL.len()] = Default::default();
        for table in &tables {
            let compiled = compile(self.conditions.get(), *table, sql, &snapshot);
            let compiled = compiled.map_err(|source| Error::Condition {
                what: format!("understand the condition `{sql}`"),
                source,
            })?;
            conditions[*table as usize] = Some(compiled);
        }
        let &EraseRequest { time, trial, .. } = request;
        Ok((ByCondition { conditions, time, trial }, tables))
    }

    async fn erase_files(&self, by: &ByCondition, tell: Tell<'_>) -> Result<DeletionReport, Error> {
        let files = by.files(&*self.refresh().await?);
        tell(EraseProgress::Planned { files: files.len() as u64 });
        let mut report = DeletionReport::default();
        for (at, file) in files.iter().enumerate() {
            report.add(self.remove_rows(std::slice::from_ref(file), by).await?);
            let (rows, _) = report.rows();
            tell(EraseProgress::Erased { files: at as u64 + 1, rows });
        }
        Ok(report)
    }

    /// Reads every object that can hold such a row.
    async fn prove(
        &self,
        by: &ByCondition,
        request: &EraseRequest,
        tables: Vec<Table>,
        deleted: DeletionReport,
        tell: Tell<'_>,
    ) -> Result<EraseReport, Error> {
        let (mut found, mut files) = (Looked::default(), 0);
        let Head { snapshot, .. } = self.head().await?;
        let holding = Holding::of(&snapshot, self.conditions.get());
        for file in by.files(&snapshot) {
            let (mut wanted, _) = by.wanted(&file);
            wanted.held = holding.over(&file);
            let rule = RowRule::new(file.table, wanted);
            let Some(looked) = self.look_counted(&rule, &file).await? else { continue };
            files += 1;
            found.going += looked.going;
            found.held += looked.held;
            tell(EraseProgress::Proven { files });
        }
        let Leftovers { found: leftovers, unreadable } = self.leftovers(by).await?;
        let gone_by = leftovers.iter().filter_map(|leftover| leftover.gone_by).max();
        Ok(EraseReport {
            tables,
            time: request.time,
            deleted,
            left: found.going,
            held: found.held,
            proof_files: files,
            leftovers,
            unreadable,
            gone_by,
            absent: Vec::new(),
            versioned: false,
            log: None,
            record: None,
            salt: None,
        })
    }

    /// What is in a file that counts; `None` for one that was replaced and deleted meanwhile, the
    /// rows of which are in a file that is younger than the proof, or gone.
    async fn look_counted(
        &self,
        rule: &RowRule,
        file: &Arc<FileEntry>,
    ) -> Result<Option<Looked>, Error> {
        match self.look(rule, file).await {
            Ok(looked) => Ok(Some(looked)),
            Err(failed) => {
                let snapshot = self.refresh().await?;
                if snapshot.has(&Removal::of(file)) { Err(failed) } else { Ok(None) }
            }
        }
    }

    /// Deletes the old files, or waits for them to go, and writes down what was done.
    async fn end_erasure(
        &self,
        by: &ByCondition,
        request: &EraseRequest,
        report: &mut EraseReport,
        tell: Tell<'_>,
    ) -> Result<(), Error> {
        if let Some(first) = report.leftovers.first() {
            let head = self.bucket.head(&first.path).await?;
            report.versioned = head.is_some_and(|object| object.version.is_some());
        }
        if request.now {
            report.absent = self.delete_leftovers(&report.leftovers).await?;
        } else if request.wait {
            report.absent = self.wait_gone(report, tell).await?;
        }
        if request.now || request.wait {
            let Leftovers { found, unreadable } = self.leftovers(by).await?;
            report.gone_by = found.iter().filter_map(|leftover| leftover.gone_by).max();
            (report.leftovers, report.unreadable) = (found, unreadable);
        }
        self.record_erasure(request, report).await
    }

    /// Waits for the grace of the old files, and deletes them.
    async fn wait_gone(&self, report: &EraseReport, tell: Tell<'_>) -> Result<Vec<String>, Error> {
        let Some(until) = report.gone_by else { return Ok(Vec::new()) };
        let old = report.leftovers.iter().filter(|leftover| leftover.gone_by.is_some());
        let old: Vec<String> = old.map(|leftover| leftover.path.clone()).collect();
        loop {
            let left = until.0.saturating_sub(self.clock.now().0).saturating_add(1_000_000);
            let Ok(left) = u64::try_from(left) else { break };
            tell(EraseProgress::Waiting { files: old.len() as u64, until });
            self.clock.sleep(std::time::Duration::from_nanos(left).min(LOOK_AGAIN)).await;
        }
        self.collect_garbage().await?;
        self.absent(old).await
    }

    async fn record_erasure(
        &self,
        request: &EraseRequest,
        report: &mut EraseReport,
    ) -> Result<(), Error> {
        let salt = format!("{:016x}{:016x}", self.chance.number(), self.chance.number());
        let (rows, _) = report.deleted.rows();
        let erasure = Erasure {
            digest: erasure_digest(&salt, &request.condition),
            by: request.by.clone(),
            tables: report.tables.clone(),
            time: report.time,
            rows,
            held: report.held,
            files: report.deleted.files(),
        };
        for _ in 0..ATTEMPTS {
            let Head { number, .. } = self.head().await?;
            let body = Body::Erasure(erasure.clone());
            let record = Record { id: self.mint(), at: self.clock.now(), body };
            if self.append_at(number, &record).await? {
                let path = self.bucket.record_path(Sequence::Compaction, number);
                let (left, held) = (report.left, report.held);
                info!(record = path, by = erasure.by, rows, left, held, "erased");
                (report.record, report.salt) = (Some(path), Some(salt));
                return Ok(());
            }
        }
        Err(Error::Crowded { attempts: ATTEMPTS })
    }
}

/// What the record of an erasure says of its condition.
pub(super) fn erasure_digest(salt: &str, condition: &str) -> String {
    let text = [salt.as_bytes(), &[0], condition.as_bytes()].concat();
    let hash = digest(&SHA256, &text);
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
