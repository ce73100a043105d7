//! Secrets in a text that a name gives away: `"password": "x"`, `token=x`, `<secret>x</secret>`,
//! `Authorization: Bearer x`, and what stands before the host in a URL.
//!
//! Invariants: pure; all of the value goes, up to where its notation ends it, or to the end of the text
//! where that was cut; each byte is looked at a bounded number of times.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::names::names_secret;

/// Every name of a secret has one of these in it.
static STEMS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new("(?i)pass|pwd|secret|token|auth|key|cred|sess|sig|cookie|jwt|otp|cv[vc]|connection")
        .expect("it is a literal")
});

/// User and password of a URL, up to the last `@` before its path.
static USERS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new("[A-Za-z][A-Za-z0-9+.-]{1,20}://([^/\\s?#\"'<>]{1,512})@").expect("it is a literal")
});

/// Ways to say who one is, each with a value behind it.
const SCHEMES: [&str; 8] =
    ["bearer", "basic", "digest", "token", "apikey", "negotiate", "ntlm", "aws4-hmac-sha256"];

/// Names whose value is the rest of the line, semicolons and all.
const LINES: [&str; 4] = ["cookie", "set-cookie", "authorization", "proxy-authorization"];

/// Where the values are.
pub(super) fn find(text: &str, found: &mut dyn FnMut(Range<usize>)) {
    let mut done = 0;
    for stem in STEMS.find_iter(text) {
        if stem.start() < done {
            continue;
        }
        let name = word_around(text, stem.start());
        done = name.end;
        let Some(word) = text.get(name.clone()) else { continue };
        if !names_secret(word) {
            continue;
        }
        let line = LINES.iter().any(|one| one.eq_ignore_ascii_case(word));
        let tag = text.get(..name.start).is_some_and(|before| before.ends_with('<'));
        let Some(value) = value(text, name.end, line, tag) else { continue };
        done = value.end;
        found(value);
    }
    if text.contains("://") {
        let users = USERS.captures_iter(text).filter_map(|one| one.get(1));
        users.for_each(|one| found(one.range()));
    }
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

fn word_around(text: &str, at: usize) -> Range<usize> {
    let bytes = text.as_bytes();
    let before = bytes.iter().take(at).rev().take_while(|&&byte| is_of_word(byte)).count();
    let after = bytes.iter().skip(at).take_while(|&&byte| is_of_word(byte)).count();
    at - before..at + after.max(1)
}

/// The value that belongs to a name which ends at `at`.
fn value(text: &str, at: usize, line: bool, tag: bool) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let byte = |at: usize| bytes.get(at).copied();
    let skip = |mut at: usize, set: &[u8]| {
        while byte(at).is_some_and(|byte| set.contains(&byte)) {
            at += 1;
        }
        at
    };
    let mut at = skip(at, b"\\\"'] ");
    if tag && byte(at) == Some(b'>') {
        let end = until(bytes, at + 1, b"<");
        return some(text, at + 1..end);
    }
    at = match (byte(at)?, byte(at + 1), byte(at + 2)) {
        (b'=', Some(b'>'), _) => at + 2,
        (b':' | b'=', ..) => at + 1,
        (b'%', Some(b'3'), Some(b'a' | b'A' | b'd' | b'D')) => at + 3,
        _ => return None,
    };
    at = skip(at, b" \t");
    let end = match (byte(at)?, byte(at + 1)) {
        (quote @ (b'"' | b'\''), _) => return some(text, at + 1..quoted(bytes, at + 1, quote)),
        (b'\\', Some(quote @ (b'"' | b'\''))) => {
            // Up to the one that is escaped as well.
            let end = until(bytes, at + 2, &[quote]);
            let escaped = bytes.get(at + 2..end).is_some_and(|value| value.ends_with(b"\\"));
            return some(text, at + 2..end - usize::from(escaped));
        }
        (b'[' | b'{', _) => nested(bytes, at),
        _ if line => until(bytes, at, b"\r\n\"<"),
        _ => bare(text, at),
    };
    some(text, at..end)
}

