//! Views: the questions that are asked most, with names for what is in the attributes.
//!
//! Invariant: a view is a query that could have been written by hand; it costs what that costs, and
//! nothing where it is not named.

use icecore_store::Table;

/// A query that stands for a table.
#[derive(Debug)]
pub(crate) struct View {
    /// Its name.
    pub(crate) name: &'static str,
    /// The table that its rows come from.
    pub(crate) of: Table,
    /// The query.
    pub(crate) sql: &'static str,
}

/// All of them.
pub(crate) const VIEWS: [View; 3] = [
    View { name: "requests", of: Table::Spans, sql: include_str!("views/requests.sql") },
    View { name: "db_calls", of: Table::Spans, sql: include_str!("views/db_calls.sql") },
    View { name: "errors", of: Table::Spans, sql: include_str!("views/errors.sql") },
];
