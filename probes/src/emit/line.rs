//! The way to the receiver, and how often it is tried.
//!
//! Invariant: whoever sends knows what became of it before the next is sent.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::collector::profiles::v1development::profiles_service_client::ProfilesServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint, Uri};
use tonic::{Code, Request, Status};
use tracing::{debug, warn};

use crate::budget::Meter;

use super::metrics::{EmitMetrics, Outcome};
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
        Ok(Self { config: Arc::new(config), metrics, channel, headers, compress })
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
        loop {
            let status = match self.attempt(export, deadline).await {
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
                deadline = Some(Instant::now() + self.config.drain_within);
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
                    deadline = Some(Instant::now() + self.config.drain_within);
                }
            }
            wait = (wait * 2).min(self.config.retry_max);
        }
    }

    async fn attempt(&self, export: &Export, deadline: Option<Instant>) -> Result<u64, Status> {
        let limit = Instant::now() + self.config.request_timeout;
        let limit = deadline.map_or(limit, |deadline| deadline.min(limit));
        let answer = timeout_at(limit, self.call(export)).await;
        answer.unwrap_or_else(|_elapsed| Err(Status::deadline_exceeded("no answer in time")))
    }

    async fn call(&self, export: &Export) -> Result<u64, Status> {
        match export {
            Export::Traces(traces) => {
                let mut client = TraceServiceClient::new(self.channel.clone());
                if self.compress {
                    client = client.send_compressed(CompressionEncoding::Zstd);
                }
                let answer = client.export(self.request(traces.clone())).await?.into_inner();
                Ok(answer.partial_success.map_or(0, |partial| {
                    rejected("spans", partial.rejected_spans, &partial.error_message)
                }))
            }
            Export::Logs(logs) => {
                let mut client = LogsServiceClient::new(self.channel.clone());
                if self.compress {
                    client = client.send_compressed(CompressionEncoding::Zstd);
                }
                let answer = client.export(self.request(logs.clone())).await?.into_inner();
                Ok(answer.partial_success.map_or(0, |partial| {
                    rejected("log records", partial.rejected_log_records, &partial.error_message)
                }))
            }
            Export::Profiles(profiles) => {
                let mut client = ProfilesServiceClient::new(self.channel.clone());
                if self.compress {
                    client = client.send_compressed(CompressionEncoding::Zstd);
                }
                let answer = client.export(self.request(profiles.clone())).await?.into_inner();
                Ok(answer.partial_success.map_or(0, |partial| {
                    rejected("profiles", partial.rejected_profiles, &partial.error_message)
                }))
            }
            Export::Metrics(metrics) => {
                let mut client = MetricsServiceClient::new(self.channel.clone());
                if self.compress {
                    client = client.send_compressed(CompressionEncoding::Zstd);
                }
                let answer = client.export(self.request(metrics.clone())).await?.into_inner();
                Ok(answer.partial_success.map_or(0, |partial| {
                    rejected("data points", partial.rejected_data_points, &partial.error_message)
                }))
            }
        }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.headers.clone();
        request
    }
}

/// What is sent in one request.
#[derive(Debug)]
pub(super) enum Export {
    Traces(ExportTraceServiceRequest),
    Logs(ExportLogsServiceRequest),
    Metrics(ExportMetricsServiceRequest),
    Profiles(ExportProfilesServiceRequest),
}

impl Export {
    /// A receiver that does not know profiles may know them after its next update.
    fn refusal(&self, status: &Status) -> Outcome {
        match (self, status.code()) {
            (Self::Profiles(_), Code::Unimplemented) => Outcome::Unimplemented,
            _ => Outcome::Refused,
        }
    }
}

fn rejected(what: &str, count: i64, message: &str) -> u64 {
    if count > 0 || !message.is_empty() {
        warn!(what, count, message, "export taken in part");
    }
    u64::try_from(count).unwrap_or(0)
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
