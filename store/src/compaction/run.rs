//! Carries out a plan, one merge after the other.
//!
//! Invariant: each merge makes one file and is published by itself, so that whoever dies in the
//! middle of many loses one file's work, and what is left is planned anew from the catalog.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::{debug, info};

use crate::bucket::Puts;
use crate::catalog::FileEntry;
use crate::catalog::append::{Appended, append};
use crate::catalog::checkpoint;
use crate::catalog::record::{Body, Record, Removal, Sequence};
use crate::compaction::lease::{Leases, Partition};
use crate::compaction::merge::{Merged, merge};
use crate::compaction::plan::{Merge, plan};
use crate::error::Error;
use crate::files::{FileOrigin, Keep, MergeRequest};
use crate::metrics::Publication;
use crate::model::FileId;
use crate::store::{CompactionReport, MergeReport, Store};

/// How often a call plans anew over what it merged: each time files are larger by far.
const ROUNDS_MAX: usize = 8;

impl Store {
    /// Merges the small files of every hour that has enough, until there is nothing left to merge.
    pub async fn compact(&self) -> Result<CompactionReport, Error> {
        self.compact_telling(|_| {}).await
    }

    /// As [`Self::compact`]; `tell` hears of each merge that was published.
    pub async fn compact_telling(
        &self,
        mut tell: impl FnMut(&MergeReport) + Send,
    ) -> Result<CompactionReport, Error> {
        self.own_as_process().await?;
        let mut report = CompactionReport::default();
        for _ in 0..ROUNDS_MAX {
            let snapshot = self.refresh().await?;
            let merges = plan(&snapshot, &self.config.compaction, self.clock.now());
            self.metrics.merges_planned(merges.len());
            let before = report.merges;
            self.merge_all(merges, &mut report, &mut tell).await?;
            if report.merges == before {
                break;
            }
        }
        self.checkpoint_when_due(checkpoint::RECORDS).await?;
        Ok(report)
    }

    /// Merges partition by partition, each under its lease.
    async fn merge_all(
        &self,
        merges: Vec<Merge>,
        report: &mut CompactionReport,
        tell: &mut (impl FnMut(&MergeReport) + Send),
    ) -> Result<(), Error> {
        let mut partitions: BTreeMap<Partition, Vec<Merge>> = BTreeMap::new();
        for merge in merges {
            if let Some(first) = merge.first() {
                partitions.entry((first.table, first.hour)).or_default().push(merge);
            }
        }
        if partitions.is_empty() {
            return Ok(());
        }
        if self.bucket.puts() != Puts::CreateOnly {
            // Whoever owns the bucket is alone in it.
            for merge in partitions.into_values().flatten() {
                self.merge_one(merge, report, tell).await?;
            }
            return Ok(());
        }
        let clock = Arc::clone(&self.clock);
        let leases = Leases::list(&self.bucket, clock, self.process).await?;
        for (partition, merges) in partitions {
            let Some(mut lease) = leases.take(partition).await? else {
                let (table, hour) = partition;
                debug!(%table, %hour, "another compactor is at it");
                report.leased += 1;
                continue;
            };
            let merged = lease.during(async {
                for merge in merges {
                    self.merge_one(merge, report, tell).await?;
                }
                Ok(())
            });
            let merged = merged.await;
            lease.release().await;
            merged?;
        }
        leases.tidy().await
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
            // No record of it is of an epoch that is over.
            self.confirm_owner().await?;
            checkpoint::write(&self.bucket, &state, self.mint()).await?;
            self.checkpointed.store(records, Ordering::Release);
        }
        Ok(())
    }

    async fn merge_one(
        &self,
        inputs: Merge,
        report: &mut CompactionReport,
        tell: &mut (impl FnMut(&MergeReport) + Send),
    ) -> Result<(), Error> {
        let began = self.clock.elapsed();
        let published = self.publish_merge(&inputs).await;
        let outcome = match &published {
            Ok(Some(_)) => Publication::Done,
            Ok(None) => Publication::Void,
            Err(_) => Publication::Failed,
        };
        self.metrics.merge(outcome);
        let Some(Merged { output, dropped, inputs, .. }) = published? else {
            report.void += 1;
            return Ok(());
        };
        let Some(first) = inputs.first() else { return Ok(()) };
        let merged = MergeReport {
            table: first.table,
            hour: first.hour,
            files: inputs.len() as u64,
            rows: output.as_ref().map_or(0, |file| file.rows),
            dropped,
            bytes_in: inputs.iter().map(|file| file.bytes).sum(),
            bytes_out: output.as_ref().map_or(0, |file| file.bytes),
            took: self.clock.elapsed().saturating_sub(began),
        };
        let MergeReport { table, hour, files, rows, dropped: _, bytes_in, bytes_out, took } =
            merged;
        info!(%table, %hour, files, rows, bytes_in, bytes_out, took_ms = took.as_millis(), "merged");
        report.add(&merged);
        self.metrics.merged(&merged);
        tell(&merged);
        Ok(())
    }

    /// Merges and publishes; none where somebody else was first.
    async fn publish_merge(&self, inputs: &Merge) -> Result<Option<Merged>, Error> {
        let number = self.state.lock().await.next(Sequence::Compaction);
        let merged = self.put_merged(inputs, number, None).await?;
        let output = merged.output.as_ref();
        let published = self.put_compaction(number, &merged.inputs, output).await?;
        Ok(published.then_some(merged))
    }

    /// Merges files of one table and hour, or the first of them where there is no memory for all,
    /// and puts the output where there is one.
    /// It counts only once [`Self::put_compaction`] has published it as record `number`.
    pub(crate) async fn put_merged(
        &self,
        inputs: &[Arc<FileEntry>],
        number: u64,
        keep: Option<Arc<dyn Keep>>,
    ) -> Result<Merged, Error> {
        let request = MergeRequest {
            inputs: inputs.to_vec(),
            keep,
            id: FileId(self.mint()),
            origin: FileOrigin {
                record: self.bucket.record_path(Sequence::Compaction, number),
                log: None,
            },
            row_group_rows_max: self.config.row_group_rows_max,
            memory_bytes_max: self.config.compaction.memory_bytes_max,
            traced: self.traces.are_kept(),
        };
        let mut merged = merge(&self.bucket, &self.working, request).await?;
        if let Some(output) = &merged.output {
            // Before a snapshot can show the file.
            self.traces.wrote(output.id, std::mem::take(&mut merged.trace_prints));
        }
        Ok(merged)
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
