//! The other end of connections, as metrics tell it.
//!
//! Invariant: no port that was drawn by chance is part of it, so that the peers of a process are as
//! many as the machines and services that it talks to.

use std::net::IpAddr;

use icecore_probe_events::Account;

use super::account::Told as _;
use crate::span::attribute::Attribute;

/// Whom a process talks to, in which role.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Peer {
    pub(super) client: bool,
    /// By UDP.
    pub(super) datagrams: bool,
    /// That of nobody where it is not known.
    pub(super) address: IpAddr,
    /// The server's port, whichever end that is; 0: nobody has said which is one.
    pub(super) port: u16,
    /// The name by which the other end was looked up.
    pub(super) name: Option<String>,
    /// The service and pod at that address, where it is of this node.
    pub(super) whose: Vec<Attribute>,
}

impl Peer {
    /// `listening`: somebody listens on the local port, which tells the role where nothing else does.
    pub(super) fn of(
        account: &Account,
        listening: bool,
        name: Option<&str>,
        whose: Vec<Attribute>,
    ) -> Self {
        let client = account.is_client().unwrap_or(!listening);
        let (local, remote) = (account.local(), account.remote());
        let port = if client { remote.port() } else { local.port() };
        let name = name.map(str::to_owned);
        Self { client, datagrams: false, address: remote.ip(), port, name, whose }
    }

    /// Of whoever has sent what belongs to no connection and no listener.
    pub(super) fn stranger(address: IpAddr, name: Option<&str>, whose: Vec<Attribute>) -> Self {
        let name = name.map(str::to_owned);
        Self { client: false, datagrams: false, address, port: 0, name, whose }
    }

    /// Who has sent to a port that is listened to, and has no connection yet.
    pub(super) fn newcomer(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// In a word.
    pub(super) fn role(&self) -> &'static str {
        if self.client { "client" } else { "server" }
    }

    /// As the semantic conventions name it.
    pub(super) fn attributes(&self) -> Vec<Attribute> {
        let port = if self.client { "network.peer.port" } else { "network.local.port" };
        let mut list = vec![
            Attribute::text("network.transport", if self.datagrams { "udp" } else { "tcp" }),
            Attribute::text("network.type", network_type(self.address)),
            Attribute::text("icecore.network.role", self.role()),
        ];
        // Who receives a datagram need not ask from whom it is.
        let address = (!self.address.is_unspecified()).then(|| self.address.to_string());
        list.extend(address.map(|address| Attribute::text("network.peer.address", address)));
        list.extend((self.port > 0).then(|| Attribute::integer(port, i64::from(self.port))));
        list.extend(self.named());
        list.extend(self.whose.iter().cloned());
        list
    }

    /// The name, where there is one.
    pub(super) fn named(&self) -> Option<Attribute> {
        let key = if self.client { "server.address" } else { "client.address" };
        self.name.as_ref().map(|name| Attribute::text(key, name.clone()))
    }
}

pub(super) fn network_type(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ipv4" } else { "ipv6" }
}
