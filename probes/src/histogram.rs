//! Durations of all exchanges, as the histograms that the semantic conventions name.
//!
//! Invariants: each exchange is in exactly one series; the number of series is bounded, and what
//! finds no series of its own is in one that carries `otel.metric.overflow`; counts only grow
//! (cumulative temporality), so that a lost export is made up for by the next.

use std::collections::HashMap;
use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Histogram, HistogramDataPoint, Metric, ResourceMetrics, ScopeMetrics,
    metric::Data,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::protocol::Role;
use crate::span::attribute::boolean;
use crate::span::facts::Facts;

/// Upper bounds in seconds, as the semantic conventions advise.
const BOUNDS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Makes one series of its process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct SeriesKey {
    server: bool,
    method: &'static str,
    scheme: &'static str,
    version: &'static str,
    status: Option<u16>,
    error_type: Option<String>,
    server_address: String,
    server_port: u16,
}

#[derive(Debug, Clone)]
struct Series {
    attributes: Vec<KeyValue>,
    start: u64,
    buckets: [u64; BOUNDS.len() + 1],
    sum: f64,
    min: f64,
    max: f64,
}

impl Series {
    fn new(attributes: Vec<KeyValue>, start: u64) -> Self {
        let buckets = [0; BOUNDS.len() + 1];
        Self { attributes, start, buckets, sum: 0.0, min: f64::INFINITY, max: 0.0 }
    }

    fn record(&mut self, seconds: f64) {
        let bucket = BOUNDS.partition_point(|bound| *bound < seconds);
        if let Some(count) = self.buckets.get_mut(bucket) {
            *count += 1;
        }
        self.sum += seconds;
        self.min = self.min.min(seconds);
        self.max = self.max.max(seconds);
    }

    fn point(&self, now: u64) -> HistogramDataPoint {
        HistogramDataPoint {
            attributes: self.attributes.clone(),
            start_time_unix_nano: self.start,
            time_unix_nano: now.max(self.start),
            count: self.buckets.iter().sum(),
            sum: Some(self.sum),
            min: Some(self.min),
            max: Some(self.max),
            bucket_counts: self.buckets.to_vec(),
            explicit_bounds: BOUNDS.to_vec(),
            ..HistogramDataPoint::default()
        }
    }
}

/// The series of one resource.
#[derive(Debug)]
struct OfResource {
    resource: Arc<Resource>,
    series: HashMap<SeriesKey, Series>,
    /// For servers and for clients.
    overflow: [Option<Series>; 2],
    changed: bool,
    /// Collections since it last changed.
    idle: u32,
}

/// Processes come and go; one that had no exchange for so many collections is forgotten. Its series
/// begin anew, with a new start, should it come back.
const IDLE_COLLECTIONS_MAX: u32 = 30;

/// The histograms of every process of the node.
#[derive(Debug)]
pub(crate) struct Histograms {
    resources: HashMap<Arc<[u8]>, OfResource>,
    series_max: usize,
    resources_max: usize,
}

/// What became of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// It has a series of its own kind.
    Series,
    /// Its attributes were given up, since there are too many kinds.
    Overflow,
}

impl Histograms {
    pub(crate) fn new(series_max: usize, resources_max: usize) -> Self {
        Self { resources: HashMap::new(), series_max, resources_max: resources_max.max(1) }
    }

    /// Adds one exchange of the process that `resource` with identity `key` describes. `start`:
    /// when a series that begins with it began.
    pub(crate) fn record(
        &mut self,
        key: &Arc<[u8]>,
        resource: &Arc<Resource>,
        role: Role,
        facts: &Facts<'_>,
        start: u64,
        seconds: f64,
    ) -> Recorded {
        let resource_key = self.room_for(key);
        let entry = self.resources.entry(Arc::clone(&resource_key));
        let of_resource = entry.or_insert_with(|| OfResource {
            resource: Arc::default(),
            series: HashMap::new(),
            overflow: [None, None],
            changed: false,
            idle: 0,
        });
        of_resource.changed = true;
        of_resource.idle = 0;
        if !resource_key.is_empty() {
            // What is known of a process may have grown.
            of_resource.resource = Arc::clone(resource);
        }
        let server = role == Role::Server;
        let series_key = SeriesKey {
            server,
            method: facts.method,
            scheme: facts.scheme,
            version: facts.version,
            status: facts.status,
            error_type: facts.error_type.clone(),
            server_address: facts.server_address.clone(),
            server_port: facts.server_port,
        };
        let full = of_resource.series.len() >= self.series_max;
        if full && !of_resource.series.contains_key(&series_key) {
            let [for_server, for_client] = &mut of_resource.overflow;
            let overflow = if server { for_server } else { for_client };
            let attributes = || vec![boolean("otel.metric.overflow", true)];
            overflow.get_or_insert_with(|| Series::new(attributes(), start)).record(seconds);
            return Recorded::Overflow;
        }
        let series = of_resource.series.entry(series_key);
        series.or_insert_with(|| Series::new(facts.attributes(), start)).record(seconds);
        Recorded::Series
    }

    /// The key under which a resource is kept: its own, or the empty one when there are too many.
    fn room_for(&mut self, key: &Arc<[u8]>) -> Arc<[u8]> {
        if self.resources.contains_key(key) || self.resources.len() < self.resources_max {
            return Arc::clone(key);
        }
        let idle = self.resources.iter().filter(|(_, one)| !one.changed);
        let Some(longest) = idle.max_by_key(|(_, one)| one.idle).map(|(key, _)| Arc::clone(key))
        else {
            return Arc::from([]);
        };
        self.resources.remove(&longest);
        Arc::clone(key)
    }

    /// Everything that changed since the last call, as of `now`.
    pub(crate) fn collect(&mut self, now: u64) -> Vec<ResourceMetrics> {
        for one in self.resources.values_mut() {
            one.idle += 1;
        }
        self.resources.retain(|_, one| one.changed || one.idle < IDLE_COLLECTIONS_MAX);
        let collect =
            |one: &mut OfResource| std::mem::take(&mut one.changed).then(|| one.collect(now));
        self.resources.values_mut().filter_map(collect).collect()
    }
}

impl OfResource {
    fn collect(&self, now: u64) -> ResourceMetrics {
        let metric = |server: bool, name: &str, description: &str| {
            let own = self.series.iter().filter(|(key, _)| key.server == server);
            let [for_server, for_client] = &self.overflow;
            let overflow = if server { for_server } else { for_client };
            let all = own.map(|(_, series)| series).chain(overflow);
            let data_points: Vec<_> = all.map(|series| series.point(now)).collect();
            (!data_points.is_empty()).then(|| Metric {
                name: name.to_owned(),
                description: description.to_owned(),
                unit: "s".to_owned(),
                metadata: Vec::new(),
                data: Some(Data::Histogram(Histogram {
                    data_points,
                    aggregation_temporality: AggregationTemporality::Cumulative.into(),
                })),
            })
        };
        let metrics = [
            metric(true, "http.server.request.duration", "Duration of HTTP server requests."),
            metric(false, "http.client.request.duration", "Duration of HTTP client requests."),
        ];
        ResourceMetrics {
            resource: Some(Resource::clone(&self.resource)),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(scope()),
                metrics: metrics.into_iter().flatten().collect(),
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        }
    }
}

/// The instrumentation scope of all that the probe emits.
pub(crate) fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "icecore.probes".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}
