//! What is to be done for a statement that a client sent: most are asked, and what only PostgreSQL
//! has is answered here.
//!
//! Invariant: a statement that says nothing of PostgreSQL's own is asked as it was written. What a
//! client sets or begins changes nothing, where everything is only read, and it is told so.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Set, Statement, Value, VisitMut as _};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::dialect::{Rewriter, always_empty, column_names};
use crate::depth;

/// What is to be done for a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Planned {
    /// Nothing was said.
    Empty,
    /// Nothing is done, but for this answer, and perhaps a word about that.
    Done { tag: &'static str, notice: Option<String> },
    /// A transaction begins, ends, or goes on.
    Transaction(Step),
    /// A prepared statement is forgotten; all where there is no name.
    Forget(Option<String>),
    /// These rows of texts.
    Texts { columns: Vec<String>, rows: Vec<Vec<Option<String>>> },
    /// To be asked; `as_written` where no letter was changed.
    Query { sql: String, as_written: bool },
}

impl Planned {
    /// Bytes of its texts.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Empty | Self::Transaction(_) | Self::Done { notice: None, .. } => 0,
            Self::Done { notice: Some(text), .. } | Self::Query { sql: text, .. } => text.len(),
            Self::Forget(name) => name.as_ref().map_or(0, String::len),
            Self::Texts { columns, rows } => {
                let cells = rows.iter().flatten().flatten();
                columns.iter().chain(cells).map(|text| size_of::<String>() + text.len()).sum()
            }
        }
    }
}

/// A step of a transaction. There is nothing to undo, but clients look at how it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Begin,
    Commit,
    Rollback,
    Savepoint,
    Release,
    RollbackTo,
}

impl Step {
    /// What is told of it.
    pub(super) const fn tag(self) -> &'static str {
        match self {
            Self::Begin => "BEGIN",
            Self::Commit => "COMMIT",
            Self::Rollback | Self::RollbackTo => "ROLLBACK",
            Self::Savepoint => "SAVEPOINT",
            Self::Release => "RELEASE",
        }
    }

    /// Whether it makes a transaction that failed whole again.
    pub(super) const fn mends(self) -> bool {
        matches!(self, Self::Commit | Self::Rollback | Self::RollbackTo)
    }
}

/// The version that clients choose their questions by.
pub(super) const SERVER_VERSION: &str = "15.0";

/// What sessions are told of at their start, and what `SHOW` and `current_setting` say.
pub(super) const TOLD: [(&str, &str); 9] = [
    ("server_version", SERVER_VERSION),
    ("server_encoding", "UTF8"),
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, MDY"),
    ("TimeZone", "UTC"),
    ("IntervalStyle", "postgres"),
    ("integer_datetimes", "on"),
    ("standard_conforming_strings", "on"),
    ("default_transaction_read_only", "on"),
];

/// What else `SHOW` and `current_setting` say.
const ASKED: [(&str, &str); 14] = [
    ("server_version_num", "150000"),
    ("time_zone", "UTC"),
    ("search_path", "public"),
    ("transaction_isolation", "repeatable read"),
    ("transaction_isolation_level", "repeatable read"),
    ("default_transaction_isolation", "repeatable read"),
    ("transaction_read_only", "on"),
    ("in_hot_standby", "on"),
    ("is_superuser", "off"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("max_identifier_length", "63"),
    ("application_name", ""),
    ("lc_collate", "C"),
];

/// Settings that mean nothing where everything is only read, or only ask for what is so anyway.
const IDLE: [&str; 12] = [
    "application_name",
    "client_min_messages",
    "extra_float_digits",
    "bytea_output",
    "datestyle",
    "intervalstyle",
    "lock_timeout",
    "row_security",
    "search_path",
    "session_characteristics",
    "synchronous_commit",
    "idle_in_transaction_session_timeout",
];

/// What a setting of a session is; none of those that are not known here.
pub(super) fn setting(name: &str) -> Option<&'static str> {
    let known = TOLD.iter().chain(&ASKED).find(|(known, _)| known.eq_ignore_ascii_case(name));
    known.map(|(_, value)| *value)
}

