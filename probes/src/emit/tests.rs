//! The emitter against a real OTLP/gRPC server.

use std::collections::VecDeque;
use std::sync::Mutex;

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::profiles::v1development::ResourceProfiles;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::*;

/// What a receiver answers before it answers well.
type Answers = VecDeque<Result<ExportTraceServiceResponse, Status>>;

#[derive(Debug, Default)]
struct Receiver {
    answers: Mutex<Answers>,
    spans: Mutex<Vec<String>>,
    requests: Mutex<u32>,
    metrics: Mutex<u32>,
    token: Mutex<Option<String>>,
}

#[derive(Debug, Clone)]
struct Service(Arc<Receiver>);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        *self.0.requests.lock().unwrap() += 1;
        let token = request.metadata().get("x-token").map(|one| one.to_str().unwrap().to_owned());
        *self.0.token.lock().unwrap() = token;
        let answer =
            self.0.answers.lock().unwrap().pop_front().unwrap_or(Ok(Default::default()))?;
        let scopes =
            request.into_inner().resource_spans.into_iter().flat_map(|one| one.scope_spans);
        let names = scopes.flat_map(|scope| scope.spans).map(|span| span.name);
        self.0.spans.lock().unwrap().extend(names);
        Ok(Response::new(answer))
    }
}

