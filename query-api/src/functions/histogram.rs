//! `histogram_quantile(0.99)`: a quantile of what histograms have counted, explicit and
//! exponential, of any bounds and scales together.
//!
//! Invariants: an observation counts once: of the cumulative points of a stream, which contain one
//! another, the newest counts; of deltas each. The answer is within the bucket that the quantile
//! falls into: along a line in an explicit one, along a curve of its own ratio in an exponential one.

mod shape;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Field, Float64Type, Int32Type, TimeUnit, TimestampNanosecondType, UInt64Type,
};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{AggregateUDF, Signature, Volatility};

use self::shape::{Buckets, Merged, Shape};
use super::collect::bytes::{Reader, Write};
use super::collect::{self, Collect};
use super::increase::series_id;

/// The arguments behind the first, as the columns of `metrics` are called.
pub(crate) const COLUMNS: [&str; 15] = [
    "temporality",
    "time",
    "start_time",
    "series",
    "explicit_bounds",
    "bucket_counts",
    "scale",
    "zero_count",
    "zero_threshold",
    "positive_offset",
    "positive_counts",
    "negative_offset",
    "negative_counts",
    "min",
    "max",
];

/// The function.
pub(crate) fn function() -> Arc<AggregateUDF> {
    collect::function::<Histograms>()
}

/// One data point.
#[derive(Debug, Clone)]
struct Point {
    series: u128,
    time: i64,
    start: i64,
    is_delta: bool,
    shape: Shape,
}

/// The points of one group.
#[derive(Debug, Default)]
struct Histograms {
    share: Option<f64>,
    points: Vec<Point>,
    bytes: usize,
}

impl Collect for Histograms {
    const NAME: &'static str = "histogram_quantile";
    const ARGUMENTS_SHOWN: usize = 1;

    fn signature() -> Signature {
        Signature::any(COLUMNS.len() + 1, Volatility::Immutable)
    }

    fn answer_type() -> DataType {
        DataType::Float64
    }

    fn add(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let columns = Columns::of(columns)?;
        for row in 0..columns.rows() {
            if let Some(share) = columns.share(row) {
                self.asked(share)?;
            }
            if let Some(point) = columns.point(row) {
                self.bytes += point.shape.bytes();
                self.points.push(point);
            }
        }
        Ok(())
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.f64(self.share.unwrap_or(f64::NAN));
        for Point { series, time, start, is_delta, shape } in &self.points {
            out.u128(*series);
            out.i64(*time);
            out.i64(*start);
            out.flag(*is_delta);
            shape.write(out);
        }
    }

    fn read(&mut self, bytes: &mut Reader<'_>) -> Result<()> {
        let share = bytes.f64()?;
        if !share.is_nan() {
            self.asked(share)?;
        }
        while !bytes.is_empty() {
            let (series, time, start) = (bytes.u128()?, bytes.i64()?, bytes.i64()?);
            let is_delta = bytes.flag()?;
            let shape = Shape::read(bytes)?;
            self.bytes += shape.bytes();
            self.points.push(Point { series, time, start, is_delta, shape });
        }
        Ok(())
    }

    fn answer(&mut self) -> Result<ScalarValue> {
        self.bytes = 0;
        let mut merged = Merged::default();
        for point in counted_once(std::mem::take(&mut self.points)) {
            merged.add(&point.shape);
        }
        Ok(ScalarValue::Float64(self.share.and_then(|share| merged.quantile(share))))
    }

    fn bytes(&self) -> usize {
        self.bytes + self.points.capacity() * size_of::<Point>()
    }
}

impl Histograms {
    fn asked(&mut self, share: f64) -> Result<()> {
        if !(0.0..=1.0).contains(&share) {
            return exec_err!("a quantile is between 0 and 1, and {share} is not");
        }
        if self.share.is_some_and(|known| known != share) {
            return exec_err!("a quantile must be the same for all rows");
        }
        self.share = Some(share);
        Ok(())
    }
}

