//! HTTP: SQL, traces and the page.
//!
//! Invariant: rows go only to a caller on this machine's own names or through an operator's own
//! exposure: no header ever invites a page of another site, and such a page cannot ask (a query
//! must be JSON, which a form cannot send).

mod erase;
mod errors;
mod guard;
mod holds;
mod openapi;
mod page;
mod queries;
mod schema;
mod scripts;
mod sql;
mod tail;
mod traces;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, StatusCode, Uri};
use icecore_store::Flush;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub(crate) use self::errors::{ErrorBody, log};
use self::guard::Guard;
use self::tail::Tails;
use crate::answer::Answers;
use crate::scripts::Scripts;
use crate::{Config, Error};

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) answers: Arc<Answers>,
    pub(crate) request_bytes_max: usize,
    /// How long a body may take to arrive.
    pub(crate) request_wait: Duration,
    /// Whether rows may be erased.
    pub(crate) erase: bool,
    /// One erasure at a time.
    pub(crate) erasing: Arc<Semaphore>,
    /// Brings acknowledged rows into the store before they are erased.
    pub(crate) flush: Option<Arc<dyn Flush>>,
    /// What can be asked by name.
    pub(crate) scripts: Scripts,
    /// Who looks on while rows arrive.
    pub(crate) tails: Tails,
    /// Ends what would never end by itself.
    pub(crate) stop: CancellationToken,
}

/// All routes of the service, served on `address`.
pub(crate) fn router(
    answers: Arc<Answers>,
    flush: Option<Arc<dyn Flush>>,
    scripts: Scripts,
    config: &Config,
    address: SocketAddr,
    stop: CancellationToken,
) -> Router {
    let request_wait = config.query_time_max;
    let request_bytes_max = config.request_bytes_max;
    let erase = config.erase.unwrap_or(address.ip().is_loopback());
    let erasing = Arc::new(Semaphore::new(1));
    let tails = Tails::new(config);
    let shared = Shared {
        answers,
        request_bytes_max,
        request_wait,
        erase,
        erasing,
        flush,
        scripts,
        tails,
        stop,
    };
    let guard = Arc::new(Guard::new(address, &config.hosts));
    Router::new()
        .route("/api/v1/sql", post(sql::answer))
        .route("/api/v1/traces/{trace_id}", get(traces::answer))
        .route("/api/v1/scripts", get(scripts::list))
        .route("/api/v1/scripts/{name}", get(scripts::show).post(scripts::run))
        .route("/api/v1/holds", get(holds::list))
        .route("/api/v1/holds/{name}", put(holds::put).delete(holds::delete))
        .route("/api/v1/erase", post(erase::answer))
        .route("/api/v1/queries", get(queries::list))
        .route("/api/v1/queries/{id}", get(queries::show).delete(queries::end))
        .route("/api/v1/schema", get(schema::answer))
        .route("/api/v1/tail", get(tail::answer))
        .route("/api/v1/openapi.json", get(openapi::answer))
        .merge(page::routes())
        .with_state(Arc::new(shared))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn_with_state(guard, guard::check))
        .layer(middleware::from_fn(harden))
}

async fn no_such_path(uri: Uri) -> Response {
    let hint = "the paths are /, /api/v1/sql, /api/v1/traces/{trace_id}, /api/v1/scripts, \
                /api/v1/holds, /api/v1/queries, /api/v1/schema, /api/v1/tail, \
                /api/v1/erase and, for all of them, /api/v1/openapi.json";
    let text = format!("there is no path `{}`", uri.path());
    ErrorBody::new("not_found", text, hint).into_response(StatusCode::NOT_FOUND)
}

async fn no_such_method(method: Method, uri: Uri) -> Response {
    let text = format!("`{}` cannot be asked with {method}", uri.path());
    let hint = match uri.path() {
        "/api/v1/sql" => "POST {\"query\": \"SELECT …\"} with Content-Type: application/json",
        "/api/v1/erase" => "POST {\"where\": \"…\"} with Content-Type: application/json",
        path if path.starts_with("/api/v1/scripts/") => {
            "GET it, or POST {\"params\": {…}} with Content-Type: application/json"
        }
        path if path.starts_with("/api/v1/queries/") => "GET or DELETE it",
        path if path.starts_with("/api/v1/holds/") => "PUT or DELETE it",
        _ => "GET it",
    };
    ErrorBody::new("method_not_allowed", text, hint).into_response(StatusCode::METHOD_NOT_ALLOWED)
}

/// Rows are of this moment and of nobody else's business.
async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// A whole answer in JSON.
fn json_response(status: StatusCode, value: &serde_json::Value) -> Response {
    let json = HeaderValue::from_static("application/json");
    (status, [(CONTENT_TYPE, json)], value.to_string()).into_response()
}

/// Reads a body within its bounds.
async fn read_body(shared: &Shared, request: Request) -> Result<bytes::Bytes, Error> {
    let max = shared.request_bytes_max;
    let body = axum::body::to_bytes(request.into_body(), max);
    match tokio::time::timeout(shared.request_wait, body).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(Error::TooLong { bytes_max: max }),
        Err(_late) => Err(Error::Request("the request body did not arrive in time".to_owned())),
    }
}
