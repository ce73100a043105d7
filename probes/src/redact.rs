//! Takes secrets out of what is about to leave the node.
//!
//! Invariant: the value of a parameter or argument whose name says that it is a secret is never
//! passed on; its name is, so that a reader sees that it was there.

const REDACTED: &str = "REDACTED";

/// Names of secrets, in lower case; `-` and `_` count as the same.
const SECRET_NAMES: [&str; 22] = [
    "sig",
    "signature",
    "awsaccesskeyid",
    "x_amz_signature",
    "x_amz_credential",
    "x_amz_security_token",
    "x_goog_signature",
    "x_goog_credential",
    "token",
    "auth",
    "authorization",
    "password",
    "passwd",
    "pwd",
    "pass",
    "secret",
    "apikey",
    "api_key",
    "private_key",
    "credential",
    "credentials",
    "session",
];

/// Endings that say the same of a longer name (`access_token`, `client_secret`).
const SECRET_ENDINGS: [&str; 6] =
    ["_token", "_secret", "_password", "_key_id", "_api_key", "_secret_key"];

/// Headers whose values are credentials, in lower case.
const SECRET_HEADERS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "set-cookie"];

/// A value under this name is a secret.
pub(crate) fn names_secret(name: &str) -> bool {
    let name = name.trim_start_matches('-').replace('-', "_").to_ascii_lowercase();
    SECRET_NAMES.contains(&name.as_str())
        || SECRET_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// A URL query with the values of secret parameters replaced.
#[must_use]
pub(crate) fn query(query: &str) -> String {
    let one = |parameter: &str| match parameter.split_once('=') {
        Some((name, _)) if names_secret(name) => format!("{name}={REDACTED}"),
        _ => parameter.to_owned(),
    };
    query.split('&').map(one).collect::<Vec<_>>().join("&")
}

/// The value of a header, as far as it may be told.
pub(crate) fn header<'a>(name: &str, value: &'a str) -> &'a str {
    let secret = SECRET_HEADERS.contains(&name) || names_secret(name.trim_start_matches("x-"));
    if secret { REDACTED } else { value }
}

/// Command-line arguments with secret values replaced: `--token=x`, `--token x`, `TOKEN=x`, and
/// the user part of URLs.
#[must_use]
pub(crate) fn arguments(arguments: &[String]) -> Vec<String> {
    let mut secret_next = false;
    let one = |argument: &String| {
        if std::mem::take(&mut secret_next) && !argument.starts_with('-') {
            return REDACTED.to_owned();
        }
        match argument.split_once('=') {
            Some((name, _)) if names_secret(name) => format!("{name}={REDACTED}"),
            None if argument.starts_with('-') => {
                secret_next = names_secret(argument);
                argument.clone()
            }
            _ => without_user(argument),
        }
    };
    arguments.iter().map(one).collect()
}

fn without_user(argument: &str) -> String {
    let Some((scheme, rest)) = argument.split_once("://") else { return argument.to_owned() };
    let authority_bytes = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_bytes);
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{REDACTED}@{host}{path}"),
        None => argument.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: presigned links, tokens and harmless parameters.
    /// Guarantees: secrets are gone, everything else is as it was.
    #[test]
    fn queries() {
        for (given, wanted) in [
            ("a=1&b=2", "a=1&b=2"),
            ("sig=abc&x", "sig=REDACTED&x"),
            ("X-Amz-Signature=1&X-Amz-Date=2", "X-Amz-Signature=REDACTED&X-Amz-Date=2"),
            ("access_token=a=b&API-Key=c", "access_token=REDACTED&API-Key=REDACTED"),
            ("design=x&signal=y&tokens=3", "design=x&signal=y&tokens=3"),
            ("", ""),
        ] {
            assert_eq!(query(given), wanted);
        }
    }

    /// Scenario: secrets as options, as assignments and in URLs.
    /// Guarantees: none is left.
    #[test]
    fn command_lines() {
        let given = ["app", "--token", "x", "--password=y", "DB_PASSWORD=z", "--port", "80"];
        let given = given.map(str::to_owned).into_iter();
        let given: Vec<_> = given.chain(["postgres://u:p@h/db?x@y".to_owned()]).collect();
        assert_eq!(
            arguments(&given).join(" "),
            "app --token REDACTED --password=REDACTED DB_PASSWORD=REDACTED --port 80 \
             postgres://REDACTED@h/db?x@y"
        );
    }
}
