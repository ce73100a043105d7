//! Bodies of one piece, of many, of too many, and of none that ever comes.

use std::io;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use prometheus_client::registry::Registry;

use super::super::admit::Admission;
use super::*;
use crate::metrics::Metrics;

const BOUNDS: BodyBounds = BodyBounds { bytes_max: 1000, timeout: Duration::from_millis(50) };

/// A body of these pieces, then, where it stalls, nothing for ever.
fn body(pieces: &[&'static [u8]], stalls: bool) -> Body {
    let pieces: Vec<io::Result<Bytes>> =
        pieces.iter().map(|piece| Ok(Bytes::from_static(piece))).collect();
    let pieces: BoxStream<'static, io::Result<Bytes>> = stream::iter(pieces).boxed();
    Body::from_stream(if stalls { pieces.chain(stream::pending()).boxed() } else { pieces })
}

async fn outcome(body: Body, inflight_bytes_max: usize) -> Result<Bytes, Reason> {
    let metrics = Metrics::new(&mut Registry::default());
    let admission = Arc::new(Admission::new(inflight_bytes_max, metrics));
    let read = read(body, BOUNDS, &mut admission.ticket()).await;
    read.map_err(|refusal| refusal.reason)
}

/// Scenario: bodies up to the bound, in one piece and in many, and one byte beyond it.
/// Guarantees: what fits is read whole; what does not is too large, announced or not.
#[tokio::test]
async fn a_body_is_read_up_to_the_bound() {
    const HALF: &[u8] = &[7; 500];
    let room = 1 << 20;
    assert_eq!(outcome(body(&[], false), room).await.unwrap(), "");
    assert_eq!(outcome(body(&[b"one"], false), room).await.unwrap(), "one");
    assert_eq!(outcome(body(&[b"a", b"", b"b", b"c"], false), room).await.unwrap(), "abc");
    assert_eq!(outcome(body(&[HALF, HALF], false), room).await.unwrap(), vec![7; 1000]);
    assert_eq!(outcome(body(&[HALF, HALF, b"+"], false), room).await, Err(Reason::TooLarge));
    assert_eq!(outcome(Body::from(vec![7; 1000]), room).await.unwrap(), vec![7; 1000]);
    assert_eq!(outcome(Body::from(vec![7; 1001]), room).await, Err(Reason::TooLarge));
}

/// Scenario: a body stalls; a body breaks off; there is no memory for it.
/// Guarantees: each ends with its own reason.
#[tokio::test]
async fn a_body_that_cannot_be_read_has_a_reason() {
    let room = 1 << 20;
    assert_eq!(outcome(body(&[b"half"], true), room).await, Err(Reason::TooSlow));
    let broken = stream::iter([Ok(Bytes::from_static(b"half")), Err(io::Error::other("reset"))]);
    assert_eq!(outcome(Body::from_stream(broken), room).await, Err(Reason::Cancelled));
    assert_eq!(outcome(body(&[b"a body"], false), REQUEST_BYTES).await, Err(Reason::Busy));
    assert_eq!(outcome(body(&[], false), REQUEST_BYTES - 1).await, Err(Reason::Busy));
}
