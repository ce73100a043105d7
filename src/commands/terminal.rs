//! What standard output and standard error are, and text that is safe on them.

use std::io::IsTerminal as _;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Columns assumed where a terminal does not say how many it has.
const COLUMNS_ASSUMED: usize = 80;

/// The columns of the terminal that standard output is; `None` where it is none.
pub(super) fn columns() -> Option<usize> {
    let out = std::io::stdout();
    if !out.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&out).ok();
    let columns = size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
    Some(columns.unwrap_or(COLUMNS_ASSUMED))
}

/// Whether what is written to standard error is seen as it comes, and does not mix with an answer
/// that the same terminal shows piece by piece.
pub(super) fn shows_progress(answer_is_shown: bool) -> bool {
    std::io::stderr().is_terminal() && !(answer_is_shown && std::io::stdout().is_terminal())
}

/// A text that cannot steer the terminal: whoever is observed chose it. Lines stay lines.
pub(super) fn printable(text: &str) -> String {
    escaped(text, |c| is_control(c) && c != '\n')
}

/// The same on one line.
pub(super) fn one_line(text: &str) -> String {
    escaped(text, is_control)
}

/// Also what turns text around without being a control character.
fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escaped(text: &str, is_bad: impl Fn(char) -> bool) -> String {
    if !text.contains(&is_bad) {
        return text.to_owned();
    }
    let escape = |c: char| if is_bad(c) { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
}

/// The columns that a text takes.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// The text in at most so many columns; an ellipsis says that there was more.
pub(super) fn shortened(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut short = String::new();
    let mut left = columns.saturating_sub(1);
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if wide > left {
            break;
        }
        left -= wide;
        short.push(c);
    }
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: texts with escapes, direction marks, lines; wide characters that are cut.
    /// Guarantees: nothing steers the terminal; what is cut fits and says so.
    #[test]
    fn texts_fit_and_do_not_steer() {
        assert_eq!(printable("a\u{1b}[31m\nb"), "a\\u{1b}[31m\nb");
        assert_eq!(one_line("a\nb\u{202e}c"), "a\\nb\\u{202e}c");
        assert_eq!(shortened("short", 5), "short");
        assert_eq!(shortened("longer", 5), "long…");
        let wide = shortened("日本語日本語", 6);
        assert_eq!((wide.as_str(), width(&wide)), ("日本…", 5));
    }
}
