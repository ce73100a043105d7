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

/// Codes that are traded for a token, and what proves who may (RFC 6749, RFC 7636).
static CODES: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new("(?i)(?:^|[?&\\s\"'])code(?:_verifier)?=([^&#\\s\"'<>]+)").expect("it is a literal")
});

/// `code` is a name of much else: one of these stands beside that of a token.
const BESIDE_CODE: [&str; 3] = ["state=", "grant_type=", "redirect_uri="];

/// Ways to say who one is, each with a value behind it.
const SCHEMES: [&str; 8] =
    ["bearer", "basic", "digest", "token", "apikey", "negotiate", "ntlm", "aws4-hmac-sha256"];

/// Names whose value is the rest of the line, semicolons and all.
const LINES: [&str; 4] = ["cookie", "set-cookie", "authorization", "proxy-authorization"];

/// The shortest name with a value.
const BETWEEN_BYTES_MIN: usize = 5;

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
        let before = text.get(..name.start).unwrap_or_default();
        let value = if is_tag(before) { element(text, name.end) } else { None };
        let value = value.or_else(|| part(text, before, name.end));
        let Some(value) = value.or_else(|| self::value(text, name.end, line)) else { continue };
        // Attributes and headers between the two may have secrets of their own.
        let between = text.get(name.end..value.start).filter(|text| text.len() > BETWEEN_BYTES_MIN);
        if let Some(between) = between {
            find(between, &mut |one| found(name.end + one.start..name.end + one.end));
        }
        done = value.end;
        found(value);
    }
    if text.contains("://") {
        let users = USERS.captures_iter(text).filter_map(|one| one.get(1));
        users.for_each(|one| found(one.range()));
    }
    if trades_code(text) {
        let codes = CODES.captures_iter(text).filter_map(|one| one.get(1));
        codes.for_each(|one| found(one.range()));
    }
}

