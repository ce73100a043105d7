//! From readings to OTLP, by the names of the semantic conventions.
//!
//! Invariant: pure; what is not known is absent.

use std::time::Duration;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
    metric::Data, number_data_point::Value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::TICK_NANOS;
use super::host::{MODES, Machine, Through};
use super::process::Usage;
use crate::histogram::scope;
use crate::span::attribute::Attribute;

/// Metrics that share their times.
struct Metrics {
    list: Vec<Metric>,
    start: u64,
    now: u64,
}

impl Metrics {
    fn new(start: u64, now: u64) -> Self {
        Self { list: Vec::new(), start, now }
    }

    /// A sum that only grows, or one that goes up and down.
    fn sum(&mut self, name: &str, unit: &str, grows: bool, values: Vec<(Vec<Attribute>, Value)>) {
        if values.is_empty() {
            return;
        }
        let point = |(attributes, value): (Vec<Attribute>, Value)| NumberDataPoint {
            attributes: attributes.into_iter().map(KeyValue::from).collect(),
            start_time_unix_nano: self.start,
            time_unix_nano: self.now.max(self.start),
            value: Some(value),
            ..NumberDataPoint::default()
        };
        let sum = Sum {
            data_points: values.into_iter().map(point).collect(),
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
            is_monotonic: grows,
        };
        self.list.push(Metric {
            name: name.to_owned(),
            description: String::new(),
            unit: unit.to_owned(),
            metadata: Vec::new(),
            data: Some(Data::Sum(sum)),
        });
    }

    fn of(self, resource: &Resource) -> ResourceMetrics {
        ResourceMetrics {
            resource: Some(resource.clone()),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(scope()),
                metrics: self.list,
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        }
    }
}

fn whole(value: u64) -> Value {
    Value::AsInt(i64::try_from(value).unwrap_or(i64::MAX))
}

fn seconds(ticks: u64) -> Value {
    Value::AsDouble(Duration::from_nanos(ticks.saturating_mul(TICK_NANOS)).as_secs_f64())
}

fn one(value: u64) -> Vec<(Vec<Attribute>, Value)> {
    vec![(Vec::new(), whole(value))]
}

/// Two values that an attribute tells apart.
fn two(key: &'static str, values: [(&'static str, Value); 2]) -> Vec<(Vec<Attribute>, Value)> {
    values.map(|(name, value)| (vec![Attribute::text(key, name)], value)).into()
}

/// The metrics of a process.
pub(super) fn process(resource: &Resource, usage: &Usage, start: u64, now: u64) -> ResourceMetrics {
    let mut metrics = Metrics::new(start, now);
    let cpu = [("user", seconds(usage.user_ticks)), ("system", seconds(usage.system_ticks))];
    metrics.sum("process.cpu.time", "s", true, two("cpu.mode", cpu));
    metrics.sum("process.memory.usage", "By", false, one(usage.resident_bytes));
    metrics.sum("process.memory.virtual", "By", false, one(usage.virtual_bytes));
    metrics.sum("process.thread.count", "{thread}", false, one(usage.threads));
    let faults = [("major", whole(usage.major_faults)), ("minor", whole(usage.minor_faults))];
    let faults = two("system.paging.fault.type", faults);
    metrics.sum("process.paging.faults", "{fault}", true, faults);
    if let Some((read, written)) = usage.disk {
        let disk = two("disk.io.direction", [("read", whole(read)), ("write", whole(written))]);
        metrics.sum("process.disk.io", "By", true, disk);
    }
    if let Some(count) = usage.descriptors {
        let name = "process.unix.file_descriptor.count";
        metrics.sum(name, "{file_descriptor}", false, one(count));
    }
    metrics.of(resource)
}

/// What processes hold that have no metrics of their own. What they have used is not told: a sum over
/// processes that come and go would not only grow.
pub(super) fn others(host: &Resource, others: &[Usage], now: u64) -> ResourceMetrics {
    let mut metrics = Metrics::new(0, now);
    let mut held = |name: &str, unit: &str, value: fn(&Usage) -> u64| {
        let sum = others.iter().map(value).sum();
        let overflow = vec![Attribute::boolean("otel.metric.overflow", true)];
        metrics.sum(name, unit, false, vec![(overflow, whole(sum))]);
    };
    held("process.memory.usage", "By", |usage| usage.resident_bytes);
    held("process.memory.virtual", "By", |usage| usage.virtual_bytes);
    held("process.thread.count", "{thread}", |usage| usage.threads);
    metrics.of(host)
}

/// How often each container was started again, as the Kubernetes API counts it.
pub(super) fn restarts(resource: &Resource, count: i64, now: u64) -> ResourceMetrics {
    let mut metrics = Metrics::new(0, now);
    let value = vec![(Vec::new(), Value::AsInt(count))];
    metrics.sum("k8s.container.restart.count", "{restart}", false, value);
    metrics.of(resource)
}

/// The metrics of the machine.
pub(super) fn machine(host: &Resource, machine: &Machine, start: u64, now: u64) -> ResourceMetrics {
    let mut metrics = Metrics::new(start, now);
    metrics.sum("system.cpu.time", "s", true, cpus(machine));
    let state = |(state, bytes): &(&'static str, u64)| {
        (vec![Attribute::text("system.memory.state", *state)], whole(*bytes))
    };
    let memory = machine.memory.iter().map(state).collect();
    metrics.sum("system.memory.usage", "By", false, memory);
    let network = through(
        &machine.network,
        "network.interface.name",
        "network.io.direction",
        ["receive", "transmit"],
    );
    metrics.sum("system.network.io", "By", true, network);
    let disks = through(&machine.disks, "system.device", "disk.io.direction", ["read", "write"]);
    metrics.sum("system.disk.io", "By", true, disks);
    metrics.of(host)
}

/// Two of the kernel's modes have one name: both kinds of interrupts.
fn cpus(machine: &Machine) -> Vec<(Vec<Attribute>, Value)> {
    let mut values = Vec::new();
    for (number, ticks) in &machine.cpus {
        let mut modes: Vec<(&str, u64)> = Vec::new();
        for (mode, ticks) in MODES.into_iter().zip(ticks) {
            match modes.last_mut() {
                Some((last, sum)) if *last == mode => *sum += ticks,
                _ => modes.push((mode, *ticks)),
            }
        }
        values.extend(modes.into_iter().map(|(mode, ticks)| {
            let number = Attribute::integer("cpu.logical_number", i64::from(*number));
            (vec![number, Attribute::text("cpu.mode", mode)], seconds(ticks))
        }));
    }
    values
}

fn through(
    all: &[Through],
    name: &'static str,
    direction: &'static str,
    [inward, outward]: [&'static str; 2],
) -> Vec<(Vec<Attribute>, Value)> {
    let values = |one: &Through| {
        let way = |way: &'static str, bytes| {
            let attributes =
                vec![Attribute::text(name, one.name.clone()), Attribute::text(direction, way)];
            (attributes, whole(bytes))
        };
        [way(inward, one.inward), way(outward, one.outward)]
    };
    all.iter().flat_map(values).collect()
}
