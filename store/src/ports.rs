//! What one part offers and another needs, so that parts never import each other.
//!
//! `ingest` implements [`LiveRows`], [`Feed`] and [`Flush`]; `query-api` and `otel-bridge` use them.
//! `query-api` implements [`Conditions`], and the store uses them. The clock is a port as well:
//! nothing outside [`SystemClock`] asks the machine for the time.

pub mod remote;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{BooleanArray, RecordBatch};
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::watch;

use crate::catalog::Snapshot;
use crate::files::ReadColumn;
use crate::model::{LogPosition, RowBatch, Signal, Table, TimeRange, TraceId, UnixNanos, WriterId};
use crate::schema::MapColumn;

/// Where time comes from.
pub trait Clock: Debug + Send + Sync {
    /// The wall clock; may step backwards.
    fn now(&self) -> UnixNanos;

    /// Time since an arbitrary fixed point; never steps backwards.
    fn elapsed(&self) -> Duration;

    /// Waits so long.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
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

/// Acknowledged rows of one table, of requests that follow each other in the log. They are made
/// when somebody asks for them, so that what no query asks for costs nothing.
pub trait LiveBlock: Debug + Send + Sync {
    /// Where the first of the requests stands in its writer's log.
    fn position(&self) -> LogPosition;

    /// Where the first request behind them stands. A commit covers all of them or none, but for
    /// one that was never heard of.
    fn next(&self) -> LogPosition;

    /// The times of the rows.
    fn time(&self) -> TimeRange;

    /// How many rows there are.
    fn rows(&self) -> u64;

    /// The [prints](TraceId::print) of all traces that rows are of, sorted; `None` where nobody
    /// knows them, as for rows that are of none.
    fn trace_prints(&self) -> Option<&[u32]> {
        None
    }

    /// Whether a row can be of this trace. May err on the side of yes.
    fn may_have(&self, trace: TraceId) -> bool {
        let of_trace = |prints: &[u32]| prints.binary_search(&trace.print()).is_ok();
        self.trace_prints().is_none_or(of_trace)
    }

    /// Whether its rows are with another process, so that reading them is waiting.
    fn is_far(&self) -> bool {
        false
    }

    /// The rows, in row shape; `None` for all columns of it, else at least those that these are
    /// made from. Takes long: call it where a thread may be held.
    ///
    /// # Errors
    /// Where they cannot be read: an answer without them would not be whole.
    fn read(&self, columns: Option<&[ReadColumn]>) -> Result<Vec<RowBatch>, PortError>;
}

/// Rows in memory as a block.
#[derive(Debug, Clone)]
pub struct LiveBatch {
    /// As [`LiveBlock::position`].
    pub position: LogPosition,
    /// As [`LiveBlock::next`].
    pub next: LogPosition,
    /// The rows.
    pub rows: RowBatch,
}

impl LiveBlock for LiveBatch {
    fn position(&self) -> LogPosition {
        self.position
    }

    fn next(&self) -> LogPosition {
        self.next
    }

    fn time(&self) -> TimeRange {
        self.rows.time
    }

    fn rows(&self) -> u64 {
        self.rows.rows.num_rows() as u64
    }

    fn read(&self, _columns: Option<&[ReadColumn]>) -> Result<Vec<RowBatch>, PortError> {
        Ok(vec![self.rows.clone()])
    }
}

/// Rows in log order.
pub type RowPieces = Box<dyn Iterator<Item = Result<RowBatch, PortError>> + Send>;

/// The rows of a commit, piece by piece; asked for again from the start when a commit is tried
/// again.
pub trait CommitRows: Debug + Send + Sync {
    /// In log order. Made on a thread that may block, when they are asked for.
    fn pieces(self: Arc<Self>) -> RowPieces;

    /// All pieces became files, which took so long by itself. Tells their owner what the bucket takes of
    /// a commit's time.
    fn encoded(&self, _took: Duration) {}

    /// The bucket is waited for from now on, or no longer.
    fn putting(&self, _waits: bool) {}
}

impl CommitRows for Vec<RowBatch> {
    fn pieces(self: Arc<Self>) -> RowPieces {
        Box::new((0..self.len()).map(move |at| Ok(self[at].clone())))
    }
}

/// What one writer holds at one moment.
#[derive(Debug, Clone)]
pub struct LiveSnapshot {
    /// Whose rows these are.
    pub writer: WriterId,
    /// Everything before is in the store and perhaps not here: whoever reads both needs a catalog
    /// that covers the writer's log to here.
    pub covered_to: LogPosition,
    /// In log order. Their rows can be read for as long as the block is held.
    pub blocks: Vec<Arc<dyn LiveBlock>>,
}

/// Rows that are acknowledged and perhaps not yet in a committed file.
///
/// A row leaves here only after the catalog record that covers its position was committed. A
/// reader that takes live rows first, a catalog snapshot second that covers what they say is in the
/// store, and drops every live block whose position the snapshot covers, therefore sees each row
/// exactly once.
#[async_trait]
pub trait LiveRows: Debug + Send + Sync {
    /// The live blocks with rows of `table` that overlap `time`.
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

/// What a flush that somebody asked for came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flushed {
    /// Whose log.
    pub writer: WriterId,
    /// Everything before this position is in the store.
    pub covered_to: LogPosition,
    /// Bytes of requests that the log on disk still holds: they go segment by segment, once the
    /// store and every destination have them.
    pub log_bytes: u64,
}

/// Puts acknowledged rows into the store before their time.
#[async_trait]
pub trait Flush: Debug + Send + Sync {
    /// Returns when every row that was acknowledged before the call is in the store. Waits for as
    /// long as the bucket is away; giving it up loses nothing.
    async fn flush(&self) -> Result<Flushed, PortError>;
}

/// Understands SQL conditions, for those who keep or remove rows by them.
pub trait Conditions: Debug + Send + Sync {
    /// Compiles a condition on rows of `table`. Keys of maps have the types that they have in
    /// `snapshot`, so that the rows are those that a query over it would find.
    fn compile(
        &self,
        table: Table,
        sql: &str,
        snapshot: &Snapshot,
    ) -> Result<Arc<dyn Condition>, ConditionError>;
}

/// A condition on the rows of one table. Its answer depends on the row alone, at any time.
pub trait Condition: Debug + Send + Sync {
    /// What is read of a row to decide about it.
    fn columns(&self) -> &[ReadColumn];

    /// Where the rows are that can match.
    fn place(&self) -> &RowPlace;

    /// Which rows match, given [`Self::columns`] of them in that order. Null counts as no, so the
    /// answer has no nulls. Takes long: call it where a thread may be held.
    fn matches(&self, columns: &RecordBatch) -> Result<BooleanArray, ConditionError>;
}

/// Where rows can be that a condition accepts: never narrower than they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowPlace {
    /// In which stretch of the table's time column; `None` where no row can match.
    pub time: Option<TimeRange>,
    /// In which trace.
    pub trace_id: Option<TraceId>,
    /// Of which service.
    pub service_name: Option<String>,
    /// Only rows that have all of these keys.
    pub keys: Vec<(MapColumn, String)>,
}

impl RowPlace {
    /// Anywhere.
    pub const ANYWHERE: Self =
        Self { time: Some(TimeRange::ALL), trace_id: None, service_name: None, keys: Vec::new() };
}

/// Why a text is no condition, or cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ConditionError {
    /// In words, with the names of whoever wrote it.
    pub reason: String,
    /// How to mend it, where that can be guessed.
    pub hint: Option<String>,
}
