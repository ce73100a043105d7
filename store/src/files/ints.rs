//! How the integers of data points stand in a file.
//!
//! In row shape a point that was an int has both `value` and `value_int`, and the one is the
//! nearest double of the other. A file says it once: `value`, which every engine reads; whether
//! it was an int, in `value_is_int`; and the int itself, in `value_int_exact`, only where no
//! double is it. For any other engine the int is
//! `coalesce(value_int_exact, CASE WHEN value_is_int THEN CAST(value AS BIGINT) END)`.
//!
//! Invariant: `join(split(ints), doubles)` is `ints`, where `doubles` are nearest to them.
//! Files of schema version 1 have a column `value_int` instead of the two.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type};

/// The column of the row shape, and of files of schema version 1.
pub(super) const INTS: &str = "value_int";
/// The nearest doubles.
const DOUBLES: &str = "value";
/// Whether a point was an int.
const IS_INT: &str = "value_is_int";
/// Those ints that no double is.
const EXACT: &str = "value_int_exact";

/// The columns of a file, of either version, that the ints are made from.
pub(super) const PARTS: [&str; 4] = [INTS, DOUBLES, IS_INT, EXACT];

/// The columns of a file that stand for the ints beside `value`.
pub(super) fn split(ints: &Int64Array) -> [(FieldRef, ArrayRef); 2] {
    let here = (0..ints.len()).map(|row| Some(ints.is_valid(row)));
    let exact = ints.iter().map(|int| int.filter(|int| !is_double(*int)));
    [
        (is_int_field(), Arc::new(here.collect::<BooleanArray>())),
        (exact_field(), Arc::new(exact.collect::<Int64Array>())),
    ]
}

/// One of those columns, by its name; `None` where it is another.
pub(super) fn split_part(name: &str, ints: &Int64Array) -> Option<ArrayRef> {
    let mut parts = split(ints).into_iter();
    parts.find(|(field, _)| field.name() == name).map(|(_, column)| column)
}

/// Whether a column of a file is one of the two.
pub(super) fn is_part(name: &str) -> bool {
    name == IS_INT || name == EXACT
}

/// The ints, from the columns of a file; `None` where they are not there, or of other types.
pub(super) fn join<'a>(find: &impl Fn(&str) -> Option<&'a ArrayRef>) -> Option<ArrayRef> {
    let is_int = find(IS_INT)?.as_boolean_opt()?;
    let exact = find(EXACT)?.as_primitive_opt::<Int64Type>()?;
    let doubles = find(DOUBLES)?.as_primitive_opt::<Float64Type>()?;
    let ints = (0..is_int.len()).map(|row| {
        let is_int = is_int.is_valid(row) && is_int.value(row);
        let near = || doubles.is_valid(row).then(|| int_of(doubles.value(row)));
        let exact = || exact.is_valid(row).then(|| exact.value(row));
        is_int.then(|| exact().or_else(near)).flatten()
    });
    Some(Arc::new(ints.collect::<Int64Array>()))
}

/// The int that a double is.
#[expect(clippy::cast_possible_truncation, reason = "only doubles that are ints come here")]
const fn int_of(double: f64) -> i64 {
    double as i64
}

/// Whether some double is this int. Wider than both, so that the ends of their ranges are told.
#[expect(clippy::cast_possible_truncation, reason = "a double that is near an i64 is an i128")]
const fn is_double(int: i64) -> bool {
    int as f64 as i128 == int as i128
}

fn is_int_field() -> FieldRef {
    Arc::new(Field::new(IS_INT, DataType::Boolean, false))
}

fn exact_field() -> FieldRef {
    Arc::new(Field::new(EXACT, DataType::Int64, true))
}

#[cfg(test)]
mod tests {
    use arrow::array::Float64Array;

    use super::*;

    /// Scenario: ints that doubles are, the first that none is, both ends of the range, and
    /// points that were no ints.
    /// Guarantees: each comes back as it was; only those that no double is are kept twice.
    #[test]
    fn ints_are_kept_once() {
        const ODD: i64 = (1 << 53) + 1;
        let all = [Some(0), Some(-7), None, Some(1 << 62), Some(ODD), Some(-ODD)];
        let all = [&all[..], &[Some(i64::MIN), Some(i64::MAX), None]].concat();
        let ints = Int64Array::from(all.clone());
        let doubles = all.iter().map(|int| int.map_or(Some(0.5), |int| Some(int as f64)));
        let doubles: ArrayRef = Arc::new(doubles.collect::<Float64Array>());
        let [(_, is_int), (_, exact)] = split(&ints);
        let kept: Vec<i64> = exact.as_primitive::<Int64Type>().iter().flatten().collect();
        assert_eq!(kept, [ODD, -ODD, i64::MAX]);
        let columns = [(DOUBLES, &doubles), (IS_INT, &is_int), (EXACT, &exact)];
        let find = |name: &str| {
            columns.iter().find(|(column, _)| *column == name).map(|(_, column)| *column)
        };
        let joined = join(&find).unwrap();
        assert_eq!(joined.as_primitive::<Int64Type>(), &ints);
        assert_eq!(split_part(EXACT, &ints).as_ref(), Some(&exact));
        assert_eq!(split_part(DOUBLES, &ints), None);
    }
}
