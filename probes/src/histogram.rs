//! Durations of all exchanges, as the histograms that the semantic conventions name.
//!
//! Invariants: each exchange is in exactly one series; the number of series is bounded, and what
//! finds no series of its own is in one that carries `otel.metric.overflow`; counts only grow
//! (cumulative temporality), so that a lost export is made up for by the next.

use std::sync::Arc;

use hashbrown::HashMap;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Histogram, HistogramDataPoint, Metric, ResourceMetrics, ScopeMetrics,
    metric::Data,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::span::attribute::Attribute;
use crate::span::facts::Facts;

/// The histograms that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Instrument {
    #[default]
    HttpServer,
    HttpClient,
    DatabaseServer,
    DatabaseClient,
    RpcServer,
    RpcClient,
    SocketServer,
    SocketClient,
    MessagingServer,
    MessagingClient,
    MessagingProcess,
    DnsServer,
    DnsClient,
}

/// Upper bounds in seconds, as the semantic conventions advise for requests.
const REQUEST_BOUNDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// And for databases.
const DATABASE_BOUNDS: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
/// And for connections that last.
const SESSION_BOUNDS: &[f64] = &[0.1, 1.0, 10.0, 60.0, 300.0, 1_800.0, 3_600.0, 14_400.0, 86_400.0];

impl Instrument {
    const ALL: [Self; 13] = [
        Self::HttpServer,
        Self::HttpClient,
        Self::DatabaseServer,
        Self::DatabaseClient,
        Self::RpcServer,
        Self::RpcClient,
        Self::SocketServer,
        Self::SocketClient,
        Self::MessagingServer,
        Self::MessagingClient,
        Self::MessagingProcess,
        Self::DnsServer,
        Self::DnsClient,
    ];

    /// The conventions have no histogram for the side of a database's server or of a broker, nor for
    /// WebSocket: those go by names of our own.
    fn name(self) -> &'static str {
        match self {
            Self::HttpServer => "http.server.request.duration",
            Self::HttpClient => "http.client.request.duration",
            Self::DatabaseServer => "icecore.db.server.operation.duration",
            Self::DatabaseClient => "db.client.operation.duration",
            Self::RpcServer => "rpc.server.call.duration",
            Self::RpcClient => "rpc.client.call.duration",
            Self::SocketServer => "icecore.websocket.server.session.duration",
            Self::SocketClient => "icecore.websocket.client.session.duration",
            Self::MessagingServer => "icecore.messaging.server.operation.duration",
            Self::MessagingClient => "messaging.client.operation.duration",
            Self::MessagingProcess => "messaging.process.duration",
            Self::DnsServer => "icecore.dns.server.lookup.duration",
            Self::DnsClient => "dns.lookup.duration",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::HttpServer => "Duration of HTTP server requests.",
            Self::HttpClient => "Duration of HTTP client requests.",
            Self::DatabaseServer => "Duration of database operations, at the server.",
            Self::DatabaseClient => "Duration of database client operations.",
            Self::RpcServer => "Duration of RPC server calls.",
            Self::RpcClient => "Duration of RPC client calls.",
            Self::SocketServer => "Duration of WebSocket connections, at the server.",
            Self::SocketClient => "Duration of WebSocket connections, at the client.",
            Self::MessagingServer => "Duration of messaging operations, at the broker.",
            Self::MessagingClient => {
                "Duration of messaging operation initiated by a producer or consumer client."
            }
            Self::MessagingProcess => "Duration of processing operation.",
            Self::DnsServer => "Time taken to answer a DNS lookup.",
            Self::DnsClient => "Time taken to perform a DNS lookup.",
        }
    }

    fn bounds(self) -> &'static [f64] {
        match self {
            Self::DatabaseServer | Self::DatabaseClient => DATABASE_BOUNDS,
            Self::SocketServer | Self::SocketClient => SESSION_BOUNDS,
            _ => REQUEST_BOUNDS,
        }
    }
}

/// One histogram.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    start: u64,
    bounds: &'static [f64],
    buckets: Vec<u64>,
    sum: f64,
    min: f64,
    max: f64,
}

impl Series {
    pub(crate) fn new(bounds: &'static [f64], start: u64) -> Self {
        let buckets = vec![0; bounds.len() + 1];
        Self { start, bounds, buckets, sum: 0.0, min: f64::INFINITY, max: 0.0 }
    }

    pub(crate) fn record(&mut self, seconds: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        if let Some(count) = self.buckets.get_mut(bucket) {
            *count += 1;
        }
        self.sum += seconds;
        self.min = self.min.min(seconds);
        self.max = self.max.max(seconds);
    }

    pub(crate) fn point(&self, attributes: &[Attribute], now: u64) -> HistogramDataPoint {
        HistogramDataPoint {
            attributes: attributes.iter().cloned().map(KeyValue::from).collect(),
            start_time_unix_nano: self.start,
            time_unix_nano: now.max(self.start),
            count: self.buckets.iter().sum(),
            sum: Some(self.sum),
            min: Some(self.min),
            max: Some(self.max),
            bucket_counts: self.buckets.clone(),
            explicit_bounds: self.bounds.to_vec(),
            ..HistogramDataPoint::default()
        }
    }
}

