//! `GROUP BY` over a scan: keys that are text are told apart by their place in a dictionary, and not
//! by their letters row by row.
//!
//! Invariant: what comes out has the schema and the meaning of the engine's own node, so that
//! whatever stands above it stays as it is.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::stream::{self, StreamExt, TryStreamExt};
use icecore_store::ReadColumn;

use super::grouping::{Aggregate, Grouped, Groups};
use super::inline::{place, places};
use super::keys::is_key;
use crate::table::columns::is_id;
use crate::table::scan::TelemetryScan;

/// Groups of a partition that are given to the next step before there are more; that keeps them in
/// the processor's reach.
const GROUPS_MAX: usize = 1 << 16;

/// Aggregates whose order within a group says what they are, and not which rows come first.
const ORDERED_BY_VALUE: [&str; 3] =
    ["approx_percentile_cont", "percentile_cont", "approx_percentile_cont_with_weight"];

/// See the module.
#[derive(Debug)]
pub(super) struct GroupedScans;

impl PhysicalOptimizerRule for GroupedScans {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let changed = plan.transform_down(|node| {
            let grouped = match node.downcast_ref::<AggregateExec>() {
                Some(aggregate) => GroupExec::of(aggregate)?,
                None => None,
            };
            Ok(match grouped {
                Some(grouped) => Transformed::yes(Arc::new(grouped) as _),
                None => Transformed::no(node),
            })
        });
        Ok(changed?.data)
    }

    fn name(&self) -> &'static str {
        "grouped_scans"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The plan node that groups the rows of a scan.
#[derive(Debug)]
struct GroupExec {
    input: Arc<dyn ExecutionPlan>,
    grouped: Arc<Grouped>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl GroupExec {
    /// In place of the engine's node; `None` where that is not over a scan, or does what this one
    /// does not know.
    fn of(aggregate: &AggregateExec) -> Result<Option<Self>> {
        let states = match aggregate.mode() {
            AggregateMode::Partial => true,
            AggregateMode::Single => false,
            _ => return Ok(None),
        };
        let group_by = aggregate.group_expr();
        let keys: Vec<_> = group_by.expr().iter().map(|(key, _)| Arc::clone(key)).collect();
        if keys.is_empty() || !group_by.is_single() || !can_accumulate(aggregate) {
            return Ok(None);
        }
        let Some(scan) = scan_below(aggregate.input()) else { return Ok(None) };
        let mut looked_at = Vec::new();
        let mut aggregates = Vec::new();
        for (function, filter) in aggregate.aggr_expr().iter().zip(aggregate.filter_expr()) {
            let arguments = function.expressions();
            let by = function.order_bys().iter().map(|by| Arc::clone(&by.expr));
            let arguments: Vec<_> = arguments.into_iter().chain(by).collect();
            for expr in arguments.iter().chain(filter) {
                looked_at.extend(places(expr)?);
            }
            let (function, filter) = (Arc::clone(function), filter.clone());
            aggregates.push(Aggregate { function, arguments, filter });
        }
        for key in keys.iter().filter(|key| place(key).is_none()) {
            looked_at.extend(places(key)?);
        }
        let in_dictionaries: Vec<usize> = keys
            .iter()
            .filter_map(place)
            .filter(|at| !looked_at.contains(at) && repeats(scan, *at))
            .collect();
        let input = aggregate.input().schema();
        let known = keys.iter().all(|key| {
            key.data_type(&input).is_ok_and(|data_type| is_key(&data_type))
                && place(key).is_none_or(|at| !is_text(scan, at) || repeats(scan, at))
        });
        if !known || in_dictionaries.is_empty() {
            return Ok(None);
        }
        let scan = Arc::new(scan.with_dictionaries(&in_dictionaries));
        let schema = aggregate.schema();
        let partitions = scan.properties().output_partitioning().partition_count();
        let properties = aggregate.properties().as_ref().clone();
        let properties =
            properties.with_partitioning(Partitioning::UnknownPartitioning(partitions));
        Ok(Some(Self {
            input: Arc::new(CooperativeExec::new(scan)),
            grouped: Arc::new(Grouped { keys, aggregates, schema, states }),
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }))
    }
}

/// Whether every aggregate can be fed in any order of rows.
fn can_accumulate(aggregate: &AggregateExec) -> bool {
    aggregate.aggr_expr().iter().all(|function| {
        let by_value = ORDERED_BY_VALUE.contains(&function.fun().name());
        by_value || function.order_bys().is_empty()
    })
}

/// The scan whose rows these are, in whatever order. Where it has one partition the engine deals its
/// batches out, so that several threads make texts of them; groups by place are found faster than
/// batches are dealt out.
fn scan_below(node: &Arc<dyn ExecutionPlan>) -> Option<&TelemetryScan> {
    if let Some(cooperative) = node.downcast_ref::<CooperativeExec>() {
        return scan_below(cooperative.input());
    }
    match node.downcast_ref::<RepartitionExec>() {
        Some(dealt) if matches!(dealt.partitioning(), Partitioning::RoundRobinBatch(_)) => {
            scan_below(dealt.input())
        }
        _ => node.downcast_ref(),
    }
}

fn is_text(scan: &TelemetryScan, at: usize) -> bool {
    let column = scan.columns().get(at);
    column.is_some_and(|column| *column.field.data_type() == DataType::Utf8View)
}

/// Whether a column is text of which the scan knows the distinct ones.
fn repeats(scan: &TelemetryScan, at: usize) -> bool {
    let Some(column) = scan.columns().get(at) else { return false };
    let whole_map = matches!(column.read, ReadColumn::Map(_));
    let plain = matches!(&column.read, ReadColumn::Fixed(name) if name == "body");
    is_text(scan, at) && !is_id(&column.field) && !whole_map && !plain
}

/// One partition under way.
struct Running {
    input: SendableRecordBatchStream,
    groups: Groups,
    reservation: MemoryReservation,
    /// What is given out as it is.
    ready: Vec<RecordBatch>,
    batch_rows: usize,
    states: bool,
    ended: bool,
}

impl Running {
    /// Accumulates until there is something to give out.
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.ready.pop() {
                return Ok(Some(batch));
            }
            if self.ended {
                return Ok(None);
            }
            match self.input.try_next().await? {
                Some(batch) => {
                    self.groups.add(&batch)?;
                    let reserved = self.reservation.try_resize(self.groups.bytes());
                    let many = self.groups.len() >= GROUPS_MAX || reserved.is_err();
                    if self.states && many {
                        self.give_out()?;
                    } else {
                        reserved?;
                    }
                }
                None => {
                    self.ended = true;
                    self.give_out()?;
                }
            }
        }
    }

    fn give_out(&mut self) -> Result<()> {
        if self.groups.len() == 0 {
            return Ok(());
        }
        let all = self.groups.take()?;
        let starts = (0..all.num_rows()).step_by(self.batch_rows);
        let slices = starts.map(|at| all.slice(at, self.batch_rows.min(all.num_rows() - at)));
        self.ready = slices.rev().collect();
        self.reservation.try_resize(self.groups.bytes())
    }
}

