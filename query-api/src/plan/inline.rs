//! Expressions as the scan under a node has their columns.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, plan_err};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::projection::ProjectionExec;

/// An expression over a projection as one over what the projection is of.
pub(super) fn through(
    expr: &Arc<dyn PhysicalExpr>,
    projection: &ProjectionExec,
) -> Result<Arc<dyn PhysicalExpr>> {
    replace(expr, &|at| projection.expr().get(at).map(|shown| Arc::clone(&shown.expr)))
}

/// An expression with other expressions in place of its columns.
pub(super) fn replace(
    expr: &Arc<dyn PhysicalExpr>,
    with: &dyn Fn(usize) -> Option<Arc<dyn PhysicalExpr>>,
) -> Result<Arc<dyn PhysicalExpr>> {
    let replaced = Arc::clone(expr).transform_up(|expr| {
        let Some(at) = place(&expr) else { return Ok(Transformed::no(expr)) };
        match with(at) {
            // What comes in its place is not looked into again.
            Some(new) => Ok(Transformed::new(new, true, TreeNodeRecursion::Jump)),
            None => plan_err!("there is no column {at} below"),
        }
    });
    Ok(replaced?.data)
}

/// The place of a column, where an expression is one.
pub(super) fn place(expr: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    (expr.as_ref() as &dyn std::any::Any).downcast_ref::<Column>().map(Column::index)
}

/// The places of all columns of an expression.
pub(super) fn places(expr: &Arc<dyn PhysicalExpr>) -> Result<Vec<usize>> {
    let mut found = Vec::new();
    expr.apply(|expr| {
        found.extend(place(expr));
        Ok(TreeNodeRecursion::Continue)
    })?;
    found.sort_unstable();
    found.dedup();
    Ok(found)
}
