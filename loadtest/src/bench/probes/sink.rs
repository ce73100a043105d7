//! An OTLP/gRPC receiver that counts the requests of one server: in spans, and in its histogram.
//!
//! Invariants: it serves until the value and all that watch with it are gone; it is on a thread that comes last
//! where CPUs are short, since a receiver is on another machine, and what it costs is not the agent's.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::profiles::v1development::profiles_service_server::{
    ProfilesService, ProfilesServiceServer,
};
use opentelemetry_proto::tonic::collector::profiles::v1development::{
    ExportProfilesServiceRequest, ExportProfilesServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::codec::CompressionEncoding;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::error::Error;

const SERVED: &str = "http.server.request.duration";
const ASKED: &str = "http.client.request.duration";
/// A first span that has not come by then will not.
const FIRST_WITHIN: Duration = Duration::from_secs(20);
/// Histograms are sent every ten seconds, spans every one.
const SETTLED_WITHIN: Duration = Duration::from_secs(25);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What has come of one server.
#[derive(Debug)]
struct Watched {
    port: u16,
    spans: AtomicU64,
    counted: AtomicU64,
    asked: AtomicU64,
}

/// Requests of one server: in the histogram of either end, and spans of both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Come {
    pub(super) counted: u64,
    pub(super) asked: u64,
    pub(super) spans: u64,
}

impl Come {
    /// How far the histograms are from so many requests.
    pub(super) fn missed(self, requests: u64) -> [f64; 2] {
        [self.counted, self.asked].map(|counted| counted.abs_diff(requests) as f64)
    }
}

type All = Arc<Mutex<Vec<Arc<Watched>>>>;

/// Receives, and watches one server.
#[derive(Debug)]
pub(super) struct Sink {
    pub(super) endpoint: String,
    /// Where the server listens.
    pub(super) port: u16,
    all: All,
    watched: Arc<Watched>,
    serving: Arc<DropGuard>,
}

impl Sink {
    /// On a port of its own.
    pub(super) async fn serve(port: u16) -> Result<Self, Error> {
        let listen = TcpListener::bind("127.0.0.1:0").await;
        let failed =
            |source| Error::File { action: "listen on", path: "127.0.0.1:0".into(), source };
        let listener = listen.map_err(failed)?;
        let endpoint = format!("http://{}", listener.local_addr().map_err(failed)?);
        let all = All::default();
        let listener = listener.into_std().map_err(failed)?;
        let stop = CancellationToken::new();
        let (receiver, stopped) = (Receiver(Arc::clone(&all)), stop.clone());
        let thread = std::thread::Builder::new().name("sink".to_owned());
        let serving = thread.spawn(move || come_last(receiver, listener, stopped));
        drop(serving.map_err(failed)?);
        let serving = Arc::new(stop.drop_guard());
        let watched = watch(&all, port);
        Ok(Self { endpoint, port, all, watched, serving })
    }

    /// Watches another server as well.
    pub(super) fn watch(&self, port: u16) -> Self {
        Self {
            endpoint: self.endpoint.clone(),
            port,
            all: Arc::clone(&self.all),
            watched: watch(&self.all, port),
            serving: Arc::clone(&self.serving),
        }
    }

    pub(super) fn spans(&self) -> u64 {
        self.watched.spans.load(Ordering::Relaxed)
    }

    /// Requests in the histogram of the server.
    pub(super) fn counted(&self) -> u64 {
        self.watched.counted.load(Ordering::Relaxed)
    }

    /// Requests in that of whoever asks it, which is one process.
    pub(super) fn asked(&self) -> u64 {
        self.watched.asked.load(Ordering::Relaxed)
    }

    /// When the first span has come; requests are sent until then.
    pub(super) async fn first_span<F>(&self, ask: impl Fn() -> F) -> Result<Instant, Error>
    where
        F: Future<Output = Result<(), Error>>,
    {
        let end = Instant::now() + FIRST_WITHIN;
        while self.spans() == 0 {
            if Instant::now() > end {
                return Err(Error::TooLong { seconds: FIRST_WITHIN.as_secs() });
            }
            ask().await?;
            sleep(LOOK_EVERY).await;
        }
        Ok(Instant::now())
    }

    /// What has come so far.
    pub(super) fn come(&self) -> Come {
        Come { counted: self.counted(), asked: self.asked(), spans: self.spans() }
    }

