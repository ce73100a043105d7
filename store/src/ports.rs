//! What one part offers and another needs, so that parts never import each other.
//!
//! `ingest` implements [`LiveRows`] and [`Feed`]; `query-api` and `otel-bridge` use them. The
//! clock is a port as well: nothing outside [`SystemClock`] asks the machine for the time.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use crate::model::{LogPosition, RowBatch, Signal, Table, TimeRange, UnixNanos, WriterId};

/// Where time comes from.
pub trait Clock: Debug + Send + Sync {
    /// The wall clock; may step backwards.
    fn now(&self) -> UnixNanos;

    /// Time since an arbitrary fixed point; never steps backwards.
    fn elapsed(&self) -> Duration;
}

/// The machine's own clock.
#[derive(Debug)]
pub struct SystemClock {
    start: std::time::Instant,
}

impl SystemClock {
    /// A clock whose [`Clock::elapsed`] counts from now.
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the machine")]
    #[must_use]
    pub fn new() -> Self {
        Self { start: std::time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the machine")]
    fn now(&self) -> UnixNanos {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let nanos = since_epoch.map_or(0, |elapsed| elapsed.as_nanos());
        UnixNanos(i64::try_from(nanos).unwrap_or(i64::MAX))
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

/// Why a part could not answer another.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The part is away or too slow; what it holds is missing from an answer.
    #[error("{part} did not answer: {reason}")]
    Unavailable {
        /// Which part, as an operator knows it.
        part: String,
        /// In words.
        reason: String,
    },
    /// The log no longer holds that position; read on from the store.
    #[error("the log begins at {oldest:?}, after {wanted:?}")]
    Trimmed {
        /// What was asked for.
        wanted: LogPosition,
        /// Where the log begins now.
        oldest: LogPosition,
    },
    /// The log could not be read.
    #[error("cannot read the log")]
    Io(#[source] std::io::Error),
}

/// Acknowledged rows of requests that follow each other in the log.
#[derive(Debug, Clone)]
pub struct LiveBatch {
    /// Where the first of the requests stands in its writer's log.
    pub position: LogPosition,
    /// Where the first request behind them stands. A commit covers all of them or none, but for
    /// one that was never heard of.
    pub next: LogPosition,
    /// The rows.
    pub rows: RowBatch,
}

/// The rows of a commit, piece by piece; asked for again from the start when a commit is tried
/// again.
pub trait CommitRows: Debug + Send + Sync {
    /// In log order. Called on a thread that may block.
    fn pieces(&self) -> Box<dyn Iterator<Item = Result<RowBatch, PortError>> + Send + '_>;
}

impl CommitRows for Vec<RowBatch> {
    fn pieces(&self) -> Box<dyn Iterator<Item = Result<RowBatch, PortError>> + Send + '_> {
        Box::new(self.iter().cloned().map(Ok))
    }
}

/// What one writer holds at one moment.
#[derive(Debug, Clone)]
pub struct LiveSnapshot {
    /// Whose rows these are.
    pub writer: WriterId,
    /// In log order.
    pub batches: Vec<LiveBatch>,
}

/// Rows that are acknowledged and perhaps not yet in a committed file.
///
/// A row leaves here only after the catalog record that covers its position was committed. A
/// reader that takes live rows first, a catalog snapshot second, and drops every live batch whose
/// position the snapshot covers, therefore sees each row exactly once.
#[async_trait]
pub trait LiveRows: Debug + Send + Sync {
    /// The live batches of `table` that overlap `time`.
    async fn live_rows(&self, table: Table, time: TimeRange) -> Result<LiveSnapshot, PortError>;
}

/// One acknowledged request, as it was received.
#[derive(Debug, Clone)]
pub struct FeedItem {
    /// Where it stands in the log.
    pub position: LogPosition,
    /// Where the next one will stand: pass it to [`Feed::read`] to go on.
    pub next: LogPosition,
    /// What the payload is.
    pub signal: Signal,
    /// The OTLP export request in protobuf, uncompressed.
    pub payload: Bytes,
}

/// Acknowledged requests in log order.
#[async_trait]
pub trait Feed: Debug + Send + Sync {
    /// The writer whose log this is: a cursor is only good together with it.
    fn writer(&self) -> WriterId;

    /// The end of the log; changes with every group commit.
    fn end(&self) -> watch::Receiver<LogPosition>;

    /// The oldest position that can still be read.
    fn oldest(&self) -> LogPosition;

    /// Items from `from` on, at least one where there is one, at most about `bytes_max` of payload.
    async fn read(&self, from: LogPosition, bytes_max: usize) -> Result<Vec<FeedItem>, PortError>;

    /// Keeps the log from `from` on for `reader`, as far as the log's disk bound allows.
    fn retain(&self, reader: &str, from: LogPosition);
}
