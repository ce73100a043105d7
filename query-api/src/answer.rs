//! Answers on their way to the caller: rows are encoded as they come and handed on in pieces.
//!
//! Invariant: an answer holds a bounded number of rows in memory whatever its length, and one that
//! cannot be finished never looks finished.

mod arrow_stream;
mod batches;
mod csv;
mod format;
mod json;
mod parquet_file;
mod stats;
mod value;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use icecore_store::Clock;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

pub(crate) use self::arrow_stream::{plain_rows, plain_schema};
pub(crate) use self::batches::Batches;
pub(crate) use self::format::Format;
pub(crate) use self::json::JsonLinesEncoder;
pub(crate) use self::stats::Stats;
pub(crate) use self::value::{CellWriter, options as cell_options, type_name};
use crate::Error;
use crate::engine::{Engine, Question, Running};
use crate::http::log;
use crate::limits::{Limits, Threads, Turn};
use crate::metrics::{Metrics, Outcome};
use crate::running::{Caller, Entry, Listed, Queries};

/// Pieces that wait for a slow caller; each is at most what one batch encodes to.
const PIECES_WAITING_MAX: usize = 4;
/// A piece of an answer's body, or why there is no more.
type Piece = Result<Bytes, Error>;
type Pieces = mpsc::Receiver<Piece>;
type Work = AbortOnDropHandle<()>;

/// Writes rows in one format.
pub(crate) trait Encode: Send {
    /// Rows that are encoded into one piece: few where text grows large, all of a batch where
    /// the format has batches of its own.
    fn piece_rows_max(&self) -> usize {
        1024
    }

    /// What comes before the rows.
    fn begin(&mut self) -> Result<Vec<u8>, ArrowError> {
        Ok(Vec::new())
    }

    /// Some rows. May keep bytes back.
    fn rows(&mut self, rows: &RecordBatch) -> Result<Vec<u8>, ArrowError>;

    /// What comes after the rows.
    fn end(&mut self, stats: &Stats) -> Result<Vec<u8>, ArrowError>;

    /// How the format says that the rest is missing; `None` where it has no words for that, and
    /// the answer must break off.
    fn fail(&mut self, _error: &Error, _stats: &Stats) -> Option<Vec<u8>> {
        None
    }
}

/// What is known of an answer before its rows.
#[derive(Debug)]
pub(crate) struct Head {
    /// Names the snapshot.
    pub(crate) snapshot: String,
    /// What is missing, and why.
    pub(crate) incomplete: Vec<String>,
}

impl Head {
    /// What forms without stats have to say of themselves, by the names of headers.
    pub(crate) fn describe(&self, id: String) -> [(&'static str, String); 3] {
        let Self { snapshot, incomplete } = self;
        [
            ("icecore-query-id", id),
            ("icecore-snapshot", snapshot.clone()),
            ("icecore-incomplete", incomplete.join("; ")),
        ]
    }
}

/// An answer that began. Dropping the body ends the query.
pub(crate) struct Answer {
    /// The id under which the query is listed while it runs.
    pub(crate) id: String,
    /// Known before the rows.
    pub(crate) head: Head,
    /// The encoded rows.
    pub(crate) body: BoxStream<'static, Piece>,
}

/// Answers questions.
#[derive(Debug)]
pub(crate) struct Answers {
    pub(crate) engine: Engine,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) threads: Threads,
    pub(crate) queries: Arc<Queries>,
}

/// A query whose turn it is.
#[derive(Debug)]
pub(crate) struct Admitted {
    listed: Listed,
    _turn: Turn,
}

impl Admitted {
    /// Its place in the list.
    pub(crate) fn entry(&self) -> &Entry {
        &self.listed
    }
}

