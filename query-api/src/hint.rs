//! Errors of the engine in the words of whoever wrote the SQL.
//!
//! Invariant: a fault of the SQL is an [`Error::Sql`] that names what was written; a fault of ours
//! or of the store never is.

use datafusion::arrow::error::ArrowError;
use datafusion::common::{Column, DataFusionError, SchemaError};
use icecore_store::Table;

use crate::Error;

/// Names listed in a hint, at most.
const NAMES_MAX: usize = 40;

/// What an error of the engine means for the caller. `bytes_max` is the query's memory bound.
pub(crate) fn explain(error: DataFusionError, bytes_max: usize) -> Error {
    let (message, hint) = match error.find_root() {
        DataFusionError::SchemaError(schema, _) => schema_error(schema),
        DataFusionError::SQL(parser, _) => {
            let message = parser.to_string();
            let message = message.strip_prefix("sql parser error: ").unwrap_or(&message);
            (format!("cannot read the SQL: {message}"), None)
        }
        DataFusionError::ResourcesExhausted(_) => {
            return Error::MemoryLimit { bytes_max, source: Box::new(error) };
        }
        DataFusionError::External(source) if source.is::<icecore_store::Error>() => {
            return Error::Store { reason: source.to_string(), source: Box::new(error) };
        }
        root if is_the_querys(root) => plan_error(&text_of(root)),
        root => {
            let reason = text_of(root);
            return Error::Engine { reason, source: Box::new(error) };
        }
    };
    Error::Sql { message, hint }
}

/// Whether the SQL is to blame, not this program.
fn is_the_querys(root: &DataFusionError) -> bool {
    match root {
        DataFusionError::Plan(_)
        | DataFusionError::NotImplemented(_)
        | DataFusionError::Configuration(_)
        | DataFusionError::Execution(_) => true,
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
    line.replace("datafusion.public.", "")
}

fn plan_error(text: &str) -> (String, Option<String>) {
    let table = text.strip_prefix("table '").and_then(|rest| rest.strip_suffix("' not found"));
    let Some(table) = table else { return (text.to_owned(), None) };
    let names = Table::ALL.map(Table::name);
    let close = nearest(table, names.into_iter());
    let tables = format!("the tables are {}", names.join(", "));
    let hint = close.map_or(tables, |close| format!("did you mean `{close}`?"));
    (format!("there is no table `{table}`"), Some(hint))
}

fn schema_error(error: &SchemaError) -> (String, Option<String>) {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let message = format!("there is no column `{}`", field.flat_name());
            (message, Some(column_hint(field, valid_fields)))
        }
        SchemaError::AmbiguousReference { field } => {
            let name = field.flat_name();
            let hint = "write the table or its alias before the name".to_owned();
            (format!("`{name}` is a column of more than one table"), Some(hint))
        }
        other => (other.to_string(), Some("give one of them another name with AS".to_owned())),
    }
}

fn column_hint(field: &Column, valid: &[Column]) -> String {
    let name = field.flat_name();
    if let Some(close) = nearest(&field.name, valid.iter().map(|column| column.name.as_str())) {
        return format!("did you mean `{close}`?");
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

/// The name that is a slip of the pen away, where there is one.
fn nearest<'n>(wanted: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let wanted = wanted.to_lowercase();
    let slips_max = wanted.chars().count().div_ceil(3).min(4);
    let measured = names.map(|name| (distance(&wanted, &name.to_lowercase()), name));
    let (slips, name) = measured.min_by_key(|(slips, _)| *slips)?;
    (slips <= slips_max).then_some(name)
}

/// How many letters must be changed, put in or taken out.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (column, wanted) in other.iter().enumerate() {
            let change = diagonal + usize::from(letter != *wanted);
            diagonal = row[column + 1];
            row[column + 1] = change.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(field: Column, valid: &[&str], hint: &str) {
        let valid: Vec<_> = valid.iter().map(|name| Column::from_name(*name)).collect();
        let found = column_hint(&field, &valid);
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

    /// Scenario: a table that is misspelt and one that is nothing like any.
    /// Guarantees: the nearest, or all.
    #[test]
    fn tables_are_suggested() {
        let (message, hint) = plan_error("table 'span' not found");
        assert_eq!(message, "there is no table `span`");
        assert_eq!(hint.as_deref(), Some("did you mean `spans`?"));
        let (_, hint) = plan_error("table 'customers' not found");
        assert_eq!(hint.as_deref(), Some("the tables are spans, metrics, logs, profiles"));
    }

    /// Scenario: words at every distance.
    /// Guarantees: the count of changes.
    #[test]
    fn distances_count_changes() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
    }
}
