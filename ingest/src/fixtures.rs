//! What the tests of this crate share: a store in memory, a clock that tests own, small requests.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use icecore_store::{Clock, Commit, Error as StoreError, LogPosition, UnixNanos, WriterId};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

use crate::flush::Sink;
use crate::metrics::Metrics;
use crate::pace::{Pace, PaceSettings};

/// A clock that stands still until a test moves it.
#[derive(Debug, Default)]
pub(crate) struct TestClock(Mutex<Duration>);

impl TestClock {
    pub(crate) fn advance(&self, time: Duration) {
        *self.0.lock().unwrap() += time;
    }
}

impl Clock for TestClock {
    fn now(&self) -> UnixNanos {
        UnixNanos(1_700_000_000_000_000_000)
    }

    fn elapsed(&self) -> Duration {
        *self.0.lock().unwrap()
    }
}

/// A pace that is never slower than the senders.
pub(crate) fn any_pace(clock: Arc<dyn Clock>, metrics: &Metrics) -> Arc<Pace> {
    let (paced_from_bytes, flush_bytes, wait_max) = (u64::MAX, 1, Duration::ZERO);
    let settings = PaceSettings { paced_from_bytes, flush_bytes, wait_max };
    Arc::new(Pace::new(settings, clock, metrics.pace.clone()))
}

/// A store in memory that fails when it is told to.
#[derive(Debug, Default)]
pub(crate) struct MemorySink {
    state: Mutex<SinkState>,
}

#[derive(Debug, Default)]
pub(crate) struct SinkState {
    /// What was committed, in order.
    pub(crate) commits: Vec<Committed>,
    pub(crate) covered: Option<LogPosition>,
    /// Every attempt, also those that failed.
    pub(crate) attempts: usize,
    /// Whether commits fail.
    pub(crate) away: bool,
    /// Whether the next commit is taken, but its success is not heard of.
    pub(crate) unheard: bool,
}

/// One stretch of the log.
#[derive(Debug)]
pub(crate) struct Committed {
    pub(crate) covers_from: LogPosition,
    pub(crate) covers_to: LogPosition,
    pub(crate) rows: usize,
}

impl MemorySink {
    pub(crate) fn state(&self) -> std::sync::MutexGuard<'_, SinkState> {
        self.state.lock().unwrap()
    }

    pub(crate) fn rows(&self) -> usize {
        let state = self.state();
        state.commits.iter().map(|commit| commit.rows).sum()
    }
}

#[async_trait]
impl Sink for MemorySink {
    fn covered_to(&self, _: WriterId) -> Option<LogPosition> {
        self.state().covered
    }

    async fn register_writer(&self, _: WriterId) -> Result<(), StoreError> {
        Ok(())
    }

    async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        tokio::task::yield_now().await;
        let mut state = self.state();
        state.attempts += 1;
        let writer = commit.writer;
        if state.away {
            return Err(StoreError::NotRegistered { writer });
        }
        let covered = state.covered.unwrap_or_default();
        if commit.covers_to <= covered {
            return Ok(());
        }
        if commit.covers_from < covered {
            let (covers_from, covered_to) = (commit.covers_from, covered);
            return Err(StoreError::Overtaken { writer, covers_from, covered_to });
        }
        state.covered = Some(commit.covers_to);
        let rows = commit.rows.pieces().map(|piece| piece.unwrap().rows.num_rows()).sum();
        let Commit { covers_from, covers_to, .. } = commit;
        state.commits.push(Committed { covers_from, covers_to, rows });
        if std::mem::take(&mut state.unheard) {
            return Err(StoreError::NotRegistered { writer });
        }
        Ok(())
    }
}

/// An export request with spans of these names; a span without a name has no trace id, so that it
/// cannot be stored.
pub(crate) fn request(names: &[&str]) -> ExportTraceServiceRequest {
    let span = |name: &&str| Span {
        trace_id: if name.is_empty() { Vec::new() } else { vec![1; 16] },
        span_id: vec![2; 8],
        name: (*name).to_owned(),
        start_time_unix_nano: 1_700_000_000_000_000_000,
        end_time_unix_nano: 1_700_000_000_000_000_001,
        ..Span::default()
    };
    let spans = names.iter().map(span).collect();
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }
}
