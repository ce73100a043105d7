//! The standard load, packed before anything is timed, and what is known of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use prost::Message;
use serde::Serialize;
use std::time::Duration;

use super::server::Server;
use super::usage;
use crate::cli::{self, BenchArgs, Compression, Protocol, SendArgs};
use crate::error::Error;
use crate::generate::{Signal, requests};
use crate::send::Packed;

/// Spans a second of the time that the load tells of.
const DENSITY: u64 = 10_000;

/// Traces that are asked for by id.
const TRACES: usize = 200;

/// gRPC's frame before each message.
const FRAME_BYTES: usize = 5;

#[derive(Debug, Clone, Serialize)]
pub(super) struct LoadFigures {
    pub(super) spans: u64,
    pub(super) requests: u64,
    pub(super) wire_bytes: u64,
    pub(super) traces: u64,
    pub(super) seed: u64,
}

#[derive(Debug)]
pub(super) struct Load {
    load: cli::Load,
    pub(super) figures: LoadFigures,
    pub(super) packed: Vec<Packed>,
    /// Traces to ask for, with the number of their spans.
    pub(super) asked: Vec<(String, u64)>,
    /// Pairs of service and operation.
    pub(super) operations: u64,
    pub(super) search: Search,
}

/// A search that finds about one span in a hundred of one service.
#[derive(Debug, Default)]
pub(super) struct Search {
    pub(super) service: String,
    pub(super) longer_than_nanos: u64,
    pub(super) matches: u64,
}

/// What decoding the load tells.
#[derive(Debug, Default)]
struct Survey {
    traces: BTreeMap<Vec<u8>, u64>,
    operations: BTreeSet<(String, String)>,
    durations: BTreeMap<String, Vec<u64>>,
}

impl Load {
    pub(super) async fn make(arguments: &BenchArgs) -> Result<Self, Error> {
        let (spans, seed) = (arguments.spans, arguments.seed);
        let made = tokio::task::spawn_blocking(move || make(spans, seed));
        made.await.map_err(Error::Task)
    }

    /// How the load is sent: flat out, by gRPC, some requests at a time.
    pub(super) fn send_to(&self, server: &Server) -> SendArgs {
        SendArgs {
            load: self.load.clone(),
            endpoint: server.grpc.clone(),
            protocol: Protocol::Grpc,
            compression: Compression::None,
            rate: 0,
            in_flight: 8,
            ahead: 1,
            preload: true,
            acked: None,
            give_up_after: Duration::from_secs(60),
            timeout: Duration::from_secs(30),
            retry_uncertain: false,
        }
    }

    /// CPU seconds of plain prost decoding of all requests, twice.
    pub(super) async fn prost_seconds(&self) -> Result<Vec<f64>, Error> {
        let packed = Arc::new(self.packed.clone());
        let decoded = tokio::task::spawn_blocking(move || {
            (0..2).map(|_| decode_seconds(&packed)).collect::<Result<Vec<f64>, Error>>()
        });
        decoded.await.map_err(Error::Task)?
    }
}

fn make(spans: u64, seed: u64) -> Load {
    let now = cli::now_nanos();
    let load = cli::Load {
        seed,
        run: Some(format!("bench-{:x}", now / 1_000_000)),
        signal: Signal::Traces,
        items: spans,
        density: DENSITY,
        start_nanos: Some(now.saturating_sub(spans * (1_000_000_000 / DENSITY))),
    };
    let packed: Vec<Packed> = requests(&load.plan())
        .map(|request| Packed::new(request, Protocol::Grpc, Compression::None))
        .collect();
    let mut survey = Survey::default();
    for request in &packed {
        decode(request).resource_spans.into_iter().for_each(|spans| survey.add(spans));
    }
    let wire_bytes = packed.iter().map(|one| (one.body.len() - FRAME_BYTES) as u64).sum();
    let figures = LoadFigures {
        spans,
        requests: packed.len() as u64,
        wire_bytes,
        traces: survey.traces.len() as u64,
        seed,
    };
    let operations = survey.operations.len() as u64;
    Load { load, figures, packed, asked: survey.asked(), operations, search: survey.search() }
}

/// Our own requests decode; an empty one would show in every figure.
fn decode(packed: &Packed) -> ExportTraceServiceRequest {
    let message = packed.body.get(FRAME_BYTES..).unwrap_or_default();
    ExportTraceServiceRequest::decode(message).unwrap_or_default()
}

fn decode_seconds(packed: &[Packed]) -> Result<f64, Error> {
    let before = usage::thread_cpu_seconds()?;
    for request in packed {
        std::hint::black_box(decode(request));
    }
    Ok(usage::thread_cpu_seconds()? - before)
}

impl Survey {
    fn add(&mut self, resource: ResourceSpans) {
        let attributes = resource.resource.unwrap_or_default().attributes;
        let named = attributes.into_iter().find(|it| it.key == "service.name");
        let service = match named.and_then(|it| it.value?.value) {
            Some(Value::StringValue(name)) => name,
            _ => String::new(),
        };
        for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            *self.traces.entry(span.trace_id).or_default() += 1;
            self.operations.insert((service.clone(), span.name));
            let nanos = span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano);
            self.durations.entry(service.clone()).or_default().push(nanos);
        }
    }

    /// Ids are random, so every n-th of them in order is as good as any.
    fn asked(&self) -> Vec<(String, u64)> {
        let step = (self.traces.len() / TRACES).max(1);
        let asked = self.traces.iter().step_by(step).take(TRACES);
        asked.map(|(id, spans)| (hex(id), *spans)).collect()
    }

    /// By the slowest hundredth of the service with the most spans.
    fn search(self) -> Search {
        let most = self.durations.into_iter().max_by_key(|(_, durations)| durations.len());
        let Some((service, mut durations)) = most else { return Search::default() };
        durations.sort_unstable();
        let at = durations.len().saturating_sub(durations.len() / 100 + 1);
        let longer_than_nanos = durations.get(at).copied().unwrap_or(0);
        let matches = durations.iter().filter(|&&it| it > longer_than_nanos).count() as u64;
        Search { service, longer_than_nanos, matches }
    }
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}
