//! Accumulating the rows of one partition by group.
//!
//! Invariant: each row is accumulated in the group of its keys once; what is given out is given
//! out once.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::{GroupsAccumulatorAdapter, PhysicalExpr};

use super::keys::Keys;

/// What is grouped and accumulated, as the rows of the scan have it.
#[derive(Debug, Clone)]
pub(super) struct Grouped {
    /// The keys.
    pub(super) keys: Vec<Arc<dyn PhysicalExpr>>,
    /// The aggregates.
    pub(super) aggregates: Vec<Aggregate>,
    /// Of what comes out: the keys, then the aggregates or their states.
    pub(super) schema: SchemaRef,
    /// Whether states come out, for a further step, and not answers.
    pub(super) states: bool,
}

/// One aggregate.
#[derive(Debug, Clone)]
pub(super) struct Aggregate {
    /// What makes its accumulator.
    pub(super) function: Arc<AggregateFunctionExpr>,
    /// What it accumulates.
    pub(super) arguments: Vec<Arc<dyn PhysicalExpr>>,
    /// Which rows it accumulates.
    pub(super) filter: Option<Arc<dyn PhysicalExpr>>,
}

impl Aggregate {
    fn accumulator(&self) -> Result<Box<dyn GroupsAccumulator>> {
        if self.function.groups_accumulator_supported() {
            return self.function.create_groups_accumulator();
        }
        let function = Arc::clone(&self.function);
        Ok(Box::new(GroupsAccumulatorAdapter::new(move || function.create_accumulator())))
    }
}

/// The groups of one partition.
pub(super) struct Groups {
    grouped: Arc<Grouped>,
    keys: Keys,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    /// Of the rows of one batch.
    places: Vec<usize>,
}

impl Groups {
    /// None yet.
    pub(super) fn new(grouped: Arc<Grouped>) -> Result<Self> {
        let accumulators = grouped.aggregates.iter().map(Aggregate::accumulator);
        let accumulators = accumulators.collect::<Result<_>>()?;
        Ok(Self { keys: Keys::new(grouped.keys.len()), accumulators, places: Vec::new(), grouped })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Their memory, about.
    pub(super) fn bytes(&self) -> usize {
        self.keys.bytes() + self.accumulators.iter().map(|one| one.size()).sum::<usize>()
    }

    /// Accumulates the rows of a batch.
    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let rows = batch.num_rows();
        let arrays = |exprs: &[Arc<dyn PhysicalExpr>]| -> Result<Vec<ArrayRef>> {
            exprs.iter().map(|expr| expr.evaluate(batch)?.into_array(rows)).collect()
        };
        self.keys.groups(&arrays(&self.grouped.keys)?, &mut self.places)?;
        let groups = self.keys.len();
        for (aggregate, accumulator) in self.grouped.aggregates.iter().zip(&mut self.accumulators) {
            let values = arrays(&aggregate.arguments)?;
            let filter = aggregate.filter.as_ref().map(|filter| filter_of(filter, batch));
            let filter = filter.transpose()?;
            accumulator.update_batch(&values, &self.places, filter.as_ref(), groups)?;
        }
        Ok(())
    }

    /// All groups as one batch; none is left.
    pub(super) fn take(&mut self) -> Result<RecordBatch> {
        let schema = &self.grouped.schema;
        let types: Vec<DataType> =
            schema.fields().iter().map(|field| field.data_type().clone()).collect();
        let groups = self.keys.len();
        let mut columns = self.keys.values(&types)?;
        for accumulator in &mut self.accumulators {
            if self.grouped.states {
                columns.extend(accumulator.state(EmitTo::All)?);
            } else {
                columns.push(accumulator.evaluate(EmitTo::All)?);
            }
        }
        self.keys = Keys::new(self.grouped.keys.len());
        let options = RecordBatchOptions::new().with_row_count(Some(groups));
        Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
    }
}

fn filter_of(filter: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<BooleanArray> {
    let mask = filter.evaluate(batch)?.into_array(batch.num_rows())?;
    let mask = mask.as_boolean_opt().cloned();
    mask.ok_or_else(|| exec_datafusion_err!("the filter of an aggregate is no condition"))
}
