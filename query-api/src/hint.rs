//! Errors of the engine in the words of whoever wrote the SQL.
//!
//! Invariant: a fault of the SQL is an [`Error::Sql`] that names what was written; a fault of ours
//! or of the store never is.

mod nearest;
mod place;

use datafusion::arrow::error::ArrowError;
use datafusion::common::{Column, DataFusionError, SchemaError};
use icecore_store::Table;
use icecore_store::schema::MapColumn;

pub(crate) use self::nearest::nearest;
pub use self::place::Place;
use self::place::{cut_off, end_of, named_by};
use crate::Error;
use crate::expand::TABLE_FUNCTIONS;
use crate::views::VIEWS;

/// Names listed in a hint, at most.
const NAMES_MAX: usize = 40;
/// Functions that are mostly meant where a rarer one is as near.
const OFTEN_MEANT: [&str; 12] = [
    "count",
    "sum",
    "avg",
    "min",
    "max",
    "coalesce",
    "date_bin",
    "date_trunc",
    "length",
    "lower",
    "now",
    "round",
];

/// What is known of a query that failed.
#[derive(Default)]
pub(crate) struct Asked<'q> {
    /// Its text.
    pub(crate) sql: &'q str,
    /// The query's memory bound.
    pub(crate) bytes_max: usize,
    /// The keys that the rows of its tables have.
    pub(crate) keys: Option<&'q (dyn Fn() -> Vec<(MapColumn, String)> + Sync)>,
}

/// What an error of the engine means for the caller.
pub(crate) fn explain(error: DataFusionError, asked: &Asked<'_>) -> Error {
    let mut at = named_by(&error, asked.sql);
    let (message, hint) = match error.find_root() {
        DataFusionError::SchemaError(schema, _) => schema_error(schema, asked),
        DataFusionError::SQL(parser, _) => {
            let message = parser.to_string();
            let message = message.strip_prefix("sql parser error: ").unwrap_or(&message);
            let (message, place) = cut_off(message);
            at = place
                .or_else(|| message.ends_with("found: EOF").then(|| end_of(asked.sql)).flatten());
            (format!("cannot read the SQL: {message}"), None)
        }
        DataFusionError::ResourcesExhausted(_) => {
            return Error::MemoryLimit { bytes_max: asked.bytes_max, source: Box::new(error) };
        }
        DataFusionError::External(source) if source.is::<icecore_store::Error>() => {
            return Error::Store { reason: source.to_string(), source: Box::new(error) };
        }
        root if is_the_querys(root) => plan_error(root, asked),
        root => {
            let reason = text_of(root);
            return Error::Engine { reason, source: Box::new(error) };
        }
    };
    Error::Sql { message, hint, at }
}

/// Whether the SQL is to blame, not this program.
fn is_the_querys(root: &DataFusionError) -> bool {
    match root {
        DataFusionError::Plan(_)
        | DataFusionError::NotImplemented(_)
        | DataFusionError::Configuration(_)
        | DataFusionError::Execution(_) => true,
        // Of types that cannot be compared, where the engine did not expect it.
        DataFusionError::Internal(text) => text.contains("coerce types"),
        DataFusionError::ArrowError(arrow, _) => matches!(
            arrow.as_ref(),
            ArrowError::DivideByZero
                | ArrowError::CastError(_)
                | ArrowError::ParseError(_)
                | ArrowError::ComputeError(_)
                | ArrowError::InvalidArgumentError(_)
                | ArrowError::ArithmeticOverflow(_)
        ),
        _ => false,
    }
}

/// The first line of an error, without the engine's name for its kind.
fn text_of(root: &DataFusionError) -> String {
    let text = root.strip_backtrace();
    let line = text.lines().next().unwrap_or_default();
    let kinds =
        ["Error during planning: ", "Execution error: ", "Arrow error: ", "Internal error: "];
    let line = kinds.iter().find_map(|kind| line.strip_prefix(kind)).unwrap_or(line);
    // What follows shows how the engine has it in memory.
    let inside = ["expr: Identifier(", "logical expression OuterReferenceColumn("];
    let end = inside.iter().filter_map(|begin| Some(line.find(begin)? + begin.len() - 1)).min();
    let line = end.and_then(|end| line.get(..end)).unwrap_or(line);
    line.replace("datafusion.public.", "")
}

fn plan_error(root: &DataFusionError, asked: &Asked<'_>) -> (String, Option<String>) {
    let whole = root.strip_backtrace();
    let text = text_of(root);
    if let Some(table) =
        text.strip_prefix("table '").and_then(|rest| rest.strip_suffix("' not found"))
    {
        return no_table(table);
    }
    if let Some(name) =
        text.strip_prefix("Invalid function '").and_then(|rest| rest.split('\'').next())
    {
        return no_function(name, &whole);
    }
    let is_no_table_function = ["table function", "Table function", "Table Function"];
    if is_no_table_function.iter().any(|words| text.contains(words)) {
        let names = TABLE_FUNCTIONS.iter().map(|function| function.name).collect::<Vec<_>>();
        return (text, Some(format!("the table functions are {}", names.join(", "))));
    }
    let hint = asked.keys.and_then(|_| hint_of(&text));
    (text, hint)
}

