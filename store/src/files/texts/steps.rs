//! Long columns of texts, a few rows at a time.
//!
//! Parquet's writer looks at the length of a dictionary after each piece of rows that it is given, and of rows
//! without nulls takes all that it is given as one piece: 72,000 texts of 1 KiB became one page of a dictionary.
//!
//! Invariant: the steps are all rows, in order; each has some rows, and few texts or one.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, StringArray};
use arrow::datatypes::Int32Type;

/// Letters of a step.
const STEP_BYTES: usize = 256 << 10;

/// The steps of a column; one where it is not of long texts.
pub(in super::super) fn steps(values: &ArrayRef) -> Vec<Range<usize>> {
    let all = 0..values.len();
    if let Some(texts) = values.as_string_opt::<i32>() {
        let length = |row: usize| bytes(texts, row);
        return cut(all, letters(texts), length);
    }
    let Some(shared) = values.as_dictionary_opt::<Int32Type>() else { return vec![all] };
    let Some(texts) = shared.values().as_string_opt::<i32>() else { return vec![all] };
    cut(all, letters(texts), |row| place(shared, row).map_or(0, |place| bytes(texts, place)))
}

fn cut(rows: Range<usize>, letters: usize, length: impl Fn(usize) -> usize) -> Vec<Range<usize>> {
    if letters <= STEP_BYTES {
        return vec![rows];
    }
    let (mut steps, mut start, mut held) = (Vec::new(), rows.start, 0);
    for row in rows.clone() {
        let here = length(row);
        if row > start && held + here > STEP_BYTES {
            steps.push(start..row);
            (start, held) = (row, 0);
        }
        held += here;
    }
    steps.push(start..rows.end);
    steps
}

/// Of all texts of an array.
fn letters(texts: &StringArray) -> usize {
    let offsets = texts.value_offsets();
    let ends = offsets.first().zip(offsets.last());
    ends.map_or(0, |(first, last)| usize::try_from(last - first).unwrap_or_default())
}

fn bytes(texts: &StringArray, at: usize) -> usize {
    usize::try_from(texts.value_length(at)).unwrap_or_default()
}

fn place(shared: &DictionaryArray<Int32Type>, row: usize) -> Option<usize> {
    shared.keys().is_valid(row).then(|| usize::try_from(shared.keys().value(row)).ok()).flatten()
}
