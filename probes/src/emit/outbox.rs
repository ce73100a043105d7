//! Spans on their way to the sending task.
//!
//! Invariants: what is added is handed over before anything else is done, or was counted as dropped; spans of one process
//! go together, since to hand over each by itself takes as long as to write it.

use std::sync::Arc;

use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::encoding::{WireType, encode_key, encode_varint};

use super::Emitter;

/// Spans that are handed over together take no more, but for the last one.
const PARCEL_BYTES_MAX: usize = 64 << 10;
/// `ScopeSpans.spans`
const SPANS: u32 = 2;

/// Spans of one process, as they stand in `ScopeSpans`.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) resource: Arc<Resource>,
    pub(crate) wire: Vec<u8>,
    pub(crate) spans: usize,
    /// Without the heads that they have there: what was counted as held of them.
    pub(crate) bytes: usize,
}

/// Spans that are not handed over yet.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    parcels: Vec<Parcel>,
}

impl Parcel {
    pub(super) fn new(resource: &Arc<Resource>) -> Self {
        Self { resource: Arc::clone(resource), wire: Vec::new(), spans: 0, bytes: 0 }
    }

    /// One more.
    pub(super) fn add(&mut self, span: &[u8]) {
        encode_key(SPANS, WireType::LengthDelimited, &mut self.wire);
        encode_varint(span.len() as u64, &mut self.wire);
        self.wire.extend_from_slice(span);
        self.spans += 1;
        self.bytes += span.len();
    }
}

impl Outbox {
    /// Takes one span, and says so; without room it is dropped, and counted.
    pub(crate) fn add(&mut self, emitter: &Emitter, resource: &Arc<Resource>, span: &[u8]) -> bool {
        if !emitter.takes_span(span.len()) {
            return false;
        }
        let at = self.parcels.iter().position(|one| Arc::ptr_eq(&one.resource, resource));
        let at = at.unwrap_or_else(|| {
            self.parcels.push(Parcel::new(resource));
            self.parcels.len() - 1
        });
        let Some(parcel) = self.parcels.get_mut(at) else { return false };
        parcel.add(span);
        if parcel.wire.len() >= PARCEL_BYTES_MAX {
            emitter.parcel(self.parcels.swap_remove(at));
        }
        true
    }

    /// Nothing more comes for the moment.
    pub(crate) fn hand_over(&mut self, emitter: &Emitter) {
        self.parcels.drain(..).for_each(|parcel| emitter.parcel(parcel));
    }
}
