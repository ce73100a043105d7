//! How fast requests may come while rows become files more slowly than they arrive.
//!
//! Acknowledging costs a third of what storing does, so that a machine that is asked for all it has
//! would promise for ever more than it can keep. Once so much waits that a flush has a second one
//! behind it, requests are let in at a little less than the rate at which the last flushes made
//! files: each waits its turn for a moment, and is refused with a time to come back where the turn
//! is far away. The time that the bucket takes is not in that rate: a bucket that is slow or away
//! makes the log grow, and nobody wait, until the log is full.
//!
//! Invariant: while more waits than the bound, no more is let in than [`SHARE`] of that rate.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use icecore_store::Clock;

use crate::metrics::PaceMetrics;
use crate::receive::{Reason, Refusal};

/// Of the rate of the last flushes: what waits must become less.
const SHARE: f64 = 0.9;

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
    /// Bytes a second that the last flushes made files of.
    rate: Option<f64>,
    /// When the next request may come in.
    next: Duration,
}

impl Pace {
    /// Nothing waits, and nothing is known of the rate.
    pub(crate) fn new(settings: PaceSettings, clock: Arc<dyn Clock>, metrics: PaceMetrics) -> Self {
        Self { settings, clock, metrics, state: Mutex::default() }
    }

    /// So many bytes of requests wait now to become files.
    pub(crate) fn waiting(&self, bytes: u64) {
        let mut state = self.state();
        state.waiting = bytes;
        self.metrics.rate(self.limit(&state).unwrap_or_default());
    }

    /// Requests of so many bytes became files in this time, that of the bucket not counted.
    pub(crate) fn encoded(&self, bytes: u64, took: Duration) {
        if bytes < self.settings.flush_bytes / 4 || took.is_zero() {
            return;
        }
        let rate = bytes as f64 / took.as_secs_f64();
        let mut state = self.state();
        state.rate = Some(state.rate.map_or(rate, |before| f64::midpoint(before, rate)));
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
        let Some(limit) = self.limit(&state) else {
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
    fn limit(&self, state: &State) -> Option<f64> {
        let behind = state.waiting > self.settings.paced_from_bytes;
        state.rate.filter(|_| behind).map(|rate| rate * SHARE)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::fixtures::TestClock;
    use crate::metrics::Metrics;

    const SETTINGS: PaceSettings =
        PaceSettings { paced_from_bytes: 1000, flush_bytes: 400, wait_max: Duration::from_secs(2) };

    fn pace(clock: &Arc<TestClock>) -> Pace {
        let metrics = Metrics::new(&mut Registry::default()).pace;
        Pace::new(SETTINGS, Arc::clone(clock) as _, metrics)
    }

    /// Scenario: senders that never rest, before anything was flushed, with little waiting, with
    /// too much waiting, and with little again.
    /// Guarantees: only in the third case they wait, as many bytes a second come in as the flush
    /// bears, a turn that is too far away is refused, and a refused one costs nobody anything.
    #[test]
    fn requests_are_paced_while_too_much_waits() {
        let clock = Arc::new(TestClock::default());
        let pace = pace(&clock);
        let now = || clock.elapsed();
        let claim = |bytes| pace.claim(bytes, now(), SETTINGS.wait_max);
        pace.waiting(5000);
        assert_eq!(claim(1_000_000), Ok(Duration::ZERO), "no rate is known");
        pace.encoded(400, Duration::from_secs(4));
        pace.encoded(99, Duration::from_secs(1000));
        pace.waiting(1000);
        assert_eq!(claim(1_000_000), Ok(Duration::ZERO), "little waits");
        pace.waiting(1001);
        let seconds = Duration::from_secs;
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

    /// Scenario: flushes of changing speed.
    /// Guarantees: the newest counts as much as all before it.
    #[test]
    fn the_rate_follows_the_flushes() {
        let pace = pace(&Arc::new(TestClock::default()));
        pace.encoded(400, Duration::from_secs(4));
        pace.encoded(900, Duration::from_secs(3));
        assert_eq!(pace.state().rate, Some(200.0));
        pace.encoded(900, Duration::ZERO);
        assert_eq!(pace.state().rate, Some(200.0));
    }
}
