//! Work that takes longer than a runtime thread may be held.
//!
//! Invariant: everything that encodes, decodes or compresses goes through here, so that it blocks
//! no request, and so that the simulation, which has one thread, knows of all of it.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use tokio::task::{JoinError, JoinHandle};

use crate::error::Error;

/// Runs work that takes longer than a runtime thread may be held on a thread that may block.
pub(crate) async fn off_runtime<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    blocking(work).await.map_err(|source| Error::Interrupted { work: name, source })?
}

/// Runs something beside everything else; none in a simulation, which has no such place.
pub(crate) fn background<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Option<JoinHandle<T>> {
    #[cfg(test)]
    if crate::sim::is_running() {
        return None;
    }
    Some(tokio::spawn(work))
}

/// Runs work that nobody waits for on a thread that may block.
pub(crate) fn beside(work: impl FnOnce() + Send + 'static) {
    #[cfg(test)]
    if crate::sim::is_running() {
        return work();
    }
    drop(tokio::task::spawn_blocking(work));
}

/// Runs two pieces of work, on two threads where another one is free before this one is done. Called
/// on a thread that may block. It waits for another thread only where that has begun, so that it
/// ends however many threads there are.
pub(crate) fn both<A: Send + 'static, B>(
    one: impl FnOnce() -> A + Send + 'static,
    two: impl FnOnce() -> B,
) -> (A, B) {
    #[cfg(test)]
    if crate::sim::is_running() {
        return (one(), two());
    }
    let waiting = Arc::new(Mutex::new(Some(one)));
    let (done, result) = mpsc::sync_channel(1);
    let offered = Arc::clone(&waiting);
    drop(tokio::task::spawn_blocking(move || {
        let work = offered.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The receiver is there until it has this.
        work.into_iter().for_each(|one| drop(done.send(one())));
    }));
    let two = two();
    let left = waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
    let one = match left {
        Some(one) => one(),
        None => result.recv().expect("work that began ends, or panics as it would here"),
    };
    (one, two)
}

/// The same for whoever deals with a panic by itself.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    // On another thread it would end at a time that no seed decides.
    #[cfg(test)]
    if crate::sim::is_running() {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: two pieces of work where no other thread is free, and where some are.
    /// Guarantees: both are done, each once, and nobody waits for a thread that never comes.
    #[test]
    fn two_pieces_of_work_end_on_any_number_of_threads() {
        for threads in [1, 4] {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .max_blocking_threads(threads)
                .build()
                .unwrap();
            let work = off_runtime("testing", || Ok(both(|| 1, || 2)));
            assert_eq!(runtime.block_on(work).unwrap(), (1, 2));
        }
    }
}
