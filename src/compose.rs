//! Where parts meet: the only place that knows more than one of them.
//!
//! Invariants: a part is opened after those it needs; nothing is announced as ready before every
//! part is open; parts drain in the order in which data flows (probe, ingest, bridge, query,
//! store), so that what one still sends the next still takes.

#[cfg(feature = "bridge")]
mod bridge;
mod check;
mod drain;
#[cfg(feature = "probe")]
pub(crate) mod probes;
#[cfg(feature = "query")]
mod queries;
#[cfg(feature = "ingest")]
pub(crate) mod storage;

use std::net::SocketAddr;
#[cfg(feature = "ingest")]
use std::sync::Arc;

#[cfg(feature = "ingest")]
use icecore_store::{Clock, Store, SystemClock};
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::error::{Failure, Outcome};
use crate::health::{self, Health};
use crate::program;
use crate::role::Roles;
use crate::settings::Settings;
use drain::Parts;

/// Opens the parts of `roles`, runs them until `stop` or the first failure, and drains them.
pub(crate) async fn run(roles: Roles, settings: &Settings, stop: CancellationToken) -> Outcome {
    check::check(roles, settings)?;
    let mut registry = Registry::default();
    let health = Health::new(stop.clone());
    let mut parts = Parts::new();
    let opened = tokio::select! {
        opened = open(roles, settings, &health, &mut registry, &mut parts) => opened,
        () = stop.cancelled() => Err(Failure::failed("stopped before it was ready")),
    };
    if let Err(failure) = opened {
        // What is open already is drained, so that nothing acknowledged waits for the next start.
        drop(parts.drain(settings.drain_deadline).await);
        return Err(failure);
    }
    health.ready(registry);
    info!(version = env!("CARGO_PKG_VERSION"), "ready");
    program::let_go();
    let failed = parts.run_until(&stop).await;
    stop.cancel();
    let drained = parts.drain(settings.drain_deadline).await;
    failed.and(drained)
}

async fn open(
    roles: Roles,
    settings: &Settings,
    health: &Health,
    registry: &mut Registry,
    parts: &mut Parts,
) -> Outcome {
    #[cfg(feature = "ingest")]
    let otlp_addr = if roles.ingest || roles.query || roles.compact {
        open_storage(roles, settings, health, registry, parts).await?
    } else {
        None
    };
    #[cfg(not(feature = "ingest"))]
    let otlp_addr: Option<SocketAddr> = None;
    if !roles.query {
        let serving = health::bind(health.clone(), settings.http_addr).await?;
        parts.add("health", drain::Order::Query, move |stop| serving.run(stop));
    }
    #[cfg(feature = "probe")]
    if roles.probe && settings.probes {
        probes::open(roles, settings, otlp_addr, registry, parts).await?;
    }
    let _: Option<SocketAddr> = otlp_addr;
    Ok(())
}

/// Opens the store and what stands on it; returns where OTLP/gRPC is received, if it is.
#[cfg(feature = "ingest")]
async fn open_storage(
    roles: Roles,
    settings: &Settings,
    #[cfg_attr(not(feature = "query"), expect(unused_variables, reason = "queries serve it"))]
    health: &Health,
    registry: &mut Registry,
    parts: &mut Parts,
) -> Result<Option<SocketAddr>, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let mut config = storage::store(settings)?;
    if roles.query {
        config.page_cache = Some(storage::page_cache(settings)?);
    }
    let store = Store::open(config, Arc::clone(&clock), registry)
        .await
        .map_err(|error| Failure::from_error("cannot open the store", &error))?;
    storage::understand(&store)?;
    #[cfg(feature = "query")]
    let (mut live, mut flush) = (Vec::new(), None);
    let mut otlp_addr = None;
    if roles.ingest {
        let ingest = icecore_ingest::Ingest::open(
            storage::ingest(roles, settings)?,
            Arc::clone(&store),
            Arc::clone(&clock),
            registry,
        )
        .await
        .map_err(|error| Failure::from_error("cannot open ingest", &error))?;
        info!(grpc = %ingest.grpc_addr(), http = %ingest.http_addr(), "receiving OTLP");
        if let Some(address) = ingest.live_addr() {
            info!(%address, "serving live rows to queries of other processes");
        }
        otlp_addr = Some(ingest.grpc_addr());
        #[cfg(feature = "query")]
        {
            live.push(ingest.live_rows());
            flush = Some(ingest.flush());
        }
        #[cfg(feature = "bridge")]
        if roles.bridge {
            bridge::open(settings, &ingest, &clock, registry, parts).await?;
        }
        parts.add("ingest", drain::Order::Ingest, move |stop| ingest.run(stop));
    }
    #[cfg(feature = "query")]
    if roles.query {
        if live.is_empty() && settings.ingesters.is_empty() {
            tracing::warn!("no `ingesters` are named: answers hold what is in the bucket alone");
        }
        let unflushed = (live, flush);
        let routes = health.routes();
        queries::open(settings, &store, unflushed, &clock, routes, registry, parts).await?;
    }
    let store_roles = icecore_store::StoreRoles {
        refresh: roles.query || roles.compact,
        filter_traces: roles.query,
        compact: roles.compact && settings.compaction,
        retain: roles.compact,
        collect_garbage: roles.compact,
    };
    parts.add("store", drain::Order::Store, move |stop| store.run(store_roles, stop));
    Ok(otlp_addr)
}
