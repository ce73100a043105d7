//! Errors as callers see them: `{"error":{"code","message","hint"}}` with a fitting status.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use tracing::{error, warn};

use crate::{Error, ErrorKind};

/// What stands under `error`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ErrorBody {
    code: &'static str,
    message: String,
    hint: String,
    /// Where in the SQL.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<u64>,
    /// Of a script.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<String>,
}

impl ErrorBody {
    /// With these words.
    pub(crate) fn new(code: &'static str, message: String, hint: &str) -> Self {
        Self { code, message, hint: hint.to_owned(), line: None, column: None, parameter: None }
    }

    /// The words for an error of the service.
    pub(crate) fn of(error: &Error) -> Self {
        let place = error.place();
        Self {
            code: error.kind().code(),
            message: error.to_string(),
            hint: error.hint(),
            line: place.map(|place| place.line),
            column: place.map(|place| place.column),
            parameter: match error {
                Error::Script { parameter, .. } => Some(parameter.clone()),
                _ => None,
            },
        }
    }

    /// As a whole answer.
    pub(super) fn into_response(self, status: StatusCode) -> Response {
        let body = serde_json::json!({ "error": self }).to_string();
        let json = HeaderValue::from_static("application/json");
        (status, [(CONTENT_TYPE, json)], body).into_response()
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let kind = self.kind();
        log(&self);
        let mut response = ErrorBody::of(&self).into_response(self.status());
        if matches!(kind, ErrorKind::Busy | ErrorKind::Unavailable) {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// The caller's own faults are told to the caller; ours are logged with all their causes.
pub(crate) fn log(failed: &Error) {
    let mut causes = String::new();
    let mut source = std::error::Error::source(failed);
    while let Some(cause) = source {
        causes = if causes.is_empty() { cause.to_string() } else { format!("{causes}: {cause}") };
        source = cause.source();
    }
    match failed.kind() {
        ErrorKind::Internal => error!(error = %failed, causes, "query failed"),
        ErrorKind::Unavailable => warn!(error = %failed, causes, "query failed"),
        _ => tracing::debug!(error = %failed, causes, "query refused"),
    }
}
