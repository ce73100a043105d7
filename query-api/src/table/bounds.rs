//! What one condition says about the values of one column.
//!
//! Invariant: a row that the condition holds for is within the limit. A limit that says all that
//! the condition says needs no filter beside it: those are times, ids, and nothing at all.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{Between, InList, Like};
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, Operator};
use icecore_store::{Bound, Table, TimeRange, UnixNanos, Values};

use super::columns::{Column, is_id};

/// Beyond it a double does not hold every int.
const EXACT_INT_MAX: f64 = 9_007_199_254_740_992.0;

/// What a condition comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// No row.
    Nothing,
    /// Exactly the rows of this time; `None` for none.
    Time(Option<TimeRange>),
    /// Exactly the rows in which this column is one of these ids.
    Ids(String, Vec<Vec<u8>>),
    /// At most the rows within it.
    Bound(Bound),
}

/// The limit of a condition; `None` where it is of another kind.
pub(super) fn limit(table: Table, columns: &[Column], condition: &Expr) -> Option<Limit> {
    let find = |expr: &Expr| {
        let Expr::Column(column) = expr else { return None };
        columns.iter().find(|known| known.field.name() == column.name())
    };
    match condition {
        Expr::Literal(ScalarValue::Boolean(Some(false) | None), _) => Some(Limit::Nothing),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right: _ }) => {
            let column = find(either_column(left)?)?;
            texts_limit(column, equal_texts(condition, column.field.name())?)
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => compared(table, find, left, *op, right)
            .or_else(|| compared(table, find, right, op.swap()?, left)),
        Expr::Between(Between { expr, negated: false, low, high }) => {
            let low = compared(table, find, expr, Operator::GtEq, low)?;
            let high = compared(table, find, expr, Operator::LtEq, high)?;
            both(low, high)
        }
        Expr::InList(InList { expr, list, negated: false }) => {
            let texts = list.iter().map(|value| Some(text(value)?.to_owned()));
            texts_limit(find(expr)?, texts.collect::<Option<Vec<_>>>()?)
        }
        Expr::Like(Like { negated: false, expr, pattern, escape_char: None, .. }) => {
            let column = find(expr)?;
            let Expr::Like(Like { case_insensitive: false, .. }) = condition else { return None };
            // A backslash escapes what follows it.
            let prefix = text(pattern)?.split(['%', '_', '\\']).next().unwrap_or_default();
            let fits = !prefix.is_empty() && is_plain_text(column);
            fits.then(|| bound(column, Values::Prefix(prefix.to_owned())))
        }
        _ => None,
    }
}

/// The column that the first of some alternatives is about.
fn either_column(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, .. }) => either_column(left),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            Some(if matches!(left.as_ref(), Expr::Column(_)) { left } else { right })
        }
        Expr::InList(InList { expr, negated: false, .. }) => Some(expr),
        _ => None,
    }
}

/// The texts that alternatives say a column is equal to, where that is all that they say.
fn equal_texts(expr: &Expr, name: &str) -> Option<Vec<String>> {
    let is_it = |expr: &Expr| matches!(expr, Expr::Column(column) if column.name() == name);
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let mut texts = equal_texts(left, name)?;
            texts.extend(equal_texts(right, name)?);
            Some(texts)
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            let value = if is_it(left) { right } else { left };
            (is_it(left) || is_it(right)).then(|| Some(vec![text(value)?.to_owned()]))?
        }
        Expr::InList(InList { expr, list, negated: false }) if is_it(expr) => {
            list.iter().map(|value| Some(text(value)?.to_owned())).collect()
        }
        _ => None,
    }
}

fn compared<'c>(
    table: Table,
    find: impl Fn(&Expr) -> Option<&'c Column>,
    column: &Expr,
    op: Operator,
    value: &Expr,
) -> Option<Limit> {
    if let Expr::Cast(Cast { expr, field }) = column
        && *field.data_type() == DataType::Float64
    {
        let column = find(expr).filter(|it| *it.field.data_type() == DataType::Int64)?;
        return doubles(column, op, value);
    }
    let column = find(column)?;
    let Expr::Literal(value, _) = value else { return None };
    if op == Operator::Eq
        && let Some(text) = value.try_as_str().flatten()
    {
        return texts_limit(column, vec![text.to_owned()]);
    }
    if let Some(at) = nanos(value).filter(|_| is_time(column)) {
        let (min, max) = ints(op, at)?;
        if column.field.name() != table.time_column() {
            return Some(bound(column, Values::Ints { min, max }));
        }
        if at == i64::MAX {
            // A half-open range cannot tell the last instant from the one before.
            return Some(bound(column, Values::Ints { min, max }));
        }
        return Some(time_limit(min, max));
    }
    let ScalarValue::Int64(Some(at)) = value else { return None };
    let (min, max) = ints(op, *at)?;
    (*column.field.data_type() == DataType::Int64).then(|| bound(column, Values::Ints { min, max }))
}

