//! One attempt over gRPC or HTTP, and what its answer means for the record.
//!
//! Invariant: `Retry` only where the server cannot have stored the request: it said so, or was
//! never reached. Sending again after anything else could make a span appear twice.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, TE};
use http::uri::PathAndQuery;
use http::{Method, Request, Uri, Version};
use http_body_util::{BodyExt, Full};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tower::{Service, ServiceExt};
use url::Url;

use super::packed::Packed;
use crate::cli::{Protocol, SendArgs};
use crate::error::{Error, chain};
use crate::generate::Signal;

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The server has it, but for `rejected` items.
    Acked { rejected: u64 },
    /// The server does not have it and may take it later.
    Retry { after: Option<Duration>, message: String },
    /// The server will never take it.
    Refused(String),
    /// Nobody knows.
    Uncertain(String),
}

#[derive(Debug)]
pub(super) struct Client {
    timeout: Duration,
    wire: Wire,
}

#[derive(Debug)]
enum Wire {
    Grpc { channel: Channel, base: Uri, headers: HeaderMap },
    Http { client: reqwest::Client, base: Url, headers: HeaderMap },
}

impl Client {
    pub(super) fn new(arguments: &SendArgs) -> Result<Self, Error> {
        let SendArgs { endpoint, protocol, compression, timeout, .. } = arguments;
        let encoding = compression.encoding().map(HeaderValue::from_static);
        let mut headers = HeaderMap::new();
        let wire = match protocol {
            Protocol::Grpc => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
                headers.insert(TE, HeaderValue::from_static("trailers"));
                headers.extend(encoding.map(|it| (GRPC_ENCODING, it)));
                let url = endpoint.to_string();
                let made = Endpoint::from_shared(url.clone());
                let made = made.map_err(|error| Error::Endpoint { url, reason: chain(&error) })?;
                Wire::Grpc { base: made.uri().clone(), channel: made.connect_lazy(), headers }
            }
            Protocol::Http => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
                headers.extend(encoding.map(|it| (CONTENT_ENCODING, it)));
                let client = reqwest::Client::builder().no_proxy().build();
                let client = client.map_err(Error::Client)?;
                Wire::Http { client, base: endpoint.clone(), headers }
            }
        };
        Ok(Self { timeout: *timeout, wire })
    }

    pub(super) async fn send(&self, packed: &Packed) -> Outcome {
        let attempt = async {
            match &self.wire {
                Wire::Grpc { channel, base, headers } => {
                    let request = grpc_request(base, headers, packed);
                    send_grpc(channel.clone(), request).await
                }
                Wire::Http { client, base, headers } => {
                    let url = format!(
                        "{}/v1/{}",
                        base.as_str().trim_end_matches('/'),
                        packed.signal.name()
                    );
                    let request = client.post(url).headers(headers.clone());
                    send_http(request.body(packed.body.clone())).await
                }
            }
        };
        let sent = tokio::time::timeout(self.timeout, attempt).await;
        sent.unwrap_or_else(|_elapsed| Outcome::Uncertain("no answer in time".to_owned()))
    }
}

const GRPC_ENCODING: http::HeaderName = http::HeaderName::from_static("grpc-encoding");

fn grpc_request(base: &Uri, headers: &HeaderMap, packed: &Packed) -> Request<Body> {
    let path = PathAndQuery::from_static(match packed.signal {
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    });
    let mut uri = base.clone().into_parts();
    uri.path_and_query = Some(path);
    let mut request = Request::new(Body::new(Full::new(packed.body.clone())));
    *request.uri_mut() = Uri::from_parts(uri).unwrap_or_else(|_| base.clone());
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    request.headers_mut().clone_from(headers);
    request
}

async fn send_grpc(mut channel: Channel, request: Request<Body>) -> Outcome {
    let sent = async { channel.ready().await?.call(request).await }.await;
    let answer = match sent {
        Ok(answer) => answer,
        Err(error) => return broken(&error),
    };
    if let Some(status) = Status::from_header_map(answer.headers()) {
        return judge_grpc(&status, &[]);
    }
    let http_status = answer.status();
    let body = match answer.into_body().collect().await {
        Ok(body) => body,
        Err(error) => return Outcome::Uncertain(chain(&error)),
    };
    match body.trailers().and_then(Status::from_header_map) {
        Some(status) => judge_grpc(&status, &body.to_bytes()),
        None => Outcome::Uncertain(format!("no grpc-status, HTTP status {http_status}")),
    }
}

fn judge_grpc(status: &Status, frame: &[u8]) -> Outcome {
    let after = status.get_details_retry_info().and_then(|info| info.retry_delay);
    let message = format!("{:?}: {}", status.code(), status.message());
    match status.code() {
        Code::Ok => acked(frame.get(5..).unwrap_or_default()),
        Code::ResourceExhausted if after.is_some() => Outcome::Retry { after, message },
        Code::Unavailable => Outcome::Retry { after, message },
        // Retryable by the specification, but the server may have gone on after it gave up.
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::DataLoss => Outcome::Uncertain(message),
        _ => Outcome::Refused(message),
    }
}

async fn send_http(request: reqwest::RequestBuilder) -> Outcome {
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) => return broken(&error),
    };
    let status = answer.status();
    let after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let after = after.and_then(|text| text.parse().ok()).map(Duration::from_secs);
    let body = match answer.bytes().await {
        Ok(body) => body,
        Err(error) => return Outcome::Uncertain(chain(&error)),
    };
    let message = || status.to_string();
    match status.as_u16() {
        200..300 => acked(&body),
        429 | 503 => Outcome::Retry { after, message: message() },
        502 | 504 => Outcome::Uncertain(message()),
        _ => Outcome::Refused(message()),
    }
}

/// The three signals number their fields alike, so one type reads all.
fn acked(message: &[u8]) -> Outcome {
    let response = ExportTraceServiceResponse::decode(message).unwrap_or_default();
    let rejected = response.partial_success.map_or(0, |partial| partial.rejected_spans);
    Outcome::Acked { rejected: u64::try_from(rejected).unwrap_or(0) }
}

/// A connection that was refused carried nothing; any other may have.
fn broken(error: &(dyn StdError + 'static)) -> Outcome {
    let message = chain(error);
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.kind() == io::ErrorKind::ConnectionRefused) {
            return Outcome::Retry { after: None, message };
        }
        cause = error.source();
    }
    Outcome::Uncertain(message)
}
