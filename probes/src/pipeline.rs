//! From understood exchanges to OTLP: one span and one histogram sample each.
//!
//! Invariant: an exchange is counted in its histogram whether or not its span finds room in the
//! queue, so that the durations are at full rate; a span without room is counted as dropped.

use std::net::SocketAddr;
use std::time::Duration;

use prometheus_client::registry::Registry;

use crate::emit::Emitter;
use crate::identity::Identity;
use crate::protocol::{Counts, Exchange};

/// What is made of exchanges.
#[derive(Debug, Clone)]
pub struct PipelineConfig {
    /// How often histograms are sent.
    pub histogram_every: Duration,
    /// Series of one histogram of one process; the rest is put into one overflow series.
    pub series_max: usize,
    /// Processes with histograms of their own; the oldest idle one makes room.
    pub resources_max: usize,
    /// Put captured bodies on spans as `http.request.body.content` and `http.response.body.content`.
    pub bodies: bool,
}

impl Default for PipelineConfig {
    fn default() -> Self {
        Self {
            histogram_every: Duration::from_secs(10),
            series_max: 1_000,
            resources_max: 1_024,
            bodies: false,
        }
    }
}

/// The connection on which an exchange was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// The kernel's socket cookie, unique while the machine is up.
    pub cookie: u64,
    /// Inode of the network namespace.
    pub netns: u32,
    /// The owner's end. IPv4-mapped IPv6 addresses may be given as they are.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// When the connection was established, wall clock in nanoseconds; none where it is older than
    /// the probe. Both ends on one node see it within a few milliseconds of each other.
    pub opened: Option<u64>,
    /// The process (thread group) that owns the socket.
    pub pid: u32,
    /// When that process started, in nanoseconds since boot (`task->start_boottime`); 0: unknown.
    pub process_started: u64,
    /// The kernel's name of it, for processes that are gone before they could be looked up.
    pub comm: String,
}

/// Makes spans and histograms. One for each thread that parses.
#[derive(Debug)]
pub struct Pipeline {
    config: PipelineConfig,
    identity: Identity,
    emitter: Emitter,
}

impl Pipeline {
    /// Registers its metrics; does no I/O.
    #[must_use]
    pub fn new(
        config: PipelineConfig,
        identity: Identity,
        emitter: Emitter,
        registry: &mut Registry,
    ) -> Self {
        let _ = registry;
        Self { config, identity, emitter }
    }

    /// A process was seen to own a socket: looks it up while it lives. Cheap when known.
    pub fn process_seen(&mut self, pid: u32, process_started: u64) {
        self.identity.process_seen(pid, process_started);
    }

    /// Makes the span and the histogram sample of one exchange. Never waits: what finds no room is
    /// counted.
    pub fn exchange(&mut self, connection: &ConnectionInfo, exchange: Exchange) {
        drop((connection, exchange, &self.config, &self.emitter));
    }

    /// Adds what became of parsed bytes to the metrics.
    pub fn counts(&mut self, counts: Counts) {
        let _ = counts;
    }

    /// Sends the histograms when they are due; call it about once a second. `now` is wall time.
    pub fn tick(&mut self, now: u64) {
        let _ = now;
    }

    /// Sends the histograms for the last time.
    pub fn finish(self, now: u64) {
        let _ = now;
    }
}