/// What helps with faults that are often made.
fn hint_of(text: &str) -> Option<String> {
    let in_group =
        text.contains("must be in GROUP BY") || text.contains("must appear in the GROUP BY");
    let hint = if in_group {
        "name it in GROUP BY, or take max() or any_value() of it"
    } else if text.contains("to satisfy a call to") || text.contains("arguments but received") {
        "`SHOW FUNCTIONS` lists the arguments that functions take"
    } else if text.contains("OuterReferenceColumn") {
        "a list is unfolded in the SELECT: SELECT e['name'] FROM (SELECT unnest(events) AS e FROM spans)"
    } else if text.contains("Error parsing timestamp")
        || (text.contains("Timestamp") && text.contains("Utf8"))
    {
        "a time is written TIMESTAMP '2026-11-25T18:00:00Z', or now() - INTERVAL '15 minutes'"
    } else if text.contains("Cannot access field") || text.contains("Operator ->") {
        "a key of a map is written attributes['http.route'], or resource['k8s.pod.name']"
    } else if text.contains("would make more than") {
        "ask for less in one row, or for fewer rows"
    } else if text.contains("Dot access") {
        "a part of a struct is written events[1]['name']"
    } else if text.contains("FETCH clause") {
        "LIMIT says how many rows are wanted"
    } else if text.contains("Divide by zero") {
        "nullif(x, 0) makes a division by 0 null"
    } else {
        return None;
    };
    Some(hint.to_owned())
}

fn no_table(table: &str) -> (String, Option<String>) {
    let tables = Table::ALL.map(Table::name).into_iter();
    let names: Vec<&str> = tables.chain(VIEWS.iter().map(|view| view.name)).collect();
    let functions = TABLE_FUNCTIONS.iter().map(|function| function.name);
    let hint = match nearest(table, names.iter().copied().chain(functions)) {
        Some(close) => format!("did you mean `{close}`?"),
        None => format!("the tables are {}", names.join(", ")),
    };
    (format!("there is no table `{table}`"), Some(hint))
}

/// What functions of other databases are here.
const ELSEWHERE: [(&str, &str); 18] = [
    ("uniq", "approx_distinct(x), or count(DISTINCT x) for the exact number"),
    ("uniqExact", "count(DISTINCT x)"),
    ("countIf", "count(*) FILTER (WHERE condition)"),
    ("sumIf", "sum(x) FILTER (WHERE condition)"),
    ("avgIf", "avg(x) FILTER (WHERE condition)"),
    ("quantile", "approx_percentile_cont(x, 0.99)"),
    ("quantiles", "approx_percentile_cont(x, 0.99), once for each"),
    ("percentile", "approx_percentile_cont(x, 0.99)"),
    ("toStartOfMinute", "date_trunc('minute', time)"),
    ("toStartOfHour", "date_trunc('hour', time)"),
    ("toStartOfInterval", "date_bin(INTERVAL '5 minutes', time)"),
    ("time_bucket", "date_bin(INTERVAL '5 minutes', time)"),
    ("toString", "CAST(x AS VARCHAR)"),
    ("formatDateTime", "to_char(time, '%H:%M')"),
    ("argMax", "first_value(x ORDER BY y DESC)"),
    ("groupArray", "array_agg(x)"),
    ("any", "first_value(x)"),
    ("if", "CASE WHEN condition THEN a ELSE b END"),
];

/// The engine names the function that is nearest, however far that is.
fn no_function(name: &str, whole: &str) -> (String, Option<String>) {
    if let Some((_, here)) =
        ELSEWHERE.into_iter().find(|(there, _)| there.eq_ignore_ascii_case(name))
    {
        return (format!("there is no function `{name}`"), Some(format!("write {here}")));
    }
    let offered = whole.split("Did you mean '").nth(1).and_then(|rest| rest.split('\'').next());
    let mut words: Vec<&str> = crate::expand::words().collect();
    words.extend(OFTEN_MEANT.into_iter().chain(offered));
    let hint = nearest(name, words.into_iter()).map(|close| format!("did you mean `{close}`?"));
    let hint = hint.unwrap_or_else(|| "`SHOW FUNCTIONS` lists them".to_owned());
    (format!("there is no function `{name}`"), Some(hint))
}

fn schema_error(error: &SchemaError, asked: &Asked<'_>) -> (String, Option<String>) {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let message = format!("there is no column `{}`", field.flat_name());
            (message, Some(column_hint(field, valid_fields, asked)))
        }
        SchemaError::AmbiguousReference { field } => {
            let name = field.flat_name();
            let hint = "write the table or its alias before the name".to_owned();
            (format!("`{name}` is a column of more than one table"), Some(hint))
        }
        other => (other.to_string(), Some("give one of them another name with AS".to_owned())),
    }
}

