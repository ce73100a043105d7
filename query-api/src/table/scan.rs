//! Reading: some partitions of files, one of live rows.
//!
//! Invariant: each file and each live batch of the scan is in exactly one partition; every row that
//! leaves here meets the conditions, and every batch has the schema of the scan.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use icecore_store::schema::text_type;
use icecore_store::{
    FileEntry, LiveBlock, ReadColumn, ReadRequest, ReadTally, RowFilter, Table, TimeRange,
};

use super::TableRows;
use super::columns::{Column, schema_of};
use super::conditions::Conditions;
use super::live::Asked;
use super::parts::Part;
use super::present::shown;
use super::stats::{Considered, metrics};
use super::top::{Order, TopRows};

/// Files that are read at one time for the first rows of an order: what is found in some of them
/// rules out others.
const FILES_OF_TOP_MAX: usize = 8;

/// The plan node that reads.
#[derive(Debug, Clone)]
pub(crate) struct TelemetryScan {
    table: Table,
    rows: Arc<TableRows>,
    schema: SchemaRef,
    columns: Vec<Column>,
    conditions: Conditions,
    order: Option<Order>,
    /// Perhaps whoever asks needs only some of the rows.
    limited: bool,
    parts: Vec<Part>,
    considered: Considered,
    /// Files that the order ruled out.
    passed_over: Arc<AtomicUsize>,
    tally: Arc<ReadTally>,
    properties: Arc<PlanProperties>,
}

impl TelemetryScan {
    pub(super) fn new(
        table: Table,
        rows: Arc<TableRows>,
        columns: Vec<Column>,
        conditions: Conditions,
        parts: Vec<Part>,
        considered: Considered,
    ) -> Self {
        let schema = schema_of(&columns);
        let properties = properties(&schema, parts.len());
        let tally = rows.stats.scan();
        let (order, limited) = (None, false);
        Self {
            table,
            rows,
            schema,
            columns,
            conditions,
            order,
            limited,
            parts,
            considered,
            passed_over: Arc::default(),
            tally,
            properties,
        }
    }

    /// The same scan, of which perhaps not all rows are wanted.
    pub(super) fn limited(self, limited: bool) -> Self {
        Self { limited, ..self }
    }

    /// The columns, in order.
    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The table.
    pub(crate) const fn table(&self) -> Table {
        self.table
    }

    /// The same scan, which leaves out rows that are not among the first in an order.
    pub(crate) fn first(&self, order: Order) -> Self {
        let parts = match order.latest_first() {
            Some(latest_first) => Part::by_time(&self.parts, latest_first),
            None => self.parts.clone(),
        };
        Self { order: Some(order), limited: true, parts, ..self.clone() }
    }

