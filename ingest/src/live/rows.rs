//! Rows between their acknowledgement and the catalog record that covers them.
//!
//! Invariants: batches are in log order; room for a batch is reserved before its frame is logged,
//! so that an acknowledged row always has a place; a batch goes only when it is covered.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use icecore_store::{
    Clock, LiveBatch, LiveRows, LiveSnapshot, LogPosition, PortError, RowBatch, Table, TimeRange,
    WriterId,
};
use tokio::sync::Notify;

use crate::log::Appended;
use crate::metrics::LiveMetrics;

/// The live rows of this process.
#[derive(Debug)]
pub(crate) struct Rows {
    writer: WriterId,
    bytes_max: u64,
    flush_bytes: u64,
    clock: Arc<dyn Clock>,
    metrics: LiveMetrics,
    state: Mutex<State>,
    /// Told when a flush by size is due.
    flush_due: Notify,
}

#[derive(Debug, Default)]
struct State {
    held: VecDeque<Held>,
    rows: u64,
    /// Memory of what is held.
    held_bytes: u64,
    /// Memory of what is held and of what is reserved.
    used_bytes: u64,
}

#[derive(Debug)]
struct Held {
    batch: LiveBatch,
    next: LogPosition,
    bytes: u64,
    since: Duration,
}

/// There is no room for a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("live rows are full: {used_bytes} of {bytes_max} bytes are used and {bytes} are wanted")]
pub(crate) struct Full {
    pub(crate) bytes: u64,
    pub(crate) used_bytes: u64,
    pub(crate) bytes_max: u64,
}

/// Room for a batch that is on its way through the log. Dropped unused, it gives the room back.
#[derive(Debug)]
pub(crate) struct Reservation {
    live: Arc<Rows>,
    rows: Option<RowBatch>,
    bytes: u64,
}

/// The oldest live rows, as one flush takes them.
#[derive(Debug, Clone)]
pub(crate) struct Prefix {
    /// The end of the last batch in the log.
    pub(crate) covers_to: LogPosition,
    /// The batches, in log order.
    pub(crate) batches: Vec<RowBatch>,
    /// How many rows they have.
    pub(crate) rows: u64,
}

impl Rows {
    /// No rows yet. A flush is due at `flush_bytes`.
    pub(crate) fn new(
        writer: WriterId,
        bytes_max: u64,
        flush_bytes: u64,
        clock: Arc<dyn Clock>,
        metrics: LiveMetrics,
    ) -> Self {
        let (state, flush_due) = (Mutex::default(), Notify::new());
        Self { writer, bytes_max, flush_bytes, clock, metrics, state, flush_due }
    }

    /// Room for `rows`, or how full it is.
    pub(crate) fn try_reserve(self: &Arc<Self>, rows: RowBatch) -> Result<Reservation, Full> {
        let bytes = memory_bytes(&rows);
        let mut state = self.state();
        let used_bytes = state.used_bytes;
        if used_bytes + bytes > self.bytes_max {
            return Err(Full { bytes, used_bytes, bytes_max: self.bytes_max });
        }
        state.used_bytes += bytes;
        Ok(Reservation { live: Arc::clone(self), rows: Some(rows), bytes })
    }

    /// Takes rows that the log had at the start, whatever the bound says: the caller flushes as
    /// soon as [`Self::is_flush_due`].
    pub(crate) fn restore(&self, at: Appended, rows: RowBatch) {
        let bytes = memory_bytes(&rows);
        let mut state = self.state();
        state.used_bytes += bytes;
        self.hold(&mut state, at, rows, bytes);
    }

    /// Whether so much is held that it should go to the store.
    pub(crate) fn is_flush_due(&self) -> bool {
        self.state().held_bytes >= self.flush_bytes
    }

    /// Returns when [`Self::is_flush_due`] became true.
    pub(crate) async fn flush_due(&self) {
        self.flush_due.notified().await;
    }

    /// How long the oldest batch has been here; zero where there is none.
    pub(crate) fn oldest_age(&self) -> Duration {
        let now = self.clock.elapsed();
        let oldest = self.state().held.front().map_or(now, |held| held.since);
        let age = now.saturating_sub(oldest);
        self.metrics.oldest(age);
        age
    }

    /// The oldest batches, about `flush_bytes` of them; `None` where there are none.
    pub(crate) fn prefix(&self) -> Option<Prefix> {
        let state = self.state();
        let mut bytes = 0;
        let mut taken = state.held.iter().take_while(|held| {
            let room = bytes < self.flush_bytes;
            bytes += held.bytes;
            room
        });
        let oldest = taken.next()?;
        let mut prefix = Prefix { covers_to: oldest.next, batches: Vec::new(), rows: 0 };
        for held in std::iter::once(oldest).chain(taken) {
            prefix.covers_to = held.next;
            prefix.rows += held.batch.rows.rows.num_rows() as u64;
            prefix.batches.push(held.batch.rows.clone());
        }
        Some(prefix)
    }

    /// Everything before `covered` is in the store.
    pub(crate) fn drop_covered(&self, covered: LogPosition) {
        let mut dropped = Vec::new();
        let mut state = self.state();
        while state.held.front().is_some_and(|held| held.batch.position < covered) {
            let Some(held) = state.held.pop_front() else { break };
            state.rows -= held.batch.rows.rows.num_rows() as u64;
            state.held_bytes -= held.bytes;
            state.used_bytes -= held.bytes;
            dropped.push(held);
        }
        self.metrics.held(state.rows, state.used_bytes);
        drop(state);
        // The memory is given back outside the lock: readers do not wait for it.
        drop(dropped);
    }

    fn hold(&self, state: &mut State, at: Appended, rows: RowBatch, bytes: u64) {
        debug_assert!(
            state.held.back().is_none_or(|newest| newest.next <= at.position),
            "batches are in log order"
        );
        state.rows += rows.rows.num_rows() as u64;
        state.held_bytes += bytes;
        let (batch, since) = (LiveBatch { position: at.position, rows }, self.clock.elapsed());
        state.held.push_back(Held { batch, next: at.next, bytes, since });
        self.metrics.held(state.rows, state.used_bytes);
        if state.held_bytes >= self.flush_bytes {
            self.flush_due.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation {
    /// The frame is durable: its rows become visible. Must be called in log order.
    pub(crate) fn settle(mut self, at: Appended) {
        let Some(rows) = self.rows.take() else { return };
        let live = Arc::clone(&self.live);
        live.hold(&mut live.state(), at, rows, self.bytes);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.rows.is_some() {
            self.live.state().used_bytes -= self.bytes;
        }
    }
}

#[async_trait]
impl LiveRows for Rows {
    async fn live_rows(&self, table: Table, time: TimeRange) -> Result<LiveSnapshot, PortError> {
        let wanted = |rows: &RowBatch| rows.table == table && rows.time.overlaps(&time);
        let state = self.state();
        let found = state.held.iter().map(|held| &held.batch).filter(|batch| wanted(&batch.rows));
        Ok(LiveSnapshot { writer: self.writer, batches: found.cloned().collect() })
    }
}

/// What a batch costs while it is live, with something for the entry itself.
fn memory_bytes(rows: &RowBatch) -> u64 {
    (rows.rows.get_array_memory_size() + size_of::<Held>()) as u64
}

#[cfg(test)]
mod tests;
