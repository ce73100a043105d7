//! A text that is being edited.
//!
//! Invariant: the cursor stands between two characters of the text.

/// A text of some lines, and where the cursor is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Buffer {
    text: String,
    at: usize,
}

impl Buffer {
    /// This text, the cursor behind it.
    pub(super) fn of(text: &str) -> Self {
        Self { text: text.to_owned(), at: text.len() }
    }

    /// All of it.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// What stands before the cursor.
    pub(super) fn before(&self) -> &str {
        self.text.get(..self.at).unwrap_or_default()
    }

    /// What stands behind it.
    pub(super) fn after(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Puts a text where the cursor is, which then stands behind it.
    pub(super) fn insert(&mut self, text: &str) {
        self.text.insert_str(self.at, text);
        self.at += text.len();
    }

    /// Puts a text in place of what stands between `from` and the cursor.
    pub(super) fn replace(&mut self, from: usize, text: &str) {
        if self.text.is_char_boundary(from) && from <= self.at {
            self.text.replace_range(from..self.at, text);
            self.at = from + text.len();
        }
    }

    /// One character to the left.
    pub(super) fn left(&mut self) {
        self.at -= self.before().chars().next_back().map_or(0, char::len_utf8);
    }

    /// One character to the right.
    pub(super) fn right(&mut self) {
        self.at += self.after().chars().next().map_or(0, char::len_utf8);
    }

    /// To the beginning of this word, or of the one before.
    pub(super) fn word_left(&mut self) {
        let before = self.before().trim_end_matches(|c| !is_word(c));
        self.at = before.trim_end_matches(is_word).len();
    }

    /// To the end of this word, or of the next.
    pub(super) fn word_right(&mut self) {
        let after = self.after().trim_start_matches(|c| !is_word(c)).trim_start_matches(is_word);
        self.at = self.text.len() - after.len();
    }

    /// To the beginning of this line.
    pub(super) fn home(&mut self) {
        self.at = self.before().rfind('\n').map_or(0, |at| at + 1);
    }

    /// To the end of this line.
    pub(super) fn end(&mut self) {
        self.at += self.after().find('\n').unwrap_or(self.after().len());
    }

    /// To the line above; false where there is none.
    pub(super) fn up(&mut self) -> bool {
        let before = self.before();
        let Some(line) = before.rfind('\n') else { return false };
        let column = before.chars().rev().take_while(|c| *c != '\n').count();
        self.at = line;
        self.home();
        self.forward(column);
        true
    }

    /// To the line below; false where there is none.
    pub(super) fn down(&mut self) -> bool {
        let column = self.before().chars().rev().take_while(|c| *c != '\n').count();
        let Some(line) = self.after().find('\n') else { return false };
        self.at += line + 1;
        self.forward(column);
        true
    }

    /// So many characters to the right, but not beyond this line.
    fn forward(&mut self, columns: usize) {
        let step = |c: char| c.len_utf8();
        let line = self.after().chars().take_while(|c| *c != '\n');
        self.at += line.take(columns).map(step).sum::<usize>();
    }

    /// Takes the character before the cursor away.
    pub(super) fn backspace(&mut self) {
        let end = self.at;
        self.left();
        self.text.replace_range(self.at..end, "");
    }

    /// Takes the character behind the cursor away.
    pub(super) fn delete(&mut self) {
        let end = self.at + self.after().chars().next().map_or(0, char::len_utf8);
        self.text.replace_range(self.at..end, "");
    }

    /// Takes away what `goes` passes over.
    pub(super) fn cut(&mut self, goes: fn(&mut Self)) {
        let from = self.at;
        goes(self);
        let (start, end) = (from.min(self.at), from.max(self.at));
        self.text.replace_range(start..end, "");
        self.at = start;
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: every movement and cut, from every place of a text with wide characters and lines.
    /// Guarantees: the cursor is always between two characters, and nothing but the cut is lost.
    #[test]
    fn the_cursor_stays_between_characters() {
        let text = "SELECT 'é日'\nFROM spans\n\nWHERE x_1 = 2;";
        let changes: [fn(&mut Buffer); 2] = [Buffer::backspace, Buffer::delete];
        let moves: [fn(&mut Buffer); 8] = [
            Buffer::left,
            Buffer::right,
            Buffer::word_left,
            Buffer::word_right,
            Buffer::home,
            Buffer::end,
            |buffer| {
                buffer.up();
            },
            |buffer| {
                buffer.down();
            },
        ];
        for (at, _) in text.char_indices().chain([(text.len(), ' ')]) {
            for goes in moves.into_iter().chain(changes) {
                let mut buffer = Buffer { text: text.to_owned(), at };
                goes(&mut buffer);
                assert!(buffer.text.is_char_boundary(buffer.at), "{buffer:?}");
                assert_eq!(format!("{}{}", buffer.before(), buffer.after()), buffer.text);
            }
            for goes in moves {
                let mut buffer = Buffer { text: text.to_owned(), at };
                buffer.cut(goes);
                assert!(buffer.text.len() <= text.len() && buffer.text.is_char_boundary(buffer.at));
            }
        }
    }

    /// Scenario: a statement typed, mended and cut.
    /// Guarantees: what editors do.
    #[test]
    fn a_text_is_edited() {
        let mut buffer = Buffer::of("SELECT nme\nFROM spans");
        assert!(buffer.up());
        assert_eq!(buffer.before(), "SELECT nme");
        buffer.left();
        buffer.left();
        buffer.insert("a");
        assert_eq!(buffer.text(), "SELECT name\nFROM spans");
        assert!(!buffer.up() && buffer.down() && !buffer.down());
        assert_eq!(buffer.before(), "SELECT name\nFROM span");
        buffer.cut(Buffer::home);
        assert_eq!((buffer.text(), buffer.after()), ("SELECT name\ns", "s"));
        buffer.cut(Buffer::word_left);
        assert_eq!(buffer.text(), "SELECT s");
        buffer.replace(0, "SHOW ");
        assert_eq!(buffer.text(), "SHOW s");
    }
}
