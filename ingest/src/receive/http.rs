//! OTLP/HTTP: `POST /v1/traces`, `/v1/metrics`, `/v1/logs`, `/v1development/profiles`, in protobuf
//! and JSON.
//!
//! Invariant: an answer has the format of its request, and an error is always a
//! `google.rpc.Status`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request as HttpRequest, State};
use axum::response::Response;
use axum::routing::post;
use http::{HeaderMap, HeaderValue, Method, header};
use icecore_store::Signal;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::Protocol;
use super::answer::{Accepted, Format, Reason, Refusal};
use super::body;
use super::decompress::Encoding;
use super::intake::{Intake, Request};

/// A path for each signal; pages of `cors_origins` may use them as well.
pub(crate) fn router(intake: Arc<Intake>, cors_origins: &[HeaderValue]) -> Router {
    let mut router = Router::new();
    for signal in Signal::ALL {
        let export = move |State(intake), request| export(intake, signal, request);
        router = router.route(signal.http_path(), post(export));
    }
    let router = router.method_not_allowed_fallback(wrong_method).fallback(unknown);
    let router = router.with_state(intake);
    if cors_origins.is_empty() { router } else { router.layer(cors(cors_origins)) }
}

fn cors(origins: &[HeaderValue]) -> CorsLayer {
    let origins = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().cloned())
    };
    let layer = CorsLayer::new().allow_origin(origins).allow_methods([Method::POST]);
    layer.allow_headers(tower_http::cors::Any)
}

async fn export(intake: Arc<Intake>, signal: Signal, request: HttpRequest) -> Response {
    let format = format_of(request.headers());
    let accepted = match format {
        Ok(format) => accept(&intake, signal, format, request).await,
        Err(ref refusal) => Err(refusal.clone()),
    };
    let format = format.unwrap_or(Format::Json);
    match accepted {
        Ok(accepted) => accepted.response(signal, format),
        Err(refusal) => refuse(&intake, Some(signal), format, &refusal),
    }
}

async fn wrong_method(State(intake): State<Arc<Intake>>, request: HttpRequest) -> Response {
    let text = format!("`{}` takes POST, not {}", request.uri().path(), request.method());
    let refusal = Refusal::new(Reason::MethodNotAllowed, text);
    let format = format_of(request.headers()).unwrap_or(Format::Json);
    let mut response = refuse(&intake, None, format, &refusal);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    response
}

async fn unknown(State(intake): State<Arc<Intake>>, request: HttpRequest) -> Response {
    let path = request.uri().path();
    let known = Signal::ALL.map(Signal::http_path).join(", ");
    let text = format!("no such path `{path}`; there are {known}");
    let format = format_of(request.headers()).unwrap_or(Format::Json);
    refuse(&intake, None, format, &Refusal::new(Reason::NotFound, text))
}

fn refuse(intake: &Intake, signal: Option<Signal>, format: Format, refusal: &Refusal) -> Response {
    intake.refused(Protocol::Http, signal, refusal);
    refusal.response(format, intake.retry_after())
}

async fn accept(
    intake: &Intake,
    signal: Signal,
    format: Format,
    request: HttpRequest,
) -> Result<Accepted, Refusal> {
    let (head, body) = request.into_parts();
    let encoding = Encoding::of(&head.headers, &header::CONTENT_ENCODING)?;
    let mut ticket = intake.ticket();
    let body = body::read(body, intake.body_bounds(), &mut ticket).await?;
    let request = Request { signal, encoding, format, body, ticket };
    intake.accept(Protocol::Http, request).await
}

/// The format that the content type names; JSON may say that it is UTF-8, which it always is.
fn format_of(headers: &HeaderMap) -> Result<Format, Refusal> {
    let value = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let text = String::from_utf8_lossy(value).to_ascii_lowercase();
    let (kind, parameters) = text.split_once(';').unwrap_or((&text, ""));
    let charset = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        (name.trim() == "charset").then_some(value.trim().trim_matches('"'))
    });
    match (kind.trim(), charset) {
        ("application/x-protobuf", _) => Ok(Format::Protobuf),
        ("application/json", None | Some("utf-8" | "utf8")) => Ok(Format::Json),
        _ => {
            let text = format!(
                "the content type `{text}` is neither application/x-protobuf nor application/json"
            );
            Err(Refusal::new(Reason::UnsupportedMediaType, text))
        }
    }
}

#[cfg(test)]
mod tests;
