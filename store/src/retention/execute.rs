//! Removes rows of some files by one record.
//!
//! Invariant: the record is published under the number that follows the snapshot over which each
//! of its files was judged. Where that number is taken, everything is judged anew: what took it
//! may be a hold.

use std::sync::Arc;

use tracing::{debug, info};

use crate::catalog::FileEntry;
use crate::catalog::record::{Body, Cause, Record, Removal};
use crate::compaction::Merged;
use crate::error::Error;
use crate::metrics::Publication;
use crate::retention::holds::{Head, Holding};
use crate::retention::look::Looked;
use crate::retention::report::{DeletionReport, TableDeletion};
use crate::retention::select::{Verdict, Wanted, judge};
use crate::store::Store;

/// How often others may take the number before these files are left for the next pass.
const ATTEMPTS: u32 = 16;

/// Says what of a file is to go, holds apart.
pub(super) trait Judge: Sync {
    /// Why.
    fn cause(&self) -> Cause;

    /// What is wanted of the file, and a mark that changes with it.
    fn wanted(&self, file: &FileEntry) -> (Wanted, u64);

    /// Whether the file was looked into before under this mark, and no row had to go.
    fn is_settled(&self, _file: &FileEntry, _mark: u64) -> bool {
        false
    }

    /// The file was looked into under this mark, and no row has to go.
    fn settle(&self, _file: &FileEntry, _mark: u64) {}

    /// Nothing is to be written: only the figures are wanted.
    fn is_trial(&self) -> bool;
}

/// What one record does.
#[derive(Debug, Default)]
struct Work {
    adds: Vec<FileEntry>,
    removes: Vec<Removal>,
    report: DeletionReport,
    /// Files without a row that goes, and the marks under which that is so.
    settled: Vec<(Arc<FileEntry>, u64)>,
}

impl Work {
    fn drop_file(&mut self, file: &FileEntry) {
        self.removes.push(Removal::of(file));
        let table = self.report.table(file.table);
        table.rows += file.rows;
        table.dropped += 1;
        table.bytes_before += file.bytes;
    }

    fn rewrite(&mut self, file: &FileEntry, rows: u64, output: Option<FileEntry>) {
        self.removes.push(Removal::of(file));
        let table = self.report.table(file.table);
        table.rows += rows;
        table.rewritten += 1;
        table.bytes_before += file.bytes;
        table.bytes_after += output.as_ref().map_or(0, |output| output.bytes);
        self.adds.extend(output);
    }
}

impl Store {
    /// Removes what `by` wants to go of these files, which are looked up anew: those that are no
    /// longer in the catalog are passed over.
    pub(super) async fn remove_rows(
        &self,
        files: &[Arc<FileEntry>],
        by: &dyn Judge,
    ) -> Result<DeletionReport, Error> {
        for _ in 0..ATTEMPTS {
            let Head { snapshot, number } = self.known_head().await;
            let holding = Holding::of(&snapshot, self.conditions.get());
            let mut work = Work::default();
            for file in files.iter().filter(|file| snapshot.has(&Removal::of(file))) {
                self.work_on(file, by, &holding, number, &mut work).await?;
            }
            if by.is_trial() || work.removes.is_empty() {
                return Ok(finished(work, by));
            }
            let published = self.publish_deletion(number, &work, by.cause()).await;
            self.metrics.deletion(*published.as_ref().unwrap_or(&Publication::Failed));
            if published? == Publication::Done {
                self.metrics.deleted_rows(by.cause(), &work.report);
                return Ok(finished(work, by));
            }
            debug!(number, "another record was first, judging anew");
        }
        Err(Error::Crowded { attempts: ATTEMPTS })
    }

    async fn work_on(
        &self,
        file: &Arc<FileEntry>,
        by: &dyn Judge,
        holding: &Holding,
        number: u64,
        work: &mut Work,
    ) -> Result<(), Error> {
        let (mut wanted, mark) = by.wanted(file);
        let mark = mark ^ holding.mark;
        wanted.held = holding.over(file);
        let rule = match judge(wanted, file) {
            Verdict::Keep => return Ok(()),
            Verdict::Drop => {
                work.drop_file(file);
                return Ok(());
            }
            Verdict::Look(_) if by.is_settled(file, mark) => return Ok(()),
            Verdict::Look(rule) => rule,
        };
        let Looked { going, held } = self.look(&rule, file).await?;
        work.report.looked += 1;
        if held > 0 {
            work.report.table(file.table).held += held;
        }
        if going == 0 {
            work.settled.push((Arc::clone(file), mark));
        } else if going == file.rows {
            work.drop_file(file);
        } else if by.is_trial() {
            work.rewrite(file, going, None);
        } else {
            let rule = Some(Arc::new(rule) as _);
            let merged = self.put_merged(&[Arc::clone(file)], number, rule).await?;
            let Merged { output, dropped, .. } = merged;
            work.settled.extend(output.iter().map(|file| (Arc::new(file.clone()), mark)));
            work.rewrite(file, dropped, output);
        }
        Ok(())
    }

    async fn publish_deletion(
        &self,
        number: u64,
        work: &Work,
        cause: Cause,
    ) -> Result<Publication, Error> {
        let Work { adds, removes, report, settled: _ } = work;
        let (rows, _) = report.rows();
        let (adds, removes) = (adds.clone(), removes.clone());
        let body = Body::Deletion { cause, rows, adds, removes };
        let record = Record { id: self.mint(), at: self.clock.now(), body };
        if !self.append_at(number, &record).await? {
            return Ok(Publication::Void);
        }
        for table in report.tables.iter().filter(|table| table.rows > 0) {
            let TableDeletion { table, rows, dropped, rewritten, .. } = table;
            info!(%table, ?cause, rows, dropped, rewritten, "rows removed");
        }
        Ok(Publication::Done)
    }
}

fn finished(work: Work, by: &dyn Judge) -> DeletionReport {
    work.settled.iter().for_each(|(file, mark)| by.settle(file, *mark));
    work.report
}
