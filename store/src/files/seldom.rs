//! Attributes that are numbers and seldom repeat, for which a dictionary is not the shortest way.
//!
//! To read one value of a dictionary all of it is unpacked, and it is longer than plain values where
//! most of them are new. Texts are tried when they are all there: see `encode.rs`.

use std::collections::HashSet;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use parquet::basic::Encoding;

use super::numbers;

/// Values that are looked at.
const SAMPLE: usize = 1_024;

/// What is better than a dictionary for values that seldom repeat; `None` where that is nothing.
pub(super) fn straight(values: &ArrayRef) -> Option<Encoding> {
    if !seldom_repeats(values) {
        return None;
    }
    numbers::best(values).and_then(numbers::Numbers::encoding)
}

/// Whether of some values that lie far apart a quarter was not there before.
fn seldom_repeats(values: &ArrayRef) -> bool {
    let valid = values.len() - values.null_count();
    let here = (0..values.len()).filter(|row| values.is_valid(*row));
    let sample = here.step_by((valid / SAMPLE).max(1)).take(SAMPLE);
    let (mut seen, mut distinct) = (0, HashSet::new());
    for row in sample {
        let value = match values.data_type() {
            DataType::Int64 => values.as_primitive::<Int64Type>().value(row).cast_unsigned(),
            DataType::Float64 => values.as_primitive::<Float64Type>().value(row).to_bits(),
            _ => return false,
        };
        seen += 1;
        distinct.insert(value);
    }
    distinct.len() * 4 > seen
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
    use std::sync::Arc;

    use arrow::array::{BooleanArray, Int64Array};

    use super::*;

    fn way(values: impl Array + 'static) -> Option<Encoding> {
        straight(&(Arc::new(values) as ArrayRef))
    }

    /// As good as random.
    fn mixed(at: i64) -> i64 {
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        hasher.hash_one(at).cast_signed()
    }

    /// Scenario: numbers of which each is another, and a few again and again in any order; no
    /// values, and values that are no numbers.
    /// Guarantees: only the first go without a dictionary.
    #[test]
    fn what_repeats_is_in_dictionaries() {
        let ints = |distinct: i64| {
            Int64Array::from_iter_values((0..20_000).map(|at| mixed(mixed(at) % distinct)))
        };
        assert_eq!(way(ints(i64::MAX)), Some(Encoding::PLAIN));
        assert_eq!(way(ints(90)), None);
        assert_eq!(way(Int64Array::from(vec![None; 10])), None);
        assert_eq!(way(BooleanArray::from(vec![true])), None);
    }
}
