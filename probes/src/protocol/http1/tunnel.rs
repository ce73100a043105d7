//! What a connection carries once a proxy has made it a tunnel.
//!
//! Invariant: it is told apart by its content like a connection of its own, and its requests are numbered on from
//! those before it; what nobody understands, or is inside of too many, is passed over, not lost.

use std::sync::Arc;

use crate::protocol::{
    Begun, Closing, Counts, Exchange, Followed, Following, Limits, Protocol, Role, Segment,
};

/// The inside of a tunnel.
#[derive(Debug)]
pub(super) struct Tunnel {
    /// Of the owner of the socket before.
    role: Role,
    /// Requests that came before it; none where not all were seen.
    before: Option<u64>,
    inside: Following,
}

impl Tunnel {
    /// None where it is inside of too many others.
    pub(super) fn new(limits: &Limits, role: Role, before: Option<u64>) -> Option<Self> {
        let tunnels_max = limits.tunnels_max.checked_sub(1)?;
        let limits = Arc::new(Limits { tunnels_max, ..limits.clone() });
        Some(Self { role, before, inside: Following::new(limits, true) })
    }

    fn number(&self, ordinal: Option<u64>) -> Option<u64> {
        Some(self.before? + ordinal?)
    }

    fn number_from(&self, first: usize, out: &mut [Exchange]) {
        for exchange in out.iter_mut().skip(first) {
            exchange.ordinal = self.number(exchange.ordinal);
        }
    }
}

impl Protocol for Tunnel {
    fn feed(&mut self, segment: &Segment<'_>, out: &mut Vec<Exchange>) {
        let first = out.len();
        self.inside.feed(segment, out);
        self.number_from(first, out);
    }

    fn close(&mut self, time: u64, closing: Closing, out: &mut Vec<Exchange>) {
        let first = out.len();
        self.inside.close(time, closing, out);
        self.number_from(first, out);
    }

    fn take_counts(&mut self) -> Counts {
        let mut counts = self.inside.take_counts();
        if self.inside.role().is_none() {
            counts.passed_bytes += std::mem::take(&mut counts.unparsed_bytes);
        }
        counts
    }

    fn held_bytes(&self) -> usize {
        size_of::<Self>() + self.inside.held_bytes()
    }

    fn role(&self) -> Role {
        self.inside.role().unwrap_or(self.role)
    }

    fn finished(&self) -> bool {
        self.inside.followed() == Followed::Ignored
    }

    fn newest(&self) -> Option<Begun<'_>> {
        let begun = self.inside.newest()?;
        Some(Begun { ordinal: self.number(begun.ordinal), ..begun })
    }

    fn beside(&self, time: u64) -> Vec<Begun<'_>> {
        let mut beside = self.inside.beside(time);
        beside.iter_mut().for_each(|begun| begun.ordinal = self.number(begun.ordinal));
        beside
    }
}
