use datafusion::prelude::{col, lit};
use icecore_store::ReadColumn;

use super::*;
use crate::table::columns::table_columns;

fn at(nanos: i64) -> Expr {
    lit(ScalarValue::TimestampNanosecond(Some(nanos), Some("UTC".into())))
}

fn check(condition: Expr, wanted: Option<Limit>) {
    let columns = table_columns(Table::Spans);
    assert_eq!(limit(Table::Spans, columns, &condition), wanted, "{condition}");
}

fn time(start: i64, end: i64) -> Option<Limit> {
    Some(Limit::Time(TimeRange::new(UnixNanos(start), UnixNanos(end))))
}

fn within(column: &str, values: Values) -> Option<Limit> {
    Some(Limit::Bound(Bound { column: ReadColumn::Fixed(column.to_owned()), values }))
}

fn texts(texts: &[&str]) -> Values {
    Values::Texts(texts.iter().map(|text| (*text).to_owned()).collect())
}

/// Scenario: comparisons of times with instants, either way round.
/// Guarantees: the range holds exactly the instants that pass; other times are bounds.
#[test]
fn times_are_ranges() {
    check(col("start_time").gt_eq(at(5)), time(5, i64::MAX));
    check(col("start_time").gt(at(5)), time(6, i64::MAX));
    check(at(5).lt(col("start_time")), time(6, i64::MAX));
    check(col("start_time").between(at(3), at(5)), time(3, 6));
    check(col("start_time").between(at(5), at(3)), time(9, 0));
    check(col("start_time").eq(at(3)), time(3, 4));
    check(col("start_time").lt(at(i64::MIN)), None);
    let last = Values::Ints { min: i64::MIN, max: i64::MAX - 1 };
    check(col("start_time").lt(at(i64::MAX)), within("start_time", last));
    check(col("end_time").lt(at(3)), within("end_time", Values::Ints { min: i64::MIN, max: 2 }));
    check(col("start_time").lt(at(3)).or(col("start_time").gt(at(9))), None);
}

/// Scenario: ids as text, one, several and none that is an id.
/// Guarantees: the bytes of those that are; no row for those that are not.
#[test]
fn ids_are_bytes() {
    let hex = "0123456789abcdef0123456789abcdef";
    let id: Vec<u8> =
        (0..16).map(|at| [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef][at % 8]).collect();
    let ids = |ids: Vec<Vec<u8>>| Some(Limit::Ids("trace_id".to_owned(), ids));
    check(col("trace_id").eq(lit(hex)), ids(vec![id.clone()]));
    check(lit(hex).eq(col("trace_id")), ids(vec![id.clone()]));
    check(col("trace_id").in_list(vec![lit("x"), lit(hex)], false), ids(vec![id.clone()]));
    check(col("trace_id").eq(lit("x")).or(col("trace_id").eq(lit(hex))), ids(vec![id]));
    check(col("trace_id").eq(lit("nonsense")), Some(Limit::Nothing));
    check(col("trace_id").eq(lit(hex.to_uppercase())), Some(Limit::Nothing));
    check(col("trace_id").in_list(vec![lit(hex)], true), None);
    let span = Some(Limit::Ids("span_id".to_owned(), vec![vec![0xab; 8]]));
    check(col("span_id").eq(lit("abababababababab")), span);
    check(col("trace_id").gt(lit(hex)), None);
}

/// Scenario: texts and ints in comparisons, lists, alternatives and patterns.
/// Guarantees: bounds that hold every value that passes, and none where that cannot be told.
#[test]
fn texts_and_ints_are_bounds() {
    check(col("service_name").eq(lit("shop")), within("service_name", texts(&["shop"])));
    let either = col("name").eq(lit("a")).or(lit("b").eq(col("name")));
    check(either.clone(), within("name", texts(&["a", "b"])));
    check(either.or(col("kind").eq(lit("c"))), None);
    check(col("name").eq(lit("a")).or(col("name").gt(lit("b"))), None);
    let prefix = |text: &str| within("name", Values::Prefix(text.to_owned()));
    check(col("name").like(lit("GET /%x")), prefix("GET /"));
    check(col("name").like(lit("a\\%b")), prefix("a"));
    check(col("name").like(lit("%x")), None);
    check(col("name").ilike(lit("GET%")), None);
    check(col("name").not_like(lit("GET%")), None);
    let ints = |min, max| within("duration_ns", Values::Ints { min, max });
    check(col("duration_ns").gt(lit(5_i64)), ints(6, i64::MAX));
    check(lit(5_i64).gt(col("duration_ns")), ints(i64::MIN, 4));
    check(col("duration_ns").between(lit(1_i64), lit(9_i64)), ints(1, 9));
    check(col("duration_ns").gt(lit(i64::MAX)), None);
    let double = |value: f64| {
        datafusion::logical_expr::cast(col("duration_ns"), DataType::Float64).gt(lit(value))
    };
    check(double(1.5e9), ints(1_500_000_000, i64::MAX));
    check(double(f64::NAN), None);
    check(double(1e17), None);
    check(lit(false), Some(Limit::Nothing));
}
