//! What an account of the kernel says, in our words.
//!
//! Invariant: pure.

use std::net::SocketAddr;

use icecore_probe_events::{ACCOUNT_CLIENT, ACCOUNT_IPV6, ACCOUNT_SERVER, Account};

use crate::connection::address;

/// The kernel's number of the state of a socket that listens.
const LISTEN: u32 = 10;

/// Reads an account.
pub(super) trait Told {
    /// The owner's end.
    fn local(&self) -> SocketAddr;
    /// The other end.
    fn remote(&self) -> SocketAddr;
    /// Waits for connections, and is none.
    fn listens(&self) -> bool;
    /// The agent has seen it begin.
    fn seen_to_begin(&self) -> bool;
    /// The owner connected it; none where nobody knows.
    fn is_client(&self) -> Option<bool>;
    /// Nanoseconds from the first segment to the connection; none where it was not seen.
    fn connect_nanos(&self) -> Option<u64>;
}

impl Told for Account {
    fn local(&self) -> SocketAddr {
        let ipv6 = self.flags & ACCOUNT_IPV6 != 0;
        SocketAddr::new(address(self.flow.local_addr, ipv6), self.flow.local_port)
    }

    fn remote(&self) -> SocketAddr {
        let ipv6 = self.flags & ACCOUNT_IPV6 != 0;
        SocketAddr::new(address(self.flow.remote_addr, ipv6), self.flow.remote_port)
    }

    fn listens(&self) -> bool {
        self.state == LISTEN
    }

    fn seen_to_begin(&self) -> bool {
        self.opened != 0
    }

    fn is_client(&self) -> Option<bool> {
        match self.flags & (ACCOUNT_CLIENT | ACCOUNT_SERVER) {
            0 => None,
            role => Some(role == ACCOUNT_CLIENT),
        }
    }

    fn connect_nanos(&self) -> Option<u64> {
        let connected = self.is_client() == Some(true) && self.established != 0;
        connected.then(|| self.established.saturating_sub(self.opened))
    }
}
