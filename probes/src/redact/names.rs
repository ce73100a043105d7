//! Names of secrets.
//!
//! Invariant: pure; a name is judged by its words, however they are joined: `access_token`,
//! `access-token`, `accessToken` and `ACCESS_TOKEN` are one name.

/// Whole names, in lower case with `_` between words.
const NAMES: [&str; 36] = [
    "sig",
    "signature",
    "awsaccesskeyid",
    "x_amz_credential",
    "x_goog_credential",
    "token",
    "auth",
    "authorization",
    "proxy_authorization",
    "cookie",
    "set_cookie",
    "password",
    "passwords",
    "passwd",
    "passphrase",
    "pwd",
    "pass",
    "secret",
    "secrets",
    "apikey",
    "api_key",
    "private_key",
    "access_key",
    "account_key",
    "credential",
    "credentials",
    "connection_string",
    "session",
    "session_id",
    "sessionid",
    "jsessionid",
    "phpsessid",
    "jwt",
    "otp",
    "cvv",
    "cvc",
];

/// Endings that say the same of a longer name (`access_token`, `clientsecret`).
const ENDINGS: [&str; 15] = [
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "_pwd",
    "_pass",
    "_key_id",
    "apikey",
    "_api_key",
    "_secret_key",
    "_private_key",
    "_access_key",
    "_signature",
    "_session",
];

/// Longer names are none.
const NAME_BYTES_MAX: usize = 64;

/// A value under this name is a secret.
pub(crate) fn names_secret(name: &str) -> bool {
    let name = name.trim_start_matches(['-', '_']);
    if name.len() > NAME_BYTES_MAX {
        return false;
    }
    let name = words(name);
    NAMES.contains(&name.as_str()) || ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// In lower case, `_` where a word begins.
fn words(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 4);
    let mut small_before = false;
    for letter in name.chars() {
        match letter {
            '-' | '.' | ' ' => words.push('_'),
            _ if letter.is_ascii_uppercase() && small_before => {
                words.push('_');
                words.push(letter.to_ascii_lowercase());
            }
            _ => words.push(letter.to_ascii_lowercase()),
        }
        small_before = letter.is_ascii_lowercase() || letter.is_ascii_digit();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: names of secrets joined in every way, and names that only look like some.
    /// Guarantees: the former are told, the latter not.
    #[test]
    fn however_they_are_joined() {
        for name in [
            "password",
            "PASSWORD",
            "--token",
            "access_token",
            "accessToken",
            "ACCESS-TOKEN",
            "csrftoken",
            "clientSecret",
            "X-Api-Key",
            "apiKey",
            "aws_secret_access_key",
            "X-Amz-Signature",
            "DB_PASSWORD",
            "Set-Cookie",
            "sessionId",
            "userPassword",
            "cvv",
        ] {
            assert!(names_secret(name), "{name}");
        }
        for name in [
            "tokens",
            "design",
            "signal",
            "author",
            "pass_count",
            "key",
            "compass",
            "session_count",
        ] {
            assert!(!names_secret(name), "{name}");
        }
        assert!(!names_secret(&"token".repeat(20)));
    }
}
