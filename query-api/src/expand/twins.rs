//! Columns of an answer that would have the same name.
//!
//! Invariant: the first of them keeps its name, and no column changes but in its name. The engine
//! refuses a `SELECT` of two columns of one name, and takes `CAST(x AS a)` for `x`.

use std::collections::HashSet;

use datafusion::sql::sqlparser::ast::{Expr, Ident, Select, SelectItem};

/// Gives every column whose name was there before another one: `count(*)`, then `count(*)_2`.
pub(super) fn tell_apart(select: &mut Select) {
    let one_table = matches!(select.from.as_slice(), [from] if from.joins.is_empty());
    let all = select.projection.iter().any(|item| matches!(item, SelectItem::Wildcard(_)));
    let mut taken: HashSet<String> = select.projection.iter().filter_map(alias_of).collect();
    let mut seen = HashSet::new();
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        let named = without_casts(expr);
        let name = name_of(named);
        let whole = if one_table { name.clone() } else { named.to_string() };
        // Beside `*`, a column by its name is there twice.
        let of_all = all && matches!(named, Expr::Identifier(_));
        if seen.insert(whole) && !of_all {
            continue;
        }
        let free = (2..).map(|nth| format!("{name}_{nth}")).find(|name| !taken.contains(name));
        let Some(free) = free else { continue };
        taken.insert(free.clone());
        let alias = Ident::with_quote('"', free);
        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
    }
}

fn alias_of(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
        _ => None,
    }
}

/// What the engine calls a column by.
fn without_casts(mut expr: &Expr) -> &Expr {
    while let Expr::Cast { expr: inner, .. } | Expr::Nested(inner) = expr {
        expr = inner;
    }
    expr
}

fn name_of(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(name) => name.value.clone(),
        Expr::CompoundIdentifier(names) => {
            names.last().map_or_else(String::new, |name| name.value.clone())
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::ast::{SetExpr, Statement};
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn check(sql: &str, expected: &str) {
        let mut parsed = Parser::parse_sql(&GenericDialect {}, sql).unwrap();
        let Statement::Query(query) = &mut parsed[0] else { panic!("{sql} is a query") };
        let SetExpr::Select(select) = query.body.as_mut() else { panic!("{sql} is a select") };
        tell_apart(select);
        assert_eq!(select.to_string(), expected);
    }

    /// Scenario: columns that are written twice, with casts, beside all columns, and of two tables.
    /// Guarantees: the later ones have names of their own, all else stays as it is.
    #[test]
    fn the_later_ones_have_names_of_their_own() {
        check("SELECT a, b FROM t", "SELECT a, b FROM t");
        check("SELECT a, a, a FROM t", r#"SELECT a, a AS "a_2", a AS "a_3" FROM t"#);
        check("SELECT a::INT, a::TEXT FROM t", r#"SELECT a::INT, a::TEXT AS "a_2" FROM t"#);
        check("SELECT a, t.a FROM t", r#"SELECT a, t.a AS "a_2" FROM t"#);
        check("SELECT t.a, u.a FROM t, u", "SELECT t.a, u.a FROM t, u");
        check("SELECT t.a, t.a FROM t, u", r#"SELECT t.a, t.a AS "a_2" FROM t, u"#);
        check("SELECT *, a FROM t", r#"SELECT *, a AS "a_2" FROM t"#);
        check("SELECT *, f(a) FROM t", "SELECT *, f(a) FROM t");
        check("SELECT a, 1 AS a_2, a FROM t", r#"SELECT a, 1 AS a_2, a AS "a_3" FROM t"#);
        check("SELECT count(*), count(*)", r#"SELECT count(*), count(*) AS "count(*)_2""#);
    }
}
