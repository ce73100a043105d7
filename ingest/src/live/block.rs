//! A stretch of the log whose rows are live.
//!
//! Invariant: a block is of whole requests and never changes once it is sealed. Its rows are made
//! from the log when somebody asks for them, at most once at a time, with the keys that are wanted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use icecore_store::{LogPosition, PortError, RowBatch, Signal, TimeRange};
use tracing::{error, warn};

use super::blocks::Cache;
use super::traces::Traces;
use crate::decode::{Batch, CELLS_MAX, DecodeError, Wanted, decode};
use crate::log::{Appended, Aside, Contents, Logged, Tail};

/// Bytes of the log that are read at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// Requests that follow each other in the log.
#[derive(Debug)]
pub(crate) struct Block {
    /// Where the first request stands.
    pub(crate) first: LogPosition,
    /// Where the first request behind it stands.
    pub(crate) next: LogPosition,
    /// Export requests, unpacked.
    pub(crate) bytes: u64,
    /// Rows of all signals.
    pub(crate) rows: u64,
    /// When its first request came, by [`icecore_store::Clock::elapsed`].
    pub(crate) since: Duration,
    parts: [Part; Signal::ALL.len()],
    traces: Traces,
}

/// The requests of one signal.
#[derive(Debug, Default)]
struct Part {
    time: Option<TimeRange>,
    rows: u64,
    decoded: Mutex<Option<Cached>>,
    /// It was said that its requests have to be decoded one by one.
    warned: AtomicBool,
}

/// Rows that are kept; their memory is given back to the cache with them.
#[derive(Debug)]
struct Cached {
    wanted: Wanted,
    rows: Vec<RowBatch>,
    bytes: u64,
    cache: Arc<Cache>,
}

impl Drop for Cached {
    fn drop(&mut self) {
        self.cache.give_back(self.bytes);
    }
}

impl Part {
    fn add(&mut self, time: TimeRange, rows: u64) {
        self.time = Some(self.time.map_or(time, |all| all.union(&time)));
        self.rows += rows;
    }
}

/// A request that becomes live.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LiveRequest<'a> {
    /// What it is.
    pub(crate) signal: Signal,
    /// What its rows will be.
    pub(crate) contents: Contents,
    /// Its size, unpacked.
    pub(crate) plain_bytes: usize,
    /// See [`crate::decode::Checked::traces`].
    pub(crate) traces: Option<&'a [u32]>,
}

impl Block {
    /// Nothing yet, from `first` on.
    pub(crate) fn new(first: LogPosition, since: Duration) -> Self {
        let (parts, traces) = Default::default();
        Self { first, next: first, bytes: 0, rows: 0, since, parts, traces }
    }

    /// Adds the next request of the log.
    pub(crate) fn add(&mut self, at: Appended, request: &LiveRequest<'_>) {
        let LiveRequest { signal, contents, plain_bytes, traces } = *request;
        let bytes = plain_bytes as u64;
        if signal == Signal::Traces {
            self.traces.add(traces);
        }
        self.next = at.next;
        self.bytes += bytes;
        self.rows += u64::from(contents.rows);
        self.parts[signal as usize].add(contents.time, u64::from(contents.rows));
    }

    /// No more requests will come.
    pub(crate) fn seal(&mut self) {
        self.traces.settle();
    }

    /// This block and the one behind it, both sealed, as one.
    pub(crate) fn joined(&self, behind: &Self) -> Self {
        let mut joined = Self::new(self.first, self.since);
        joined.next = behind.next;
        joined.bytes = self.bytes + behind.bytes;
        joined.rows = self.rows + behind.rows;
        joined.traces = self.traces.joined(&behind.traces);
        for (at, part) in self.parts.iter().enumerate().chain(behind.parts.iter().enumerate()) {
            if let Some(time) = part.time {
                joined.parts[at].add(time, part.rows);
            }
        }
        joined
    }

    /// Whether there are rows of this signal that overlap `time`.
    pub(crate) fn overlaps(&self, signal: Signal, time: &TimeRange) -> bool {
        self.part(signal).time.is_some_and(|rows| rows.overlaps(time))
    }

    /// The times of the rows of one signal; `None` where there are none.
    pub(crate) fn time(&self, signal: Signal) -> Option<TimeRange> {
        self.part(signal).time
    }

    /// How many rows of one signal there are.
    pub(crate) fn count(&self, signal: Signal) -> u64 {
        self.part(signal).rows
    }

