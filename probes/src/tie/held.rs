//! Spans that wait until all that decides their trace has passed.
//!
//! Invariants: a span waits no longer than it is set to, and no more of them than the bounds in number and
//! bytes; each leaves once, in the order in which they came.

use std::collections::VecDeque;
use std::sync::Arc;

use opentelemetry_proto::tonic::resource::v1::Resource;

use super::end::End;
use super::metrics::GivenUp;
use crate::budget::{Holder, Memory};
use crate::rules::Share;
use crate::span::Draft;

/// A span without ids, and the end of the exchange that it tells of.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) resource: Arc<Resource>,
    pub(crate) span: Draft,
    pub(crate) end: Arc<End>,
    /// Which traces are kept.
    pub(crate) share: Share,
}

/// Spans in the order of their times.
#[derive(Debug)]
pub(super) struct Waiting {
    /// When each is due, and what it takes.
    spans: VecDeque<(u64, usize, Held)>,
    wait_nanos: u64,
    max: usize,
    bytes: usize,
    bytes_max: usize,
    memory: Memory,
}

impl Waiting {
    pub(super) fn new(wait_nanos: u64, max: usize, bytes_max: usize) -> Self {
        let memory = Memory::default();
        Self { spans: VecDeque::new(), wait_nanos, max, bytes: 0, bytes_max, memory }
    }

    /// Beside what others hold.
    pub(super) fn bound(&mut self, memory: Memory) {
        self.memory = memory;
    }

    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    pub(super) fn push(&mut self, now: u64, held: Held) {
        let bytes = size_of::<(u64, usize, Held)>() + held.span.held_bytes();
        self.bytes += bytes;
        self.memory.change(Holder::Waiting, 0, bytes);
        self.spans.push_back((now.saturating_add(self.wait_nanos), bytes, held));
    }

    /// The next one whose time has come, or for which there is no room; why, where it is the latter.
    pub(super) fn pop(&mut self, now: u64) -> Option<(Held, Option<GivenUp>)> {
        let early = match self.spans.front()? {
            (due, ..) if *due <= now => None,
            _ if self.spans.len() > self.max => Some(GivenUp::Spans),
            _ if self.bytes > self.bytes_max => Some(GivenUp::SpanBytes),
            _ if self.memory.is_full() => Some(GivenUp::Memory),
            _ => return None,
        };
        let (_, bytes, held) = self.spans.pop_front()?;
        self.bytes -= bytes;
        self.memory.change(Holder::Waiting, bytes, 0);
        Some((held, early))
    }
}
