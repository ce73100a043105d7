//! Many requests of one signal in common columns.
//!
//! Invariant: a request that [`check`](super::check()) accepted adds exactly the rows that it
//! counted. Texts are kept once a batch, not once a request, and a column is made once.

use arrow::error::ArrowError;
use icecore_store::{RowBatch, Signal};

use super::logs::Logs;
use super::metrics::Metrics;
use super::profiles::Profiles;
use super::rows::{self, Items, Quota, Rows};
use super::spans::Spans;
use super::wanted::Wanted;
use super::{DecodeError, PAYLOAD_BYTES_MAX, refuse};

/// Cells of attribute columns at which a batch should end: 64 MB where each takes four bytes.
pub const CELLS_MAX: usize = 16 << 20;

/// The columns of one table with what all tables have in common.
#[derive(Debug, Default)]
pub(super) struct Columns<T> {
    items: T,
    pub(super) rows: Rows,
}

impl<T: Items> Columns<T> {
    fn of(wanted: Wanted) -> Self {
        Self { items: T::default(), rows: Rows::of(wanted) }
    }

    pub(super) fn read(&mut self, signal: Signal, payload: &[u8]) -> Result<(), DecodeError> {
        rows::read(payload, &mut self.items, &mut self.rows)
            .map_err(|broken| refuse(signal, payload, broken))
    }

    pub(super) fn finish(self) -> Result<Option<RowBatch>, ArrowError> {
        rows::finish(self.items, self.rows)
    }
}

/// Rows of requests that were checked.
#[derive(Debug)]
pub struct Batch(Kind);

#[derive(Debug)]
enum Kind {
    Traces(Box<Columns<Spans>>),
    Metrics(Box<Columns<Metrics>>),
    Logs(Box<Columns<Logs>>),
    Profiles(Box<Columns<Profiles>>),
}

impl Batch {
    /// No rows yet, of which these keys are wanted.
    #[must_use]
    pub fn new(signal: Signal, wanted: Wanted) -> Self {
        Self(match signal {
            Signal::Traces => Kind::Traces(Box::new(Columns::of(wanted))),
            Signal::Metrics => Kind::Metrics(Box::new(Columns::of(wanted))),
            Signal::Logs => Kind::Logs(Box::new(Columns::of(wanted))),
            Signal::Profiles => Kind::Profiles(Box::new(Columns::of(wanted))),
        })
    }

    /// Adds the rows of a request that is not `alone`, in protobuf.
    ///
    /// # Errors
    /// Where the payload is not one that was checked. The batch is then good for nothing.
    pub fn push(&mut self, payload: &[u8]) -> Result<(), DecodeError> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(DecodeError::TooLarge { bytes: payload.len() });
        }
        self.rows_mut().quota = Quota::roomy();
        match &mut self.0 {
            Kind::Traces(columns) => columns.read(Signal::Traces, payload),
            Kind::Metrics(columns) => columns.read(Signal::Metrics, payload),
            Kind::Logs(columns) => columns.read(Signal::Logs, payload),
            Kind::Profiles(columns) => columns.read(Signal::Profiles, payload),
        }
    }

    /// Cells of attribute columns, those included that the columns are filled up with at the end,
    /// and what other texts take, in cells.
    #[must_use]
    pub fn cells(&self) -> usize {
        match &self.0 {
            Kind::Traces(columns) => columns.rows.cells(),
            Kind::Metrics(columns) => columns.rows.cells(),
            Kind::Logs(columns) => columns.rows.cells(),
            Kind::Profiles(columns) => columns.rows.cells(),
        }
    }

    /// The rows; `None` where there are none.
    ///
    /// # Errors
    /// Where a payload was not one that was checked: texts are looked at last.
    pub fn finish(self) -> Result<Option<RowBatch>, DecodeError> {
        let (signal, rows) = match self.0 {
            Kind::Traces(columns) => (Signal::Traces, columns.finish()),
            Kind::Metrics(columns) => (Signal::Metrics, columns.finish()),
            Kind::Logs(columns) => (Signal::Logs, columns.finish()),
            Kind::Profiles(columns) => (Signal::Profiles, columns.finish()),
        };
        rows.map_err(|source| DecodeError::Rows { signal, source })
    }

    fn rows_mut(&mut self) -> &mut Rows {
        match &mut self.0 {
            Kind::Traces(columns) => &mut columns.rows,
            Kind::Metrics(columns) => &mut columns.rows,
            Kind::Logs(columns) => &mut columns.rows,
            Kind::Profiles(columns) => &mut columns.rows,
        }
    }
}