/// The statements of a text.
pub(super) fn plan(sql: &str) -> Vec<Planned> {
    let text = sql.trim_end().trim_end_matches(';').trim_end();
    if text.trim_matches([' ', '\n', '\t', '\r', ';']).is_empty() {
        return vec![Planned::Empty];
    }
    // The engine tells what is wrong with what nobody can read, and it reads more than this does.
    let as_written = || Planned::Query { sql: text.to_owned(), as_written: true };
    if depth::check(sql, &PostgreSqlDialect {}, depth::STATEMENT_MAX).is_err() {
        return vec![as_written()];
    }
    match Parser::parse_sql(&PostgreSqlDialect {}, sql).as_deref() {
        Err(_unread) => vec![as_written()],
        Ok([]) => vec![Planned::Empty],
        Ok([one]) => vec![planned(one).unwrap_or_else(as_written)],
        Ok(several) => several
            .iter()
            .map(|one| {
                let written = || Planned::Query { sql: one.to_string(), as_written: false };
                planned(one).unwrap_or_else(written)
            })
            .collect(),
    }
}

/// What is to be done for a statement; none where it is asked as it is.
fn planned(statement: &Statement) -> Option<Planned> {
    if let Some(done) = of_session(statement) {
        return Some(done);
    }
    if let Statement::Query(query) = statement
        && always_empty(query)
    {
        return Some(Planned::Texts { columns: column_names(query), rows: Vec::new() });
    }
    if let Some(sql) = types_in_a_tree(statement) {
        return Some(Planned::Query { sql: sql.to_owned(), as_written: false });
    }
    let mut rewritten = statement.clone();
    let ControlFlow::Continue(()) = rewritten.visit(&mut Rewriter::default());
    let sql = (rewritten != *statement).then(|| rewritten.to_string());
    sql.map(|sql| Planned::Query { sql, as_written: false })
}

/// asyncpg asks for types that it does not know by a query that calls itself, for types within types
/// within types. Those that there are here have at most one within them.
fn types_in_a_tree(statement: &Statement) -> Option<&'static str> {
    let Statement::Query(query) = statement else { return None };
    let mut ctes = query.with.iter().flat_map(|with| &with.cte_tables);
    let is_tree = ctes.any(|cte| cte.alias.name.value == "typeinfo_tree");
    is_tree.then_some(include_str!("types_in_a_tree.sql"))
}

fn of_session(statement: &Statement) -> Option<Planned> {
    let done = |tag| Planned::Done { tag, notice: None };
    Some(match statement {
        Statement::Set(set) => set_(set),
        Statement::Reset(_) => done("RESET"),
        Statement::Discard { .. } => done("DISCARD ALL"),
        Statement::LISTEN { .. } => done("LISTEN"),
        Statement::UNLISTEN { .. } => done("UNLISTEN"),
        Statement::StartTransaction { .. } => Planned::Transaction(Step::Begin),
        Statement::Commit { .. } => Planned::Transaction(Step::Commit),
        Statement::Rollback { savepoint: None, .. } => Planned::Transaction(Step::Rollback),
        Statement::Rollback { .. } => Planned::Transaction(Step::RollbackTo),
        Statement::Savepoint { .. } => Planned::Transaction(Step::Savepoint),
        Statement::ReleaseSavepoint { .. } => Planned::Transaction(Step::Release),
        Statement::Deallocate { name, .. } => {
            let all = name.value.eq_ignore_ascii_case("all");
            Planned::Forget((!all).then(|| name.value.clone()))
        }
        Statement::ShowVariable { variable } => {
            let name: Vec<&str> = variable.iter().map(|part| part.value.as_str()).collect();
            let name = name.join("_").to_ascii_lowercase();
            let rows = vec![vec![Some(setting(&name)?.to_owned())]];
            Planned::Texts { columns: vec![name], rows }
        }
        _ => return None,
    })
}

