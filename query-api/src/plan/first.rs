//! `ORDER BY … LIMIT n` over a scan: the scan leaves out what cannot be among the first n.
//!
//! Invariant: the sort stays where it is; the scan below gives it at least the rows that it would
//! answer with.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::PhysicalSortExpr;
use datafusion::physical_expr::expressions::Column as Place;
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;

use super::inline::{place, places, replace, through};
use crate::table::columns::Column;
use crate::table::scan::TelemetryScan;
use crate::table::top::Order;

/// More rows than that are not kept by the scan.
const ROWS_MAX: usize = 10_000;

/// See the module.
#[derive(Debug)]
pub(super) struct FirstRows;

impl PhysicalOptimizerRule for FirstRows {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let changed = plan.transform_down(|node| {
            let Some(sort) = node.downcast_ref::<SortExec>() else {
                return Ok(Transformed::no(node));
            };
            let Some(rows) = sort.fetch().filter(|rows| *rows <= ROWS_MAX) else {
                return Ok(Transformed::no(node));
            };
            let by: Vec<PhysicalSortExpr> = sort.expr().iter().cloned().collect();
            match first(sort.input(), by, rows)? {
                Some(input) => {
                    Ok(Transformed::yes(replace_children_if_necessary(node, vec![input])?))
                }
                None => Ok(Transformed::no(node)),
            }
        });
        Ok(changed?.data)
    }

    fn name(&self) -> &'static str {
        "first_rows"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The node with a scan under it that knows the order; `None` where there is no such scan, or
/// something in between that needs every row.
fn first(
    node: &Arc<dyn ExecutionPlan>,
    by: Vec<PhysicalSortExpr>,
    rows: usize,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(scan) = node.downcast_ref::<TelemetryScan>() {
        return Ok(order(scan, &by, rows)?.map(|order| Arc::new(scan.first(order)) as _));
    }
    let (below, by) = if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
        let by = by.into_iter().map(|by| {
            Ok(PhysicalSortExpr { expr: through(&by.expr, projection)?, options: by.options })
        });
        (projection.input(), by.collect::<Result<_>>()?)
    } else if let Some(cooperative) = node.downcast_ref::<CooperativeExec>() {
        (cooperative.input(), by)
    } else {
        return Ok(None);
    };
    match first(below, by, rows)? {
        Some(below) => replace_children_if_necessary(Arc::clone(node), vec![below]).map(Some),
        None => Ok(None),
    }
}

/// The order over only those columns of the scan that it looks at.
fn order(scan: &TelemetryScan, by: &[PhysicalSortExpr], rows: usize) -> Result<Option<Order>> {
    let mut used = Vec::new();
    for by in by {
        if is_volatile(&by.expr) {
            return Ok(None);
        }
        used.extend(places(&by.expr)?);
    }
    used.sort_unstable();
    used.dedup();
    let columns: Vec<Column> =
        used.iter().filter_map(|at| scan.columns().get(*at)).cloned().collect();
    let latest_first = by.first().and_then(|by| {
        let column = scan.columns().get(place(&by.expr)?)?;
        (column.field.name() == scan.table().time_column()).then_some(by.options.descending)
    });
    let moved = by.iter().map(|by| {
        let expr = replace(&by.expr, &|at| {
            let new = used.binary_search(&at).ok()?;
            Some(Arc::new(Place::new(columns.get(new)?.field.name(), new)))
        });
        Ok(PhysicalSortExpr { expr: expr?, options: by.options })
    });
    let by = moved.collect::<Result<Vec<_>>>()?;
    // A constant orders nothing, and a column whose type the scan has changed is not its own.
    let fits = !columns.is_empty() && columns.len() == used.len();
    Ok(fits.then(|| Order::new(columns, by, rows, latest_first)))
}
