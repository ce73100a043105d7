//! Conditions on spans by their place in the trace: `child_of(condition)` and its like.
//!
//! Invariant: the condition is about the other span, and its columns are that span's. A relative is
//! found where it begins at most [`WITHIN`], or what a second argument says, before or after the
//! time that the query around it asks for.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType as SqlType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, Ident, ObjectNamePart, Select, TableFactor,
};

use super::{Error, Params, expr_of};

/// How far from the time that is asked for relatives are looked for.
const WITHIN: &str = "INTERVAL '1 hour'";

/// Tables and views whose rows are spans.
const OF_SPANS: [&str; 4] = ["spans", "requests", "db_calls", "errors"];

/// A word, and what the other span is to this one.
pub(super) const WORDS: [(&str, Relation); 6] = [
    ("child_of", Relation::Joined("{kin}.span_id = {self}.parent_span_id")),
    ("parent_of", Relation::Joined("{kin}.parent_span_id = {self}.span_id")),
    (
        "sibling_of",
        Relation::Joined(
            "{kin}.parent_span_id = {self}.parent_span_id AND {kin}.span_id <> {self}.span_id",
        ),
    ),
    ("in_trace_with", Relation::Joined("true")),
    ("descendant_of", Relation::Walked("descendants")),
    ("ancestor_of", Relation::Walked("ancestors")),
];

/// How the other span is found.
#[derive(Debug, Clone, Copy)]
pub(super) enum Relation {
    /// By its ids.
    Joined(&'static str),
    /// By a walk through the trace.
    Walked(&'static str),
}

const JOINED: &str = "EXISTS (SELECT 1 FROM spans AS {kin} WHERE {kin}.trace_id = {self}.trace_id \
    AND {on} AND $time AND $condition)";

const WALKED: &str = "EXISTS (SELECT 1 FROM (SELECT trace_id, \
    unnest(related_spans('{walk}', span_id, parent_span_id, found)) AS span_id FROM (\
    SELECT trace_id, span_id, parent_span_id, false AS found FROM spans WHERE $time \
    AND trace_id IN (SELECT trace_id FROM spans WHERE $time AND $condition) UNION ALL \
    SELECT trace_id, span_id, parent_span_id, true AS found FROM spans WHERE $time AND $condition\
    ) AS members GROUP BY trace_id) AS {kin} \
    WHERE {kin}.trace_id = {self}.trace_id AND {kin}.span_id = {self}.span_id)";

/// What a select says of its rows.
#[derive(Debug, Default)]
pub(super) struct Scope {
    /// The name of its spans.
    spans: Option<Ident>,
    /// Conditions on when they began: the operator, and the time on its right side.
    times: Vec<(BinaryOperator, Expr)>,
}

impl Scope {
    /// Of a select.
    pub(super) fn of(select: &Select) -> Self {
        let tables = select.from.iter().flat_map(|from| {
            std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation))
        });
        let tables: Vec<&TableFactor> = tables.collect();
        let of_spans = tables.iter().find_map(|table| name_of(table, true));
        let only = match tables.as_slice() {
            [only] => name_of(only, false),
            _ => None,
        };
        let mut times = Vec::new();
        if let Some(condition) = &select.selection {
            conditions_on_time(condition, &mut times);
        }
        Self { spans: of_spans.or(only), times }
    }

    /// The time within which relatives are looked for.
    fn time(&self, within: &Expr) -> Result<Expr, Error> {
        let mut all = expr_of("true", &Params::default())?;
        for (op, bound) in &self.times {
            let mut params = Params::default();
            params.put("bound", bound.clone());
            params.put("within", within.clone());
            let sign =
                if matches!(op, BinaryOperator::Gt | BinaryOperator::GtEq) { '-' } else { '+' };
            let sql = format!("start_time {op} CAST($bound AS TIMESTAMP) {sign} $within");
            let (left, right) = (Box::new(all), Box::new(expr_of(&sql, &params)?));
            all = Expr::BinaryOp { left, op: BinaryOperator::And, right };
        }
        Ok(Expr::Nested(Box::new(all)))
    }
}

/// Puts a condition on a relative into words of the engine.
pub(super) fn expand(
    expr: &mut Expr,
    scope: Option<&Scope>,
    count: &mut usize,
) -> Result<(), Error> {
    let Expr::Function(call) = expr else { return Ok(()) };
    let Some((word, relation)) = word_of(call) else { return Ok(()) };
    let (condition, within) = arguments(word, call)?;
    let Some(spans) = scope.and_then(|scope| scope.spans.as_ref()) else {
        let message = format!("`{word}()` does not know which spans it is about");
        let hint =
            format!("write it in the WHERE of `SELECT … FROM spans`, as in {word}(name = 'x')");
        return Err(Error::sql(message, hint));
    };
    let mut params = Params::default();
    let within = match within {
        Some(within) => within,
        None => expr_of(WITHIN, &Params::default())?,
    };
    params.put("time", scope.map(|scope| scope.time(&within)).transpose()?.unwrap_or(within));
    params.put("condition", Expr::Nested(Box::new(condition)));
    *count += 1;
    let template = match relation {
        Relation::Joined(on) => JOINED.replace("{on}", on),
        Relation::Walked(walk) => WALKED.replace("{walk}", walk),
    };
    let sql =
        template.replace("{self}", &spans.to_string()).replace("{kin}", &format!("kin_{count}"));
    *expr = expr_of(&sql, &params)?;
    Ok(())
}

