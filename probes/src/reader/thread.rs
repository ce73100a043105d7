//! The thread on which the rings are read, with a runtime of its own.
//!
//! On one that is shared, the thread that reads and those that send woke each other by turns: whoever reads set a timer that
//! another one waited for. Invariant: whoever waits for the thread may be dropped; it is told to stop then, and ends by itself.

use std::future::Future;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::error::Error;

/// For looks at the machine, which take turns, and for looks into files.
const BLOCKING_THREADS_MAX: usize = 3;

/// Does this on a thread and a runtime of its own. Should nobody wait any more, `stop` is cancelled.
pub(crate) async fn alone<T, F>(
    stop: CancellationToken,
    work: impl FnOnce() -> F + Send + 'static,
) -> Result<T, Error>
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build()
        .map_err(Error::Thread)?;
    let (end, ended) = oneshot::channel();
    let work = move || {
        let done = runtime.block_on(work());
        // A look into a file that does not answer is not waited for.
        runtime.shutdown_background();
        // Nobody may be there to hear of it.
        drop(end.send(done));
    };
    let _stopped = stop.drop_guard();
    let thread = std::thread::Builder::new().name("reader".to_owned());
    thread.spawn(work).map_err(Error::Thread)?;
    ended.await.map_err(|_closed| Error::Reader)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Scenario: work that answers, work that panics, and work that goes on until it is stopped while nobody waits for it
    /// any more.
    /// Guarantees: the answer, the panic as an error, and the stop.
    #[tokio::test]
    async fn nobody_is_left_alone() {
        let stop = CancellationToken::new;
        let slept = || tokio::time::sleep(Duration::from_millis(1));
        let answer = async move || {
            slept().await;
            7
        };
        assert_eq!(alone(stop(), answer).await.unwrap(), 7);
        let panics = async || std::panic::resume_unwind(Box::new(()));
        assert!(matches!(alone::<(), _>(stop(), panics).await, Err(Error::Reader)));
        let (stopped, (end, ended)) = (stop(), oneshot::channel::<()>());
        let inner = stopped.clone();
        let waits = async move || {
            inner.cancelled().await;
            end.send(()).unwrap();
        };
        let waited = alone(stopped, waits);
        assert!(tokio::time::timeout(Duration::from_millis(50), waited).await.is_err());
        ended.await.unwrap();
    }
}
