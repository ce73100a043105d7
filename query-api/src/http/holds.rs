//! `GET /api/v1/holds`, `PUT /api/v1/holds/{name}`, `DELETE /api/v1/holds/{name}`.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::StatusCode;
use icecore_store::{
    HeldFiles, Hold, HoldName, HoldOutcome, HoldRequest, Snapshot, Table, TimeRange, UnixNanos,
    parse_when,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{ErrorBody, Shared, json_response, read_body};
use crate::Error;

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    from: String,
    to: String,
    #[serde(default, rename = "where")]
    condition: Option<String>,
    #[serde(default)]
    tables: Vec<Table>,
}

/// A hold as callers see it.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    name: &'a HoldName,
    from: String,
    to: String,
    #[serde(rename = "where")]
    condition: Option<&'a str>,
    tables: &'a [Table],
    /// When it was made.
    at: String,
}

impl<'a> Shown<'a> {
    fn of(hold: &'a Hold) -> Self {
        let Hold { name, time, condition, tables, at } = hold;
        let (from, to) = (time.start().to_string(), time.end().to_string());
        Self { name, from, to, condition: condition.as_deref(), tables, at: at.to_string() }
    }
}

/// A hold with the files that it keeps.
#[derive(Debug, Serialize)]
struct ShownFiles<'a> {
    #[serde(flatten)]
    hold: Shown<'a>,
    /// Files with rows in its window, and what they hold; the condition is not looked at.
    files: u64,
    rows: u64,
    bytes: u64,
}

/// Lists the holds that stand.
pub(super) async fn list(State(shared): State<Arc<Shared>>) -> Result<Response, Error> {
    let held = shared.answers.engine.store().holds().await.map_err(Error::of_store)?;
    let shown = |held: &HeldFiles| {
        let &HeldFiles { ref hold, files, rows, bytes } = held;
        json!(ShownFiles { hold: Shown::of(hold), files, rows, bytes })
    };
    let holds: Vec<_> = held.iter().map(shown).collect();
    Ok(json_response(StatusCode::OK, &json!({ "holds": holds })))
}

/// Makes a hold; the same again changes nothing.
pub(super) async fn put(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Error> {
    let name: HoldName = name.parse().map_err(said)?;
    let body = read_body(&shared, request).await?;
    let wish: Wish = serde_json::from_slice(&body).map_err(|error| {
        Error::Hold(format!("the body is no {{\"from\": …, \"to\": …}}: {error}"))
    })?;
    let time = window(&wish.from, &wish.to, shared.answers.clock.now())?;
    let Wish { from: _, to: _, condition, tables } = wish;
    let store = shared.answers.engine.store();
    let outcome = store.hold(HoldRequest { name, time, condition, tables }).await;
    let (status, hold) = match outcome.map_err(Error::of_store)? {
        HoldOutcome::Made(hold) => (StatusCode::CREATED, hold),
        HoldOutcome::Same(hold) => (StatusCode::OK, hold),
        HoldOutcome::Other(hold) => return Ok(other(&hold)),
        HoldOutcome::TooMany(max) => return Ok(too_many(max)),
    };
    let missing = missing(&store.snapshot(), &hold);
    let answer = json!({ "hold": Shown::of(&hold), "missing": missing });
    Ok(json_response(status, &answer))
}

/// Lets a hold go.
pub(super) async fn delete(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
) -> Result<Response, Error> {
    let known: HoldName = name.parse().map_err(said)?;
    let released = shared.answers.engine.store().release(&known).await.map_err(Error::of_store)?;
    let Some(hold) = released else { return Err(Error::UnknownHold(name)) };
    Ok(json_response(StatusCode::OK, &json!({ "released": Shown::of(&hold) })))
}

/// The window between two texts.
pub(super) fn window(from: &str, to: &str, now: UnixNanos) -> Result<TimeRange, Error> {
    let (start, end) = (parse_when(from, now).map_err(said)?, parse_when(to, now).map_err(said)?);
    TimeRange::new(start, end).ok_or_else(|| {
        Error::Hold(format!(
            "the window from `{from}` to `{to}` is empty: it must end after it begins"
        ))
    })
}

/// What of the window is not there: a hold brings nothing back.
fn missing(files: &Snapshot, hold: &Hold) -> Vec<String> {
    let gone = |table: &Table| {
        let first = files.files(*table, hold.time).iter().map(|file| file.time.start()).min();
        match first {
            Some(first) if first <= hold.time.start() => None,
            Some(first) => Some(format!(
                "{table}: no file holds a row from before {first}, and a hold brings nothing back"
            )),
            None => Some(format!("{table}: no file holds a row of this window so far")),
        }
    };
    hold.tables.iter().filter_map(gone).collect()
}

fn other(hold: &Hold) -> Response {
    let Hold { name, time, .. } = hold;
    let text = format!(
        "another hold is called `{name}`: from {} to {}{}",
        time.start(),
        time.end(),
        hold.condition.as_ref().map(|sql| format!(" where {sql}")).unwrap_or_default()
    );
    let hint = "give this one another name, or release that one first";
    ErrorBody::new("conflict", text, hint).into_response(StatusCode::CONFLICT)
}

fn too_many(max: usize) -> Response {
    let text = format!("{max} holds stand, and more cannot");
    let hint = "release one, or widen one that stands nearby";
    ErrorBody::new("conflict", text, hint).into_response(StatusCode::CONFLICT)
}

fn said(error: impl std::fmt::Display) -> Error {
    Error::Hold(error.to_string())
}
