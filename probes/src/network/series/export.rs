//! From totals to OTLP.
//!
//! Invariant: pure but for what was told; a metric has one name, unit and kind.

use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, metric::Data, number_data_point::Value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::super::peer::Peer;
use super::{OfProcess, Totals};
use crate::histogram::{Series, scope};
use crate::span::attribute::Attribute;

/// Totals and the attributes that they go by.
type Told<'t> = (&'t Totals, Vec<Attribute>);

/// Peers that are told of at once: some three kilobytes each.
const PEERS_MAX: usize = 256;

/// The metrics of a process that are new, in parts that are not too long to send.
pub(super) fn process(process: &mut OfProcess, now: u64) -> Vec<ResourceMetrics> {
    let news = |(peer, totals): (&Peer, &'_ mut Totals)| totals.take_news().then(|| peer.clone());
    let changed: Vec<Peer> = process.peers.iter_mut().filter_map(news).collect();
    let of_peers = changed.chunks(PEERS_MAX).map(|some| {
        let told =
            some.iter().filter_map(|peer| Some((process.peers.get(peer)?, peer.attributes())));
        totals(&told.collect::<Vec<Told<'_>>>(), now)
    });
    let parts = of_peers.chain(std::iter::once(listeners(process, now)));
    let parts = parts.filter(|metrics| !metrics.is_empty());
    parts.map(|metrics| of_resource(Resource::clone(&process.resource), metrics)).collect()
}

/// The metrics of whoever has no series of their own.
pub(super) fn others(others: &mut Totals, now: u64) -> Option<ResourceMetrics> {
    let attributes = vec![Attribute::boolean("otel.metric.overflow", true)];
    let told = others.take_news().then(|| totals(&[(others, attributes)], now))?;
    Some(of_resource(Resource::default(), told))
}

/// Metrics of one resource.
pub(in super::super) fn of_resource(resource: Resource, metrics: Vec<Metric>) -> ResourceMetrics {
    ResourceMetrics {
        resource: Some(resource),
        scope_metrics: vec![ScopeMetrics {
            scope: Some(scope()),
            metrics,
            schema_url: String::new(),
        }],
        schema_url: String::new(),
    }
}

fn totals(told: &[Told<'_>], now: u64) -> Vec<Metric> {
    if told.is_empty() {
        return Vec::new();
    }
    let each = |points: &dyn Fn(&Told<'_>) -> Vec<NumberDataPoint>| {
        told.iter().flat_map(points).collect::<Vec<_>>()
    };
    let both = |one: &Told<'_>, sent: u64, received: u64| {
        let way = |value, direction| {
            point(one, &[Attribute::text("network.io.direction", direction)], value, now)
        };
        vec![way(sent, "transmit"), way(received, "receive")]
    };
    let io = each(&|one| both(one, one.0.moved.sent, one.0.moved.received));
    let packets = each(&|one| both(one, one.0.moved.segments_sent, one.0.moved.segments_received));
    let of_tcp = |one: &Told<'_>, value| {
        (!one.0.datagrams).then(|| point(one, &[], value, now)).into_iter().collect()
    };
    let retransmits = each(&|one| of_tcp(one, one.0.moved.retransmits));
    let open = each(&|one| of_tcp(one, one.0.open));
    let ended = each(&|one| ended(one, now));
    let mut metrics = vec![
        sum(
            "icecore.network.flow.io",
            "Bytes of payload that TCP and UDP have moved.",
            "By",
            io,
            true,
        ),
        sum(
            "icecore.network.flow.packets",
            "TCP segments and datagrams.",
            "{packet}",
            packets,
            true,
        ),
        sum(
            "icecore.network.tcp.retransmits",
            "TCP segments that were sent again.",
            "{segment}",
            retransmits,
            true,
        ),
        sum("icecore.network.connections.open", "Open connections.", "{connection}", open, false),
    ];
    metrics.retain(
        |metric| !matches!(&metric.data, Some(Data::Sum(sum)) if sum.data_points.is_empty()),
    );
    if !ended.is_empty() {
        let about = "Connections that have ended or were never made.";
        let name = "icecore.network.connections.ended";
        metrics.push(sum(name, about, "{connection}", ended, true));
    }
    let fallen = each(&|one| fallen(one, now));
    if !fallen.is_empty() {
        let about = "TCP segments that the kernel threw away.";
        metrics.push(sum("icecore.network.tcp.drops", about, "{segment}", fallen, true));
    }
    let rtt = "Smoothed round trip times of connections, at their end and once a walk.";
    metrics.extend(histogram("icecore.network.tcp.rtt", rtt, told, |one| &one.rtt, now));
    let connect = "From the first segment of a client to its connection.";
    let name = "icecore.network.connect.duration";
    metrics.extend(histogram(name, connect, told, |one| &one.connect, now));
    metrics
}

fn ended(told: &Told<'_>, now: u64) -> Vec<NumberDataPoint> {
    let one = |(ending, count): (&super::Ending, &u64)| {
        let mut own = vec![Attribute::text("icecore.network.ending", ending.name())];
        own.extend(ending.error().map(|error| Attribute::text("error.type", error)));
        point(told, &own, *count, now)
    };
    told.0.ended.iter().map(one).collect()
}

fn fallen(told: &Told<'_>, now: u64) -> Vec<NumberDataPoint> {
    let one = |(reason, count): (&Arc<str>, &u64)| {
        let reason = Attribute::text("icecore.network.drop.reason", reason.to_string());
        point(told, &[reason], *count, now)
    };
    told.0.fallen.iter().map(one).collect()
}

fn point(told: &Told<'_>, own: &[Attribute], value: u64, now: u64) -> NumberDataPoint {
    let (totals, attributes) = told;
    number(attributes.iter().chain(own).cloned(), (totals.start, now), value)
}

/// A point of a sum, from when and as of when.
pub(in super::super) fn number(
    attributes: impl Iterator<Item = Attribute>,
    (start, now): (u64, u64),
    value: u64,
) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes.map(KeyValue::from).collect(),
        start_time_unix_nano: start,
        time_unix_nano: now.max(start),
        value: Some(Value::AsInt(i64::try_from(value).unwrap_or(i64::MAX))),
        ..NumberDataPoint::default()
    }
}

