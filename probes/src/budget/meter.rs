//! What the agent's tasks cost, on whatever threads they run, beside whatever else runs there.
//!
//! Invariant: CPU time is counted once, for the task that was polled or the work that was called while it went by.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use crate::clock::thread_nanos;

/// CPU time of all that it is put on. Cheap to clone; all clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meter {
    nanos: Arc<AtomicU64>,
}

impl Meter {
    /// The same task, metered: two looks at the thread's clock a poll, some 0.3 microseconds each.
    pub(crate) fn task<F: Future>(&self, task: F) -> impl Future<Output = F::Output> + use<F> {
        let meter = self.clone();
        async move {
            let mut task = pin!(task);
            std::future::poll_fn(move |context| meter.poll(task.as_mut(), context)).await
        }
    }

    fn poll<F: Future>(&self, task: Pin<&mut F>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.work(|| task.poll(context))
    }

    /// Does work that does not wait, metered.
    pub(crate) fn work<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = thread_nanos();
        let done = work();
        self.nanos.fetch_add(thread_nanos().saturating_sub(before), Ordering::Relaxed);
        done
    }

    /// Nanoseconds since the meter was made.
    pub(crate) fn nanos(&self) -> u64 {
        self.nanos.load(Ordering::Relaxed)
    }
}

/// Spawns metered: for those who spawn tasks of their own.
impl<F> hyper::rt::Executor<F> for Meter
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        tokio::spawn(self.task(task));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(nanos: u64) {
        let until = thread_nanos() + nanos;
        while thread_nanos() < until {}
    }

    /// Scenario: a metered task that works, waits and works again, while another one that is not metered works
    /// on the same thread.
    /// Guarantees: the work of the first is counted whole, that of the other not at all.
    #[tokio::test]
    async fn a_task_pays_for_itself_alone() {
        let meter = Meter::default();
        let other = async {
            for _ in 0..4 {
                busy(5_000_000);
                tokio::task::yield_now().await;
            }
        };
        let task = meter.task(async {
            busy(2_000_000);
            tokio::task::yield_now().await;
            busy(3_000_000);
            7
        });
        let (seven, ()) = tokio::join!(task, other);
        assert_eq!(seven, 7);
        let nanos = meter.nanos();
        assert!((5_000_000..15_000_000).contains(&nanos), "{nanos}");
    }
}
