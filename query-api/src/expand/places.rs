//! Places of a statement that values are yet to come for.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, LimitClause, Query, Visit as _, Visitor};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::params::placeholder;
use crate::depth;

/// Values that one statement may take in order.
pub(crate) const PLACES_MAX: usize = 1000;

/// How many values a statement takes in order: the highest of `$1`, `$2`, … outside of its texts.
pub(crate) fn places(sql: &str) -> usize {
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize();
    let place = |token: &Token| match token {
        Token::Placeholder(name) => name.strip_prefix('$')?.parse().ok(),
        _ => None,
    };
    // A text that is no SQL has no places: it is refused where it is planned.
    let places = tokens.iter().flatten().filter_map(place).max();
    places.unwrap_or(0).min(PLACES_MAX)
}

/// What the place alone says of a value.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Uses {
    /// Those that are an array, by their names: `x = ANY($1)`.
    pub(crate) arrays: BTreeSet<String>,
    /// Those that count rows: `LIMIT $1`.
    pub(crate) counts: BTreeSet<String>,
}

impl Uses {
    /// Of a statement; none of one that cannot be read.
    pub(crate) fn of(sql: &str) -> Self {
        let mut uses = Self::default();
        if depth::check(sql, &GenericDialect {}, depth::STATEMENT_MAX).is_err() {
            return uses;
        }
        let parsed = Parser::parse_sql(&GenericDialect {}, sql).unwrap_or_default();
        let ControlFlow::Continue(()) = parsed.visit(&mut uses);
        uses
    }
}

impl Visitor for Uses {
    type Break = Infallible;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Infallible> {
        let (limit, offset) = match &query.limit_clause {
            Some(LimitClause::LimitOffset { limit, offset, .. }) => {
                (limit.as_ref(), offset.as_ref().map(|offset| &offset.value))
            }
            Some(LimitClause::OffsetCommaLimit { offset, limit }) => (Some(limit), Some(offset)),
            None => (None, None),
        };
        let counts = limit.into_iter().chain(offset).filter_map(place);
        self.counts.extend(counts.map(str::to_owned));
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Infallible> {
        if let Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } = expr {
            self.arrays.extend(place(right).map(str::to_owned));
        }
        ControlFlow::Continue(())
    }
}

/// The place that an expression is, in brackets or not.
fn place(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Nested(inner) => place(inner),
        other => placeholder(other),
    }
}

/// A value that is yet to come has the type of what it is compared with: one item of an array.
pub(super) fn compare_items(expr: &mut Expr) {
    let (Expr::AnyOp { left, compare_op, right, .. } | Expr::AllOp { left, compare_op, right }) =
        expr
    else {
        return;
    };
    if place(right).is_some() {
        *expr = Expr::BinaryOp { left: left.clone(), op: compare_op.clone(), right: right.clone() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: places in texts, in comments, as arrays, as limits, and in what is no SQL.
    /// Guarantees: only those are counted that are places, and what they say is understood.
    #[test]
    fn places_say_what_they_take() {
        assert_eq!(places("SELECT $2, '$9 it''s $8' /* $7 */ WHERE a > $1 AND b = $name"), 2);
        let uses =
            Uses::of("SELECT a FROM t WHERE a = ANY($1) AND b > ALL(($3)) LIMIT $2 OFFSET ($4)");
        let names = |names: [&str; 2]| names.map(str::to_owned).into();
        assert_eq!(uses, Uses { arrays: names(["$1", "$3"]), counts: names(["$2", "$4"]) });
        assert_eq!(Uses::of("SELECT FROM $1 LIMIT"), Uses::default());
    }
}
