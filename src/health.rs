//! `/healthz`, `/readyz` and `/metrics`.
//!
//! Invariant: `/healthz` answers as long as the process serves at all; `/readyz` says 503 until
//! every part is open, and again from the moment that a stop was asked for.

mod exposition;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::exposition::Exposition;
use crate::error::Failure;

/// What the routes tell; filled once, when every part is open.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    metrics: Arc<OnceLock<Registry>>,
    stop: CancellationToken,
}

impl Health {
    /// Not ready yet.
    pub(crate) fn new(stop: CancellationToken) -> Self {
        Self { metrics: Arc::default(), stop }
    }

    /// Every part is open and has registered its metrics.
    pub(crate) fn ready(&self, metrics: Registry) {
        drop(self.metrics.set(metrics));
    }

    /// The routes, to be served by whoever serves HTTP here.
    pub(crate) fn routes(&self) -> Router {
        Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(self.clone())
    }
}

/// The routes on an address of their own, for a process without a query API.
#[derive(Debug)]
pub(crate) struct Serving {
    health: Health,
    listener: TcpListener,
}

/// Binds the address.
///
/// # Errors
/// Where it is taken or not ours.
pub(crate) async fn bind(health: Health, addr: SocketAddr) -> Result<Serving, Failure> {
    let listener = TcpListener::bind(addr).await.map_err(|error| {
        Failure::failed(format!("cannot listen on {addr} (`http_addr`): {error}"))
    })?;
    Ok(Serving { health, listener })
}

impl Serving {
    /// Serves until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) -> std::io::Result<()> {
        let routes = self.health.routes();
        axum::serve(self.listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await
    }
}

async fn readyz(State(health): State<Health>) -> Response {
    match (health.metrics.get(), health.stop.is_cancelled()) {
        (Some(_), false) => "ready\n".into_response(),
        (None, _) => (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response(),
        (_, true) => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response(),
    }
}

async fn metrics(State(health): State<Health>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let exposition = Exposition::accepted(accept);
    let written = health.metrics.get().map_or_else(|| Ok(String::new()), |of| exposition.write(of));
    match written {
        Ok(text) => {
            let kind = [(header::CONTENT_TYPE, exposition.media_type()), (header::VARY, "accept")];
            (kind, text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "metrics not encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
