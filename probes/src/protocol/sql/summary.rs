//! What a statement does, to what: `SELECT orders users`.
//!
//! Invariant: made of keywords and of names that stand where a statement names a table; a name that
//! may be something else is left out.

use super::token::{Kind, Token};

/// First words of statements, those of PostgreSQL's replication among them.
const OPERATIONS: [&str; 66] = [
    "ABORT",
    "ALTER",
    "ANALYZE",
    "BASE_BACKUP",
    "BEGIN",
    "CALL",
    "CHECK",
    "CHECKPOINT",
    "CLOSE",
    "CLUSTER",
    "COMMENT",
    "COMMIT",
    "COPY",
    "CREATE",
    "CREATE_REPLICATION_SLOT",
    "DEALLOCATE",
    "DECLARE",
    "DELETE",
    "DESC",
    "DESCRIBE",
    "DISCARD",
    "DO",
    "DROP",
    "DROP_REPLICATION_SLOT",
    "END",
    "EXECUTE",
    "EXPLAIN",
    "FETCH",
    "FLUSH",
    "GRANT",
    "HANDLER",
    "IDENTIFY_SYSTEM",
    "INSERT",
    "KILL",
    "LIST",
    "LISTEN",
    "LOAD",
    "LOCK",
    "MERGE",
    "MOVE",
    "NOTIFY",
    "OPTIMIZE",
    "PREPARE",
    "READ_REPLICATION_SLOT",
    "REFRESH",
    "REINDEX",
    "RELEASE",
    "RENAME",
    "REPLACE",
    "RESET",
    "REVOKE",
    "ROLLBACK",
    "SAVEPOINT",
    "SELECT",
    "SET",
    "SHOW",
    "START",
    "START_REPLICATION",
    "TABLE",
    "TIMELINE_HISTORY",
    "TRUNCATE",
    "UNLISTEN",
    "UNLOCK",
    "UPDATE",
    "USE",
    "VALUES",
];
/// What may come behind a list of common tables.
const VERBS: [&str; 6] = ["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "VALUES"];
/// Words that stand between a keyword and the name of its table.
const FILLERS: [&str; 8] =
    ["ONLY", "LATERAL", "IF", "NOT", "EXISTS", "LOW_PRIORITY", "IGNORE", "INTO"];
/// Words that end a list of tables.
const ENDS: [&str; 12] = [
    "WHERE",
    "GROUP",
    "ORDER",
    "HAVING",
    "LIMIT",
    "UNION",
    "SET",
    "VALUES",
    "SELECT",
    "ON",
    "USING",
    "RETURNING",
];
/// A summary has at most so many bytes, as the conventions have it.
const BYTES_MAX: usize = 255;
/// Statements of one text that are summed up.
const STATEMENTS_MAX: usize = 4;

/// Reads tokens in order.
#[derive(Debug, Default)]
pub(super) struct Summary {
    statements: Vec<One>,
    one: One,
}

/// One statement.
#[derive(Debug, Default)]
struct One {
    operation: Option<String>,
    /// What is created, altered or dropped.
    object: Option<String>,
    with: bool,
    /// The statement begins with something else.
    unknown: bool,
    tables: Vec<String>,
    /// For each open parenthesis: a query is in it; a list of tables goes on behind it.
    depth: Vec<(bool, bool)>,
    /// The word before.
    last: String,
    expects: Expects,
    /// The name so far, and whether a point came behind it.
    name: Option<(String, bool)>,
    /// What a name in a list would be: a table.
    in_list: bool,
    opened: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Expects {
    #[default]
    Nothing,
    /// A table, which no parenthesis may follow (or it is a function).
    Source,
    /// A table, whatever follows.
    Table,
}

impl Summary {
    pub(super) fn token(&mut self, token: &Token<'_>) {
        match token.kind {
            Kind::Space | Kind::Comment => {}
            Kind::Symbol if token.text == ";" => self.next_statement(),
            Kind::Symbol => self.one.symbol(token.text),
            Kind::Literal => self.one.literal(),
            Kind::Word => self.one.word(token.text),
            Kind::Quoted => {
                let inner = token.text.get(1..token.text.len().saturating_sub(1));
                self.one.name(inner.unwrap_or_default());
            }
        }
    }

    fn next_statement(&mut self) {
        let mut one = std::mem::take(&mut self.one);
        one.end_name(false);
        if one.operation.is_some() || one.unknown {
            self.statements.push(one);
        }
    }

    /// Operation, collection and summary.
    pub(super) fn finish(mut self) -> (Option<String>, Option<String>, Option<String>) {
        self.next_statement();
        let Some(first) = self.statements.first() else { return (None, None, None) };
        let operation = first.operation.clone();
        let single = self.statements.len() == 1 && !first.with && first.tables.len() == 1;
        let collection = first.tables.first().filter(|_| single).cloned();
        let known = self.statements.iter().take(STATEMENTS_MAX).map(One::shown);
        let mut summary = known.collect::<Option<Vec<_>>>().map(|all| all.join("; "));
        if let Some(summary) = &mut summary {
            summary.truncate(summary.floor_char_boundary(BYTES_MAX));
        }
        (operation, collection, summary)
    }
}

impl One {
    fn shown(&self) -> Option<String> {
        let operation = self.operation.as_deref()?;
        let tables = if self.with { &[] } else { self.tables.as_slice() };
        let names = self.object.iter().chain(tables).map(String::as_str);
        Some(std::iter::once(operation).chain(names).collect::<Vec<_>>().join(" "))
    }

    fn word(&mut self, word: &str) {
        if self.continues_name() {
            return self.name(word);
        }
        let upper = word.to_ascii_uppercase();
        if self.opened {
            self.opened = false;
            let query = matches!(upper.as_str(), "SELECT" | "WITH" | "VALUES" | "TABLE");
            if let Some((in_parenthesis, _)) = self.depth.last_mut() {
                *in_parenthesis = query;
            }
        }
        if self.operation.is_none() && !self.unknown {
            self.first_word(&upper);
        } else if !(self.keyword(&upper)) && self.expects != Expects::Nothing {
            self.name(word);
        } else if self.name.is_some() {
            // An alias.
            self.end_name(false);
        }
        self.last = upper;
    }

    fn first_word(&mut self, upper: &str) {
        let verb = VERBS.contains(&upper);
        if upper == "WITH" {
            self.with = true;
        } else if self.with && verb && self.depth.is_empty()
            || OPERATIONS.contains(&upper) && !self.with
        {
            self.operation = Some(upper.to_owned());
            self.expects = match upper {
                "UPDATE" | "TABLE" | "COPY" | "TRUNCATE" => Expects::Table,
                _ => Expects::Nothing,
            };
        } else if !self.with {
            self.unknown = true;
        }
    }

    /// A word that says where names of tables stand. False: it says nothing.
    fn keyword(&mut self, upper: &str) -> bool {
        let operation = self.operation.as_deref().unwrap_or_default();
        let changes =
            matches!(operation, "CREATE" | "ALTER" | "DROP" | "TRUNCATE" | "LOCK" | "LOAD");
        let in_query = self.depth.last().is_none_or(|(query, _)| *query);
        let expects = match upper {
            "FROM" if operation == "COPY" && self.depth.is_empty() => Expects::Nothing,
            "FROM" if in_query && self.last != "DISTINCT" => Expects::Source,
            "JOIN" | "STRAIGHT_JOIN" if in_query => Expects::Source,
            "INTO" if matches!(operation, "INSERT" | "REPLACE" | "MERGE") => Expects::Table,
            "TABLE" if changes => {
                self.object = (!matches!(operation, "LOCK" | "LOAD")).then(|| upper.to_owned());
                Expects::Table
            }
            "INDEX" | "VIEW" | "DATABASE" | "SCHEMA" | "FUNCTION" | "PROCEDURE" | "TRIGGER"
            | "USER" | "ROLE" | "SEQUENCE" | "TYPE" | "EXTENSION" | "KEYSPACE" | "AGGREGATE"
                if changes && self.object.is_none() && self.tables.is_empty() =>
            {
                self.object = Some(upper.to_owned());
                Expects::Nothing
            }
            _ if FILLERS.contains(&upper) && self.expects != Expects::Nothing => return true,
            _ if ENDS.contains(&upper) => Expects::Nothing,
            _ => return false,
        };
        self.end_name(false);
        self.expects = expects;
        self.in_list = expects == Expects::Source;
        true
    }

    fn continues_name(&self) -> bool {
        self.name.as_ref().is_some_and(|(_, point)| *point)
    }

    fn name(&mut self, part: &str) {
        match &mut self.name {
            Some((name, point)) if *point => {
                name.push('.');
                name.push_str(part);
                *point = false;
            }
            Some(_) => self.end_name(false),
            None if self.expects != Expects::Nothing => self.name = Some((part.to_owned(), false)),
            None => {}
        }
    }

    fn literal(&mut self) {
        self.end_name(false);
        self.expects = Expects::Nothing;
        self.last.clear();
    }

    /// The name before is whole. `called`: a parenthesis follows.
    fn end_name(&mut self, called: bool) {
        let Some((name, _)) = self.name.take() else { return };
        let function = called && self.expects == Expects::Source;
        if !function && !self.tables.contains(&name) {
            self.tables.push(name);
        }
        self.expects = Expects::Nothing;
    }

    fn symbol(&mut self, symbol: &str) {
        match symbol {
            "." => {
                if let Some((_, point)) = &mut self.name {
                    *point = true;
                }
            }
            "(" => {
                self.end_name(true);
                self.expects = Expects::Nothing;
                self.depth.push((false, self.in_list));
                self.in_list = false;
                self.opened = true;
            }
            ")" => {
                self.end_name(false);
                self.expects = Expects::Nothing;
                self.in_list = self.depth.pop().is_some_and(|(_, in_list)| in_list);
            }
            "," => {
                self.end_name(false);
                self.expects = if self.in_list { Expects::Source } else { Expects::Nothing };
            }
            _ => self.end_name(false),
        }
    }
}
