//! Work that takes longer than a runtime thread may be held.
//!
//! Invariant: everything that encodes, decodes or compresses goes through here, so that it blocks
//! no request, and so that the simulation, which has one thread, knows of all of it.

use std::future::Future;

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
pub(crate) fn background(
    work: impl Future<Output = ()> + Send + 'static,
) -> Option<JoinHandle<()>> {
    #[cfg(test)]
    if crate::sim::is_running() {
        return None;
    }
    Some(tokio::spawn(work))
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
