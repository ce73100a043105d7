//! `increase()` and `rate()`: what the sums of a metric added up to, across resets and series.
//!
//! Invariants: the points of a series are taken in order of their time, whatever order they come
//! in; no two series meet. A delta adds what it says. A cumulative point adds what it has more than
//! the one before it in its series; after a reset, which a new start time tells, and for a counter
//! also a smaller value, it adds all that it has. What the first point had counted before is not
//! known and adds nothing; a group without anything known is null.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type, TimeUnit, TimestampNanosecondType};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{AggregateUDF, Signature, Volatility};

use super::collect::bytes::{Reader, Write};
use super::collect::{self, Collect};

/// The arguments, as the columns of `metrics` are called.
pub(crate) const COLUMNS: [&str; 6] =
    ["value", "time", "start_time", "temporality", "is_monotonic", "series"];

/// Both functions.
pub(crate) fn functions() -> [Arc<AggregateUDF>; 2] {
    [collect::function::<Sums<Increase>>(), collect::function::<Sums<Rate>>()]
}

/// What tells series apart, as a hash of 128 bits.
pub(super) fn series_id(series: &str) -> u128 {
    let half = |salt: u64| {
        let mut hasher = DefaultHasher::new();
        (salt, series).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}

/// A point of a sum.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Point {
    series: u128,
    time: i64,
    start: i64,
    value: f64,
    is_delta: bool,
    is_monotonic: bool,
}

/// What is made of the points of one series.
trait Answer: std::fmt::Debug + Default + Send + Sync + 'static {
    const NAME: &'static str;

    /// Of points in order; `None` where nothing is known.
    fn of(points: &[Point]) -> Option<f64>;
}

#[derive(Debug, Default)]
struct Increase;

#[derive(Debug, Default)]
struct Rate;

impl Answer for Increase {
    const NAME: &'static str = "increase";

    fn of(points: &[Point]) -> Option<f64> {
        let [first, rest @ ..] = points else { return None };
        let known = first.is_delta.then_some(first.value);
        let mut before = first;
        rest.iter().fold(known, |sum, point| {
            let added = added(before, point);
            before = point;
            Some(sum.unwrap_or_default() + added)
        })
    }
}

impl Answer for Rate {
    const NAME: &'static str = "rate";

    /// The increase over the time that it took: from the first point to the last, and for deltas
    /// from where the first begins.
    fn of(points: &[Point]) -> Option<f64> {
        let (first, last) = (points.first()?, points.last()?);
        let begin = if first.is_delta && first.start > 0 { first.start } else { first.time };
        // Beyond 2^53 ns, which are 104 days, the microseconds are rounded.
        #[expect(clippy::cast_precision_loss, reason = "a rate is a double")]
        let seconds = (last.time - begin) as f64 / 1e9;
        (seconds > 0.0).then(|| Increase::of(points)).flatten().map(|increase| increase / seconds)
    }
}

/// What a point adds to the one before it in its series.
fn added(before: &Point, point: &Point) -> f64 {
    let fell = point.is_monotonic && point.value < before.value;
    if point.is_delta || fell || point.start != before.start {
        return point.value;
    }
    point.value - before.value
}

/// The points of one group.
#[derive(Debug)]
struct Sums<A> {
    points: Vec<Point>,
    answer: PhantomData<A>,
}

impl<A> Default for Sums<A> {
    fn default() -> Self {
        Self { points: Vec::new(), answer: PhantomData }
    }
}

impl<A: Answer> Collect for Sums<A> {
    const NAME: &'static str = A::NAME;
    const ARGUMENTS_SHOWN: usize = 0;

    fn signature() -> Signature {
        let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
        let (text, number) = (DataType::Utf8View, DataType::Float64);
        let types = vec![number, time.clone(), time, text.clone(), DataType::Boolean, text];
        Signature::exact(types, Volatility::Immutable)
    }

    fn answer_type() -> DataType {
        DataType::Float64
    }