impl Answers {
    /// Runs the query on the query threads. Returns once the first rows are there, so that what
    /// goes wrong before them is told by the status of the answer.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        question: Question,
        format: Format,
        caller: &Caller,
    ) -> Result<Answer, Error> {
        let admitted = self.admit(caller, &question.sql).await?;
        let id = admitted.listed.id().to_owned();
        let (head, headed) = oneshot::channel();
        let (pieces, waiting) = mpsc::channel(PIECES_WAITING_MAX);
        let (answers, sink) = (Arc::clone(self), Sink { head: Some(head), pieces });
        let work = self.threads.spawn(async move {
            let late = answers.run(&question, format, sink, admitted.entry()).await;
            drop(admitted);
            if let Some((sink, error)) = late {
                sink.fail(error).await;
            }
        });
        let head = headed.await.unwrap_or(Err(Error::Lost))?;
        let body = stream::unfold(work.map(|work| (waiting, work)), next_piece);
        Ok(Answer { id, head, body: body.boxed() })
    }

    /// Lists a query and waits for its turn; counts one that gets none.
    pub(crate) async fn admit(&self, caller: &Caller, sql: &str) -> Result<Admitted, Error> {
        let listed = self.queries.list(caller, sql)?;
        let turn = tokio::select! {
            turn = self.limits.turn(caller.client) => turn,
            () = listed.ended() => Err(Error::Cancelled),
        };
        let turn = turn.inspect_err(|error| self.metrics.turned_away(Outcome::of(error)))?;
        listed.started();
        Ok(Admitted { listed, _turn: turn })
    }

    /// Work under the bounds of one query: its time, what it may fetch, and whoever ends it.
    pub(crate) async fn bounded<T>(
        &self,
        entry: &Entry,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::select! {
            biased;
            done = work => done,
            error = self.limits.passed(entry) => Err(error),
            () = entry.ended() => Err(Error::Cancelled),
        }
    }

    /// Runs a query to its end. An error is left to be told without a turn, because the caller may
    /// never read so far.
    async fn run(
        &self,
        question: &Question,
        format: Format,
        mut sink: Sink,
        entry: &Entry,
    ) -> Option<(Sink, Error)> {
        let counted = Counted::begin(&self.metrics, &self.clock);
        let produced = self.produce(question, format, &mut sink, (entry, &counted));
        match self.bounded(entry, produced).await {
            Ok(outcome) => {
                counted.end(outcome);
                None
            }
            Err(error) => {
                counted.end(Outcome::of(&error));
                Some((sink, error))
            }
        }
    }

    async fn produce(
        &self,
        question: &Question,
        format: Format,
        sink: &mut Sink,
        (entry, counted): (&Entry, &Counted<'_>),
    ) -> Result<Outcome, Error> {
        let Running { schema, mut rows, snapshot, stats, notes } =
            self.engine.start(question, &self.limits).await?;
        entry.reads(&stats);
        let encode_error =
            |source| Error::Encode { format: format.name(), source: Box::new(source) };
        let mut first = rows.next().await.transpose().map_err(|e| self.limits.explain(e))?;
        self.limits.check(first.as_ref().map_or(0, RecordBatch::num_rows), entry)?;
        let mut encoder = format.encoder(&schema).map_err(encode_error)?;
        let incomplete = snapshot.incomplete.clone();
        if !incomplete.is_empty() {
            self.metrics.incomplete();
        }
        let head = Head { snapshot: snapshot.files.id(), incomplete };
        let stats = |rows: usize| {
            Stats::new(&snapshot, stats.figures(), rows as u64, counted.elapsed(), notes.clone())
        };
        if !sink.begin(head, encoder.begin().map_err(encode_error)?).await {
            return Ok(Outcome::Cancelled);
        }
        let mut sent = 0_usize;
        while let Some(batch) = first.take() {
            entry.sent(batch.num_rows());
            let encoded = send_batch(&batch, &schema, encoder.as_mut(), sink, &self.metrics).await;
            sent += batch.num_rows();
            let next = match encoded.map_err(encode_error) {
                Ok(false) => return Ok(Outcome::Cancelled),
                Ok(true) => rows.next().await.transpose().map_err(|e| self.limits.explain(e)),
                Err(error) => Err(error),
            };
            let next = next.and_then(|next| {
                let more = next.as_ref().map_or(0, RecordBatch::num_rows);
                self.limits.check(sent + more, entry).map(|()| next)
            });
            first = match next {
                Ok(next) => next,
                Err(error) => return sink.break_off(encoder.as_mut(), error, &stats(sent)).await,
            };
        }
        let rest = encoder.end(&stats(sent)).map_err(encode_error)?;
        self.metrics.sent(0, rest.len() as u64);
        let whole = sink.send(Ok(rest)).await;
        Ok(if whole { Outcome::Answered } else { Outcome::Cancelled })
    }
}

