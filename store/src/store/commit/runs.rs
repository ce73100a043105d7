//! Rows of a commit become files, a run of about a row group at a time.
//!
//! Invariant: each row is in one file; what is held is one run, and of what came of those before it no more
//! than was asked for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::chance::Chance;
use crate::error::Error;
use crate::files::{FileOrigin, WriteRequest, WrittenFile, row_group_rows, write};
use crate::model::{FileId, RowBatch};
use crate::ports::{Clock, RowPieces};
use crate::store::partition::partition;

/// Memory that a run takes until it is in files, where row groups of that many rows would take more:
/// that of 260,000 data points, of which each series then has some to share its attributes.
pub(super) const RUN_BYTES_MAX: usize = 96 << 20;

/// How often the largest column of a run is there once more: in the order of the file, and encoded.
const COLUMN_COPIES: usize = 2;

/// Rows on their way into files.
pub(super) struct Runs {
    pub(super) pieces: RowPieces,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) chance: Arc<Chance>,
    pub(super) origin: FileOrigin,
    pub(super) rows_max: usize,
    /// The time that it took so far.
    pub(super) took: Duration,
}

impl Runs {
    /// The files of the next runs, until they come to so many bytes, and whether they are the last. Takes
    /// about a microsecond a row and attribute.
    pub(super) fn files(&mut self, bytes_max: usize) -> Result<(Vec<WrittenFile>, bool), Error> {
        let began = self.clock.elapsed();
        let (mut written, mut bytes, mut ended) = (Vec::new(), 0, false);
        while !ended && bytes < bytes_max {
            let run;
            (run, ended) = self.run()?;
            let files = self.written(run)?;
            bytes += files.iter().map(|file| file.bytes.len()).sum::<usize>();
            written.extend(files);
        }
        self.took += self.clock.elapsed().saturating_sub(began);
        Ok((written, ended))
    }

    /// The next run, and whether it is the last.
    fn run(&mut self) -> Result<(Run, bool), Error> {
        let mut run = Run::default();
        for piece in self.pieces.by_ref() {
            run.add(piece.map_err(|source| Error::CommitRows { source })?, self.rows_max);
            if run.groups >= 1.0 || run.bytes() >= RUN_BYTES_MAX {
                return Ok((run, false));
            }
        }
        Ok((run, true))
    }

    /// A file for each table and hour of a run.
    fn written(&self, run: Run) -> Result<Vec<WrittenFile>, Error> {
        let Run { batches, rows, .. } = run;
        let parts = partition(&batches)?;
        drop(batches);
        let requests = parts.into_iter().map(|part| WriteRequest {
            id: FileId(self.chance.id(&*self.clock)),
            table: part.table,
            hour: part.hour,
            rows: part.rows,
            origin: self.origin.clone(),
            // A run ends with a whole piece: the few rows beyond make no row group of their own.
            row_group_rows_max: self.rows_max.max(rows),
        });
        requests.map(write).collect()
    }
}

/// Rows that become files together.
#[derive(Debug, Default)]
struct Run {
    batches: Vec<RowBatch>,
    rows: usize,
    /// The row groups that they would fill, each table its own.
    groups: f64,
    /// By column.
    bytes: HashMap<String, usize>,
}

impl Run {
    fn add(&mut self, batch: RowBatch, rows_max: usize) {
        let rows = batch.rows.num_rows();
        self.rows += rows;
        self.groups += rows as f64 / row_group_rows(batch.table, rows_max).max(1) as f64;
        let fields = batch.rows.schema_ref().fields().iter().zip(batch.rows.columns());
        for (field, column) in fields {
            let bytes = column.get_array_memory_size();
            match self.bytes.get_mut(field.name()) {
                Some(all) => *all += bytes,
                None => drop(self.bytes.insert(field.name().clone(), bytes)),
            }
        }
        self.batches.push(batch);
    }

    /// What it takes until it is in files.
    fn bytes(&self) -> usize {
        let largest = self.bytes.values().max().copied().unwrap_or_default();
        self.bytes.values().sum::<usize>() + COLUMN_COPIES * largest
    }
}
