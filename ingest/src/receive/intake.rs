//! From a body to an acknowledgement.
//!
//! Invariant: success is returned only after the request is as durable as the settings ask and its
//! rows are visible; a request without rows is never logged.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use icecore_store::{LogPosition, Signal};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use super::Protocol;
use super::admit::{Admission, Ticket};
use super::answer::{Accepted, Format, Reason, Refusal};
use super::body::BodyBounds;
use super::decompress::{Encoding, decompress};
use crate::config::{Config, Durability};
use crate::decode::{Checked, DecodeError, check, json_to_protobuf};
use crate::live::{Blocks, LiveRequest};
use crate::log::{Append, Appended, Contents, LogRefusal, Packed, Packer};
use crate::metrics::{Counts, Metrics};

/// A plain protobuf body up to this size is checked and packed where it is: that takes less than
/// 500 µs, and a hop to another thread would cost more than it spares.
const INLINE_BYTES_MAX: usize = 16 << 10;

/// What every request goes through, whichever way it came.
#[derive(Debug)]
pub(crate) struct Intake {
    admission: Arc<Admission>,
    decoders: Arc<Semaphore>,
    live: Arc<Blocks>,
    packer: Arc<Packer>,
    log: mpsc::Sender<Append>,
    /// Under [`Durability::Bucket`]: up to where the store has the log.
    covered: Option<watch::Receiver<LogPosition>>,
    metrics: Metrics,
    settings: IntakeSettings,
}

#[derive(Debug, Clone)]
struct IntakeSettings {
    request_bytes_max: usize,
    decoded_bytes_max: usize,
    read_timeout: Duration,
    bucket_timeout: Duration,
    retry_after: Duration,
}

/// A request as it was read.
#[derive(Debug)]
pub(crate) struct Request {
    /// What its path says it is.
    pub(crate) signal: Signal,
    /// How it is compressed.
    pub(crate) encoding: Encoding,
    /// How it is written.
    pub(crate) format: Format,
    /// Its bytes.
    pub(crate) body: Bytes,
    /// The memory that it was granted.
    pub(crate) ticket: Ticket,
}

/// A request that was read and understood.
struct Understood {
    packed: Packed,
    checked: Checked,
    ticket: Ticket,
}

impl Intake {
    /// An intake that appends to `log` and then adds to `live`.
    pub(crate) fn new(
        config: &Config,
        live: Arc<Blocks>,
        packer: Arc<Packer>,
        log: mpsc::Sender<Append>,
        covered: watch::Receiver<LogPosition>,
        metrics: Metrics,
    ) -> Self {
        let settings = IntakeSettings {
            request_bytes_max: config.request_bytes_max,
            decoded_bytes_max: config.decoded_bytes_max,
            read_timeout: config.read_timeout,
            bucket_timeout: config.bucket_timeout,
            retry_after: config.retry_after,
        };
        Self {
            admission: Arc::new(Admission::new(config.inflight_bytes_max, metrics.clone())),
            decoders: Arc::new(Semaphore::new(config.decode_threads)),
            live,
            packer,
            log,
            covered: (config.durability == Durability::Bucket).then_some(covered),
            metrics,
            settings,
        }
    }

    /// A ticket for one request.
    pub(crate) fn ticket(&self) -> Ticket {
        self.admission.ticket()
    }

    /// The bounds on a body as it is sent.
    pub(crate) const fn body_bounds(&self) -> BodyBounds {
        let bytes_max = self.settings.request_bytes_max;
        BodyBounds { bytes_max, timeout: self.settings.read_timeout }
    }

    /// When a refused sender should come back.
    pub(crate) const fn retry_after(&self) -> Duration {
        self.settings.retry_after
    }

    /// Counts a refusal; every refusal of either protocol passes here once.
    pub(crate) fn refused(&self, protocol: Protocol, signal: Option<Signal>, refusal: &Refusal) {
        self.metrics.refused(protocol, signal, refusal.reason);
        let Refusal { reason, message } = refusal;
        if *reason == Reason::Internal {
            tracing::error!(message, "a request failed by a fault of ours");
        } else {
            tracing::debug!(reason = reason.name(), message, "a request was refused");
        }
    }

    /// Accepts a request, or says why not.
    #[tracing::instrument(name = "export", skip_all)]
    pub(crate) async fn accept(
        &self,
        protocol: Protocol,
        request: Request,
    ) -> Result<Accepted, Refusal> {
        let (signal, bytes) = (request.signal, request.body.len());
        self.live.pace().turn(bytes).await?;
        let Understood { packed, checked, ticket } = self.understand(request).await?;
        self.live.pace().charge(packed.plain_bytes.saturating_sub(bytes));
        let Checked { accepted, rejected, reason, time, alone, traces } = checked;
        let counts = Counts { bytes: packed.plain_bytes as u64, accepted, rejected };
        if let Some(time) = time {
            let rows = u32::try_from(accepted).map_err(internal)?;
            let contents = Contents { rows, time, alone };
            let appended = self.append(signal, contents, packed, traces).await?;
            self.await_bucket(appended).await?;
        }
        drop(ticket);
        self.metrics.accepted(protocol, signal, &counts);
        Ok(Accepted { rejected, reason })
    }

