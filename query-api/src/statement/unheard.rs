//! What a statement may say and the engine would not hear.
//!
//! Invariant: no part of a statement that decides which rows are answered is passed over: `PREWHERE` of
//! ClickHouse reads well, and its condition was not applied.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    GroupByExpr, GroupByWithModifier, Select, TableFactor, Visit as _, Visitor,
};

use crate::Error;

/// Refuses a statement with such a part, by what to write in its place.
pub(crate) fn check_heard(statement: &Statement) -> Result<(), Error> {
    let unheard = match statement {
        Statement::Statement(sql) => sql.visit(&mut Unheard),
        Statement::Explain(explain) => return check_heard(&explain.statement),
        _ => ControlFlow::Continue(()),
    };
    match unheard {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break((part, instead)) => Err(Error::Sql {
            message: format!("`{part}` is not understood here"),
            hint: Some(instead.to_owned()),
            at: None,
        }),
    }
}

type Part = (&'static str, &'static str);

struct Unheard;

impl Visitor for Unheard {
    type Break = Part;

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Part> {
        let Select { prewhere, connect_by, cluster_by, distribute_by, sort_by, group_by, .. } =
            select;
        let (GroupByExpr::All(modifiers) | GroupByExpr::Expressions(_, modifiers)) = group_by;
        let parts = [
            (
                prewhere.is_some(),
                ("PREWHERE", "WHERE reads the columns of its condition first, too"),
            ),
            (
                modifiers.contains(&GroupByWithModifier::Totals),
                ("WITH TOTALS", "GROUP BY ROLLUP (…) has a row of all groups, whose keys are null"),
            ),
            (!connect_by.is_empty(), ("CONNECT BY", "WITH RECURSIVE walks a tree")),
            (!cluster_by.is_empty(), ("CLUSTER BY", "ORDER BY sorts the answer")),
            (!distribute_by.is_empty(), ("DISTRIBUTE BY", "leave it out")),
            (!sort_by.is_empty(), ("SORT BY", "ORDER BY sorts the answer")),
        ];
        match parts.into_iter().find(|(said, _)| *said) {
            Some((_, part)) => ControlFlow::Break(part),
            None => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_table_factor(&mut self, from: &TableFactor) -> ControlFlow<Part> {
        let TableFactor::Table { sample, partitions, .. } = from else {
            return ControlFlow::Continue(());
        };
        if sample.is_some() {
            let instead = "a share of the traces is `WHERE trace_id LIKE '%0'` (one in sixteen)";
            return ControlFlow::Break(("SAMPLE", instead));
        }
        if !partitions.is_empty() {
            return ControlFlow::Break((
                "PARTITION",
                "a condition on the time reads its files only",
            ));
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::parser::DFParser;

    use super::*;

    fn check(sql: &str) -> Result<(), Error> {
        check_heard(&DFParser::parse_sql(sql).unwrap()[0])
    }

    /// Scenario: statements of ClickHouse, Snowflake and the standard, with parts that the engine passes over.
    /// Guarantees: those that would be answered with other rows are refused, wherever they stand; others pass.
    #[test]
    fn what_is_not_heard_is_refused() {
        for (sql, part) in [
            ("SELECT count(*) FROM spans PREWHERE name = 'x'", "PREWHERE"),
            ("SELECT 1 WHERE EXISTS (SELECT 1 FROM spans PREWHERE name = 'x')", "PREWHERE"),
            ("EXPLAIN SELECT count(*) FROM spans TABLESAMPLE BERNOULLI (10)", "SAMPLE"),
            ("WITH a AS (SELECT * FROM spans SAMPLE 0.1) SELECT * FROM a", "SAMPLE"),
            ("SELECT name, count(*) FROM spans GROUP BY name WITH TOTALS", "WITH TOTALS"),
            ("SELECT name FROM spans SORT BY name", "SORT BY"),
        ] {
            let text = check(sql).unwrap_err().to_string();
            assert!(text.contains(part), "{sql}: {text}");
        }
        for sql in [
            "SELECT name, count(*) FROM spans s GROUP BY ROLLUP(name) ORDER BY 1 LIMIT 1",
            "SHOW TABLES",
        ] {
            assert!(check(sql).is_ok(), "{sql}");
        }
    }
}
