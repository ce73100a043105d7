//! How large the plan of a statement can become whose queries name one another.
//!
//! Invariant: the planner puts a whole query in each place that names it, so that a chain of forty names,
//! each used twice, is more than any machine plans; no statement of more than [`WEIGHT_MAX`] queries and
//! tables in all is planned.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{ObjectName, Query, Visit as _, Visitor};

use crate::Error;

/// Queries and tables that a statement may come to, each as often as it is planned.
const WEIGHT_MAX: u64 = 1000;

/// Refuses a statement whose queries name one another too often.
pub(crate) fn weigh(statement: &Statement) -> Result<(), Error> {
    match statement {
        Statement::Explain(explain) => weigh(&explain.statement),
        Statement::Statement(sql) => match sql.visit(&mut Scale::default()) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(TooHeavy) => Err(Error::Sql {
                message: format!("the queries of this statement come to more than {WEIGHT_MAX}"),
                hint: Some(
                    "a query that `WITH` names counts in each place that names it".to_owned(),
                ),
                at: None,
            }),
        },
        _ => Ok(()),
    }
}

struct TooHeavy;

/// A query that is being looked at.
struct Open {
    weight: u64,
    /// The queries that it names itself: where each stands, and its name.
    named: Vec<(*const Query, String)>,
    /// How many names were known when it began.
    known: usize,
}

#[derive(Default)]
struct Scale {
    open: Vec<Open>,
    /// Names that may be used here and what each comes to. Which of several that differ in case, or hide one another, is
    /// meant is for the planner to say: here it is the heaviest.
    names: Vec<(String, u64)>,
}

impl Visitor for Scale {
    type Break = TooHeavy;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<TooHeavy> {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        let named = tables.map(|table| {
            let at: *const Query = &raw const *table.query;
            (at, table.alias.name.value.to_lowercase())
        });
        self.open.push(Open { weight: 1, named: named.collect(), known: self.names.len() });
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<TooHeavy> {
        let parts = relation.0.iter().filter_map(|part| part.as_ident());
        let parts: Vec<&str> = parts.map(|ident| ident.value.as_str()).collect();
        let name = parts.join(".").to_lowercase();
        let known = self.names.iter().filter(|(known, _)| *known == name);
        self.add(known.map(|(_, weight)| *weight).max().unwrap_or(1))
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<TooHeavy> {
        let Some(Open { weight, known, .. }) = self.open.pop() else {
            return ControlFlow::Continue(());
        };
        self.names.truncate(known);
        let around = self.open.last();
        let name = around.and_then(|around| {
            around.named.iter().find(|(at, _)| std::ptr::eq(*at, query)).map(|(_, name)| name)
        });
        match name {
            Some(name) => {
                let name = name.clone();
                self.names.push((name, weight));
                ControlFlow::Continue(())
            }
            None => self.add(weight),
        }
    }
}

impl Scale {
    fn add(&mut self, weight: u64) -> ControlFlow<TooHeavy> {
        if let Some(open) = self.open.last_mut() {
            open.weight = open.weight.saturating_add(weight);
            if open.weight > WEIGHT_MAX {
                return ControlFlow::Break(TooHeavy);
            }
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::parser::DFParser;

    use super::*;

    fn is_refused(sql: &str) -> bool {
        weigh(&DFParser::parse_sql(sql).unwrap()[0]).is_err()
    }

    fn chain(links: usize, from: impl Fn(String) -> String) -> String {
        let link =
            |at: usize| format!("c{at} AS (SELECT 1 AS x FROM {})", from(format!("c{}", at - 1)));
        let links: Vec<String> = (1..=links).map(link).collect();
        format!("WITH c0 AS (SELECT 1 AS x), {} SELECT * FROM C{}", links.join(", "), links.len())
    }

    /// Scenario: queries that name the one before them, once and twice, plainly, inside another query, in
    /// brackets, and explained; many that name none.
    /// Guarantees: what would be planned again and again is refused; a long list of queries is not.
    #[test]
    fn names_count_where_they_are_used() {
        let once = |name: String| name;
        let twice = |name: String| format!("{name} AS a, {name} AS b");
        assert!(!is_refused(&chain(400, once)));
        assert!(is_refused(&chain(1_500, once)));
        assert!(!is_refused(&chain(6, twice)));
        assert!(is_refused(&chain(35, twice)));
        assert!(is_refused(&format!("EXPLAIN {}", chain(35, twice))));
        assert!(is_refused(&format!("SELECT * FROM ({}) AS t", chain(35, twice))));
        assert!(is_refused(&chain(35, |name| format!(
            "(SELECT * FROM \"{name}\", {name} AS b) AS t"
        ))));
        let quoted = ["`{name}`", "\"{name}\""].map(|one| {
            move |name: String| {
                let one = one.replace("{name}", &name);
                format!("{one} AS a, {one} AS b")
            }
        });
        quoted.into_iter().for_each(|twice| assert!(is_refused(&chain(35, twice))));
        let odd = |sql: String| sql.replace("c0", "\"a\"\"b\"");
        let own = chain(35, |name| format!("{name} AS a, {name} AS b"));
        assert!(is_refused(&odd(own.clone())));
        let doubled: Vec<String> = (1..=35)
            .map(|at| {
                let before = at - 1;
                format!("\"a\"\"{at}\" AS (SELECT 1 FROM \"a\"\"{before}\" x, \"a\"\"{before}\" y)")
            })
            .collect();
        let first = "WITH \"a\"\"0\" AS (SELECT 1)";
        assert!(is_refused(&format!("{first}, {} SELECT 1", doubled.join(", "))));
        // One of the same name but for its case hides nothing.
        let decoys = own.replace("c34 AS (", "\"C33\" AS (SELECT 1), c34 AS (");
        assert!(is_refused(&decoys));
        let many: Vec<String> = (0..900).map(|at| format!("c{at} AS (SELECT {at})")).collect();
        assert!(!is_refused(&format!("WITH {} SELECT * FROM c1, c2", many.join(", "))));
    }
}
