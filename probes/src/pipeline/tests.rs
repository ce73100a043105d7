//! Spans and histograms side by side.

use std::collections::HashSet;

use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{Histogram, ResourceMetrics, metric::Data};
use opentelemetry_proto::tonic::trace::v1::{ScopeSpans, Span};
use prost::Message as _;
use tokio::sync::mpsc;

use super::*;
use crate::emit::Item;
use crate::identity::{self, IdentityConfig, Kubernetes};
use crate::protocol::Role;
use crate::span::tests::{connection, exchange};

async fn pipeline(config: PipelineConfig, queue: usize) -> (Pipeline, mpsc::Receiver<Item>) {
    let mut registry = Registry::default();
    let no_cluster = IdentityConfig { kubernetes: Kubernetes::Off, ..IdentityConfig::default() };
    let (identity, _task) = identity::open(no_cluster, &mut registry).await.unwrap();
    let (emitter, items) = Emitter::to_queue(queue);
    (Pipeline::new(config, identity, emitter, &mut registry), items)
}

fn histograms(metrics: Vec<ResourceMetrics>) -> Vec<(String, Histogram)> {
    let scopes = metrics.into_iter().flat_map(|resource| resource.scope_metrics);
    let metrics = scopes.flat_map(|scope| scope.metrics);
    let histogram = |data| match data {
        Some(Data::Histogram(histogram)) => histogram,
        other => panic!("not a histogram: {other:?}"),
    };
    metrics.map(|metric| (metric.name, histogram(metric.data))).collect()
}

/// The spans that wait, up to what is none.
fn spans(items: &mut mpsc::Receiver<Item>) -> Vec<Span> {
    let mut spans = Vec::new();
    while let Ok(Item::Spans(parcel)) = items.try_recv() {
        let more = ScopeSpans::decode(parcel.wire.as_slice()).unwrap().spans;
        assert_eq!(more.len(), parcel.spans);
        spans.extend(more);
    }
    spans
}

/// Scenario: 900 exchanges of both roles with many statuses, then a collection, then 100 more.
/// Guarantees: as many samples as spans, series bounded with an overflow, sums that only grow.
#[tokio::test]
async fn as_many_samples_as_spans() {
    let config = PipelineConfig { series_max: 50, ..PipelineConfig::default() };
    let (mut pipeline, mut items) = pipeline(config, 10_000).await;
    let mut play = |count: u16| {
        for at in 0..count {
            let role = if at % 3 == 0 { Role::Client } else { Role::Server };
            let exchange = exchange(role, "GET", "/", 200 + at % 100);
            pipeline.exchange(&connection(role), exchange);
        }
        pipeline.release(Some(u64::MAX));
        pipeline.send_histograms(1_800_000_000_000_000_000);
    };
    play(900);
    play(100);
    let (mut spans, mut collections, mut ids) = (0, Vec::new(), HashSet::new());
    while let Ok(item) = items.try_recv() {
        match item {
            Item::Spans(parcel) => {
                let more = ScopeSpans::decode(parcel.wire.as_slice()).unwrap().spans;
                spans += more.len();
                ids.extend(more.into_iter().map(|span| span.span_id));
            }
            Item::Log { record, .. } => panic!("nobody logs here: {record:?}"),
            Item::Metrics { metrics, .. } => collections.push(histograms(metrics)),
        }
    }
    assert_eq!(spans, 1_000);
    let total = |name: &str, at: usize| {
        let of_name = collections[at].iter().filter(|(one, _)| one == name);
        of_name.flat_map(|(_, one)| &one.data_points).map(|point| point.count).sum::<u64>()
    };
    let (client, server) = ("http.client.request.duration", "http.server.request.duration");
    assert_eq!((total(client, 0), total(server, 0)), (300, 600));
    assert_eq!(total(client, 1) + total(server, 1), 1_000);
    let points: Vec<_> = collections[1].iter().flat_map(|(_, one)| &one.data_points).collect();
    assert!(points.len() <= 52, "{} series", points.len());
    let overflow = |key: &str| key == "otel.metric.overflow";
    assert!(points.iter().any(|point| point.attributes.iter().any(|one| overflow(&one.key))));
    for point in points {
        assert_eq!(point.count, point.bucket_counts.iter().sum::<u64>());
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
        // 20 ms is above 10 ms and not above 25 ms.
        assert_eq!(point.bucket_counts[2], point.count);
        assert!((point.sum.unwrap() - 0.02 * point.count as f64).abs() < 1e-6);
        assert!(point.start_time_unix_nano < point.time_unix_nano);
    }
}