#[tonic::async_trait]
impl MetricsService for Service {
    async fn export(
        &self,
        _request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        *self.0.metrics.lock().unwrap() += 1;
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

async fn serve(listener: TcpListener, receiver: Arc<Receiver>) {
    let zstd = CompressionEncoding::Zstd;
    let service = Service(receiver);
    tonic::transport::Server::builder()
        .add_service(TraceServiceServer::new(service.clone()).accept_compressed(zstd))
        .add_service(MetricsServiceServer::new(service).accept_compressed(zstd))
        .serve_with_incoming(TcpListenerStream::new(listener))
        .await
        .unwrap();
}

struct Running {
    emitter: Emitter,
    registry: Registry,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn start(port: u16, config: EmitConfig) -> Self {
        let config = EmitConfig {
            endpoint: format!("http://127.0.0.1:{port}"),
            headers: vec![("X-Token".to_owned(), Secret::new("s3cret"))],
            batch_after: Duration::from_millis(20),
            retry_first: Duration::from_millis(20),
            retry_max: Duration::from_millis(100),
            ..config
        };
        let mut registry = Registry::default();
        let (emitter, task) =
            open(config, (&Meter::default(), &Memory::default()), &mut registry).unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(task.run(stop.clone()));
        Self { emitter, registry, stop, task }
    }

    fn spans(&self, from: usize, to: usize) {
        let resources = [Arc::new(Resource::default()), Arc::default()];
        for at in from..to {
            let span = Span { name: at.to_string(), ..Span::default() };
            let mut outbox = Outbox::default();
            outbox.add(&self.emitter, &resources[at % 2], &span.encode_to_vec());
            outbox.hand_over(&self.emitter);
        }
    }

    /// Stops, and tells what the counter of `outcome` says.
    async fn stop(self) -> impl Fn(&str) -> u64 {
        self.stop_and_tell("spans").await
    }

    async fn stop_and_tell(self, items: &str) -> impl Fn(&str) -> u64 {
        self.stop.cancel();
        self.task.await.unwrap();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let name = format!("icecore_probes_emitted_{items}_total");
        move |outcome| {
            let start = format!("{name}{{outcome=\"{outcome}\"}} ");
            text.lines()
                .find_map(|line| line.strip_prefix(&start))
                .map_or(0, |n| n.parse().unwrap())
        }
    }
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn sorted(receiver: &Receiver) -> Vec<usize> {
    let mut all: Vec<_> =
        receiver.spans.lock().unwrap().iter().map(|name| name.parse().unwrap()).collect();
    all.sort_unstable();
    all
}

/// Scenario: more spans than fit one batch, and metrics; then the stop.
/// Guarantees: each arrives once, with the headers; the stop drains; own sockets are known.
#[tokio::test]
async fn everything_arrives_once() {
    let (listener, port) = listen().await;
    let receiver = Arc::new(Receiver::default());
    tokio::spawn(serve(listener, Arc::clone(&receiver)));
    let running =
        Running::start(port, EmitConfig { batch_spans_max: 100, ..EmitConfig::default() });
    running.spans(0, 1_000);
    running.emitter.metrics(vec![ResourceMetrics::default()]);
    let own = running.emitter.own_sockets();
    let outcome = running.stop().await;
    assert_eq!(sorted(&receiver), (0..1_000).collect::<Vec<_>>());
    assert_eq!(*receiver.metrics.lock().unwrap(), 1);
    assert!(*receiver.requests.lock().unwrap() >= 10);
    assert_eq!(receiver.token.lock().unwrap().as_deref(), Some("s3cret"));
    assert_eq!(outcome("sent"), 1_000);
    let (local, remote) = own.newest.read().unwrap()[0];
    assert_eq!(remote.port(), port);
    assert!(own.contains(local, remote) && own.contains(remote, local));
    assert!(!own.contains(local, local));
}

/// Scenario: the receiver is away, comes, is full twice (with and without a time), refuses once.
/// Guarantees: nothing is lost but what was refused for good, and that is counted.
#[tokio::test]
async fn away_full_and_back() {
    let (listener, port) = listen().await;
    drop(listener);
    let running = Running::start(port, EmitConfig::default());
    running.spans(0, 10);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let receiver = Arc::new(Receiver::default());
    let retry = ErrorDetails::with_retry_info(Some(Duration::from_millis(30)));
    let full = Status::with_error_details(Code::ResourceExhausted, "full", retry);
    let partial = ExportTracePartialSuccess { rejected_spans: 3, error_message: "no".to_owned() };
    *receiver.answers.lock().unwrap() = VecDeque::from([
        Err(full),
        Err(Status::unavailable("busy")),
        Ok(ExportTraceServiceResponse { partial_success: Some(partial) }),
        Err(Status::invalid_argument("broken")),
    ]);
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    tokio::spawn(serve(listener, Arc::clone(&receiver)));
    for (from, to) in [(10, 20), (20, 30)] {
        while *receiver.requests.lock().unwrap() < if from == 10 { 3 } else { 4 } {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        running.spans(from, to);
    }
    let outcome = running.stop().await;
    let wanted: Vec<_> = (0..10).chain(20..30).collect();
    assert_eq!(sorted(&receiver), wanted);
    assert_eq!((outcome("sent"), outcome("refused")), (17, 13));
    assert_eq!(*receiver.requests.lock().unwrap(), 5, "what was refused is not sent again");
}

/// Scenario: no receiver ever comes, the queue fills, the stop comes.
/// Guarantees: the stop keeps its deadline, and each span is counted under one outcome.
#[tokio::test]
async fn nobody_is_there() {
    let (listener, port) = listen().await;
    drop(listener);
    let config = EmitConfig {
        queue_spans_max: 50,
        drain_within: Duration::from_millis(300),
        ..EmitConfig::default()
    };
    let running = Running::start(port, config);
    running.spans(0, 200);
    let outcome = tokio::time::timeout(Duration::from_secs(5), running.stop()).await.unwrap();
    assert_eq!(outcome("queue_full"), 150);
    assert_eq!(outcome("stopped"), 50);
}

/// Scenario: the queue of spans is full when histograms come, and the receiver comes later.
/// Guarantees: the histograms arrive.
#[tokio::test]
async fn histograms_have_room_of_their_own() {
    let (listener, port) = listen().await;
    drop(listener);
    let config = EmitConfig { queue_spans_max: 5, queue_bytes_max: 100, ..EmitConfig::default() };
    let running = Running::start(port, config);
    running.spans(0, 100);
    running.emitter.metrics(vec![ResourceMetrics::default()]);
    let receiver = Arc::new(Receiver::default());
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    tokio::spawn(serve(listener, Arc::clone(&receiver)));
    let outcome = running.stop().await;
    assert!(outcome("queue_full") > 0);
    assert_eq!(*receiver.metrics.lock().unwrap(), 1);
}

/// Scenario: a receiver that knows no profiles gets some, and then more, between spans and metrics.
/// Guarantees: those that follow are not sent, and whoever makes profiles is told; each is counted; spans go
/// on as they were, with their compression.
#[tokio::test]
async fn a_receiver_without_profiles() {
    let (listener, port) = listen().await;
    let receiver = Arc::new(Receiver::default());
    tokio::spawn(serve(listener, Arc::clone(&receiver)));
    let running = Running::start(port, EmitConfig::default());
    let unwanted = running.emitter.profiles_unwanted();
    let profiles = |count| ExportProfilesServiceRequest {
        resource_profiles: vec![ResourceProfiles::default(); count],
        ..ExportProfilesServiceRequest::default()
    };
    running.emitter.profiles(profiles(2));
    while !unwanted.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.spans(0, 10);
    running.emitter.profiles(profiles(3));
    let held = Arc::clone(&running.emitter.held_bytes);
    let outcome = running.stop_and_tell("profiles").await;
    assert_eq!((outcome("unimplemented"), outcome("sent")), (5, 0));
    assert_eq!(sorted(&receiver), (0..10).collect::<Vec<_>>());
    assert_eq!(held.load(Ordering::Relaxed), 0);
}

/// Scenario: endpoints and headers that cannot be used.
/// Guarantees: refused at the opening, with the name and without the secret.
#[tokio::test]
async fn wrong_settings() {
    for endpoint in ["", "127.0.0.1:4317", "ftp://x:1", "http://"] {
        let config = EmitConfig { endpoint: endpoint.to_owned(), ..EmitConfig::default() };
        let error = open(config, (&Meter::default(), &Memory::default()), &mut Registry::default())
            .unwrap_err();
        assert!(error.to_string().contains(endpoint), "{error}");
    }
    let headers = vec![("x-token".to_owned(), Secret::new("s3cret\n"))];
    let config = EmitConfig { headers, ..EmitConfig::default() };
    let error = open(config, (&Meter::default(), &Memory::default()), &mut Registry::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("x-token") && !error.contains("s3cret"), "{error}");
}
