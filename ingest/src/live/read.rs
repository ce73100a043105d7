//! Live rows as queries see them.
//!
//! Invariant: a block that a query was given can be read until the query lets go of it, flush or
//! not: the log under it stays for as long, unless the disk that the log may use runs out.

use std::sync::Arc;

use async_trait::async_trait;
use icecore_store::{
    LiveBlock, LiveRows, LiveSnapshot, LogPosition, PortError, ReadColumn, RowBatch, Signal, Table,
    TimeRange,
};

use super::block::Block;
use super::blocks::Blocks;
use crate::decode::Wanted;
use crate::log::Pin;

/// [`Blocks`] as queries see them.
#[derive(Debug)]
pub(crate) struct Live(pub(crate) Arc<Blocks>);

#[async_trait]
impl LiveRows for Live {
    async fn live_rows(&self, table: Table, time: TimeRange) -> Result<LiveSnapshot, PortError> {
        Ok(snapshot(&self.0, table, time))
    }
}

/// What is live at this moment. Takes microseconds: no row is made.
pub(super) fn snapshot(live: &Arc<Blocks>, table: Table, time: TimeRange) -> LiveSnapshot {
    let signal = Signal::ALL.into_iter().find(|signal| signal.table() == table);
    // First the pin, then the blocks: what a flush takes away after that stays in the log.
    let pin = Arc::new(live.tail().pin());
    let (covered_to, selected) = live.select(signal, &time);
    let blocks = selected.into_iter().filter_map(|block| {
        let (signal, live, pin) = (signal?, Arc::clone(live), Arc::clone(&pin));
        let time = block.time(signal)?;
        Some(Arc::new(Held { live, block, signal, time, _pin: pin }) as Arc<dyn LiveBlock>)
    });
    LiveSnapshot { writer: live.tail().writer_id(), covered_to, blocks: blocks.collect() }
}

/// The rows of one signal of a block, in the hands of a query.
#[derive(Debug)]
struct Held {
    live: Arc<Blocks>,
    block: Arc<Block>,
    signal: Signal,
    time: TimeRange,
    _pin: Arc<Pin>,
}

impl LiveBlock for Held {
    fn position(&self) -> LogPosition {
        self.block.first
    }

    fn next(&self) -> LogPosition {
        self.block.next
    }

    fn time(&self) -> TimeRange {
        self.time
    }

    fn rows(&self) -> u64 {
        self.block.count(self.signal)
    }

    fn trace_prints(&self) -> Option<&[u32]> {
        self.block.trace_prints(self.signal)
    }

    fn read(&self, columns: Option<&[ReadColumn]>) -> Result<Vec<RowBatch>, PortError> {
        let wanted = columns.map_or(Wanted::ALL, Wanted::of);
        self.live.rows(&self.block, self.signal, &wanted)
    }
}
