//! Reading a request's body within bounds.
//!
//! Invariant: a byte is kept only after it was granted, and no sender can hold its memory longer
//! than the timeout.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use super::admit::Ticket;
use super::answer::{Reason, Refusal};

/// After a refusal, so many bodies' worth of bytes are read and thrown away, so that senders that
/// write all before they listen get to hear why.
const LINGER_BODIES_MAX: usize = 8;

/// What a request costs beside its body: its head, its task, its place in queues.
const REQUEST_BYTES: usize = 4 << 10;

/// The bounds on one body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyBounds {
    /// The largest body.
    pub(crate) bytes_max: usize,
    /// The longest that sending it may take.
    pub(crate) timeout: Duration,
}

/// Reads all of a body. One that says beforehand that it is too large is not read at all.
pub(crate) async fn read(
    mut body: Body,
    bounds: BodyBounds,
    ticket: &mut Ticket,
) -> Result<Bytes, Refusal> {
    let read = tokio::time::timeout(bounds.timeout, collect(&mut body, bounds, ticket)).await;
    let outcome = read.unwrap_or_else(|_| {
        let text = format!("the request was not sent within {:?}", bounds.timeout);
        Err(Refusal::new(Reason::TooSlow, text))
    });
    if outcome.as_ref().is_err_and(|refusal| refusal.reason != Reason::Cancelled) {
        linger(body, bounds);
    }
    outcome
}

async fn collect(
    body: &mut Body,
    bounds: BodyBounds,
    ticket: &mut Ticket,
) -> Result<Bytes, Refusal> {
    ticket.grow(REQUEST_BYTES)?;
    let announced = body.size_hint().lower();
    if announced > bounds.bytes_max as u64 {
        return Err(too_large(bounds.bytes_max));
    }
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Refusal::new(Reason::Cancelled, format!("the body could not be read: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + all.len() + data.len() > bounds.bytes_max {
            return Err(too_large(bounds.bytes_max));
        }
        ticket.grow(data.len())?;
        if first.is_empty() && all.is_empty() {
            // Most bodies are one piece, which is used as it is.
            first = data;
        } else {
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

fn too_large(bytes_max: usize) -> Refusal {
    Refusal::new(Reason::TooLarge, format!("the request has more than {bytes_max} bytes"))
}

/// Throws away what still comes, within bounds, while the answer goes out.
fn linger(mut body: Body, bounds: BodyBounds) {
    let mut left = bounds.bytes_max.saturating_mul(LINGER_BODIES_MAX);
    let discard = async move {
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(bytes) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    tokio::spawn(tokio::time::timeout(bounds.timeout, discard));
}

#[cfg(test)]
mod tests;
