//! Keeps a rate: each request leaves when all items before it are due.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

#[derive(Debug)]
pub(super) struct Pace {
    rate: u64,
    started: Instant,
    sent: u64,
}

impl Pace {
    /// `rate` items a second from `started` on; 0 never waits.
    pub(super) const fn new(rate: u64, started: Instant) -> Self {
        Self { rate, started, sent: 0 }
    }

    /// Waits until the next request is due. One that is late does not wait, so that the rate is
    /// made up for.
    pub(super) async fn wait(&mut self, items: u64) {
        if let Some(due) = due(self.sent, self.rate) {
            sleep_until(self.started + due).await;
        }
        self.sent = self.sent.saturating_add(items);
    }
}

/// When an item is due that `sent` others come before.
fn due(sent: u64, rate: u64) -> Option<Duration> {
    let nanos = (u128::from(sent) * 1_000_000_000).checked_div(u128::from(rate))?;
    Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: a thousand items a second, and no rate.
    /// Guarantees: each item is due at its time, computed from the start, so that lateness does
    /// not add up; without a rate nothing waits.
    #[test]
    fn a_rate_says_when_an_item_is_due() {
        assert_eq!(due(0, 1_000), Some(Duration::ZERO));
        assert_eq!(due(250, 1_000), Some(Duration::from_millis(250)));
        assert_eq!(due(u64::MAX, 1), Some(Duration::from_nanos(u64::MAX)));
        assert_eq!(due(7, 0), None);
    }
}
