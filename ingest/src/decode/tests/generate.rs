//! Random requests: every field, every kind of value, and now and then something unreadable.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod profiles;

use icecore_store::Signal;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram,
    HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary,
    SummaryDataPoint, exemplar, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;

pub(super) use self::profiles::profiles;

/// A small generator of numbers that a seed determines (SplitMix64).
#[derive(Debug)]
pub(super) struct Dice {
    state: u64,
    finite: bool,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed, finite: false }
    }

    /// Without NaN and the infinities.
    pub(super) fn finite(seed: u64) -> Self {
        Self { state: seed, finite: true }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    fn many<T>(&mut self, most: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = self.below(most + 1);
        (0..count).map(|_| make(self)).collect()
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (!self.one_in(3)).then(|| make(self))
    }

    fn text(&mut self) -> String {
        self.pick(&["", "a", "GET", "é✓", "quote\" and \\ and \n\u{1}", "$x", "/users/:id"])
            .to_owned()
    }

    fn key(&mut self) -> String {
        let keys = ["http.route", "service.name", "a", "b", "c", "", "$k", "ключ", "k\"q"];
        self.pick(&keys).to_owned()
    }

    fn number(&mut self) -> i64 {
        let any = self.next().cast_signed();
        self.pick(&[0, 1, -1, 200, i64::MAX, i64::MIN, any])
    }

    fn double(&mut self) -> f64 {
        if self.finite || self.one_in(2) {
            self.pick(&[0.0, -0.0, 1.5, 0.1, 3.0])
        } else {
            self.pick(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY])
        }
    }

    fn small(&mut self) -> u32 {
        self.pick(&[0, 0, 1, 300, u32::MAX])
    }

    fn time(&mut self) -> u64 {
        let near = 1_700_000_000_000_000_000 + self.next() % 1_000_000_000_000;
        if self.one_in(60) { u64::MAX } else { self.pick(&[near, near, near, near, 0, 1]) }
    }

    fn id(&mut self, bytes: usize, may_lack: bool) -> Vec<u8> {
        let bytes = match self.below(40) {
            0 => bytes - 1,
            1..8 if may_lack => 0,
            _ => bytes,
        };
        (0..bytes).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    fn enumeration(&mut self) -> i32 {
        self.pick(&[0, 1, 2, 3, 4, 5, 6, -7, i32::MAX])
    }

    fn any_value(&mut self, depth: usize) -> AnyValue {
        let inner = depth < 3;
        let value = match self.below(if inner { 12 } else { 8 }) {
            0..3 => Value::StringValue(self.text()),
            3 => Value::BoolValue(self.one_in(2)),
            4 => Value::IntValue(self.number()),
            5 => Value::DoubleValue(self.double()),
            6 => Value::BytesValue(self.text().into_bytes()),
            7 if self.one_in(2) => return AnyValue { value: None },
            7 => Value::StringValueStrindex(self.pick(&[0, 1, 2, 3])),
            8 | 9 => {
                let values = self.many(3, |dice| dice.any_value(depth + 1));
                Value::ArrayValue(ArrayValue { values })
            }
            _ => {
                let values = self.many(3, |dice| dice.key_value(depth + 1));
                Value::KvlistValue(KeyValueList { values })
            }
        };
        AnyValue { value: Some(value) }
    }

    fn key_value(&mut self, depth: usize) -> KeyValue {
        let key_strindex = if self.one_in(30) { self.pick(&[1, 2, 3, 7]) } else { 0 };
        let value = if self.one_in(15) { None } else { Some(self.any_value(depth)) };
        KeyValue { key: self.key(), value, key_strindex }
    }

    fn attributes(&mut self) -> Vec<KeyValue> {
        self.many(8, |dice| dice.key_value(0))
    }

    fn resource(&mut self) -> Resource {
        Resource {
            attributes: self.attributes(),
            dropped_attributes_count: self.small(),
            entity_refs: self.many(1, |dice| EntityRef {
                schema_url: dice.text(),
                r#type: dice.text(),
                id_keys: dice.many(2, Self::key),
                description_keys: dice.many(2, Self::key),
            }),
        }
    }

    fn scope(&mut self) -> InstrumentationScope {
        InstrumentationScope {
            name: self.text(),
            version: self.text(),
            attributes: self.many(1, |dice| dice.key_value(0)),
            dropped_attributes_count: self.small(),
        }
    }

    fn span(&mut self) -> Span {
        Span {
            trace_id: self.id(16, false),
            span_id: self.id(8, false),
            trace_state: self.text(),
            parent_span_id: self.id(8, true),
            flags: self.small(),
            name: self.text(),
            kind: self.enumeration(),
            start_time_unix_nano: self.time(),
            end_time_unix_nano: self.time(),
            attributes: self.attributes(),
            dropped_attributes_count: self.small(),
            events: self.many(2, |dice| Event {
                time_unix_nano: dice.time(),
                name: dice.text(),
                attributes: dice.many(2, |dice| dice.key_value(0)),
                dropped_attributes_count: dice.small(),
            }),
            dropped_events_count: self.small(),
            links: self.many(1, |dice| Link {
                trace_id: dice.id(16, false),
                span_id: dice.id(8, false),
                trace_state: dice.text(),
                attributes: dice.many(2, |dice| dice.key_value(0)),
                dropped_attributes_count: dice.small(),
                flags: dice.small(),
            }),
            dropped_links_count: self.small(),
            status: self.maybe(|dice| Status { message: dice.text(), code: dice.enumeration() }),
        }
    }

    fn log_record(&mut self) -> LogRecord {
        LogRecord {
            time_unix_nano: self.time(),
            observed_time_unix_nano: self.time(),
            severity_number: self.enumeration(),
            severity_text: self.text(),
            body: self.maybe(|dice| dice.any_value(0)),
            attributes: self.attributes(),
            dropped_attributes_count: self.small(),
            flags: self.small(),
            trace_id: self.id(16, true),
            span_id: self.id(8, true),
            event_name: self.text(),
        }
    }

    fn exemplar(&mut self) -> Exemplar {
        Exemplar {
            filtered_attributes: self.many(2, |dice| dice.key_value(0)),
            time_unix_nano: self.time(),
            span_id: self.id(8, true),
            trace_id: self.id(16, true),
            value: match self.below(3) {
                0 => None,
                1 => Some(exemplar::Value::AsDouble(self.double())),
                _ => Some(exemplar::Value::AsInt(self.number())),
            },
        }
    }

    fn number_point(&mut self) -> NumberDataPoint {
        NumberDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: self.time(),
            time_unix_nano: self.time(),
            exemplars: self.many(1, Self::exemplar),
            flags: self.small(),
            value: match self.below(3) {
                0 => None,
                1 => Some(number_data_point::Value::AsDouble(self.double())),
                _ => Some(number_data_point::Value::AsInt(self.number())),
            },
        }
    }

    fn histogram_point(&mut self) -> HistogramDataPoint {
        HistogramDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: self.time(),
            time_unix_nano: self.time(),
            count: self.next(),
            sum: self.maybe(Self::double),
            bucket_counts: self.many(4, Self::next),
            explicit_bounds: self.many(4, Self::double),
            exemplars: self.many(1, Self::exemplar),
            flags: self.small(),
            min: self.maybe(Self::double),
            max: self.maybe(Self::double),
        }
    }

    fn buckets(&mut self) -> Buckets {
        Buckets { offset: self.enumeration(), bucket_counts: self.many(4, Self::next) }
    }

    fn exponential_point(&mut self) -> ExponentialHistogramDataPoint {
        ExponentialHistogramDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: self.time(),
            time_unix_nano: self.time(),
            count: self.next(),
            sum: self.maybe(Self::double),
            scale: self.enumeration(),
            zero_count: self.next(),
            positive: self.maybe(Self::buckets),
            negative: self.maybe(Self::buckets),
            flags: self.small(),
            exemplars: self.many(1, Self::exemplar),
            min: self.maybe(Self::double),
            max: self.maybe(Self::double),
            zero_threshold: self.double(),
        }
    }

    fn summary_point(&mut self) -> SummaryDataPoint {
        SummaryDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: self.time(),
            time_unix_nano: self.time(),
            count: self.next(),
            sum: self.double(),
            quantile_values: self
                .many(3, |dice| ValueAtQuantile { quantile: dice.double(), value: dice.double() }),
            flags: self.small(),
        }
    }

    fn metric(&mut self) -> Metric {
        let aggregation_temporality = self.enumeration();
        let data = match self.below(6) {
            0 => None,
            1 => Some(metric::Data::Gauge(Gauge { data_points: self.many(3, Self::number_point) })),
            2 => Some(metric::Data::Sum(Sum {
                data_points: self.many(3, Self::number_point),
                aggregation_temporality,
                is_monotonic: self.one_in(2),
            })),
            3 => Some(metric::Data::Histogram(Histogram {
                data_points: self.many(3, Self::histogram_point),
                aggregation_temporality,
            })),
            4 => Some(metric::Data::ExponentialHistogram(ExponentialHistogram {
                data_points: self.many(3, Self::exponential_point),
                aggregation_temporality,
            })),
            _ => Some(metric::Data::Summary(Summary {
                data_points: self.many(3, Self::summary_point),
            })),
        };
        Metric {
            name: self.text(),
            description: self.text(),
            unit: self.text(),
            metadata: self.many(1, |dice| dice.key_value(0)),
            data,
        }
    }
}

