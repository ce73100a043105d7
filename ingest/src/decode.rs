//! OTLP export requests to rows, straight from the wire.
//!
//! Invariant: a payload is accepted exactly where `prost` accepts it, and every item of it is then
//! either one row (one a data point, for metrics) or counted as rejected, with a reason. [`check`]
//! says beforehand, for a third of the cost, what [`decode`] and [`Batch`] will then make of it.
//! Everything here is pure: no I/O, no clock, no lock. It is CPU work: call it off the runtime.

mod attributes;
mod batch;
mod check;
mod columns;
mod json;
mod logs;
mod metrics;
mod profiles;
mod rows;
mod shape;
mod shared;
mod spans;
mod value;
mod wanted;
mod wire;

use arrow::error::ArrowError;
use icecore_store::{RowBatch, Signal};

use self::batch::Columns;
pub use self::batch::{Batch, CELLS_MAX};
pub use self::check::{Checked, check};
use self::logs::Logs;
use self::metrics::Metrics;
use self::profiles::Profiles;
use self::rows::{Items, Quota};
use self::spans::Spans;
pub use self::wanted::Wanted;
use self::wire::Broken;

/// The largest payload that is read, in bytes. It keeps every Arrow offset within 32 bits.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 20;

/// What became of one request.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// The rows; `None` where nothing was accepted.
    pub rows: Option<RowBatch>,
    /// Spans, data points, log records or samples that became rows.
    pub accepted: u64,
    /// Spans, data points, log records or samples that did not.
    pub rejected: u64,
    /// Why the first rejected item was, for the partial-success answer.
    pub reason: Option<String>,
}

/// A payload that is no OTLP request at all: the sender must not try it again.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not the protobuf of this request.
    #[error("the {signal} request is not valid protobuf: {fault} at byte {at} of {bytes}")]
    Protobuf {
        /// What the payload should have been.
        signal: Signal,
        /// In words.
        fault: &'static str,
        /// Where, as an offset into the payload.
        at: usize,
        /// Length of the payload.
        bytes: usize,
    },
    /// Not the OTLP/JSON of this request.
    #[error("the {signal} request is not valid OTLP/JSON: {fault} at {place}")]
    Json {
        /// What the body should have been.
        signal: Signal,
        /// In words.
        fault: String,
        /// A path such as `resourceSpans[0].resource`, or a line and column.
        place: String,
    },
    /// Larger than [`PAYLOAD_BYTES_MAX`].
    #[error("the request has {bytes} bytes, the bound is {PAYLOAD_BYTES_MAX}")]
    TooLarge {
        /// Length of the payload.
        bytes: usize,
    },
    /// The rows do not fit the schema: a fault of this crate, not of the sender.
    #[error("cannot build rows of the {signal} request")]
    Rows {
        /// What the payload was.
        signal: Signal,
        /// What Arrow says.
        source: ArrowError,
    },
}

/// Reads one export request in protobuf. Costs about a third of what building the structs of
/// `prost` would, and memory in proportion to the payload.
///
/// # Errors
/// Where the payload as a whole cannot be read; single bad items are counted instead.
pub fn decode(signal: Signal, payload: &[u8]) -> Result<Decoded, DecodeError> {
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(DecodeError::TooLarge { bytes: payload.len() });
    }
    match signal {
        Signal::Traces => decode_items::<Spans>(signal, payload),
        Signal::Metrics => decode_items::<Metrics>(signal, payload),
        Signal::Logs => decode_items::<Logs>(signal, payload),
        Signal::Profiles => {
            // Tables are gone through by what refers to them, which may be nothing.
            let whole = shape::check(shape::request(signal), payload, wire::LIMIT);
            whole.map_err(|broken| refuse(signal, payload, broken))?;
            decode_items::<Profiles>(signal, payload)
        }
    }
}

/// Turns an OTLP/JSON request into the protobuf of the same request.
///
/// # Errors
/// Where the body is no such request; the error names the place.
pub fn json_to_protobuf(signal: Signal, body: &[u8]) -> Result<Vec<u8>, DecodeError> {
    if body.len() > PAYLOAD_BYTES_MAX {
        return Err(DecodeError::TooLarge { bytes: body.len() });
    }
    json::to_protobuf(signal, body)
}

fn decode_items<T: Items>(signal: Signal, payload: &[u8]) -> Result<Decoded, DecodeError> {
    let mut batch = Columns::<T>::default();
    batch.rows.quota = Quota::new(payload.len());
    batch.read(signal, payload)?;
    let (accepted, rejected) = (batch.rows.len as u64, batch.rows.quota.rejected);
    let reason = batch.rows.quota.reason.take();
    let rows = batch.finish().map_err(|source| explain(signal, payload, source))?;
    Ok(Decoded { rows, accepted, rejected, reason })
}

fn refuse(signal: Signal, payload: &[u8], broken: Broken) -> DecodeError {
    let Broken { fault, address } = broken;
    // Every place is within the payload, or right behind it.
    let at = address.saturating_sub(payload.as_ptr().addr()).min(payload.len());
    DecodeError::Protobuf { signal, fault, at, bytes: payload.len() }
}

/// Arrow looks at texts when their column is finished. Only then, and only where it refuses them,
/// is it worth to look for the one that is to blame.
#[cold]
fn explain(signal: Signal, payload: &[u8], source: ArrowError) -> DecodeError {
    match shape::check(shape::request(signal), payload, wire::LIMIT) {
        Err(broken) => refuse(signal, payload, broken),
        Ok(()) => DecodeError::Rows { signal, source },
    }
}

#[cfg(test)]
mod tests;
