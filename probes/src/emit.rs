//! Sends spans, log records, metrics and profiles as OTLP/gRPC.
//!
//! Invariants: handing something over never waits; what is held is bounded in items and bytes;
//! each item is counted once, as sent, refused by the receiver, or dropped with its reason.

mod export;
mod line;
mod metrics;
mod outbox;
mod packed;
mod profiles;
mod send;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::ResourceMetrics;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prometheus_client::registry::Registry;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::budget::{Memory, Meter};
use crate::loss::Losses;
use crate::secret::Secret;
use export::Export;
use line::Line;
use metrics::{EmitMetrics, Outcome};
pub(crate) use outbox::Outbox;
use outbox::Parcel;
use profiles::ProfileTask;
pub use send::EmitTask;
use send::Waiting;

/// Where and how to send.
#[derive(Debug, Clone)]
pub struct EmitConfig {
    /// `http://host:port`, or `https://` for TLS with the machine's roots.
    pub endpoint: String,
    /// Sent with every request.
    pub headers: Vec<(String, Secret)>,
    /// Compress with zstd.
    pub compress: bool,
    /// Spans and log records that may wait; one more is dropped and counted.
    pub queue_spans_max: usize,
    /// Their bytes on the wire, before compression.
    pub queue_bytes_max: usize,
    /// Collections of metrics that may wait, apart from the spans: however many spans find no
    /// room, the durations of their requests arrive. Each is as large as the bounds of the series.
    pub queue_collections_max: usize,
    /// Requests with profiles that may wait, apart from all else. An interval makes one for each half of
    /// what a request may take, and more where many processes have much to say of themselves.
    pub queue_profiles_max: usize,
    /// Spans and log records of one request.
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
            queue_collections_max: 8,
            queue_profiles_max: 32,
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
    queue: mpsc::Sender<Item>,
    collections: mpsc::Sender<Item>,
    profiles: mpsc::Sender<profiles::Waiting>,
    profiles_unwanted: Arc<AtomicBool>,
    /// Bytes in the queue and in the batch under way.
    held_bytes: Arc<AtomicUsize>,
    held_bytes_max: usize,
    /// Spans and log records in the queue.
    held_items: Arc<AtomicUsize>,
    held_items_max: usize,
    /// Of which those are a part.
    memory: Memory,
    request_bytes_max: usize,
    metrics: Arc<EmitMetrics>,
    own: OwnSockets,
}

/// One thing to send.
#[derive(Debug)]
pub(crate) enum Item {
    Spans(Parcel),
    Log { resource: Arc<Resource>, record: Box<LogRecord>, bytes: usize },
    Metrics { metrics: Vec<ResourceMetrics>, bytes: usize },
}

/// The connections that the sending task has open, so that the probe can ignore its own traffic.
#[derive(Debug, Clone, Default)]
pub struct OwnSockets {
    newest: Arc<RwLock<VecDeque<(SocketAddr, SocketAddr)>>>,
}

/// One connection at a time is open, and a second one while it is replaced.
const OWN_SOCKETS_MAX: usize = 2;

impl OwnSockets {
    /// One end of the connection between `local` and `remote` is ours, whichever end asks.
    #[must_use]
    pub fn contains(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        let newest = self.newest.read().unwrap_or_else(PoisonError::into_inner);
        newest.contains(&(local, remote)) || newest.contains(&(remote, local))
    }

    fn opened(&self, local: SocketAddr, remote: SocketAddr) {
        let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
        newest.truncate(OWN_SOCKETS_MAX - 1);
        newest.push_front((local, remote));
    }
}

/// Checks the configuration and makes both halves. Does not connect: the receiver may come
/// later. Must be called on a runtime.
pub(crate) fn open(
    config: EmitConfig,
    (meter, memory): (&Meter, &Memory),
    registry: &mut Registry,
) -> Result<(Emitter, EmitTask), EmitError> {
    let metrics = Arc::new(EmitMetrics::new(registry));
    let (queue, spans) = mpsc::channel(config.queue_spans_max.max(1));
    let (collections, histograms) = mpsc::channel(config.queue_collections_max.max(1));
    let (profiles, waiting_profiles) = mpsc::channel(config.queue_profiles_max.max(1));
    let emitter = Emitter {
        queue,
        collections,
        profiles,
        profiles_unwanted: Arc::default(),
        held_bytes: memory.queue(),
        held_bytes_max: config.queue_bytes_max,
        held_items: Arc::default(),
        held_items_max: config.queue_spans_max.max(1),
        memory: memory.clone(),
        request_bytes_max: config.batch_bytes_max,
        metrics: Arc::clone(&metrics),
        own: OwnSockets::default(),
    };
    let held_bytes = Arc::clone(&emitter.held_bytes);
    let held_items = Arc::clone(&emitter.held_items);
    let waiting = Waiting::new(spans, histograms, held_items);
    let line = Line::new(config, metrics, emitter.own_sockets(), meter)?;
    let (line_of_profiles, unwanted) = (line.clone(), emitter.profiles_unwanted());
    let profiles =
        ProfileTask::new(line_of_profiles, waiting_profiles, Arc::clone(&held_bytes), unwanted);
    let task = EmitTask::new(line, waiting, held_bytes, profiles);
    Ok((emitter, task))
}

