//! Functions whose answer can be far longer than what they are given, within a bound.
//!
//! Invariant: what one call makes of a batch of rows is measured before it is made. The engine bounds
//! what its operators hold, not what functions make, and calls of constants are made while it plans:
//! `repeat('x', 1000000000)` took seven gigabytes of the process that records.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Int64Type, IntervalUnit};
use datafusion::common::{Result, exec_err};
use datafusion::functions::{string, unicode};
use datafusion::functions_nested::{range, repeat, resize};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature,
};

/// What one call may make of a batch of rows, which is a quarter of what a query may hold by default.
const MADE_BYTES_MAX: u64 = 64 << 20;
/// Of a row, so little that a batch of 8,192 rows is within the bound.
const ROW_BYTES_SMALL: u64 = MADE_BYTES_MAX / 8192;
/// What an item of a list takes, about.
const ITEM_BYTES: u64 = 8;
const DAY_NANOS: i64 = 86_400_000_000_000;

/// What the length of an answer goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Growth {
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
}

/// A function of the engine, measured.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    growth: Growth,
    native: Arc<ScalarUDF>,
}

/// All of them, to stand before the engine's.
pub(super) fn functions() -> impl Iterator<Item = Arc<ScalarUDF>> {
    let all = [
        (Growth::Copies, string::repeat()),
        (Growth::Replaced, string::replace()),
        (Growth::Letters, unicode::lpad()),
        (Growth::Letters, unicode::rpad()),
        (Growth::Items, repeat::array_repeat_udf()),
        (Growth::Items, resize::array_resize_udf()),
        (Growth::Steps, range::range_udf()),
        (Growth::Steps, range::gen_series_udf()),
    ];
    all.into_iter()
        .map(|(growth, native)| Arc::new(ScalarUDF::new_from_impl(Bounded { growth, native })))
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.native.name()
    }

    fn aliases(&self) -> &[String] {
        self.native.aliases()
    }

    fn signature(&self) -> &Signature {
        self.native.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.native.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.native.return_field_from_args(args)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.native.coerce_types(arg_types)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.native.simplify(args, info)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.native.documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if self.growth.made(&args.args, args.number_rows)? > MADE_BYTES_MAX {
            let name = self.name();
            return exec_err!("{name}() would make more than {MADE_BYTES_MAX} bytes at once");
        }
        self.native.invoke_with_args(args)
    }
}

impl Growth {
    /// The bytes that these arguments lead to, about; counted no further than the bound.
    fn made(self, args: &[ColumnarValue], rows: usize) -> Result<u64> {
        let constant = args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { rows };
        let of_row: Box<dyn Fn(usize) -> u64> = match (self, args) {
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
            _ => return Ok(0),
        };
        let mut made: u64 = 0;
        for row in 0..rows {
            made = made.saturating_add(of_row(row));
            if made > MADE_BYTES_MAX {
                break;
            }
        }
        Ok(made)
    }
}

/// What an item takes that is a value of this argument.
fn item_bytes(value: &ColumnarValue) -> u64 {
    match value {
        ColumnarValue::Scalar(value) => (value.size() as u64).max(ITEM_BYTES),
        ColumnarValue::Array(_) => ITEM_BYTES,
    }
}

/// The bytes of a series.
fn steps(
    from: &ColumnarValue,
    to: &ColumnarValue,
    by: Option<&ColumnarValue>,
) -> Result<Box<dyn Fn(usize) -> u64>> {
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