    /// As [`icecore_store::LiveBlock::trace_prints`]. The block must be sealed.
    pub(crate) fn trace_prints(&self, signal: Signal) -> Option<&[u32]> {
        self.traces.prints().filter(|_| signal == Signal::Traces)
    }

    /// The rows of one signal with at least the columns and keys that are wanted, and hardly more,
    /// kept for the next one who asks where the cache has room.
    ///
    /// # Errors
    /// [`PortError::Trimmed`] once the log is gone, which is after the store has the rows; and
    /// where rows that were acknowledged cannot be read any more.
    pub(crate) fn rows(
        &self,
        signal: Signal,
        wanted: &Wanted,
        tail: &Tail,
        cache: &Arc<Cache>,
    ) -> Result<Vec<RowBatch>, PortError> {
        let part = self.part(signal);
        if part.time.is_none() {
            return Ok(Vec::new());
        }
        // Whoever asks meanwhile waits for the same rows.
        let mut decoded = part.decoded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cached) = decoded.as_ref().filter(|cached| cached.wanted.covers(wanted)) {
            return Ok(cached.rows.clone());
        }
        // Two who ask in turns for different keys must not make each other's rows anew for ever.
        let others = decoded.take().map(|cached| cached.wanted.union(wanted));
        let wanted = others.unwrap_or_else(|| wanted.clone());
        let mut rows = self.read(signal, &wanted, tail, cache)?;
        self.missing(signal, &rows)?;
        rows.iter_mut().for_each(|rows| rows.rows = wanted.only(&rows.rows));
        let bytes = rows.iter().map(|rows| rows.rows.get_array_memory_size() as u64).sum();
        if cache.take(bytes) {
            let cache = Arc::clone(cache);
            *decoded = Some(Cached { wanted, rows: rows.clone(), bytes, cache });
        }
        Ok(rows)
    }

    /// The rows of one signal, for the store, which asks once: they are not kept. What cannot be read
    /// is told and left out, as no later try could read it either; requests that are whole and
    /// still have no rows are set aside.
    ///
    /// # Errors
    /// Where the log cannot be read, or nothing can be set aside.
    pub(crate) fn flush(
        &self,
        signal: Signal,
        tail: &Tail,
        cache: &Cache,
    ) -> Result<Vec<RowBatch>, PortError> {
        let part = self.part(signal);
        if part.time.is_none() {
            return Ok(Vec::new());
        }
        let decoded = part.decoded.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = decoded.as_ref().filter(|cached| cached.wanted.covers(&Wanted::ALL));
        let kept = whole.map(|cached| cached.rows.clone());
        drop(decoded);
        let rows = kept.map_or_else(|| self.read(signal, &Wanted::ALL, tail, cache), Ok)?;
        if let Err(missing) = self.missing(signal, &rows) {
            cache.undecodable();
            error!(error = &missing as &dyn std::error::Error, "rows of the log are missing");
            self.set_aside(signal, tail)?;
        }
        Ok(rows)
    }

    /// Keeps the requests of one signal that have no rows, before their part of the log goes.
    fn set_aside(&self, signal: Signal, tail: &Tail) -> Result<(), PortError> {
        self.requests(signal, tail, |logged| {
            if rows_of(tail, logged, signal).is_ok() {
                return Ok(());
            }
            let position = logged.position.0;
            match tail.set_aside(logged).map_err(PortError::Io)? {
                Aside::Kept(file) => {
                    error!(%signal, position, file, "a request without rows is kept in the log's folder");
                }
                Aside::Full => error!(%signal, position, "a request is lost: see those set aside"),
            }
            Ok(())
        })
    }

    /// Whether all rows are there that were counted when they were acknowledged.
    fn missing(&self, signal: Signal, rows: &[RowBatch]) -> Result<(), PortError> {
        let found: u64 = rows.iter().map(|rows| rows.rows.num_rows() as u64).sum();
        let counted = self.part(signal).rows;
        if found == counted {
            return Ok(());
        }
        let (first, next) = (self.first.0, self.next.0);
        let reason = format!("of {counted} rows of the log from {first} to {next} it read {found}");
        Err(PortError::Unavailable { part: "ingest".to_owned(), reason })
    }

    fn part(&self, signal: Signal) -> &Part {
        &self.parts[signal as usize]
    }

    fn read(
        &self,
        signal: Signal,
        wanted: &Wanted,
        tail: &Tail,
        cache: &Cache,
    ) -> Result<Vec<RowBatch>, PortError> {
        let (of_batch, rows) = Default::default();
        let warned = &self.part(signal).warned;
        let mut rows =
            Decoding { signal, wanted, tail, cache, warned, batch: None, of_batch, rows };
        self.requests(signal, tail, |logged| {
            rows.add(logged);
            Ok(())
        })?;
        rows.end_batch();
        Ok(rows.rows)
    }

    /// The requests of one signal, in log order.
    fn requests(
        &self,
        signal: Signal,
        tail: &Tail,
        mut each: impl FnMut(&Logged) -> Result<(), PortError>,
    ) -> Result<(), PortError> {
        let mut from = self.first;
        while from < self.next {
            let logged = tail.read_logged(from, CHUNK_BYTES)?;
            let Some(last) = logged.last() else { break };
            from = last.next;
            let of_block = logged.iter().filter(|logged| logged.position < self.next);
            of_block.filter(|logged| logged.signal == signal).try_for_each(&mut each)?;
        }
        Ok(())
    }
}