/// One request, encoded.
pub(super) fn request(signal: Signal, dice: &mut Dice) -> Vec<u8> {
    match signal {
        Signal::Traces => traces(dice).encode_to_vec(),
        Signal::Metrics => metrics(dice).encode_to_vec(),
        Signal::Logs => logs(dice).encode_to_vec(),
        Signal::Profiles => profiles(dice).encode_to_vec(),
    }
}

pub(super) fn traces(dice: &mut Dice) -> ExportTraceServiceRequest {
    let resource_spans = dice.many(4, |dice| ResourceSpans {
        resource: dice.maybe(Dice::resource),
        scope_spans: dice.many(2, |dice| ScopeSpans {
            scope: dice.maybe(Dice::scope),
            spans: dice.many(4, Dice::span),
            schema_url: dice.text(),
        }),
        schema_url: dice.text(),
    });
    ExportTraceServiceRequest { resource_spans }
}

pub(super) fn metrics(dice: &mut Dice) -> ExportMetricsServiceRequest {
    let resource_metrics = dice.many(4, |dice| ResourceMetrics {
        resource: dice.maybe(Dice::resource),
        scope_metrics: dice.many(2, |dice| ScopeMetrics {
            scope: dice.maybe(Dice::scope),
            metrics: dice.many(4, Dice::metric),
            schema_url: dice.text(),
        }),
        schema_url: dice.text(),
    });
    ExportMetricsServiceRequest { resource_metrics }
}

