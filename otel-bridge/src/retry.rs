//! How long to wait before the next attempt.
//!
//! Invariant: a wait is never zero, never beyond its bound, and never shorter than what the
//! destination asked for within that bound.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::RetryConfig;

/// The shortest wait: settings of zero must not make a busy loop.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// Waits of one destination.
#[derive(Debug)]
pub(crate) struct Backoff {
    config: RetryConfig,
    chance: Mutex<StdRng>,
}

impl Backoff {
    pub(crate) fn new(config: RetryConfig, seed: u64) -> Self {
        Self { config, chance: Mutex::new(StdRng::seed_from_u64(seed)) }
    }

    /// The wait after failed attempt number `attempt`, counted from zero.
    pub(crate) fn wait(&self, attempt: u32, asked: Option<Duration>) -> Duration {
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        wait(&self.config, attempt, asked, chance.random_range(0.0..1.0))
    }
}

/// Between half of and all of the exponential wait, by `chance` in `0..1`, on top of what was
/// asked for: senders that were told the same time must not come back all at once.
fn wait(config: &RetryConfig, attempt: u32, asked: Option<Duration>, chance: f64) -> Duration {
    let doubled = config.first_wait.saturating_mul(1_u32.checked_shl(attempt).unwrap_or(u32::MAX));
    let jittered = doubled.min(config.wait_max).mul_f64(0.5 + chance / 2.0);
    let asked = asked.unwrap_or_default().min(config.asked_wait_max);
    if asked > jittered {
        asked + config.first_wait.mul_f64(chance)
    } else {
        jittered.max(WAIT_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: many attempts, with and without a time asked for, at both ends of chance.
    /// Guarantees: doubling within bounds; asked times are kept, up to their bound.
    #[test]
    fn waits_are_bounded() {
        let config = RetryConfig {
            first_wait: Duration::from_millis(100),
            wait_max: Duration::from_secs(2),
            asked_wait_max: Duration::from_mins(1),
        };
        let check = |attempt, asked, chance, millis| {
            let asked: Option<u64> = asked;
            let found = wait(&config, attempt, asked.map(Duration::from_secs), chance);
            assert_eq!(found, Duration::from_millis(millis), "{attempt} {asked:?} {chance}");
        };
        check(0, None, 0.0, 50);
        check(0, None, 1.0, 100);
        check(3, None, 1.0, 800);
        check(31, None, 1.0, 2_000);
        check(4_000_000, None, 0.0, 1_000);
        check(0, Some(7), 0.0, 7_000);
        check(0, Some(7), 1.0, 7_100);
        check(0, Some(9_999), 0.0, 60_000);
        let idle = RetryConfig { first_wait: Duration::ZERO, ..config };
        assert_eq!(wait(&idle, 0, None, 0.0), WAIT_MIN);
    }
}
