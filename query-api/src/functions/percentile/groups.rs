//! The accumulators of percentiles: one sketch, or one a group.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder, BooleanArray, Float64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};

use super::sketch::Sketch;

/// What is asked of the values.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// The share of values below the answer, 0 to 1.
    pub(super) share: f64,
    /// The type of the answer, a float.
    pub(super) data_type: DataType,
}

/// Percentiles of many groups.
#[derive(Debug)]
pub(super) struct Percentiles {
    asked: Asked,
    groups: Vec<Sketch>,
    /// Of all sketches, beside themselves.
    bytes: usize,
}

impl Percentiles {
    pub(super) const fn new(asked: Asked) -> Self {
        Self { asked, groups: Vec::new(), bytes: 0 }
    }

    fn take(&mut self, emit_to: EmitTo) -> Vec<Sketch> {
        let taken = emit_to.take_needed(&mut self.groups);
        self.bytes = self.groups.iter().map(Sketch::bytes).sum();
        taken
    }
}

impl GroupsAccumulator for Percentiles {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.groups.resize(total_num_groups, Sketch::default());
        let values = doubles(&values[0])?;
        let places = group_indices.iter().zip(values.values());
        if opt_filter.is_none() && values.null_count() == 0 {
            for (group, value) in places {
                self.bytes += self.groups[*group].add(*value);
            }
            return Ok(());
        }
        let passes =
            |row| opt_filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        for (row, (group, value)) in places.enumerate() {
            if values.is_valid(row) && passes(row) {
                self.bytes += self.groups[*group].add(*value);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let share = self.asked.share;
        let answers = self.take(emit_to).into_iter().map(|mut sketch| sketch.quantile(share));
        let answers: Float64Array = answers.collect();
        Ok(cast(&answers, &self.asked.data_type)?)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let sketches = self.take(emit_to);
        Ok(vec![written(sketches.iter())])
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.groups.resize(total_num_groups, Sketch::default());
        for (group, bytes) in group_indices.iter().zip(values[0].as_binary::<i32>()) {
            let Some(bytes) = bytes else { continue };
            let group = &mut self.groups[*group];
            let before = group.bytes();
            group.merge(&read(bytes)?);
            self.bytes += group.bytes().saturating_sub(before);
        }
        Ok(())
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let rows: Vec<usize> = (0..values[0].len()).collect();
        let mut each = Self::new(self.asked.clone());
        each.update_batch(values, &rows, opt_filter, rows.len())?;
        each.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        self.bytes + self.groups.capacity() * size_of::<Sketch>()
    }
}

/// The percentile of all values.
#[derive(Debug)]
pub(super) struct Percentile {
    asked: Asked,
    sketch: Sketch,
}

impl Percentile {
    pub(super) fn new(asked: Asked) -> Self {
        Self { asked, sketch: Sketch::default() }
    }
}

impl Accumulator for Percentile {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in doubles(&values[0])?.iter().flatten() {
            self.sketch.add(value);
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let answer = ScalarValue::Float64(self.sketch.quantile(self.asked.share));
        answer.cast_to(&self.asked.data_type)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let mut bytes = Vec::new();
        self.sketch.write(&mut bytes);
        Ok(vec![ScalarValue::Binary(Some(bytes))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for bytes in states[0].as_binary::<i32>().iter().flatten() {
            self.sketch.merge(&read(bytes)?);
        }
        Ok(())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.sketch.bytes()
    }
}

fn doubles(values: &ArrayRef) -> Result<Float64Array> {
    let values = cast(values, &DataType::Float64)?;
    Ok(values.as_primitive::<Float64Type>().clone())
}

fn written<'s>(sketches: impl Iterator<Item = &'s Sketch>) -> ArrayRef {
    let mut out = BinaryBuilder::new();
    let mut bytes = Vec::new();
    for sketch in sketches {
        bytes.clear();
        sketch.write(&mut bytes);
        out.append_value(&bytes);
    }
    Arc::new(out.finish())
}

fn read(bytes: &[u8]) -> Result<Sketch> {
    Sketch::read(bytes).ok_or_else(|| exec_datafusion_err!("the state of a percentile is torn"))
}