fn metric(name: &str, about: &str, unit: &str, data: Data) -> Metric {
    Metric {
        name: name.to_owned(),
        description: about.to_owned(),
        unit: unit.to_owned(),
        metadata: Vec::new(),
        data: Some(data),
    }
}

/// A sum since its points began.
pub(in super::super) fn sum(
    name: &str,
    about: &str,
    unit: &str,
    data_points: Vec<NumberDataPoint>,
    is_monotonic: bool,
) -> Metric {
    let aggregation_temporality = AggregationTemporality::Cumulative.into();
    let sum = Sum { data_points, aggregation_temporality, is_monotonic };
    metric(name, about, unit, Data::Sum(sum))
}

fn histogram(
    name: &str,
    about: &str,
    told: &[Told<'_>],
    series: impl Fn(&Totals) -> &Series,
    now: u64,
) -> Option<Metric> {
    let points = told.iter().map(|(totals, attributes)| series(totals).point(attributes, now));
    let data_points: Vec<_> = points.filter(|point| point.count > 0).collect();
    let aggregation_temporality = AggregationTemporality::Cumulative.into();
    let some = !data_points.is_empty();
    let histogram = Histogram { data_points, aggregation_temporality };
    some.then(|| metric(name, about, "s", Data::Histogram(histogram)))
}

/// How many connections wait to be accepted, and how many may.
fn listeners(process: &OfProcess, now: u64) -> Vec<Metric> {
    if process.listeners.is_empty() {
        return Vec::new();
    }
    let gauge = |name: &str, about: &str, value: &dyn Fn(&super::Listener) -> u32| {
        let point = |listener: &super::Listener| NumberDataPoint {
            attributes: [
                Attribute::text("network.transport", "tcp"),
                Attribute::text("network.local.address", listener.address.clone()),
                Attribute::integer("network.local.port", i64::from(listener.port)),
            ]
            .map(KeyValue::from)
            .into(),
            time_unix_nano: now,
            value: Some(Value::AsInt(i64::from(value(listener)))),
            ..NumberDataPoint::default()
        };
        let data_points = process.listeners.iter().map(point).collect();
        metric(name, about, "{connection}", Data::Gauge(Gauge { data_points }))
    };
    vec![
        gauge(
            "icecore.network.listener.backlog",
            "Connections that wait to be accepted.",
            &|listener| listener.backlog,
        ),
        gauge(
            "icecore.network.listener.backlog.limit",
            "How many connections may wait to be accepted.",
            &|listener| listener.backlog_max,
        ),
    ]
}
