//! When the answer to a request is read.
//!
//! Invariant: a request that has a turn is sent at once, and no byte of its answer's body is taken from
//! the network before the turn has come.

use tokio_util::sync::CancellationToken;

/// Travels with a request, among its extensions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turn(CancellationToken);

impl Turn {
    /// Now.
    pub(crate) fn comes(&self) {
        self.0.cancel();
    }

    /// Whether it has come.
    pub(crate) fn has_come(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits for it.
    pub(crate) async fn come(&self) {
        self.0.cancelled().await;
    }
}
