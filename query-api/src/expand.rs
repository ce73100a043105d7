//! Words of Icecore's own in a statement, put into words that the engine knows.
//!
//! Invariants: a statement without them stays as it is. What comes in place of a word is SQL that
//! could have been written by hand, so that it is planned, pruned and bounded like any other. A
//! parameter is put into the statement after its text was read: it is a value and never becomes SQL.

mod columns;
mod kin;
mod params;
mod places;
mod tables;
mod twins;

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, Query, Select, Statement as Sql, TableFactor, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use icecore_store::UnixNanos;

use self::kin::Scope;
pub(crate) use self::params::{Params, literal, text_literal};
pub(crate) use self::places::{PLACES_MAX, Uses, places};
pub(crate) use self::tables::{TABLE_FUNCTIONS, time_literal};
use crate::Error;

/// Puts parameters in and expands what is ours, at the moment `now`.
pub(crate) fn expand(
    statement: &mut Statement,
    params: &Params,
    now: UnixNanos,
) -> Result<(), Error> {
    match statement {
        Statement::Explain(explain) => expand(&mut explain.statement, params, now),
        Statement::Statement(sql) => expand_sql(sql, params, now),
        _ => Ok(()),
    }
}

fn expand_sql(sql: &mut Sql, params: &Params, now: UnixNanos) -> Result<(), Error> {
    params.fill(sql)?;
    match sql.visit(&mut Expander { now, scopes: Vec::new(), kin: 0 }) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Walks a statement from the outside in; what it puts in place is walked, too.
struct Expander {
    now: UnixNanos,
    /// Of the selects around this place, innermost last.
    scopes: Vec<Scope>,
    /// Names given to rows that are looked for beside those of the query.
    kin: usize,
}

impl VisitorMut for Expander {
    type Break = Error;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        self.scopes.push(Scope::of(select));
        twins::tell_apart(select);
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _select: &mut Select) -> ControlFlow<Error> {
        self.scopes.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        go_on(tables::expand(factor, self.now))
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        columns::complete(expr);
        go_on(kin::expand(expr, self.scopes.last(), &mut self.kin))
    }
}

fn go_on(done: Result<(), Error>) -> ControlFlow<Error> {
    match done {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    }
}

/// SQL of ours as a query, with these values for its parameters.
fn query_of(sql: &str, params: &Params) -> Result<Box<Query>, Error> {
    let mut query = parser(sql).and_then(|mut parser| parser.parse_query()).map_err(ours)?;
    params.fill(query.as_mut())?;
    Ok(query)
}

/// SQL of ours as an expression, with these values for its parameters.
pub(crate) fn expr_of(sql: &str, params: &Params) -> Result<Expr, Error> {
    let mut expr = parser(sql).and_then(|mut parser| parser.parse_expr()).map_err(ours)?;
    params.fill(&mut expr)?;
    Ok(expr)
}

fn parser(sql: &str) -> Result<Parser<'_>, ParserError> {
    Parser::new(&GenericDialect {}).try_with_sql(sql)
}

/// Text of ours holds names that the caller chose; one that cannot be read is the caller's affair.
fn ours(error: ParserError) -> Error {
    Error::Sql { message: error.to_string(), hint: None, at: None }
}

/// The words that stand where a function stands.
pub(crate) fn words() -> impl Iterator<Item = &'static str> {
    kin::WORDS.into_iter().map(|(word, _)| word)
}
