//! What the log had at the start comes back to life.
//!
//! Invariant: after the replay every logged row that the catalog does not cover is live. Only the
//! heads of frames are looked at: the rows are made when somebody asks for them.

use std::sync::Arc;

use icecore_store::LogPosition;
use tracing::info;

use crate::error::Error;
use crate::live::Blocks;
use crate::log::{Appended, Tail};

/// Bytes of the log that are read at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// Brings everything from `covered` on back.
pub(crate) async fn replay(
    tail: &Arc<Tail>,
    live: &Arc<Blocks>,
    covered: LogPosition,
) -> Result<(), Error> {
    let (tail, live) = (Arc::clone(tail), Arc::clone(live));
    let work = tokio::task::spawn_blocking(move || {
        live.drop_covered(covered);
        let mut from = covered.max(tail.oldest_now());
        let (start, mut requests) = (from, 0);
        loop {
            let logged = tail.read_logged(from, CHUNK_BYTES);
            let logged = logged.map_err(|source| Error::Replay { position: from, source })?;
            let Some(last) = logged.last() else { return Ok((start, from, requests)) };
            (from, requests) = (last.next, requests + logged.len());
            for request in &logged {
                let at = Appended { position: request.position, next: request.next };
                live.add(at, &request.live());
            }
        }
    });
    let (start, end, requests) =
        work.await.map_err(|source| Error::Stopped { part: "replay", source })??;
    if requests > 0 {
        info!(requests, from = start.0, to = end.0, "the log was replayed");
    }
    Ok(())
}
