//! A query that is bound to its values, and its rows on their way.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::writer::EncoderOptions;
use arrow::util::display::FormatOptions;
use futures::stream::StreamExt as _;

use super::cell::Cells;
use super::types::{Type, written_type};
use super::wire::{ColumnHead, Writer};
use crate::Error;
use crate::answer::{Answers, Batches, cell_options};
use crate::engine::Question;
use crate::running::Caller;

/// A query whose rows come. It ends when this is dropped.
pub(super) struct Running {
    /// As the engine has the columns, and as they are written.
    marked: SchemaRef,
    written: SchemaRef,
    batches: Batches,
    left: Option<(RecordBatch, usize)>,
    options: EncoderOptions,
    /// Rows that were handed on.
    pub(super) rows: usize,
}

impl Running {
    /// Asks the query.
    pub(super) async fn start(
        answers: &Arc<Answers>,
        question: Question,
        caller: &Caller,
    ) -> Result<Self, Error> {
        let batches = answers.batches(question, caller).await?;
        let written = |field: &Arc<Field>| {
            let written = written_type(field.data_type());
            Field::new(field.name(), written, field.is_nullable())
        };
        let fields: Vec<Field> = batches.schema.fields().iter().map(written).collect();
        let written = Arc::new(Schema::new(fields));
        let marked = Arc::clone(&batches.marked);
        Ok(Self { marked, written, batches, left: None, options: cell_options(), rows: 0 })
    }

    /// What is missing from the answer.
    pub(super) fn incomplete(&self) -> &[String] {
        &self.batches.head.incomplete
    }

    /// The columns, in the forms that were asked for.
    pub(super) fn heads(&self, forms: &[bool]) -> Vec<ColumnHead> {
        heads(&self.marked, forms)
    }

    /// Writes the next rows, at most `most` of one batch; false where there are no more.
    pub(super) async fn write(
        &mut self,
        out: &mut Writer,
        forms: &[bool],
        most: usize,
    ) -> Result<bool, Error> {
        let (batch, from) = match self.left.take() {
            Some(left) => left,
            None => match self.batches.rows.next().await {
                None => return Ok(false),
                Some(batch) => (self.as_written(&batch?).map_err(not_written)?, 0),
            },
        };
        let to = batch.num_rows().min(from.saturating_add(most));
        self.write_rows(out, forms, &batch, from..to).map_err(not_written)?;
        self.rows += to - from;
        if to < batch.num_rows() {
            self.left = Some((batch, to));
        }
        Ok(true)
    }

    fn write_rows(
        &self,
        out: &mut Writer,
        forms: &[bool],
        batch: &RecordBatch,
        rows: std::ops::Range<usize>,
    ) -> Result<(), ArrowError> {
        let shown = FormatOptions::default();
        let fields = self.marked.fields().iter().zip(self.written.fields());
        let cells = fields.zip(batch.columns()).map(|((marked, field), column)| {
            Cells::of(marked, field, column, &self.options, &shown)
        });
        let mut cells = cells.collect::<Result<Vec<_>, _>>()?;
        let binary: Vec<bool> = (0..cells.len()).map(|at| form(forms, at)).collect();
        for row in rows {
            out.row(&mut cells, row, &binary);
        }
        Ok(())
    }

    /// The batch in the types that are written.
    fn as_written(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let columns = self.written.fields().iter().zip(batch.columns());
        let columns = columns.map(|(field, column)| as_type(column, field));
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        RecordBatch::try_new_with_options(Arc::clone(&self.written), columns, &options)
    }
}

fn as_type(column: &ArrayRef, field: &Field) -> Result<ArrayRef, ArrowError> {
    if field.data_type() == column.data_type() {
        Ok(Arc::clone(column))
    } else {
        cast(column, field.data_type())
    }
}

/// The columns of an answer, in the forms that were asked for.
pub(super) fn heads(marked: &Schema, forms: &[bool]) -> Vec<ColumnHead> {
    let head = |(at, field): (usize, &Arc<Field>)| ColumnHead {
        name: field.name().clone(),
        of: Type::of_field(field),
        binary: form(forms, at),
    };
    marked.fields().iter().enumerate().map(head).collect()
}

/// The form of a column or value: one for all, or one for each.
pub(super) fn form(forms: &[bool], at: usize) -> bool {
    match forms {
        [] => false,
        [all] => *all,
        each => each.get(at).copied().unwrap_or_default(),
    }
}

fn not_written(source: ArrowError) -> Error {
    Error::Encode { format: "PostgreSQL rows", source: Box::new(source) }
}
