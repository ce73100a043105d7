//! Carries out a plan, one merge after the other.

use std::sync::atomic::Ordering;

use tracing::info;

use crate::catalog::FileEntry;
use crate::catalog::append::{Appended, append};
use crate::catalog::checkpoint;
use crate::catalog::invariants::no_row_lost;
use crate::catalog::record::{Body, Record, Removal, Sequence};
use crate::compaction::merge::{MergeRequest, merge};
use crate::compaction::plan::{Merge, plan};
use crate::error::Error;
use crate::files::FileOrigin;
use crate::metrics::Publication;
use crate::model::FileId;
use crate::store::{CompactionReport, Store};

impl Store {
    /// One pass over the catalog that merges the small files of every hour that has enough.
    pub async fn compact(&self) -> Result<CompactionReport, Error> {
        self.own_as_process().await?;
        let snapshot = self.refresh().await?;
        let mut report = CompactionReport::default();
        for inputs in plan(&snapshot, &self.config.compaction, self.clock.now()) {
            let outcome = self.merge_one(inputs, &mut report).await;
            self.metrics.merge(*outcome.as_ref().unwrap_or(&Publication::Failed));
            outcome?;
        }
        self.metrics.compacted(&report);
        self.checkpoint_when_due(checkpoint::RECORDS).await?;
        Ok(report)
    }

    /// Writes a checkpoint where the newest one lacks at least `records_min` records.
    pub(crate) async fn checkpoint_when_due(&self, records_min: u64) -> Result<(), Error> {
        let newest = match self.checkpointed.load(Ordering::Acquire) {
            u64::MAX => checkpoint::newest_records(&self.bucket).await?,
            known => known,
        };
        let state = self.state.lock().await.clone();
        let records = state.snapshot().records();
        self.checkpointed.store(newest, Ordering::Release);
        if records >= newest.saturating_add(records_min) {
            checkpoint::write(&self.bucket, &state, self.mint()).await?;
            self.checkpointed.store(records, Ordering::Release);
        }
        Ok(())
    }

    async fn merge_one(
        &self,
        inputs: Merge,
        report: &mut CompactionReport,
    ) -> Result<Publication, Error> {
        let number = self.state.lock().await.next(Sequence::Compaction);
        let origin = FileOrigin { record: Sequence::Compaction.path(number), log: None };
        let request = MergeRequest {
            inputs: inputs.clone(),
            id: FileId(self.mint()),
            origin,
            row_group_rows_max: self.config.row_group_rows_max,
        };
        let merged = merge(self.bucket.objects(), request).await?;
        let inputs: Vec<&FileEntry> = inputs.iter().map(|file| &**file).collect();
        check_merge(&inputs, &merged.entry)?;
        let output = self.put_file(merged).await?;
        if !self.put_compaction(number, &inputs, &output).await? {
            report.void += 1;
            return Ok(Publication::Void);
        }
        let bytes: u64 = inputs.iter().map(|file| file.bytes).sum();
        let FileEntry { table, hour, rows, bytes: bytes_out, .. } = &output;
        info!(%table, %hour, files = inputs.len(), rows, bytes, bytes_out, "merged");
        report.merges += 1;
        report.files_in += inputs.len() as u64;
        report.bytes_in += bytes;
        report.bytes_out += bytes_out;
        Ok(Publication::Done)
    }

    /// Publishes a merge; `false` where somebody else's compaction was first. The output is then
    /// garbage, and is found as such by the record that its origin names.
    async fn put_compaction(
        &self,
        number: u64,
        inputs: &[&FileEntry],
        output: &FileEntry,
    ) -> Result<bool, Error> {
        self.own_as_process().await?;
        let removes = inputs.iter().map(|file| Removal::of(file)).collect();
        let body = Body::Compaction { adds: vec![output.clone()], removes };
        let record = Record { id: self.mint(), at: self.clock.now(), body };
        match append(&self.bucket, Sequence::Compaction, number, &record).await? {
            Appended::Ours => {
                self.apply(Sequence::Compaction, number, record).await?;
                Ok(true)
            }
            Appended::Taken(_) => {
                // Its inputs may be of writers that are not known here yet.
                self.refresh().await?;
                Ok(false)
            }
        }
    }
}

/// Nothing is published that would lose or make a row.
fn check_merge(inputs: &[&FileEntry], output: &FileEntry) -> Result<(), Error> {
    let placed = |file: &&FileEntry| file.table == output.table && file.hour == output.hour;
    if no_row_lost(inputs.iter().copied(), [output]) && inputs.iter().all(placed) {
        return Ok(());
    }
    let before: u64 = inputs.iter().map(|file| file.rows).sum();
    let reason = format!("a merge made {} rows of {before}", output.rows);
    Err(Error::Damaged { path: output.path.clone(), reason })
}