    /// Decompresses, checks and packs, on this thread where that is quick.
    async fn understand(&self, request: Request) -> Result<Understood, Refusal> {
        let bytes_max = self.settings.decoded_bytes_max;
        let plain = (request.encoding, request.format) == (Encoding::Identity, Format::Protobuf);
        if plain && request.body.len() <= INLINE_BYTES_MAX {
            return understand(request, bytes_max, &self.packer);
        }
        let decoders = Arc::clone(&self.decoders);
        let permit = decoders.acquire_owned().await.map_err(internal)?;
        let packer = Arc::clone(&self.packer);
        let work = tokio::task::spawn_blocking(move || {
            let understood = understand(request, bytes_max, &packer);
            drop(permit);
            understood
        });
        work.await.map_err(internal)?
    }

    /// Returns once the request is in the log and its rows are visible.
    async fn append(
        &self,
        signal: Signal,
        contents: Contents,
        packed: Packed,
        traces: Option<Vec<u32>>,
    ) -> Result<Appended, Refusal> {
        let (tell, told) = oneshot::channel();
        let (live, plain_bytes) = (Arc::clone(&self.live), packed.plain_bytes);
        let done = Box::new(move |outcome: Result<Appended, LogRefusal>| {
            if let Ok(appended) = outcome {
                let traces = traces.as_deref();
                let request = LiveRequest { signal, contents, plain_bytes, traces };
                live.add(appended, &request);
            }
            if tell.send(outcome).is_err() {
                tracing::trace!("a sender went away before its answer; its rows stay");
            }
        });
        let stopping = || Refusal::new(Reason::Stopping, "the server is going down");
        let append = Append { signal, contents, packed, done };
        if self.log.send(append).await.is_err() {
            return Err(stopping());
        }
        match told.await {
            Ok(Ok(appended)) => Ok(appended),
            Ok(Err(LogRefusal::Full)) => {
                Err(Refusal::new(Reason::LogFull, "the log is full until the bucket catches up"))
            }
            Ok(Err(LogRefusal::Failed)) => {
                Err(Refusal::new(Reason::LogFailed, "the log cannot be written"))
            }
            Err(_) => Err(stopping()),
        }
    }

    /// Under [`Durability::Bucket`], returns once the store has the request.
    async fn await_bucket(&self, appended: Appended) -> Result<(), Refusal> {
        let Some(mut covered) = self.covered.clone() else { return Ok(()) };
        let timeout = self.settings.bucket_timeout;
        let committed = covered.wait_for(|covered| *covered >= appended.next);
        match tokio::time::timeout(timeout, committed).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Refusal::new(Reason::Stopping, "the server is going down")),
            Err(_) => {
                let text = format!("the bucket did not take the rows within {timeout:?}");
                Err(Refusal::new(Reason::BucketAway, text))
            }
        }
    }
}

/// Decompresses, checks and packs. Costs CPU in proportion to the request.
fn understand(request: Request, bytes_max: usize, packer: &Packer) -> Result<Understood, Refusal> {
    let Request { signal, encoding, format, body, mut ticket } = request;
    let plain = match encoding {
        Encoding::Identity if body.len() > bytes_max => {
            let text = format!("the request has more than {bytes_max} bytes");
            return Err(Refusal::new(Reason::TooLarge, text));
        }
        Encoding::Identity => body,
        _ => decompress(encoding, &body, bytes_max, &mut ticket)?.into(),
    };
    let payload = match format {
        Format::Protobuf => plain,
        Format::Json => {
            // The tree between JSON and protobuf is larger than either.
            ticket.grow(plain.len().saturating_mul(2))?;
            json_to_protobuf(signal, &plain).map_err(unreadable)?.into()
        }
    };
    let checked = check(signal, &payload).map_err(unreadable)?;
    Ok(Understood { packed: packer.pack(payload), checked, ticket })
}

fn unreadable(error: DecodeError) -> Refusal {
    let reason = match &error {
        DecodeError::Protobuf { .. } | DecodeError::Json { .. } => Reason::Malformed,
        DecodeError::TooLarge { .. } => Reason::TooLarge,
        DecodeError::Rows { .. } => Reason::Internal,
    };
    Refusal::new(reason, error.to_string())
}

fn internal(error: impl std::error::Error) -> Refusal {
    Refusal::new(Reason::Internal, error.to_string())
}

#[cfg(test)]
mod tests;
