//! Data points of every kind: each request is one collection of all pods.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram,
    HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary,
    SummaryDataPoint,
};
use prost::Message;

use super::attributes::{scope, text};
use super::chance::Chance;
use super::fleet::Fleet;
use super::{Plan, Request, Signal};

const BOUNDS: [f64; 8] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];

/// Data points that a pod reports at a collection.
const POINTS_PER_POD: u64 = 8;

#[derive(Debug)]
pub(super) struct MetricMaker {
    fleet: Fleet,
    chance: Chance,
    start: u64,
    time: u64,
    every: u64,
    items_left: u64,
    collections: u64,
}

impl MetricMaker {
    pub(super) fn new(plan: &Plan) -> Self {
        let fleet = Fleet::new(plan.seed, &plan.run);
        let points = POINTS_PER_POD * fleet.pods.len() as u64;
        Self {
            fleet,
            chance: Chance::new(plan.seed, "metrics"),
            start: plan.start_nanos,
            time: plan.start_nanos,
            every: points * 1_000_000_000 / plan.items_per_second.max(1),
            items_left: plan.items,
            collections: 0,
        }
    }

    fn of_pod(&mut self, pod: usize) -> ResourceMetrics {
        let metrics = vec![
            metric("jvm.memory.used", "By", self.gauge()),
            metric("http.server.active_requests", "{request}", self.sum(false)),
            metric("process.cpu.time", "s", self.sum(true)),
            metric("http.server.request.duration", "s", self.histogram()),
            metric("db.client.operation.duration", "s", self.exponential()),
            metric("jvm.gc.duration", "s", self.summary()),
        ];
        ResourceMetrics {
            resource: Some(self.fleet.pods[pod].resource.clone()),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(scope("io.opentelemetry.runtime")),
                metrics,
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }
    }

    fn gauge(&mut self) -> Data {
        let pools = ["eden", "survivor", "old"];
        let bytes =
            |it: &mut Self| Value::AsInt(i64::try_from(it.chance.below(1 << 30)).unwrap_or(0));
        let data_points = pools
            .iter()
            .map(|pool| {
                let value = bytes(self);
                self.number(vec![text("jvm.memory.pool.name", *pool)], value)
            })
            .collect();
        Data::Gauge(Gauge { data_points })
    }

    fn sum(&mut self, is_monotonic: bool) -> Data {
        let attributes = vec![text("url.scheme", "http")];
        let value = if is_monotonic {
            Value::AsDouble(self.collections as f64 * 0.25 + self.chance.unit())
        } else {
            Value::AsInt(i64::try_from(self.chance.below(200)).unwrap_or(0))
        };
        Data::Sum(Sum {
            data_points: vec![self.number(attributes, value)],
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
            is_monotonic,
        })
    }

    fn number(&self, attributes: Vec<KeyValue>, value: Value) -> NumberDataPoint {
        NumberDataPoint {
            attributes,
            start_time_unix_nano: self.start,
            time_unix_nano: self.time,
            value: Some(value),
            ..NumberDataPoint::default()
        }
    }

    fn histogram(&mut self) -> Data {
        let bucket_counts: Vec<u64> = (0..=BOUNDS.len()).map(|_| self.chance.below(90)).collect();
        let count = bucket_counts.iter().sum();
        let point = HistogramDataPoint {
            attributes: vec![
                text("http.request.method", "GET"),
                text("http.route", "/api/v1/cart"),
            ],
            start_time_unix_nano: self.start,
            time_unix_nano: self.time,
            count,
            sum: Some(count as f64 * 0.05),
            bucket_counts,
            explicit_bounds: BOUNDS.to_vec(),
            min: Some(0.001),
            max: Some(4.2),
            ..HistogramDataPoint::default()
        };
        let aggregation_temporality = AggregationTemporality::Delta.into();
        Data::Histogram(Histogram { data_points: vec![point], aggregation_temporality })
    }

    fn exponential(&mut self) -> Data {
        let bucket_counts: Vec<u64> = (0..20).map(|_| self.chance.below(40)).collect();
        let zero_count = self.chance.below(3);
        let count = bucket_counts.iter().sum::<u64>() + zero_count;
        let point = ExponentialHistogramDataPoint {
            attributes: vec![text("db.operation.name", "SELECT")],
            start_time_unix_nano: self.start,
            time_unix_nano: self.time,
            count,
            sum: Some(count as f64 * 0.01),
            scale: 3,
            zero_count,
            positive: Some(Buckets { offset: -40, bucket_counts }),
            ..ExponentialHistogramDataPoint::default()
        };
        let aggregation_temporality = AggregationTemporality::Delta.into();
        Data::ExponentialHistogram(ExponentialHistogram {
            data_points: vec![point],
            aggregation_temporality,
        })
    }

    fn summary(&mut self) -> Data {
        let quantile = |quantile, value| ValueAtQuantile { quantile, value };
        let point = SummaryDataPoint {
            attributes: vec![text("jvm.gc.name", "G1 Young Generation")],
            start_time_unix_nano: self.start,
            time_unix_nano: self.time,
            count: self.collections,
            sum: self.collections as f64 * 0.004,
            quantile_values: vec![quantile(0.5, 0.003), quantile(0.99, self.chance.unit())],
            ..SummaryDataPoint::default()
        };
        Data::Summary(Summary { data_points: vec![point] })
    }
}

fn metric(name: &str, unit: &str, data: Data) -> Metric {
    Metric {
        name: name.to_owned(),
        unit: unit.to_owned(),
        description: format!("{name} of this process"),
        data: Some(data),
        ..Metric::default()
    }
}

impl Iterator for MetricMaker {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        let pods = (self.items_left / POINTS_PER_POD).min(self.fleet.pods.len() as u64);
        if pods == 0 {
            return None;
        }
        let items = pods * POINTS_PER_POD;
        self.items_left -= items;
        self.collections += 1;
        self.time += self.every;
        let resources = usize::try_from(pods).unwrap_or(0);
        let resource_metrics = (0..resources).map(|pod| self.of_pod(pod)).collect();
        let message = ExportMetricsServiceRequest { resource_metrics }.encode_to_vec();
        Some(Request { signal: Signal::Metrics, message, items, span_ids: Vec::new(), resources })
    }
}
