//! How much those who share a bound may hold: the readers of one scan, of what is fetched and not
//! decoded yet; flushes and merges, of what they work on.
//!
//! Invariant: together they hold no more than the bound, or one of them holds what it cannot do
//! without and the others nothing. Who waits here is let in before those who came later, and holds
//! nothing of the same room.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Bytes are counted in pieces of so many.
const PIECE_BYTES: u64 = 1 << 10;

/// What all rooms of a process come to.
#[derive(Debug, Clone, Default)]
pub(crate) struct RoomMetrics {
    /// Held now.
    pub(crate) bytes: Gauge,
    /// Times that one had to wait for another first.
    pub(crate) waits: Counter,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Room {
    pieces: Arc<Semaphore>,
    all: u32,
    metrics: RoomMetrics,
    /// Cancelled once somebody has let go of what it held, or will have.
    moving: CancellationToken,
}

/// What one of them holds, until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    _pieces: OwnedSemaphorePermit,
    bytes: i64,
    metrics: RoomMetrics,
    moving: CancellationToken,
}

impl Room {
    /// For so many bytes, 4 TiB at most.
    pub(crate) fn new(bytes: u64, metrics: RoomMetrics) -> Self {
        let all = u32::try_from(bytes / PIECE_BYTES).unwrap_or(u32::MAX).max(1);
        let moving = CancellationToken::new();
        Self { pieces: Arc::new(Semaphore::new(all as usize)), all, metrics, moving }
    }

    /// Waits until so much more may be held. What is more than the room has takes all of it.
    pub(crate) async fn take(&self, bytes: u64) -> Option<Held> {
        let pieces = u32::try_from(bytes / PIECE_BYTES).unwrap_or(u32::MAX).clamp(1, self.all);
        let taken = match Arc::clone(&self.pieces).try_acquire_many_owned(pieces) {
            Ok(taken) => taken,
            Err(_full) => {
                self.metrics.waits.inc();
                Arc::clone(&self.pieces).acquire_many_owned(pieces).await.ok()?
            }
        };
        Some(self.held(taken, bytes))
    }

    /// The same where nobody has to be waited for.
    pub(crate) fn try_take(&self, bytes: u64) -> Option<Held> {
        let pieces = u32::try_from(bytes / PIECE_BYTES).unwrap_or(u32::MAX).max(1);
        let taken = Arc::clone(&self.pieces).try_acquire_many_owned(pieces).ok()?;
        Some(self.held(taken, bytes))
    }

    /// More is wanted than there is room for.
    pub(crate) fn moving(&self) {
        self.moving.cancel();
    }

    /// Somebody has let go of what it held, or it is known that everybody will.
    pub(crate) fn is_moving(&self) -> bool {
        self.moving.is_cancelled()
    }

    /// Waits for that.
    pub(crate) async fn moves(&self) {
        self.moving.cancelled().await;
    }

    fn held(&self, taken: OwnedSemaphorePermit, bytes: u64) -> Held {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.metrics.bytes.inc_by(bytes);
        let (metrics, moving) = (self.metrics.clone(), self.moving.clone());
        Held { _pieces: taken, bytes, metrics, moving }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.metrics.bytes.dec_by(self.bytes);
        self.moving.cancel();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    /// Scenario: readers take more than there is, one of them more than all.
    /// Guarantees: who comes too late waits until there is room, and is counted; nobody waits for
    /// ever; in the end nothing is held.
    #[tokio::test]
    async fn a_room_is_bounded() {
        let room = Room::new(10 << 10, RoomMetrics::default());
        let first = room.take(6 << 10).await;
        assert!(room.take(6 << 10).now_or_never().is_none());
        let second = room.take(4 << 10).now_or_never().unwrap();
        assert_eq!(room.metrics.bytes.get(), 10 << 10);
        drop(first);
        assert!(room.take(1 << 30).now_or_never().is_none());
        drop(second);
        let all = room.take(1 << 30).now_or_never().unwrap();
        assert!(room.take(1).now_or_never().is_none());
        drop(all);
        assert_eq!((room.metrics.bytes.get(), room.metrics.waits.get()), (0, 3));
    }
}
