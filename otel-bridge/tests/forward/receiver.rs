//! Real OTLP servers that answer by script, and keep what they accepted.

use std::collections::VecDeque;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::codec::CompressionEncoding;
use tonic::{Request, Status};

/// What a server does with its next request; it accepts where the script has ended.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Accept,
    Partial(i64),
    Slow(Duration),
    Grpc(Status),
    Http(u16, Option<&'static str>),
}

/// What was accepted: the signal, the headers, and the protobuf bytes.
#[derive(Debug, Clone)]
pub(crate) struct Accepted {
    pub(crate) signal: String,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Vec<u8>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Receiver {
    script: Arc<Mutex<VecDeque<Reply>>>,
    accepted: Arc<Mutex<Vec<Accepted>>>,
    attempts: Arc<Mutex<usize>>,
}

impl Receiver {
    pub(crate) fn new(script: impl IntoIterator<Item = Reply>) -> Self {
        let script = Arc::new(Mutex::new(script.into_iter().collect()));
        Self { script, ..Self::default() }
    }

    pub(crate) fn accepted(&self) -> Vec<Accepted> {
        self.accepted.lock().unwrap().clone()
    }

    pub(crate) fn attempts(&self) -> usize {
        *self.attempts.lock().unwrap()
    }

    /// Serves OTLP/gRPC for traces until the handle is dropped.
    pub(crate) async fn serve_grpc(&self, at: SocketAddr) -> (SocketAddr, AbortOnDropHandle<()>) {
        let listener = TcpListener::bind(at).await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = TraceServiceServer::new(self.clone())
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd);
        let server = tonic::transport::Server::builder().add_service(service);
        let serving = server.serve_with_incoming(TcpListenerStream::new(listener));
        (address, AbortOnDropHandle::new(tokio::spawn(async move { serving.await.unwrap() })))
    }

    /// Serves OTLP/HTTP until the handle is dropped.
    pub(crate) async fn serve_http(&self) -> (SocketAddr, AbortOnDropHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new().route("/v1/{signal}", post(export));
        let routes = routes.route("/v1development/{signal}", post(export)).with_state(self.clone());
        let serving = async move { axum::serve(listener, routes).await.unwrap() };
        (address, AbortOnDropHandle::new(tokio::spawn(serving)))
    }

    async fn next(&self) -> Reply {
        *self.attempts.lock().unwrap() += 1;
        let reply = self.script.lock().unwrap().pop_front().unwrap_or(Reply::Accept);
        if let Reply::Slow(time) = reply {
            tokio::time::sleep(time).await;
        }
        reply
    }

    fn keep(&self, signal: &str, headers: HeaderMap, payload: Vec<u8>) {
        let accepted = Accepted { signal: signal.to_owned(), headers, payload };
        self.accepted.lock().unwrap().push(accepted);
    }
}

fn partial(rejected_spans: i64) -> ExportTraceServiceResponse {
    let error_message = "not these".to_owned();
    let partial = ExportTracePartialSuccess { rejected_spans, error_message };
    ExportTraceServiceResponse { partial_success: Some(partial) }
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        let reply = self.next().await;
        if let Reply::Grpc(status) = reply {
            return Err(status);
        }
        let (metadata, _, message) = request.into_parts();
        self.keep("traces", metadata.into_headers(), message.encode_to_vec());
        Ok(tonic::Response::new(match reply {
            Reply::Partial(rejected) => partial(rejected),
            _ => ExportTraceServiceResponse::default(),
        }))
    }
}

async fn export(
    State(receiver): State<Receiver>,
    Path(signal): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let reply = receiver.next().await;
    if let Reply::Http(code, retry_after) = reply {
        let mut answer = StatusCode::from_u16(code).unwrap().into_response();
        if let Some(value) = retry_after {
            answer.headers_mut().insert("retry-after", HeaderValue::from_static(value));
        }
        return answer;
    }
    let payload = unpack(headers.get("content-encoding"), &body);
    receiver.keep(&signal, headers, payload);
    let message = match reply {
        Reply::Partial(rejected) => partial(rejected),
        _ => ExportTraceServiceResponse::default(),
    };
    ([("content-type", "application/x-protobuf")], message.encode_to_vec()).into_response()
}

fn unpack(encoding: Option<&HeaderValue>, body: &[u8]) -> Vec<u8> {
    match encoding.map(HeaderValue::as_bytes) {
        Some(b"gzip") => {
            let mut out = Vec::new();
            flate2::read::GzDecoder::new(body).read_to_end(&mut out).unwrap();
            out
        }
        Some(b"zstd") => zstd::decode_all(body).unwrap(),
        _ => body.to_vec(),
    }
}