/// What says nothing is left as it is.
fn some(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let value = text.get(range.clone())?;
    let nothing = ["", "null", "true", "false", "nil", "None", "?"].contains(&value);
    (!nothing).then_some(range)
}

fn until(bytes: &[u8], from: usize, ends: &[u8]) -> usize {
    let rest = bytes.iter().skip(from);
    from + rest.take_while(|byte| !ends.contains(byte)).count()
}

/// The closing quote, behind whatever is escaped.
fn quoted(bytes: &[u8], from: usize, quote: u8) -> usize {
    let mut at = from;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            _ if byte == quote => break,
            _ => at += 1,
        }
    }
    at.min(bytes.len())
}

/// Behind the bracket that closes the one here.
fn nested(bytes: &[u8], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0_usize);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => at = quoted(bytes, at + 1, b'"'),
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at = (at + 1).min(bytes.len());
        if depth == 0 {
            break;
        }
    }
    at
}

/// A value without quotes; one that only says how it is said is followed by the one that is meant.
fn bare(text: &str, from: usize) -> usize {
    const ENDS: &[u8] = b" \t\r\n&,;\"'<>)]}\\";
    let bytes = text.as_bytes();
    let end = until(bytes, from, ENDS);
    let word = text.get(from..end).unwrap_or_default();
    if SCHEMES.iter().any(|scheme| scheme.eq_ignore_ascii_case(word)) {
        let next = end + bytes.iter().skip(end).take_while(|&&byte| byte == b' ').count();
        return until(bytes, next, ENDS);
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without(text: &str) -> String {
        let mut list = Vec::new();
        find(text, &mut |range| list.push(range));
        let mut out = text.to_owned();
        list.into_iter().rev().for_each(|range| out.replace_range(range, "#"));
        out
    }

    /// Scenario: secrets in JSON, forms, headers, YAML, XML, URLs and code, whole and cut.
    /// Guarantees: all of the value is found, and nothing else.
    #[test]
    fn every_notation() {
        for (given, wanted) in [
            (
                r#"{"user":"ann","password":"a\"b,c","n":1}"#,
                r##"{"user":"ann","password":"#","n":1}"##,
            ),
            (r#"{"accessToken" : "x"}"#, r##"{"accessToken" : "#"}"##),
            (r#"{"pin":1,"cvv":123}"#, r##"{"pin":1,"cvv":#}"##),
            (
                r#"{"token":null,"secret":true,"password":""}"#,
                r#"{"token":null,"secret":true,"password":""}"#,
            ),
            (r#"{"credentials":{"a":"}","b":[1]},"c":2}"#, r##"{"credentials":#,"c":2}"##),
            (r#""{\"password\":\"x\"}""#, r##""{\"password\":\"#\"}""##),
            (r#"{"password":"cut of"#, r##"{"password":"#"##),
            ("a=1&password=x%20y&b=2", "a=1&password=#&b=2"),
            ("client_secret=x", "client_secret=#"),
            ("Authorization: Bearer abc.def\r\nHost: a", "Authorization: #\r\nHost: a"),
            ("Cookie: a=b; c=d\nx", "Cookie: #\nx"),
            ("auth: Basic eHg6eXk= rest", "auth: # rest"),
            ("password: hunter2\nname: x", "password: #\nname: x"),
            ("<password>x</password>", "<password>#</password>"),
            ("password='x y' z", "password='#' z"),
            ("opts[:api_key] => 'x'", "opts[:api_key] => '#'"),
            ("postgres://u:p@ss@h/db", "postgres://#@h/db"),
            ("tokens: 3, design=4, password policy", "tokens: 3, design=4, password policy"),
            ("token", "token"),
        ] {
            assert_eq!(without(given), wanted, "{given}");
        }
    }
}