pub(super) fn logs(dice: &mut Dice) -> ExportLogsServiceRequest {
    let resource_logs = dice.many(4, |dice| ResourceLogs {
        resource: dice.maybe(Dice::resource),
        scope_logs: dice.many(2, |dice| ScopeLogs {
            scope: dice.maybe(Dice::scope),
            log_records: dice.many(4, Dice::log_record),
            schema_url: dice.text(),
        }),
        schema_url: dice.text(),
    });
    ExportLogsServiceRequest { resource_logs }
}

/// The same bytes with a few changes, of the kinds that make fields merge, lengths lie and
/// texts break.
pub(super) fn damage(whole: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for _ in 0..=dice.below(3) {
        let at = dice.below(bytes.len());
        let end = (at + dice.below(40)).min(bytes.len());
        let noise = dice.next().to_le_bytes()[0];
        let piece = bytes[at.min(end)..end].to_vec();
        match dice.below(7) {
            0 => bytes.truncate(at),
            1 => drop(bytes.splice(at..at, piece)),
            2 => drop(bytes.splice(at..end, [])),
            3 => bytes.extend(piece),
            4 => bytes.extend_from_slice(whole),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    // Small changes keep keys near to other keys.
                    *byte = if noise & 1 == 0 { noise } else { *byte ^ (1 << (noise >> 5)) };
                }
            }
        }
    }
    bytes
}
