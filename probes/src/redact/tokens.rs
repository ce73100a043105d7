//! Tokens that their own form gives away, wherever they stand, and addresses of e-mail.
//!
//! Invariant: pure; a token that a cut text ends with is told by its beginning.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

fn literal(pattern: &str) -> Regex {
    Regex::new(pattern).expect("it is a literal, and tested")
}

/// Prefixes by which issuers let their tokens be found, JSON web tokens, and private keys.
static FORMS: LazyLock<Regex> = LazyLock::new(|| {
    literal(
        r"(?x)
        (?:\b|_)eyJ[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*){0,4}
        | (?:gh[pousr]_|github_pat_|glpat-|gldt-|glrt-|glsoat-|xox[abceoprs]-|xapp-|[srpw]k_live_|[srp]k_test_
            |whsec_|sk-ant-|sk-proj-|sk-or-|pypi-|dop_v1_|doo_v1_|dor_v1_|shpat_|shpca_|shppa_|shpss_|sq0[a-z]{3}-
            |dckr_pat_|dckr_oat_|lin_api_|rubygems_|ATATT3|nvapi-|tskey-|sntrys_|sntryu_|PMAK-|AGE-SECRET-KEY-)
          [A-Za-z0-9_.=-]{4,}
        | \b(?:sk-|npm_|hf_|SG\.|hv[sbr]\.|figd_|r8_)[A-Za-z0-9_.-]{16,}
        | \b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}
        | \bAIza[A-Za-z0-9_-]{20,}
        | \bya29\.[A-Za-z0-9_-]{4,}
        | -----BEGIN\x20[A-Z0-9\x20]{0,40}PRIVATE\x20KEY[A-Z\x20]{0,10}-----[\s\S]*?
            (?:-----END\x20[A-Z0-9\x20]{0,40}PRIVATE\x20KEY[A-Z\x20]{0,10}-----|\z)
        ",
    )
});

/// The same forms where a text that was cut ends before so much of them was there.
static CUT_FORMS: LazyLock<Regex> = LazyLock::new(|| {
    literal(
        r"(?x)(?:
        eyJ[A-Za-z0-9_.-]*
        | (?:gh[pousr]_|github_pat_|glpat-|xox[a-z]-|sk-|[srp]k_(?:live|test)_|npm_|hf_|SG\.|hv[sbr]\.|AKIA|ASIA|AIza|ya29)
          [A-Za-z0-9_.=-]*
        | -----BEGIN\x20[A-Z0-9\x20]*
        )\z",
    )
});

/// A scheme, and what is said by it.
static SCHEMES: LazyLock<Regex> =
    LazyLock::new(|| literal(r"(?i)\b(bearer|basic)(?:[ \t]|%20|\+)+([A-Za-z0-9._~+/=%-]+)"));

static EMAILS: LazyLock<Regex> = LazyLock::new(|| {
    literal(r#"[^\s"'<>()\[\]{},;:=&?/\\@]+(?:@|%40)(?:[\p{L}\p{N}_-]+\.)+\p{L}[\p{L}\p{N}-]+"#)
});

/// Where tokens are. `cut`: more of the text was sent.
pub(super) fn find(text: &str, cut: bool, found: &mut dyn FnMut(Range<usize>)) {
    FORMS.find_iter(text).for_each(|one| found(one.range()));
    // What stands between a scheme and what is said by it.
    let spaced = text.contains([' ', '\t', '%', '+']);
    let schemes = spaced.then(|| SCHEMES.captures_iter(text));
    for captures in schemes.into_iter().flatten() {
        let (Some(scheme), Some(token)) = (captures.get(1), captures.get(2)) else { continue };
        let basic = scheme.as_str().eq_ignore_ascii_case("basic");
        if !basic || is_encoded(token.as_str()) {
            found(token.range());
        }
    }
    if cut && let Some(one) = CUT_FORMS.find(text) {
        found(one.range());
    }
}

/// Where addresses are.
pub(super) fn find_emails(text: &str, found: &mut dyn FnMut(Range<usize>)) {
    if text.contains('@') || text.contains("%40") {
        EMAILS.find_iter(text).for_each(|one| found(one.range()));
    }
}

/// Not an ordinary word, as in `basic authentication`.
fn is_encoded(word: &str) -> bool {
    let inner = word.get(1..).unwrap_or_default();
    word.len() >= 4
        && inner
            .bytes()
            .any(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, cut: bool) -> Vec<&str> {
        let mut list = Vec::new();
        find(text, cut, &mut |range| list.extend(text.get(range)));
        list
    }

    /// Scenario: tokens of many issuers within text, and words that only look like some.
    /// Guarantees: each is told as a whole; words are left alone.
    #[test]
    fn tokens() {
        // Put together here, so that no tool takes them for real ones that were lost.
        let of = |prefix: &str, length: usize| format!("{prefix}{}", "aB3x".repeat(length / 4));
        for token in [
            of("ghp_", 36),
            of("github_pat_", 40),
            of("glpat-", 20),
            of("xoxb-", 40),
            of("sk_live_", 24),
            of("sk-", 48),
            of("sk-ant-", 40),
            of("npm_", 36),
            of("AIza", 36),
            of("hvs.", 24),
            of("hf_", 32),
            format!("AKIA{}", "ABCD".repeat(4)),
            format!("eyJ{}", "hbGciOi.eyJzdWIi.s-_x"),
        ] {
            for text in [
                token.clone(),
                format!("x {token} y"),
                format!("a={token}&b"),
                format!("\"{token}\""),
            ] {
                assert_eq!(found(&text, false), [token.as_str()], "{text}");
            }
        }
        assert_eq!(found("bearer abc-1.2~3+/= x", false), ["abc-1.2~3+/="]);
        assert_eq!(found("Bearer%20abc&x", false), ["abc"]);
        assert_eq!(found("Basic dXNlcjpwYXNz", false), ["dXNlcjpwYXNz"]);
        for text in
            ["basic authentication", "the task-force", "a monkeyJar", "ask-me", "/v1/hf_", ""]
        {
            assert!(found(text, false).is_empty(), "{text}");
        }
        let key = "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----";
        assert_eq!(found(&format!("a {key} b"), false), [key]);
        assert_eq!(found("-----BEGIN PRIVATE KEY-----\nMIIabc", false).len(), 1);
    }

    /// Scenario: texts that were cut within a token.
    /// Guarantees: what is there of it is told.
    #[test]
    fn beginnings() {
        assert_eq!(found("x ghp_a", true), ["ghp_a"]);
        assert_eq!(found("x eyJh", true), ["eyJh"]);
        assert_eq!(found("x -----BEGIN RSA PRI", true), ["-----BEGIN RSA PRI"]);
        assert!(found("x ghp_a", false).is_empty());
    }

    /// Scenario: addresses in text, in URLs and in other scripts.
    /// Guarantees: they are told, and nothing around them.
    #[test]
    fn emails() {
        let found = |text: &str| {
            let mut list = Vec::new();
            find_emails(text, &mut |range| list.extend(text.get(range).map(str::to_owned)));
            list
        };
        for address in
            ["a@b.co", "ann.lee+x@shop.example.com", "ann%40shop.example", "jürgen@münchen.de"]
        {
            for text in [address.to_owned(), format!("to=<{address}>,"), format!("\"{address}\"")] {
                assert_eq!(found(&text), [address], "{text}");
            }
        }
        for text in ["a@b", "@scope/package@1.2.3", "cart@sha256:ab", "user@10.0.0.1"] {
            assert!(found(text).is_empty(), "{text}");
        }
    }
}
