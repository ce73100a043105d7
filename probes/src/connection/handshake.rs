//! What a TLS handshake says in the clear: for whom the client asks, and what was agreed on.
//!
//! Invariants: what is held is bounded, whatever comes; each hello is read once, from bytes that
//! follow each other from the first of its direction on.

mod hello;
#[cfg(test)]
mod tests;

use crate::protocol::Direction;
use hello::Hello;

/// What is held of each direction: hellos with post-quantum keys take about 2 KiB.
const HELD_BYTES_MAX: usize = 8 << 10;

/// What is known of the TLS of a connection; nothing where its handshake was not seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// `1.0` to `1.3`.
    pub version: Option<&'static str>,
    /// The server's name, as the client gave it.
    pub server_name: Option<String>,
    /// The cipher suite by its number, as it is registered.
    pub cipher: Option<u16>,
    /// The protocol that was agreed on, where that is not encrypted (before TLS 1.3).
    pub next_protocol: Option<String>,
}

/// Reads a handshake.
#[derive(Debug, Default)]
pub(crate) struct Handshake {
    flights: [Flight; 2],
    tls: Tls,
}

/// What has come of one direction.
#[derive(Debug, Default)]
struct Flight {
    bytes: Vec<u8>,
    /// Its hello was read, or never will be.
    done: bool,
}

impl Handshake {
    /// What is known so far.
    pub(crate) fn tls(&self) -> &Tls {
        &self.tls
    }

    /// Takes the next bytes of a direction.
    pub(crate) fn feed(&mut self, direction: Direction, bytes: &[u8]) {
        let flight = self.flight(direction);
        if flight.done {
            return;
        }
        let room = HELD_BYTES_MAX - flight.bytes.len();
        flight.bytes.extend(bytes.iter().take(room));
        let full = flight.bytes.len() >= HELD_BYTES_MAX;
        match hello::read(&flight.bytes) {
            Hello::Partial if !full => return,
            Hello::Partial | Hello::None => {}
            Hello::Client { server_name } => self.tls.server_name = server_name,
            Hello::Server { version, cipher, next_protocol } => {
                self.tls.version = version;
                self.tls.cipher = Some(cipher);
                self.tls.next_protocol = next_protocol;
            }
        }
        self.finish(direction);
    }

    /// Nothing more of a direction is read: its hello was, or bytes are missing.
    pub(crate) fn finish(&mut self, direction: Direction) {
        *self.flight(direction) = Flight { bytes: Vec::new(), done: true };
    }

    fn flight(&mut self, direction: Direction) -> &mut Flight {
        let [inbound, outbound] = &mut self.flights;
        match direction {
            Direction::Inbound => inbound,
            Direction::Outbound => outbound,
        }
    }
}

impl Tls {
    /// The registered name of the cipher suite, or its number where it is not one of those that
    /// are in use.
    #[must_use]
    pub fn cipher_name(&self) -> Option<String> {
        let cipher = self.cipher?;
        let known = CIPHERS.iter().find(|(number, _)| *number == cipher);
        Some(known.map_or_else(|| format!("0x{cipher:04X}"), |(_, name)| (*name).to_owned()))
    }
}

/// The suites that today's libraries offer by themselves, from the registry of the IANA.
const CIPHERS: [(u16, &str); 25] = [
    (0x002f, "TLS_RSA_WITH_AES_128_CBC_SHA"),
    (0x0033, "TLS_DHE_RSA_WITH_AES_128_CBC_SHA"),
    (0x0035, "TLS_RSA_WITH_AES_256_CBC_SHA"),
    (0x0039, "TLS_DHE_RSA_WITH_AES_256_CBC_SHA"),
    (0x003c, "TLS_RSA_WITH_AES_128_CBC_SHA256"),
    (0x003d, "TLS_RSA_WITH_AES_256_CBC_SHA256"),
    (0x009c, "TLS_RSA_WITH_AES_128_GCM_SHA256"),
    (0x009d, "TLS_RSA_WITH_AES_256_GCM_SHA384"),
    (0x009e, "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256"),
    (0x009f, "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384"),
    (0x1301, "TLS_AES_128_GCM_SHA256"),
    (0x1302, "TLS_AES_256_GCM_SHA384"),
    (0x1303, "TLS_CHACHA20_POLY1305_SHA256"),
    (0x1304, "TLS_AES_128_CCM_SHA256"),
    (0xc009, "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"),
    (0xc00a, "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA"),
    (0xc013, "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"),
    (0xc014, "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA"),
    (0xc02b, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    (0xc02c, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    (0xc02f, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    (0xc030, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    (0xcca8, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
    (0xcca9, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
    (0xccaa, "TLS_DHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
];
