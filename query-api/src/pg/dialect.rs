//! What PostgreSQL's clients ask about tables, in words that the engine understands.
//!
//! Invariant: nothing but PostgreSQL's own words is changed: its casts, its functions, and the
//! names of its lists of tables.

mod calls;
mod empty;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Array, BinaryOperator, CastKind, DataType, Expr, Ident, ObjectName, ObjectNamePart, Select,
    SelectItem, Value, VisitorMut, visit_expressions,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use self::calls::call;
pub(super) use self::empty::{always_empty, column_names};
use super::catalog;
use super::statement::text;
use super::types::Type;
use crate::depth;

/// Puts the engine's words in place of PostgreSQL's, in one walk.
#[derive(Debug, Default)]
pub(super) struct Rewriter {
    /// Of the selects around this place, innermost last: what each column was before the walk.
    selects: Vec<Vec<Option<Before>>>,
}

/// A column without a name of its own.
#[derive(Debug)]
struct Before {
    expr: Expr,
    /// The name that it is to have where it is rewritten, or in any case.
    name: String,
    always: bool,
}

impl VisitorMut for Rewriter {
    type Break = Infallible;

    /// A column that only PostgreSQL's words give a name to keeps that name; one of PostgreSQL's lists
    /// that stands before all of them too gets another.
    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Infallible> {
        let is_wildcard = |item: &SelectItem| {
            matches!(item, SelectItem::QualifiedWildcard(..) | SelectItem::Wildcard(_))
        };
        let names_twice = select.projection.iter().any(is_wildcard) && empty::of_lists(select);
        let before = |item: &SelectItem| {
            let SelectItem::UnnamedExpr(expr) = item else { return None };
            let is_column = matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
            let (name, always) = (empty::name_of(expr), names_twice && is_column);
            let name = if always { format!("{name}_1") } else { name };
            let is_named = always || name != empty::NAMELESS;
            is_named.then(|| Before { expr: expr.clone(), name, always })
        };
        self.selects.push(select.projection.iter().map(before).collect());
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<Infallible> {
        let before = self.selects.pop().unwrap_or_default();
        for (item, before) in select.projection.iter_mut().zip(before) {
            let (SelectItem::UnnamedExpr(expr), Some(before)) = (&*item, before) else { continue };
            if before.always || *expr != before.expr {
                let alias = Ident::with_quote('"', before.name);
                *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<Infallible> {
        let (name, schema) = last(relation);
        let of_database = relation.0.len() == 3
            && relation.0[0].to_string().trim_matches('"') == catalog::DATABASE;
        if of_database {
            relation.0.remove(0);
        }
        let schema = match schema.as_deref() {
            None if catalog::has(catalog::PG_CATALOG, &name) => catalog::PG_CATALOG,
            Some("information_schema") if catalog::has(catalog::INFORMATION, &name) => {
                catalog::INFORMATION
            }
            _ => return ControlFlow::Continue(()),
        };
        let part = |name: &str| ObjectNamePart::Identifier(Ident::new(name));
        *relation = ObjectName(vec![part(schema), part(&name)]);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Infallible> {
        if let Some(other) = rewritten(expr) {
            *expr = other;
        }
        ControlFlow::Continue(())
    }
}

/// The last part of a name and the one before it, in lower case.
fn last(name: &ObjectName) -> (String, Option<String>) {
    let parts = name.0.iter().filter_map(|part| part.as_ident());
    let mut parts: Vec<String> = parts.map(|ident| ident.value.to_ascii_lowercase()).collect();
    let last = parts.pop().unwrap_or_default();
    (last, parts.pop())
}

fn rewritten(expr: &mut Expr) -> Option<Expr> {
    match expr {
        Expr::Collate { expr, .. } => Some((**expr).clone()),
        Expr::BinaryOp { op, .. } => {
            if let BinaryOperator::PGCustomBinaryOperator(name) = op {
                *op = operator(name.last()?)?;
            }
            None
        }
        Expr::Cast { expr: inner, data_type, kind, .. } => cast(inner, data_type, kind),
        Expr::Subquery(query) if always_empty(query) => Some(Expr::value(Value::Null)),
        Expr::Subquery(query) => {
            empty::of_one_row(query).map(|query| Expr::Subquery(Box::new(query)))
        }
        Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } => {
            if let Some(list) = literal(right).and_then(array) {
                **right = list;
            }
            None
        }
        // The schemas of the search path, as dashboards ask for them.
        Expr::InSubquery { expr, subquery, negated }
            if subquery.to_string().contains("generate_series") =>
        {
            let list = vec![text("public")];
            Some(Expr::InList { expr: expr.clone(), list, negated: *negated })
        }
        Expr::InSubquery { subquery, negated, .. } | Expr::Exists { subquery, negated }
            if always_empty(subquery) =>
        {
            Some(Expr::value(Value::Boolean(*negated)))
        }
        Expr::Function(function) => call(function),
        // Words of PostgreSQL that stand without brackets.
        Expr::Identifier(name) if name.quote_style.is_none() => match name.value.as_str() {
            "user" | "current_user" | "session_user" | "current_role" => Some(text(catalog::OWNER)),
            "current_catalog" => Some(text(catalog::DATABASE)),
            "current_schema" => Some(text("public")),
            _ => None,
        },
        _ => None,
    }
}

fn operator(name: &str) -> Option<BinaryOperator> {
    Some(match name {
        "~" => BinaryOperator::PGRegexMatch,
        "~*" => BinaryOperator::PGRegexIMatch,
        "!~" => BinaryOperator::PGRegexNotMatch,
        "!~*" => BinaryOperator::PGRegexNotIMatch,
        "=" => BinaryOperator::Eq,
        "<>" | "!=" => BinaryOperator::NotEq,
        "~~" => BinaryOperator::PGLikeMatch,
        "~~*" => BinaryOperator::PGILikeMatch,
        _ => return None,
    })
}

/// A cast to a type that only PostgreSQL has.
fn cast(inner: &Expr, data_type: &DataType, kind: &CastKind) -> Option<Expr> {
    let name = match data_type {
        DataType::Regclass => "regclass".to_owned(),
        DataType::Custom(name, _) => last(name).0,
        // Arrays are made of their text; those that are bound have their type already.
        DataType::Array(_) if is_place(inner) => return Some(inner.clone()),
        DataType::Array(_) => return literal(inner).and_then(array),
        _ => return None,
    };
    let to = |data_type| Expr::Cast {
        kind: kind.clone(),
        expr: Box::new(inner.clone()),
        data_type,
        array: false,
        format: None,
    };
    Some(match name.as_str() {
        "regclass" => match literal(inner) {
            Some(table) => catalog::number_of(table),
            None => catalog::name_of(inner),
        },
        "regtype" | "regproc" | "regprocedure" | "regnamespace" | "regrole" => inner.clone(),
        "oid" | "int4" | "int8" => to(DataType::BigInt(None)),
        "text" | "name" | "char" | "bpchar" | "varchar" | "json" | "jsonb" => to(DataType::Text),
        "bool" => to(DataType::Boolean),
        "float8" => to(DataType::DoublePrecision),
        _ => return None,
    })
}

fn is_place(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::Placeholder(_)))
}

/// Types that a statement gives its values by a cast, by their names: `$1::oid[]`.
pub(super) fn cast_places(sql: &str) -> BTreeMap<String, Type> {
    let mut places = BTreeMap::new();
    if depth::check(sql, &PostgreSqlDialect {}, depth::STATEMENT_MAX).is_err() {
        return places;
    }
    let parsed = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap_or_default();
    let ControlFlow::Continue(()) = visit_expressions(&parsed, |expr| -> ControlFlow<Infallible> {
        if let Expr::Cast { expr: inner, data_type, .. } = expr
            && is_place(inner)
            && let Some(of) = Type::named(&data_type.to_string())
        {
            places.insert(inner.to_string(), of);
        }
        ControlFlow::Continue(())
    });
    places
}

/// The text that an expression is; none where it is anything else.
fn literal(expr: &Expr) -> Option<&str> {
    let Expr::Value(value) = expr else { return None };
    let Value::SingleQuotedString(text) = &value.value else { return None };
    Some(text)
}

/// `{a,b}`, as clients write it for lists of plain names.
fn array(written: &str) -> Option<Expr> {
    let inside = written.strip_prefix('{')?.strip_suffix('}')?;
    if inside.contains(['"', '{', '\\']) {
        return None;
    }
    let items = inside.split(',').filter(|item| !item.is_empty());
    Some(Expr::Array(Array { elem: items.map(|item| text(item.trim())).collect(), named: true }))
}

#[cfg(test)]
mod tests {
    use super::super::statement::{Planned, plan};
    use super::super::types::{Kind, Type};
    use super::cast_places;

    fn query(sql: &str) -> String {
        match plan(sql).as_slice() {
            [Planned::Query { sql, .. }] => sql.clone(),
            other => panic!("{sql}: {other:?}"),
        }
    }

    fn check(sql: &str, expected: &str) {
        assert_eq!(query(sql), expected, "{sql}");
    }

    /// Scenario: casts of values that are yet to come, by every name that a type has.
    /// Guarantees: they say the type of the value.
    #[test]
    fn casts_say_types() {
        let sql = "SELECT $1::oid[], $2::int, CAST($3 AS timestamp with time zone), $4::text, $5::nonsense, $6";
        let of = |kind, is_array| Type { kind, is_array };
        let expected = [
            ("$1", of(Kind::Oid, true)),
            ("$2", of(Kind::Int4, false)),
            ("$3", of(Kind::Timestamptz, false)),
            ("$4", of(Kind::Text, false)),
        ];
        let expected: Vec<_> = expected.map(|(name, of)| (name.to_owned(), of)).into();
        assert_eq!(cast_places(sql).into_iter().collect::<Vec<_>>(), expected);
    }

    /// Scenario: a scalar query in a scalar query, ten times, each with a
    /// name of PostgreSQL's own beside it.
    /// Guarantees: they are rewritten in little time, each level once.
    #[test]
    fn nested_queries_are_walked_once() {
        let nest = |inner: String, _| format!("SELECT version(), ({inner})");
        let deep = (0..10).fold("SELECT current_user".to_owned(), nest);
        let rewritten = query(&deep);
        assert_eq!(rewritten.matches("AS \"version\"").count(), 10);
        assert_eq!(rewritten.matches("'icecore'").count(), 1, "{rewritten}");
    }

    /// Scenario: pieces of what psql, drivers and dashboards ask about tables.
    /// Guarantees: they become what the engine understands, and keep their names.
    #[test]
    fn questions_about_tables_are_understood() {
        check(
            "SELECT c.oid FROM pg_class c WHERE c.relname OPERATOR(pg_catalog.~) '^(spans)$' \
             COLLATE pg_catalog.default AND pg_catalog.pg_table_is_visible(c.oid)",
            "SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relname ~ '^(spans)$' AND true",
        );
        check(
            "SELECT a FROM pg_attribute WHERE attrelid = 'public.spans'::regclass",
            "SELECT a FROM pg_catalog.pg_attribute WHERE attrelid = 16384",
        );
        check(
            "SELECT quote_ident(table_name) FROM information_schema.tables WHERE \
             quote_ident(table_schema) IN (SELECT trim(s[i]) FROM generate_series(1, 2) AS i, \
             string_to_array(current_setting('search_path'), ',') s)",
            "SELECT table_name AS \"quote_ident\" FROM pg_information.tables WHERE table_schema IN ('public')",
        );
        check(
            "SELECT version(), current_database()::text",
            &format!(
                "SELECT 'PostgreSQL 15.0 (Icecore {})' AS \"version\", 'icecore'::TEXT AS \"current_database\"",
                env!("CARGO_PKG_VERSION")
            ),
        );
        check(
            "SELECT relname FROM pg_class WHERE relkind = ANY ('{r,v}'::char[])",
            "SELECT relname FROM pg_catalog.pg_class WHERE relkind = ANY(ARRAY['r', 'v'])",
        );
        check(
            "SELECT 1 FROM pg_class WHERE relkind = ANY('{r}')",
            "SELECT 1 FROM pg_catalog.pg_class WHERE relkind = ANY(ARRAY['r'])",
        );
        check(
            "SELECT d.oid, d.* FROM pg_database AS d",
            "SELECT d.oid AS \"oid_1\", d.* FROM pg_catalog.pg_database AS d",
        );
        check("SELECT name FROM icecore.public.spans", "SELECT name FROM public.spans");
    }
}
