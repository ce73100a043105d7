//! The task that batches, sends and retries.
//!
//! Invariant: one batch is under way at a time; its bytes are given back to the queue when its
//! fate is known, and not before.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::ResourceMetrics;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint, Uri};
use tonic::{Request, Status};
use tracing::{debug, warn};

use super::metrics::{EmitMetrics, Outcome};
use super::verdict::{Verdict, verdict};
use super::{EmitConfig, EmitError, Item, OwnSockets};
use crate::histogram::scope;

/// The sending task, not yet running.
#[derive(Debug)]
pub struct EmitTask {
    config: EmitConfig,
    waiting: Waiting,
    held_bytes: Arc<AtomicUsize>,
    metrics: Arc<EmitMetrics>,
    channel: Channel,
    headers: MetadataMap,
    compress: bool,
}

/// What waits to be sent.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) spans: mpsc::Receiver<Item>,
    pub(super) collections: mpsc::Receiver<Item>,
}

impl Waiting {
    /// The next item, collections first; none when nobody can add to either any more.
    async fn recv(&mut self) -> Option<Item> {
        tokio::select! {
            biased;
            Some(item) = self.collections.recv() => Some(item),
            item = self.spans.recv() => item,
        }
    }

    fn try_recv(&mut self) -> Option<Item> {
        self.collections.try_recv().or_else(|_| self.spans.try_recv()).ok()
    }

    fn close(&mut self) {
        self.spans.close();
        self.collections.close();
    }
}

/// What goes in one request each.
#[derive(Debug, Default)]
struct Batch {
    spans: Vec<(Arc<Resource>, Box<Span>)>,
    logs: Vec<(Arc<Resource>, Box<LogRecord>)>,
    metrics: Vec<ResourceMetrics>,
    metrics_items: u64,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, item: Item) {
        match item {
            Item::Span { resource, span, bytes } => {
                self.spans.push((resource, span));
                self.bytes += bytes;
            }
            Item::Log { resource, record, bytes } => {
                self.logs.push((resource, record));
                self.bytes += bytes;
            }
            Item::Metrics { metrics, bytes } => {
                self.metrics.extend(metrics);
                self.metrics_items += 1;
                self.bytes += bytes;
            }
        }
    }

    fn full(&self, config: &EmitConfig) -> bool {
        self.spans.len() + self.logs.len() >= config.batch_spans_max
            || self.bytes >= config.batch_bytes_max
    }
}

impl EmitTask {
    pub(super) fn new(
        config: EmitConfig,
        waiting: Waiting,
        held_bytes: Arc<AtomicUsize>,
        metrics: Arc<EmitMetrics>,
        own: OwnSockets,
    ) -> Result<Self, EmitError> {
        let channel = channel(&config, own)?;
        let headers = headers(&config)?;
        let compress = config.compress;
        Ok(Self { config, waiting, held_bytes, metrics, channel, headers, compress })
    }

    /// Sends until `stop`, then drains. Cancel `stop` after [`crate::pipeline::Pipeline::finish`].
    pub async fn run(mut self, stop: CancellationToken) {
        while let Some(batch) = self.next_batch(&stop).await {
            self.deliver(batch, &stop, None).await;
        }
        let deadline = Instant::now() + self.config.drain_within;
        self.waiting.close();
        while let Some(batch) = self.next_held() {
            self.deliver(batch, &stop, Some(deadline)).await;
        }
    }

