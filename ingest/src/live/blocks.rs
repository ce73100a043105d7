//! Which stretches of the log are live, and their rows for whoever asks.
//!
//! Rows are not kept here but in the log, packed: a request costs no memory once it is there. They
//! are made when a query wants them, and again when they are flushed.
//!
//! Invariants: blocks are in log order, without gaps between requests; a request is in a block
//! before its sender hears of success; a block goes only after the store has committed all of it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use icecore_store::{
    Clock, CommitRows, LogPosition, PortError, RowBatch, RowPieces, Signal, TimeRange,
};
use tokio::sync::Notify;

use super::block::{Block, LiveRequest};
use crate::decode::Wanted;
use crate::log::{Appended, Tail};
use crate::metrics::Metrics;
use crate::pace::Pace;

/// Requests of one block, unpacked: enough that common columns pay, little enough that the rows of
/// one take a few megabytes.
const BLOCK_BYTES: u64 = 8 << 20;

/// Rows of one block, where they are very small.
const BLOCK_ROWS: u64 = 1 << 17;

/// Requests of a block, unpacked, that is made again rather than followed by another one: queries
/// seal what came since the last one, and must not leave a block each.
const JOINED_BYTES_MAX: u64 = 256 << 10;

/// Bytes of the log that are read at a time where a block is made anew.
const CHUNK_BYTES: usize = 1 << 20;

/// The live rows of this process.
#[derive(Debug)]
pub(crate) struct Blocks {
    settings: BlocksSettings,
    tail: Arc<Tail>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    cache: Arc<Cache>,
    pace: Arc<Pace>,
    state: Mutex<State>,
    /// Told when a flush by size is due.
    flush_due: Notify,
}

/// The bounds of live rows, in bytes.
#[derive(Debug, Clone)]
pub(crate) struct BlocksSettings {
    /// Requests, unpacked, at which a flush is due, and that one flush takes.
    pub(crate) flush_bytes: u64,
    /// Memory of rows that are kept for the next query.
    pub(crate) cache_bytes_max: u64,
}

#[derive(Debug, Default)]
struct State {
    sealed: VecDeque<Arc<Block>>,
    open: Option<Block>,
    rows: u64,
    bytes: u64,
    covered: LogPosition,
    /// How far a flush has taken blocks: their ends are where commits end.
    flushing_to: LogPosition,
    /// How far somebody asked for a flush.
    wanted_to: LogPosition,
}

/// The memory of rows that are kept for the next query.
#[derive(Debug)]
pub(crate) struct Cache {
    used: AtomicU64,
    bytes_max: u64,
    metrics: Metrics,
}

impl Cache {
    /// Whether there is room for so many bytes, which are then taken.
    pub(super) fn take(&self, bytes: u64) -> bool {
        let more = |used: u64| used.checked_add(bytes).filter(|all| *all <= self.bytes_max);
        let taken = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        let fits = taken.is_ok();
        if let Ok(before) = taken {
            self.metrics.live.cached(before + bytes);
        }
        fits
    }

    pub(super) fn give_back(&self, bytes: u64) {
        let before = self.used.fetch_sub(bytes, Ordering::AcqRel);
        self.metrics.live.cached(before - bytes);
    }

    /// A logged request has no rows.
    pub(super) fn undecodable(&self) {
        self.metrics.undecodable();
    }
}

/// The oldest live rows, as one flush takes them.
#[derive(Debug, Clone)]
pub(crate) struct Prefix {
    /// The end of the last block.
    pub(crate) covers_to: LogPosition,
    /// How many rows they are.
    pub(crate) rows: u64,
    /// The blocks, in log order.
    pub(crate) blocks: Vec<Arc<Block>>,
    /// Their requests, unpacked.
    pub(crate) bytes: u64,
    tail: Arc<Tail>,
    cache: Arc<Cache>,
    pace: Arc<Pace>,
}

