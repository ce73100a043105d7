//! How fast requests may come while rows become files more slowly than they arrive.
//!
//! Acknowledging costs a third of what storing does, so that a machine that is asked for all it has
//! would promise for ever more than it can keep. Once so much waits that a flush has a second one
//! behind it, requests are let in at the rate at which flushes store, the time of the bucket
//! counted, and the slower the more waits: each waits its turn for a moment, and is refused with a
//! time to come back where the turn is far away. A flush that takes longer than those before it
//! lowers the rate while it lasts.
//!
//! A bucket that fails, or takes longer than [`AWAY_AFTER`], is away: its time does not count then,
//! and the log grows instead, at a little less than the rate at which files are made.
//!
//! Invariant: while more waits than the bound, no more is let in than the rate of storing, and a
//! tenth of it once a third more waits; while the bucket is away, no more than [`SHARE`] of the
//! rate of making files.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use icecore_store::Clock;

use crate::metrics::PaceMetrics;
use crate::receive::{Reason, Refusal};

/// Of the rate at which files are made, while the bucket is away: what waits must become less once
/// it is back.
const SHARE: f64 = 0.9;

/// Of the rate of storing, what comes in however much waits: a bucket that is slow stops nobody.
const SHARE_LEAST: f64 = 0.1;

/// What waits beyond the bound, as a part of it, when the share is least.
const BEYOND: f64 = 1.0 / 3.0;

/// Puts that take longer than this are of a bucket that is as good as away. A flush of the default
/// size takes a second or two in all.
const AWAY_AFTER: Duration = Duration::from_secs(10);

/// Lets requests in.
#[derive(Debug)]
pub(crate) struct Pace {
    settings: PaceSettings,
    clock: Arc<dyn Clock>,
    metrics: PaceMetrics,
    state: Mutex<State>,
}

/// See [`crate::Config`].
#[derive(Debug, Clone)]
pub(crate) struct PaceSettings {
    /// Requests, unpacked, that may wait before others are paced.
    pub(crate) paced_from_bytes: u64,
    /// What a flush takes: one of much less tells little of the rate.
    pub(crate) flush_bytes: u64,
    /// How long one request may wait for its turn.
    pub(crate) wait_max: Duration,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes of requests that wait to become files.
    waiting: u64,
    /// The flush under way.
    flush: Option<Flushing>,
    /// Bytes a second that the last flushes made files of.
    making: Option<f64>,
    /// Bytes a second that they stored, puts and all.
    storing: Option<f64>,
    /// Whether the last flush failed, or its puts took too long.
    away: bool,
    /// When the next request may come in.
    next: Duration,
}

/// A flush under way.
#[derive(Debug, Clone, Copy)]
struct Flushing {
    began: Duration,
    /// Since when the bucket is waited for.
    putting: Option<Duration>,
}

impl Pace {
    /// Nothing waits, and nothing is known of the rate.
    pub(crate) fn new(settings: PaceSettings, clock: Arc<dyn Clock>, metrics: PaceMetrics) -> Self {
        Self { settings, clock, metrics, state: Mutex::default() }
    }

    /// So many bytes of requests wait now to become files.
    pub(crate) fn waiting(&self, bytes: u64) {
        let now = self.clock.elapsed();
        let mut state = self.state();
        state.waiting = bytes;
        self.metrics.rate(self.limit(&state, now).unwrap_or_default());
    }

    /// A flush begins.
    pub(crate) fn began(&self) {
        let began = self.clock.elapsed();
        self.state().flush = Some(Flushing { began, putting: None });
    }

    /// Requests of so many bytes became files in this time.
    pub(crate) fn made(&self, bytes: u64, took: Duration) {
        let mut state = self.state();
        state.making = self.rate(state.making, bytes, took);
    }

    /// The bucket is waited for from now on, or no longer.
    pub(crate) fn putting(&self, waits: bool) {
        let now = self.clock.elapsed();
        let since = waits.then_some(now);
        self.state().flush.iter_mut().for_each(|flush| flush.putting = since);
    }

    /// The store has the requests of so many bytes.
    pub(crate) fn stored(&self, bytes: u64) {
        let now = self.clock.elapsed();
        let mut state = self.state();
        let Some(flush) = state.flush.take() else { return };
        state.away = flush.is_away(now);
        if !state.away {
            state.storing = self.rate(state.storing, bytes, now.saturating_sub(flush.began));
        }
    }

    /// The store did not take them: they are tried again.
    pub(crate) fn failed(&self) {
        let mut state = self.state();
        state.flush = None;
        state.away = true;
    }

    /// The newest flush counts as much as all before it.
    fn rate(&self, before: Option<f64>, bytes: u64, took: Duration) -> Option<f64> {
        if bytes < self.settings.flush_bytes / 4 || took.is_zero() {
            return before;
        }
        let rate = bytes as f64 / took.as_secs_f64();
        Some(before.map_or(rate, |before| f64::midpoint(before, rate)))
    }