/// The next piece of a body, and what is left of it. A query that died without a word breaks its
/// answer off, which else would look whole.
async fn next_piece(left: Option<(Pieces, Work)>) -> Option<(Piece, Option<(Pieces, Work)>)> {
    let (mut pieces, work) = left?;
    match pieces.recv().await {
        Some(piece) => Some((piece, Some((pieces, work)))),
        None => work.await.is_err().then(|| (Err(Error::Lost), None)),
    }
}

/// Encodes a batch in pieces; false where the caller is gone.
async fn send_batch(
    batch: &RecordBatch,
    schema: &SchemaRef,
    encoder: &mut dyn Encode,
    sink: &mut Sink,
    metrics: &Metrics,
) -> Result<bool, ArrowError> {
    let step = encoder.piece_rows_max();
    for start in (0..batch.num_rows()).step_by(step) {
        let rows = batch.slice(start, step.min(batch.num_rows() - start));
        let rows = with_schema(&rows, schema)?;
        let piece = encoder.rows(&rows)?;
        metrics.sent(rows.num_rows() as u64, piece.len() as u64);
        if !sink.send(Ok(piece)).await {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The same rows under the schema that the caller sees; only marks on fields differ.
fn with_schema(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), rows.columns().to_vec(), &options)
}

/// Where an answer goes.
struct Sink {
    head: Option<oneshot::Sender<Result<Head, Error>>>,
    pieces: mpsc::Sender<Piece>,
}

impl Sink {
    /// Says that rows follow; false where the caller is gone.
    async fn begin(&mut self, head: Head, piece: Vec<u8>) -> bool {
        let told = self.head.take().is_some_and(|sender| sender.send(Ok(head)).is_ok());
        told && self.send(Ok(piece)).await
    }

    async fn send(&mut self, piece: Result<Vec<u8>, Error>) -> bool {
        if piece.as_ref().is_ok_and(Vec::is_empty) {
            return true;
        }
        self.pieces.send(piece.map(Bytes::from)).await.is_ok()
    }

    /// Ends an answer that has begun as its format can: with the error in it, or not at all.
    async fn break_off(
        &mut self,
        encoder: &mut dyn Encode,
        error: Error,
        stats: &Stats,
    ) -> Result<Outcome, Error> {
        let Some(words) = encoder.fail(&error, stats) else { return Err(error) };
        log(&error);
        let outcome = Outcome::of(&error);
        self.send(Ok(words)).await;
        Ok(outcome)
    }

    /// Tells the error in the place that is left: the status, or the broken end of the body, where
    /// nobody else logs it.
    async fn fail(mut self, error: Error) {
        match self.head.take() {
            // A caller that is gone needs no error.
            Some(head) => drop(head.send(Err(error))),
            None => {
                log(&error);
                drop(self.pieces.send(Err(error)).await);
            }
        }
    }
}

/// A query in the figures, from its start to its end or to the caller's leaving.
pub(crate) struct Counted<'m> {
    metrics: &'m Metrics,
    clock: &'m Arc<dyn Clock>,
    start: Duration,
    ended: bool,
}

impl<'m> Counted<'m> {
    /// Begins now.
    pub(crate) fn begin(metrics: &'m Metrics, clock: &'m Arc<dyn Clock>) -> Self {
        metrics.started();
        Self { metrics, clock, start: clock.elapsed(), ended: false }
    }

    fn elapsed(&self) -> Duration {
        self.clock.elapsed().saturating_sub(self.start)
    }

    /// Ends as `outcome`.
    pub(crate) fn end(mut self, outcome: Outcome) {
        self.ended = true;
        self.metrics.ended(outcome, self.elapsed());
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.metrics.ended(Outcome::Cancelled, self.elapsed());
        }
    }
}

#[cfg(test)]
mod tests;
