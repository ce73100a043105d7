//! How long the answer of a call will be, from the lengths and counts among its arguments.

use std::cell::RefCell;
use std::slice;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, IntervalUnit};
use datafusion::common::Result;
use datafusion::functions::regex::compile_regex;
use datafusion::logical_expr::ColumnarValue;

use super::MADE_BYTES_MAX;

/// Of a row, so little that a batch of 8,192 rows is within the bound.
const ROW_BYTES_SMALL: u64 = MADE_BYTES_MAX / 8192;
/// What an item of a list takes, about.
const ITEM_BYTES: u64 = 8;
const DAY_NANOS: i64 = 86_400_000_000_000;

/// What the length of an answer goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::functions) enum Growth {
    /// The first argument, as often as the second says.
    Copies,
    /// As many letters as the second argument says.
    Letters,
    /// As many items as the second argument says.
    Items,
    /// From the first argument to the second by the third; from 0 to the only one.
    Steps,
    /// The third argument wherever the first has the second.
    Replaced,
    /// The same, the second being a pattern and a fourth saying whether all of it is meant.
    Substituted,
    /// All arguments, one behind the other.
    Together,
    /// The same, with the first between the others.
    Between,
    /// The items of the first argument, with the second between them.
    Joined,
    /// The items of the first argument, any of which may become the third.
    Exchanged,
}

impl Growth {
    /// The bytes that these arguments lead to, about; counted no further than the bound.
    pub(in crate::functions) fn made(self, args: &[ColumnarValue], rows: usize) -> Result<u64> {
        let constant = args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { rows };
        let of_row = self.of_row(args, rows)?;
        let made = up_to_bound(rows, of_row);
        if made > MADE_BYTES_MAX && self == Self::Substituted {
            return Ok(up_to_bound(rows, substituted(args, true)?));
        }
        Ok(made)
    }

    /// The bytes that a row leads to.
    fn of_row(self, args: &[ColumnarValue], rows: usize) -> Result<OfRow> {
        Ok(match (self, args) {
            (Self::Copies, [text, count]) => {
                let (text, count) = (Texts::of(text)?, Numbers::of(count)?);
                Box::new(move |row| text.length(row).saturating_mul(count.count(row)))
            }
            (Self::Letters, [_, count, ..]) => {
                let count = Numbers::of(count)?;
                Box::new(move |row| count.count(row))
            }
            (Self::Items, [first, second, ..]) => {
                let count = Numbers::of(second)?;
                let item = item_bytes(first);
                Box::new(move |row| count.count(row).saturating_mul(item))
            }
            (Self::Steps, [from, to, rest @ ..]) => steps(from, to, rest.first())?,
            (Self::Steps, [to]) => {
                let to = Numbers::of(to)?;
                Box::new(move |row| to.count(row).saturating_mul(ITEM_BYTES))
            }
            (Self::Replaced, [text, from, to]) => {
                let (text, from, to) = (Texts::of(text)?, Texts::of(from)?, Texts::of(to)?);
                Box::new(move |row| replaced(text.get(row), from.get(row), to.get(row)))
            }
            (Self::Substituted, [_, _, _, ..]) => substituted(args, false)?,
            (Self::Together, _) => at_once(together(args, rows)),
            (Self::Between, [between, others @ ..]) => {
                let between = together(slice::from_ref(between), rows);
                let gaps = between.saturating_mul(others.len() as u64);
                at_once(gaps.saturating_add(together(others, rows)))
            }
            (Self::Joined, [items, rest @ ..]) => {
                // What stands for null is written in place of an item, beside what stands between.
                let each = rest.iter().fold(0_u64, |sum, text| sum.saturating_add(longest(text)));
                let count = items_of(items, rows);
                let texts = together(slice::from_ref(items), rows);
                // The text of a number is at most some times longer than the number.
                at_once(count.saturating_mul(each).saturating_add(texts.saturating_mul(3)))
            }
            (Self::Exchanged, [items, _, to, ..]) => {
                let made = items_of(items, rows).saturating_mul(longest(to));
                at_once(made.saturating_add(together(slice::from_ref(items), rows)))
            }
            _ => at_once(0),
        })
    }
}

