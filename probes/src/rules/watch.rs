//! Reads the file of rules again when it has changed.
//!
//! Invariants: a fault is said once, and leaves in force what was; a file counts once it was the same
//! twice, so that one that is being written is not taken for less than it will be.

use std::path::Path;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::file;
use super::metrics::{Outcome, RulesMetrics};
use super::{InForce, Rules, RulesConfig, RulesError};

/// The bytes of a file, or why it could not be read.
type Content = Result<Vec<u8>, String>;

/// Keeps the rules up to date.
#[derive(Debug)]
pub struct RulesTask {
    config: RulesConfig,
    /// What the file was when it last counted.
    seen: Content,
    /// What it was the last time, when that was something else.
    coming: Option<Content>,
    in_force: InForce,
    metrics: RulesMetrics,
}

impl RulesTask {
    pub(super) fn new(
        config: RulesConfig,
        seen: Vec<u8>,
        in_force: InForce,
        metrics: RulesMetrics,
    ) -> Self {
        Self { config, seen: Ok(seen), coming: None, in_force, metrics }
    }

    /// Looks at the file until `stop`; returns at once when there is none. Its content is compared
    /// and not its time, which many ways to replace a file keep.
    pub async fn run(mut self, stop: CancellationToken) {
        let Some(file) = self.config.file.clone() else { return };
        let mut tick = tokio::time::interval(self.config.every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            let path = file.clone();
            let Ok(read) = tokio::task::spawn_blocking(move || file::read(&path)).await else {
                return;
            };
            self.look(&file, read);
        }
    }

    fn look(&mut self, file: &Path, read: Result<Vec<u8>, RulesError>) {
        let seen = match &read {
            Ok(text) => Ok(text.clone()),
            Err(error) => Err(chain(error)),
        };
        if self.seen == seen {
            self.coming = None;
            return;
        }
        if self.coming.as_ref() != Some(&seen) {
            self.coming = Some(seen);
            return;
        }
        self.seen = seen;
        self.coming = None;
        match read.and_then(|text| file::parse(file, &text, &self.config)) {
            Ok(rules) => self.take(rules),
            Err(error) => {
                self.metrics.changed(Outcome::Refused);
                error!(reason = chain(&error), "rules not taken, the old ones stay in force");
            }
        }
    }

    fn take(&self, rules: Rules) {
        let count = rules.list.len();
        self.in_force.replace(rules);
        self.metrics.changed(Outcome::Taken);
        self.metrics.in_force(count);
        info!(rules = count, "rules in force");
    }
}

fn chain(error: &RulesError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
