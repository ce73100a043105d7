//! From live rows to the store.
//!
//! Invariants: a flush takes a contiguous prefix of the log; only after the store has committed it
//! do its live rows go, and after them its part of the log. One that failed is tried again as it
//! was, for ever, because the store may have taken it without being able to say so.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use icecore_store::{
    Clock, Commit, Error as StoreError, Flushed, LogPosition, PortError, Store, WriterId,
};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::live::{Blocks, Prefix};
use crate::log::Segments;
use crate::metrics::Metrics;

/// The first pause after a flush that failed; doubles up to `flush_retry_max`.
const RETRY_FIRST: Duration = Duration::from_millis(100);

/// What a flush needs of the store.
#[async_trait]
pub(crate) trait Sink: Debug + Send + Sync {
    /// Up to where the catalog has this writer's log.
    fn covered_to(&self, writer: WriterId) -> Option<LogPosition>;

    /// Makes this process the one that commits for `writer`.
    async fn register_writer(&self, writer: WriterId) -> Result<(), StoreError>;

    /// As [`Store::commit`].
    async fn commit(&self, commit: Commit) -> Result<(), StoreError>;
}

#[async_trait]
impl Sink for Store {
    fn covered_to(&self, writer: WriterId) -> Option<LogPosition> {
        self.snapshot().covered_to(writer)
    }

    async fn register_writer(&self, writer: WriterId) -> Result<(), StoreError> {
        Box::pin(Self::register_writer(self, writer)).await
    }

    async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        Box::pin(Self::commit(self, commit)).await
    }
}

/// When a flush is made and tried again.
#[derive(Debug, Clone)]
pub(crate) struct FlushSettings {
    pub(crate) flush_after: Duration,
    pub(crate) flush_retry_max: Duration,
    pub(crate) drain_timeout: Duration,
}

/// The one that flushes.
#[derive(Debug)]
pub(crate) struct Flush {
    settings: FlushSettings,
    sink: Arc<dyn Sink>,
    writer: WriterId,
    live: Arc<Blocks>,
    segments: Arc<Segments>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    /// Up to where the store has the log; senders wait for it under `--durability bucket`.
    covered: watch::Sender<LogPosition>,
    /// What the store may already have taken.
    pending: Option<Prefix>,
}

/// The parts that a flush works on.
#[derive(Debug, Clone)]
pub(crate) struct FlushParts {
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) writer: WriterId,
    pub(crate) live: Arc<Blocks>,
    pub(crate) segments: Arc<Segments>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
}

/// Asks the flush to run before its time.
#[derive(Debug)]
pub(crate) struct FlushNow {
    writer: WriterId,
    live: Arc<Blocks>,
    segments: Arc<Segments>,
    covered: watch::Receiver<LogPosition>,
}

#[async_trait]
impl icecore_store::Flush for FlushNow {
    async fn flush(&self) -> Result<Flushed, PortError> {
        let mut covered = self.covered.clone();
        // What comes in from now on is in another segment, so that the newest one can go.
        self.segments.end_newest();
        if let Some(to) = self.live.want_flush() {
            let reached = covered.wait_for(|covered| *covered >= to).await;
            reached.map_err(|_stopped| PortError::Unavailable {
                part: "ingest".to_owned(),
                reason: "it stops".to_owned(),
            })?;
        }
        let covered_to = *covered.borrow();
        Ok(Flushed { writer: self.writer, covered_to, log_bytes: self.segments.bytes() })
    }
}

impl Flush {
    /// A flush that goes on at `covered`.
    pub(crate) fn new(settings: FlushSettings, parts: FlushParts, covered: LogPosition) -> Self {
        let FlushParts { sink, writer, live, segments, clock, metrics } = parts;
        let (covered, pending) = (watch::Sender::new(covered), None);
        Self { settings, sink, writer, live, segments, clock, metrics, covered, pending }
    }

    /// Up to where the store has the log.
    pub(crate) fn covered(&self) -> watch::Receiver<LogPosition> {
        self.covered.subscribe()
    }

    /// A way to ask for a flush.
    pub(crate) fn now(&self) -> FlushNow {
        let (live, segments) = (Arc::clone(&self.live), Arc::clone(&self.segments));
        FlushNow { writer: self.writer, live, segments, covered: self.covered() }
    }

