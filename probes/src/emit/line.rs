//! The way to the receiver, and how often it is tried.
//!
//! Invariant: whoever sends knows what became of it before the next is sent.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::client::Grpc;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint, Uri};
use tonic::{Request, Status};
use tracing::{debug, warn};

use crate::budget::Meter;

use super::export::Export;
use super::metrics::{EmitMetrics, Outcome};
use super::packed::{Packed, Packer};
use super::verdict::{Verdict, verdict};
use super::{EmitConfig, EmitError, OwnSockets};

/// One sender's way to the receiver; all of them share its connection.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) config: Arc<EmitConfig>,
    pub(super) metrics: Arc<EmitMetrics>,
    channel: Channel,
    headers: MetadataMap,
    /// Until the receiver says that it cannot read it.
    pub(super) compress: bool,
    packer: Packer,
    /// By when what is held is to be sent, for all senders: since the first of them saw the stop.
    drained_by: Arc<OnceLock<Instant>>,
}

impl Line {
    /// Does not connect yet.
    pub(super) fn new(
        config: EmitConfig,
        metrics: Arc<EmitMetrics>,
        own: OwnSockets,
        meter: &Meter,
    ) -> Result<Self, EmitError> {
        let channel = channel(&config, own, meter)?;
        let headers = headers(&config)?;
        let compress = config.compress;
        let (config, packer) = (Arc::new(config), Packer::default());
        let drained_by = Arc::default();
        Ok(Self { config, metrics, channel, headers, compress, packer, drained_by })
    }

    /// All senders are to stop: until when they may go on.
    pub(super) fn drained_by(&self) -> Instant {
        *self.drained_by.get_or_init(|| Instant::now() + self.config.drain_within)
    }

    /// Sends until the fate of the export is known. Returns how many items of it were rejected.
    pub(super) async fn send(
        &mut self,
        export: &Export,
        stop: &CancellationToken,
        mut deadline: Option<Instant>,
    ) -> (Outcome, u64) {
        let give_up = Instant::now() + self.config.retry_for;
        let mut wait = self.config.retry_first;
        let mut packed = None;
        loop {
            if self.compress && packed.is_none() {
                packed = self.packer.pack(&export.body).inspect_err(not_packed).ok();
            }
            let packed = packed.as_ref().filter(|_| self.compress);
            let status = match self.attempt(export, packed, deadline).await {
                Ok(rejected) => return (Outcome::Sent, rejected),
                Err(status) => status,
            };
            let after = match verdict(&status, self.compress) {
                Verdict::Retry(after) => after,
                Verdict::Uncompressed => {
                    self.compress = false;
                    continue;
                }
                Verdict::Refuse => {
                    warn!(code = ?status.code(), message = status.message(), "export refused");
                    return (export.refusal(&status), 0);
                }
            };
            if deadline.is_none() && stop.is_cancelled() {
                deadline = Some(self.drained_by());
            }
            let next = Instant::now() + after.unwrap_or(wait).max(jittered(wait));
            if next >= deadline.map_or(give_up, |deadline| deadline.min(give_up)) {
                let outcome = deadline.map_or(Outcome::GaveUp, |_| Outcome::Stopped);
                warn!(code = ?status.code(), message = status.message(), "export given up");
                return (outcome, 0);
            }
            debug!(code = ?status.code(), message = status.message(), "export tried again");
            self.metrics.retried();
            let stopping = deadline.is_some();
            tokio::select! {
                () = sleep_until(next) => {}
                // One more attempt at once, then the deadline holds.
                () = stop.cancelled(), if !stopping => {
                    deadline = Some(self.drained_by());
                }
            }
            wait = (wait * 2).min(self.config.retry_max);
        }
    }

    /// `packed`: the export compressed, where it is to be.
    async fn attempt(
        &self,
        export: &Export,
        packed: Option<&Bytes>,
        deadline: Option<Instant>,
    ) -> Result<u64, Status> {
        let limit = Instant::now() + self.config.request_timeout;
        let limit = deadline.map_or(limit, |deadline| deadline.min(limit));
        let answer = timeout_at(limit, self.call(export, packed)).await;
        answer.unwrap_or_else(|_elapsed| Err(Status::deadline_exceeded("no answer in time")))
    }

    async fn call(&self, export: &Export, packed: Option<&Bytes>) -> Result<u64, Status> {
        let channel = self.channel.clone();
        let (way, body) = match packed {
            Some(message) => (Packed::of(channel, message.clone()), Bytes::new()),
            None => (Packed::plain(channel), Bytes::copy_from_slice(&export.body)),
        };
        let mut client = Grpc::new(way);
        let ready = client.ready().await;
        ready.map_err(|error| Status::from_error(Box::new(error)))?;
        let mut request = Request::new(body);
        *request.metadata_mut() = self.headers.clone();
        export.signal.ask(&mut client, request).await
    }
}

/// It is sent as it is.
fn not_packed(error: &std::io::Error) {
    let error: &dyn std::error::Error = error;
    warn!(error, "an export could not be compressed");
}

/// Between half of `wait` and all of it, so that nodes do not come back in step.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(rand::random_range(0.5..1.0))
}

fn headers(config: &EmitConfig) -> Result<MetadataMap, EmitError> {
    let mut headers = MetadataMap::new();
    for (name, value) in &config.headers {
        let wrong = |reason: String| EmitError::Header { name: name.clone(), reason };
        let key = AsciiMetadataKey::from_bytes(name.to_ascii_lowercase().as_bytes())
            .map_err(|error| wrong(error.to_string()))?;
        let value = AsciiMetadataValue::try_from(value.expose())
            .map_err(|error| wrong(error.to_string()))?;
        headers.insert(key, value);
    }
    Ok(headers)
}

/// A channel that connects when it is first used, and tells which sockets it uses.
fn channel(config: &EmitConfig, own: OwnSockets, meter: &Meter) -> Result<Channel, EmitError> {
    let wrong = |reason: String| EmitError::Endpoint { endpoint: config.endpoint.clone(), reason };
    let mut endpoint =
        Endpoint::from_shared(config.endpoint.clone()).map_err(|error| wrong(error.to_string()))?;
    match endpoint.uri().scheme_str() {
        Some("http") => {}
        Some("https") => {
            endpoint = endpoint
                .tls_config(ClientTlsConfig::new().with_native_roots())
                .map_err(|error| wrong(error.to_string()))?;
        }
        _ => return Err(wrong("it must begin with http:// or https://".to_owned())),
    }
    if endpoint.uri().host().is_none_or(str::is_empty) {
        return Err(wrong("it names no host".to_owned()));
    }
    let connect_timeout = config.request_timeout;
    let connector = tower::service_fn(move |uri: Uri| connect(uri, own.clone(), connect_timeout));
    Ok(endpoint.executor(meter.clone()).connect_with_connector_lazy(connector))
}

async fn connect(
    uri: Uri,
    own: OwnSockets,
    connect_timeout: Duration,
) -> std::io::Result<TokioIo<TcpStream>> {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    let stream = timeout(connect_timeout, TcpStream::connect((host, port))).await??;
    stream.set_nodelay(true)?;
    own.opened(stream.local_addr()?, stream.peer_addr()?);
    Ok(TokioIo::new(stream))
}
