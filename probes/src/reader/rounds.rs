//! Work that is done now and then, on a thread where it may wait.
//!
//! Invariant: of one kind of work, one round is under way at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior};

use crate::budget::Meter;
use crate::error::Error;

/// What is done in a round.
pub(crate) type Work<T> = Arc<dyn Fn() -> Result<T, Error> + Send + Sync>;

/// Rounds of one kind of work.
pub(crate) struct Rounds<T> {
    /// None: never.
    work: Option<Work<T>>,
    every: Duration,
    /// Begins when it is first waited for, on the runtime of who waits.
    tick: Option<Interval>,
    under_way: Option<JoinHandle<Result<T, Error>>>,
    meter: Meter,
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Step<T> {
    /// It is time to [`Rounds::begin`].
    Due,
    /// A round is over; none where it has failed.
    Over(Option<T>),
}

impl<T: Send + 'static> Rounds<T> {
    pub(crate) fn new(work: Option<Work<T>>, every: Duration, meter: &Meter) -> Self {
        Self { work, every, tick: None, under_way: None, meter: meter.clone() }
    }

    /// Waits for what comes next; never returns where there are no rounds. May be dropped at any time.
    pub(super) async fn next(&mut self) -> Step<T> {
        if self.work.is_none() {
            std::future::pending::<()>().await;
        }
        let Some(task) = &mut self.under_way else {
            let tick = self.tick.get_or_insert_with(|| ticks(self.every));
            tick.tick().await;
            return Step::Due;
        };
        let found = task.await.map_err(Error::Task).flatten();
        self.under_way = None;
        Step::Over(told(found))
    }

    /// Begins a round.
    pub(super) fn begin(&mut self) {
        if let Some(work) = self.work.clone() {
            let meter = self.meter.clone();
            let work = move || meter.work(|| work());
            self.under_way = Some(tokio::task::spawn_blocking(work));
        }
    }

    /// Waits for the round that is under way.
    pub(super) async fn over(&mut self) -> Option<T> {
        let task = self.under_way.take()?;
        told(task.await.map_err(Error::Task).flatten())
    }
}

fn ticks(every: Duration) -> Interval {
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}

fn told<T>(found: Result<T, Error>) -> Option<T> {
    let warn = |error: &Error| {
        let error: &dyn std::error::Error = error;
        tracing::warn!(error, "a look at the machine failed");
    };
    found.inspect_err(warn).ok()
}
