//! `POST /api/v1/erase`: what is erased, told line by line while it happens.
//!
//! Invariant: an erasure that began goes on to its end, whether or not its caller still listens.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use icecore_store::{
    DeletionReport, EraseProgress, EraseReport, EraseRequest, Flushed, Leftover, Table,
    TableDeletion, TimeRange, UnixNanos, parse_when,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::holds::window;
use super::sql::check_json;
use super::{ErrorBody, Shared, read_body};
use crate::Error;

/// Lines that wait for a slow caller; more are left out, but for the last.
const LINES_WAITING_MAX: usize = 256;

/// What is to be forgotten.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    #[serde(rename = "where")]
    condition: String,
    #[serde(default)]
    tables: Vec<Table>,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    to: Option<String>,
    #[serde(default)]
    by: String,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    now: bool,
    #[serde(default)]
    wait: bool,
}

/// Erases, and answers with a line for each step; the last has the report or an error.
pub(super) async fn answer(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Error> {
    if !shared.erase {
        return Err(Error::EraseOff);
    }
    check_json(request.headers())?;
    let body = read_body(&shared, request).await?;
    let wish: Wish = serde_json::from_slice(&body)
        .map_err(|error| Error::Hold(format!("the body is no {{\"where\": …}}: {error}")))?;
    let asked = erase_request(wish, shared.answers.clock.now())?;
    let turn = Arc::clone(&shared.erasing).try_acquire_owned();
    let turn = turn.map_err(|_taken| Error::Erasing)?;
    let (lines, mut waiting) = mpsc::channel(LINES_WAITING_MAX);
    let worker = Arc::clone(&shared);
    tokio::spawn(async move {
        run(&worker, asked, &lines).await;
        drop(turn);
    });
    // What is wrong with the request is told by the status.
    let Some(first) = waiting.recv().await else { return Err(Error::Lost) };
    let first = match first {
        Line::Failed(error) => return Err(error),
        Line::Said(value) => value,
    };
    let rest = stream::unfold(waiting, async |mut waiting| Some((waiting.recv().await?, waiting)));
    let rest = rest.map(Line::into_value);
    let lines = stream::once(async { first }).chain(rest);
    let body =
        lines.map(|line| Ok::<_, std::convert::Infallible>(Bytes::from(format!("{line}\n"))));
    let mut response = Response::new(Body::from_stream(body));
    *response.status_mut() = StatusCode::OK;
    let ndjson = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(CONTENT_TYPE, ndjson);
    Ok(response)
}

enum Line {
    Said(Value),
    Failed(Error),
}

impl Line {
    fn into_value(self) -> Value {
        match self {
            Self::Said(value) => value,
            Self::Failed(error) => json!({ "error": ErrorBody::of(&error) }),
        }
    }
}

async fn run(shared: &Shared, request: EraseRequest, lines: &mpsc::Sender<Line>) {
    let tell = |progress| {
        // A caller that is slow, or gone, misses a step and never the end.
        drop(lines.try_send(Line::Said(json!({ "progress": step(progress) }))));
    };
    let store = shared.answers.engine.store();
    let flush = shared.flush.clone();
    let last = match store.erase(request, flush, &tell).await {
        Ok(report) => Line::Said(json!({ "report": shown(&report) })),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "an erasure broke off");
            Line::Failed(Error::of_store(error))
        }
    };
    // A caller that is gone finds the record of it in the catalog.
    drop(lines.send(last).await);
}

fn erase_request(wish: Wish, now: UnixNanos) -> Result<EraseRequest, Error> {
    let Wish { condition, tables, from, to, by, dry_run, now: at_once, wait } = wish;
    let time = match (&from, &to) {
        (None, None) => TimeRange::ALL,
        (Some(from), None) => {
            let start = parse_when(from, now).map_err(|error| Error::Hold(error.to_string()))?;
            TimeRange::new(start, TimeRange::ALL.end()).unwrap_or(TimeRange::ALL)
        }
        (None, Some(to)) => {
            let end = parse_when(to, now).map_err(|error| Error::Hold(error.to_string()))?;
            TimeRange::new(TimeRange::ALL.start(), end).unwrap_or(TimeRange::ALL)
        }
        (Some(from), Some(to)) => window(from, to, now)?,
    };
    Ok(EraseRequest { condition, tables, time, by, trial: dry_run, now: at_once, wait })
}

fn step(progress: EraseProgress) -> Value {
    match progress {
        EraseProgress::Flushed(flushed) => json!({ "step": "flushed", "log": log(&flushed) }),
        EraseProgress::Planned { files } => json!({ "step": "planned", "files": files }),
        EraseProgress::Erased { files, rows } => {
            json!({ "step": "erased", "files": files, "rows": rows })
        }
        EraseProgress::Proven { files } => json!({ "step": "proven", "files": files }),
        EraseProgress::Waiting { files, until } => {
            json!({ "step": "waiting", "files": files, "until": until.to_string() })
        }
    }
}

fn shown(report: &EraseReport) -> Value {
    let EraseReport {
        tables,
        time,
        deleted,
        left,
        held,
        proof_files,
        leftovers,
        unreadable,
        gone_by,
        absent,
        versioned,
        log: log_left,
        record,
        salt,
    } = report;
    let (rows, _) = deleted.rows();
    let leftover = |leftover: &Leftover| {
        let Leftover { path, rows, gone_by } = leftover;
        json!({ "path": path, "rows": rows, "gone_by": gone_by.map(|at| at.to_string()) })
    };
    let window = (*time != TimeRange::ALL)
        .then(|| json!({ "from": time.start().to_string(), "to": time.end().to_string() }));
    json!({
        "tables": tables,
        "window": window,
        "rows": rows,
        "deleted": deletion(deleted),
        "left": left,
        "held": held,
        "proof_files": proof_files,
        "leftovers": leftovers.iter().map(leftover).collect::<Vec<_>>(),
        "unreadable": unreadable,
        "gone_by": gone_by.map(|at| at.to_string()),
        "absent": absent,
        "versioned": versioned,
        "log": log_left.as_ref().map(log),
        "record": record,
        "salt": salt,
    })
}

fn deletion(report: &DeletionReport) -> Vec<Value> {
    let one = |deleted: &TableDeletion| {
        let TableDeletion { table, rows, held, dropped, rewritten, bytes_before, bytes_after } =
            deleted;
        json!({
            "table": table, "rows": rows, "held": held, "dropped": dropped, "rewritten": rewritten,
            "bytes_before": bytes_before, "bytes_after": bytes_after,
        })
    };
    report.tables.iter().map(one).collect()
}

fn log(flushed: &Flushed) -> Value {
    let Flushed { writer, covered_to: _, log_bytes } = flushed;
    json!({ "writer": writer.to_string(), "bytes": log_bytes })
}
