//! Settings to the query API.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use icecore_store::{Clock, Flush, LiveRows, Store};
use prometheus_client::registry::Registry;

use super::drain::{Order, Parts};
use super::storage::{address, data_dir};
use crate::error::{Failure, Outcome};
use crate::settings::{HttpErase, Settings};

/// What an ingester of this process offers: its live rows, and a way to flush them.
pub(super) type Unflushed = (Vec<Arc<dyn LiveRows>>, Option<Arc<dyn Flush>>);

/// The configuration of the query API.
///
/// # Errors
/// Where an address is none, or the data directory cannot be made absolute.
pub(super) fn config(settings: &Settings) -> Result<icecore_query::Config, Failure> {
    let spills = settings.query_spill_bytes_max.0 > 0 && settings.spill_bytes_max.0 > 0;
    let spill_dir = data_dir(settings)?.join("spill");
    Ok(icecore_query::Config {
        http_addr: settings.http_addr,
        grpc_addr: address("grpc_addr", &settings.grpc_addr)?,
        pg_addr: address("pg_addr", &settings.pg_addr)?,
        ingesters: ingesters(settings)?,
        pg_connections_max: settings.pg_connections_max,
        tails_max: settings.tails_max,
        tail_rows_per_second_max: settings.tail_rows_per_second_max,
        hosts: settings.http_hosts.clone(),
        erase: match settings.http_erase {
            HttpErase::Loopback => None,
            HttpErase::On => Some(true),
            HttpErase::Off => Some(false),
        },
        queries_running_max: settings.queries_max,
        script_dir: Some(PathBuf::from(&settings.script_dir))
            .filter(|dir| !dir.as_os_str().is_empty()),
        query_memory_bytes_max: settings.query_memory_bytes_max.as_usize(),
        queries_per_client_max: settings.queries_per_client_max,
        spill_dir: spills.then_some(spill_dir),
        query_spill_bytes_max: settings.query_spill_bytes_max.0,
        spill_bytes_max: settings.spill_bytes_max.0,
        query_fetched_bytes_max: settings.query_fetched_bytes_max.0,
        query_rows_max: settings.query_rows_max,
        query_time_max: settings.query_timeout,
        ..Default::default()
    })
}

/// Opens the query API and adds it to the parts.
pub(super) async fn open(
    settings: &Settings,
    store: &Arc<Store>,
    (live, flush): Unflushed,
    clock: &Arc<dyn Clock>,
    extra_routes: Router,
    registry: &mut Registry,
    parts: &mut Parts,
) -> Outcome {
    let config = config(settings)?;
    let store = Arc::clone(store);
    let given = icecore_query::QueryParts { store, live, flush, extra_routes };
    let query = icecore_query::Query::open(config, given, Arc::clone(clock), registry)
        .await
        .map_err(|error| Failure::from_error("cannot open the query API", &error))?;
    tracing::info!(address = %query.address(), "answering SQL; the page is at /");
    if let Some(address) = query.grpc_address() {
        tracing::info!(%address, "answering Arrow Flight SQL");
    }
    if let Some(address) = query.pg_address() {
        tracing::info!(%address, "answering the PostgreSQL wire protocol");
    }
    parts.add("query", Order::Query, move |stop| query.run(stop));
    Ok(())
}

/// The ingesters of other processes.
fn ingesters(settings: &Settings) -> Result<Vec<icecore_query::IngesterName>, Failure> {
    let wrong = |error: icecore_query::BadIngester| Failure::usage(format!("`ingesters`: {error}"));
    let parse = |text: &String| text.parse().map_err(wrong);
    settings.ingesters.iter().map(parse).collect()
}
