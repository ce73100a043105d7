use std::collections::BTreeMap;

use arrow::array::{DictionaryArray, StringViewArray};
use arrow::util::display::array_value_to_string;

use super::*;

fn chances(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state).unwrap() % below
    }
}

/// A column of one of the types that are keys, with nulls, in dictionaries that have more than the
/// rows use.
fn column(kind: usize, rows: usize, chance: &mut impl FnMut(usize) -> usize) -> ArrayRef {
    let texts: Vec<Option<String>> =
        (0..rows).map(|_| chance(7).checked_sub(1).map(|at| format!("text {at}"))).collect();
    match kind {
        0 => {
            let all: DictionaryArray<Int32Type> =
                texts.iter().map(Option::as_deref).chain([Some("unused")]).collect();
            Arc::new(all.slice(0, rows))
        }
        1 => Arc::new(texts.iter().map(Option::as_deref).collect::<StringViewArray>()),
        2 => Arc::new(
            (0..rows)
                .map(|_| chance(5).checked_sub(1).map(|n| i64::try_from(n).unwrap() - 2))
                .collect::<Int64Array>(),
        ),
        _ => Arc::new(
            (0..rows).map(|_| [None, Some(true), Some(false)][chance(3)]).collect::<BooleanArray>(),
        ),
    }
}

fn shown(columns: &[ArrayRef], row: usize) -> Vec<Option<String>> {
    let cell = |column: &ArrayRef| {
        column.is_valid(row).then(|| array_value_to_string(column, row).unwrap())
    };
    columns.iter().map(cell).collect()
}

/// Scenario: random keys of every type, alone and together, over many batches, with nulls.
/// Guarantees: rows have the same group where all their keys are equal, and the keys of each group
/// come out as they went in.
#[test]
fn groups_are_those_of_equal_keys() {
    let types = [DataType::Utf8View, DataType::Utf8View, DataType::Int64, DataType::Boolean];
    for seed in 1..40 {
        let mut chance = chances(seed);
        let kinds: Vec<usize> = (0..=chance(3)).map(|_| chance(4)).collect();
        let mut keys = Keys::new(kinds.len());
        let mut known: BTreeMap<Vec<Option<String>>, usize> = BTreeMap::new();
        let mut groups = Vec::new();
        for _ in 0..5 {
            let rows = chance(60);
            let columns: Vec<ArrayRef> =
                kinds.iter().map(|kind| column(*kind, rows, &mut chance)).collect();
            keys.groups(&columns, &mut groups).unwrap();
            assert_eq!(groups.len(), rows);
            for (row, group) in groups.iter().enumerate() {
                let next = known.len();
                assert_eq!(*known.entry(shown(&columns, row)).or_insert(next), *group);
            }
        }
        assert_eq!(keys.len(), known.len());
        let types: Vec<DataType> = kinds.iter().map(|kind| types[*kind].clone()).collect();
        let values = keys.values(&types).unwrap();
        for (key, group) in known {
            assert_eq!(shown(&values, group), key);
        }
    }
}
