//! Settings to the bridge.

use std::sync::Arc;

use icecore_store::{Clock, Secret};
use prometheus_client::registry::Registry;

use super::drain::{Order, Parts};
use super::storage::data_dir;
use crate::error::{Failure, Outcome};
use crate::settings::{Compression, Forward, Protocol, Settings};

/// Opens the bridge where there is anywhere to forward to.
pub(super) async fn open(
    settings: &Settings,
    ingest: &icecore_ingest::Ingest,
    clock: &Arc<dyn Clock>,
    registry: &mut Registry,
    parts: &mut Parts,
) -> Outcome {
    let destinations = destinations(settings)?;
    if destinations.is_empty() {
        return Ok(());
    }
    let config = icecore_bridge::Config {
        destinations,
        cursor_dir: data_dir(settings)?.join("bridge"),
        own_addresses: vec![ingest.grpc_addr(), ingest.http_addr()],
        ..Default::default()
    };
    let bridge = icecore_bridge::Bridge::open(config, ingest.feed(), Arc::clone(clock), registry)
        .await
        .map_err(|error| Failure::from_error("cannot open the bridge", &error))?;
    parts.add("bridge", Order::Bridge, move |stop| bridge.run(stop));
    Ok(())
}

/// Where to forward to; checked one by one.
pub(super) fn destinations(
    settings: &Settings,
) -> Result<Vec<icecore_bridge::Destination>, Failure> {
    let wrong = |error: icecore_bridge::Error| {
        Failure::usage(format!("`forward`: {}", crate::error::chain(&error)))
    };
    let shared = settings.forward_headers.iter();
    let shared: Vec<(String, Secret)> =
        shared.map(|header| (header.name.clone(), Secret::new(&*header.value))).collect();
    let mut destinations = Vec::new();
    for forward in &settings.forward {
        let destination = match forward {
            Forward::Url(url) => {
                let parsed = icecore_bridge::Destination::parse(url).map_err(wrong)?;
                icecore_bridge::Destination { headers: shared.clone(), ..parsed }
            }
            Forward::Rules(rules) => rules_destination(rules).map_err(wrong)?,
        };
        destinations.push(destination);
    }
    Ok(destinations)
}

fn rules_destination(
    rules: &crate::settings::ForwardRules,
) -> Result<icecore_bridge::Destination, icecore_bridge::Error> {
    let mut destination = icecore_bridge::Destination::parse(&rules.url)?;
    if let Some(protocol) = rules.protocol {
        destination.protocol = match protocol {
            Protocol::Grpc => icecore_bridge::Protocol::Grpc,
            Protocol::Http => icecore_bridge::Protocol::Http,
        };
    }
    if let Some(compression) = rules.compression {
        destination.compression = match compression {
            Compression::Zstd => icecore_bridge::Compression::Zstd,
            Compression::Gzip => icecore_bridge::Compression::Gzip,
            Compression::None => icecore_bridge::Compression::None,
        };
    }
    let headers = rules.headers.iter();
    destination.headers =
        headers.map(|(name, value)| (name.to_ascii_lowercase(), Secret::new(&**value))).collect();
    Ok(destination)
}
