//! Templates of SQL statements: values become `?`, lists of values one `?`, blanks one blank.
//!
//! Not a parser: it knows how texts, numbers, names and comments are written in the usual dialects, so
//! that a value is never taken for anything else. What is no SQL is cut by the same rules.

use std::iter::Peekable;
use std::str::Chars;

/// What a statement is cut into.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// A value.
    Value,
    /// A name, a keyword, an operator.
    Word(String),
}

/// The statement without its values.
pub(super) fn template(statement: &str) -> String {
    let mut tokens: Vec<Token> = Vec::new();
    let mut chars = statement.chars().peekable();
    while let Some(c) = chars.next() {
        let token = match c {
            c if c.is_whitespace() => None,
            '-' if chars.peek() == Some(&'-') => skip_line(&mut chars),
            '#' if !chars.peek().is_some_and(|next| *next == '>' || *next == '-') => {
                skip_line(&mut chars)
            }
            '/' if chars.peek() == Some(&'*') => skip_comment(&mut chars),
            '\'' => Some(quoted(&mut chars)),
            '"' | '`' => Some(name(c, &mut chars)),
            '$' => Some(dollar(&mut chars)),
            '?' => Some(Token::Value),
            '0'..='9' => Some(number(&mut chars)),
            c if c.is_alphabetic() || c == '_' => Some(word(c, &mut chars)),
            c => Some(Token::Word(c.to_string())),
        };
        if let Some(token) = token {
            tokens.push(token);
            fold(&mut tokens);
        }
    }
    written(&tokens)
}

/// Makes one value of `?, ?`, one list of `(?), (?)`, and of a sign before a value nothing.
fn fold(tokens: &mut Vec<Token>) {
    loop {
        let is = |token: &Token, text: &str| *token == Token::Word(text.to_owned());
        let cut = match tokens.as_slice() {
            [.., Token::Value, comma, Token::Value] if is(comma, ",") => 2,
            [.., first, Token::Value, close, comma, open, Token::Value, end]
                if is(first, "(")
                    && is(close, ")")
                    && is(comma, ",")
                    && is(open, "(")
                    && is(end, ")") =>
            {
                4
            }
            [.., before, sign, Token::Value]
                if is(sign, "-")
                    && ["(", ",", "=", "<", ">"].iter().any(|text| is(before, text)) =>
            {
                let at = tokens.len() - 2;
                tokens.remove(at);
                continue;
            }
            // A prefix such as in X'0f' or E'…' belongs to the text.
            [.., Token::Word(prefix), Token::Value]
                if ["x", "X", "b", "B", "e", "E", "n", "N"].contains(&prefix.as_str()) =>
            {
                let at = tokens.len() - 2;
                tokens.remove(at);
                continue;
            }
            _ => return,
        };
        tokens.truncate(tokens.len() - cut);
    }
}

fn written(tokens: &[Token]) -> String {
    let mut out = String::new();
    let mut before = "";
    for token in tokens {
        let text = match token {
            Token::Value => "?",
            Token::Word(word) => word,
        };
        let tight = [")", ",", ".", ";", ":"].contains(&text)
            || ["(", ".", ":"].contains(&before)
            || (is_operator(text) && is_operator(before))
            || (text == "(" && is_call(before));
        if !out.is_empty() && !tight {
            out.push(' ');
        }
        out.push_str(text);
        before = text;
    }
    out.trim_end_matches([';', ' ']).to_owned()
}

fn is_operator(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| "<>=!|&:@#~-+*/".contains(c)) && text != "*"
}

/// Whether a word before a bracket is the name of a function; of a list of values it is not.
fn is_call(word: &str) -> bool {
    const KEYWORDS: [&str; 12] = [
        "in", "values", "and", "or", "not", "where", "on", "as", "from", "exists", "using", "over",
    ];
    let is_word = word.chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
    is_word && !KEYWORDS.contains(&word.to_ascii_lowercase().as_str())
}

fn skip_line(chars: &mut Peekable<Chars<'_>>) -> Option<Token> {
    chars.by_ref().find(|c| *c == '\n');
    None
}

fn skip_comment(chars: &mut Peekable<Chars<'_>>) -> Option<Token> {
    let mut before = ' ';
    chars.next();
    for c in chars.by_ref() {
        if before == '*' && c == '/' {
            break;
        }
        before = c;
    }
    None
}

/// A text, to its end or to that of the statement, which may be cut off.
fn quoted(chars: &mut Peekable<Chars<'_>>) -> Token {
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '\'' if chars.peek() == Some(&'\'') => drop(chars.next()),
            '\'' => break,
            _ => {}
        }
    }
    Token::Value
}

fn name(quote: char, chars: &mut Peekable<Chars<'_>>) -> Token {
    let inner: String = chars.by_ref().take_while(|c| *c != quote).collect();
    Token::Word(format!("{quote}{inner}{quote}"))
}

/// `$1`, or a text between `$tag$` and `$tag$`.
fn dollar(chars: &mut Peekable<Chars<'_>>) -> Token {
    let mut tag = String::from("$");
    while let Some(c) = chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
        tag.push(c);
    }
    if chars.next_if_eq(&'$').is_some() {
        tag.push('$');
        let mut text = String::new();
        for c in chars.by_ref() {
            text.push(c);
            if text.ends_with(&tag) {
                break;
            }
        }
    }
    Token::Value
}

fn number(chars: &mut Peekable<Chars<'_>>) -> Token {
    let mut before = '0';
    while let Some(c) = chars.next_if(|c| {
        c.is_alphanumeric() || *c == '.' || (matches!(before, 'e' | 'E') && "+-".contains(*c))
    }) {
        before = c;
    }
    Token::Value
}

fn word(first: char, chars: &mut Peekable<Chars<'_>>) -> Token {
    let mut word = String::from(first);
    while let Some(c) = chars.next_if(|c| c.is_alphanumeric() || *c == '_' || *c == '$') {
        word.push(c);
    }
    Token::Word(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: statements that differ in values, lists, blanks, comments and quotes.
    /// Guarantees: one template for what is one statement; no value is left in it.
    #[test]
    fn values_go() {
        let check = |sql: &str, expected: &str| {
            assert_eq!(template(sql), expected, "{sql}");
            assert_eq!(template(expected), expected, "again");
        };
        check("SELECT * FROM t WHERE id = 42", "SELECT * FROM t WHERE id = ?");
        check(
            "select  a,b from t\n where x='it''s' -- secret 1\n and y = -1.5e-3",
            "select a, b from t where x = ? and y = ?",
        );
        check("SELECT a FROM t WHERE id IN (1, 2,3)", "SELECT a FROM t WHERE id IN (?)");
        check("INSERT INTO t1 (a, b) VALUES (1,'x'), (2,'y');", "INSERT INTO t1(a, b) VALUES (?)");
        check(
            "SELECT count(*) FROM \"T 1\" WHERE a >= $1 AND b = $$x'y$$",
            "SELECT count(*) FROM \"T 1\" WHERE a >= ? AND b = ?",
        );
        check(
            "/* who=42 */ UPDATE t SET a = X'0f', b = E'\\'' WHERE c::text = 'z'",
            "UPDATE t SET a = ?, b = ? WHERE c::text = ?",
        );
        check("SELECT a FROM t WHERE b = 'cut off", "SELECT a FROM t WHERE b = ?");
        check("", "");
    }
}
