//! Which statements may run: those that only read.
//!
//! Invariant: no statement that passes can write a row, a file or a setting, or read anything but
//! the tables: there is no way from SQL to a file name.

mod unheard;

use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::Statement as Sql;

pub(crate) use self::unheard::check_heard;
use crate::Error;

/// Refuses a statement that is not of the kinds that read.
pub(crate) fn check_reads(statement: &Statement) -> Result<(), Error> {
    let reads = match statement {
        Statement::Statement(sql) => matches!(
            sql.as_ref(),
            Sql::Query(_)
                | Sql::ShowTables { .. }
                | Sql::ShowColumns { .. }
                | Sql::ShowFunctions { .. }
                | Sql::ShowVariable { .. }
                | Sql::ExplainTable { .. }
        ),
        Statement::Explain(explain) => return check_reads(&explain.statement),
        _ => false,
    };
    if reads { Ok(()) } else { Err(refused(&statement.to_string())) }
}

/// Refuses a plan with a step that changes something, however it was written.
pub(crate) fn check_plan(plan: &LogicalPlan, sql: &str) -> Result<(), Error> {
    let nothing =
        SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    nothing.verify_plan(plan).map_err(|_refused| refused(sql))
}

fn refused(sql: &str) -> Error {
    let words: Vec<_> = sql.split_whitespace().take(2).collect();
    Error::Statement { statement: words.join(" ") }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::parser::DFParser;

    use super::*;

    fn check(sql: &str) -> Result<(), Error> {
        check_reads(&DFParser::parse_sql(sql).unwrap()[0])
    }

    /// Scenario: statements that read, and every way to write or to reach a file.
    /// Guarantees: the former pass, the latter are refused by name, also behind EXPLAIN.
    #[test]
    fn only_reading_passes() {
        for sql in ["SELECT 1", "WITH a AS (SELECT 1) SELECT * FROM a", "EXPLAIN ANALYZE SELECT 1"]
        {
            assert!(check(sql).is_ok(), "{sql}");
        }
        for sql in ["SHOW TABLES", "SHOW COLUMNS FROM spans", "DESCRIBE spans", "VALUES (1)"] {
            assert!(check(sql).is_ok(), "{sql}");
        }
        for sql in [
            "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
            "COPY spans TO '/tmp/x.parquet'",
            "COPY (SELECT 1) TO 's3://other/x.csv'",
            "INSERT INTO spans VALUES (1)",
            "CREATE TABLE t AS SELECT 1",
            "DROP TABLE spans",
            "SET datafusion.execution.batch_size = 1",
            "RESET datafusion.execution.batch_size",
            "PREPARE p AS SELECT 1",
            "DELETE FROM spans",
            "EXPLAIN COPY spans TO 'x.csv'",
            "EXPLAIN INSERT INTO spans VALUES (1)",
        ] {
            let text = check(sql).unwrap_err().to_string();
            assert!(text.contains("not allowed"), "{sql}: {text}");
        }
    }
}
