//! Answers as Arrow batches, for protocols that write rows in a way of their own.
//!
//! Invariant: the same turns, bounds and figures as for any other answer; a stream that ends
//! without an error is whole.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::{mpsc, oneshot};

use super::{Answers, Counted, Head, plain_rows, plain_schema};
use crate::Error;
use crate::engine::{Question, Running};
use crate::metrics::Outcome;
use crate::running::{Caller, Entry};

/// Batches that wait for a slow caller.
const BATCHES_WAITING_MAX: usize = 2;

type Rows = mpsc::Sender<Result<RecordBatch, Error>>;

/// An answer that began. Dropping the rows ends the query.
pub(crate) struct Batches {
    /// The id under which the query is listed while it runs.
    pub(crate) id: String,
    /// Known before the rows.
    pub(crate) head: Head,
    /// Of the rows: types that every reader knows.
    pub(crate) schema: SchemaRef,
    /// The same columns with marks for texts that are JSON.
    pub(crate) marked: SchemaRef,
    /// The rows, as they come; whoever sends them counts their bytes.
    pub(crate) rows: BoxStream<'static, Result<RecordBatch, Error>>,
}

type Begun = oneshot::Sender<Result<(SchemaRef, SchemaRef, Head), Error>>;

impl Answers {
    /// Runs the query on the query threads. Returns once it is planned.
    pub(crate) async fn batches(
        self: &Arc<Self>,
        question: Question,
        caller: &Caller,
    ) -> Result<Batches, Error> {
        let admitted = self.admit(caller, &question.sql).await?;
        let id = admitted.listed.id().to_owned();
        let (begun, begins) = oneshot::channel();
        let (rows, waiting) = mpsc::channel(BATCHES_WAITING_MAX);
        let answers = Arc::clone(self);
        let work = self.threads.spawn(async move {
            let late = answers.run_batches(&question, admitted.entry(), begun, &rows).await;
            drop(admitted);
            if let Some(error) = late {
                // A caller that is gone needs no error.
                drop(rows.send(Err(error)).await);
            }
        });
        let (schema, marked, head) = begins.await.unwrap_or(Err(Error::Lost))?;
        let rows = stream::unfold(work.map(|work| (waiting, work)), |left| async move {
            let (mut waiting, work) = left?;
            match waiting.recv().await {
                Some(batch) => Some((batch, Some((waiting, work)))),
                None => work.await.is_err().then(|| (Err(Error::Lost), None)),
            }
        });
        Ok(Batches { id, head, schema, marked, rows: rows.boxed() })
    }

    /// What the query would answer. Takes a turn like any other, and reads no row.
    pub(crate) async fn describe(
        self: &Arc<Self>,
        question: Question,
        caller: &Caller,
    ) -> Result<SchemaRef, Error> {
        let admitted = self.admit(caller, &question.sql).await?;
        let answers = Arc::clone(self);
        let work = self.threads.spawn(async move {
            let planned = answers.engine.prepare(&question, &answers.limits);
            let prepared = answers.bounded(admitted.entry(), planned).await?;
            Ok(prepared.schema)
        });
        work.ok_or(Error::Lost)?.await.unwrap_or(Err(Error::Lost))
    }

    /// The types of the values that the query takes and that were not given, by their names.
    pub(crate) async fn parameter_types(
        self: &Arc<Self>,
        question: Question,
        caller: &Caller,
    ) -> Result<HashMap<String, Option<DataType>>, Error> {
        let admitted = self.admit(caller, &question.sql).await?;
        let answers = Arc::clone(self);
        let work = self.threads.spawn(async move {
            let types = answers.engine.parameter_types(&question, &answers.limits);
            answers.bounded(admitted.entry(), types).await
        });
        work.ok_or(Error::Lost)?.await.unwrap_or(Err(Error::Lost))
    }

    /// Runs a query to its end. The error of an answer that has begun is left to be told without
    /// a turn, because the caller may never read so far.
    async fn run_batches(
        &self,
        question: &Question,
        entry: &Entry,
        begun: Begun,
        rows: &Rows,
    ) -> Option<Error> {
        let counted = Counted::begin(&self.metrics, &self.clock);
        let mut begun = Some(begun);
        let work = self.produce_batches(question, entry, &mut begun, rows);
        match self.bounded(entry, work).await {
            Ok(outcome) => {
                counted.end(outcome);
                None
            }
            Err(error) => {
                counted.end(Outcome::of(&error));
                let Some(begun) = begun else { return Some(error) };
                // A caller that is gone needs no error.
                drop(begun.send(Err(error)));
                None
            }
        }
    }

    async fn produce_batches(
        &self,
        question: &Question,
        entry: &Entry,
        begun: &mut Option<Begun>,
        sink: &Rows,
    ) -> Result<Outcome, Error> {
        let running = self.engine.start(question, &self.limits).await?;
        let Running { schema, mut rows, snapshot, stats, .. } = running;
        entry.reads(&stats);
        if !snapshot.incomplete.is_empty() {
            self.metrics.incomplete();
        }
        let incomplete = snapshot.incomplete.clone();
        let head = Head { snapshot: snapshot.files.id(), incomplete };
        let (schema, marked) = (plain_schema(&schema), schema);
        let begins = Ok((Arc::clone(&schema), marked, head));
        if begun.take().is_none_or(|begun| begun.send(begins).is_err()) {
            return Ok(Outcome::Cancelled);
        }
        let encode_error = |source| Error::Encode { format: "batches", source: Box::new(source) };
        let mut sent = 0;
        while let Some(batch) = rows.next().await.transpose().map_err(|e| self.limits.explain(e))? {
            sent += batch.num_rows();
            self.limits.check(sent, entry)?;
            let batch = plain_rows(&batch, &schema).map_err(encode_error)?;
            self.metrics.sent(batch.num_rows() as u64, 0);
            entry.sent(batch.num_rows());
            if sink.send(Ok(batch)).await.is_err() {
                return Ok(Outcome::Cancelled);
            }
        }
        Ok(Outcome::Answered)
    }
}
