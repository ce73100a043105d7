//! Functions that only PostgreSQL has, where their answer does not depend on rows.

use datafusion::sql::sqlparser::ast::{
    Array, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectName, Value,
};

use super::super::catalog;
use super::super::statement::{SERVER_VERSION, setting, text};
use super::{always_empty, last, literal};

/// Questions that nobody knows the answer of here.
const UNKNOWN: [&str; 19] = [
    "obj_description",
    "col_description",
    "shobj_description",
    "pg_get_expr",
    "pg_get_constraintdef",
    "pg_get_indexdef",
    "pg_get_partkeydef",
    "pg_get_serial_sequence",
    "pg_get_function_result",
    "pg_get_function_arguments",
    "pg_tablespace_location",
    "pg_size_pretty",
    "pg_relation_size",
    "pg_total_relation_size",
    "pg_table_size",
    "pg_database_size",
    "inet_server_addr",
    "inet_server_port",
    "inet_client_addr",
];

/// Columns of lists that are never set, so that arrays that are made of them are empty.
const NEVER_SET: [&str; 3] = ["attacl", "reloptions", "polroles"];

/// What a call answers here; none where it is no business of ours.
pub(super) fn call(function: &Function) -> Option<Expr> {
    if let FunctionArguments::Subquery(query) = &function.args {
        let is_array = last(&function.name).0 == "array";
        let text = query.to_string();
        let is_empty = always_empty(query) || NEVER_SET.iter().any(|column| text.contains(column));
        return (is_array && is_empty).then(|| array(std::iter::empty()));
    }
    let (name, schema) = last(&function.name);
    let arguments = arguments(function);
    let first = || arguments.first().map(|it| (*it).clone());
    let literally = |value: &str| Some(text(value));
    let boolean = |value| Some(Expr::value(Value::Boolean(value)));
    let number = |value: &str| Some(Expr::value(Value::Number(value.to_owned(), false)));
    match name.as_str() {
        "version" => literally(&format!(
            "PostgreSQL {SERVER_VERSION} (Icecore {})",
            env!("CARGO_PKG_VERSION")
        )),
        "current_setting" => {
            let value = setting(literal(arguments.first()?)?);
            Some(value.map_or_else(|| Expr::value(Value::Null), text))
        }
        "current_database" | "current_catalog" => literally(catalog::DATABASE),
        "current_schema" => literally("public"),
        "current_schemas" => Some(array(["pg_catalog", "public"].into_iter())),
        "current_user" | "session_user" | "user" | "current_role" | "pg_get_userbyid" => {
            literally(catalog::OWNER)
        }
        "pg_encoding_to_char" | "pg_client_encoding" => literally("UTF8"),
        "quote_ident" => first(),
        "set_config" => arguments.get(1).map(|value| (*value).clone()),
        "parse_ident" => Some(array(literal(arguments.first()?)?.split('.').map(plain))),
        "to_regclass" => Some(catalog::number_of(literal(arguments.first()?)?)),
        "pg_backend_pid" | "pg_my_temp_schema" | "txid_current" => number("0"),
        "pg_char_to_encoding" => number("6"),
        "pg_get_viewdef" => Some(catalog::view_of(arguments.first()?)),
        "pg_is_in_recovery" => boolean(true),
        "pg_is_other_temp_schema" | "pg_index_is_exclusion" => boolean(false),
        name if UNKNOWN.contains(&name) => Some(Expr::value(Value::Null)),
        "format_type" => Some(catalog::format_type(arguments.first()?)),
        name if name.ends_with("_is_visible") => boolean(true),
        name if name.starts_with("has_") && name.ends_with("_privilege") => boolean(true),
        // Of the engine, under PostgreSQL's full name for it.
        _ if schema.as_deref() == Some(catalog::PG_CATALOG) => {
            let mut ours = function.clone();
            ours.name = ObjectName(vec![ours.name.0.last()?.clone()]);
            Some(Expr::Function(ours))
        }
        _ => None,
    }
}

fn plain(name: &str) -> &str {
    name.trim_matches('"')
}

fn array<'t>(items: impl Iterator<Item = &'t str>) -> Expr {
    Expr::Array(Array { elem: items.map(text).collect(), named: true })
}

fn arguments(function: &Function) -> Vec<&Expr> {
    let FunctionArguments::List(list) = &function.args else { return Vec::new() };
    let expr = |arg| match arg {
        &FunctionArg::Unnamed(FunctionArgExpr::Expr(ref expr)) => Some(expr),
        _ => None,
    };
    list.args.iter().filter_map(expr).collect()
}