/// How many bytes a row leads to.
type OfRow = Box<dyn Fn(usize) -> u64>;

/// Of a batch as a whole.
fn at_once(bytes: u64) -> OfRow {
    Box::new(move |row| if row == 0 { bytes } else { 0 })
}

fn up_to_bound(rows: usize, of_row: OfRow) -> u64 {
    let mut made: u64 = 0;
    for row in 0..rows {
        made = made.saturating_add(of_row(row));
        if made > MADE_BYTES_MAX {
            break;
        }
    }
    made
}

/// The bytes of these arguments, of as many rows.
fn together(args: &[ColumnarValue], rows: usize) -> u64 {
    let of = |arg: &ColumnarValue| match arg {
        ColumnarValue::Scalar(value) => {
            let one = value.try_as_str().map_or_else(
                || value.size() as u64,
                |text| text.map_or(0, |text| text.len() as u64),
            );
            one.saturating_mul(rows as u64)
        }
        ColumnarValue::Array(array) => bytes_of(array),
    };
    args.iter().map(of).fold(0, u64::saturating_add)
}

/// What the values of an array take where nothing is shared.
fn bytes_of(array: &ArrayRef) -> u64 {
    match array.data_type() {
        DataType::Utf8View => {
            array.as_string_view().lengths().map(u64::from).fold(0, u64::saturating_add)
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let (from, to) = (list.value_offsets()[0], list.value_offsets()[list.len()]);
            let (from, to) = (from.unsigned_abs() as usize, to.unsigned_abs() as usize);
            bytes_of(&list.values().slice(from, to - from))
        }
        DataType::Struct(_) => {
            array.as_struct().columns().iter().map(bytes_of).fold(0, u64::saturating_add)
        }
        _ => {
            let data = array.to_data();
            data.get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size()) as u64
        }
    }
}

/// The items of all lists of this argument, those in lists of lists too.
fn items_of(arg: &ColumnarValue, rows: usize) -> u64 {
    fn count(array: &ArrayRef) -> u64 {
        let Some(list) = array.as_list_opt::<i32>() else { return array.len() as u64 };
        let (from, to) = (list.value_offsets()[0], list.value_offsets()[list.len()]);
        let (from, to) = (from.unsigned_abs() as usize, to.unsigned_abs() as usize);
        count(&list.values().slice(from, to - from))
    }
    match arg {
        ColumnarValue::Array(array) => count(array),
        ColumnarValue::Scalar(value) => {
            value.to_array().map_or(u64::MAX, |array| count(&array).saturating_mul(rows as u64))
        }
    }
}

/// The bytes of the longest value.
fn longest(arg: &ColumnarValue) -> u64 {
    match Texts::of(arg) {
        Ok(texts) => texts.0.lengths().map(u64::from).max().unwrap_or(0).max(ITEM_BYTES),
        Err(_no_text) => match arg {
            ColumnarValue::Scalar(value) => value.size() as u64,
            ColumnarValue::Array(array) => bytes_of(array),
        },
    }
}

/// What `regexp_replace` makes of a row: at most, or with its matches counted.
fn substituted(args: &[ColumnarValue], counted: bool) -> Result<OfRow> {
    let (text, pattern, to) = (Texts::of(&args[0])?, Texts::of(&args[1])?, Texts::of(&args[2])?);
    let flags = args.get(3).map(Texts::of).transpose()?;
    let last = RefCell::new(None);
    Ok(Box::new(move |row| {
        let (Some(text), Some(pattern), Some(to)) = (text.get(row), pattern.get(row), to.get(row))
        else {
            return 0;
        };
        let flags = flags.as_ref().and_then(|flags| flags.get(row)).unwrap_or_default();
        let matches = match (flags.contains('g'), counted) {
            (false, _) => 1,
            (true, false) => text.len() + 1,
            (true, true) => {
                let key = (pattern.to_owned(), flags.replace('g', ""));
                let mut last = last.borrow_mut();
                if last.as_ref().is_none_or(|(of, _)| *of != key) {
                    let compiled = compile_regex(pattern, Some(&key.1)).ok();
                    *last = Some((key, compiled));
                }
                // The engine says what is wrong with a pattern that is none.
                let compiled = last.as_ref().and_then(|(_, compiled)| compiled.as_ref());
                compiled.map_or(0, |regex| regex.find_iter(text).count())
            }
        };
        // What is referred to lies within its match, and no two of those overlap.
        let references = to.matches(['\\', '$']).count() as u64 + 1;
        let kept = references.saturating_mul(text.len() as u64);
        (matches as u64).saturating_mul(to.len() as u64).saturating_add(kept)
    }))
}

