//! Metric rows as OTLP metrics: which metric a point belongs to, and the metric around its points.

use arrow::array::{Array, BooleanArray};
use hashbrown::HashMap;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, ExponentialHistogram, Gauge, Histogram, Metric, Sum, Summary,
};

use super::attributes::text_attributes;
use super::group::RecordReader;
use super::points::{Point, PointColumns};
use super::rows::{Rows, text, unnamed};
use crate::error::Error;
use crate::files::cells::Texts;
use crate::model::Table;

/// What the points of one metric have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct MetricKey {
    name: String,
    kind: Kind,
    unit: String,
    description: String,
    temporality: i32,
    is_monotonic: bool,
    metadata: Option<String>,
}

/// The kinds of metric, as the `kind` column names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Gauge,
    Sum,
    Histogram,
    ExponentialHistogram,
    Summary,
}

impl Kind {
    fn of(name: Option<&str>) -> Result<Self, Error> {
        Ok(match name {
            Some("GAUGE") => Self::Gauge,
            Some("SUM") => Self::Sum,
            Some("HISTOGRAM") => Self::Histogram,
            Some("EXPONENTIAL_HISTOGRAM") => Self::ExponentialHistogram,
            Some("SUMMARY") => Self::Summary,
            other => {
                let reason = format!("`kind` is {other:?}");
                return Err(Error::Rows { table: Table::Metrics, reason });
            }
        })
    }
}

pub(super) struct PointReader<'a> {
    name: Texts<'a>,
    kind: Texts<'a>,
    unit: Texts<'a>,
    description: Texts<'a>,
    temporality: Texts<'a>,
    is_monotonic: &'a BooleanArray,
    metadata: Texts<'a>,
    points: PointColumns<'a>,
}

impl<'a> RecordReader<'a> for PointReader<'a> {
    type Record = (MetricKey, Point);

    fn new(rows: &Rows<'a>) -> Result<Self, Error> {
        Ok(Self {
            name: rows.texts("metric_name")?,
            kind: rows.texts("kind")?,
            unit: rows.texts("unit")?,
            description: rows.texts("description")?,
            temporality: rows.texts("temporality")?,
            is_monotonic: rows.flags("is_monotonic")?,
            metadata: rows.texts("metadata")?,
            points: PointColumns::new(rows)?,
        })
    }

    fn record(&self, row: usize) -> Result<(MetricKey, Point), Error> {
        let kind = Kind::of(self.kind.get(row))?;
        let key = MetricKey {
            name: text(&self.name, row),
            kind,
            unit: text(&self.unit, row),
            description: text(&self.description, row),
            temporality: temporality(self.temporality.get(row)),
            is_monotonic: self.is_monotonic.is_valid(row) && self.is_monotonic.value(row),
            metadata: self.metadata.get(row).map(ToOwned::to_owned),
        };
        Ok((key, self.points.get(kind, row)?))
    }
}

fn temporality(name: Option<&str>) -> i32 {
    match name {
        Some("DELTA") => AggregationTemporality::Delta.into(),
        Some("CUMULATIVE") => AggregationTemporality::Cumulative.into(),
        other => unnamed(other),
    }
}

/// The metrics that these points belong to, in the order of their first points.
pub(super) fn regroup(points: Vec<(MetricKey, Point)>) -> Result<Vec<Metric>, Error> {
    let mut places: HashMap<MetricKey, usize> = HashMap::new();
    let mut metrics: Vec<Metric> = Vec::new();
    for (key, point) in points {
        let place = match places.get(&key) {
            Some(place) => *place,
            None => {
                metrics.push(metric(&key)?);
                places.insert(key, metrics.len() - 1);
                metrics.len() - 1
            }
        };
        push(&mut metrics[place], point);
    }
    Ok(metrics)
}

/// A metric without points.
fn metric(key: &MetricKey) -> Result<Metric, Error> {
    let MetricKey { name, kind, unit, description, temporality, is_monotonic, metadata } = key;
    let aggregation_temporality = *temporality;
    let data = match kind {
        Kind::Gauge => Data::Gauge(Gauge::default()),
        Kind::Sum => Data::Sum(Sum {
            aggregation_temporality,
            is_monotonic: *is_monotonic,
            ..Sum::default()
        }),
        Kind::Histogram => {
            Data::Histogram(Histogram { aggregation_temporality, ..Histogram::default() })
        }
        Kind::ExponentialHistogram => Data::ExponentialHistogram(ExponentialHistogram {
            aggregation_temporality,
            ..ExponentialHistogram::default()
        }),
        Kind::Summary => Data::Summary(Summary::default()),
    };
    Ok(Metric {
        name: name.clone(),
        description: description.clone(),
        unit: unit.clone(),
        metadata: text_attributes(metadata.as_deref())?,
        data: Some(data),
    })
}

/// Adds a point to the metric of its key, which is of its kind.
fn push(metric: &mut Metric, point: Point) {
    match (metric.data.as_mut(), point) {
        (Some(Data::Gauge(gauge)), Point::Number(point)) => gauge.data_points.push(point),
        (Some(Data::Sum(sum)), Point::Number(point)) => sum.data_points.push(point),
        (Some(Data::Histogram(data)), Point::Histogram(point)) => data.data_points.push(point),
        (Some(Data::ExponentialHistogram(data)), Point::Exponential(point)) => {
            data.data_points.push(point);
        }
        (Some(Data::Summary(summary)), Point::Summary(point)) => summary.data_points.push(point),
        _ => debug_assert!(false, "a point is read by the kind that is in its key"),
    }
}
