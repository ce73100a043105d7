//! Requests to the query API; an error answer becomes a failure with its hint.

use std::time::Duration;

use serde_json::Value;

use crate::error::Failure;

/// Where the query API of a command is.
pub(super) fn url(matches: &clap::ArgMatches) -> &str {
    matches.get_one::<String>("url").map(String::as_str).unwrap_or_default()
}

/// Asks for a path.
pub(super) async fn get(url: &str, path: &str) -> Result<reqwest::Response, Failure> {
    ask(reqwest::Method::GET, url, path, None).await
}

/// Asks for a path that answers JSON.
pub(super) async fn get_json(url: &str, path: &str) -> Result<Value, Failure> {
    json_of(get(url, path).await?).await
}

/// Sends a request that may have a body in JSON.
pub(super) async fn ask(
    method: reqwest::Method,
    url: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<reqwest::Response, Failure> {
    let address = format!("{}{path}", url.trim_end_matches('/'));
    let request = http()?.request(method, &address);
    let request = match body {
        Some(body) => request.json(body),
        None => request,
    };
    checked(request.send().await, url).await
}

/// A body in JSON.
pub(super) async fn json_of(response: reqwest::Response) -> Result<Value, Failure> {
    let answer = response.json().await;
    answer.map_err(|error| Failure::from_error("the answer is not JSON", &error))
}

/// A client that waits for a connection for ten seconds, and for an answer for ever.
pub(super) fn http() -> Result<reqwest::Client, Failure> {
    reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(10))
        .build()
        .map_err(|error| Failure::from_error("cannot make an HTTP client", &error))
}

/// The answer, or why there is none.
pub(super) async fn checked(
    sent: Result<reqwest::Response, reqwest::Error>,
    url: &str,
) -> Result<reqwest::Response, Failure> {
    let response = sent.map_err(|error| {
        let why = crate::error::chain(&error);
        Failure::failed(format!(
            "no answer from {url}: {why}; is `icecore run` up, and is --url right?"
        ))
    })?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let answer: Value = response.json().await.unwrap_or_default();
    let Some(text) = said(&answer["error"]) else {
        let hint = "is the query API of Icecore there (`http_addr`)?";
        return Err(Failure::failed(format!("{url} answered {status}; {hint}")));
    };
    Err(match status {
        reqwest::StatusCode::NOT_FOUND => Failure::nothing_found(text),
        // A parameter of a script, which is given on the command line as a flag is.
        _ if answer["error"]["parameter"].is_string() => Failure::usage(text),
        _ => Failure::failed(text),
    })
}

/// What an `error` of an answer says: fact, then hint.
pub(super) fn said(error: &Value) -> Option<String> {
    let part = |name: &str| error[name].as_str().unwrap_or_default();
    let (message, hint) = (part("message"), part("hint"));
    match (message, hint) {
        ("", _) => None,
        (message, "") => Some(message.to_owned()),
        (message, hint) => Some(format!("{message}; {hint}")),
    }
}
