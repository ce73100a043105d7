//! When the sockets are walked over.
//!
//! Invariant: one walk is under way at a time, on a thread where it may wait.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior};

use crate::attach::{Walk, Walked};
use crate::error::Error;

/// Walks now and then.
#[derive(Debug)]
pub(crate) struct Walker {
    /// None: never.
    walk: Option<Walk>,
    every: Interval,
    under_way: Option<JoinHandle<Result<Walked, Error>>>,
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Step {
    /// It is time to [`Walker::begin`].
    Due,
    /// A walk is over; none where it could not be made.
    Over(Option<Walked>),
}

impl Walker {
    /// Must be called on a runtime.
    pub(crate) fn new(walk: Option<Walk>, every: Duration) -> Self {
        let mut every = tokio::time::interval(every);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { walk, every, under_way: None }
    }

    /// Waits for what comes next; never returns where there are no walks. May be dropped at any time.
    pub(super) async fn next(&mut self) -> Step {
        if self.walk.is_none() {
            std::future::pending::<()>().await;
        }
        let Some(task) = &mut self.under_way else {
            self.every.tick().await;
            return Step::Due;
        };
        let walked = task.await.map_err(Error::Task).flatten();
        self.under_way = None;
        Step::Over(told(walked))
    }

    /// Begins a walk.
    pub(super) fn begin(&mut self) {
        if let Some(walk) = self.walk.clone() {
            self.under_way = Some(tokio::task::spawn_blocking(move || walk.take()));
        }
    }

    /// Waits for the walk that is under way.
    pub(super) async fn over(&mut self) -> Option<Walked> {
        let task = self.under_way.take()?;
        told(task.await.map_err(Error::Task).flatten())
    }
}

fn told(walked: Result<Walked, Error>) -> Option<Walked> {
    let warn = |error: &Error| {
        let error: &dyn std::error::Error = error;
        tracing::warn!(error, "the open sockets could not be walked over");
    };
    walked.inspect_err(warn).ok()
}