/// A time from its first to its last instant, both included.
fn time_limit(min: i64, max: i64) -> Limit {
    if min > max {
        return Limit::Time(None);
    }
    Limit::Time(TimeRange::new(UnixNanos(min), UnixNanos(max.saturating_add(1))))
}

/// The ints that compare so with one, both ends included.
fn ints(op: Operator, at: i64) -> Option<(i64, i64)> {
    Some(match op {
        Operator::Eq => (at, at),
        Operator::Lt => (i64::MIN, at.checked_sub(1)?),
        Operator::LtEq => (i64::MIN, at),
        Operator::Gt => (at.checked_add(1)?, i64::MAX),
        Operator::GtEq => (at, i64::MAX),
        _ => return None,
    })
}

/// The ints whose doubles compare so with a double, or some more.
fn doubles(column: &Column, op: Operator, value: &Expr) -> Option<Limit> {
    let Expr::Literal(ScalarValue::Float64(Some(value)), _) = value else { return None };
    if value.is_nan() || value.abs() >= EXACT_INT_MAX {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "it is less than 2^53")]
    let (floor, ceil) = (value.floor() as i64, value.ceil() as i64);
    let (min, max) = match op {
        Operator::Eq => (floor, ceil),
        Operator::Lt | Operator::LtEq => (i64::MIN, ceil),
        Operator::Gt | Operator::GtEq => (floor, i64::MAX),
        _ => return None,
    };
    Some(bound(column, Values::Ints { min, max }))
}

/// The limits of two conditions of the same kind, where one limit can say both.
fn both(low: Limit, high: Limit) -> Option<Limit> {
    match (low, high) {
        (Limit::Time(low), Limit::Time(high)) => {
            let ends = low.zip(high);
            Some(Limit::Time(ends.and_then(|(low, high)| {
                TimeRange::new(low.start().max(high.start()), low.end().min(high.end()))
            })))
        }
        (
            Limit::Bound(Bound { column, values: Values::Ints { min, max } }),
            Limit::Bound(Bound { values: Values::Ints { min: low, max: high }, .. }),
        ) => {
            let values = Values::Ints { min: min.max(low), max: max.min(high) };
            Some(Limit::Bound(Bound { column, values }))
        }
        _ => None,
    }
}

fn texts_limit(column: &Column, texts: Vec<String>) -> Option<Limit> {
    if is_id(&column.field) {
        // A text that is no id is the id of no row.
        let width = if column.field.name() == "trace_id" { 16 } else { 8 };
        let ids: Vec<_> = texts.iter().filter_map(|text| id(text, width)).collect();
        let name = column.field.name().clone();
        return Some(if ids.is_empty() { Limit::Nothing } else { Limit::Ids(name, ids) });
    }
    is_plain_text(column).then(|| bound(column, Values::Texts(texts)))
}

/// The bytes that hex text stands for, as ids are shown: in lower case.
fn id(text: &str, width: usize) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != width || !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

fn bound(column: &Column, values: Values) -> Limit {
    Limit::Bound(Bound { column: column.read.clone(), values })
}

fn is_plain_text(column: &Column) -> bool {
    *column.field.data_type() == DataType::Utf8View && !is_id(&column.field)
}

fn is_time(column: &Column) -> bool {
    matches!(column.field.data_type(), DataType::Timestamp(_, _))
}

fn text(expr: &Expr) -> Option<&str> {
    let Expr::Literal(value, _) = expr else { return None };
    value.try_as_str().flatten()
}

/// The instant that a literal stands for.
fn nanos(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::TimestampNanosecond(Some(at), _) => Some(*at),
        ScalarValue::TimestampMicrosecond(Some(at), _) => at.checked_mul(1_000),
        ScalarValue::TimestampMillisecond(Some(at), _) => at.checked_mul(1_000_000),
        ScalarValue::TimestampSecond(Some(at), _) => at.checked_mul(1_000_000_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