impl DisplayAs for GroupExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Grouped { keys, aggregates, states, .. } = self.grouped.as_ref();
        let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
        let names: Vec<&str> = aggregates.iter().map(|one| one.function.name()).collect();
        let step = if *states { "partial" } else { "single" };
        write!(f, "GroupExec: step={step}, by=[{}], aggr=[{}]", keys.join(", "), names.join(", "))
    }
}

impl ExecutionPlan for GroupExec {
    fn name(&self) -> &'static str {
        "GroupExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        seen: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let aggregates = self.grouped.aggregates.iter();
        let arguments = aggregates.flat_map(|one| one.arguments.iter().chain(&one.filter));
        for expr in self.grouped.keys.iter().chain(arguments) {
            if seen(expr)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Ok([input]) = <[_; 1]>::try_from(children) else {
            return internal_err!("groups are of one input");
        };
        let metrics = ExecutionPlanMetricsSet::new();
        let (grouped, properties) = (Arc::clone(&self.grouped), Arc::clone(&self.properties));
        Ok(Arc::new(Self { input, grouped, properties, metrics }))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let consumer = MemoryConsumer::new(format!("GroupExec[{partition}]"));
        let running = Running {
            reservation: consumer.register(context.memory_pool()),
            batch_rows: context.session_config().batch_size(),
            input: self.input.execute(partition, context)?,
            groups: Groups::new(Arc::clone(&self.grouped))?,
            ready: Vec::new(),
            states: self.grouped.states,
            ended: false,
        };
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let batches = stream::try_unfold(running, move |mut running| {
            let metrics = metrics.clone();
            async move {
                let batch = running.next().await?;
                Ok(batch.map(|batch| {
                    metrics.record_output(batch.num_rows());
                    (batch, running)
                }))
            }
        });
        let schema = Arc::clone(&self.grouped.schema);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches.boxed())))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