/// A parameter of that text named `code` is traded for a token.
pub(super) fn trades_code(text: &str) -> bool {
    text.contains("code") && BESIDE_CODE.iter().any(|name| text.contains(name))
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

fn word_around(text: &str, at: usize) -> Range<usize> {
    let bytes = text.as_bytes();
    let before = bytes.iter().take(at).rev().take_while(|&&byte| is_of_word(byte)).count();
    let after = bytes.iter().skip(at).take_while(|&&byte| is_of_word(byte)).count();
    let start = at - before;
    // Of what is encoded as in URLs the two digits are no part of the word.
    let encoded = start.checked_sub(1).and_then(|mark| text.get(mark..start + 2));
    let encoded = encoded.is_some_and(|code| is_encoded(code) && start + 2 <= at);
    start + if encoded { 2 } else { 0 }..at + after.max(1)
}

/// A mark that is encoded as in URLs.
fn is_encoded(code: &str) -> bool {
    let digits = code.strip_prefix('%');
    digits.is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// What a name stands behind where it is an element of XML, with a prefix or without.
fn is_tag(before: &str) -> bool {
    let own = before.strip_suffix(':').map(|prefixed| {
        let of_word = |letter: char| letter.is_ascii_alphanumeric() || "_-.".contains(letter);
        prefixed.trim_end_matches(of_word)
    });
    own.unwrap_or(before).ends_with('<')
}

/// Attributes that are longer are not looked over.
const ATTRIBUTES_BYTES_MAX: usize = 1 << 10;

/// What is in an element whose name ends at `at`, behind its attributes.
fn element(text: &str, at: usize) -> Option<Range<usize>> {
    const VERBATIM: &str = "<![CDATA[";
    let bytes = text.as_bytes();
    let head = bytes.get(at..bytes.len().min(at + ATTRIBUTES_BYTES_MAX))?;
    let close = head.iter().position(|byte| matches!(byte, b'>' | b'<'))?;
    let whole = head.get(close) == Some(&b'>') && !head.get(..close)?.ends_with(b"/");
    if !whole
        || head.first().is_some_and(|first| !matches!(first, b'>' | b' ' | b'\t' | b'\r' | b'\n'))
    {
        return None;
    }
    let from = at + close + 1;
    let rest = text.get(from..)?;
    if let Some(verbatim) = rest.strip_prefix(VERBATIM) {
        let from = from + VERBATIM.len();
        return some(text, from..from + verbatim.find("]]>").unwrap_or(verbatim.len()));
    }
    some(text, from..until(bytes, from, b"<"))
}

/// Headers of a part that are longer are not looked over.
const HEADERS_BYTES_MAX: usize = 512;

/// What a part of a form is, whose name ends at `at`: behind the empty line, up to the next part.
fn part(text: &str, before: &str, at: usize) -> Option<Range<usize>> {
    if !before.ends_with("name=\"") && !before.ends_with("name=") {
        return None;
    }
    let rest = text.get(at..)?;
    let head = rest.get(..rest.floor_char_boundary(HEADERS_BYTES_MAX))?;
    let head = head.get(..head.find("\r\n\r\n")?).filter(|head| !head.contains(['<', '>']))?;
    let from = at + head.len() + 4;
    let content = text.get(from..)?;
    some(text, from..from + content.find("\r\n--").unwrap_or(content.len()))
}

/// The value that belongs to a name which ends at `at`.
fn value(text: &str, at: usize, line: bool) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let byte = |at: usize| bytes.get(at).copied();
    let skip = |mut at: usize, set: &[u8]| {
        while byte(at).is_some_and(|byte| set.contains(&byte)) {
            at += 1;
        }
        at
    };
    let named_in_quotes = byte(at) == Some(b'"');
    let mut at = skip(skip_encoded(text, at, &["%5C", "%22", "%27", "%5D", "%20"]), b"\\\"'] \t");
    let behind = skip(at, b" \t\r\n");
    if named_in_quotes && byte(behind) == Some(b':') {
        at = behind;
    }
    at = match (byte(at)?, byte(at + 1), byte(at + 2)) {
        (b'=', Some(b'>'), _) => at + 2,
        (b':' | b'=', ..) => at + 1,
        (b'%', Some(b'3'), Some(b'a' | b'A' | b'd' | b'D')) => at + 3,
        _ => return None,
    };
    at = skip(skip_encoded(text, at, &["%20"]), b" \t");
    // JSON may break the line there; in YAML and headers a value ends with its line.
    let broken = skip(at, b" \t\r\n");
    let is_value = |byte| matches!(byte, Some(b'"' | b'[' | b'{' | b'-' | b'0'..=b'9'));
    at = if named_in_quotes && is_value(byte(broken)) { broken } else { at };
    if let Some(value) = quoted_in_url(text, at) {
        return some(text, value);
    }
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

/// Behind all of these codes of URLs.
fn skip_encoded(text: &str, mut at: usize, codes: &[&str]) -> usize {
    while let Some(code) = text.get(at..at + 3)
        && codes.iter().any(|one| one.eq_ignore_ascii_case(code))
    {
        at += 3;
    }
    at
}

/// What is between two quotes that are encoded as in URLs, of which those within are escaped.
fn quoted_in_url(text: &str, at: usize) -> Option<Range<usize>> {
    const QUOTE: &str = "%22";
    let escape = |text: &str| text.get(..3).is_some_and(|code| code.eq_ignore_ascii_case("%5C"));
    // In a text within a text the quotes themselves are escaped.
    let from = at + if escape(text.get(at..)?) { 3 } else { 0 };
    let inner = text.get(from..)?.strip_prefix(QUOTE)?;
    let from = from + QUOTE.len();
    let ends = inner.match_indices(QUOTE).map(|(end, _)| end);
    let escaped =
        |end: &usize| end.checked_sub(3).and_then(|at| inner.get(at..)).is_some_and(escape);
    let (mut whole, mut nested) = (ends.clone().filter(|end| !escaped(end)), ends.clone());
    let end = if from - at > QUOTE.len() {
        nested.next().map(|end| end.saturating_sub(if escaped(&end) { 3 } else { 0 }))
    } else {
        whole.next()
    };
    let limit = until(inner.as_bytes(), 0, b"& \r\n");
    Some(from..from + end.unwrap_or(inner.len()).min(limit))
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
            ("{\"password\"\t:\r\n  \"x\"}", "{\"password\"\t:\r\n  \"#\"}"),
            ("{\"password\"\n:\"x\"}", "{\"password\"\n:\"#\"}"),
            ("{\"secrets\":\n  [\"x\",\n\"y\"]}", "{\"secrets\":\n  #}"),
            ("{\"cvv\":\r\n 123}", "{\"cvv\":\r\n #}"),
            ("password:\n\"x\": y", "password:\n\"x\": y"),
            (r#"{"secrets":["x","y"],"n":1}"#, r##"{"secrets":#,"n":1}"##),
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
            ("<ns:password>x</ns:password>", "<ns:password>#</ns:password>"),
            ("<password type=\"a\">x y</password>", "<password type=\"a\">#</password>"),
            ("<auth token=\"x y\">z</auth>", "<auth token=\"#\">#</auth>"),
            ("<token><![CDATA[x<y]]></token>", "<token><![CDATA[#]]></token>"),
            ("<secret/><a>x</a>", "<secret/><a>x</a>"),
            ("user%5Bpassword%5D=x&b=2", "user%5Bpassword%5D=#&b=2"),
            (
                "d=%7B%22password%22%3A%20%22x%5C%22y%22%2C%22n%22%3A1%7D&b=2",
                "d=%7B%22password%22%3A%20%22#%22%2C%22n%22%3A1%7D&b=2",
            ),
            ("%5C%22password%5C%22%3A%5C%22x%5C%22%7D", "%5C%22password%5C%22%3A%5C%22#%5C%22%7D"),
            ("%22password%22:%22cut%20of", "%22password%22:%22#"),
            (
                "--b\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\nx y\r\n--b--",
                "--b\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\n#\r\n--b--",
            ),
            (
                "form-data; name=token; filename=\"a\"\r\nContent-Type: text/plain\r\n\r\nx",
                "form-data; name=token; filename=\"a\"\r\nContent-Type: text/plain\r\n\r\n#",
            ),
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
