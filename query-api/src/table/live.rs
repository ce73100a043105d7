//! Reading live rows, block by block.
//!
//! Invariant: a query holds the rows of one block at a time, and of these only what its conditions
//! left. At most half of the query threads' number make live rows, in turns by block: a look-up
//! waits for blocks that others are at, not for their queries, and ingest keeps its share.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::{DataFusionError, Result};
use icecore_store::{LiveBlock, PortError, ReadColumn, RowFilter, Table, select};
use tokio::sync::Semaphore;

use super::scan::store_error;
use super::stats::ScanStats;

/// Blocks of other processes that are read at one time.
const FAR_READS_MAX: usize = 16;

/// The turns of all queries of a service.
#[derive(Debug, Clone)]
pub(crate) struct LiveReads {
    turns: Arc<Semaphore>,
    /// For those who wait for other processes, whose turns are there.
    far: Arc<Semaphore>,
}

/// What a scan asks of each block.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) table: Table,
    pub(super) columns: Vec<ReadColumn>,
    pub(super) filters: Vec<Arc<dyn RowFilter>>,
    pub(super) stats: Arc<ScanStats>,
}

impl LiveReads {
    /// For a service of so many threads.
    pub(crate) fn new(threads: usize) -> Self {
        let turns = Arc::new(Semaphore::new((threads / 2).max(1)));
        Self { turns, far: Arc::new(Semaphore::new(FAR_READS_MAX)) }
    }

    /// Does work that reads a block, which may be far, in its turn, on a thread that may block.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        far: bool,
        work: impl FnOnce() -> Result<T, PortError> + Send + 'static,
    ) -> Result<T, PortError> {
        let stopped = |error: &dyn std::fmt::Display| PortError::Unavailable {
            part: "the query service".to_owned(),
            reason: error.to_string(),
        };
        let turns = if far { &self.far } else { &self.turns };
        let turn = Arc::clone(turns).acquire_owned().await;
        let turn = turn.map_err(|closed| stopped(&closed))?;
        let work = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        work.await.map_err(|panic| stopped(&panic))?
    }

    /// The rows of a block that a scan asks for.
    pub(super) async fn scan(
        &self,
        block: Arc<dyn LiveBlock>,
        asked: Arc<Asked>,
    ) -> Result<Vec<RecordBatch>> {
        self.read(block.is_far(), move || Ok(asked.of(block.as_ref()))).await.map_err(live_error)?
    }
}

impl Asked {
    fn of(&self, block: &dyn LiveBlock) -> Result<Vec<RecordBatch>> {
        let Self { table, columns, filters, stats } = self;
        let looked_at = filters.iter().flat_map(|filter| filter.columns());
        let wanted: Vec<ReadColumn> = columns.iter().chain(looked_at).cloned().collect();
        let rows = block.read(Some(&wanted)).map_err(live_error)?;
        let selected = rows.iter().map(|rows| {
            stats.live(rows.rows.num_rows());
            select(&rows.rows, *table, columns, filters).map_err(store_error)
        });
        selected.collect()
    }
}

/// Live rows that cannot be read, as an error of a query: an answer without them would look whole.
pub(crate) fn live_error(source: PortError) -> DataFusionError {
    DataFusionError::External(Box::new(icecore_store::Error::LiveRows { source }))
}