    fn add(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let values = columns[0].as_primitive::<Float64Type>();
        let times = columns[1].as_primitive::<TimestampNanosecondType>();
        let starts = columns[2].as_primitive::<TimestampNanosecondType>();
        let (temporality, series) = (columns[3].as_string_view(), columns[5].as_string_view());
        let monotonic = columns[4].as_boolean();
        // A point without a value says that its series has ended.
        for row in (0..values.len()).filter(|row| values.is_valid(*row) && times.is_valid(*row)) {
            self.points.push(Point {
                series: if series.is_valid(row) { series_id(series.value(row)) } else { 0 },
                time: times.value(row),
                start: if starts.is_valid(row) { starts.value(row) } else { 0 },
                value: values.value(row),
                is_delta: temporality.is_valid(row) && temporality.value(row) == "DELTA",
                is_monotonic: monotonic.is_valid(row) && monotonic.value(row),
            });
        }
        Ok(())
    }

    fn write(&self, out: &mut Vec<u8>) {
        for point in &self.points {
            let Point { series, time, start, value, is_delta, is_monotonic } = point;
            out.u128(*series);
            out.i64(*time);
            out.i64(*start);
            out.f64(*value);
            out.flag(*is_delta);
            out.flag(*is_monotonic);
        }
    }

    fn read(&mut self, bytes: &mut Reader<'_>) -> Result<()> {
        while !bytes.is_empty() {
            self.points.push(Point {
                series: bytes.u128()?,
                time: bytes.i64()?,
                start: bytes.i64()?,
                value: bytes.f64()?,
                is_delta: bytes.flag()?,
                is_monotonic: bytes.flag()?,
            });
        }
        Ok(())
    }

    fn answer(&mut self) -> Result<ScalarValue> {
        let points = std::mem::take(&mut self.points);
        Ok(ScalarValue::Float64(over_series::<A>(points)))
    }

    fn bytes(&self) -> usize {
        self.points.capacity() * size_of::<Point>()
    }
}

/// The answers of all series together.
fn over_series<A: Answer>(points: Vec<Point>) -> Option<f64> {
    let mut series: HashMap<u128, Vec<Point>> = HashMap::new();
    for point in points {
        series.entry(point.series).or_default().push(point);
    }
    let mut answers: Vec<f64> = Vec::new();
    for points in series.values_mut() {
        points.sort_by_key(|point| (point.time, point.start));
        answers.extend(A::of(points));
    }
    // In one order, so that one question has one answer to the last bit.
    answers.sort_by(f64::total_cmp);
    (!answers.is_empty()).then(|| answers.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(values: &[(i64, i64, f64)], is_delta: bool) -> Vec<Point> {
        let point = |(seconds, start, value): &(i64, i64, f64)| Point {
            series: 1,
            time: seconds * 1_000_000_000,
            start: start * 1_000_000_000,
            value: *value,
            is_delta,
            is_monotonic: true,
        };
        values.iter().map(point).collect()
    }

    fn check(values: &[(i64, i64, f64)], is_delta: bool, increase: Option<f64>, rate: Option<f64>) {
        assert_eq!(over_series::<Increase>(points(values, is_delta)), increase, "{values:?}");
        assert_eq!(over_series::<Rate>(points(values, is_delta)), rate, "{values:?}");
    }

    /// Scenario: counters that only grow, that were reset with and without a new start time, in
    /// any order, alone, and none.
    /// Guarantees: increases across resets; nothing is known of what a lone point adds.
    #[test]
    fn counters_increase_across_resets() {
        let steady = [(10, 1, 5.0), (20, 1, 9.0), (30, 1, 9.0)];
        check(&steady, false, Some(4.0), Some(0.2));
        check(&[steady[2], steady[0], steady[1]], false, Some(4.0), Some(0.2));
        check(&[(10, 1, 5.0), (20, 15, 7.0), (30, 15, 8.0)], false, Some(8.0), Some(0.4));
        check(&[(10, 0, 5.0), (20, 0, 2.0)], false, Some(2.0), Some(0.2));
        check(&[(10, 1, 5.0)], false, None, None);
        check(&[], false, None, None);
    }

    /// Scenario: deltas, of which the first says where it begins.
    /// Guarantees: they add up, over all of their time.
    #[test]
    fn deltas_add_up() {
        check(&[(10, 5, 5.0), (15, 10, 5.0)], true, Some(10.0), Some(1.0));
        check(&[(10, 5, 5.0)], true, Some(5.0), Some(1.0));
    }
}
