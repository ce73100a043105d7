//! Questions whose answer has no rows, because a list that they need rows of is always empty here.
//!
//! Invariant: only lists of PostgreSQL's own are ever taken for empty.

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    JoinOperator, ObjectName, Query, Select, SelectItem, SetExpr, TableFactor, TableWithJoins,
};

use super::super::catalog;
use super::last;

/// The name of a column that has none.
pub(super) const NAMELESS: &str = "?column?";

/// Whether a table is one of PostgreSQL's own that is not told of.
fn is_empty_table(name: &ObjectName) -> bool {
    let (table, schema) = last(name);
    match schema.as_deref() {
        None => table.starts_with("pg_") && !catalog::tells(catalog::PG_CATALOG, &table),
        Some("pg_catalog") => !catalog::tells(catalog::PG_CATALOG, &table),
        _ => false,
    }
}

/// Whether a query has no rows, whatever else it asks.
pub(in crate::pg) fn always_empty(query: &Query) -> bool {
    fn of(body: &SetExpr) -> bool {
        match body {
            SetExpr::Select(select) => needs_empty(select),
            SetExpr::Query(query) => always_empty(query),
            SetExpr::SetOperation { left, right, .. } => of(left) && of(right),
            _ => false,
        }
    }
    of(&query.body)
}

fn needs_empty(select: &Select) -> bool {
    // Without groups, an aggregate of nothing is a row.
    let aggregates = select.projection.iter().any(|item| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
            is_aggregate(expr)
        }
        _ => false,
    });
    !aggregates && select.from.iter().any(is_empty_join)
}

fn is_aggregate(expr: &Expr) -> bool {
    match expr {
        Expr::Function(function) => {
            let name = last(&function.name).0;
            let known = ["count", "max", "min", "sum", "bool_or", "bool_and", "every"];
            known.contains(&name.as_str()) || name.ends_with("_agg")
        }
        Expr::Cast { expr, .. } | Expr::Nested(expr) => is_aggregate(expr),
        Expr::BinaryOp { left, right, .. } => is_aggregate(left) || is_aggregate(right),
        _ => false,
    }
}

fn is_empty_join(from: &TableWithJoins) -> bool {
    let is_outer = |join: &JoinOperator| {
        matches!(
            join,
            JoinOperator::RightOuter(_) | JoinOperator::Right(_) | JoinOperator::FullOuter(_)
        )
    };
    let is_inner = |join: &JoinOperator| {
        matches!(join, JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_))
    };
    let joins = &from.joins;
    !joins.iter().any(|join| is_outer(&join.join_operator))
        && (is_empty_factor(&from.relation)
            || joins
                .iter()
                .any(|join| is_inner(&join.join_operator) && is_empty_factor(&join.relation)))
}

fn is_empty_factor(factor: &TableFactor) -> bool {
    match factor {
        TableFactor::Table { name, args: None, .. } => is_empty_table(name),
        TableFactor::NestedJoin { table_with_joins, .. } => is_empty_join(table_with_joins),
        TableFactor::Derived { subquery, .. } => always_empty(subquery),
        _ => false,
    }
}

/// Whether a query asks PostgreSQL's lists.
pub(super) fn of_lists(select: &Select) -> bool {
    let is_list = |from: &TableWithJoins| match &from.relation {
        TableFactor::Table { name, .. } => {
            let (list, schema) = last(name);
            let is_own = schema.as_deref().is_none_or(|schema| schema == catalog::PG_CATALOG);
            is_own && catalog::has(catalog::PG_CATALOG, &list)
        }
        _ => false,
    };
    select.from.iter().any(is_list)
}

/// A question of one row about PostgreSQL's lists, which the engine only takes where it looks so:
/// lists have at most one row for what such questions ask.
pub(super) fn of_one_row(query: &Query) -> Option<Query> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let is_plain = query.limit_clause.is_none() && query.order_by.is_none();
    let [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] =
        select.projection.as_slice()
    else {
        return None;
    };
    if !is_plain || !of_lists(select) || matches!(expr, Expr::Function(_)) {
        return None;
    }
    let mut one = select.clone();
    one.projection = vec![SelectItem::UnnamedExpr(call_of("max", expr.clone()))];
    Some(Query { body: Box::new(SetExpr::Select(one)), ..query.clone() })
}

fn call_of(name: &str, argument: Expr) -> Expr {
    let argument = FunctionArg::Unnamed(FunctionArgExpr::Expr(argument));
    let args = FunctionArgumentList {
        duplicate_treatment: None,
        args: vec![argument],
        clauses: Vec::new(),
    };
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(args),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// The names of the columns of a query, as PostgreSQL gives them.
pub(in crate::pg) fn column_names(query: &Query) -> Vec<String> {
    let mut body = query.body.as_ref();
    while let SetExpr::SetOperation { left, .. } = body {
        body = left;
    }
    let SetExpr::Select(select) = body else { return vec![NAMELESS.to_owned()] };
    let name = |item: &SelectItem| match item {
        SelectItem::ExprWithAlias { alias, .. } => alias.value.clone(),
        SelectItem::UnnamedExpr(expr) => name_of(expr),
        _ => NAMELESS.to_owned(),
    };
    select.projection.iter().map(name).collect()
}

/// The name of a column without a name of its own.
pub(super) fn name_of(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(name) => name.value.clone(),
        Expr::CompoundIdentifier(names) => {
            names.last().map(|name| name.value.clone()).unwrap_or_default()
        }
        Expr::Function(function) => last(&function.name).0,
        Expr::Cast { expr, .. } | Expr::Nested(expr) | Expr::Collate { expr, .. } => name_of(expr),
        Expr::Case { .. } => "case".to_owned(),
        _ => NAMELESS.to_owned(),
    }
}
