//! The memory that requests in flight may use together.
//!
//! Invariant: the sum of all tickets never exceeds the bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::answer::{Reason, Refusal};
use crate::metrics::Metrics;

/// The bound that all requests in flight share.
#[derive(Debug)]
pub(crate) struct Admission {
    used: AtomicUsize,
    bytes_max: usize,
    metrics: Metrics,
}

/// What one request may use; given back when dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    admission: Arc<Admission>,
    bytes: usize,
}

impl Admission {
    /// Nothing in flight.
    pub(crate) fn new(bytes_max: usize, metrics: Metrics) -> Self {
        Self { used: AtomicUsize::new(0), bytes_max, metrics }
    }

    /// A ticket for no memory yet.
    pub(crate) fn ticket(self: &Arc<Self>) -> Ticket {
        Ticket { admission: Arc::clone(self), bytes: 0 }
    }
}

impl Ticket {
    /// Asks for `bytes` more.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        let admission = &self.admission;
        let more = |used: usize| used.checked_add(bytes).filter(|all| *all <= admission.bytes_max);
        match admission.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, more) {
            Ok(before) => {
                self.bytes += bytes;
                admission.metrics.inflight(before + bytes);
                Ok(())
            }
            Err(used) => {
                let bound = admission.bytes_max;
                let text = format!("requests in flight use {used} of {bound} bytes");
                Err(Refusal::new(Reason::Busy, text))
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let before = self.admission.used.fetch_sub(self.bytes, Ordering::AcqRel);
        self.admission.metrics.inflight(before - self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    /// Scenario: two requests grow until the bound, one goes, the other grows on.
    /// Guarantees: the bound is exact, and everything is given back.
    #[test]
    fn tickets_share_one_bound() {
        let metrics = Metrics::new(&mut Registry::default());
        let admission = Arc::new(Admission::new(10, metrics));
        let (mut one, mut two) = (admission.ticket(), admission.ticket());
        assert!(one.grow(6).is_ok());
        assert!(two.grow(4).is_ok());
        assert_eq!(two.grow(1).unwrap_err().reason, Reason::Busy);
        drop(one);
        assert!(two.grow(6).is_ok());
        assert!(two.grow(usize::MAX).is_err());
        drop(two);
        assert_eq!(admission.used.load(Ordering::Acquire), 0);
    }
}
