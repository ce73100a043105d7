//! Stacks, which the store keeps as texts, shown as lists.
//!
//! Invariant: a distinct text is read once a batch, and all rows that have it share its frames. A text that
//! is no list of names, which no writer writes, shows as one frame.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, StringViewBuilder, UInt32Array, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Field, FieldRef, Int32Type};
use arrow::error::ArrowError;
use hashbrown::HashMap;

/// Whether a column of this name holds stacks.
pub(super) fn is_stack(name: &str) -> bool {
    name == "stack"
}

/// The type that SQL shows.
pub(super) fn stack_type() -> DataType {
    static ITEM: LazyLock<FieldRef> =
        LazyLock::new(|| Arc::new(Field::new_list_field(DataType::Utf8View, true)));
    DataType::List(Arc::clone(&ITEM))
}

/// Texts of any encoding as lists of their frames.
pub(super) fn stacks(texts: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match texts.as_dictionary_opt::<Int32Type>() {
        Some(shared) => {
            // A dictionary may be that of a row group, of which a batch has few.
            let keys = shared.keys();
            let mut places: HashMap<i32, u32> = HashMap::new();
            let mut used = Vec::new();
            let places: UInt32Array = keys
                .iter()
                .map(|key| {
                    let key = key?;
                    Some(*places.entry(key).or_insert_with(|| {
                        used.push(key.cast_unsigned());
                        u32::try_from(used.len() - 1).unwrap_or_default()
                    }))
                })
                .collect();
            let used = take(shared.values(), &UInt32Array::from(used), None)?;
            take(&lists(&used)?, &places, None)
        }
        None => lists(texts),
    }
}

fn lists(texts: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let texts = cast(texts, &DataType::Utf8)?;
    let texts = texts.as_string::<i32>();
    let (mut frames, mut lengths) = (StringViewBuilder::new(), Vec::with_capacity(texts.len()));
    for text in texts {
        let Some(text) = text else {
            lengths.push(0);
            continue;
        };
        match serde_json::from_str::<Vec<String>>(text) {
            Ok(names) => {
                names.iter().for_each(|name| frames.append_value(name));
                lengths.push(names.len());
            }
            Err(_) => {
                frames.append_value(text);
                lengths.push(1);
            }
        }
    }
    let DataType::List(item) = stack_type() else {
        return Ok(new_null_array(&stack_type(), texts.len()));
    };
    let offsets = OffsetBuffer::from_lengths(lengths);
    let nulls: Option<NullBuffer> = texts.nulls().cloned();
    Ok(Arc::new(ListArray::try_new(item, offsets, Arc::new(frames.finish()), nulls)?))
}

#[cfg(test)]
mod tests {
    use arrow::array::{DictionaryArray, StringArray};

    use super::*;

    fn shown(texts: &ArrayRef) -> Vec<Option<Vec<String>>> {
        let shown = stacks(texts).unwrap();
        assert_eq!(shown.data_type(), &stack_type());
        let rows = shown.as_list::<i32>().iter().map(|row| {
            let names = row?;
            Some(names.as_string_view().iter().map(|name| name.unwrap().to_owned()).collect())
        });
        rows.collect()
    }

    /// Scenario: stacks that repeat in any order, no stack, an empty one, names with quotes, and a text
    /// that is none; in a dictionary with texts that no row has, and plain.
    /// Guarantees: each row has its frames, in order.
    #[test]
    fn each_row_has_its_frames() {
        let texts = [r#"["unused"]"#, r#"["a\"b","main"]"#, "[]", "not a list"];
        let values = Arc::new(StringArray::from(texts.to_vec()));
        let keys = vec![Some(1), None, Some(2), Some(1), Some(3)];
        let shared: ArrayRef =
            Arc::new(DictionaryArray::<Int32Type>::try_new(keys.into(), values).unwrap());
        let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        let expected = [
            names(&["a\"b", "main"]),
            None,
            names(&[]),
            names(&["a\"b", "main"]),
            names(&["not a list"]),
        ];
        assert_eq!(shown(&shared), expected);
        assert_eq!(shown(&cast(&shared, &DataType::Utf8).unwrap()), expected);
    }
}
