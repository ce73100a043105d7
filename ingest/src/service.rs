//! Ingest as a whole: opened, run, drained.

use std::net::SocketAddr;
use std::sync::Arc;

use icecore_store::{Clock, Feed, LiveRows, Store};
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::error::Error;

/// OTLP receivers, the write-ahead log, live rows and the flush.
#[derive(Debug)]
pub struct Ingest {
    grpc_addr: SocketAddr,
    http_addr: SocketAddr,
    live: Arc<dyn LiveRows>,
    feed: Arc<dyn Feed>,
    ready: watch::Receiver<bool>,
}

impl Ingest {
    /// Checks the settings, recovers the log, brings rows that the store does not have back to
    /// life, and binds both ports. Nothing is served before [`Self::run`].
    pub async fn open(
        config: Config,
        store: Arc<Store>,
        clock: Arc<dyn Clock>,
        registry: &mut Registry,
    ) -> Result<Self, Error> {
        config.check()?;
        drop((store, clock, registry));
        Err(Error::Stopped { part: "receiver" })
    }

    /// Where OTLP/gRPC is served.
    #[must_use]
    pub const fn grpc_addr(&self) -> SocketAddr {
        self.grpc_addr
    }

    /// Where OTLP/HTTP is served.
    #[must_use]
    pub const fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// The rows that are acknowledged and perhaps not yet in the store.
    #[must_use]
    pub fn live_rows(&self) -> Arc<dyn LiveRows> {
        Arc::clone(&self.live)
    }

    /// The acknowledged requests, for forwarding.
    #[must_use]
    pub fn feed(&self) -> Arc<dyn Feed> {
        Arc::clone(&self.feed)
    }

    /// Whether requests are being served.
    #[must_use]
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.clone()
    }

    /// Serves until `stop`, then drains: no new requests, those in flight are finished, the rows
    /// are flushed as far as `drain_timeout` allows. What is not flushed stays in the log.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        drop(stop);
        Err(Error::Stopped { part: "receiver" })
    }
}