fn column_hint(field: &Column, valid: &[Column], asked: &Asked<'_>) -> String {
    let name = field.flat_name();
    if let Some(close) = nearest(&field.name, valid.iter().map(|column| column.name.as_str())) {
        return format!("did you mean `{close}`?");
    }
    let keys = asked.keys.map(|keys| keys()).unwrap_or_default();
    if let Some((map, key)) = nearest_key(&name, &keys) {
        return format!("did you mean {}['{key}']?", map.name());
    }
    if name.contains([' ', '/', ':']) {
        return format!("a text is written in single quotes: '{name}'");
    }
    if field.relation.is_some() {
        return format!("an attribute is asked for as attributes['{name}']");
    }
    if valid.is_empty() {
        return "say where it is from, as in `FROM spans`".to_owned();
    }
    let mut names: Vec<_> = valid.iter().map(|column| column.name.as_str()).collect();
    names.dedup();
    let more = if names.len() > NAMES_MAX { ", …" } else { "" };
    names.truncate(NAMES_MAX);
    format!("the columns here are {}{more}", names.join(", "))
}

/// The key that was meant by a name such as `http_route`.
fn nearest_key<'k>(name: &str, keys: &'k [(MapColumn, String)]) -> Option<(MapColumn, &'k str)> {
    let plain = |text: &str| text.to_lowercase().replace('_', ".");
    let wanted = plain(name);
    let exact = keys.iter().find(|(_, key)| plain(key) == wanted);
    let found = exact.or_else(|| {
        let close = nearest(name, keys.iter().map(|(_, key)| key.as_str()))?;
        keys.iter().find(|(_, key)| key == close)
    });
    found.map(|(map, key)| (*map, key.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(field: Column, valid: &[&str], hint: &str) {
        let valid: Vec<_> = valid.iter().map(|name| Column::from_name(*name)).collect();
        let found = column_hint(&field, &valid, &Asked::default());
        assert!(found.contains(hint), "{found}");
    }

    /// Scenario: columns that do not exist, for each of the usual reasons.
    /// Guarantees: the hint says what was likely meant.
    #[test]
    fn hints_say_what_was_meant() {
        let columns = ["service_name", "start_time", "duration_ns"];
        check(Column::from_name("servce_name"), &columns, "`service_name`");
        check(Column::from_name("Duration_NS"), &columns, "`duration_ns`");
        check(Column::from_name("GET /cart"), &columns, "'GET /cart'");
        check(Column::new(Some("http"), "route"), &columns, "attributes['http.route']");
        check(Column::from_name("zebra_crossing"), &columns, "service_name, start_time");
        check(Column::from_name("service_name"), &[], "FROM spans");
    }

    /// Scenario: names that are nearly keys of attributes.
    /// Guarantees: the map and the key as they are written.
    #[test]
    fn keys_are_suggested() {
        let keys = || {
            vec![
                (MapColumn::Attributes, "http.route".to_owned()),
                (MapColumn::Resource, "k8s.pod.name".to_owned()),
            ]
        };
        let asked = Asked { keys: Some(&keys), ..Asked::default() };
        let hint = |name: &str| column_hint(&Column::from_name(name), &[], &asked);
        assert_eq!(hint("http_route"), "did you mean attributes['http.route']?");
        assert_eq!(hint("http.rout"), "did you mean attributes['http.route']?");
        assert_eq!(hint("K8s_Pod_Name"), "did you mean resource['k8s.pod.name']?");
    }

    /// Scenario: a table that is misspelt and one that is nothing like any.
    /// Guarantees: the nearest, or all.
    #[test]
    fn tables_are_suggested() {
        let plan =
            |text: &str| plan_error(&DataFusionError::Plan(text.to_owned()), &Asked::default());
        let (message, hint) = plan("table 'span' not found");
        assert_eq!(message, "there is no table `span`");
        assert_eq!(hint.as_deref(), Some("did you mean `spans`?"));
        let (_, hint) = plan("table 'customers' not found");
        assert!(hint.unwrap().starts_with("the tables are spans, metrics, logs, profiles, "));
        let (message, hint) = plan("Invalid function 'chld_of'.\nDid you mean 'chr'?");
        assert_eq!(message, "there is no function `chld_of`");
        assert_eq!(hint.as_deref(), Some("did you mean `child_of`?"));
        let (message, _) =
            plan("Dot access not supported for non-string expr: Identifier(Ident { x })");
        assert_eq!(message, "Dot access not supported for non-string expr: Identifier");
        let (_, hint) = plan("Invalid function 'cout'.\nDid you mean 'cot'?");
        assert_eq!(hint.as_deref(), Some("did you mean `count`?"));
        let (message, hint) = plan("Invalid function 'uniq'.\nDid you mean 'uuid'?");
        assert_eq!(message, "there is no function `uniq`");
        assert!(hint.unwrap().contains("approx_distinct(x)"));
    }
}