/// Deltas, and the newest of the cumulative points of each stream.
fn counted_once(points: Vec<Point>) -> Vec<Point> {
    let mut newest: HashMap<(u128, i64), Point> = HashMap::new();
    let mut counted = Vec::new();
    for point in points {
        if point.is_delta {
            counted.push(point);
            continue;
        }
        let stream = (point.series, point.start);
        if newest.get(&stream).is_none_or(|known| known.time < point.time) {
            newest.insert(stream, point);
        }
    }
    counted.extend(newest.into_values());
    counted
}

/// The arguments of some rows, each as what it is.
struct Columns(Vec<ArrayRef>);

impl Columns {
    fn of(columns: &[ArrayRef]) -> Result<Self> {
        let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
        let list = |item| DataType::List(Arc::new(Field::new("item", item, true)));
        let (number, whole) = (DataType::Float64, DataType::UInt64);
        let types = [
            number.clone(),
            DataType::Utf8View,
            time.clone(),
            time,
            DataType::Utf8View,
            list(number.clone()),
            list(whole.clone()),
            DataType::Int32,
            whole.clone(),
            number.clone(),
            DataType::Int32,
            list(whole.clone()),
            DataType::Int32,
            list(whole),
            number.clone(),
            number,
        ];
        let cast = columns.iter().zip(types).map(|(column, wanted)| Ok(cast(column, &wanted)?));
        Ok(Self(cast.collect::<Result<_>>()?))
    }

    fn rows(&self) -> usize {
        self.0[0].len()
    }

    fn share(&self, row: usize) -> Option<f64> {
        self.number(0, row)
    }

    /// The point, where it is a histogram that has buckets.
    fn point(&self, row: usize) -> Option<Point> {
        let min = self.number(14, row);
        let max = self.number(15, row);
        let shape = match self.counts(6, row) {
            Some(counts) if !counts.is_empty() => {
                let bounds = self.list(5, row).map(|list| {
                    list.as_primitive::<Float64Type>().iter().flatten().collect::<Vec<_>>()
                });
                Shape::explicit(bounds.unwrap_or_default(), counts, min, max)?
            }
            _ => Shape::Exponential {
                scale: self.int(7, row)?,
                zeros: self.whole(8, row).unwrap_or_default(),
                threshold: self.number(9, row).unwrap_or_default(),
                positive: self.buckets(10, row),
                negative: self.buckets(12, row),
                min,
                max,
            },
        };
        let text = |at: usize| {
            let texts = self.0[at].as_string_view();
            texts.is_valid(row).then(|| texts.value(row))
        };
        let time = |at: usize| {
            let times = self.0[at].as_primitive::<TimestampNanosecondType>();
            if times.is_valid(row) { times.value(row) } else { 0 }
        };
        Some(Point {
            series: text(4).map_or(0, series_id),
            time: time(2),
            start: time(3),
            is_delta: text(1) == Some("DELTA"),
            shape,
        })
    }

    fn number(&self, at: usize, row: usize) -> Option<f64> {
        let numbers = self.0[at].as_primitive::<Float64Type>();
        numbers.is_valid(row).then(|| numbers.value(row))
    }

    fn whole(&self, at: usize, row: usize) -> Option<u64> {
        let numbers = self.0[at].as_primitive::<UInt64Type>();
        numbers.is_valid(row).then(|| numbers.value(row))
    }

    fn int(&self, at: usize, row: usize) -> Option<i32> {
        let numbers = self.0[at].as_primitive::<Int32Type>();
        numbers.is_valid(row).then(|| numbers.value(row))
    }

    fn list(&self, at: usize, row: usize) -> Option<ArrayRef> {
        let lists: &ListArray = self.0[at].as_list();
        lists.is_valid(row).then(|| lists.value(row))
    }

    fn counts(&self, at: usize, row: usize) -> Option<Vec<u64>> {
        let list = self.list(at, row)?;
        Some(list.as_primitive::<UInt64Type>().iter().map(Option::unwrap_or_default).collect())
    }

    /// An offset and the counts behind it.
    fn buckets(&self, at: usize, row: usize) -> Buckets {
        let offset = self.int(at, row).unwrap_or_default();
        Buckets { offset, counts: self.counts(at + 1, row).unwrap_or_default() }
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "the numbers of the tests are small")]
mod tests;
