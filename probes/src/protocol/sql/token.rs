//! Cuts SQL into words, literals and what is between them.
//!
//! Invariant: every character is in exactly one token, in order; a literal that does not end runs to
//! the end of the text.

use super::Dialect;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Space,
    Comment,
    /// A keyword or the name of something.
    Word,
    /// The name of something in quotes.
    Quoted,
    /// A string or a number.
    Literal,
    Symbol,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    /// Characters of the word before a literal that belong to it (`E'…'`).
    pub(super) prefix: usize,
}

/// The tokens of a text.
#[derive(Debug)]
pub(super) struct Tokens<'a> {
    rest: &'a str,
    dialect: Dialect,
    /// The word that ends where the rest begins.
    word_before: &'a str,
    /// What is called a comment has begun, and is none.
    conditional: bool,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a str, dialect: Dialect) -> Self {
        Self { rest: text, dialect, word_before: "", conditional: false }
    }

    fn token(&mut self) -> Option<(Kind, usize)> {
        let bytes = self.rest.as_bytes();
        let mysql = self.dialect == Dialect::MySql;
        let postgres = self.dialect == Dialect::Postgres;
        let cql = self.dialect == Dialect::Cql;
        if cql && let Some(length) = bare(bytes) {
            return Some((Kind::Literal, length));
        }
        Some(match bytes {
            [] => return None,
            [b'-', b'-', ..] => (Kind::Comment, line_comment(bytes)),
            [b'/', b'/', ..] if cql => (Kind::Comment, line_comment(bytes)),
            [b'#', ..] if mysql => (Kind::Comment, line_comment(bytes)),
            [b'/', b'*', ..] if mysql && let Some(length) = conditional(bytes) => {
                self.conditional = true;
                (Kind::Comment, length)
            }
            [b'*', b'/', ..] if std::mem::take(&mut self.conditional) => (Kind::Comment, 2),
            [b'/', b'*', ..] => (Kind::Comment, block_comment(bytes, postgres)),
            [b'\'', ..] => {
                (Kind::Literal, string(bytes, b'\'', mysql || postgres && self.escapes()))
            }
            [b'"', ..] if mysql => (Kind::Literal, string(bytes, b'"', true)),
            [quote @ (b'"' | b'`'), ..] => (Kind::Quoted, string(bytes, *quote, false)),
            [b'$', ..] if !mysql => dollar(self.rest),
            [first, ..] if first.is_ascii_whitespace() => {
                (Kind::Space, run(bytes, u8::is_ascii_whitespace))
            }
            [first, ..] if first.is_ascii_digit() => (Kind::Literal, digits(bytes)),
            [b'.', second, ..] if second.is_ascii_digit() && self.word_before.is_empty() => {
                (Kind::Literal, digits(bytes))
            }
            [first, ..] if is_word(first) => (Kind::Word, run(bytes, is_word_inside)),
            _ => (Kind::Symbol, 1),
        })
    }

    /// Whether a server runs what is in `/*! */` depends on its release. Where the end of that stands in a string, or behind
    /// the beginning of a line's comment, the two readings differ in what is a literal: all that follows may be one.
    fn certain(&self, (kind, length): (Kind, usize)) -> (Kind, usize) {
        let text = self.rest.as_bytes().get(..length).unwrap_or_default();
        let hides_end = self.conditional && length > 2 && !text.starts_with(b"/*");
        if hides_end && memchr::memmem::find(text, b"*/").is_some() {
            return (Kind::Literal, self.rest.len());
        }
        (kind, length)
    }

    /// The word before says that a backslash escapes.
    fn escapes(&self) -> bool {
        self.word_before.eq_ignore_ascii_case("e")
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let (kind, length) = self.token().map(|found| self.certain(found))?;
        let (text, rest) = self.rest.split_at(self.rest.ceil_char_boundary(length));
        let before = std::mem::take(&mut self.word_before);
        // The letters that may stand before a string, all of them one byte long.
        let belongs = kind == Kind::Literal && text.starts_with('\'') && before.len() == 1;
        let prefix = if belongs && "eEbBxXnN".contains(before) { 1 } else { 0 };
        if matches!(kind, Kind::Word) {
            self.word_before = text;
        }
        self.rest = rest;
        Some(Token { kind, text, prefix })
    }
}

