//! `GET /api/v1/scripts`, `GET` and `POST /api/v1/scripts/{name}`.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::StatusCode;
use http::header::ACCEPT;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::sql::{answer_question, check_json};
use super::{Shared, json_response, read_body};
use crate::Error;
use crate::answer::Format;
use crate::running::Caller;
use crate::scripts::{Listed, Script, Scripts};

/// What a run is told: values for parameters.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    #[serde(default)]
    params: Map<String, Json>,
    /// The same as the parameter `since`.
    #[serde(default)]
    since: Option<Json>,
}

/// Lists all of them, with all that is to be known of each.
pub(super) async fn list(State(shared): State<Arc<Shared>>) -> Result<Response, Error> {
    let Listed { scripts, faults } =
        on_files(&shared.scripts, |scripts| Ok(scripts.list())).await?;
    Ok(json_response(StatusCode::OK, &json!({ "scripts": scripts, "faults": faults })))
}

/// Shows one.
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
) -> Result<Response, Error> {
    let script = find(&shared.scripts, name).await?;
    Ok(json_response(StatusCode::OK, &json!({ "script": script })))
}

/// Runs one; the answer is that of its query.
pub(super) async fn run(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    caller: Caller,
    request: Request,
) -> Result<Response, Error> {
    check_json(request.headers())?;
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    let format = Format::accepted(accept)?;
    let body = read_body(&shared, request).await?;
    let Run { mut params, since } = if body.is_empty() {
        Run::default()
    } else {
        serde_json::from_slice(&body)
            .map_err(|error| Error::Request(format!("the body is no {{\"params\": …}}: {error}")))?
    };
    if let Some(since) = since {
        params.insert("since".to_owned(), since);
    }
    let script = find(&shared.scripts, name).await?;
    let question = script.question(&params, shared.answers.clock.now())?;
    answer_question(&shared, question, format, &caller).await
}

async fn find(scripts: &Scripts, name: String) -> Result<Script, Error> {
    on_files(scripts, move |scripts| scripts.find(&name)).await
}

/// Reads files where that keeps nobody waiting.
async fn on_files<T: Send + 'static>(
    scripts: &Scripts,
    read: impl FnOnce(&Scripts) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let scripts = scripts.clone();
    let read = tokio::task::spawn_blocking(move || read(&scripts)).await;
    read.unwrap_or(Err(Error::Lost))
}
