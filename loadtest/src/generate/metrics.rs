//! Data points of every kind: collections of all pods, a few of them a request, as behind a gateway.

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge,
    Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
    Summary, SummaryDataPoint, exemplar,
};
use prost::Message;

use super::attributes::scope;
use super::chance::Chance;
use super::fleet::Fleet;
use super::series::{BOUNDS, FAMILIES, Family, Series, Shape, State, buckets};
use super::{Plan, Request, Signal};

/// Points that a request holds at least, but for the last one.
const POINTS: u64 = 1_000;

/// One point of a histogram in so many has an exemplar.
const EXEMPLAR_EVERY: u64 = 64;

/// Bits of an item's id that are the number of its series; the milliseconds of its time are above.
pub(crate) const SERIES_BITS: u32 = 22;

#[derive(Debug)]
pub(super) struct MetricMaker {
    fleet: Arc<Fleet>,
    chance: Chance,
    start: u64,
    /// Between two collections of a pod.
    every: u64,
    series: Vec<Series>,
    items_left: u64,
    /// Pods collected so far, over all collections.
    collected: u64,
}

/// When and for which request points are made.
struct Collection {
    start: u64,
    time: u64,
    room: u64,
    ids: Vec<[u8; 8]>,
}

impl MetricMaker {
    pub(super) fn new(plan: &Plan) -> Self {
        let mut chance = Chance::new(plan.seed, "metrics");
        let fleet = Arc::new(Fleet::new(plan.seed, &plan.run));
        let pods = fleet.pods.len();
        let series = plan.series.min(1 << SERIES_BITS);
        let series = (0..usize::try_from(series).unwrap_or(1).max(1))
            .map(|number| Series::new(FAMILIES[number / pods % FAMILIES.len()].shape, &mut chance))
            .collect::<Vec<_>>();
        let every = series.len() as u64 * 1_000_000_000 / plan.items_per_second.max(1);
        // A millisecond each at least: ids tell collections apart by them.
        let every = every.max(1_000_000);
        let (start, items_left) = (plan.start_nanos, plan.items);
        Self { fleet, chance, start, every, series, items_left, collected: 0 }
    }

    /// Pods collect at moments of their own, and never quite on time.
    fn time(&mut self, pod: usize, round: u64) -> u64 {
        let offset = self.every / self.fleet.pods.len() as u64 * pod as u64;
        let late = self.chance.below((self.every / 2_000).max(1));
        self.start + round * self.every + offset + late
    }

    /// The next pod's collection, if it has series and there is room for one point.
    fn collect(&mut self, request: &mut Request) -> Option<ResourceMetrics> {
        let pods = self.fleet.pods.len();
        let number = usize::try_from(self.collected).unwrap_or(0);
        let (pod, round) = (number % pods, self.collected / pods as u64);
        self.collected += 1;
        let mut collection = Collection {
            start: self.start,
            time: self.time(pod, round),
            room: self.items_left,
            ids: Vec::new(),
        };
        let metrics: Vec<Metric> = (0..FAMILIES.len())
            .filter_map(|family| self.metric(pod, family, &mut collection))
            .collect();
        let made = collection.ids.len() as u64;
        self.items_left -= made;
        request.items += made;
        request.ids.append(&mut collection.ids);
        (made > 0).then(|| ResourceMetrics {
            resource: Some(self.fleet.pods[pod].resource.clone()),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(scope("io.opentelemetry.runtime")),
                metrics,
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        })
    }

    /// The points of one family in one pod.
    fn metric(&mut self, pod: usize, family: usize, to: &mut Collection) -> Option<Metric> {
        let (pods, of) = (self.fleet.pods.len(), &FAMILIES[family]);
        let mut points = Points::default();
        let mut number = family * pods + pod;
        for nth in 0.. {
            if number >= self.series.len() || to.room == 0 {
                break;
            }
            to.room -= 1;
            to.ids.push(((to.time / 1_000_000) << SERIES_BITS | number as u64).to_be_bytes());
            self.series[number].step(&mut self.chance);
            let service = self.fleet.service(pod);
            let attributes = of.attributes(service, nth, number as u64);
            points.add(of, &self.series[number].state, attributes, to, &mut self.chance);
            number += FAMILIES.len() * pods;
        }
        points.finish(of)
    }
}

/// Points of one metric, of one kind.
#[derive(Debug, Default)]
struct Points {
    numbers: Vec<NumberDataPoint>,
    histograms: Vec<HistogramDataPoint>,
    exponentials: Vec<ExponentialHistogramDataPoint>,
    summaries: Vec<SummaryDataPoint>,
}

type Attributes = Vec<opentelemetry_proto::tonic::common::v1::KeyValue>;

