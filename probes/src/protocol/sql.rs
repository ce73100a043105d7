//! Statements of SQL: their text without values, and in few words what they do to what.
//!
//! Invariants: no literal is left in a sanitised text, wherever the text was cut; what is told as
//! operation or collection stands in the statement.

mod summary;
mod token;

use summary::Summary;
use token::{Kind, Tokens};

/// Where two systems read the same characters differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Double quotes name things; dollars quote; a backslash is one.
    Postgres,
    /// Double quotes are strings; backticks name things; a backslash escapes.
    MySql,
    /// Double quotes name things; dollars quote; a backslash is one; UUIDs and durations are bare.
    Cql,
}

/// A statement, or several of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) text: String,
    pub(super) operation: Option<String>,
    pub(super) collection: Option<String>,
    pub(super) summary: Option<String>,
}

/// Stands for what was not kept of a text.
const CUT: char = '\u{2026}';

/// Reads a statement. `cut`: more of it was sent; `whole`: its values are kept.
pub(super) fn statement(bytes: &[u8], cut: bool, dialect: Dialect, whole: bool) -> Statement {
    let sent = String::from_utf8_lossy(bytes);
    let sent = sent.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    let (mut text, mut summary) = (String::with_capacity(sent.len()), Summary::default());
    for token in Tokens::new(sent, dialect) {
        summary.token(&token);
        match token.kind {
            Kind::Literal => {
                text.truncate(text.len() - token.prefix.min(text.len()));
                text.push('?');
            }
            Kind::Comment => text.push(' '),
            Kind::Space | Kind::Word | Kind::Quoted | Kind::Symbol => text.push_str(token.text),
        }
    }
    let (operation, collection, summary) = summary.finish();
    let mut text = if whole { sent.to_owned() } else { text.trim().to_owned() };
    if cut {
        text.push(CUT);
    }
    Statement { text, operation, collection, summary }
}

/// Statements of this system are SQL.
pub(crate) fn speaks_sql(system: &str) -> bool {
    matches!(system, "postgresql" | "mysql" | "mariadb" | "cassandra")
}

/// A statement that was kept whole, without its values.
pub(crate) fn without_values(text: &str, system: &str) -> String {
    let dialect = match system {
        "postgresql" => Dialect::Postgres,
        "cassandra" => Dialect::Cql,
        _ => Dialect::MySql,
    };
    let (text, cut) = match text.strip_suffix(CUT) {
        Some(text) => (text, true),
        None => (text, false),
    };
    statement(text.as_bytes(), cut, dialect, false).text
}

#[cfg(test)]
mod tests;
