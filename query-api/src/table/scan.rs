//! Reading: some partitions of files, one of live rows.
//!
//! Invariant: each file and each live batch of the scan is in exactly one partition, and every
//! batch that leaves here has the schema of the scan.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::stream::{self, BoxStream, StreamExt};
use icecore_store::{FileEntry, ReadColumn, ReadRequest, Table, TimeRange, project};

use super::TableRows;
use super::columns::Column;
use super::present::present;
use super::prune::Prune;

/// What is read on one thread.
#[derive(Debug, Clone)]
pub(super) enum Part {
    /// Files, one after the other.
    Files(Vec<Arc<FileEntry>>),
    /// Rows in memory, in row shape.
    Live(Vec<RecordBatch>),
}

impl Part {
    /// Spreads files over at most `partitions` parts of about the same bytes; live rows are a part
    /// of their own. At least one part.
    pub(super) fn split(
        mut files: Vec<Arc<FileEntry>>,
        live: Vec<RecordBatch>,
        partitions: usize,
    ) -> Vec<Self> {
        files.sort_by_key(|file| std::cmp::Reverse(file.bytes));
        let mut groups = vec![(0_u64, Vec::new()); partitions.clamp(1, files.len().max(1))];
        for file in files {
            if let Some((bytes, group)) = groups.iter_mut().min_by_key(|(bytes, _)| *bytes) {
                *bytes += file.bytes.max(1);
                group.push(file);
            }
        }
        let files = groups.into_iter().map(|(_, group)| group).filter(|group| !group.is_empty());
        let mut parts: Vec<Self> = files.map(Self::Files).collect();
        if !live.is_empty() || parts.is_empty() {
            parts.push(Self::Live(live));
        }
        parts
    }

    fn rows(&self) -> usize {
        match self {
            Self::Files(files) => {
                files.iter().map(|file| usize::try_from(file.rows).unwrap_or(usize::MAX)).sum()
            }
            Self::Live(batches) => batches.iter().map(RecordBatch::num_rows).sum(),
        }
    }
}

/// What the scans of one query read, counted as it happens.
#[derive(Debug, Default)]
pub(crate) struct ScanStats {
    files_considered: AtomicU64,
    files_pruned: AtomicU64,
    files_read: AtomicU64,
    file_bytes: AtomicU64,
    file_rows: AtomicU64,
    live_rows: AtomicU64,
}

/// The figures of [`ScanStats`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(crate) struct ScanFigures {
    /// Files that the snapshot has of the tables, once a scan.
    pub(crate) files_considered: u64,
    /// Of these, files that the conditions ruled out.
    pub(crate) files_pruned: u64,
    /// Files that were opened.
    pub(crate) files_read: u64,
    /// The size of the files that were opened; less is fetched where columns and pages are left out.
    pub(crate) file_bytes: u64,
    /// Rows that came out of files, before conditions.
    pub(crate) file_rows: u64,
    /// Rows that came from memory, before conditions.
    pub(crate) live_rows: u64,
}

impl ScanStats {
    /// A scan was planned over `known` files and kept `kept` of them.
    pub(super) fn planned(&self, known: usize, kept: usize) {
        let pruned = known.saturating_sub(kept);
        self.files_considered.fetch_add(known as u64, Ordering::Relaxed);
        self.files_pruned.fetch_add(pruned as u64, Ordering::Relaxed);
    }

    /// The figures now.
    pub(crate) fn figures(&self) -> ScanFigures {
        let load = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let Self { files_considered, files_pruned, files_read, file_bytes, file_rows, live_rows } =
            self;
        ScanFigures {
            files_considered: load(files_considered),
            files_pruned: load(files_pruned),
            files_read: load(files_read),
            file_bytes: load(file_bytes),
            file_rows: load(file_rows),
            live_rows: load(live_rows),
        }
    }
}

/// The plan node that reads.
#[derive(Debug)]
pub(crate) struct TelemetryScan {
    table: Table,
    rows: Arc<TableRows>,
    schema: SchemaRef,
    columns: Vec<Column>,
    prune: Prune,
    parts: Vec<Part>,
    properties: Arc<PlanProperties>,
}