impl CommitRows for Prefix {
    fn pieces(self: Arc<Self>) -> RowPieces {
        let parts = (0..self.blocks.len()).flat_map(|at| Signal::ALL.map(|signal| (at, signal)));
        let pieces = parts.flat_map(move |(at, signal)| {
            match self.blocks[at].flush(signal, &self.tail, &self.cache) {
                Ok(rows) => rows.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            }
        });
        Box::new(pieces)
    }

    fn encoded(&self, took: Duration) {
        self.pace.made(self.bytes, took);
    }

    fn putting(&self, waits: bool) {
        self.pace.putting(waits);
    }
}

impl Blocks {
    /// No rows yet.
    pub(crate) fn new(
        settings: BlocksSettings,
        tail: Arc<Tail>,
        clock: Arc<dyn Clock>,
        pace: Arc<Pace>,
        metrics: Metrics,
    ) -> Self {
        let (bytes_max, used) = (settings.cache_bytes_max, AtomicU64::new(0));
        let cache = Arc::new(Cache { used, bytes_max, metrics: metrics.clone() });
        let (state, flush_due) = (Mutex::default(), Notify::new());
        Self { settings, tail, clock, metrics, cache, pace, state, flush_due }
    }

    /// A request is in the log, and durable: its rows become visible. Must be called in log order.
    pub(crate) fn add(&self, at: Appended, request: &LiveRequest<'_>) {
        let mut state = self.state();
        let since = self.clock.elapsed();
        let open = state.open.get_or_insert_with(|| Block::new(at.position, since));
        debug_assert!(open.next <= at.position, "requests are added in log order");
        open.add(at, request);
        let full = open.bytes >= BLOCK_BYTES || open.rows >= BLOCK_ROWS;
        state.rows += u64::from(request.contents.rows);
        state.bytes += request.plain_bytes as u64;
        if full {
            state.seal();
        }
        self.held(&state);
        if state.bytes >= self.settings.flush_bytes {
            self.flush_due.notify_one();
        }
    }

    /// Whether so much is live that it should go to the store, or somebody asked for it.
    pub(crate) fn is_flush_due(&self) -> bool {
        let state = self.state();
        let wanted = state.first().is_some_and(|first| first < state.wanted_to);
        wanted || state.bytes >= self.settings.flush_bytes
    }

    /// Makes a flush due of all that is live now, and says how far that is; `None` where nothing is.
    pub(crate) fn want_flush(&self) -> Option<LogPosition> {
        let mut state = self.state();
        let last = state.open.as_ref().or(state.sealed.back().map(|block| &**block));
        let to = last?.next;
        state.wanted_to = state.wanted_to.max(to);
        drop(state);
        self.flush_due.notify_one();
        Some(to)
    }

    /// Returns when [`Self::is_flush_due`] became true.
    pub(crate) async fn flush_due(&self) {
        self.flush_due.notified().await;
    }

    /// How long the oldest request has been here; zero where there is none.
    pub(crate) fn oldest_age(&self) -> Duration {
        let now = self.clock.elapsed();
        let oldest = self.state().oldest().unwrap_or(now);
        let age = now.saturating_sub(oldest);
        self.metrics.live.oldest(age);
        age
    }

    /// The oldest blocks, about `flush_bytes` of them; `None` where there are none.
    pub(crate) fn prefix(&self) -> Option<Prefix> {
        let mut state = self.state();
        state.seal();
        let mut bytes = 0;
        let taken = state.sealed.iter().take_while(|block| {
            let room = bytes < self.settings.flush_bytes;
            bytes += block.bytes;
            room
        });
        let blocks: Vec<_> = taken.cloned().collect();
        let covers_to = blocks.last()?.next;
        state.flushing_to = state.flushing_to.max(covers_to);
        let rows = blocks.iter().map(|block| block.rows).sum();
        let bytes = blocks.iter().map(|block| block.bytes).sum();
        let (tail, cache) = (Arc::clone(&self.tail), Arc::clone(&self.cache));
        let pace = Arc::clone(&self.pace);
        Some(Prefix { covers_to, rows, blocks, bytes, tail, cache, pace })
    }

