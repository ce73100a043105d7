//! Drawing what is edited, over as many rows of the terminal as it takes.
//!
//! Invariant: what was drawn before is gone, and the cursor stands where the text's is.

use unicode_width::UnicodeWidthChar as _;

/// Before the first line, and before the others.
pub(super) const PROMPT: &str = "icecore> ";
const MORE: &str = "      -> ";

/// The terminal, as far as it is drawn on.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// The row of the cursor below the first row of what is drawn.
    row: usize,
}

/// A place on the terminal, below and right of where drawing began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Place {
    row: usize,
    column: usize,
}

impl Screen {
    /// What to send to show `before`, the cursor, and `after`, on so many columns.
    pub(super) fn draw(&mut self, before: &str, after: &str, columns: usize) -> String {
        let mut out = self.gone();
        let mut at = Place::default();
        put(&mut out, PROMPT, columns, &mut at);
        put_lines(&mut out, before, columns, &mut at);
        let cursor = at;
        put_lines(&mut out, after, columns, &mut at);
        if at.row > cursor.row {
            out.push_str(&format!("\u{1b}[{}A", at.row - cursor.row));
        }
        out.push('\r');
        if cursor.column > 0 {
            out.push_str(&format!("\u{1b}[{}C", cursor.column));
        }
        self.row = cursor.row;
        out
    }

    /// What to send so that nothing is left of what was drawn.
    pub(super) fn gone(&mut self) -> String {
        let up = std::mem::take(&mut self.row);
        let up = if up > 0 { format!("\u{1b}[{up}A") } else { String::new() };
        format!("{up}\r\u{1b}[J")
    }
}

fn put_lines(out: &mut String, text: &str, columns: usize, at: &mut Place) {
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            out.push_str("\r\n");
            *at = Place { row: at.row + 1, column: 0 };
            put(out, MORE, columns, at);
        }
        put(out, line, columns, at);
    }
}

/// Rows are broken here and not by the terminal, which may wait with it until the next character.
fn put(out: &mut String, text: &str, columns: usize, at: &mut Place) {
    for c in text.chars() {
        let c = if c.is_control() { ' ' } else { c };
        let wide = c.width().unwrap_or(0);
        if at.column + wide > columns.max(2) - 1 {
            out.push_str("\r\n");
            *at = Place { row: at.row + 1, column: 0 };
        }
        out.push(c);
        at.column += wide;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: one line, several, one that is longer than the terminal, the cursor amid them.
    /// Guarantees: rows and columns of the cursor as a terminal counts them.
    #[test]
    fn the_cursor_is_where_the_text_says() {
        let check = |before: &str, after: &str, columns: usize, row: usize, column: usize| {
            let mut screen = Screen::default();
            let drawn = screen.draw(before, after, columns);
            assert!(drawn.ends_with(&format!("\r\u{1b}[{column}C")), "{drawn:?}");
            assert_eq!(screen.row, row, "{drawn:?}");
        };
        check("SELECT", " 1", 80, 0, 15);
        check("SELECT\nFROM", "", 80, 1, 13);
        check("SELECT", "\nFROM\nWHERE", 80, 0, 15);
        check("日本日本日本", "", 16, 1, 6);
        let mut screen = Screen::default();
        screen.draw("a\nb\nc", "", 80);
        assert!(screen.draw("a", "", 80).starts_with("\u{1b}[2A\r\u{1b}[J"));
    }
}
