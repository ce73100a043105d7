//! The thread that the profiler works on.
//!
//! Invariant: nobody waits for it without end: it reads files of others, which may be on file systems that do
//! not answer, and a process can end while such a read goes on.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::work::Profiler;
use crate::error::Error;

/// What ending takes is an interval's folding, some milliseconds.
const END_MAX: Duration = Duration::from_secs(5);

/// A profiler at work.
#[derive(Debug)]
pub(crate) struct Profiling {
    ended: oneshot::Receiver<()>,
    end_max: Duration,
}

impl Profiler {
    /// Works on a thread of its own until `stop`.
    pub(crate) fn start(self, stop: CancellationToken) -> Result<Profiling, Error> {
        start(END_MAX, move || self.run(&stop))
    }
}

/// Not on a thread of the runtime, which would wait for it when it ends itself.
fn start(end_max: Duration, work: impl FnOnce() + Send + 'static) -> Result<Profiling, Error> {
    let (end, ended) = oneshot::channel();
    let thread = std::thread::Builder::new().name("profiler".to_owned());
    let work = move || {
        work();
        // Nobody may be there to hear of it.
        end.send(()).unwrap_or(());
    };
    thread.spawn(work).map_err(Error::Thread)?;
    Ok(Profiling { ended, end_max })
}

impl Profiling {
    /// Waits for its end, but not for long: what it still had is lost then, and that is said.
    pub(crate) async fn ended(self) -> Result<(), Error> {
        match tokio::time::timeout(self.end_max, self.ended).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Error::Profiler("it panicked")),
            Err(_) => Err(Error::Profiler("it did not end in time, a file may not answer")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: a profiler that ends, one that panics, and one that hangs until the test is over.
    /// Guarantees: each is told as what it is, and none is waited for without end.
    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let limit = Duration::from_millis(200);
        start(Duration::from_secs(60), || {}).unwrap().ended().await.unwrap();
        let panics = start(Duration::from_secs(60), || std::panic::resume_unwind(Box::new(())));
        let told = panics.unwrap().ended().await.unwrap_err().to_string();
        assert!(told.contains("panicked"), "{told}");
        let (over, waits) = std::sync::mpsc::channel::<()>();
        let hangs = start(limit, move || waits.recv().unwrap_or(())).unwrap();
        let told = hangs.ended().await.unwrap_err().to_string();
        assert!(told.contains("in time"), "{told}");
        drop(over);
    }
}
