//! What the log had at the start comes back to life.
//!
//! Invariant: after the replay every logged row that the catalog does not cover is live, and no
//! more memory was used on the way than live rows may have.

use std::sync::Arc;

use icecore_store::{FeedItem, LogPosition};
use tracing::{error, info};

use crate::decode::decode;
use crate::error::Error;
use crate::flush::Flush;
use crate::live::Rows;
use crate::log::{Appended, Tail};
use crate::metrics::Metrics;
use crate::service::store_error;

/// Payload that is read and decoded at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// Brings everything from `covered` on back, flushing whenever a flush is due.
pub(crate) async fn replay(
    tail: &Arc<Tail>,
    live: &Arc<Rows>,
    flush: &mut Flush,
    covered: LogPosition,
    metrics: &Metrics,
) -> Result<(), Error> {
    let mut from = covered.max(tail.oldest_now());
    let mut requests = 0;
    loop {
        let (tail, live, metrics) = (Arc::clone(tail), Arc::clone(live), metrics.clone());
        let step = tokio::task::spawn_blocking(move || {
            let items = tail
                .read_now(from, CHUNK_BYTES)
                .map_err(|source| Error::Replay { position: from, source })?;
            items.iter().for_each(|item| restore(&live, item, &metrics));
            Ok((items.last().map(|item| item.next), items.len()))
        });
        let (next, read) =
            step.await.map_err(|source| Error::Stopped { part: "replay", source })??;
        let Some(next) = next else { break };
        (from, requests) = (next, requests + read);
        flush_while_due(flush).await?;
    }
    if requests > 0 {
        info!(requests, from = covered.0, to = from.0, "the log was replayed");
    }
    Ok(())
}

/// A bucket that is away now fails the start: the operator sees it, and the log keeps the rows.
async fn flush_while_due(flush: &mut Flush) -> Result<(), Error> {
    while flush.is_due() {
        flush.once().await.map_err(|source| store_error("flush the replayed log", source))?;
    }
    Ok(())
}

fn restore(live: &Rows, item: &FeedItem, metrics: &Metrics) {
    match decode(item.signal, &item.payload) {
        Ok(decoded) => {
            let at = Appended { position: item.position, next: item.next };
            decoded.rows.into_iter().for_each(|rows| live.restore(at, rows));
        }
        Err(error) => {
            // It was decoded before it was logged, so that this is a fault of ours.
            metrics.undecodable();
            let (signal, position) = (item.signal, item.position.0);
            error!(%signal, position, %error, "a logged request cannot be decoded any more");
        }
    }
}