    /// Waits until a request of so many bytes may come in.
    ///
    /// # Errors
    /// Where its turn is too far away.
    pub(crate) async fn turn(&self, bytes: usize) -> Result<(), Refusal> {
        let now = self.clock.elapsed();
        let wait = self.claim(bytes, now, self.settings.wait_max)?;
        if !wait.is_zero() {
            self.metrics.waited(wait);
            self.clock.sleep(wait).await;
        }
        Ok(())
    }

    /// A request turned out to be so much larger than it was when it had its turn: those behind it
    /// wait for that.
    pub(crate) fn charge(&self, bytes: usize) {
        let now = self.clock.elapsed();
        drop(self.claim(bytes, now, Duration::MAX));
    }

    /// Takes the next turn, and says how far away it is.
    fn claim(&self, bytes: usize, now: Duration, wait_max: Duration) -> Result<Duration, Refusal> {
        let mut state = self.state();
        let Some(limit) = self.limit(&state, now) else {
            state.next = now;
            return Ok(Duration::ZERO);
        };
        let turn = state.next.max(now);
        let wait = turn - now;
        if wait > wait_max {
            let State { waiting, .. } = *state;
            let text = format!("requests of {waiting} bytes wait to be stored: come back soon");
            return Err(Refusal::new(Reason::Behind, text));
        }
        let takes = Duration::try_from_secs_f64(bytes as f64 / limit.max(1.0));
        state.next = turn.saturating_add(takes.unwrap_or(wait_max));
        Ok(wait)
    }

