//! Table functions: `FROM trace('…')` is a query of ours, with the arguments put in.

use datafusion::sql::sqlparser::ast::{
    DataType as SqlType, Expr, FunctionArg, FunctionArgExpr, Ident, TableAlias, TableFactor,
    TimezoneInfo, TypedString, Value,
};
use icecore_store::{TraceId, UnixNanos, parse_when};

use super::{Params, expr_of, query_of};
use crate::Error;

/// A function that stands where a table stands.
#[derive(Debug)]
pub(crate) struct TableFunction {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it takes, in order.
    pub(crate) parameters: &'static [Parameter],
    /// The query behind it.
    sql: &'static str,
}

/// What a table function takes.
#[derive(Debug)]
pub(crate) struct Parameter {
    name: &'static str,
    /// SQL for where it is left out; none where it cannot be.
    default: Option<&'static str>,
}

const fn needed(name: &'static str) -> Parameter {
    Parameter { name, default: None }
}

const fn or(name: &'static str, default: &'static str) -> Parameter {
    Parameter { name, default: Some(default) }
}

/// Names of parameters that are points in time, and may be written like `15m`.
const TIMES: [&str; 2] = ["from", "to"];

/// The name of parameters that are a trace.
const TRACE: &str = "id";

/// All of them.
pub(crate) const TABLE_FUNCTIONS: [TableFunction; 7] = [
    TableFunction {
        name: "spans_of_trace",
        parameters: &[needed("id")],
        sql: include_str!("sql/spans_of_trace.sql"),
    },
    TableFunction {
        name: "trace",
        parameters: &[needed("id")],
        sql: include_str!("sql/trace.sql"),
    },
    TableFunction {
        name: "whole_trace",
        parameters: &[needed("id"), needed("from"), or("to", "now()")],
        sql: include_str!("sql/whole_trace.sql"),
    },
    TableFunction {
        name: "critical_path",
        parameters: &[needed("id")],
        sql: include_str!("sql/critical_path.sql"),
    },
    TableFunction {
        name: "service_edges",
        parameters: &[needed("from"), or("to", "now()"), or("within", "INTERVAL '1 hour'")],
        sql: include_str!("sql/service_edges.sql"),
    },
    TableFunction {
        name: "increases",
        parameters: &[
            needed("metric"),
            needed("from"),
            or("to", "now()"),
            or("lookback", "INTERVAL '10 minutes'"),
        ],
        sql: include_str!("sql/increases.sql"),
    },
    TableFunction {
        name: "flamegraph",
        parameters: &[
            needed("from"),
            or("to", "now()"),
            or("service", "NULL"),
            or("sample_type", "NULL"),
            or("trace_id", "NULL"),
            or("span_id", "NULL"),
        ],
        sql: include_str!("sql/flamegraph.sql"),
    },
];

impl TableFunction {
    /// As it is written.
    fn usage(&self) -> String {
        let parameters: Vec<String> = self
            .parameters
            .iter()
            .map(|one| match one.default {
                Some(default) => format!("{} => {default}", one.name),
                None => one.name.to_owned(),
            })
            .collect();
        format!("{}({})", self.name, parameters.join(", "))
    }

    fn fault(&self, message: &str) -> Error {
        let hint = format!("it is called as {}", self.usage());
        Error::sql(format!("`{}()` {message}", self.name), hint)
    }

    /// A trace id must be there as such: the query behind asks for it in several places.
    fn trace(&self, value: Expr) -> Result<Expr, Error> {
        let Some(text) = literal(&value) else {
            return Err(self.fault(&format!("takes a trace id as text, not `{value}`")));
        };
        let parsed = text.parse::<TraceId>();
        parsed.map_err(|error| self.fault(&format!("takes a trace id: {error}")))?;
        Ok(value)
    }

    /// The arguments by the names of the parameters.
    fn arguments(&self, given: Vec<FunctionArg>, now: UnixNanos) -> Result<Params, Error> {
        let mut values: Vec<Option<Expr>> = self.parameters.iter().map(|_| None).collect();
        for (at, argument) in given.into_iter().enumerate() {
            let (at, value) = match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => (Some(at), value),
                FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. } => {
                    let known = |one: &Parameter| one.name.eq_ignore_ascii_case(&name.value);
                    (self.parameters.iter().position(known), value)
                }
                other => return Err(self.fault(&format!("does not take `{other}`"))),
            };
            let Some(place) = at.and_then(|at| values.get_mut(at)) else {
                return Err(self.fault("has no such argument"));
            };
            *place = Some(value);
        }
        let mut params = Params::default();
        for (parameter, value) in self.parameters.iter().zip(values) {
            let value = match (value, parameter.default) {
                (Some(value), _) => value,
                (None, Some(default)) => expr_of(default, &Params::default())?,
                (None, None) => {
                    return Err(self.fault(&format!("needs `{}`", parameter.name)));
                }
            };
            let value = match parameter.name {
                name if TIMES.contains(&name) => time(value, now)?,
                TRACE => self.trace(value)?,
                _ => value,
            };
            params.put(parameter.name, value);
        }
        Ok(params)
    }
}

/// Puts the query of a table function in its place.
pub(super) fn expand(factor: &mut TableFactor, now: UnixNanos) -> Result<(), Error> {
    let TableFactor::Table { name, alias, args: Some(arguments), .. } = factor else {
        return Ok(());
    };
    let [name] = name.0.as_slice() else { return Ok(()) };
    let Some(name) = name.as_ident() else { return Ok(()) };
    let function = TABLE_FUNCTIONS.iter().find(|one| name.value.eq_ignore_ascii_case(one.name));
    let Some(function) = function else { return Ok(()) };
    let params = function.arguments(std::mem::take(&mut arguments.args), now)?;
    let alias = alias.take().unwrap_or_else(|| TableAlias {
        explicit: true,
        name: Ident::new(function.name),
        columns: Vec::new(),
        at: None,
    });
    let subquery = query_of(function.sql, &params)?;
    *factor = TableFactor::Derived { lateral: false, subquery, alias: Some(alias), sample: None };
    Ok(())
}

/// A text that is a point in time as such; anything else as it is.
fn time(value: Expr, now: UnixNanos) -> Result<Expr, Error> {
    let Some(text) = literal(&value) else { return Ok(value) };
    let instant = parse_when(text, now).map_err(|error| Error::Sql {
        message: error.to_string(),
        hint: None,
        at: None,
    })?;
    Ok(time_literal(instant))
}

/// The text that an argument is; none where it is anything else.
fn literal(value: &Expr) -> Option<&str> {
    let Expr::Value(inner) = value else { return None };
    let Value::SingleQuotedString(text) = &inner.value else { return None };
    Some(text)
}

/// A point in time as SQL would write it.
pub(crate) fn time_literal(time: UnixNanos) -> Expr {
    let text = chrono::DateTime::from_timestamp_nanos(time.0)
        .to_rfc3339_opts(chrono::SecondsFormat::Nanos, true);
    Expr::TypedString(TypedString {
        data_type: SqlType::Timestamp(None, TimezoneInfo::None),
        value: Value::SingleQuotedString(text).into(),
        uses_odbc_syntax: false,
    })
}
