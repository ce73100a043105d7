//! Work that takes longer than a runtime thread may be held.
//!
//! Invariant: everything that encodes, decodes or compresses goes through here, so that it blocks
//! no request, and so that the simulation, which has one thread, knows of all of it.

use crate::error::Error;

/// Runs work that takes longer than a runtime thread may be held on a thread that may block.
pub(crate) async fn off_runtime<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    // On another thread it would end at a time that no seed decides.
    #[cfg(test)]
    if crate::sim::is_running() {
        return work();
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|source| Error::Interrupted { work: name, source })?
}
