//! OTLP/gRPC: the `Export` method of each signal, unary.
//!
//! The framing of a unary call is five bytes, read here rather than by generated code, so that the
//! message stays as it was received, its memory is asked for before it is kept, and decompression
//! is the capped one that OTLP/HTTP uses as well, off the runtime's threads.
//!
//! Invariant: every call ends with a gRPC status, whatever was sent.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request as HttpRequest, State};
use axum::response::Response;
use axum::routing::any;
use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Full};
use icecore_store::Signal;

use super::Protocol;
use super::answer::{Accepted, Format, Reason, Refusal};
use super::body;
use super::decompress::Encoding;
use super::intake::{Intake, Request};

const PREFIX_BYTES: usize = 5;
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const CONTENT_TYPE: &str = "application/grpc";

/// The gRPC services.
pub(crate) fn router(intake: Arc<Intake>) -> Router {
    let mut router = Router::new();
    for signal in Signal::ALL {
        let export = move |State(intake), request| export(intake, signal, request);
        router = router.route(signal.grpc_path(), any(export));
    }
    router.fallback(unknown).with_state(intake)
}

async fn export(intake: Arc<Intake>, signal: Signal, request: HttpRequest) -> Response {
    if let Some(refused) = not_grpc(&request) {
        return refused;
    }
    match accept(&intake, signal, request).await {
        Ok(accepted) => success(&accepted),
        Err(refusal) => {
            intake.refused(Protocol::Grpc, Some(signal), &refusal);
            failure(&intake, &refusal)
        }
    }
}

async fn unknown(State(intake): State<Arc<Intake>>, request: HttpRequest) -> Response {
    if let Some(refused) = not_grpc(&request) {
        return refused;
    }
    let refusal = Refusal::new(Reason::NotFound, format!("no method `{}`", request.uri().path()));
    intake.refused(Protocol::Grpc, None, &refusal);
    failure(&intake, &refusal)
}

/// What does not even claim to be gRPC is answered as plain HTTP, as the gRPC protocol asks.
fn not_grpc(request: &HttpRequest) -> Option<Response> {
    let kind = request.headers().get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let status = if request.method() != Method::POST {
        StatusCode::METHOD_NOT_ALLOWED
    } else if !kind.starts_with(CONTENT_TYPE.as_bytes()) {
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    } else {
        return None;
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    Some(response)
}

async fn accept(
    intake: &Intake,
    signal: Signal,
    request: HttpRequest,
) -> Result<Accepted, Refusal> {
    let (head, body) = request.into_parts();
    let encoding = Encoding::of(&head.headers, &ENCODING)?;
    let mut ticket = intake.ticket();
    let mut bounds = intake.body_bounds();
    bounds.bytes_max = bounds.bytes_max.saturating_add(PREFIX_BYTES);
    let body = body::read(body, bounds, &mut ticket).await?;
    let (compressed, body) = unframe(body)?;
    let encoding = if compressed { encoding } else { Encoding::Identity };
    let request = Request { signal, encoding, format: Format::Protobuf, body, ticket };
    intake.accept(Protocol::Grpc, request).await
}

/// The one message of a unary call, and whether it is compressed.
fn unframe(mut body: Bytes) -> Result<(bool, Bytes), Refusal> {
    let malformed = |text: &str| Err(Refusal::new(Reason::Malformed, text));
    if body.len() < PREFIX_BYTES {
        return malformed("the call carries no message");
    }
    let flag = body.get_u8();
    let announced = body.get_u32() as usize;
    if announced != body.len() {
        let text = format!("the message has {} bytes and says {announced}", body.len());
        return Err(Refusal::new(Reason::Malformed, text));
    }
    match flag {
        0 => Ok((false, body)),
        1 => Ok((true, body)),
        _ => malformed("the message's compression flag is neither 0 nor 1"),
    }
}

fn success(accepted: &Accepted) -> Response {
    let message = accepted.protobuf();
    let len = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut framed = Vec::with_capacity(PREFIX_BYTES + message.len());
    framed.push(0);
    framed.extend_from_slice(&len.to_be_bytes());
    framed.extend_from_slice(&message);
    let mut trailers = HeaderMap::new();
    trailers.insert(STATUS, HeaderValue::from_static("0"));
    let body = Full::new(Bytes::from(framed)).with_trailers(async { Some(Ok(trailers)) });
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(Encoding::KNOWN));
    response
}

fn failure(intake: &Intake, refusal: &Refusal) -> Response {
    let mut response = refusal.status(intake.retry_after()).into_http::<Body>();
    response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static(Encoding::KNOWN));
    response
}

#[cfg(test)]
mod tests;
