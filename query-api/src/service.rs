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
use crate::flight::FlightSql;
use crate::http::router;
use crate::limits::{Limits, Threads};
use crate::metrics::Metrics;
use crate::pg::Postgres;
use crate::running::Queries;
use crate::scripts::Scripts;
use crate::sources::Sources;
use crate::{Config, Error};

/// The parts that queries read from.
#[derive(Debug)]
pub struct QueryParts {
    /// Files and catalog.
    pub store: Arc<Store>,
    /// Where acknowledged rows of this process are that may not be in files yet; none where nothing is
    /// ingested here.
    pub live: Vec<Arc<dyn LiveRows>>,
    /// Brings acknowledged rows into the store; none where nothing is ingested.
    pub flush: Option<Arc<dyn Flush>>,
    /// Further routes on the same address: health and metrics of the process. They are served
    /// to any caller.
    pub extra_routes: Router,
}

/// The query API and the page, and the same over other protocols, bound to their addresses.
#[derive(Debug)]
pub struct Query {
    listener: TcpListener,
    address: SocketAddr,
    routes: Router,
    flight: Option<(FlightSql, TcpListener)>,
    postgres: Option<(Postgres, TcpListener)>,
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
        let metrics = Metrics::register(registry);
        let sources = Sources::open(live, &config.ingesters, config.live_wait, &clock)?;
        let answers = Answers {
            engine: Engine::new(&config, store, sources, Arc::clone(&clock)),
            limits: Limits::open(&config, &metrics.spilled())?,
            queries: Arc::new(Queries::new(Arc::clone(&clock))),
            metrics,
            clock,
            threads: Threads::start(config.threads)?,
        };
        let answers = Arc::new(answers);
        let (listener, address) = bind(config.http_addr).await?;
        let flight = match config.grpc_addr {
            Some(address) => {
                let service = FlightSql::new(Arc::clone(&answers), config.request_bytes_max);
                Some((service, bind(address).await?.0))
            }
            None => None,
        };
        let postgres = match config.pg_addr {
            Some(address) => {
                let (answers, bytes_max) = (Arc::clone(&answers), config.request_bytes_max);
                let service = Postgres::new(answers, bytes_max, config.pg_connections_max);
                Some((service, bind(address).await?.0))
            }
            None => None,
        };
        let ending = CancellationToken::new();
        let routes = router(answers, flush, scripts, &config, address, ending.clone());
        let routes = routes.merge(extra_routes);
        let drain_wait = config.drain_wait;
        Ok(Self { listener, address, routes, flight, postgres, ending, drain_wait })
    }

    /// Where HTTP is served; differs from the setting where that had port 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where Arrow Flight SQL is served, if it is.
    #[must_use]
    pub fn grpc_address(&self) -> Option<SocketAddr> {
        self.flight.as_ref().and_then(|(_, listener)| listener.local_addr().ok())
    }

    /// Where the PostgreSQL wire protocol is served, if it is.
    #[must_use]
    pub fn pg_address(&self) -> Option<SocketAddr> {
        self.postgres.as_ref().and_then(|(_, listener)| listener.local_addr().ok())
    }

    /// Serves until `stop`, then lets the answers under way end, for at most `drain_wait`.
    ///
    /// # Errors
    /// Where a listener fails.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        // Answers are streamed: a last small piece must not wait for the one before it to be
        // acknowledged, which takes 40 ms on many clients.
        let Self { listener, routes, flight, postgres, ending, drain_wait, .. } = self;
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        let routes = routes.into_make_service_with_connect_info::<SocketAddr>();
        let http = axum::serve(listener, routes)
            .with_graceful_shutdown(stop.clone().cancelled_owned())
            .into_future();
        let http = async { http.await.map_err(Error::Serve) };
        let grpc = async {
            let Some((service, listener)) = flight else { return Ok(()) };
            service.run(listener, stop.clone()).await.map_err(Error::ServeGrpc)
        };
        let pg = async {
            if let Some((service, listener)) = postgres {
                service.run(listener, stop.clone()).await;
            }
            Ok(())
        };
        let overdue = async {
            stop.cancelled().await;
            ending.cancel();
            tokio::time::sleep(drain_wait).await;
        };
        tokio::select! {
            served = async { tokio::try_join!(http, grpc, pg) } => served.map(drop),
            () = overdue => {
                warn!(waited = ?drain_wait, "answers under way were cut off");
                Ok(())
            }
        }
    }
}

/// Takes an address; where it is, which differs where it had port 0.
async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |source| Error::Bind { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}
