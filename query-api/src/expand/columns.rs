//! `rate()`, `increase()` and `histogram_quantile(0.99)` over `metrics`: the columns that make a
//! data point what it is go without saying.

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
};

use super::{Params, expr_of};

/// What tells one series of a metric from another.
const SERIES: &str = "series(metric_name, resource, attributes, scope_name, scope_version)";

/// Gives a call of ours that names no columns those that it is about.
pub(super) fn complete(expr: &mut Expr) {
    let Expr::Function(call) = expr else { return };
    let [name] = call.name.0.as_slice() else { return };
    let Some(name) = name.as_ident().map(Ident::to_string) else { return };
    let name = name.to_ascii_lowercase();
    let FunctionArguments::List(list) = &call.args else { return };
    let columns: &[&str] = match (name.as_str(), list.args.len()) {
        ("rate" | "increase", 0) => &crate::functions::increase::COLUMNS,
        ("histogram_quantile", 1) => &crate::functions::histogram::COLUMNS,
        _ => return,
    };
    add(call, columns);
}

fn add(call: &mut Function, columns: &[&str]) {
    let FunctionArguments::List(list) = &mut call.args else { return };
    for column in columns {
        let column = match *column {
            "series" => expr_of(SERIES, &Params::default()).ok(),
            name => Some(Expr::Identifier(Ident::new(name))),
        };
        let argument = column.map(|column| FunctionArg::Unnamed(FunctionArgExpr::Expr(column)));
        list.args.extend(argument);
    }
}