    /// The same scan with these columns, which are text, as dictionaries.
    pub(crate) fn with_dictionaries(&self, places: &[usize]) -> Self {
        let fields = self.schema.fields().iter().enumerate().map(|(at, field)| {
            if places.contains(&at) {
                Arc::new(Field::new(field.name(), text_type(), field.is_nullable()))
            } else {
                Arc::clone(field)
            }
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Self { properties: properties(&schema, self.parts.len()), schema, ..self.clone() }
    }

    fn read_columns(&self) -> Vec<ReadColumn> {
        self.columns.iter().map(|column| column.read.clone()).collect()
    }

    /// Batches as the store has them, in the columns of the scan but not yet as SQL shows them.
    fn stored(
        &self,
        part: Part,
        top: Option<Arc<TopRows>>,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        match part {
            Part::Live(blocks) => self.live(blocks, top),
            Part::Files(files) => self.files(files, top),
        }
    }

    fn live(
        &self,
        blocks: Vec<Arc<dyn LiveBlock>>,
        top: Option<Arc<TopRows>>,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        let (stats, table) = (Arc::clone(&self.rows.stats), self.table);
        let (columns, mut filters) = (self.read_columns(), self.conditions.of_rows());
        filters.extend(top.clone().map(|top| top as Arc<dyn RowFilter>));
        let asked = Arc::new(Asked { table, columns, filters, stats });
        let reads = self.rows.live_reads.clone();
        let batches = stream::iter(blocks).then(move |block| {
            let (reads, asked, top) = (reads.clone(), Arc::clone(&asked), top.clone());
            async move {
                // Asked only now: what came before may have ruled the block out.
                match top.map(|top| top.time()).transpose()?.flatten() {
                    Some(time) if !time.overlaps(&block.time()) => Ok(Vec::new()),
                    _ => reads.scan(block, asked).await,
                }
            }
        });
        let each = batches.map_ok(|batches| stream::iter(batches.into_iter().map(Ok)));
        each.try_flatten().boxed()
    }

    fn files(
        &self,
        files: Vec<Arc<FileEntry>>,
        top: Option<Arc<TopRows>>,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        let (rows, columns) = (Arc::clone(&self.rows), self.read_columns());
        let (conditions, tally) = (self.conditions.clone(), Arc::clone(&self.tally));
        let passed_over = Arc::clone(&self.passed_over);
        let (at_once, room) = (rows.store.files_at_once(), rows.store.room(!self.limited));
        let at_once = if top.is_some() { at_once.min(FILES_OF_TOP_MAX) } else { at_once };
        let opened = stream::iter(files).map(move |file| {
            let (mut bounds, mut filters) = conditions.of_file(&file);
            if let Some(top) = &top {
                match top.time() {
                    Ok(Some(time)) if !time.overlaps(&file.time) => {
                        rows.stats.passed_over();
                        passed_over.fetch_add(1, Ordering::Relaxed);
                        return stream::empty().boxed();
                    }
                    Ok(Some(time)) => bounds.push(icecore_store::Bound::time(file.table, time)),
                    Ok(None) => {}
                    Err(error) => {
                        return stream::once(std::future::ready(Err(error.into()))).boxed();
                    }
                }
                filters.push(Arc::clone(top) as Arc<dyn RowFilter>);
            }
            rows.stats.opened(&file);
            let (columns, tally) = (columns.clone(), Arc::clone(&tally));
            let room = Some(room.clone());
            let request = ReadRequest { file, columns, bounds, filters, room, tally };
            let stats = Arc::clone(&rows.stats);
            let batches = rows.store.read(request).map(move |batch| {
                let batch = batch.map_err(store_error)?;
                stats.read(batch.num_rows());
                Ok(batch)
            });
            batches.boxed()
        });
        opened.flatten_unordered(at_once).boxed()
    }
}

fn properties(schema: &SchemaRef, partitions: usize) -> Arc<PlanProperties> {
    Arc::new(PlanProperties::new(
        EquivalenceProperties::new(Arc::clone(schema)),
        Partitioning::UnknownPartitioning(partitions),
        EmissionType::Incremental,
        Boundedness::Bounded,
    ))
}

/// What a condition says of itself comes out as the engine's own words.
pub(super) fn store_error(error: icecore_store::Error) -> DataFusionError {
    match error {
        icecore_store::Error::Filter { source } => match source.downcast::<DataFusionError>() {
            Ok(engines) => *engines,
            Err(source) => DataFusionError::External(source),
        },
        other => DataFusionError::External(Box::new(other)),
    }
}

impl DisplayAs for TelemetryScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut files, mut live) = (0, 0);
        for part in &self.parts {
            match part {
                Part::Files(group) => files += group.len(),
                Part::Live(blocks) => live += blocks.len(),
            }
        }
        let names: Vec<_> = self.columns.iter().map(|c| c.field.name().as_str()).collect();
        let Self { table, conditions, considered, .. } = self;
        let known = considered.files;
        write!(f, "TelemetryScan: {table} files={files}/{known} live_blocks={live}")?;
        write!(f, " columns=[{}]", names.join(", "))?;
        match conditions.time {
            Some(time) if time == TimeRange::ALL => {}
            Some(time) => write!(f, " time={:?}..{:?}", time.start(), time.end())?,
            None => write!(f, " time=never")?,
        }
        if !conditions.texts().is_empty() {
            write!(f, " conditions=[{}]", conditions.texts().join(", "))?;
        }
        self.order.as_ref().map_or(Ok(()), |order| write!(f, " first={order}"))
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
        // Of its own for each execution: a plan may be executed again, and begins anew then.
        let top = self.order.as_ref().map(|order| order.filter().map(Arc::new)).transpose()?;
        let batches = self.stored(part, top).map(move |batch| Ok(shown(&batch?, &schema)?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        let passed_over = self.passed_over.load(Ordering::Relaxed);
        Some(metrics(self.considered, passed_over, &self.tally.figures()))
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        let parts = self.parts.iter().enumerate();
        let wanted = parts.filter(|(at, _)| partition.is_none_or(|wanted| wanted == *at));
        let rows = wanted.map(|(_, part)| part.rows()).sum();
        let mut statistics = Statistics::new_unknown(&self.schema);
        // Where there are conditions, fewer rows than that leave the scan.
        let exact = self.conditions.is_empty() && self.order.is_none();
        statistics.num_rows = if exact { Precision::Exact(rows) } else { Precision::Inexact(rows) };
        Ok(Arc::new(statistics))
    }
}
