//! The service: `open` takes the address, `run` serves until it is told to stop.

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt;
use icecore_store::{Clock, Flush, LiveRows, Store};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::answer::Answers;
use crate::engine::Engine;
use crate::http::router;
use crate::limits::{Limits, Threads};
use crate::metrics::Metrics;
use crate::running::Queries;
use crate::scripts::Scripts;
use crate::{Config, Error};

/// The parts that queries read from.
#[derive(Debug)]
pub struct QueryParts {
    /// Files and catalog.
    pub store: Arc<Store>,
    /// Where acknowledged rows are that may not be in files yet; none where nothing is ingested.
    pub live: Vec<Arc<dyn LiveRows>>,
    /// Brings acknowledged rows into the store; none where nothing is ingested.
    pub flush: Option<Arc<dyn Flush>>,
    /// Further routes on the same address: health and metrics of the process. They are served
    /// to any caller.
    pub extra_routes: Router,
}

/// The query API and the page, bound to an address.
#[derive(Debug)]
pub struct Query {
    listener: TcpListener,
    address: SocketAddr,
    routes: Router,
    /// Ends what would never end by itself.
    ending: CancellationToken,
    drain_wait: Duration,
}

impl Query {
    /// Checks the settings, starts the query threads and takes the address. Requests wait until
    /// [`Query::run`].
    ///
    /// # Errors
    /// Where a setting cannot be served or the address is taken.
    pub async fn open(
        config: Config,
        parts: QueryParts,
        clock: Arc<dyn Clock>,
        registry: &mut Registry,
    ) -> Result<Self, Error> {
        config.check()?;
        let scripts = Scripts::open(config.script_dir.as_deref())?;
        let QueryParts { store, live, flush, extra_routes } = parts;
        let answers = Answers {
            engine: Engine::new(&config, store, live, Arc::clone(&clock)),
            limits: Limits::new(&config),
            queries: Arc::new(Queries::new(Arc::clone(&clock))),
            metrics: Metrics::register(registry),
            clock,
            threads: Threads::start(config.threads)?,
        };
        let bind = |source| Error::Bind { address: config.http_addr, source };
        let listener = TcpListener::bind(config.http_addr).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let ending = CancellationToken::new();
        let routes = router(Arc::new(answers), flush, scripts, &config, address, ending.clone());
        let routes = routes.merge(extra_routes);
        Ok(Self { listener, address, routes, ending, drain_wait: config.drain_wait })
    }

    /// Where HTTP is served; differs from the setting where that had port 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, then lets the answers under way end, for at most `drain_wait`.
    ///
    /// # Errors
    /// Where the listener fails.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        // Answers are streamed: a last small piece must not wait for the one before it to be
        // acknowledged, which takes 40 ms on many clients.
        let listener = self.listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        let routes = self.routes.into_make_service_with_connect_info::<SocketAddr>();
        let served = axum::serve(listener, routes)
            .with_graceful_shutdown(stop.clone().cancelled_owned())
            .into_future();
        let overdue = async {
            stop.cancelled().await;
            self.ending.cancel();
            tokio::time::sleep(self.drain_wait).await;
        };
        tokio::select! {
            served = served => served.map_err(Error::Serve),
            () = overdue => {
                warn!(waited = ?self.drain_wait, "answers under way were cut off");
                Ok(())
            }
        }
    }
}