fn word_of(call: &Function) -> Option<(&'static str, Relation)> {
    let [ObjectNamePart::Identifier(name)] = call.name.0.as_slice() else { return None };
    WORDS.into_iter().find(|(word, _)| name.value.eq_ignore_ascii_case(word))
}

/// The condition, and how far from the query's own time it may hold.
fn arguments(word: &str, call: &Function) -> Result<(Expr, Option<Expr>), Error> {
    let arguments = match &call.args {
        FunctionArguments::List(list) => list.args.as_slice(),
        _ => &[],
    };
    let expr = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    let given: Option<Vec<Expr>> = arguments.iter().map(expr).collect();
    match given.as_deref() {
        Some([condition]) => Ok((condition.clone(), None)),
        Some([condition, within]) => Ok((condition.clone(), Some(within.clone()))),
        _ => {
            let message = format!("`{word}()` takes a condition on the other span");
            let hint = format!("as in {word}(service_name = 'cart' AND status_code = 'ERROR')");
            Err(Error::sql(message, hint))
        }
    }
}

/// What a table is called in its select; with `spans`, only where its rows are spans.
fn name_of(table: &TableFactor, spans: bool) -> Option<Ident> {
    match table {
        TableFactor::Table { name, alias, .. } => {
            let last = name.0.last()?.as_ident()?;
            let fits = OF_SPANS.iter().any(|of_spans| last.value.eq_ignore_ascii_case(of_spans));
            let called = alias.as_ref().map_or(last, |alias| &alias.name);
            (fits || !spans).then(|| called.clone())
        }
        TableFactor::Derived { alias, .. } if !spans => {
            alias.as_ref().map(|alias| alias.name.clone())
        }
        _ => None,
    }
}

/// The conditions on `start_time` that hold for every row of a select.
fn conditions_on_time(condition: &Expr, found: &mut Vec<(BinaryOperator, Expr)>) {
    match condition {
        Expr::Nested(inner) => conditions_on_time(inner, found),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            conditions_on_time(left, found);
            conditions_on_time(right, found);
        }
        Expr::BinaryOp { left, op, right } => {
            if is_start_time(left) {
                found.extend(bound(op, right));
            } else if is_start_time(right) {
                found.extend(mirrored(op).and_then(|op| bound(&op, left)));
            }
        }
        Expr::Between { expr, negated: false, low, high } if is_start_time(expr) => {
            found.extend(bound(&BinaryOperator::GtEq, low));
            found.extend(bound(&BinaryOperator::LtEq, high));
        }
        _ => {}
    }
}

fn bound(op: &BinaryOperator, time: &Expr) -> Option<(BinaryOperator, Expr)> {
    use BinaryOperator::{Gt, GtEq, Lt, LtEq};
    (matches!(op, Gt | GtEq | Lt | LtEq) && is_constant(time)).then(|| (op.clone(), time.clone()))
}

fn mirrored(op: &BinaryOperator) -> Option<BinaryOperator> {
    Some(match op {
        BinaryOperator::Gt => BinaryOperator::Lt,
        BinaryOperator::GtEq => BinaryOperator::LtEq,
        BinaryOperator::Lt => BinaryOperator::Gt,
        BinaryOperator::LtEq => BinaryOperator::GtEq,
        _ => return None,
    })
}

fn is_start_time(expr: &Expr) -> bool {
    let name = match expr {
        Expr::Identifier(name) => Some(name),
        Expr::CompoundIdentifier(names) => names.last(),
        _ => None,
    };
    name.is_some_and(|name| name.value.eq_ignore_ascii_case("start_time"))
}

/// Whether an expression is the same for every row.
fn is_constant(expr: &Expr) -> bool {
    match expr {
        Expr::Value(_) | Expr::TypedString(_) | Expr::Interval(_) => true,
        Expr::Nested(inner) | Expr::UnaryOp { expr: inner, .. } => is_constant(inner),
        Expr::Cast { expr, data_type, .. } => {
            matches!(data_type, SqlType::Timestamp(..)) && is_constant(expr)
        }
        Expr::BinaryOp { left, right, .. } => is_constant(left) && is_constant(right),
        Expr::Function(call) => {
            let name = call.name.to_string().to_ascii_lowercase();
            name == "now" || (name.starts_with("to_timestamp") && constant_arguments(call))
        }
        _ => false,
    }
}

fn constant_arguments(call: &Function) -> bool {
    let FunctionArguments::List(list) = &call.args else { return false };
    list.args.iter().all(|argument| {
        matches!(argument, FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) if is_constant(expr))
    })
}
