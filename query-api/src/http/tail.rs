//! `GET /api/v1/tail?table=spans&where=…`: server-sent events, one row each.
//!
//! Events without a name are rows. `sample` says, about once a second, what became of the rows that
//! arrived; `error` is the last one. A comment keeps the connection open where nothing arrives. Who looks
//! on is in the list of queries, and is ended there by its id.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use bytes::Bytes;
use futures::{Stream, stream};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use icecore_store::Table;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::{ErrorBody, Shared, log};
use crate::answer::{Encode as _, JsonLinesEncoder};
use crate::metrics::Present;
use crate::running::{Caller, Listed};
use crate::tail::{Follower, Seen, Wanted};
use crate::{Config, Error};

/// How often an account is given of what was seen.
const ACCOUNT_EVERY: Duration = Duration::from_secs(1);
/// Accounts without a row after which a comment shows that the connection stands.
const SILENT_ACCOUNTS: u32 = 10;

/// A piece that waits for the caller, and a place for the last one, which says how it ended.
const PIECES_MAX: usize = 2;

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    #[serde(default)]
    table: Option<String>,
    #[serde(default, rename = "where")]
    condition: Option<String>,
    #[serde(default)]
    rows_per_second: Option<u64>,
}

/// Who looks on, and how many may.
#[derive(Debug)]
pub(crate) struct Tails {
    turns: Arc<Semaphore>,
    tails_max: usize,
    rows_per_second_max: u64,
}

impl Tails {
    /// Nobody yet.
    pub(super) fn new(config: &Config) -> Self {
        let Config { tails_max, tail_rows_per_second_max: rows_per_second_max, .. } = *config;
        Self { turns: Arc::new(Semaphore::new(tails_max)), tails_max, rows_per_second_max }
    }

    fn turn(&self) -> Result<OwnedSemaphorePermit, Error> {
        let turn = Arc::clone(&self.turns).try_acquire_owned();
        turn.map_err(|_full| Error::Tails { tails_max: self.tails_max })
    }
}

/// Sends rows until the caller leaves or the service stops.
pub(super) async fn answer(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Error> {
    let Query(asked) = asked.map_err(|error| Error::Request(error.body_text()))?;
    let Asked { table, condition, rows_per_second } = asked;
    let name = table.as_deref().unwrap_or("spans");
    let table: Table =
        name.parse().map_err(|_unknown| Error::Request(format!("there is no table `{name}`")))?;
    let turn = shared.tails.turn()?;
    let most = shared.tails.rows_per_second_max;
    let rows_per_second = rows_per_second.unwrap_or(most).clamp(1, most);
    let wanted = Wanted { table, condition, rows_per_second };
    let listed = shared.answers.queries.list_tail(&caller, &said(&wanted))?;
    let id = HeaderValue::from_str(listed.id()).map_err(|_not_text| Error::Lost)?;
    let follower = Follower::start(Arc::clone(&shared.answers), wanted).await?;
    let mut response = Response::new(Body::from_stream(events(shared, follower, listed, turn)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert("icecore-query-id", id);
    Ok(response)
}

/// What is looked at, for the list of queries.
fn said(wanted: &Wanted) -> String {
    let condition = wanted.condition.as_ref().map(|sql| format!(" WHERE {sql}"));
    format!("TAIL {}{}", wanted.table, condition.unwrap_or_default())
}

/// Pieces until the caller leaves, somebody ends it, or the service stops.
fn events(
    shared: Arc<Shared>,
    follower: Follower,
    listed: Listed,
    turn: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
    let stop = shared.stop.clone();
    let (sender, pieces) = mpsc::channel(PIECES_MAX);
    let events = Events {
        encoder: JsonLinesEncoder::new(follower.schema()),
        follower,
        seen: Seen::default(),
        accounted: shared.answers.clock.elapsed(),
        silent: 0,
        listed: Arc::new(listed),
        _looking: shared.answers.metrics.looking(),
        shared,
        _turn: turn,
    };
    let work = AbortOnDropHandle::new(tokio::spawn(events.send(sender, stop)));
    stream::unfold((pieces, work), |(mut pieces, work)| async move {
        pieces.recv().await.map(|piece| (Ok(piece), (pieces, work)))
    })
}

/// What is sent to one caller.
struct Events {
    follower: Follower,
    encoder: JsonLinesEncoder,
    /// Since the last account.
    seen: Seen,
    accounted: Duration,
    /// Accounts that had nothing to say.
    silent: u32,
    shared: Arc<Shared>,
    listed: Arc<Listed>,
    _turn: OwnedSemaphorePermit,
    _looking: Present,
}

impl Events {
    /// Sends until there is an end to it, also where the caller takes nothing: then it is not asked for more,
    /// but ended all the same.
    async fn send(mut self, sender: mpsc::Sender<Bytes>, stop: CancellationToken) {
        let listed = Arc::clone(&self.listed);
        let failed = tokio::select! {
            failed = self.send_all(&sender) => failed,
            () = listed.ended() => Some(Error::Cancelled),
            () = stop.cancelled() => None,
        };
        if let Some(error) = failed {
            log(&error);
            // There is a place for it: see PIECES_MAX. Nobody may be there to hear it.
            drop(sender.try_send(event("error", &ErrorBody::of(&error))));
        }
    }

    /// Sends until the caller is gone, or something fails.
    async fn send_all(&mut self, sender: &mpsc::Sender<Bytes>) -> Option<Error> {
        loop {
            let piece = match self.next().await {
                Ok(piece) => piece,
                Err(error) => return Some(error),
            };
            let mut places = sender.reserve_many(PIECES_MAX).await.ok()?;
            places.next()?.send(piece);
        }
    }

    /// The next events; waits for as long as there are none.
    async fn next(&mut self) -> Result<Bytes, Error> {
        loop {
            let (batches, seen) = self.follower.look().await?;
            self.seen = self.seen.plus(&seen);
            self.listed.sent(usize::try_from(seen.shown).unwrap_or(usize::MAX));
            self.shared.answers.metrics.tailed(&seen);
            let mut out = Vec::new();
            for batch in batches {
                self.rows(&batch, &mut out)?;
            }
            let now = self.shared.answers.clock.elapsed();
            if now.saturating_sub(self.accounted) >= ACCOUNT_EVERY {
                self.accounted = now;
                out.extend_from_slice(&self.account());
            }
            if !out.is_empty() {
                return Ok(Bytes::from(out));
            }
        }
    }

    /// An event for each row.
    fn rows(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), Error> {
        let encode_error = |source| Error::Encode { format: "events", source: Box::new(source) };
        let lines = self.encoder.rows(batch).map_err(encode_error)?;
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(line);
            out.push(b'\n');
        }
        Ok(())
    }

    fn account(&mut self) -> Bytes {
        let seen = std::mem::take(&mut self.seen);
        if seen != Seen::default() {
            self.silent = 0;
            return event("sample", &seen);
        }
        self.silent += 1;
        let silence = self.silent.is_multiple_of(SILENT_ACCOUNTS);
        Bytes::from_static(if silence { b": nothing arrived\n\n" } else { b"" })
    }
}

fn event(name: &str, data: &impl serde::Serialize) -> Bytes {
    let data = serde_json::to_string(data).unwrap_or_default();
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}
