//! HTTP/1.0 and HTTP/1.1, both directions of one connection.

use std::sync::Arc;

use super::{Closing, Counts, Exchange, Limits, Protocol, Role, Segment};

/// The parser of one HTTP/1.x connection.
#[derive(Debug)]
pub struct Http1 {
    limits: Arc<Limits>,
    role: Role,
    counts: Counts,
}

impl Http1 {
    /// `from_start`: no byte of the connection came before the first that will be fed.
    #[must_use]
    pub fn new(limits: Arc<Limits>, role: Role, from_start: bool) -> Self {
        let _ = from_start;
        Self { limits, role, counts: Counts::default() }
    }
}

impl Protocol for Http1 {
    fn feed(&mut self, segment: &Segment<'_>, out: &mut Vec<Exchange>) {
        let _ = (segment, out, &self.limits);
    }

    fn close(&mut self, time: u64, closing: Closing, out: &mut Vec<Exchange>) {
        let _ = (time, closing, out);
    }

    fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    fn role(&self) -> Role {
        self.role
    }

    fn finished(&self) -> bool {
        false
    }
}