impl Points {
    fn add(
        &mut self,
        family: &Family,
        state: &State,
        attributes: Attributes,
        at: &Collection,
        chance: &mut Chance,
    ) {
        let (start_time_unix_nano, time_unix_nano) = (at.start, at.time);
        let value = match state {
            State::Int(value) => Value::AsInt(*value),
            State::Double(value) => Value::AsDouble(*value),
            State::Distribution { counts, sum, quantiles } => {
                let moved = (counts.as_slice(), *sum, *quantiles);
                return self.add_distribution(family, moved, attributes, at, chance);
            }
        };
        // Gauges have no start: it would say nothing.
        let gauge = matches!(family.shape, Shape::Bytes | Shape::Limit | Shape::Share);
        self.numbers.push(NumberDataPoint {
            attributes,
            start_time_unix_nano: if gauge { 0 } else { start_time_unix_nano },
            time_unix_nano,
            value: Some(value),
            ..NumberDataPoint::default()
        });
    }

    fn add_distribution(
        &mut self,
        family: &Family,
        (counts, sum, quantiles): (&[u64], f64, [f64; 2]),
        attributes: Attributes,
        at: &Collection,
        chance: &mut Chance,
    ) {
        let (start_time_unix_nano, time_unix_nano) = (at.start, at.time);
        let count = counts.iter().sum();
        match family.shape {
            Shape::Exponential => self.exponentials.push(ExponentialHistogramDataPoint {
                attributes,
                start_time_unix_nano,
                time_unix_nano,
                count,
                sum: Some(sum),
                scale: 3,
                positive: Some(buckets(counts)),
                ..ExponentialHistogramDataPoint::default()
            }),
            Shape::Summary => self.summaries.push(SummaryDataPoint {
                attributes,
                start_time_unix_nano,
                time_unix_nano,
                count,
                sum,
                quantile_values: [0.5, 0.99]
                    .into_iter()
                    .zip(quantiles)
                    .map(|(quantile, value)| ValueAtQuantile { quantile, value })
                    .collect(),
                ..SummaryDataPoint::default()
            }),
            _ => self.histograms.push(HistogramDataPoint {
                attributes,
                start_time_unix_nano,
                time_unix_nano,
                count,
                sum: Some(sum),
                bucket_counts: counts.to_vec(),
                explicit_bounds: BOUNDS.to_vec(),
                exemplars: exemplars(at, chance),
                ..HistogramDataPoint::default()
            }),
        }
    }

    fn finish(self, family: &Family) -> Option<Metric> {
        let Self { numbers, histograms, exponentials, summaries } = self;
        let cumulative = AggregationTemporality::Cumulative.into();
        let data = match family.shape {
            Shape::Bytes | Shape::Limit | Shape::Share if !numbers.is_empty() => {
                Data::Gauge(Gauge { data_points: numbers })
            }
            Shape::Level | Shape::Count | Shape::Seconds if !numbers.is_empty() => Data::Sum(Sum {
                data_points: numbers,
                aggregation_temporality: cumulative,
                is_monotonic: family.shape != Shape::Level,
            }),
            Shape::Histogram if !histograms.is_empty() => Data::Histogram(Histogram {
                data_points: histograms,
                aggregation_temporality: cumulative,
            }),
            Shape::Exponential if !exponentials.is_empty() => {
                Data::ExponentialHistogram(ExponentialHistogram {
                    data_points: exponentials,
                    aggregation_temporality: cumulative,
                })
            }
            Shape::Summary if !summaries.is_empty() => {
                Data::Summary(Summary { data_points: summaries })
            }
            _ => return None,
        };
        Some(Metric {
            name: family.name.to_owned(),
            unit: family.unit.to_owned(),
            description: format!("{} of this process", family.name),
            data: Some(data),
            ..Metric::default()
        })
    }
}

/// Now and then the request that made a point what it is.
fn exemplars(at: &Collection, chance: &mut Chance) -> Vec<Exemplar> {
    if chance.below(EXEMPLAR_EVERY) > 0 {
        return Vec::new();
    }
    let trace_id = [chance.next().to_be_bytes(), chance.next().to_be_bytes()].concat();
    vec![Exemplar {
        time_unix_nano: at.time.saturating_sub(chance.below(1_000_000_000)),
        span_id: chance.next().to_be_bytes().to_vec(),
        trace_id,
        value: Some(exemplar::Value::AsDouble(chance.log_normal(0.04, 1.1))),
        ..Exemplar::default()
    }]
}

impl Iterator for MetricMaker {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        let mut request = Request::new(Signal::Metrics);
        let mut resource_metrics = Vec::new();
        while request.items < POINTS && self.items_left > 0 {
            resource_metrics.extend(self.collect(&mut request));
        }
        request.resources = resource_metrics.len();
        request.message = ExportMetricsServiceRequest { resource_metrics }.encode_to_vec();
        (request.items > 0).then_some(request)
    }
}
