//! Connections: accepted within bounds, drained at the end.
//!
//! Invariant: there are never more connections than the bound; after `stop` no new request is
//! taken, and those in flight are finished or cut at the deadline.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// How long an HTTP/1 connection may wait for the next request's head. Metrics are sent once a
/// minute by default: a shorter wait would close the connection under every other export.
const HEAD_TIMEOUT: Duration = Duration::from_secs(180);
/// How often an idle HTTP/2 connection is asked whether it is still there.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(30);
/// The pause after the system refused a connection, as it does when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What one HTTP/2 connection may have on the way to us. Bodies beyond it wait in the sender.
const CONNECTION_WINDOW_BYTES: u32 = 2 << 20;

/// The bounds of one port.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServeSettings {
    /// Whether only HTTP/2 is spoken.
    pub(crate) http2_only: bool,
    /// Connections at a time.
    pub(crate) connections_max: usize,
    /// Concurrent requests on one HTTP/2 connection.
    pub(crate) streams_max: u32,
    /// How long requests in flight may take after the stop.
    pub(crate) drain_timeout: Duration,
}

/// Serves `router` until `stop`, then drains.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    settings: ServeSettings,
    stop: CancellationToken,
) {
    let builder = Arc::new(builder(&settings));
    let room = Arc::new(Semaphore::new(settings.connections_max));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &room) => accepted,
        };
        let Some((stream, permit)) = accepted else { continue };
        let (builder, router, stop) = (Arc::clone(&builder), router.clone(), stop.clone());
        connections.spawn(async move {
            converse(&builder, stream, router, &stop).await;
            drop(permit);
        });
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(settings.drain_timeout, drained).await.is_err() {
        warn!(connections = connections.len(), "connections were cut: the drain took too long");
        connections.shutdown().await;
    }
}

/// Serves one connection; after `stop` it ends once what it has begun is answered.
async fn converse(
    builder: &Builder<TokioExecutor>,
    stream: TcpStream,
    router: Router,
    stop: &CancellationToken,
) {
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(error, "a connection ended");
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            // Answers are small and somebody waits for them.
            drop(stream.set_nodelay(true));
            Some((stream, permit))
        }
        Err(error) => {
            warn!(%error, "cannot accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

fn builder(settings: &ServeSettings) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE_EVERY)
        .max_concurrent_streams(settings.streams_max)
        .initial_stream_window_size(CONNECTION_WINDOW_BYTES / 2)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    if settings.http2_only { builder.http2_only() } else { builder }
}
