//! The pass over a plan, before the engine optimises it, that puts columns in place of calls.
//!
//! Invariant: every node keeps its schema, names and types alike; where a node had to carry a
//! column more, a projection above it takes that away again.

use std::collections::HashMap;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ExprSchema, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, LogicalPlanBuilder};

use super::agree::agree;
use super::attribute::Attribute;
use super::hoist::{Wanted, provide};
use super::ids;
use crate::table::columns::{is_id, map_of};
use icecore_store::schema::{AttributeType, MapColumn};

/// Rewrites a plan and the plans of its subqueries.
pub(crate) fn rewrite(plan: LogicalPlan) -> Result<LogicalPlan> {
    Ok(plan.transform_up_with_subqueries(rewrite_node)?.data)
}

/// Rewrites a condition on the rows of one table, whose columns `schema` has. `carry` makes the
/// column of a key there and says what it is called.
pub(crate) fn rewrite_condition(
    expr: Expr,
    schema: &DFSchema,
    carry: &mut dyn FnMut(MapColumn, &str, AttributeType) -> Column,
) -> Result<Expr> {
    let is_id = |column: &Column| schema.field_from_column(column).is_ok_and(|field| is_id(field));
    let carried = agree(expr, schema)?.data.transform_up(|expr| {
        if let Some(Wanted { column, key, kind }) = wanted_by(&expr) {
            let map = schema.field_from_column(&column).ok().and_then(|field| map_of(field));
            let Some((_, map)) = map else { return Ok(Transformed::no(expr)) };
            return Ok(Transformed::yes(Expr::Column(carry(map, &key, kind))));
        }
        Ok(match ids::lower(&expr, is_id) {
            Some(lowered) => Transformed::yes(lowered),
            None => Transformed::no(expr),
        })
    });
    Ok(carried?.data)
}

fn rewrite_node(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    if !can_rebuild(&node) {
        return Ok(Transformed::no(node));
    }
    let mut inputs: Vec<LogicalPlan> = node.inputs().into_iter().cloned().collect();
    let schema = merge_schema(&node.inputs());
    let columns = provide_all(&mut inputs, wanted(&node)?)?;
    let names = NamePreserver::new(&node);
    let keep_names = !matches!(node, LogicalPlan::Sort(_));
    let mut changed = false;
    let mut expressions = Vec::new();
    for expr in node.expressions() {
        let name = names.save(&expr);
        let agreed = agree(expr, &schema)?;
        let new = replace(agreed.data, &inputs, &columns)?;
        changed |= agreed.transformed || new.transformed;
        expressions.push(if keep_names { name.restore(new.data) } else { new.data });
    }
    if !changed {
        return Ok(Transformed::no(node));
    }
    let rebuilt = node.with_new_exprs(expressions, inputs)?;
    restore_schema(&node, rebuilt).map(Transformed::yes)
}

/// Whether a node can be built again from other expressions with its names kept.
fn can_rebuild(node: &LogicalPlan) -> bool {
    match node {
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Join(_)
        | LogicalPlan::Window(_) => true,
        LogicalPlan::Aggregate(aggregate) => {
            !aggregate.group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_)))
        }
        LogicalPlan::Distinct(Distinct::On(on)) => on.sort_expr.is_none(),
        _ => false,
    }
}

/// The keys of maps that the node's expressions ask its inputs for.
fn wanted(node: &LogicalPlan) -> Result<Vec<Wanted>> {
    let mut found = Vec::new();
    for expr in node.expressions() {
        expr.apply(|expr| {
            if let Some(wanted) = wanted_by(expr).filter(|wanted| !found.contains(wanted)) {
                found.push(wanted);
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    Ok(found)
}

fn wanted_by(expr: &Expr) -> Option<Wanted> {
    let (function, Expr::Column(column)) = Attribute::of(expr)? else { return None };
    Some(Wanted { column: column.clone(), key: function.key.clone(), kind: function.kind })
}

/// Makes the inputs carry the columns that are wanted, where they can.
fn provide_all(inputs: &mut [LogicalPlan], wanted: Vec<Wanted>) -> Result<HashMap<Wanted, Column>> {
    let mut columns = HashMap::new();
    for wanted in wanted {
        let of = inputs.iter_mut().find(|input| input.schema().has_column(&wanted.column));
        let Some(input) = of else { continue };
        if let Some((carrying, column)) = provide(input, &wanted)? {
            *input = carrying;
            columns.insert(wanted, column);
        }
    }
    Ok(columns)
}

fn replace(
    expr: Expr,
    inputs: &[LogicalPlan],
    columns: &HashMap<Wanted, Column>,
) -> Result<Transformed<Expr>> {
    let is_id = |column: &Column| {
        let mut fields =
            inputs.iter().filter_map(|input| input.schema().field_from_column(column).ok());
        fields.next().is_some_and(|field| is_id(field))
    };
    expr.transform_up(|expr| {
        if let Some(column) = wanted_by(&expr).and_then(|wanted| columns.get(&wanted)) {
            return Ok(Transformed::yes(Expr::Column(column.clone())));
        }
        Ok(match ids::lower(&expr, is_id) {
            Some(lowered) => Transformed::yes(lowered),
            None => Transformed::no(expr),
        })
    })
}

fn restore_schema(before: &LogicalPlan, after: LogicalPlan) -> Result<LogicalPlan> {
    if before.schema().fields().len() == after.schema().fields().len() {
        return Ok(after);
    }
    let columns = before.schema().columns().into_iter().map(Expr::Column);
    LogicalPlanBuilder::from(after).project(columns)?.build()
}
