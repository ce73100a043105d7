//! What the conditions of a query say about where its rows are, and which rows stay.
//!
//! Invariant: a row that every condition holds for is within every bound and passes every filter;
//! one that some condition does not hold for passes not all filters.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::catalog::Session;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, Volatility};
use icecore_store::{
    Bound, FileEntry, OneOf, ReadColumn, RowFilter, Table, TimeRange, TraceId, Values,
};

use super::bounds::{Limit, limit};
use super::columns::{Column, is_id, schema_of};
use super::filter::{OfTime, SqlFilter};

/// The conditions of one scan.
#[derive(Debug, Clone)]
pub(super) struct Conditions {
    table: Table,
    /// When matching rows can be; `None` where no row can match at all.
    pub(super) time: Option<TimeRange>,
    /// The traces that matching rows are of, where there is such a condition.
    pub(super) traces: Option<Vec<TraceId>>,
    bounds: Vec<Bound>,
    filters: Vec<Arc<dyn RowFilter>>,
    /// As they were written.
    texts: Vec<String>,
}

/// Whether a scan can apply a condition itself: what it says of a row depends on that row alone.
pub(super) fn can_apply(condition: &Expr) -> bool {
    let mut can = true;
    let looked = condition.apply(|expr| {
        let foreign = match expr {
            Expr::ScalarFunction(call) => call.func.signature().volatility != Volatility::Immutable,
            Expr::Exists(_)
            | Expr::InSubquery(_)
            | Expr::ScalarSubquery(_)
            | Expr::SetComparison(_)
            | Expr::OuterReferenceColumn(_, _)
            | Expr::Placeholder(_)
            | Expr::AggregateFunction(_)
            | Expr::WindowFunction(_)
            | Expr::Unnest(_) => true,
            _ => false,
        };
        can &= !foreign;
        Ok(if can { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    can && looked.is_ok()
}

impl Conditions {
    /// Those of a scan of `table`, which has these columns. All must hold.
    pub(super) fn new(
        session: &dyn Session,
        table: Table,
        columns: &[Column],
        conditions: &[Expr],
    ) -> Result<Self> {
        let mut all = Self {
            table,
            time: Some(TimeRange::ALL),
            traces: None,
            bounds: Vec::new(),
            filters: Vec::new(),
            texts: Vec::new(),
        };
        let mut filters: Vec<(u32, Arc<dyn RowFilter>)> = Vec::new();
        for condition in conditions.iter().flat_map(split_conjunction) {
            all.texts.push(condition.to_string());
            filters.extend(all.add(session, columns, condition)?);
        }
        // What costs little and leaves few rows comes first.
        filters.sort_by_key(|(cost, _)| *cost);
        all.filters = filters.into_iter().map(|(_, filter)| filter).collect();
        Ok(all)
    }

    /// Takes one condition in. Returns the filter for it and what that costs, where it takes one.
    fn add(
        &mut self,
        session: &dyn Session,
        columns: &[Column],
        condition: &Expr,
    ) -> Result<Option<(u32, Arc<dyn RowFilter>)>> {
        match limit(self.table, columns, condition) {
            Some(Limit::Nothing) => {
                self.time = None;
                return Ok(None);
            }
            Some(Limit::Time(time)) => {
                self.time = self.time.zip(time).and_then(|(one, other)| one.intersection(&other));
                return Ok(None);
            }
            Some(Limit::Ids(column, ids)) => {
                if column == "trace_id" {
                    self.trace(&ids);
                }
                let bound = ReadColumn::Fixed(column.clone());
                self.bounds.push(Bound { column: bound, values: Values::Ids(ids.clone()) });
                return Ok(Some((0, Arc::new(OneOf::new(&column, ids)))));
            }
            Some(Limit::Bound(bound)) => self.bounds.push(bound),
            None => {}
        }
        let names = condition.column_refs();
        let used: Vec<Column> = columns
            .iter()
            .filter(|column| names.iter().any(|name| name.name() == column.field.name()))
            .cloned()
            .collect();
        let schema = DFSchema::try_from(schema_of(&used).as_ref().clone())?;
        let expr = session.create_physical_expr(condition.clone(), &schema)?;
        let cost = 1 + used.iter().map(cost).sum::<u32>();
        Ok(Some((cost, Arc::new(SqlFilter::new(&used, expr)))))
    }

    fn trace(&mut self, ids: &[Vec<u8>]) {
        let ids = ids.iter().filter_map(|id| Some(TraceId(id.as_slice().try_into().ok()?)));
        let here: Vec<TraceId> = ids.collect();
        self.traces = Some(match self.traces.take() {
            Some(known) => known.into_iter().filter(|id| here.contains(id)).collect(),
            None => here,
        });
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.time == Some(TimeRange::ALL) && self.filters.is_empty()
    }

    /// What is to be asked of rows in memory.
    pub(super) fn of_rows(&self) -> Vec<Arc<dyn RowFilter>> {
        let time = self.time.filter(|time| *time != TimeRange::ALL);
        let time = time.map(|time| Arc::new(OfTime::new(self.table, time)) as Arc<dyn RowFilter>);
        self.filters.iter().cloned().chain(time).collect()
    }

    /// What is to be asked of a file, all of whose rows may be of the right time.
    pub(super) fn of_file(&self, file: &FileEntry) -> (Vec<Bound>, Vec<Arc<dyn RowFilter>>) {
        let mut bounds = self.bounds.clone();
        let time = self.time.unwrap_or(TimeRange::ALL);
        if time.start() <= file.time.start() && file.time.end() <= time.end() {
            return (bounds, self.filters.clone());
        }
        bounds.push(Bound::time(self.table, time));
        (bounds, self.of_rows())
    }

    /// As they were written.
    pub(super) fn texts(&self) -> &[String] {
        &self.texts
    }
}

/// About what it takes to decode a column and look at it.
fn cost(column: &Column) -> u32 {
    let is_text = *column.field.data_type() == DataType::Utf8View;
    match &column.read {
        ReadColumn::Map(_) => 100,
        _ if is_id(&column.field) => 20,
        // Asked once a distinct text.
        ReadColumn::Fixed(_) if is_text => 1,
        ReadColumn::Fixed(_) => 2,
        ReadColumn::Attribute { .. } => 4,
    }
}
