//! Parts that run, and how they end.
//!
//! Invariant: the first part that ends by itself stops all; a stop drains them one after the other
//! in the order in which data flows, all within one deadline.

use std::error::Error;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, select_all};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::error::{Failure, Outcome};

/// When a part drains: those that send before those that take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(
    not(all(feature = "ingest", feature = "bridge", feature = "probe")),
    expect(dead_code, reason = "a binary of one role has only its own parts")
)]
pub(super) enum Order {
    Probe,
    Ingest,
    Bridge,
    Query,
    Store,
}

/// The parts of this process.
pub(super) struct Parts {
    running: Vec<Part>,
}

struct Part {
    name: &'static str,
    order: Order,
    stop: CancellationToken,
    /// Ends when the part has drained, or failed.
    done: BoxFuture<'static, Outcome>,
}

impl Parts {
    pub(super) fn new() -> Self {
        Self { running: Vec::new() }
    }

    /// Starts a part on the runtime.
    pub(super) fn add<F, E>(
        &mut self,
        name: &'static str,
        order: Order,
        run: impl FnOnce(CancellationToken) -> F,
    ) where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Error + Send + Sync + 'static,
    {
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(stop.clone()));
        let done = task.map(move |joined| match joined {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Failure::from_error(name, &error)),
            Err(panicked) => Err(Failure::from_error(name, &panicked)),
        });
        self.running.push(Part { name, order, stop, done: done.boxed() });
    }

    /// Waits until `stop`, or until a part ends by itself, which is a failure of the process.
    pub(super) async fn run_until(&mut self, stop: &CancellationToken) -> Outcome {
        if self.running.is_empty() {
            return Err(Failure::failed("there is nothing to run"));
        }
        let first = select_all(self.running.iter_mut().map(|part| &mut part.done));
        let (ended, at) = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            (ended, at, _) = first => (ended, at),
        };
        let part = self.running.remove(at);
        warn!(part = part.name, "ended by itself");
        ended.and_then(|()| Err(Failure::failed(format!("{} ended by itself", part.name))))
    }

    /// Stops the parts in order and waits for each, all within `deadline`.
    pub(super) async fn drain(mut self, deadline: Duration) -> Outcome {
        self.running.sort_by_key(|part| part.order);
        let end = tokio::time::Instant::now() + deadline;
        let mut outcome = Ok(());
        for part in self.running {
            part.stop.cancel();
            let drained = match tokio::time::timeout_at(end, part.done).await {
                Ok(drained) => drained,
                Err(_late) => Err(Failure::failed(format!(
                    "{} did not drain within {deadline:?} (`drain_deadline`); what the log holds is \
                     flushed at the next start",
                    part.name
                ))),
            };
            match &drained {
                Ok(()) => info!(part = part.name, "drained"),
                Err(failure) => warn!(part = part.name, %failure, "not drained"),
            }
            outcome = outcome.and(drained);
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    type Log = Arc<Mutex<Vec<&'static str>>>;

    fn part(
        log: &Log,
        name: &'static str,
    ) -> impl FnOnce(CancellationToken) -> BoxFuture<'static, Result<(), std::io::Error>> + use<>
    {
        let log = Arc::clone(log);
        move |stop| {
            async move {
                stop.cancelled().await;
                log.lock().unwrap().push(name);
                Ok(())
            }
            .boxed()
        }
    }

    /// Scenario: parts added in one order, stopped.
    /// Guarantees: they drain in the order of data, whatever the order of opening.
    #[tokio::test]
    async fn parts_drain_in_the_order_of_data() {
        let log = Log::default();
        let mut parts = Parts::new();
        parts.add("store", Order::Store, part(&log, "store"));
        parts.add("ingest", Order::Ingest, part(&log, "ingest"));
        parts.add("probe", Order::Probe, part(&log, "probe"));
        let stop = CancellationToken::new();
        stop.cancel();
        parts.run_until(&stop).await.unwrap();
        parts.drain(Duration::from_secs(5)).await.unwrap();
        assert_eq!(*log.lock().unwrap(), ["probe", "ingest", "store"]);
    }

    /// Scenario: one part fails while others run; another never drains.
    /// Guarantees: the failure is told with the part's name; the deadline holds.
    #[tokio::test]
    async fn a_failing_part_stops_all() {
        let log = Log::default();
        let mut parts = Parts::new();
        parts.add("ingest", Order::Ingest, part(&log, "ingest"));
        parts.add("bridge", Order::Bridge, |_| async { Err(std::io::Error::other("no route")) });
        let stop = CancellationToken::new();
        let failure = parts.run_until(&stop).await.unwrap_err().to_string();
        assert_eq!(failure, "bridge: no route");
        parts.add("stuck", Order::Store, |_| std::future::pending::<Result<(), std::io::Error>>());
        let failure = parts.drain(Duration::from_millis(30)).await.unwrap_err().to_string();
        assert!(failure.contains("stuck did not drain within 30ms"), "{failure}");
        assert_eq!(*log.lock().unwrap(), ["ingest"]);
    }
}
