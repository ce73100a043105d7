//! Carries out a plan, one merge after the other.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::info;

use crate::catalog::FileEntry;
use crate::catalog::append::{Appended, append};
use crate::catalog::checkpoint;
use crate::catalog::invariants::no_row_lost;
use crate::catalog::record::{Body, Record, Removal, Sequence};
use crate::compaction::merge::{Keep, MergeRequest, Merged, merge};
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
        let merged = self.put_merged(&inputs, number, None).await?;
        if !self.put_compaction(number, &inputs, merged.output.as_ref()).await? {
            report.void += 1;
            return Ok(Publication::Void);
        }
        let bytes: u64 = inputs.iter().map(|file| file.bytes).sum();
        report.merges += 1;
        report.files_in += inputs.len() as u64;
        report.bytes_in += bytes;
        if let Some(FileEntry { table, hour, rows, bytes: bytes_out, .. }) = &merged.output {
            info!(%table, %hour, files = inputs.len(), rows, bytes, bytes_out, "merged");
            report.bytes_out += bytes_out;
        }
        Ok(Publication::Done)
    }

    /// Merges files of one table and hour, at least one, and puts the output where there is one.
    /// It counts only once [`Self::put_compaction`] has published it as record `number`.
    pub(crate) async fn put_merged(
        &self,
        inputs: &[Arc<FileEntry>],
        number: u64,
        keep: Option<Arc<dyn Keep>>,
    ) -> Result<Merged<FileEntry>, Error> {
        let request = MergeRequest {
            inputs: inputs.to_vec(),
            keep,
            id: FileId(self.mint()),
            origin: FileOrigin { record: Sequence::Compaction.path(number), log: None },
            row_group_rows_max: self.config.row_group_rows_max,
        };
        let Merged { output, dropped } = merge(self.bucket.objects(), request).await?;
        let Some(file) = output else { return Ok(Merged { output: None, dropped }) };
        check_merge(inputs, &file.entry, dropped)?;
        Ok(Merged { output: Some(self.put_file(file).await?), dropped })
    }

    /// Publishes a merge; `false` where somebody else's record was first. The output is then
    /// garbage, and is found as such by the record that its origin names.
    pub(crate) async fn put_compaction(
        &self,
        number: u64,
        inputs: &[Arc<FileEntry>],
        output: Option<&FileEntry>,
    ) -> Result<bool, Error> {
        self.own_as_process().await?;
        let removes = inputs.iter().map(|file| Removal::of(file)).collect();
        let body = Body::Compaction { adds: output.cloned().into_iter().collect(), removes };
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
fn check_merge(inputs: &[Arc<FileEntry>], output: &FileEntry, dropped: u64) -> Result<(), Error> {
    let placed = |file: &Arc<FileEntry>| file.table == output.table && file.hour == output.hour;
    if no_row_lost(inputs, output, dropped) && inputs.iter().all(placed) {
        return Ok(());
    }
    let before: u64 = inputs.iter().map(|file| file.rows).sum();
    let reason = format!("a merge made {} rows of {before} less {dropped}", output.rows);
    Err(Error::Damaged { path: output.path(), reason })
}
