//! Carries the column of one key from a table up to where a plan asks for the key.
//!
//! Invariant: a plan that is returned has the columns it had, in their order, and the wanted one
//! beside them. `None` means that the way is barred (a group, a union); then the key is looked up
//! in the text of the whole map, which answers the same and reads more.

use std::any::Any;
use std::sync::Arc;

use datafusion::common::{Column, ExprSchema, Result};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::logical_expr::{
    Expr, Join, LogicalPlan, Projection, SubqueryAlias, TableScan, TableScanBuilder,
};
use icecore_store::schema::AttributeType;

use crate::table::TelemetryTable;
use crate::table::columns::map_of;

/// One key of a map column, as one type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Wanted {
    /// The map, as the plan names it.
    pub(crate) column: Column,
    /// The key.
    pub(crate) key: String,
    /// The type.
    pub(crate) kind: AttributeType,
}

impl Wanted {
    fn of(&self, column: Column) -> Self {
        Self { column, ..self.clone() }
    }
}

/// A plan and the column in it.
type Provided = Option<(LogicalPlan, Column)>;

/// The plan with the wanted column beside its own, and the name of that column.
pub(crate) fn provide(plan: &LogicalPlan, wanted: &Wanted) -> Result<Provided> {
    match plan {
        LogicalPlan::TableScan(scan) => from_scan(scan, wanted),
        LogicalPlan::SubqueryAlias(alias) => through_alias(alias, wanted),
        LogicalPlan::Projection(projection) => through_projection(projection, wanted),
        LogicalPlan::Join(join) => through_join(plan, join, wanted),
        LogicalPlan::Filter(_) | LogicalPlan::Sort(_) | LogicalPlan::Limit(_) => {
            through(plan, wanted)
        }
        LogicalPlan::Window(window) if window.input.schema().has_column(&wanted.column) => {
            through(plan, wanted)
        }
        _ => Ok(None),
    }
}

fn from_scan(scan: &TableScan, wanted: &Wanted) -> Result<Provided> {
    // Before the engine optimises it, a scan has neither projection nor filters.
    if scan.projection.is_some() || !scan.filters.is_empty() {
        return Ok(None);
    }
    let provider = source_as_provider(&scan.source)?;
    let Some(table) = (provider.as_ref() as &dyn Any).downcast_ref::<TelemetryTable>() else {
        return Ok(None);
    };
    let field = scan.projected_schema.field_from_column(&wanted.column)?;
    let Some((_, map)) = map_of(field) else { return Ok(None) };
    let (table, name) = table.with_attribute(map, &wanted.key, wanted.kind);
    let source = provider_as_source(Arc::new(table));
    let scan =
        TableScanBuilder::new(scan.table_name.clone(), source).with_fetch(scan.fetch).build()?;
    let column = Column::new(Some(scan.table_name.clone()), name);
    Ok(Some((LogicalPlan::TableScan(scan), column)))
}

/// Through a node whose columns are those of its one input.
fn through(plan: &LogicalPlan, wanted: &Wanted) -> Result<Provided> {
    let Some(input) = plan.inputs().into_iter().next() else { return Ok(None) };
    let Some((input, column)) = provide(input, wanted)? else { return Ok(None) };
    let plan = plan.with_new_exprs(plan.expressions(), vec![input])?;
    Ok(Some((plan, column)))
}

fn through_alias(alias: &SubqueryAlias, wanted: &Wanted) -> Result<Provided> {
    let at = alias.schema.index_of_column(&wanted.column)?;
    let inner = Column::from(alias.input.schema().qualified_field(at));
    let Some((input, column)) = provide(&alias.input, &wanted.of(inner))? else { return Ok(None) };
    let at = input.schema().index_of_column(&column)?;
    let alias = SubqueryAlias::try_new(Arc::new(input), alias.alias.clone())?;
    // By position: where names met, the alias has changed them.
    let column = Column::from(alias.schema.qualified_field(at));
    Ok(Some((LogicalPlan::SubqueryAlias(alias), column)))
}

fn through_projection(projection: &Projection, wanted: &Wanted) -> Result<Provided> {
    let at = projection.schema.index_of_column(&wanted.column)?;
    let shown = projection.expr.get(at).cloned().map(Expr::unalias);
    let Some(Expr::Column(inner)) = shown else { return Ok(None) };
    let Some((input, column)) = provide(&projection.input, &wanted.of(inner))? else {
        return Ok(None);
    };
    let name = format!("{}.{}", wanted.column.name, wanted.key);
    let outer = Column::new(wanted.column.relation.clone(), name);
    let carried = Expr::Column(column.clone());
    let carried = if column == outer {
        carried
    } else {
        carried.alias_qualified(outer.relation.clone(), &outer.name)
    };
    if projection.schema.has_column(&outer) {
        // Carried already for another asker; otherwise the name is somebody else's.
        let mine = projection.expr.contains(&carried);
        return Ok(mine.then(|| (LogicalPlan::Projection(projection.clone()), outer)));
    }
    let expressions = projection.expr.iter().cloned().chain([carried]).collect();
    let projection = Projection::try_new(expressions, Arc::new(input))?;
    Ok(Some((LogicalPlan::Projection(projection), outer)))
}

fn through_join(plan: &LogicalPlan, join: &Join, wanted: &Wanted) -> Result<Provided> {
    let (mut left, mut right) = (join.left.as_ref().clone(), join.right.as_ref().clone());
    let side = if left.schema().has_column(&wanted.column) { &mut left } else { &mut right };
    let Some((carrying, column)) = provide(side, wanted)? else { return Ok(None) };
    *side = carrying;
    let plan = plan.with_new_exprs(plan.expressions(), vec![left, right])?;
    // A semi or anti join shows one side only.
    let shown = plan.schema().has_column(&column);
    Ok(shown.then_some((plan, column)))
}
