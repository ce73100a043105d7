//! Spans that wait until all that decides their trace has passed.
//!
//! Invariants: a span waits no longer than it is set to, and no more of them than the bound; each leaves
//! once, in the order in which they came.

use std::collections::VecDeque;
use std::sync::Arc;

use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;

use super::end::End;
use crate::rules::Share;

/// A span without ids, and the end of the exchange that it tells of.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) resource: Arc<Resource>,
    pub(crate) span: Span,
    pub(crate) end: Arc<End>,
    /// Which traces are kept.
    pub(crate) share: Share,
}

/// Spans in the order of their times.
#[derive(Debug)]
pub(super) struct Waiting {
    spans: VecDeque<(u64, Held)>,
    wait_nanos: u64,
    max: usize,
}

impl Waiting {
    pub(super) fn new(wait_nanos: u64, max: usize) -> Self {
        Self { spans: VecDeque::new(), wait_nanos, max }
    }

    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    pub(super) fn push(&mut self, now: u64, held: Held) {
        self.spans.push_back((now.saturating_add(self.wait_nanos), held));
    }

    /// The next one whose time has come, or for which there is no room; true where it is the latter.
    pub(super) fn pop(&mut self, now: u64) -> Option<(Held, bool)> {
        let crowded = self.spans.len() > self.max;
        let (due, _) = self.spans.front()?;
        let early = *due > now;
        if early && !crowded {
            return None;
        }
        self.spans.pop_front().map(|(_, held)| (held, early))
    }
}
