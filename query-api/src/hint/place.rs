//! Where in the SQL a fault is.

use datafusion::common::DataFusionError;

/// A place in the text of a query; both count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: u64,
    /// The column.
    pub column: u64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, " at line {}, column {}", self.line, self.column)
    }
}

/// The place that the engine names, where `sql` has there what was written by the caller: SQL of
/// ours that came in place of a word has places of its own, which tell nobody anything.
pub(super) fn named_by(error: &DataFusionError, sql: &str) -> Option<Place> {
    let diagnostic = error.diagnostic()?;
    let notes = diagnostic.notes.iter().map(|note| note.span);
    let span = std::iter::once(diagnostic.span).chain(notes).flatten().next()?;
    let place = Place { line: span.start.line, column: span.start.column };
    let line = sql.lines().nth(usize::try_from(place.line.checked_sub(1)?).ok()?)?;
    let skipped = usize::try_from(place.column.checked_sub(1)?).ok()?;
    let here: String = line
        .chars()
        .skip(skipped)
        .take_while(|c| c.is_alphanumeric() || *c == '_' || *c == '"')
        .collect();
    let named = here.trim_matches('"').to_lowercase();
    let message = diagnostic.message.to_lowercase();
    let is_named = !named.is_empty() && message.contains(&named);
    (is_named || !message.contains("not found")).then_some(place)
}

/// Where a text ends.
pub(super) fn end_of(sql: &str) -> Option<Place> {
    let (before, last) = sql.rsplit_once('\n').map_or(("", sql), |(_, last)| (sql, last));
    let lines = before.matches('\n').count() as u64;
    Some(Place { line: lines + 1, column: last.chars().count() as u64 + 1 })
}

/// The text of the parser without the place at its end, and that place.
pub(super) fn cut_off(message: &str) -> (&str, Option<Place>) {
    let found = message.rsplit_once(" at Line: ").and_then(|(text, place)| {
        let (line, column) = place.split_once(", Column: ")?;
        let place = Place { line: line.parse().ok()?, column: column.trim().parse().ok()? };
        Some((text, Some(place)))
    });
    found.unwrap_or((message, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: texts of the parser with and without a place.
    /// Guarantees: the place is taken off, and nothing else.
    #[test]
    fn places_are_cut_off() {
        let place = Some(Place { line: 2, column: 30 });
        assert_eq!(
            cut_off("Expected: x, found: EOF at Line: 2, Column: 30"),
            ("Expected: x, found: EOF", place)
        );
        assert_eq!(cut_off("Expected: x, found: EOF"), ("Expected: x, found: EOF", None));
        assert_eq!(end_of("SELECT\n a"), Some(Place { line: 2, column: 3 }));
        assert_eq!(end_of(""), Some(Place { line: 1, column: 1 }));
    }
}