    /// What has come since then, once so many requests are counted at both ends, or nothing more comes.
    pub(super) async fn settled(&self, requests: u64, then: Come) -> Come {
        let end = Instant::now() + SETTLED_WITHIN;
        let least = |now: Come| (now.counted - then.counted).min(now.asked - then.asked);
        while least(self.come()) < requests && Instant::now() < end {
            sleep(LOOK_EVERY).await;
        }
        sleep(Duration::from_secs(2)).await;
        let Come { counted, asked, spans } = self.come();
        Come {
            counted: counted - then.counted,
            asked: asked - then.asked,
            spans: spans - then.spans,
        }
    }
}

/// Receives until it is stopped. Who sends to it says so where it fails.
fn come_last(receiver: Receiver, listener: std::net::TcpListener, stop: CancellationToken) {
    // SAFETY: the call takes numbers only; 0 is this thread, which has the rest of its life to be slow.
    let _: i32 = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return;
    };
    runtime.block_on(async {
        let Ok(listener) = TcpListener::from_std(listener) else { return };
        let zstd = CompressionEncoding::Zstd;
        let server = Server::builder()
            .add_service(TraceServiceServer::new(receiver.clone()).accept_compressed(zstd))
            .add_service(MetricsServiceServer::new(receiver.clone()).accept_compressed(zstd))
            .add_service(LogsServiceServer::new(receiver.clone()).accept_compressed(zstd))
            .add_service(ProfilesServiceServer::new(receiver).accept_compressed(zstd));
        let serve = server.serve_with_incoming(TcpIncoming::from(listener));
        drop(stop.run_until_cancelled(serve).await);
    });
}

fn watch(all: &All, port: u16) -> Arc<Watched> {
    let zero = || AtomicU64::new(0);
    let watched = Arc::new(Watched { port, spans: zero(), counted: zero(), asked: zero() });
    all.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&watched));
    watched
}

#[derive(Debug, Clone)]
struct Receiver(All);

impl Receiver {
    fn each(&self, with: impl Fn(&Watched)) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().for_each(|watched| with(watched));
    }
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let scopes = request.into_inner().resource_spans.into_iter().flat_map(|it| it.scope_spans);
        let ports: Vec<u16> = scopes
            .flat_map(|scope| scope.spans)
            .filter_map(|span| port(&span.attributes))
            .collect();
        self.each(|watched| {
            let count = ports.iter().filter(|port| **port == watched.port).count() as u64;
            watched.spans.fetch_add(count, Ordering::Relaxed);
        });
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Receiver {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let scopes =
            request.into_inner().resource_metrics.into_iter().flat_map(|it| it.scope_metrics);
        let metrics: Vec<Metric> = scopes.flat_map(|scope| scope.metrics).collect();
        let (served, asked) = (points(&metrics, SERVED), points(&metrics, ASKED));
        self.each(|watched| {
            // Cumulative, and one process is at either end.
            watched.counted.fetch_max(of_port(&served, watched.port), Ordering::Relaxed);
            watched.asked.fetch_max(of_port(&asked, watched.port), Ordering::Relaxed);
        });
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

/// Taken and not looked at, as profiles are.
#[tonic::async_trait]
impl LogsService for Receiver {
    async fn export(
        &self,
        _: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl ProfilesService for Receiver {
    async fn export(
        &self,
        _: Request<ExportProfilesServiceRequest>,
    ) -> Result<Response<ExportProfilesServiceResponse>, Status> {
        Ok(Response::new(ExportProfilesServiceResponse::default()))
    }
}

/// The counts of a histogram, with the port of the server.
fn points(metrics: &[Metric], name: &str) -> Vec<(u16, u64)> {
    let named = metrics.iter().filter(|metric| metric.name == name);
    let points = named.filter_map(|metric| match &metric.data {
        Some(Data::Histogram(histogram)) => Some(&histogram.data_points),
        _ => None,
    });
    points.flatten().filter_map(|point| Some((port(&point.attributes)?, point.count))).collect()
}

fn of_port(points: &[(u16, u64)], port: u16) -> u64 {
    points.iter().filter(|(of, _)| *of == port).map(|(_, count)| count).sum()
}

/// Where the server of a request listens.
fn port(attributes: &[KeyValue]) -> Option<u16> {
    let found = attributes.iter().find(|entry| entry.key == "server.port")?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::IntValue(port) => u16::try_from(*port).ok(),
        _ => None,
    }
}
