//! `POST /api/v1/sql`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use futures::stream::StreamExt;
use http::HeaderValue;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, VARY};
use serde::Deserialize;

use super::{Shared, read_body};
use crate::Error;
use crate::answer::{Answer, Format, Head};
use crate::engine::Question;
use crate::expand::Params;
use crate::running::Caller;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SqlRequest {
    query: String,
    #[serde(default)]
    params: serde_json::Value,
}

/// Answers a query in the format that `Accept` wants.
#[tracing::instrument(name = "query", skip_all)]
pub(super) async fn answer(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Error> {
    check_json(request.headers())?;
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    let format = Format::accepted(accept)?;
    let body = read_body(&shared, request).await?;
    let SqlRequest { query: sql, params } = serde_json::from_slice(&body)
        .map_err(|error| Error::Request(format!("the body is no {{\"query\": …}}: {error}")))?;
    let params = Params::of_request(&params)?;
    answer_question(&shared, Question { sql, params }, format, &caller).await
}

/// Streams the answer of a question.
pub(super) async fn answer_question(
    shared: &Shared,
    question: Question,
    format: Format,
    caller: &Caller,
) -> Result<Response, Error> {
    let Answer { id, head, body } = shared.answers.answer(question, format, caller).await?;
    let mut response = Response::new(Body::from_stream(body.map(|piece| piece.map_err(broken))));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    headers.insert(VARY, HeaderValue::from_static("accept"));
    describe(headers, &head, id);
    Ok(response)
}

/// What formats without stats have to say of themselves.
fn describe(headers: &mut HeaderMap, head: &Head, id: String) {
    for (name, text) in head.describe(id) {
        if let Some(value) = HeaderValue::from_str(&text).ok().filter(|value| !value.is_empty()) {
            headers.insert(name, value);
        }
    }
}

/// A form of another site's page cannot send this type without asking first, and is never told yes.
pub(super) fn check_json(headers: &HeaderMap) -> Result<(), Error> {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = given.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Error::ContentType { given: given.to_owned() })
}

/// The body breaks off here, which is how its reader learns that it is not whole.
fn broken(error: Error) -> Error {
    tracing::warn!(%error, "an answer broke off");
    error
}
