//! Whose a segment was that the kernel has thrown away.
//!
//! Invariant: pure; a segment belongs to the end that would have received it, where that is on this
//! machine, else to the one that has sent it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use icecore_probe_events::{Account, Dropped};

use super::account::Told as _;
use crate::connection::address;

/// Network namespace, own end, other end.
type Ends = (u32, SocketAddr, SocketAddr);

/// The sockets of a walk, by what segments say.
#[derive(Debug, Default)]
pub(super) struct Sockets<'a> {
    connected: HashMap<Ends, &'a Account>,
    listening: HashMap<(u32, u16), &'a Account>,
}

impl<'a> Sockets<'a> {
    /// Of all open sockets.
    pub(super) fn of(accounts: impl Iterator<Item = &'a Account>) -> Self {
        let mut sockets = Self::default();
        for account in accounts {
            let netns = account.flow.netns;
            if account.listens() {
                sockets.listening.insert((netns, account.flow.local_port), account);
            } else {
                let ends = (netns, canonical(account.local()), canonical(account.remote()));
                sockets.connected.insert(ends, account);
            }
        }
        sockets
    }

    /// The socket that a segment was for, or that has sent it.
    pub(super) fn owner(&self, dropped: &Dropped) -> Option<&'a Account> {
        let (from, to) = ends(dropped);
        let netns = dropped.netns;
        let connected = |own, other| self.connected.get(&(netns, own, other)).copied();
        connected(to, from)
            .or_else(|| self.listening.get(&(netns, to.port())).copied())
            .or_else(|| connected(from, to))
    }
}

/// Sender and receiver.
pub(super) fn ends(dropped: &Dropped) -> (SocketAddr, SocketAddr) {
    let ipv6 = dropped.version == 6;
    let end = |bytes, port| canonical(SocketAddr::new(address(bytes, ipv6), port));
    let from = end(dropped.source, dropped.source_port);
    (from, end(dropped.destination, dropped.destination_port))
}

fn canonical(end: SocketAddr) -> SocketAddr {
    let ip: IpAddr = end.ip().to_canonical();
    SocketAddr::new(ip, end.port())
}
