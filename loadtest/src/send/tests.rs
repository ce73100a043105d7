//! Sending against real OTLP servers in the same process.

use std::collections::VecDeque;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Mutex;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use clap::Parser;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::codec::CompressionEncoding;
use tonic::{Response, Status};

use super::*;
use crate::acked::Acked;
use crate::cli::{Cli, Command};

/// Keeps span ids; fails the first requests as its script says.
#[derive(Debug, Clone, Default)]
struct Server {
    span_ids: Arc<Mutex<Vec<u64>>>,
    script: Arc<Mutex<VecDeque<u16>>>,
}

impl Server {
    fn take(&self, request: ExportTraceServiceRequest) {
        let scopes = request.resource_spans.into_iter().flat_map(|it| it.scope_spans);
        let spans = scopes.flat_map(|it| it.spans);
        let ids = spans.map(|it| u64::from_be_bytes(it.span_id.try_into().unwrap()));
        self.span_ids.lock().unwrap().extend(ids);
    }

    fn sorted(&self) -> Vec<u64> {
        let mut ids = self.span_ids.lock().unwrap().clone();
        ids.sort_unstable();
        ids
    }

    async fn serve(&self, protocol: &str) -> (SocketAddr, AbortOnDropHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = if protocol == "grpc" {
            let service = TraceServiceServer::new(self.clone())
                .accept_compressed(CompressionEncoding::Gzip)
                .accept_compressed(CompressionEncoding::Zstd);
            let server = tonic::transport::Server::builder().add_service(service);
            let serving = server.serve_with_incoming(TcpListenerStream::new(listener));
            tokio::spawn(async move { serving.await.unwrap() })
        } else {
            let routes = Router::new().route("/v1/{signal}", post(export)).with_state(self.clone());
            tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() })
        };
        (address, AbortOnDropHandle::new(task))
    }
}

#[tonic::async_trait]
impl TraceService for Server {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        match self.script.lock().unwrap().pop_front() {
            Some(503) => return Err(Status::unavailable("later")),
            Some(_) => return Err(Status::invalid_argument("never")),
            None => {}
        }
        self.take(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn export(
    State(server): State<Server>,
    Path(signal): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    if let Some(code) = server.script.lock().unwrap().pop_front() {
        return StatusCode::from_u16(code).unwrap();
    }
    let body = match headers.get("content-encoding").map(|it| it.to_str().unwrap()) {
        Some("gzip") => {
            let mut out = Vec::new();
            flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut out).unwrap();
            out
        }
        Some("zstd") => zstd::decode_all(&body[..]).unwrap(),
        _ => body.to_vec(),
    };
    if signal == "traces" {
        server.take(ExportTraceServiceRequest::decode(&body[..]).unwrap());
    }
    StatusCode::OK
}

/// Sends three thousand items as `extra` says; gives the summary and the record.
async fn check(server: &Server, protocol: &str, extra: &str) -> (Summary, Acked) {
    let (address, _serving) = server.serve(protocol).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("acked");
    let line = format!(
        "icecore-loadtest send --items 3000 --endpoint http://{address} --protocol {protocol} \
         --acked {} {extra}",
        path.display()
    );
    let Command::Send(arguments) = Cli::parse_from(line.split_whitespace()).command else {
        panic!("`send` was parsed as something else");
    };
    let summary = run(arguments).await.unwrap();
    (summary, Acked::read(&path).unwrap())
}

/// Scenario: both protocols, each compression, preloaded and not.
/// Guarantees: every span arrives and is recorded as acknowledged.
#[tokio::test]
async fn every_way_of_sending_arrives() {
    for protocol in ["grpc", "http"] {
        for extra in ["", "--compression gzip --preload", "--compression zstd --in-flight 1"] {
            let server = Server::default();
            let (summary, acked) = check(&server, protocol, extra).await;
            assert!(summary.complete(), "{protocol} {extra}: {summary}");
            assert_eq!(summary.acked, 3_000);
            assert_eq!(acked.ids, server.sorted(), "{protocol} {extra}");
            assert_eq!(acked.run, summary.run);
        }
    }
}

/// Scenario: a server that asks to come back twice, then refuses one request for good.
/// Guarantees: the first two are sent again; the third is not recorded, and the summary says so.
#[tokio::test]
async fn only_acknowledged_spans_are_recorded() {
    for protocol in ["grpc", "http"] {
        let server = Server::default();
        server.script.lock().unwrap().extend([503, 503, 400]);
        let (summary, acked) = check(&server, protocol, "--in-flight 2").await;
        assert_eq!((summary.retries, summary.uncertain), (2, 0), "{protocol}: {summary}");
        assert!(summary.refused >= 1 && !summary.complete());
        assert_eq!(summary.acked + summary.refused, 3_000);
        assert_eq!(acked.ids, server.sorted(), "{protocol}");
    }
}

/// Scenario: nobody listens.
/// Guarantees: tried until it is given up, and counted as that.
#[tokio::test]
async fn an_absent_server_is_given_up() {
    for protocol in ["grpc", "http"] {
        let line = format!(
            "icecore-loadtest send --items 10 --endpoint http://127.0.0.1:9 --protocol {protocol} \
             --give-up-after 0.2"
        );
        let Command::Send(arguments) = Cli::parse_from(line.split_whitespace()).command else {
            panic!("`send` was parsed as something else");
        };
        let summary = run(arguments).await.unwrap();
        assert_eq!(summary.given_up, 10, "{protocol}: {summary}");
    }
}

/// Scenario: logs and metrics at a rate.
/// Guarantees: all of them are accepted, and it takes the time that the rate says.
#[tokio::test]
async fn other_signals_are_sent_at_a_rate() {
    for signal in ["logs", "metrics"] {
        let started = Instant::now();
        let extra = format!("--signal {signal} --rate 6000");
        let (summary, acked) = check(&Server::default(), "http", &extra).await;
        assert!(summary.complete() && acked.ids.len() as u64 == summary.acked, "{summary}");
        assert!(started.elapsed() >= Duration::from_millis(300), "{signal} came too soon");
    }
}