    /// Bytes a second that may come in now; `None` for any number.
    fn limit(&self, state: &State, now: Duration) -> Option<f64> {
        let PaceSettings { paced_from_bytes, flush_bytes, .. } = self.settings;
        let beyond = state.waiting.checked_sub(paced_from_bytes).filter(|bytes| *bytes > 0)?;
        if state.away || state.flush.is_some_and(|flush| flush.is_away(now)) {
            return state.making.map(|rate| rate * SHARE);
        }
        // The one under way is at best as fast as if it ended now.
        let at_best = state.flush.and_then(|flush| {
            let so_far = now.saturating_sub(flush.began);
            (!so_far.is_zero()).then(|| flush_bytes as f64 / so_far.as_secs_f64())
        });
        let known = state.storing.into_iter().chain(at_best);
        let rate = known.min_by(f64::total_cmp)?;
        let beyond = beyond as f64 / (paced_from_bytes as f64 * BEYOND);
        Some(rate * (1.0 - beyond).max(SHARE_LEAST))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flushing {
    /// Whether the bucket takes too long to be waited for.
    fn is_away(&self, now: Duration) -> bool {
        self.putting.is_some_and(|since| now.saturating_sub(since) > AWAY_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::fixtures::TestClock;
    use crate::metrics::Metrics;

    const SETTINGS: PaceSettings =
        PaceSettings { paced_from_bytes: 900, flush_bytes: 400, wait_max: Duration::from_secs(2) };

    fn pace(clock: &Arc<TestClock>) -> Pace {
        let metrics = Metrics::new(&mut Registry::default()).pace;
        Pace::new(SETTINGS, Arc::clone(clock) as _, metrics)
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A flush of so many bytes.
    fn flush(pace: &Pace, clock: &TestClock, bytes: u64, making: Duration, puts: Duration) {
        pace.began();
        clock.advance(making);
        pace.made(bytes, making);
        pace.putting(true);
        clock.advance(puts);
        pace.stored(bytes);
    }

    fn limit(pace: &Pace) -> Option<f64> {
        let limit = pace.limit(&pace.state(), pace.clock.elapsed());
        limit.map(f64::round)
    }

    /// Scenario: senders that never rest, before anything was flushed, with little waiting, with
    /// too much waiting, and with little again.
    /// Guarantees: only in the third case they wait, as many bytes a second come in as the flush
    /// bears, a turn that is too far away is refused, and a refused one costs nobody anything.
    #[test]
    fn requests_are_paced_while_too_much_waits() {
        let clock = Arc::new(TestClock::default());
        let pace = pace(&clock);
        let claim = |bytes| pace.claim(bytes, clock.elapsed(), SETTINGS.wait_max);
        pace.waiting(5000);
        assert_eq!(claim(1_000_000), Ok(Duration::ZERO), "no rate is known");
        flush(&pace, &clock, 400, seconds(2), seconds(2));
        flush(&pace, &clock, 99, seconds(4), seconds(5));
        pace.waiting(900);
        assert_eq!(claim(1_000_000), Ok(Duration::ZERO), "little waits");
        pace.waiting(930);
        assert_eq!(claim(90), Ok(Duration::ZERO));
        assert_eq!(claim(45), Ok(seconds(1)));
        pace.charge(45);
        assert_eq!(claim(90), Ok(seconds(2)));
        assert_eq!(claim(1).unwrap_err().reason, Reason::Behind);
        clock.advance(seconds(1));
        assert_eq!(claim(90), Ok(seconds(2)));
        pace.waiting(10);
        assert_eq!(claim(1_000_000), Ok(Duration::ZERO));
        pace.waiting(2000);
        assert_eq!(claim(1), Ok(Duration::ZERO), "what came in freely is no debt");
    }

    /// Scenario: ever more waits; then a flush takes longer than those before it, the first one of
    /// a process as well.
    /// Guarantees: the time of the puts counts; less comes in the more waits and the longer the
    /// flush takes, and never nothing.
    #[test]
    fn the_pace_knows_the_bucket_and_what_waits() {
        let clock = Arc::new(TestClock::default());
        let pace = pace(&clock);
        pace.waiting(901);
        pace.began();
        assert_eq!(limit(&pace), None, "nothing is known");
        clock.advance(seconds(1));
        assert_eq!(limit(&pace), Some(399.0), "at best it ends now");
        clock.advance(seconds(1));
        pace.made(400, seconds(2));
        pace.putting(true);
        clock.advance(seconds(2));
        pace.stored(400);
        assert_eq!(limit(&pace), Some(100.0), "files in two seconds, puts in two");
        pace.waiting(1050);
        assert_eq!(limit(&pace), Some(50.0));
        pace.waiting(9000);
        assert_eq!(limit(&pace), Some(10.0));
        pace.waiting(901);
        pace.began();
        clock.advance(seconds(4));
        assert_eq!(limit(&pace), Some(100.0));
        clock.advance(seconds(4));
        assert_eq!(limit(&pace), Some(50.0), "half as fast as the one before, at best");
        pace.made(400, seconds(8));
        pace.putting(true);
        pace.stored(400);
        assert_eq!(limit(&pace), Some(75.0), "the newest counts as much as all before it");
    }

    /// Scenario: a sender that sends ten times what can be stored, over a bucket whose puts take three
    /// times as long as making files, from the first moment of a process on, for two minutes.
    /// Guarantees: never more waits than a third beyond the bound and a request, and the flush never
    /// waits for the sender.
    #[test]
    fn what_waits_stays_bounded_over_slow_puts() {
        const REQUEST: u64 = 5;
        let clock = Arc::new(TestClock::default());
        let pace = pace(&clock);
        let (step, ends) = (Duration::from_millis(10), seconds(120));
        let (mut waiting, mut most, mut stored) = (0, 0, 0);
        let (mut flush, mut turn) = (None, Duration::ZERO);
        while clock.elapsed() < ends {
            let now = clock.elapsed();
            if now >= turn
                && let Ok(wait) = pace.claim(5, now, SETTINGS.wait_max)
            {
                turn = now + wait;
                waiting += REQUEST;
            }
            most = most.max(waiting);
            match flush {
                None if waiting >= SETTINGS.flush_bytes => {
                    pace.began();
                    flush = Some(now);
                }
                Some(began) if now == began + seconds(2) => {
                    pace.made(SETTINGS.flush_bytes, seconds(2));
                    pace.putting(true);
                }
                Some(began) if now == began + seconds(8) => {
                    pace.stored(SETTINGS.flush_bytes);
                    (flush, stored) = (None, stored + SETTINGS.flush_bytes);
                    waiting -= SETTINGS.flush_bytes;
                }
                _ => {}
            }
            pace.waiting(waiting);
            clock.advance(step);
        }
        assert!(most <= 1200 + REQUEST, "{most} bytes waited");
        assert!(stored >= 14 * SETTINGS.flush_bytes, "{stored} bytes were stored");
    }

    /// Scenario: the puts of a flush do not end; they fail; a next one takes very long; then the
    /// bucket is as fast as ever.
    /// Guarantees: while the bucket is away it slows nobody: requests come in at the rate of making
    /// files, less a tenth.
    #[test]
    fn a_bucket_that_is_away_slows_nobody() {
        let clock = Arc::new(TestClock::default());
        let pace = pace(&clock);
        flush(&pace, &clock, 400, seconds(2), seconds(2));
        pace.waiting(9000);
        pace.began();
        clock.advance(seconds(2));
        pace.made(400, seconds(2));
        pace.putting(true);
        clock.advance(AWAY_AFTER);
        assert_eq!(limit(&pace), Some(3.0), "a tenth of the rate of 12 s");
        clock.advance(seconds(1));
        assert_eq!(limit(&pace), Some(180.0));
        pace.failed();
        assert_eq!(limit(&pace), Some(180.0));
        flush(&pace, &clock, 400, seconds(2), AWAY_AFTER + seconds(1));
        assert_eq!(limit(&pace), Some(180.0));
        flush(&pace, &clock, 400, seconds(2), seconds(2));
        assert_eq!(limit(&pace), Some(10.0), "what took too long is in no rate");
    }
}
