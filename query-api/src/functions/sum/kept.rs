//! The sum of one group, kept in 128 bits.

use std::fmt::Debug;
use std::marker::PhantomData;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, UInt64Type};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, internal_err};
use datafusion::logical_expr::Accumulator;

use super::DIGITS;

/// An integer of 64 bits.
pub(super) trait Whole:
    ArrowPrimitiveType<Native: Into<i128> + TryFrom<i128>> + Debug + Send + Sync
{
}
impl Whole for Int64Type {}
impl Whole for UInt64Type {}

/// A sum as the query gets it.
pub(super) fn answered<T: Whole>(sum: i128) -> Result<T::Native> {
    T::Native::try_from(sum).map_err(|_does_not_fit| {
        exec_datafusion_err!(
            "the sum of these integers is {sum}, which 64 bits do not hold; \
             sum(CAST(… AS DOUBLE)) gives it as a double"
        )
    })
}

/// The values that are there.
pub(super) fn present<T: Whole>(values: &PrimitiveArray<T>) -> impl Iterator<Item = i128> {
    values.iter().flatten().map(Into::into)
}

/// Of a group, or of the frame of a window.
#[derive(Debug)]
pub(super) struct Sum<T> {
    sum: i128,
    /// Without any there is no sum.
    values: u64,
    of: PhantomData<T>,
}

impl<T> Default for Sum<T> {
    fn default() -> Self {
        Self { sum: 0, values: 0, of: PhantomData }
    }
}

/// The sum of a batch and how many values it is of.
fn batch<T: Whole>(values: &ArrayRef) -> (i128, u64) {
    let values = values.as_primitive::<T>();
    let count = (values.len() - values.null_count()) as u64;
    if values.null_count() == 0 {
        return (values.values().iter().map(|value| (*value).into()).sum(), count);
    }
    (present(values).sum(), count)
}

impl<T: Whole> Accumulator for Sum<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (sum, count) = batch::<T>(&values[0]);
        self.sum += sum;
        self.values += count;
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (sum, count) = batch::<T>(&values[0]);
        self.sum -= sum;
        self.values -= count;
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = (self.values > 0).then_some(self.sum).map(answered::<T>).transpose()?;
        ScalarValue::new_primitive::<T>(sum, &T::DATA_TYPE)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let sum = (self.values > 0).then_some(self.sum);
        Ok(vec![ScalarValue::Decimal128(sum, DIGITS, 0)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for sum in states[0].as_primitive::<Decimal128Type>().iter().flatten() {
            self.sum += sum;
            self.values += 1;
        }
        Ok(())
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// Of values that are each taken once: the engine gathers them.
#[derive(Debug)]
pub(super) struct OfDistinct {
    pub(super) values: Box<dyn Accumulator>,
    pub(super) data_type: DataType,
}

impl Accumulator for OfDistinct {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.values.update_batch(values)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.values.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.values.supports_retract_batch()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let state = self.values.state()?;
        let [ScalarValue::List(values)] = state.as_slice() else {
            return internal_err!("distinct values are no list");
        };
        let values = values.value(0);
        if values.is_empty() {
            return ScalarValue::try_from(&self.data_type);
        }
        match self.data_type {
            DataType::UInt64 => of::<UInt64Type>(&values),
            _ => of::<Int64Type>(&values),
        }
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.values.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.values.merge_batch(states)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.size()
    }
}

fn of<T: Whole>(values: &ArrayRef) -> Result<ScalarValue> {
    let sum = answered::<T>(batch::<T>(values).0)?;
    ScalarValue::new_primitive::<T>(Some(sum), &T::DATA_TYPE)
}
