//! Errors as PostgreSQL's clients know them: a code of five letters, a text, a hint and a place.
//!
//! Invariant: every kind of error has one code, and the place is one of the text that the client
//! wrote.

use super::wire::Fault;
use crate::hint::Place;
use crate::http::log;
use crate::{Error, ErrorKind};

/// With this code and these words, and no more.
pub(super) fn fault(code: &'static str, message: String) -> Fault {
    Fault { code, message, hint: String::new(), position: None }
}

/// An error of a query, whose text was `sql` where the client wrote it so. It is told here, and so
/// it is logged here.
pub(super) fn of_error(error: &Error, sql: Option<&str>) -> Fault {
    log(error);
    Fault {
        code: code(error),
        message: error.to_string(),
        hint: error.hint(),
        position: sql.and_then(|sql| position(error.place()?, sql)),
    }
}

fn code(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::Invalid => code_of_text(&error.to_string()),
        // A transaction that only reads.
        ErrorKind::Refused => "25006",
        ErrorKind::NotFound => "02000",
        ErrorKind::Busy => "53300",
        ErrorKind::MemoryLimit => "53200",
        ErrorKind::SpillLimit | ErrorKind::SpillFull => "53100",
        ErrorKind::ScanLimit | ErrorKind::RowLimit => "54000",
        ErrorKind::TimeLimit | ErrorKind::Cancelled => "57014",
        ErrorKind::Unavailable => "58030",
        ErrorKind::Internal => "XX000",
    }
}

/// Clients tell what is not there from what cannot be read.
fn code_of_text(text: &str) -> &'static str {
    const CODES: [(&str, &str); 7] = [
        ("there is no column", "42703"),
        ("there is no table", "42P01"),
        ("there is no function", "42883"),
        ("is a column of more than one table", "42702"),
        ("cannot read the SQL", "42601"),
        ("GROUP BY", "42803"),
        ("ivide by zero", "22012"),
    ];
    let known = CODES.iter().find(|(words, _)| text.contains(words));
    known.map_or("42000", |(_, code)| code)
}

/// The character of a text, from one on, that stands at a place.
fn position(place: Place, sql: &str) -> Option<usize> {
    let line = usize::try_from(place.line).ok()?.checked_sub(1)?;
    let before: usize = sql.split('\n').take(line).map(|line| line.chars().count() + 1).sum();
    before.checked_add(usize::try_from(place.column).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: faults of the SQL on the second line of a text with letters of several bytes.
    /// Guarantees: the code that drivers know them by, our hint, and the place counted in characters.
    #[test]
    fn faults_have_code_hint_and_place() {
        let at = Some(Place { line: 2, column: 3 });
        let message = "there is no column `x`".to_owned();
        let error = Error::Sql { message, hint: Some("did you mean `y`?".to_owned()), at };
        let told = of_error(&error, Some("SELECT 'é',\n  x"));
        assert_eq!((told.code, told.position), ("42703", Some(15)));
        assert_eq!(told.hint, "did you mean `y`?");
        assert_eq!(of_error(&error, None).position, None);
        assert_eq!(of_error(&Error::Cancelled, None).code, "57014");
    }
}