    /// Flushes by size, age and request until `stop`.
    pub(crate) async fn run(&mut self, stop: &CancellationToken) {
        let mut tick = self.tick();
        loop {
            let live = Arc::clone(&self.live);
            tokio::select! {
                () = stop.cancelled() => return,
                () = live.flush_due() => {}
                _ = tick.tick() => {}
            }
            let age = self.live.oldest_age();
            if self.live.is_flush_due() || age >= self.settings.flush_after {
                self.persist(stop).await;
            }
        }
    }

    /// Flushes everything, for at most `drain_timeout`; what is left stays in the log.
    pub(crate) async fn drain(&mut self) {
        let timeout = self.settings.drain_timeout;
        let never = CancellationToken::new();
        let all = async {
            while self.pending.is_some() || self.live.prefix().is_some() {
                self.persist(&never).await;
            }
        };
        if tokio::time::timeout(timeout, all).await.is_err() {
            let timeout_s = timeout.as_secs_f64();
            warn!(timeout_s, "the last flush took too long: its rows stay in the log");
        }
    }

    /// One flush, tried until it succeeds or, between two tries, `stop` comes.
    async fn persist(&mut self, stop: &CancellationToken) {
        let mut pause = RETRY_FIRST.min(self.settings.flush_retry_max);
        while let Err(error) = self.once().await {
            self.metrics.live.flush_failed();
            let pause_s = pause.as_secs_f64();
            warn!(error = &error as &dyn std::error::Error, pause_s, "cannot flush: trying again");
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            self.live.oldest_age();
            pause = (pause * 2).min(self.settings.flush_retry_max);
        }
    }

    /// Tries one flush. Nothing to flush is a success.
    #[tracing::instrument(name = "flush", skip_all)]
    pub(crate) async fn once(&mut self) -> Result<(), StoreError> {
        let Some(prefix) = self.pending.take().or_else(|| self.live.prefix()) else {
            return Ok(());
        };
        let start = self.clock.elapsed();
        let (covers_to, count, bytes) = (prefix.covers_to, prefix.rows, prefix.bytes);
        let rows = Arc::new(prefix.clone());
        let (writer, covers_from) = (self.writer, *self.covered.borrow());
        // Kept before the first await: a flush may be given up at any of them.
        self.pending = Some(prefix);
        self.live.pace().began();
        match self.sink.commit(Commit { writer, covers_from, covers_to, rows }).await {
            Ok(()) => {
                self.live.pace().stored(bytes);
                self.finish(covers_to).await;
                let took = self.clock.elapsed().saturating_sub(start);
                self.metrics.live.flushed(count, took);
                debug!(
                    rows = count,
                    covers_to = covers_to.0,
                    took_s = took.as_secs_f64(),
                    "flushed"
                );
                Ok(())
            }
            // An earlier process of ours got further than its catalog let on.
            Err(StoreError::Overtaken { covered_to, .. }) => {
                info!(covers_to = covered_to.0, "the catalog was ahead of the flush");
                self.live.pace().stored(0);
                self.finish(covered_to).await;
                Ok(())
            }
            Err(error) => {
                self.live.pace().failed();
                Err(error)
            }
        }
    }

    /// The store has everything before `covered`.
    async fn finish(&mut self, covered: LogPosition) {
        self.pending = None;
        let (live, segments) = (Arc::clone(&self.live), Arc::clone(&self.segments));
        self.covered.send_replace(covered);
        let log = self.metrics.log.clone();
        let tidy = tokio::task::spawn_blocking(move || {
            live.drop_covered(covered);
            segments.cover(covered);
            log.sized(segments.bytes());
        });
        if let Err(error) = tidy.await {
            warn!(%error, "cannot drop what was flushed");
        }
    }

    /// Often enough that rows wait little longer than `flush_after`.
    fn tick(&self) -> Interval {
        let longest = Duration::from_millis(500);
        let every = (self.settings.flush_after / 4).clamp(Duration::from_millis(5), longest);
        let mut tick = tokio::time::interval(every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick
    }
}

#[cfg(test)]
mod tests;