/// Scenario: 2,000 exchanges while as much as can be is left out to keep the budget, and one after that.
/// Guarantees: hardly any has a span, and those say of how many they are one; the histogram counts every exchange;
/// afterwards a span says nothing of the kind.
#[tokio::test]
async fn the_budget_leaves_the_samples() {
    let (mut pipeline, mut items) = pipeline(PipelineConfig::default(), 10_000).await;
    pipeline.shed(Level::MOST);
    for number in 0..2_000 {
        let exchange = exchange(Role::Server, "GET", "/", 200);
        let exchange = Exchange { ordinal: Some(number), ..exchange };
        pipeline.exchange(&connection(Role::Server), exchange);
    }
    pipeline.release(Some(u64::MAX));
    let left_out = pipeline.metrics.left_out_for(LeftOut::Budget);
    let few = spans(&mut items);
    for span in &few {
        assert_eq!(span.trace_state, "ot=th:ffc");
        let count = span.attributes.iter().find(|one| one.key == "icecore.adjusted_count").unwrap();
        let value = any_value::Value::DoubleValue(1_024.0);
        assert_eq!(count.value, Some(AnyValue { value: Some(value) }));
    }
    assert!(few.len() < 20, "{}", few.len());
    assert_eq!(left_out, 2_000 - few.len() as u64);
    pipeline.shed(Level::default());
    pipeline.exchange(&connection(Role::Server), exchange(Role::Server, "GET", "/", 200));
    pipeline.release(Some(u64::MAX));
    let all = spans(&mut items);
    assert_eq!((all.len(), all[0].trace_state.as_str()), (1, ""));
    pipeline.send_histograms(1_800_000_000_000_000_000);
    let Ok(Item::Metrics { metrics, .. }) = items.try_recv() else { panic!("no metrics") };
    assert_eq!(histograms(metrics)[0].1.data_points[0].count, 2_001);
}

/// Scenario: requests that a process sends, on the wire and beneath a caller that their headers name, under a budget that
/// leaves nearly nothing.
/// Guarantees: those that are left out wait for nothing, are counted as such and in the histogram, and others have a span
/// each.
#[tokio::test]
async fn what_is_left_out_does_not_wait() {
    let (mut pipeline, mut items) = pipeline(PipelineConfig::default(), 10_000).await;
    pipeline.shed(Level::MOST);
    for number in 0..2_000 {
        let mut exchange = exchange(Role::Client, "GET", "/", 200);
        exchange.ordinal = Some(number);
        if number % 2 == 0 {
            let Said::Http(call) = &mut exchange.said else { panic!("it is HTTP") };
            let parent = format!("00-{:032x}-00f067aa0ba902b7-01", number + 1);
            call.request_headers.push(("traceparent".into(), parent.into()));
        }
        pipeline.exchange(&connection(Role::Client), exchange);
    }
    let left_out = pipeline.metrics.left_out_for(LeftOut::Budget);
    assert!(left_out > 1_980, "{left_out}");
    pipeline.release(Some(u64::MAX));
    assert_eq!(spans(&mut items).len() as u64, 2_000 - left_out);
    pipeline.send_histograms(1_800_000_000_000_000_000);
    let Ok(Item::Metrics { metrics, .. }) = items.try_recv() else { panic!("no metrics") };
    assert_eq!(histograms(metrics)[0].1.data_points[0].count, 2_000);
}

/// Scenario: the queue has room for one span.
/// Guarantees: the histogram counts every exchange all the same.
#[tokio::test]
async fn samples_are_at_full_rate() {
    let (mut pipeline, mut items) = pipeline(PipelineConfig::default(), 1).await;
    for _ in 0..10 {
        pipeline.exchange(&connection(Role::Server), exchange(Role::Server, "GET", "/", 200));
    }
    pipeline.release(Some(u64::MAX));
    assert_eq!(spans(&mut items).len(), 1);
    pipeline.tick(1_000_000_000);
    assert!(items.try_recv().is_err(), "not due yet");
    pipeline.tick(12_000_000_000);
    let Ok(Item::Metrics { metrics, .. }) = items.try_recv() else { panic!("no metrics") };
    let histograms = histograms(metrics);
    assert_eq!(histograms[0].1.data_points[0].count, 10);
}
