//! One request on its way: sent until it is delivered, refused for good, or stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use icecore_store::{Clock, FeedItem, LogPosition, Signal};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::dead_letter::{DeadLetters, Fate, Refusal};
use crate::metrics::DestinationMetrics;
use crate::retry::Backoff;
use crate::send::{Client, Packed, pack};
use crate::verdict::{Reason, Verdict, judge};
use crate::{Compression, Protocol};

/// Everything before `next` in this request is dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) next: LogPosition,
    pub(crate) bytes: usize,
}

/// What all requests to one destination share.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) name: String,
    pub(crate) protocol: Protocol,
    pub(crate) compression: Compression,
    pub(crate) client: Client,
    pub(crate) backoff: Backoff,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) metrics: DestinationMetrics,
    pub(crate) clock: Arc<dyn Clock>,
    /// Whether the last attempt failed: the log says when that changes, not each time.
    pub(crate) away: AtomicBool,
    /// Whether it was told that the destination takes no profiles.
    pub(crate) without_profiles: AtomicBool,
}

impl Delivery {
    /// Brings one request to its end; `None` where `stop` came first and it is still to be sent.
    pub(crate) async fn deliver(
        self: Arc<Self>,
        item: FeedItem,
        stop: CancellationToken,
    ) -> Option<Settled> {
        let settled = Settled { next: item.next, bytes: item.payload.len() };
        let Some(packed) = self.pack(&item).await else {
            self.refuse(item, Reason::Other, "cannot be packed".to_owned()).await;
            return Some(settled);
        };
        let mut attempt = 0_u32;
        loop {
            match judge(self.client.send(&packed).await) {
                Verdict::Delivered { rejected, message } => {
                    self.delivered(&item, rejected, &message);
                    return Some(settled);
                }
                Verdict::Refuse { reason: Reason::Unsupported, message }
                    if item.signal == Signal::Profiles =>
                {
                    self.skip(&item, &message);
                    return Some(settled);
                }
                Verdict::Refuse { reason, message } => {
                    self.refuse(item, reason, message).await;
                    return Some(settled);
                }
                Verdict::Retry { reason, asked, message } => {
                    self.retried(reason, &message);
                    let wait = self.backoff.wait(attempt, asked);
                    tokio::select! {
                        () = stop.cancelled() => return None,
                        () = tokio::time::sleep(wait) => attempt = attempt.saturating_add(1),
                    }
                }
            }
        }
    }

    async fn pack(&self, item: &FeedItem) -> Option<Packed> {
        let (protocol, compression) = (self.protocol, self.compression);
        let (signal, payload) = (item.signal, item.payload.clone());
        let packed = spawn_blocking(move || pack(protocol, compression, signal, &payload)).await;
        packed.ok()?.ok()
    }

    fn delivered(&self, item: &FeedItem, rejected: u64, message: &str) {
        self.metrics.delivered(item.signal, item.payload.len(), rejected);
        if self.away.swap(false, Ordering::Relaxed) {
            info!(destination = %self.name, "destination accepts requests again");
        }
        if rejected > 0 {
            warn!(destination = %self.name, rejected, message, "destination left items out");
        }
    }

    fn retried(&self, reason: Reason, message: &str) {
        self.metrics.retried(reason);
        if !self.away.swap(true, Ordering::Relaxed) {
            let reason = reason.name();
            warn!(destination = %self.name, reason, message, "destination is away; trying again");
        }
    }

    /// Few backends take profiles so far: what one of them does not know is neither an error nor
    /// worth the room of a dead letter.
    fn skip(&self, item: &FeedItem, message: &str) {
        self.metrics.skipped(item.signal);
        if !self.without_profiles.swap(true, Ordering::Relaxed) {
            let signal = item.signal.name();
            warn!(destination = %self.name, signal, message, "destination does not take this signal");
        }
    }

    /// Sets a refused request aside, so that the ones behind it can go on.
    async fn refuse(&self, item: FeedItem, reason: Reason, message: String) {
        let fate = self.keep(&item, reason, message.clone()).await;
        self.metrics.refused(reason, fate);
        error!(
            destination = %self.name,
            position = item.position.0,
            signal = item.signal.name(),
            reason = reason.name(),
            message,
            kept = fate == Fate::Kept,
            "destination refused a request for good"
        );
    }

    async fn keep(&self, item: &FeedItem, reason: Reason, message: String) -> Fate {
        let refusal = Refusal {
            time: self.clock.now().to_string(),
            position: item.position,
            signal: item.signal,
            reason: reason.name(),
            message,
        };
        let (letters, payload) = (self.dead_letters.clone(), item.payload.clone());
        let kept = spawn_blocking(move || letters.keep(&refusal, &payload)).await;
        match kept.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(fate) => fate,
            Err(error) => {
                self.metrics.failed();
                warn!(destination = %self.name, %error, "cannot keep a refused request");
                Fate::NoRoom
            }
        }
    }
}
