//! Live rows as queries see them.
//!
//! Invariant: a block that a query was given can be read until the query lets go of it, flush or
//! not: the log under it stays for as long, unless the disk that the log may use runs out.

use std::sync::Arc;

use async_trait::async_trait;
use icecore_store::{
    LiveBlock, LiveRows, LiveSnapshot, LogPosition, PortError, ReadColumn, RowBatch, Signal, Table,
    TimeRange, TraceId,
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
    let blocks = signal.into_iter().flat_map(|signal| {
        let blocks = live.select(signal, &time).into_iter();
        let (live, pin) = (Arc::clone(live), Arc::clone(&pin));
        blocks.filter_map(move |block| {
            let (live, pin, time) = (Arc::clone(&live), Arc::clone(&pin), block.time(signal)?);
            Some(Arc::new(Held { live, block, signal, time, _pin: pin }) as Arc<dyn LiveBlock>)
        })
    });
    LiveSnapshot { writer: live.tail().writer_id(), blocks: blocks.collect() }
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

    fn may_have(&self, trace: TraceId) -> bool {
        self.block.may_have(self.signal, trace)
    }

    fn read(&self, columns: Option<&[ReadColumn]>) -> Result<Vec<RowBatch>, PortError> {
        let wanted = columns.map_or(Wanted::ALL, Wanted::of);
        self.live.rows(&self.block, self.signal, &wanted)
    }
}
