//! What a text that was cut ends with.
//!
//! Invariants: pure; where more of a text was sent, the word that it ends with is not told: it may be
//! the beginning of anything that a longer text would have given away, and no form is known of half a
//! word. A longer run than any word is not taken for one, and only its end goes.

use std::ops::Range;

/// What is taken from the end at most: longer than what stands before the host in a URL.
const WORD_BYTES_MAX: usize = 512;

/// Stands for what was not kept of a text.
const CUT: char = '\u{2026}';

/// The text says itself that it was cut.
pub(crate) fn says_so(text: &str) -> bool {
    text.ends_with(CUT)
}

/// The last word of the text, if it does not end with the end of one.
pub(super) fn last_word(text: &str) -> Option<Range<usize>> {
    let end = text.trim_end_matches(CUT).len();
    let text = text.get(..end)?;
    let from = text.ceil_char_boundary(end.saturating_sub(WORD_BYTES_MAX));
    let tail = text.get(from..)?;
    let padding = tail.trim_end_matches('=').len();
    let before = tail.get(..padding)?.rfind(ends_a_word);
    let word = before.map_or(0, |at| at + tail.get(at..).map_or(0, first_bytes));
    let word = from + word;
    let marks = text.get(word..)?.bytes().take_while(|byte| *byte == b':').count();
    (word + marks < end).then_some(word + marks..end)
}

fn first_bytes(text: &str) -> usize {
    text.chars().next().map_or(0, char::len_utf8)
}

fn ends_a_word(letter: char) -> bool {
    letter.is_whitespace() || "\"'<>&,;=(){}[]".contains(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: texts that end within a word, behind one, within what is encoded, and within a run that
    /// is no word.
    /// Guarantees: the word goes and nothing before it; of the run, the end.
    #[test]
    fn words_that_are_not_whole() {
        for (text, word) in [
            ("to ann@sho", "ann@sho"),
            ("postgres://ann:hun", "postgres://ann:hun"),
            ("a=1&b=ann", "ann"),
            (r#"{"n":4111"#, "4111"),
            ("x=dXNlcg==", "dXNlcg=="),
            ("select x from t where a = 12\u{2026}", "12"),
            ("id=\u{fc}b", "\u{fc}b"),
            // The mark may be the end of what is encoded.
            ("a=1&b=", "b="),
        ] {
            assert_eq!(last_word(text).and_then(|range| text.get(range)), Some(word), "{text}");
        }
        for text in ["", "a word ", r#"{"a":"b""#, "\"a\":"] {
            assert_eq!(last_word(text), None, "{text}");
        }
        let run = "x".repeat(2_000);
        assert_eq!(last_word(&run), Some(2_000 - WORD_BYTES_MAX..2_000));
        assert!(says_so("a\u{2026}") && !says_so("a"));
    }
}