    /// The next batch, as soon as it is full or old enough; none at stop or when nobody can add to
    /// it any more.
    async fn next_batch(&mut self, stop: &CancellationToken) -> Option<Batch> {
        let first = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            first = self.waiting.recv() => first?,
        };
        let mut batch = Batch::default();
        batch.push(first);
        let leaves = Instant::now() + self.config.batch_after;
        while !batch.full(&self.config) {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                item = self.waiting.recv() => match item {
                    Some(item) => batch.push(item),
                    None => break,
                },
                () = sleep_until(leaves) => break,
            }
        }
        Some(batch)
    }

    /// A batch of what is in the queue, without waiting.
    fn next_held(&mut self) -> Option<Batch> {
        let mut batch = Batch::default();
        batch.push(self.waiting.try_recv()?);
        while !batch.full(&self.config) {
            let Some(item) = self.waiting.try_recv() else { break };
            batch.push(item);
        }
        Some(batch)
    }

    async fn deliver(&mut self, batch: Batch, stop: &CancellationToken, deadline: Option<Instant>) {
        let Batch { spans, logs, metrics, metrics_items, bytes } = batch;
        if !spans.is_empty() {
            let count = spans.len() as u64;
            let request = traces(spans);
            let (outcome, rejected) = self.send(&Export::Traces(request), stop, deadline).await;
            let rejected = rejected.min(count);
            self.metrics.spans(outcome, count - rejected);
            self.metrics.spans(Outcome::Refused, rejected);
        }
        if !logs.is_empty() {
            let count = logs.len() as u64;
            let request = records(logs);
            let (outcome, rejected) = self.send(&Export::Logs(request), stop, deadline).await;
            let rejected = rejected.min(count);
            self.metrics.logs(outcome, count - rejected);
            self.metrics.logs(Outcome::Refused, rejected);
        }
        if !metrics.is_empty() {
            let mut all = Outcome::Sent;
            for request in requests(metrics, self.config.batch_bytes_max) {
                let (outcome, _) = self.send(&Export::Metrics(request), stop, deadline).await;
                all = if outcome == Outcome::Sent { all } else { outcome };
            }
            self.metrics.metrics(all, metrics_items);
        }
        self.held_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Sends until the fate of the export is known. Returns how many items of it were rejected.
    async fn send(
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
                    return (Outcome::Refused, 0);
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
enum Export {
    Traces(ExportTraceServiceRequest),
    Logs(ExportLogsServiceRequest),
    Metrics(ExportMetricsServiceRequest),
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

/// Items by what they are of.
fn grouped<T>(items: Vec<(Arc<Resource>, Box<T>)>) -> impl Iterator<Item = (Resource, Vec<T>)> {
    // The resources are held while their addresses stand for them.
    let mut groups: HashMap<*const Resource, (Arc<Resource>, Vec<T>)> = HashMap::new();
    for (resource, item) in items {
        let group = groups.entry(Arc::as_ptr(&resource)).or_insert_with(|| (resource, Vec::new()));
        group.1.push(*item);
    }
    groups.into_values().map(|(resource, items)| (Resource::clone(&resource), items))
}

/// In requests of no more than so many bytes, but for a resource that has more alone. A collection
/// comes whole, however many peers and processes it tells of.
fn requests(metrics: Vec<ResourceMetrics>, bytes_max: usize) -> Vec<ExportMetricsServiceRequest> {
    let mut requests: Vec<ExportMetricsServiceRequest> = Vec::new();
    let mut bytes = usize::MAX;
    for one in metrics {
        let more = one.encoded_len();
        bytes = bytes.saturating_add(more);
        match requests.last_mut() {
            Some(request) if bytes <= bytes_max => request.resource_metrics.push(one),
            _ => {
                requests.push(ExportMetricsServiceRequest { resource_metrics: vec![one] });
                bytes = more;
            }
        }
    }
    requests
}

fn traces(spans: Vec<(Arc<Resource>, Box<Span>)>) -> ExportTraceServiceRequest {
    let one = |(resource, spans)| ResourceSpans {
        resource: Some(resource),
        scope_spans: vec![ScopeSpans { scope: Some(scope()), spans, schema_url: String::new() }],
        schema_url: String::new(),
    };
    ExportTraceServiceRequest { resource_spans: grouped(spans).map(one).collect() }
}

fn records(logs: Vec<(Arc<Resource>, Box<LogRecord>)>) -> ExportLogsServiceRequest {
    let one = |(resource, log_records)| ResourceLogs {
        resource: Some(resource),
        scope_logs: vec![ScopeLogs {
            scope: Some(scope()),
            log_records,
            schema_url: String::new(),
        }],
        schema_url: String::new(),
    };
    ExportLogsServiceRequest { resource_logs: grouped(logs).map(one).collect() }
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
fn channel(config: &EmitConfig, own: OwnSockets) -> Result<Channel, EmitError> {
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
    Ok(endpoint.connect_with_connector_lazy(connector))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: metrics of many processes, one of which has more to tell than a request may hold.
    /// Guarantees: all of them leave, in order, in requests that are not too long but for that one,
    /// which is alone.
    #[test]
    fn collections_leave_in_parts() {
        let of = |at: usize| ResourceMetrics {
            schema_url: format!("{at}:").repeat(if at == 20 { 900 } else { 10 }),
            ..ResourceMetrics::default()
        };
        let all: Vec<ResourceMetrics> = (0..40).map(of).collect();
        let parts = requests(all.clone(), 200);
        for part in &parts {
            assert!(part.encoded_len() <= 300 || part.resource_metrics.len() == 1);
        }
        assert!(parts.len() > 3);
        let sent: Vec<ResourceMetrics> =
            parts.into_iter().flat_map(|part| part.resource_metrics).collect();
        assert_eq!(sent, all);
        assert!(requests(Vec::new(), 200).is_empty());
    }
}