    /// Everything before `covered` is in the store. Reads the log where that is a part of a block,
    /// as it can be after a start that did not hear of a commit.
    pub(crate) fn drop_covered(&self, covered: LogPosition) {
        let (mut dropped, mut torn) = (Vec::new(), None);
        let mut state = self.state();
        state.covered = state.covered.max(covered);
        if state.open.as_ref().is_some_and(|open| open.first < covered) {
            state.seal();
        }
        while state.sealed.front().is_some_and(|block| block.first < covered) {
            let Some(block) = state.sealed.pop_front() else { break };
            state.rows -= block.rows;
            state.bytes -= block.bytes;
            torn = (block.next > covered).then(|| Arc::clone(&block));
            dropped.push(block);
        }
        if let Some(rest) = torn.and_then(|block| self.rest_of(&block, covered)) {
            state.rows += rest.rows;
            state.bytes += rest.bytes;
            state.sealed.push_front(Arc::new(rest));
        }
        self.held(&state);
        drop(state);
        // The memory is given back outside the lock: readers do not wait for it.
        drop(dropped);
    }

    /// What a block holds from `covered` on.
    fn rest_of(&self, block: &Block, covered: LogPosition) -> Option<Block> {
        let mut rest = Block::new(covered, block.since);
        let mut from = covered;
        while from < block.next {
            let Ok(logged) = self.tail.read_logged(from, CHUNK_BYTES) else { break };
            let Some(last) = logged.last() else { break };
            from = last.next;
            for logged in logged.iter().filter(|logged| logged.position < block.next) {
                let at = Appended { position: logged.position, next: logged.next };
                rest.add(at, &logged.live());
            }
        }
        rest.seal();
        (rest.rows > 0).then_some(rest)
    }

    /// The blocks with rows of this signal and time, sealed so that their rows can be kept, and
    /// before where everything is in the store: nothing is in neither.
    pub(super) fn select(
        &self,
        signal: Option<Signal>,
        time: &TimeRange,
    ) -> (LogPosition, Vec<Arc<Block>>) {
        let mut state = self.state();
        let wanted = |block: &Block| signal.is_some_and(|signal| block.overlaps(signal, time));
        if state.open.as_ref().is_some_and(wanted) {
            state.seal();
        }
        let found = state.sealed.iter().filter(|block| wanted(block)).cloned();
        (state.covered, found.collect())
    }

    /// The rows of a block, with the keys that are wanted.
    pub(super) fn rows(
        &self,
        block: &Block,
        signal: Signal,
        wanted: &Wanted,
    ) -> Result<Vec<RowBatch>, PortError> {
        block.rows(signal, wanted, &self.tail, &self.cache)
    }

    /// Lets requests in.
    pub(crate) fn pace(&self) -> &Pace {
        &self.pace
    }

    /// What is live changed.
    fn held(&self, state: &State) {
        self.metrics.live.held(state.rows, state.bytes);
        self.pace.waiting(state.bytes);
    }

    /// The log under the blocks.
    pub(super) fn tail(&self) -> &Tail {
        &self.tail
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn seal(&mut self) {
        let Some(mut block) = self.open.take() else { return };
        block.seal();
        let small = |last: &&Arc<Block>| {
            last.first >= self.flushing_to && last.bytes + block.bytes <= JOINED_BYTES_MAX
        };
        if let Some(last) = self.sealed.back().filter(small).cloned() {
            self.sealed.pop_back();
            block = last.joined(&block);
        }
        self.sealed.push_back(Arc::new(block));
    }

    fn first(&self) -> Option<LogPosition> {
        let sealed = self.sealed.front().map(|block| block.first);
        sealed.or(self.open.as_ref().map(|open| open.first))
    }

    fn oldest(&self) -> Option<Duration> {
        let sealed = self.sealed.front().map(|block| block.since);
        sealed.or(self.open.as_ref().map(|open| open.since))
    }
}

#[cfg(test)]
mod tests;
