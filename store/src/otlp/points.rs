//! Metric rows as OTLP data points.

use arrow::array::{Array, ListArray, UInt32Array};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, UInt64Type};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogramDataPoint, HistogramDataPoint, NumberDataPoint, SummaryDataPoint,
};

use super::attributes::row_attributes;
use super::exemplars::ExemplarReader;
use super::metrics::Kind;
use super::rows::{Numbers, Rows, Times, item_range, list_of_counts, list_of_doubles};
use crate::error::Error;
use crate::files::cells::MapCells;
use crate::schema::MapColumn;

/// A data point of some kind.
#[derive(Debug)]
pub(super) enum Point {
    Number(NumberDataPoint),
    Histogram(HistogramDataPoint),
    Exponential(ExponentialHistogramDataPoint),
    Summary(SummaryDataPoint),
}

/// The columns that points of any kind are in.
pub(super) struct PointColumns<'a> {
    time: Times<'a>,
    start_time: Times<'a>,
    flags: &'a UInt32Array,
    attributes: MapCells<'a>,
    exemplars: ExemplarReader<'a>,
    value: Numbers<'a, Float64Type>,
    value_int: Numbers<'a, Int64Type>,
    count: Numbers<'a, UInt64Type>,
    sum: Numbers<'a, Float64Type>,
    min: Numbers<'a, Float64Type>,
    max: Numbers<'a, Float64Type>,
    explicit_bounds: &'a ListArray,
    bucket_counts: &'a ListArray,
    scale: Numbers<'a, Int32Type>,
    zero_count: Numbers<'a, UInt64Type>,
    zero_threshold: Numbers<'a, Float64Type>,
    positive: (Numbers<'a, Int32Type>, &'a ListArray),
    negative: (Numbers<'a, Int32Type>, &'a ListArray),
    quantiles: &'a ListArray,
    quantile: Numbers<'a, Float64Type>,
    quantile_value: Numbers<'a, Float64Type>,
}

impl<'a> PointColumns<'a> {
    pub(super) fn new(rows: &Rows<'a>) -> Result<Self, Error> {
        let (quantiles, quantile_items) = rows.items("quantiles")?;
        Ok(Self {
            time: rows.times("time")?,
            start_time: rows.times("start_time")?,
            flags: rows.counts("flags")?,
            attributes: rows.map(MapColumn::Attributes),
            exemplars: ExemplarReader::new(rows)?,
            value: rows.numbers("value")?,
            value_int: rows.numbers("value_int")?,
            count: rows.numbers("count")?,
            sum: rows.numbers("sum")?,
            min: rows.numbers("min")?,
            max: rows.numbers("max")?,
            explicit_bounds: rows.list("explicit_bounds")?,
            bucket_counts: rows.list("bucket_counts")?,
            scale: rows.numbers("scale")?,
            zero_count: rows.numbers("zero_count")?,
            zero_threshold: rows.numbers("zero_threshold")?,
            positive: (rows.numbers("positive_offset")?, rows.list("positive_counts")?),
            negative: (rows.numbers("negative_offset")?, rows.list("negative_counts")?),
            quantiles,
            quantile: quantile_items.numbers("quantile")?,
            quantile_value: quantile_items.numbers("value")?,
        })
    }

    /// The point of one row, which is of this kind.
    pub(super) fn get(&self, kind: Kind, row: usize) -> Result<Point, Error> {
        Ok(match kind {
            Kind::Gauge | Kind::Sum => Point::Number(self.number(row)?),
            Kind::Histogram => Point::Histogram(self.histogram(row)?),
            Kind::ExponentialHistogram => Point::Exponential(self.exponential(row)?),
            Kind::Summary => Point::Summary(self.summary(row)?),
        })
    }

    fn number(&self, row: usize) -> Result<NumberDataPoint, Error> {
        let int = self.value_int.get(row).map(Value::AsInt);
        Ok(NumberDataPoint {
            attributes: row_attributes(&self.attributes, row)?,
            start_time_unix_nano: self.start_time.get(row),
            time_unix_nano: self.time.get(row),
            exemplars: self.exemplars.get(row)?,
            flags: self.flags.value(row),
            value: int.or_else(|| self.value.get(row).map(Value::AsDouble)),
        })
    }

    fn histogram(&self, row: usize) -> Result<HistogramDataPoint, Error> {
        Ok(HistogramDataPoint {
            attributes: row_attributes(&self.attributes, row)?,
            start_time_unix_nano: self.start_time.get(row),
            time_unix_nano: self.time.get(row),
            count: self.count.get(row).unwrap_or_default(),
            sum: self.sum.get(row),
            bucket_counts: list_of_counts(self.bucket_counts, row),
            explicit_bounds: list_of_doubles(self.explicit_bounds, row),
            exemplars: self.exemplars.get(row)?,
            flags: self.flags.value(row),
            min: self.min.get(row),
            max: self.max.get(row),
        })
    }

    fn exponential(&self, row: usize) -> Result<ExponentialHistogramDataPoint, Error> {
        let buckets = |(offset, counts): &(Numbers<'a, Int32Type>, &'a ListArray)| {
            let offset = offset.get(row);
            // Either says that the message was there: senders leave an offset of 0 out.
            (offset.is_some() || counts.is_valid(row)).then(|| Buckets {
                offset: offset.unwrap_or_default(),
                bucket_counts: list_of_counts(counts, row),
            })
        };
        Ok(ExponentialHistogramDataPoint {
            attributes: row_attributes(&self.attributes, row)?,
            start_time_unix_nano: self.start_time.get(row),
            time_unix_nano: self.time.get(row),
            count: self.count.get(row).unwrap_or_default(),
            sum: self.sum.get(row),
            scale: self.scale.get(row).unwrap_or_default(),
            zero_count: self.zero_count.get(row).unwrap_or_default(),
            positive: buckets(&self.positive),
            negative: buckets(&self.negative),
            flags: self.flags.value(row),
            exemplars: self.exemplars.get(row)?,
            min: self.min.get(row),
            max: self.max.get(row),
            zero_threshold: self.zero_threshold.get(row).unwrap_or_default(),
        })
    }

    fn summary(&self, row: usize) -> Result<SummaryDataPoint, Error> {
        let quantiles = item_range(self.quantiles, row).map(|at| ValueAtQuantile {
            quantile: self.quantile.get(at).unwrap_or_default(),
            value: self.quantile_value.get(at).unwrap_or_default(),
        });
        Ok(SummaryDataPoint {
            attributes: row_attributes(&self.attributes, row)?,
            start_time_unix_nano: self.start_time.get(row),
            time_unix_nano: self.time.get(row),
            count: self.count.get(row).unwrap_or_default(),
            sum: self.sum.get(row).unwrap_or_default(),
            quantile_values: quantiles.collect(),
            flags: self.flags.value(row),
        })
    }
}
