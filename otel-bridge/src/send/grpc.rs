//! OTLP/gRPC with the message as bytes.
//!
//! tonic's own client would pack each attempt anew, on the runtime's threads; here its channel
//! carries frames that were packed before.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use http::uri::PathAndQuery;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use tonic::body::Body;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tower::{Service, ServiceExt};

use super::{ANSWER_BYTES_MAX, Packed, chain, headers, response};
use crate::verdict::Answer;
use crate::{Destination, Error};

#[derive(Debug)]
pub(crate) struct GrpcClient {
    channel: Channel,
    base: Uri,
    headers: HeaderMap,
    timeout: Duration,
}

impl GrpcClient {
    pub(crate) fn new(destination: &Destination) -> Result<Self, Error> {
        let failed = |source| Error::Client { name: destination.name.clone(), source };
        let endpoint = Endpoint::from_shared(destination.url.to_string());
        let mut endpoint = endpoint
            .map_err(|error| failed(error.into()))?
            .connect_timeout(destination.timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10));
        if destination.url.scheme() == "https" {
            let tls = ClientTlsConfig::new().with_native_roots();
            endpoint = endpoint.tls_config(tls).map_err(|error| failed(error.into()))?;
        }
        let base = endpoint.uri().clone();
        let mut headers = headers(destination)?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        if let Some(encoding) = destination.compression.encoding() {
            headers.insert("grpc-encoding", HeaderValue::from_static(encoding));
        }
        Ok(Self { channel: endpoint.connect_lazy(), base, headers, timeout: destination.timeout })
    }

    pub(crate) async fn send(&self, packed: &Packed) -> Answer {
        let exchange = tokio::time::timeout(self.timeout, self.exchange(packed));
        match exchange.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(message)) => Answer::Unreachable { message },
            Err(_elapsed) => Answer::TimedOut,
        }
    }

    /// Sends one frame and reads the answer to its trailers; the error is a broken connection.
    async fn exchange(&self, packed: &Packed) -> Result<Answer, String> {
        let mut channel = self.channel.clone();
        let ready = channel.ready().await.map_err(|error| chain(&error))?;
        let answer = ready.call(self.request(packed)?).await.map_err(|error| chain(&error))?;
        if !answer.status().is_success() {
            return Ok(http_answer(&answer));
        }
        if let Some(status) = Status::from_header_map(answer.headers()) {
            return Ok(grpc_answer(&status, &[]));
        }
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| chain(error.as_ref()))?;
        let status = body.trailers().and_then(Status::from_header_map);
        let status = status.ok_or("the answer ended without a grpc-status")?;
        Ok(grpc_answer(&status, &body.to_bytes()))
    }

    fn request(&self, packed: &Packed) -> Result<Request<Body>, String> {
        let mut uri = self.base.clone().into_parts();
        uri.path_and_query = Some(PathAndQuery::from_static(packed.signal.grpc_path()));
        let uri = Uri::from_parts(uri).map_err(|error| error.to_string())?;
        let body = Body::new(Full::<Bytes>::new(packed.body.clone()));
        let mut request = Request::new(body);
        *request.method_mut() = http::Method::POST;
        *request.version_mut() = http::Version::HTTP_2;
        *request.uri_mut() = uri;
        request.headers_mut().clone_from(&self.headers);
        Ok(request)
    }
}

/// A proxy's word, without a gRPC status of its own.
fn http_answer(answer: &Response<Body>) -> Answer {
    if let Some(status) = Status::from_header_map(answer.headers()) {
        return grpc_answer(&status, &[]);
    }
    let message = "an HTTP status without a gRPC one".to_owned();
    Answer::Http { status: answer.status(), retry_after: None, message }
}

/// The meaning of a status; `frame` is what came before it.
fn grpc_answer(status: &Status, frame: &[u8]) -> Answer {
    if status.code() == Code::Ok {
        return response::accepted(frame.get(5..).unwrap_or_default());
    }
    let retry_info = status.get_details_retry_info().and_then(|info| info.retry_delay);
    Answer::Grpc { code: status.code(), retry_info, message: status.message().to_owned() }
}