/// How UUIDs are written: a letter or digit of sixteen for each point.
const UUID: &[u8; 36] = b"........-....-....-....-............";

/// What of CQL is a literal without quotes and need not begin with a digit: a UUID, or as much of one as
/// the end of the text leaves, and a duration (`P3Y6M`).
fn bare(bytes: &[u8]) -> Option<usize> {
    let like = |(byte, wanted): (&u8, &u8)| match wanted {
        b'-' => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    let fits = bytes.iter().zip(UUID).take_while(|pair| like(*pair)).count();
    if fits == UUID.len() || fits == bytes.len() && fits > UUID.len() / 4 {
        return Some(fits);
    }
    let (b'P' | b'p', rest) = bytes.split_first()? else { return None };
    let length = run(rest, u8::is_ascii_alphanumeric);
    let (word, _) = rest.split_at(length);
    let digits = run(word, u8::is_ascii_digit);
    let unit = word.get(digits).map(u8::to_ascii_uppercase);
    let duration = match unit {
        Some(b'Y' | b'M' | b'W' | b'D') => digits > 0,
        Some(b'T') => digits == 0 && word.get(1).is_some_and(u8::is_ascii_digit),
        _ => false,
    };
    duration.then_some(1 + length)
}

fn run(bytes: &[u8], belongs: impl Fn(&u8) -> bool) -> usize {
    bytes.iter().take_while(|byte| belongs(byte)).count()
}

fn is_word(byte: &u8) -> bool {
    byte.is_ascii_alphabetic() || *byte == b'_' || !byte.is_ascii()
}

fn is_word_inside(byte: &u8) -> bool {
    is_word(byte) || byte.is_ascii_digit() || *byte == b'$'
}

fn line_comment(bytes: &[u8]) -> usize {
    memchr::memchr(b'\n', bytes).unwrap_or(bytes.len())
}

fn block_comment(bytes: &[u8], nests: bool) -> usize {
    let (mut depth, mut at) = (0_u32, 0);
    while let Some(pair) = bytes.get(at..at + 2) {
        match pair {
            b"/*" if nests || depth == 0 => {
                depth += 1;
                at += 2;
            }
            b"*/" => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The beginning of a comment whose inside MySQL or MariaDB runs, from a version on: `/*!40101 SET …*/`, `/*M! …*/`.
fn conditional(bytes: &[u8]) -> Option<usize> {
    let rest = bytes.strip_prefix(b"/*!").or_else(|| bytes.strip_prefix(b"/*M!"))?;
    Some(bytes.len() - rest.len() + run(rest, u8::is_ascii_digit))
}

/// A doubled quote stands for one, and does not end the string.
fn string(bytes: &[u8], quote: u8, escapes: bool) -> usize {
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        at += match byte {
            b'\\' if escapes => 2,
            byte if *byte == quote && bytes.get(at + 1) == Some(&quote) => 2,
            byte if *byte == quote => return at + 1,
            _ => 1,
        };
    }
    bytes.len()
}

/// `$tag$ … $tag$` is a string, `$1` a parameter.
fn dollar(text: &str) -> (Kind, usize) {
    let bytes = text.as_bytes();
    let rest = bytes.get(1..).unwrap_or_default();
    let tag = if rest.first().is_some_and(u8::is_ascii_digit) { 0 } else { run(rest, is_tag) };
    match rest.get(tag) {
        Some(b'$') => {
            let (quote, inside) = text.split_at(tag + 2);
            let end = memchr::memmem::find(inside.as_bytes(), quote.as_bytes());
            let end = end.map_or(text.len(), |end| 2 * quote.len() + end);
            (Kind::Literal, end)
        }
        // What is cut off may be the beginning of a string.
        None if tag > 0 => (Kind::Literal, text.len()),
        _ => (Kind::Symbol, 1 + run(rest, u8::is_ascii_digit)),
    }
}

fn is_tag(byte: &u8) -> bool {
    is_word(byte) || byte.is_ascii_digit()
}

/// A number of any form, with a sign in its exponent.
fn digits(bytes: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        let exponent = matches!(bytes.get(at - 1), Some(b'e' | b'E')) && !bytes.starts_with(b"0x");
        let sign = matches!(byte, b'+' | b'-') && exponent;
        if !(byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_') || sign) {
            break;
        }
        at += 1;
    }
    at
}