/// What an item takes that is a value of this argument.
fn item_bytes(value: &ColumnarValue) -> u64 {
    match value {
        ColumnarValue::Scalar(value) => (value.size() as u64).max(ITEM_BYTES),
        ColumnarValue::Array(_) => ITEM_BYTES,
    }
}

/// The bytes of a series.
fn steps(from: &ColumnarValue, to: &ColumnarValue, by: Option<&ColumnarValue>) -> Result<OfRow> {
    let unit = unit_nanos(&from.data_type());
    let (from, to) = (Numbers::of(from)?, Numbers::of(to)?);
    let by = by.map(Numbers::of).transpose()?;
    Ok(Box::new(move |row| {
        let (Some(from), Some(to)) = (from.get(row), to.get(row)) else { return 0 };
        let distance = i128::from(to).abs_diff(i128::from(from)).saturating_mul(unit);
        let by = by.as_ref().map_or(Some(1), |by| by.get(row));
        let by = by.map_or(1, |by| u128::from(by.unsigned_abs().max(1)));
        u64::try_from(distance / by).unwrap_or(u64::MAX).saturating_mul(ITEM_BYTES)
    }))
}

/// What a step of 1 is in the unit of intervals.
fn unit_nanos(data_type: &DataType) -> u128 {
    match data_type {
        DataType::Date32 => u128::from(DAY_NANOS.unsigned_abs()),
        _ => 1,
    }
}

fn replaced(text: Option<&str>, from: Option<&str>, to: Option<&str>) -> u64 {
    let (Some(text), Some(from), Some(to)) = (text, from, to) else { return 0 };
    let at_most = |count: usize| (count as u64).saturating_mul(to.len() as u64);
    // Nothing is counted where even a batch of such rows could not be too much.
    let most = at_most(text.len() + 1);
    let made = if most > ROW_BYTES_SMALL { at_most(text.matches(from).count()) } else { most };
    made.saturating_add(text.len() as u64)
}

/// An argument of texts; a constant is looked at in its only row.
struct Texts(StringViewArray, bool);

impl Texts {
    fn of(value: &ColumnarValue) -> Result<Self> {
        let (array, constant) = array_of(value)?;
        Ok(Self(cast(&array, &DataType::Utf8View)?.as_string_view().clone(), constant))
    }

    fn get(&self, row: usize) -> Option<&str> {
        let row = if self.1 { 0 } else { row };
        (row < self.0.len() && self.0.is_valid(row)).then(|| self.0.value(row))
    }

    fn length(&self, row: usize) -> u64 {
        self.get(row).map_or(0, |text| text.len() as u64)
    }
}

/// An argument of numbers, times or intervals; a constant is looked at in its only row.
struct Numbers(Int64Array, bool);

impl Numbers {
    fn of(value: &ColumnarValue) -> Result<Self> {
        let (array, constant) = array_of(value)?;
        let numbers = match array.data_type() {
            DataType::Interval(unit) => nanos(&array, *unit),
            DataType::Date32 => {
                let days = cast(&array, &DataType::Int32)?;
                cast(&days, &DataType::Int64)?.as_primitive::<Int64Type>().clone()
            }
            // Of what is no number there is none.
            _ => match cast(&array, &DataType::Int64) {
                Ok(numbers) => numbers.as_primitive::<Int64Type>().clone(),
                Err(_no_number) => Int64Array::new_null(array.len()),
            },
        };
        Ok(Self(numbers, constant))
    }

    fn get(&self, row: usize) -> Option<i64> {
        let row = if self.1 { 0 } else { row };
        (row < self.0.len() && self.0.is_valid(row)).then(|| self.0.value(row))
    }

