//! A load that is packed before anything is timed, and what decoding it costs plain prost.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use url::Url;

use super::usage;
use crate::cli::{self, Compression, Protocol, SendArgs};
use crate::error::Error;
use crate::generate::{Signal, requests};
use crate::send::Packed;

/// Items a second of the time that the standard load tells of.
const DENSITY: u64 = 10_000;

/// gRPC's frame before each message.
const FRAME_BYTES: usize = 5;

#[derive(Debug)]
pub(super) struct Load {
    pub(super) load: cli::Load,
    pub(super) items: u64,
    pub(super) packed: Vec<Packed>,
    /// Of the requests, without gRPC's frames.
    pub(super) wire_bytes: u64,
}

/// The CPU seconds of several decodes of the same requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unit {
    pub(super) mean: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

impl Unit {
    pub(super) fn of(decodes: &[f64]) -> Self {
        let mean = decodes.iter().sum::<f64>() / decodes.len().max(1) as f64;
        let least = decodes.iter().copied().fold(f64::INFINITY, f64::min);
        Self { mean, least, most: decodes.iter().copied().fold(0.0, f64::max) }
    }

    /// In words, for so many items.
    pub(super) fn describe(&self, items: u64) -> String {
        let Self { mean, least, most } = self;
        format!(
            "one prost unit is {:.2} CPU-s a million items here ({least:.3} to {most:.3} s for \
             this load)",
            mean * 1e6 / items.max(1) as f64
        )
    }
}

/// So many items of the standard density, that end about now.
pub(super) fn standard(signal: Signal, items: u64, seed: u64) -> cli::Load {
    of_density(signal, items, seed, DENSITY)
}

/// So many items, `density` a second of their own time, that end about now.
pub(super) fn of_density(signal: Signal, items: u64, seed: u64, density: u64) -> cli::Load {
    let now = cli::now_nanos();
    let length = u128::from(items) * 1_000_000_000 / u128::from(density.max(1));
    cli::Load {
        seed,
        run: Some(format!("bench-{:x}", now / 1_000_000)),
        signal,
        items,
        density,
        series: 1,
        start_nanos: Some(now.saturating_sub(u64::try_from(length).unwrap_or(u64::MAX))),
    }
}

/// How a load is sent: flat out, by gRPC, some requests at a time.
pub(super) fn send_to(grpc: &Url, load: cli::Load) -> SendArgs {
    SendArgs {
        load,
        endpoint: grpc.clone(),
        protocol: Protocol::Grpc,
        compression: Compression::None,
        rate: 0,
        in_flight: 8,
        ahead: 64,
        preload: false,
        acked: None,
        give_up_after: Duration::from_secs(60),
        timeout: Duration::from_secs(30),
        retry_uncertain: false,
    }
}

impl Load {
    /// Makes and packs all of it.
    pub(super) async fn make(load: cli::Load) -> Result<Self, Error> {
        let made = tokio::task::spawn_blocking(move || {
            let packed: Vec<Packed> = requests(&load.plan())
                .map(|request| Packed::new(request, Protocol::Grpc, Compression::None))
                .collect();
            let wire_bytes = packed.iter().map(|one| (one.body.len() - FRAME_BYTES) as u64).sum();
            let items = packed.iter().map(|one| one.items).sum();
            Self { load, items, packed, wire_bytes }
        });
        made.await.map_err(Error::Task)
    }

    pub(super) fn send_to(&self, grpc: &Url) -> SendArgs {
        send_to(grpc, self.load.clone())
    }

    /// CPU seconds of plain prost decoding of all requests, twice.
    pub(super) async fn prost_seconds(&self) -> Result<Vec<f64>, Error> {
        let packed = Arc::new(self.packed.clone());
        let decoded = tokio::task::spawn_blocking(move || {
            (0..2).map(|_| decode_seconds(&packed)).collect::<Result<Vec<f64>, Error>>()
        });
        decoded.await.map_err(Error::Task)?
    }

    /// What the load is, in words.
    pub(super) fn describe(&self) -> String {
        format!(
            "{} items in {} requests, {:.0} bytes an item on the wire, seed {}; OTLP/gRPC, durable, \
             a local bucket",
            self.items,
            self.packed.len(),
            self.wire_bytes as f64 / self.items.max(1) as f64,
            self.load.seed
        )
    }
}

/// The message of a request as it goes over the wire.
pub(super) fn message(packed: &Packed) -> &[u8] {
    packed.body.get(FRAME_BYTES..).unwrap_or_default()
}

fn decode_seconds(packed: &[Packed]) -> Result<f64, Error> {
    let before = usage::thread_cpu_seconds()?;
    packed.iter().for_each(decode);
    Ok(usage::thread_cpu_seconds()? - before)
}

/// Our own requests decode; one that did not would cost nothing, and be seen in the figures.
fn decode(packed: &Packed) {
    let message = message(packed);
    match packed.signal {
        Signal::Traces => {
            drop(std::hint::black_box(ExportTraceServiceRequest::decode(message)));
        }
        Signal::Metrics => {
            drop(std::hint::black_box(ExportMetricsServiceRequest::decode(message)));
        }
        Signal::Logs => drop(std::hint::black_box(ExportLogsServiceRequest::decode(message))),
    }
}