#[cfg(test)]
impl Emitter {
    /// An emitter whose queue the test reads itself.
    pub(crate) fn to_queue(capacity: usize) -> (Self, mpsc::Receiver<Item>) {
        let (queue, items) = mpsc::channel(capacity);
        let emitter = Self {
            collections: queue.clone(),
            profiles: mpsc::channel(1).0,
            profiles_unwanted: Arc::default(),
            queue,
            held_bytes: Arc::default(),
            held_bytes_max: usize::MAX,
            held_items: Arc::default(),
            held_items_max: capacity,
            memory: Memory::default(),
            request_bytes_max: EmitConfig::default().batch_bytes_max,
            metrics: Arc::new(EmitMetrics::new(&mut Registry::default())),
            own: OwnSockets::default(),
        };
        (emitter, items)
    }
}

impl Emitter {
    /// There is room for a span of so many bytes, which it has from now on; without, it is dropped and counted.
    fn takes_span(&self, bytes: usize) -> bool {
        let room = self
            .held_item()
            .and_then(|()| self.held(bytes, || Ok(())).inspect_err(|_dropped| self.gone(1)));
        room.inspect_err(|dropped| self.metrics.spans(*dropped, 1)).is_ok()
    }

    /// Queues spans, each of which has its room.
    fn parcel(&self, mut parcel: Parcel) {
        // What has grown bit by bit may have twice the room that was counted.
        parcel.wire.shrink_to_fit();
        let Parcel { spans, bytes, .. } = parcel;
        if let Err(error) = self.queue.try_send(Item::Spans(parcel)) {
            self.held_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.gone(spans);
            self.metrics.spans(dropped(&error), spans as u64);
        }
    }

    /// One more waits in the queue, if it may.
    fn held_item(&self) -> Result<(), Outcome> {
        if self.held_items.fetch_add(1, Ordering::Relaxed) < self.held_items_max {
            return Ok(());
        }
        self.gone(1);
        Err(Outcome::QueueFull)
    }

    /// So many wait no longer.
    fn gone(&self, items: usize) {
        self.held_items.fetch_sub(items, Ordering::Relaxed);
    }

    /// Queues one log record, beside the spans and within their bounds; without room it is dropped and
    /// counted.
    pub fn log(&self, resource: &Arc<Resource>, record: LogRecord) {
        let bytes = record.encoded_len();
        let item = Item::Log { resource: Arc::clone(resource), record: Box::new(record), bytes };
        let send = || self.queue.try_send(item).map_err(|error| dropped(&error));
        let sent = self
            .held_item()
            .and_then(|()| self.held(bytes, send).inspect_err(|_dropped| self.gone(1)));
        if let Err(dropped) = sent {
            self.metrics.logs(dropped, 1);
        }
    }

    /// Queues metrics; without room they are dropped and counted (cumulative sums make up for it).
    pub fn metrics(&self, metrics: Vec<ResourceMetrics>) {
        let bytes = metrics.iter().map(ResourceMetrics::encoded_len).sum();
        self.held_bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Err(error) = self.collections.try_send(Item::Metrics { metrics, bytes }) {
            self.held_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.metrics.metrics(dropped(&error), 1);
        }
    }

    /// Queues the profiles of some processes; without room they are dropped and counted.
    pub(crate) fn profiles(&self, request: ExportProfilesServiceRequest) {
        profiles::parts(request, self.request_bytes_max)
            .into_iter()
            .for_each(|part| self.part(part));
    }

    /// What one request may take, before compression.
    pub(crate) fn request_bytes_max(&self) -> usize {
        self.request_bytes_max
    }

    fn part(&self, request: ExportProfilesServiceRequest) {
        let profiles = request.resource_profiles.len() as u64;
        let export = Export::profiles(&request);
        let bytes = export.bytes();
        let waiting = profiles::Waiting { export, profiles };
        let send = |waiting| {
            self.profiles.try_send(waiting).map_err(|error| match error {
                TrySendError::Full(_) => Outcome::QueueFull,
                TrySendError::Closed(_) => Outcome::Stopped,
            })
        };
        if let Err(dropped) = self.held(bytes, || send(waiting)) {
            self.metrics.profiles(dropped, profiles);
        }
    }

    /// True while the receiver has no use for profiles: none need to be made.
    pub(crate) fn profiles_unwanted(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.profiles_unwanted)
    }

    /// What could not be sent.
    pub(crate) fn losses(&self, losses: &mut Losses) {
        self.metrics.losses(losses);
    }

    /// The connections of the sending task.
    #[must_use]
    pub fn own_sockets(&self) -> OwnSockets {
        self.own.clone()
    }

    /// Sends what takes so many bytes, if they may be held.
    fn held(
        &self,
        bytes: usize,
        send: impl FnOnce() -> Result<(), Outcome>,
    ) -> Result<(), Outcome> {
        let held = self.held_bytes.fetch_add(bytes, Ordering::Relaxed);
        let full = held.saturating_add(bytes) > self.held_bytes_max;
        let outcome = if full {
            Err(Outcome::QueueBytesFull)
        } else if self.memory.is_full() {
            Err(Outcome::Memory)
        } else {
            send()
        };
        if outcome.is_err() {
            self.held_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        outcome
    }
}

fn dropped(error: &TrySendError<Item>) -> Outcome {
    match error {
        TrySendError::Full(_) => Outcome::QueueFull,
        TrySendError::Closed(_) => Outcome::Stopped,
    }
}
