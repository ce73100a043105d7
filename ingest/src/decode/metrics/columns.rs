//! The columns that a data point fills, each kind its own.
//!
//! Invariant: a column that a kind does not have costs nothing until a point of another kind in
//! the same request needs it; it is filled up with nulls then, or at the end.

use std::sync::Arc;

use arrow::array::StructArray;
use arrow::datatypes::{
    Float64Type, Int32Type, Int64Type, TimestampNanosecondType, UInt32Type, UInt64Type,
};
use arrow::error::ArrowError;
use icecore_store::Table;

use super::super::columns::{Lists, Named, NumberLists, Numbers};
use super::super::rows::{struct_fields, utc};
use super::super::wire::Broken;
use super::Kind;
use super::exemplars::Exemplars;
use super::points::{Number, Parts, Point, Times};

#[derive(Debug, Default)]
pub(super) struct Columns {
    time: Numbers<TimestampNanosecondType>,
    start: Numbers<TimestampNanosecondType>,
    flags: Numbers<UInt32Type>,
    value: Numbers<Float64Type>,
    value_int: Numbers<Int64Type>,
    count: Numbers<UInt64Type>,
    sum: Numbers<Float64Type>,
    min: Numbers<Float64Type>,
    max: Numbers<Float64Type>,
    bounds: NumberLists<Float64Type>,
    counts: NumberLists<UInt64Type>,
    scale: Numbers<Int32Type>,
    zero_count: Numbers<UInt64Type>,
    zero_threshold: Numbers<Float64Type>,
    positive_offset: Numbers<Int32Type>,
    positive: NumberLists<UInt64Type>,
    negative_offset: Numbers<Int32Type>,
    negative: NumberLists<UInt64Type>,
    quantile_lists: Lists,
    quantile: Numbers<Float64Type>,
    quantile_value: Numbers<Float64Type>,
    exemplars: Exemplars,
}

impl Columns {
    /// One row; `limit` is that within the point.
    pub(super) fn push(
        &mut self,
        kind: Kind,
        point: &Point,
        times: Times,
        parts: &Parts<'_>,
        limit: u32,
    ) -> Result<(), Broken> {
        let row = self.time.len();
        self.time.push(times.time);
        self.start.push_option(times.start);
        self.flags.push(point.flags);
        self.exemplars.push(&parts.exemplars, limit - 1)?;
        if let Kind::Gauge | Kind::Sum = kind {
            self.value.put(row, point.value.map(Number::double));
            if let Some(number) = point.value.and_then(Number::int) {
                self.value_int.put(row, Some(number));
            }
            return Ok(());
        }
        self.count.put(row, Some(point.count));
        self.sum.put(row, point.sum);
        match kind {
            Kind::Histogram => {
                self.bounds.put(row, &parts.bounds);
                self.counts.put(row, &parts.counts);
            }
            Kind::ExponentialHistogram => self.push_exponential(row, point, parts),
            Kind::Gauge | Kind::Sum | Kind::Summary => self.push_quantiles(row, parts),
        }
        if kind != Kind::Summary {
            self.min.put(row, point.min);
            self.max.put(row, point.max);
        }
        Ok(())
    }

    fn push_exponential(&mut self, row: usize, point: &Point, parts: &Parts<'_>) {
        self.scale.put(row, Some(point.scale));
        self.zero_count.put(row, Some(point.zero_count));
        self.zero_threshold.put(row, Some(point.zero_threshold));
        if let Some(offset) = point.positive_offset {
            self.positive_offset.put(row, Some(offset));
            self.positive.put(row, &parts.positive);
        }
        if let Some(offset) = point.negative_offset {
            self.negative_offset.put(row, Some(offset));
            self.negative.put(row, &parts.negative);
        }
    }

    fn push_quantiles(&mut self, row: usize, parts: &Parts<'_>) {
        self.quantile_lists.pad(row);
        for (quantile, value) in &parts.quantiles {
            self.quantile.push(*quantile);
            self.quantile_value.push(*value);
        }
        self.quantile_lists.push(Some(self.quantile.len()));
    }

    pub(super) fn finish(mut self, rows: usize) -> Result<Named, ArrowError> {
        for doubles in
            [&mut self.value, &mut self.sum, &mut self.min, &mut self.max, &mut self.zero_threshold]
        {
            doubles.pad(rows);
        }
        self.count.pad(rows);
        self.zero_count.pad(rows);
        self.value_int.pad(rows);
        self.scale.pad(rows);
        self.positive_offset.pad(rows);
        self.negative_offset.pad(rows);
        self.quantile_lists.pad(rows);
        let quantiles = vec![self.quantile.finish(), self.quantile_value.finish()];
        let quantiles =
            StructArray::try_new(struct_fields(Table::Metrics, "quantiles"), quantiles, None)?;
        Ok(vec![
            ("time", utc(self.time.finish_values())),
            ("start_time", utc(self.start.finish_values())),
            ("flags", self.flags.finish()),
            ("value", self.value.finish()),
            ("value_int", self.value_int.finish()),
            ("count", self.count.finish()),
            ("sum", self.sum.finish()),
            ("min", self.min.finish()),
            ("max", self.max.finish()),
            ("explicit_bounds", self.bounds.finish(rows)?),
            ("bucket_counts", self.counts.finish(rows)?),
            ("scale", self.scale.finish()),
            ("zero_count", self.zero_count.finish()),
            ("zero_threshold", self.zero_threshold.finish()),
            ("positive_offset", self.positive_offset.finish()),
            ("positive_counts", self.positive.finish(rows)?),
            ("negative_offset", self.negative_offset.finish()),
            ("negative_counts", self.negative.finish(rows)?),
            ("quantiles", self.quantile_lists.finish(Arc::new(quantiles))?),
            ("exemplars", self.exemplars.finish()?),
        ])
    }
}
