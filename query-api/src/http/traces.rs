//! `GET /api/v1/traces/{trace_id}`: one trace as OTLP JSON.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use datafusion::error::DataFusionError;
use futures::stream::{self, StreamExt, TryStreamExt};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use icecore_store::{LiveBlock, PortError, Table, TimeRange, TraceId, otlp};

use super::Shared;
use crate::Error;
use crate::answer::{Answers, Counted};
use crate::metrics::Outcome;
use crate::running::{Caller, Entry};

/// Files that are read at one time.
const FILES_READ_MAX: usize = 8;

/// Answers with the whole trace, or 404.
#[tracing::instrument(name = "trace", skip_all)]
pub(super) async fn answer(
    State(shared): State<Arc<Shared>>,
    Path(text): Path<String>,
    caller: Caller,
) -> Result<Response, Error> {
    let id: TraceId = text
        .parse()
        .map_err(|error| Error::Request(format!("{error}: a trace id has 32 of them")))?;
    let answers = Arc::clone(&shared.answers);
    let admitted = answers.admit(&caller, &format!("trace {text}")).await?;
    let work = shared.answers.threads.spawn(async move {
        let found = counted(&answers, id, admitted.entry()).await;
        drop(admitted);
        found
    });
    let Some(work) = work else { return Err(Error::Lost) };
    let body = work.await.unwrap_or(Err(Error::Lost))?;
    let Some(body) = body else { return Err(Error::UnknownTrace(text)) };
    let json = HeaderValue::from_static("application/json");
    Ok(([(CONTENT_TYPE, json)], body).into_response())
}

async fn counted(answers: &Answers, id: TraceId, entry: &Entry) -> Result<Option<Vec<u8>>, Error> {
    let counted = Counted::begin(&answers.metrics, &answers.clock);
    let found = answers.bounded(entry, trace_json(answers, id)).await;
    counted.end(found.as_ref().map_or_else(Outcome::of, |_| Outcome::Answered));
    found
}

async fn trace_json(answers: &Answers, id: TraceId) -> Result<Option<Vec<u8>>, Error> {
    let rows = spans_of(answers, id).await.map_err(store_error)?;
    if rows.is_empty() {
        return Ok(None);
    }
    let traces = otlp::traces(&rows).map_err(store_error)?;
    let encode = |error| Error::Json { what: "the trace", source: error };
    otlp::json(&traces).map(Some).map_err(encode)
}

/// Every span of the trace, in row shape.
async fn spans_of(
    answers: &Answers,
    id: TraceId,
) -> Result<Vec<RecordBatch>, icecore_store::Error> {
    let snapshot = answers.engine.snapshot(&[Table::Spans]).await;
    let store = answers.engine.store();
    let files = store.files_with_trace(&snapshot.files, id).await;
    let told = files.told.into_iter().map(|file| (file, true));
    let from_files = stream::iter(told.chain(files.untold.into_iter().map(|file| (file, false))))
        .map(|(file, told)| store.read_trace(&file, id, told))
        .flatten_unordered(FILES_READ_MAX)
        .try_collect::<Vec<_>>()
        .await?;
    let blocks = snapshot.live_blocks(Table::Spans, TimeRange::ALL).filter(|it| it.may_have(id));
    let mut rows = from_files;
    for block in blocks.cloned().collect::<Vec<_>>() {
        let far = block.is_far();
        let work = move || block_rows(block.as_ref(), id);
        let found = answers.engine.live_reads().read(far, work).await;
        rows.extend(found.map_err(|source| icecore_store::Error::LiveRows { source })?);
    }
    Ok(rows)
}

/// The live rows of one trace.
fn block_rows(block: &dyn LiveBlock, id: TraceId) -> Result<Vec<RecordBatch>, PortError> {
    let rows = block.read(None)?;
    Ok(rows.iter().filter_map(|batch| only(&batch.rows, id)).collect())
}

/// The rows of one trace; `None` where there are none.
fn only(rows: &RecordBatch, id: TraceId) -> Option<RecordBatch> {
    let ids = rows.column_by_name("trace_id")?.as_fixed_size_binary_opt()?;
    let mask: BooleanArray =
        (0..ids.len()).map(|row| Some(ids.is_valid(row) && ids.value(row) == id.0)).collect();
    let found = filter_record_batch(rows, &mask).ok()?;
    (found.num_rows() > 0).then_some(found)
}

fn store_error(error: icecore_store::Error) -> Error {
    let reason = error.to_string();
    Error::Store { reason, source: Box::new(DataFusionError::External(Box::new(error))) }
}
