//! What was lost, cut or left out, as rows: SQL can ask for it wherever the spans are.
//!
//! Invariant: each row is a counter of `/metrics` under another name, so that both say the same.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
    metric::Data, number_data_point::Value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prometheus_client::metrics::counter::Counter;

use crate::histogram::scope;
use crate::span::attribute::Attribute;

/// The metric that the rows are of: a cumulative sum since the agent was started.
const NAME: &str = "icecore.probe.lost";

/// What was lost so far.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    rows: Vec<(&'static str, &'static str, u64)>,
}

impl Losses {
    /// So many of these, for this reason; nothing where none were.
    pub(crate) fn add(&mut self, what: &'static str, reason: &'static str, counter: &Counter) {
        let count = counter.get();
        if count > 0 {
            self.rows.push((what, reason, count));
        }
    }

    /// None where nothing was lost. `start`: when the agent was started; both are wall clock in nanoseconds.
    pub(crate) fn export(self, host: Resource, start: u64, now: u64) -> Option<ResourceMetrics> {
        if self.rows.is_empty() {
            return None;
        }
        let point = |(what, reason, count): (&str, &str, u64)| {
            let attributes = [
                Attribute::text("icecore.lost.what", what.to_owned()),
                Attribute::text("icecore.lost.reason", reason.to_owned()),
            ];
            NumberDataPoint {
                attributes: attributes.map(KeyValue::from).into(),
                start_time_unix_nano: start,
                time_unix_nano: now.max(start),
                value: Some(Value::AsInt(i64::try_from(count).unwrap_or(i64::MAX))),
                ..NumberDataPoint::default()
            }
        };
        let sum = Sum {
            data_points: self.rows.into_iter().map(point).collect(),
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
            is_monotonic: true,
        };
        let metric = Metric {
            name: NAME.to_owned(),
            description: "What the probes have lost, cut or left out.".to_owned(),
            unit: "{item}".to_owned(),
            metadata: Vec::new(),
            data: Some(Data::Sum(sum)),
        };
        let scope =
            ScopeMetrics { scope: Some(scope()), metrics: vec![metric], schema_url: String::new() };
        Some(ResourceMetrics {
            resource: Some(host),
            scope_metrics: vec![scope],
            schema_url: String::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: a counter that counts and one that does not, and then none that does.
    /// Guarantees: a row for the first alone, with what it counts and why; no export without a row.
    #[test]
    fn what_was_lost_is_a_row() {
        let lost = Counter::default();
        lost.inc_by(7);
        let mut losses = Losses::default();
        losses.add("spans", "budget", &lost);
        losses.add("spans", "queue_full", &Counter::default());
        let export = losses.export(Resource::default(), 5, 9).unwrap();
        let metric = &export.scope_metrics[0].metrics[0];
        let Some(Data::Sum(sum)) = &metric.data else { panic!("{metric:?}") };
        assert_eq!((metric.name.as_str(), sum.data_points.len()), (NAME, 1));
        let point = &sum.data_points[0];
        assert_eq!(point.value, Some(Value::AsInt(7)));
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (5, 9));
        let attributes = format!("{:?}", point.attributes);
        assert!(attributes.contains("spans") && attributes.contains("budget"), "{attributes}");
        assert!(Losses::default().export(Resource::default(), 5, 9).is_none());
    }
}
