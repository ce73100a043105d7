//! PostgreSQL's lists of tables and columns, in which its clients look things up.
//!
//! Invariant: they tell of the tables and views that a query sees, and of nothing else. Lists that
//! are not here are empty (see `dialect/empty.rs`).

mod lists;
mod rows;

use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::catalog::{MemorySchemaProvider, SchemaProvider};
use datafusion::common::Result;
use datafusion::logical_expr::TableType;
use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{CaseWhen, Expr, Value};
use icecore_store::Table;

use self::rows::Rows;
use super::statement::text;
use super::types::KINDS;
use crate::table::columns::public_field;
use crate::views::VIEWS;

/// Where PostgreSQL's own lists are.
pub(crate) const PG_CATALOG: &str = "pg_catalog";
/// Where those of the standard are, in PostgreSQL's words for types; the engine has lists in its own
/// words under the name of the standard.
pub(super) const INFORMATION: &str = "pg_information";
/// Both.
pub(crate) const SCHEMAS: [&str; 2] = [PG_CATALOG, INFORMATION];
/// The one database.
pub(super) const DATABASE: &str = "icecore";
/// Whose everything is.
pub(super) const OWNER: &str = "icecore";

const FIRST_TABLE: u32 = 16_384;

/// Whether a schema has a list of this name, with or without rows.
pub(super) fn has(schema: &str, list: &str) -> bool {
    tells(schema, list) || (schema == PG_CATALOG && lists::EMPTY.contains(&list))
}

/// Whether a schema has a list of this name that tells of something.
pub(super) fn tells(schema: &str, list: &str) -> bool {
    let names: &[&str] =
        if schema == PG_CATALOG { &lists::OF_PG_CATALOG } else { &lists::OF_INFORMATION };
    names.contains(&list)
}

/// One table or view.
struct Known {
    oid: u32,
    name: String,
    is_view: bool,
    fields: Vec<FieldRef>,
}

fn names() -> impl Iterator<Item = (u32, &'static str)> {
    let names = Table::ALL.map(Table::name).into_iter().chain(VIEWS.iter().map(|view| view.name));
    (FIRST_TABLE..).zip(names)
}

/// The number of a table, whose name may have a schema and quotes; null where there is none.
pub(super) fn number_of(table: &str) -> Expr {
    let name = table.rsplit('.').next().unwrap_or_default().trim_matches('"');
    let oid = names().find(|(_, known)| *known == name).map(|(oid, _)| oid);
    oid.map_or_else(|| Expr::value(Value::Null), number)
}

/// The name of a table by its number.
pub(super) fn name_of(oid: &Expr) -> Expr {
    choose(oid, names().map(|(oid, name)| (oid, name.to_owned())))
}

/// The query of a view by its number.
pub(super) fn view_of(oid: &Expr) -> Expr {
    let sql =
        |name: &str| VIEWS.iter().find(|view| view.name == name).map(|view| view.sql.to_owned());
    choose(oid, names().filter_map(|(oid, name)| Some((oid, sql(name)?))))
}

/// The name of a type by its number.
pub(super) fn format_type(oid: &Expr) -> Expr {
    let scalars = KINDS.iter().map(|facts| (facts.oid, facts.sql_name.to_owned()));
    let arrays = KINDS.iter().map(|facts| (facts.array_oid, format!("{}[]", facts.sql_name)));
    choose(oid, scalars.chain(arrays))
}

fn number(value: u32) -> Expr {
    Expr::value(Value::Number(value.to_string(), false))
}

fn choose(by: &Expr, texts: impl Iterator<Item = (u32, String)>) -> Expr {
    let conditions =
        texts.map(|(value, name)| CaseWhen { condition: number(value), result: text(&name) });
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: Some(Box::new(by.clone())),
        conditions: conditions.collect(),
        else_result: Some(Box::new(text("???"))),
    }
}

/// The schemas, over the tables and views of `public`.
pub(crate) async fn of(
    public: &dyn SchemaProvider,
) -> Result<Vec<(&'static str, Arc<dyn SchemaProvider>)>> {
    let mut known = Vec::new();
    for (oid, name) in names() {
        let Some(table) = public.table(name).await? else { continue };
        let is_view = table.table_type() == TableType::View;
        let schema = table.schema();
        let fields = schema.fields().iter().map(|field| public_field(field).into());
        known.push(Known { oid, name: name.to_owned(), is_view, fields: fields.collect() });
    }
    let pg_catalog = schema(lists::pg_catalog(&known).into_iter().chain(lists::empty()))?;
    let information = schema(lists::information(&known).into_iter())?;
    Ok(vec![(PG_CATALOG, pg_catalog), (INFORMATION, information)])
}

fn schema(lists: impl Iterator<Item = (&'static str, Rows)>) -> Result<Arc<dyn SchemaProvider>> {
    let schema = MemorySchemaProvider::new();
    for (name, rows) in lists {
        schema.register_table(name.to_owned(), rows.table()?)?;
    }
    Ok(Arc::new(schema))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: the lists as they are made for any query.
    /// Guarantees: each that is said to tell of something is there, and no other.
    #[test]
    fn lists_are_those_that_are_named() {
        let of = |lists: Vec<(&'static str, Rows)>| {
            lists.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(of(lists::pg_catalog(&[])), lists::OF_PG_CATALOG);
        assert_eq!(of(lists::empty()), lists::EMPTY);
        assert_eq!(of(lists::information(&[])), lists::OF_INFORMATION);
    }
}