impl TelemetryScan {
    pub(super) fn new(
        table: Table,
        rows: Arc<TableRows>,
        schema: SchemaRef,
        columns: Vec<Column>,
        prune: Prune,
        parts: Vec<Part>,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(parts.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { table, rows, schema, columns, prune, parts, properties: Arc::new(properties) }
    }

    fn read_columns(&self) -> Vec<ReadColumn> {
        self.columns.iter().map(|column| column.read.clone()).collect()
    }

    /// Batches as the store has them, in the columns of the scan but not yet as SQL shows them.
    fn stored(&self, part: Part) -> BoxStream<'static, Result<RecordBatch>> {
        let (rows, table, columns) = (Arc::clone(&self.rows), self.table, self.read_columns());
        match part {
            Part::Live(batches) => stream::iter(batches)
                .map(move |batch| {
                    rows.stats.live_rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
                    project(&batch, table, &columns).map_err(store_error)
                })
                .boxed(),
            Part::Files(files) => {
                let Prune { time, trace_id, service_name } = self.prune.clone();
                let time = time.unwrap_or(TimeRange::ALL);
                stream::iter(files)
                    .flat_map(move |file| {
                        let stats = Arc::clone(&rows.stats);
                        stats.files_read.fetch_add(1, Ordering::Relaxed);
                        stats.file_bytes.fetch_add(file.bytes, Ordering::Relaxed);
                        let (columns, service_name) = (columns.clone(), service_name.clone());
                        let request = ReadRequest { file, columns, time, trace_id, service_name };
                        rows.store.read(request).map(move |batch| {
                            let batch = batch.map_err(store_error)?;
                            stats.file_rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
                            Ok(batch)
                        })
                    })
                    .boxed()
            }
        }
    }
}

fn store_error(error: icecore_store::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// A batch of the store as SQL shows it.
pub(crate) fn shown(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = schema.fields().iter().zip(batch.columns());
    let columns = columns.map(|(field, column)| present(field.name(), column));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    // A batch without columns still has rows to count.
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

impl DisplayAs for TelemetryScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut files, mut live) = (0, 0);
        for part in &self.parts {
            match part {
                Part::Files(group) => files += group.len(),
                Part::Live(batches) => live += batches.len(),
            }
        }
        let names: Vec<_> = self.columns.iter().map(|c| c.field.name().as_str()).collect();
        let Self { table, prune: Prune { time, trace_id, service_name }, .. } = self;
        write!(f, "TelemetryScan: {table} files={files} live_batches={live}")?;
        write!(f, " columns=[{}]", names.join(", "))?;
        match time {
            Some(time) if *time == TimeRange::ALL => {}
            Some(time) => write!(f, " time={:?}..{:?}", time.start(), time.end())?,
            None => write!(f, " time=never")?,
        }
        trace_id.map_or(Ok(()), |id| write!(f, " trace_id={id}"))?;
        service_name.as_ref().map_or(Ok(()), |name| write!(f, " service_name={name}"))
    }
}

impl ExecutionPlan for TelemetryScan {
    fn name(&self) -> &'static str {
        "TelemetryScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(part) = self.parts.get(partition).cloned() else {
            let text = format!("partition {partition} of {}", self.parts.len());
            return Err(DataFusionError::Internal(text));
        };
        let schema = Arc::clone(&self.schema);
        let batches = self.stored(part).map(move |batch| shown(&batch?, &schema));
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches)))
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        let parts = self.parts.iter().enumerate();
        let wanted = parts.filter(|(at, _)| partition.is_none_or(|wanted| wanted == *at));
        let rows = wanted.map(|(_, part)| part.rows()).sum();
        let mut statistics = Statistics::new_unknown(&self.schema);
        // Where conditions skip row groups, fewer rows than that leave the scan.
        let exact = self.prune.is_everything();
        statistics.num_rows = if exact { Precision::Exact(rows) } else { Precision::Inexact(rows) };
        Ok(Arc::new(statistics))
    }
}
