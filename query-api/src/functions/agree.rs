//! Keys of maps in comparisons and sums: what a key holds is only known from its values, and one
//! value of another type must not make the query of everybody else fail.
//!
//! Invariant: a comparison of a key with a number looks at the values that are numbers, however
//! they were sent; with text, at the text of each. A value that cannot be compared is null.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{
    Between, BinaryExpr, Expr, ExprSchemable, Like, Operator, cast, try_cast,
};

use icecore_store::schema::AttributeType;

use super::attribute::Attribute;
use super::maps::{AnyKey, is_text};

/// Aggregates of numbers, which refuse text.
const NUMERIC_AGGREGATES: [&str; 14] = [
    "sum",
    "avg",
    "mean",
    "median",
    "stddev",
    "stddev_samp",
    "stddev_pop",
    "var",
    "var_samp",
    "var_pop",
    "approx_median",
    "approx_percentile_cont",
    "percentile_cont",
    "quantile_cont",
];

/// The expression with keys of maps brought to the type of what they are compared with.
pub(crate) fn agree(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform_up(|expr| {
        Ok(match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(op) => {
                match pair(&left, op, &right, schema) {
                    Some((left, right)) => Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(
                        Box::new(left),
                        op,
                        Box::new(right),
                    ))),
                    None => Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })),
                }
            }
            Expr::Between(between) => agree_between(between, schema),
            Expr::InList(list) => agree_list(list, schema),
            Expr::Like(like) => agree_like(like, schema),
            other => Transformed::no(other),
        })
    })
}

/// Both sides of an operator, where one is a key that has to change for the other.
pub(crate) fn pair(
    left: &Expr,
    op: Operator,
    right: &Expr,
    schema: &DFSchema,
) -> Option<(Expr, Expr)> {
    let changed = (to_meet(left, op, right, schema), to_meet(right, op, left, schema));
    match changed {
        (None, None) => None,
        (left_new, right_new) => Some((
            left_new.unwrap_or_else(|| left.clone()),
            right_new.unwrap_or_else(|| right.clone()),
        )),
    }
}

/// The argument of an aggregate of numbers, where it is a key that has text among its values.
pub(crate) fn as_number(aggregate: &str, argument: &Expr) -> Option<Expr> {
    let kind = Attribute::of(argument).map(|(function, _)| function.kind);
    let text = kind == Some(AttributeType::String) || AnyKey::is(argument);
    (text && NUMERIC_AGGREGATES.contains(&aggregate))
        .then(|| try_cast(argument.clone(), DataType::Float64))
}

fn is_key(expr: &Expr) -> bool {
    Attribute::of(expr).is_some() || AnyKey::is(expr)
}

fn compares(op: Operator) -> bool {
    op.supports_propagation() || is_pattern(op) || op == Operator::IsDistinctFrom
}

const fn is_pattern(op: Operator) -> bool {
    matches!(
        op,
        Operator::RegexMatch
            | Operator::RegexIMatch
            | Operator::RegexNotMatch
            | Operator::RegexNotIMatch
    )
}

/// `key` as it can be compared with `other`; `None` where it already can, or is no key. Of a flag
/// and a key that is text it is the flag that becomes text: `1` is no `true`.
fn to_meet(key: &Expr, op: Operator, other: &Expr, schema: &DFSchema) -> Option<Expr> {
    let mine = key.get_type(schema).ok()?;
    if !is_key(key) {
        let flag = mine == DataType::Boolean && is_key(other);
        let beside_text = flag && other.get_type(schema).is_ok_and(|other| is_text(&other));
        return beside_text.then(|| cast(key.clone(), DataType::Utf8View));
    }
    if is_pattern(op) {
        return (!is_text(&mine)).then(|| cast(key.clone(), DataType::Utf8View));
    }
    let other_type = other.get_type(schema).ok()?;
    if is_text(&mine) {
        return other_type.is_numeric().then(|| try_cast(key.clone(), DataType::Float64));
    }
    let Expr::Literal(literal, _) = other else { return None };
    let text = literal.try_as_str().flatten()?;
    let text = text.trim();
    match mine {
        DataType::Int64 if text.parse::<i64>().is_ok() => None,
        // The text of a double is no int, and may be compared with ints all the same.
        DataType::Int64 if text.parse::<f64>().is_ok() => {
            Some(cast(key.clone(), DataType::Float64))
        }
        DataType::Float64 if text.parse::<f64>().is_ok() => None,
        _ => Some(cast(key.clone(), DataType::Utf8View)),
    }
}

fn agree_between(between: Between, schema: &DFSchema) -> Transformed<Expr> {
    let met = to_meet(&between.expr, Operator::GtEq, &between.low, schema)
        .or_else(|| to_meet(&between.expr, Operator::LtEq, &between.high, schema));
    match met {
        Some(key) => Transformed::yes(Expr::Between(Between { expr: Box::new(key), ..between })),
        None => Transformed::no(Expr::Between(between)),
    }
}

fn agree_list(list: InList, schema: &DFSchema) -> Transformed<Expr> {
    let mut met =
        list.list.iter().filter_map(|value| to_meet(&list.expr, Operator::Eq, value, schema));
    match met.next() {
        // A list of texts and numbers is a list of texts.
        Some(Expr::TryCast(_)) if list.list.iter().any(is_text_literal) => {
            Transformed::no(Expr::InList(list))
        }
        Some(key) => Transformed::yes(Expr::InList(InList { expr: Box::new(key), ..list })),
        None => Transformed::no(Expr::InList(list)),
    }
}

fn agree_like(like: Like, schema: &DFSchema) -> Transformed<Expr> {
    match to_meet(&like.expr, Operator::RegexMatch, &like.pattern, schema) {
        Some(key) => Transformed::yes(Expr::Like(Like { expr: Box::new(key), ..like })),
        None => Transformed::no(Expr::Like(like)),
    }
}

fn is_text_literal(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if matches!(value.try_as_str(), Some(Some(_))))
}