/// A setting is answered as done; where it would have done something, that it has not is said.
fn set_(set: &Set) -> Planned {
    let text = set.to_string();
    let words = text.to_ascii_lowercase();
    let is_idle = IDLE.iter().any(|name| words.contains(name));
    let asks_for_what_is = match set {
        Set::SetTransaction { .. } | Set::SetNames { .. } | Set::SetNamesDefault {} => true,
        Set::SetTimeZone { value, .. } => value.to_string().to_ascii_lowercase().contains("utc"),
        Set::SingleAssignment { variable, values, .. } => {
            let value = values.iter().map(|value| value.to_string()).collect::<Vec<_>>().join(", ");
            let now = setting(&variable.to_string());
            now.is_some_and(|now| now.eq_ignore_ascii_case(value.trim_matches(['\'', '"'])))
        }
        _ => false,
    };
    let notice = (!is_idle && !asks_for_what_is).then(|| format!("`{text}` has no effect here"));
    Planned::Done { tag: "SET", notice }
}

/// A text as SQL would write it.
pub(super) fn text(value: &str) -> Expr {
    Expr::value(Value::SingleQuotedString(value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: statements of ours and of any engine.
    /// Guarantees: not a letter changes, so that places in them stay what they were.
    #[test]
    fn what_is_not_postgres_own_stays() {
        for sql in [
            "SELECT attributes['http.route'], count(*)  FROM spans WHERE name ~ 'x' GROUP BY 1",
            "\n  select  * from trace('00000000000000000000000000000001')",
            "SHOW TABLES",
            "SELECT nonsense FROM",
            "SELECT date_bin(INTERVAL '1 minute', start_time), count(*) FROM spans WHERE start_time \
             BETWEEN '2026-11-26T09:00:00Z' AND '2026-11-26T10:00:00Z' GROUP BY 1 ORDER BY 1",
        ] {
            let asked = Planned::Query { sql: sql.to_owned(), as_written: true };
            assert_eq!(plan(&format!("{sql};")), [asked]);
        }
    }

    /// Scenario: what clients send besides queries, and several statements at once.
    /// Guarantees: each has its answer; what has no effect, though it should have one, is said.
    #[test]
    fn sessions_are_answered() {
        let check = |sql: &str, expected: Planned| assert_eq!(plan(sql), [expected], "{sql}");
        let done = |tag| Planned::Done { tag, notice: None };
        check(" ; ", Planned::Empty);
        check("-- nothing", Planned::Empty);
        check("SET extra_float_digits = 3", done("SET"));
        check("SET TIME ZONE 'UTC'", done("SET"));
        check("SET timezone = 'utc'", done("SET"));
        check("SET client_encoding TO 'UTF8'", done("SET"));
        check("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", done("SET"));
        for sql in ["SET timezone = 'Europe/Berlin'", "SET statement_timeout = 5000"] {
            let [Planned::Done { notice: Some(notice), .. }] = &plan(sql)[..] else {
                panic!("{sql}")
            };
            assert!(notice.contains("has no effect here"), "{notice}");
        }
        check("BEGIN READ ONLY", Planned::Transaction(Step::Begin));
        check(
            "START TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            Planned::Transaction(Step::Begin),
        );
        check("COMMIT", Planned::Transaction(Step::Commit));
        check("ROLLBACK TO SAVEPOINT a", Planned::Transaction(Step::RollbackTo));
        check("DISCARD ALL", done("DISCARD ALL"));
        check("DEALLOCATE s1", Planned::Forget(Some("s1".to_owned())));
        check("DEALLOCATE ALL", Planned::Forget(None));
        let row = |name: &str, value: &str| Planned::Texts {
            columns: vec![name.to_owned()],
            rows: vec![vec![Some(value.to_owned())]],
        };
        check("SHOW server_version", row("server_version", SERVER_VERSION));
        check(
            "SHOW TRANSACTION ISOLATION LEVEL",
            row("transaction_isolation_level", "repeatable read"),
        );
        let set = "SELECT 'hex' AS \"set_config\"".to_owned();
        let set = Planned::Query { sql: set, as_written: false };
        check("SELECT set_config('bytea_output','hex',false)", set);
        let columns = vec!["extversion".to_owned()];
        let empty = Planned::Texts { columns, rows: Vec::new() };
        check("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'", empty);
        assert_eq!(plan("BEGIN; SELECT 1; COMMIT").len(), 3);
    }
}
