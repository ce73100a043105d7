//! What became of a load, in one line.

use std::fmt;
use std::time::Duration;

use crate::generate::Plan;

/// What became of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    Acked { rejected: u64 },
    Refused(String),
    Uncertain(String),
    GivenUp(String),
}

#[derive(Debug)]
pub(super) struct Settled {
    pub(super) items: u64,
    pub(super) fate: Fate,
    pub(super) retries: u64,
    /// Of the last attempt.
    pub(super) took: Duration,
}

/// The figures of a load; items are spans, data points or log records.
#[derive(Debug, Default, Clone)]
pub(crate) struct Summary {
    pub(crate) run: String,
    pub(crate) signal: &'static str,
    pub(crate) acked: u64,
    /// Left out by the server of requests that it accepted.
    pub(crate) rejected: u64,
    pub(crate) refused: u64,
    /// The connection broke before the answer: perhaps stored, perhaps not.
    pub(crate) uncertain: u64,
    pub(crate) given_up: u64,
    pub(crate) retries: u64,
    last_problem: Option<String>,
    pub(crate) elapsed: Duration,
    took: Vec<Duration>,
}

impl Summary {
    pub(super) fn new(plan: &Plan) -> Self {
        Self { run: plan.run.clone(), signal: plan.signal.name(), ..Self::default() }
    }

    pub(super) fn add(&mut self, settled: Settled) {
        let Settled { items, fate, retries, took } = settled;
        self.retries += retries;
        let problem = match fate {
            Fate::Acked { rejected } => {
                self.acked += items.saturating_sub(rejected);
                self.rejected += rejected;
                self.took.push(took);
                return;
            }
            Fate::Refused(message) => {
                self.refused += items;
                message
            }
            Fate::Uncertain(message) => {
                self.uncertain += items;
                message
            }
            Fate::GivenUp(message) => {
                self.given_up += items;
                message
            }
        };
        self.last_problem = Some(problem);
    }

    pub(super) fn finish(&mut self, elapsed: Duration) {
        self.elapsed = elapsed;
        self.took.sort_unstable();
    }

    /// Whether every item was accepted.
    pub(crate) const fn complete(&self) -> bool {
        self.rejected + self.refused + self.uncertain + self.given_up == 0
    }

    /// The time within which `share` of the requests were acknowledged.
    pub(crate) fn within(&self, share: f64) -> Duration {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
        let at = (self.took.len() as f64 * share) as usize;
        self.took.get(at.min(self.took.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        let rate = if seconds > 0.0 { self.acked as f64 / seconds } else { 0.0 };
        write!(
            f,
            "run={} signal={} acked={} rejected={} refused={} uncertain={} given_up={} retries={} \
             seconds={seconds:.2} rate={rate:.0}/s ack_p50_ms={:.2} ack_p99_ms={:.2}",
            self.run,
            self.signal,
            self.acked,
            self.rejected,
            self.refused,
            self.uncertain,
            self.given_up,
            self.retries,
            self.within(0.5).as_secs_f64() * 1e3,
            self.within(0.99).as_secs_f64() * 1e3,
        )?;
        match &self.last_problem {
            Some(problem) => write!(f, " last_problem={problem:?}"),
            None => Ok(()),
        }
    }
}