/// The series of one histogram: where they are among those of the resource, by their attributes.
#[derive(Debug, Default)]
struct OfInstrument {
    places: HashMap<Vec<Attribute>, usize>,
    overflow: Option<Series>,
}

/// The series of one resource.
#[derive(Debug)]
struct OfResource {
    /// No other one ever has the same.
    number: u64,
    resource: Arc<Resource>,
    instruments: HashMap<Instrument, OfInstrument>,
    /// Those of all histograms, but for what has no place of its own.
    series: Vec<Series>,
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
    /// How many there were.
    count: u64,
    series_max: usize,
    resources_max: usize,
}

/// Where a series is, for as long as its resource is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    resource: u64,
    series: usize,
}

/// What became of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// It has a series of its own kind, which is here.
    Series(Place),
    /// Its attributes were given up, since there are too many kinds.
    Overflow,
}

impl Histograms {
    pub(crate) fn new(series_max: usize, resources_max: usize) -> Self {
        let resources_max = resources_max.max(1);
        Self { resources: HashMap::new(), count: 0, series_max, resources_max }
    }

    /// Adds one exchange of the process that `resource` with identity `key` describes. `start`:
    /// when a series that begins with it began.
    pub(crate) fn record(
        &mut self,
        key: &Arc<[u8]>,
        resource: &Arc<Resource>,
        facts: &Facts,
        start: u64,
        seconds: f64,
    ) -> Recorded {
        let resource_key = self.room_for(key);
        let whose = if resource_key.is_empty() { Arc::default() } else { Arc::clone(resource) };
        let Self { resources, count, .. } = self;
        let of_resource = resources.entry(resource_key).or_insert_with(|| {
            *count += 1;
            OfResource::new(*count)
        });
        of_resource.note(&whose);
        of_resource.record(facts, self.series_max, start, seconds)
    }

    /// Adds one more to a series that is known; false where it is not there any more.
    pub(crate) fn record_at(
        &mut self,
        place: Place,
        (key, resource): (&[u8], &Arc<Resource>),
        seconds: f64,
    ) -> bool {
        let known = self.resources.get_mut(key).filter(|one| one.number == place.resource);
        let Some(of_resource) = known else { return false };
        let Some(series) = of_resource.series.get_mut(place.series) else { return false };
        series.record(seconds);
        of_resource.note(resource);
        true
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
    fn new(number: u64) -> Self {
        Self {
            number,
            resource: Arc::default(),
            instruments: HashMap::new(),
            series: Vec::new(),
            changed: false,
            idle: 0,
        }
    }

    /// It has more to tell. What is known of a process may have grown.
    fn note(&mut self, resource: &Arc<Resource>) {
        (self.changed, self.idle) = (true, 0);
        if !Arc::ptr_eq(&self.resource, resource) {
            self.resource = Arc::clone(resource);
        }
    }

    fn record(&mut self, facts: &Facts, series_max: usize, start: u64, seconds: f64) -> Recorded {
        let Self { number, instruments, series: all, .. } = self;
        let instrument = facts.instrument;
        let of_instrument = instruments.entry(instrument).or_default();
        let new = || Series::new(instrument.bounds(), start);
        let known = of_instrument.places.get(facts.shared.as_slice()).copied();
        if known.is_none() && all.len() >= series_max {
            of_instrument.overflow.get_or_insert_with(new).record(seconds);
            return Recorded::Overflow;
        }
        let series = known.unwrap_or_else(|| {
            all.push(new());
            of_instrument.places.insert(facts.shared.clone(), all.len() - 1);
            all.len() - 1
        });
        if let Some(one) = all.get_mut(series) {
            one.record(seconds);
        }
        Recorded::Series(Place { resource: *number, series })
    }

    fn collect(&self, now: u64) -> ResourceMetrics {
        let metrics = Instrument::ALL.into_iter().filter_map(|instrument| {
            let of_instrument = self.instruments.get(&instrument)?;
            Some(of_instrument.metric(instrument, &self.series, now))
        });
        ResourceMetrics {
            resource: Some(Resource::clone(&self.resource)),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(scope()),
                metrics: metrics.collect(),
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        }
    }
}

impl OfInstrument {
    /// `all`: the series of the resource.
    fn metric(&self, instrument: Instrument, all: &[Series], now: u64) -> Metric {
        let own = self
            .places
            .iter()
            .filter_map(|(attributes, at)| Some(all.get(*at)?.point(attributes, now)));
        let attributes = [Attribute::boolean("otel.metric.overflow", true)];
        let overflow = self.overflow.as_ref().map(|series| series.point(&attributes, now));
        Metric {
            name: instrument.name().to_owned(),
            description: instrument.description().to_owned(),
            unit: "s".to_owned(),
            metadata: Vec::new(),
            data: Some(Data::Histogram(Histogram {
                data_points: own.chain(overflow).collect(),
                aggregation_temporality: AggregationTemporality::Cumulative.into(),
            })),
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