/// Requests of one signal on their way to rows.
struct Decoding<'a> {
    signal: Signal,
    wanted: &'a Wanted,
    tail: &'a Tail,
    cache: &'a Cache,
    warned: &'a AtomicBool,
    batch: Option<Batch>,
    /// Where the requests of the batch are.
    of_batch: Vec<LogPosition>,
    rows: Vec<RowBatch>,
}

impl Decoding<'_> {
    fn add(&mut self, logged: &Logged) {
        if logged.contents.alone {
            self.end_batch();
            return self.add_alone(logged);
        }
        self.of_batch.push(logged.position);
        match self.push(logged) {
            Ok(full) if full => self.end_batch(),
            Ok(_) => {}
            Err(error) => self.one_by_one(&error),
        }
    }

    /// Adds a request to the batch; says whether that is full.
    fn push(&mut self, logged: &Logged) -> Result<bool, Undecodable> {
        let new = || Batch::new(self.signal, self.wanted.clone());
        // A batch that refused a request is good for nothing.
        let mut batch = self.batch.take().unwrap_or_else(new);
        self.tail.unpack(&logged.packed, |plain| batch.push(plain))??;
        let full = batch.cells() >= CELLS_MAX;
        self.batch = Some(batch);
        Ok(full)
    }

    fn end_batch(&mut self) {
        match self.batch.take().map(Batch::finish).transpose() {
            Ok(rows) => {
                self.of_batch.clear();
                self.rows.extend(rows.flatten());
            }
            Err(error) => self.one_by_one(&error.into()),
        }
    }

    /// What cannot be decoded together is decoded request by request: none has to go without its
    /// rows for the sake of another.
    fn one_by_one(&mut self, why: &Undecodable) {
        let requests = std::mem::take(&mut self.of_batch);
        let signal = self.signal;
        // Each query of the block meets the same: it is said once.
        if !self.warned.swap(true, Ordering::Relaxed) {
            warn!(%signal, requests = requests.len(), %why, "requests are decoded one by one");
        }
        for position in requests {
            let logged = self.tail.read_logged(position, 0);
            // Where it cannot be read any more, the one behind it is what comes.
            match logged.map(|logged| logged.into_iter().find(|it| it.position == position)) {
                Ok(Some(logged)) => self.add_alone(&logged),
                Ok(None) => self.lost(position, &Undecodable::Gone),
                Err(error) => self.lost(position, &error),
            }
        }
    }

    fn add_alone(&mut self, logged: &Logged) {
        match rows_of(self.tail, logged, self.signal) {
            Ok(rows) => self.rows.extend(rows),
            Err(error) => self.lost(logged.position, &error),
        }
    }

    /// It was checked before it was logged, so that this is a fault of ours.
    fn lost(&self, position: LogPosition, error: &(dyn std::error::Error + 'static)) {
        self.cache.undecodable();
        let (signal, position) = (self.signal, position.0);
        error!(%signal, position, error, "a logged request cannot be decoded any more");
    }
}

/// The rows of one request by itself.
fn rows_of(tail: &Tail, logged: &Logged, signal: Signal) -> Result<Option<RowBatch>, Undecodable> {
    Ok(tail.unpack(&logged.packed, |plain| decode(signal, plain))??.rows)
}

/// Why a logged request has no rows.
#[derive(Debug, thiserror::Error)]
enum Undecodable {
    #[error("it is not where it was in the log")]
    Gone,
    #[error(transparent)]
    Unpack(#[from] std::io::Error),
    #[error(transparent)]
    Decode(#[from] DecodeError),
}
