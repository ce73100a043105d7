//! What a query's conditions say about where its rows can be.
//!
//! Invariant: a row that the conditions accept is inside what [`Prune`] describes. Conditions that
//! are not understood leave it as wide as it was: the engine applies all of them to every row.

use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};
use datafusion::scalar::ScalarValue;
use icecore_store::{Table, TimeRange, TraceId, UnixNanos};

/// Where the rows that a query wants can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prune {
    /// In which stretch of the table's time column; `None` where no row can match.
    pub(crate) time: Option<TimeRange>,
    /// In which trace.
    pub(crate) trace_id: Option<TraceId>,
    /// Of which service.
    pub(crate) service_name: Option<String>,
}

impl Prune {
    /// Everywhere.
    pub(crate) const NOTHING: Self =
        Self { time: Some(TimeRange::ALL), trace_id: None, service_name: None };

    /// What conditions that all must hold say about `table`.
    pub(crate) fn from_filters<'e>(
        table: Table,
        filters: impl IntoIterator<Item = &'e Expr>,
    ) -> Self {
        let mut prune = Self::NOTHING;
        let terms = filters.into_iter().flat_map(split_conjunction);
        for term in terms {
            prune.narrow(table, term);
        }
        prune
    }

    /// Whether every row of the table is wanted, as far as this knows.
    pub(crate) fn is_everything(&self) -> bool {
        *self == Self::NOTHING
    }

    fn narrow(&mut self, table: Table, term: &Expr) {
        match term {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                match (left.as_ref(), right.as_ref()) {
                    (Expr::Column(column), Expr::Literal(value, _)) => {
                        self.compare(table, &column.name, *op, value);
                    }
                    (Expr::Literal(value, _), Expr::Column(column)) => {
                        if let Some(op) = op.swap() {
                            self.compare(table, &column.name, op, value);
                        }
                    }
                    _ => {}
                }
            }
            Expr::Between(Between { expr, negated: false, low, high }) => {
                let (Expr::Column(column), Expr::Literal(low, _), Expr::Literal(high, _)) =
                    (expr.as_ref(), low.as_ref(), high.as_ref())
                else {
                    return;
                };
                self.compare(table, &column.name, Operator::GtEq, low);
                self.compare(table, &column.name, Operator::LtEq, high);
            }
            _ => {}
        }
    }

    fn compare(&mut self, table: Table, column: &str, op: Operator, value: &ScalarValue) {
        let text = value.try_as_str().flatten();
        if column == table.time_column() {
            if let Some(range) = nanos(value).and_then(|at| time_range(op, at)) {
                self.time = self.time.and_then(|time| intersect(time, range));
            }
        } else if op == Operator::Eq && column == "trace_id" {
            match text.map(str::parse) {
                Some(Ok(id)) => self.trace_id = Some(id),
                // No trace has an id that is none.
                Some(Err(_)) => self.time = None,
                None => {}
            }
        } else if op == Operator::Eq && column == "service_name" {
            self.service_name = text.map(str::to_owned).or_else(|| self.service_name.take());
        }
    }
}

/// The instants for which `instant op at` holds.
fn time_range(op: Operator, at: i64) -> Option<TimeRange> {
    let (start, end) = match op {
        Operator::Eq => (at, at.saturating_add(1)),
        Operator::Lt => (i64::MIN, at),
        Operator::LtEq => (i64::MIN, at.saturating_add(1)),
        Operator::Gt => (at.saturating_add(1), i64::MAX),
        Operator::GtEq => (at, i64::MAX),
        _ => return None,
    };
    // A half-open range cannot hold the edges of time: there nothing is pruned.
    TimeRange::new(UnixNanos(start), UnixNanos(end))
}

fn intersect(one: TimeRange, other: TimeRange) -> Option<TimeRange> {
    TimeRange::new(one.start().max(other.start()), one.end().min(other.end()))
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
mod tests {
    use datafusion::prelude::{col, lit};

    use super::*;

    fn at(nanos: i64) -> Expr {
        lit(ScalarValue::TimestampNanosecond(Some(nanos), Some("UTC".into())))
    }

    fn range(start: i64, end: i64) -> Option<TimeRange> {
        TimeRange::new(UnixNanos(start), UnixNanos(end))
    }

    fn check(filter: Expr, time: Option<TimeRange>) {
        let prune = Prune::from_filters(Table::Spans, [&filter]);
        assert_eq!(prune.time, time, "{filter}");
    }

    /// Scenario: comparisons of the time column with instants, either way round.
    /// Guarantees: the range holds exactly the instants that pass.
    #[test]
    fn time_conditions_narrow_the_range() {
        check(col("start_time").gt_eq(at(5)), range(5, i64::MAX));
        check(col("start_time").gt(at(5)), range(6, i64::MAX));
        check(at(5).lt(col("start_time")), range(6, i64::MAX));
        check(col("start_time").between(at(3), at(5)), range(3, 6));
        check(col("start_time").eq(at(3)).and(col("name").eq(lit("x"))), range(3, 4));
        check(col("start_time").lt(at(3)).and(col("start_time").gt(at(9))), None);
        check(col("start_time").lt(at(3)).or(col("start_time").gt(at(9))), Some(TimeRange::ALL));
        check(col("end_time").lt(at(3)), Some(TimeRange::ALL));
        check(col("start_time").lt(at(i64::MIN)), Some(TimeRange::ALL));
    }

    /// Scenario: conditions on ids and services.
    /// Guarantees: an id of either case is found, one that is no id matches nothing.
    #[test]
    fn ids_and_services_are_found() {
        let hex = "0123456789ABCDEF0123456789abcdef";
        let filter = col("trace_id").eq(lit(hex)).and(lit("shop").eq(col("service_name")));
        let prune = Prune::from_filters(Table::Spans, [&filter]);
        assert_eq!(prune.trace_id, hex.parse().ok());
        assert_eq!(prune.service_name.as_deref(), Some("shop"));
        assert!(!prune.is_everything());
        check(col("trace_id").eq(lit("nonsense")), None);
    }
}
