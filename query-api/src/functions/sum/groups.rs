//! The sums of many groups, each kept in 128 bits.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, PrimitiveArray};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::Decimal128Type;
use datafusion::common::Result;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};

use super::DIGITS;
use super::kept::{Whole, answered};

/// By group.
#[derive(Debug)]
pub(super) struct Sums<T> {
    sums: Vec<i128>,
    /// Whether a group has a value; without any it has no sum.
    any: Vec<bool>,
    of: PhantomData<T>,
}

impl<T> Default for Sums<T> {
    fn default() -> Self {
        Self { sums: Vec::new(), any: Vec::new(), of: PhantomData }
    }
}

impl<T> Sums<T> {
    fn reach(&mut self, groups: usize) {
        self.sums.resize(groups, 0);
        self.any.resize(groups, false);
    }

    fn add(&mut self, group: usize, value: i128) {
        self.sums[group] += value;
        self.any[group] = true;
    }

    fn take(&mut self, emit_to: EmitTo) -> (Vec<i128>, NullBuffer) {
        let sums = emit_to.take_needed(&mut self.sums);
        let any = emit_to.take_needed(&mut self.any);
        (sums, NullBuffer::new(BooleanBuffer::from(any)))
    }
}

impl<T: Whole> GroupsAccumulator for Sums<T> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.reach(total_num_groups);
        let values = values[0].as_primitive::<T>();
        let places = group_indices.iter().zip(values.values());
        if opt_filter.is_none() && values.null_count() == 0 {
            for (group, value) in places {
                self.add(*group, (*value).into());
            }
            return Ok(());
        }
        let passes =
            |row| opt_filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        for (row, (group, value)) in places.enumerate() {
            if values.is_valid(row) && passes(row) {
                self.add(*group, (*value).into());
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let (sums, any) = self.take(emit_to);
        let answers = sums.into_iter().map(answered::<T>).collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(PrimitiveArray::<T>::new(answers.into(), Some(any))))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let (sums, any) = self.take(emit_to);
        let sums = Decimal128Array::new(sums.into(), Some(any));
        Ok(vec![Arc::new(sums.with_precision_and_scale(DIGITS, 0)?)])
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.reach(total_num_groups);
        for (group, sum) in group_indices.iter().zip(values[0].as_primitive::<Decimal128Type>()) {
            if let Some(sum) = sum {
                self.add(*group, sum);
            }
        }
        Ok(())
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let rows: Vec<usize> = (0..values[0].len()).collect();
        let mut each = Self::default();
        each.update_batch(values, &rows, opt_filter, rows.len())?;
        each.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<i128>() + self.any.capacity()
    }
}
