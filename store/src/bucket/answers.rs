//! What a server answered, where `object_store` has no kind for it.
//!
//! The types that carry a status are not exported, so it is read from the text of the error. A
//! text that changes would only cost retries, or a less helpful message.

use std::error::Error as StdError;

use object_store::Error;
use object_store::client::{HttpError, HttpErrorKind};

/// The HTTP status of a refusal.
pub(super) fn status(error: &Error) -> Option<u16> {
    let text = error.to_string();
    let (_, rest) = text.split_once("status code: ")?;
    rest.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

/// Whether the same request may succeed a moment later.
pub(super) fn may_pass(error: &Error) -> bool {
    match error {
        Error::JoinError { .. } => true,
        Error::Generic { .. } => {
            !answered_whole(error)
                && status(error).is_none_or(|status| status >= 500 || matches!(status, 408 | 429))
        }
        _ => false,
    }
}

/// Whether a server answered a request for a range with the whole object: some do where the range
/// covers it.
pub(super) fn answered_whole(error: &Error) -> bool {
    matches!(error, Error::Generic { .. })
        && error.to_string().contains("Received non-partial response when range requested")
}

/// Whether nobody took the connection, or nobody answered.
pub(super) fn was_unreachable(error: &Error) -> bool {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(http) = error.downcast_ref::<HttpError>() {
            return matches!(http.kind(), HttpErrorKind::Connect | HttpErrorKind::Timeout);
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(text: &str) -> Error {
        Error::Generic { store: "S3", source: text.into() }
    }

    /// Scenario: refusals, faults of the server, and broken connections.
    /// Guarantees: only what may pass is tried again.
    #[test]
    fn only_what_may_pass_is_tried_again() {
        for (text, expected) in [
            ("Server returned non-2xx status code: 403 Forbidden: <Error>", false),
            ("Server returned non-2xx status code: 404 Not Found: ", false),
            ("Server returned non-2xx status code: 503 Slow Down: ", true),
            ("Server returned non-2xx status code: 429 Too Many Requests: ", true),
            ("Received non-partial response when range requested", false),
            ("connection closed before message completed", true),
        ] {
            assert_eq!(may_pass(&generic(text)), expected, "{text}");
        }
    }
}