    fn count(&self, row: usize) -> u64 {
        self.get(row).and_then(|count| u64::try_from(count).ok()).unwrap_or(0)
    }
}

fn array_of(value: &ColumnarValue) -> Result<(ArrayRef, bool)> {
    Ok(match value {
        ColumnarValue::Array(array) => (Arc::clone(array), false),
        ColumnarValue::Scalar(value) => (value.to_array()?, true),
    })
}

/// Intervals in nanoseconds, a month being 28 days: more steps are expected rather than fewer.
fn nanos(array: &ArrayRef, unit: IntervalUnit) -> Int64Array {
    use arrow::datatypes::IntervalMonthDayNanoType as MonthDayNano;
    if unit != IntervalUnit::MonthDayNano {
        return Int64Array::new_null(array.len());
    }
    let whole = array.as_primitive::<MonthDayNano>().iter().map(|step| {
        let step = step?;
        let days = i64::from(step.months).saturating_mul(28).saturating_add(i64::from(step.days));
        Some(days.saturating_mul(DAY_NANOS).saturating_add(step.nanoseconds))
    });
    whole.collect()
}

#[cfg(test)]
mod tests {
    use datafusion::scalar::ScalarValue;

    use super::*;

    fn text(text: &str) -> ColumnarValue {
        ColumnarValue::Scalar(ScalarValue::from(text))
    }

    fn number(number: i64) -> ColumnarValue {
        ColumnarValue::Scalar(ScalarValue::from(number))
    }

    fn check(growth: Growth, args: &[ColumnarValue], rows: usize, fits: bool) {
        let made = growth.made(args, rows).unwrap();
        assert_eq!(made <= MADE_BYTES_MAX, fits, "{growth:?} {made}");
    }

    /// Scenario: calls that make a little and calls that make far too much, of constants and of rows.
    /// Guarantees: the latter, and no others, are seen before anything is made.
    #[test]
    fn what_would_be_made_is_measured() {
        let many = ColumnarValue::Array(Arc::new(StringViewArray::from(vec!["xxxxxxxx"; 8192])));
        for (count, fits) in [(-1, true), (10, true), (1_000_000_000, false)] {
            check(Growth::Copies, &[text("x"), number(count)], 8192, fits);
            check(Growth::Letters, &[text("x"), number(count), text("é")], 8192, fits);
            check(Growth::Items, &[number(1), number(count)], 1, fits);
            check(Growth::Steps, &[number(count)], 1, fits);
            check(Growth::Steps, &[number(0), number(count)], 1, fits);
        }
        check(Growth::Copies, &[many.clone(), number(100)], 8192, true);
        check(Growth::Copies, &[many.clone(), number(10_000)], 8192, false);
        check(Growth::Steps, &[number(0), number(1_000_000_000), number(1_000_000)], 1, true);
        check(Growth::Steps, &[number(i64::MIN), number(i64::MAX), number(1)], 1, false);
        let long = "y".repeat(1 << 20);
        check(Growth::Replaced, &[many.clone(), text("x"), text(&long)], 8192, false);
        check(Growth::Replaced, &[many, text("z"), text(&long)], 8192, true);
        check(Growth::Copies, &[ColumnarValue::Scalar(ScalarValue::Null), number(5)], 1, true);
    }

    /// Scenario: series of times and of days by intervals.
    /// Guarantees: a nanosecond a step is too much, an hour is not.
    #[test]
    fn series_of_times_are_measured() {
        let time =
            |at: i64| ColumnarValue::Scalar(ScalarValue::TimestampNanosecond(Some(at), None));
        let by = |nanos: i64| ColumnarValue::Scalar(ScalarValue::new_interval_mdn(0, 0, nanos));
        let (from, to) = (time(0), time(DAY_NANOS));
        check(Growth::Steps, &[from.clone(), to.clone(), by(1)], 1, false);
        check(Growth::Steps, &[from, to, by(3_600_000_000_000)], 1, true);
        let day = |day: i32| ColumnarValue::Scalar(ScalarValue::Date32(Some(day)));
        check(Growth::Steps, &[day(0), day(100), by(DAY_NANOS)], 1, true);
        check(Growth::Steps, &[day(0), day(100), by(1)], 1, false);
    }
}
