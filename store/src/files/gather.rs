//! Sorting the rows of many parts, and gathering columns in that order.
//!
//! Keys are made once a column, sorted once, and each column is then copied once: rows are never
//! built one by one.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, FixedSizeBinaryArray, Int32Array, StringArray,
    new_null_array,
};
use arrow::buffer::{MutableBuffer, NullBuffer};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Int32Type};
use arrow::error::ArrowError;
use hashbrown::HashMap;

/// Where a row is: which part, which row of it.
pub(super) type Place = (usize, usize);

/// The distinct texts of one column over all parts.
#[derive(Debug)]
pub(super) struct Dictionary<'a> {
    texts: Vec<&'a str>,
    /// For each part, from its own keys to places in `texts`; none where the part has no such
    /// column.
    places: Vec<Option<Vec<i32>>>,
}

impl<'a> Dictionary<'a> {
    /// Over one column of each part, `Dictionary(Int32, Utf8)` where it is there. With `sorted`,
    /// places are in the order of the texts.
    pub(super) fn new(columns: &[Option<&'a ArrayRef>], sorted: bool) -> Self {
        let mut seen: HashMap<&'a str, i32> = HashMap::new();
        let mut texts = Vec::new();
        let mut places: Vec<Option<Vec<i32>>> = Vec::with_capacity(columns.len());
        for column in columns {
            let values = column.map(|column| column.as_dictionary::<Int32Type>().values());
            let values = values.map(|values| values.as_string::<i32>());
            places.push(values.map(|values| {
                // A null among the values is never looked up: its rows are null.
                let texts_here = (0..values.len()).map(|at| values.value(at));
                texts_here.map(|text| place(text, &mut seen, &mut texts)).collect()
            }));
        }
        if sorted {
            sort(&mut texts, &mut places);
        }
        Self { texts, places }
    }

    /// The place of each row's text, row by row of one part; nothing where the text is null.
    pub(super) fn row_places(
        &self,
        part: usize,
        column: &ArrayRef,
    ) -> impl Iterator<Item = Option<i32>> {
        let keys = column.as_dictionary::<Int32Type>().keys();
        let values = column.as_dictionary::<Int32Type>().values();
        let places = self.places[part].as_deref().unwrap_or_default();
        keys.iter().map(move |key| {
            let key = usize::try_from(key?).ok()?;
            values.is_valid(key).then(|| places[key])
        })
    }

    /// As [`Self::row_places`], where no text is null.
    fn whole_places(&self, part: usize, column: &ArrayRef) -> Option<impl Iterator<Item = i32>> {
        let shared = column.as_dictionary::<Int32Type>();
        let places = self.places[part].as_deref().unwrap_or_default();
        let whole = shared.keys().null_count() == 0 && shared.values().null_count() == 0;
        let keys = whole.then(|| shared.keys().values().iter())?;
        Some(keys.map(|key| places[usize::try_from(*key).unwrap_or_default()]))
    }

    /// The place of every row's text, part after part: -1 where it is null. One pass in the order
    /// of the parts, so that gathering in the order of the file is one load a row.
    fn all_places(&self, columns: &[Option<&ArrayRef>], rows: &[usize]) -> Vec<i32> {
        let mut places = Vec::with_capacity(rows.iter().sum());
        for (part, (column, rows)) in columns.iter().zip(rows).enumerate() {
            match column {
                Some(column) => match self.whole_places(part, column) {
                    Some(here) => places.extend(here),
                    None => {
                        let here = self.row_places(part, column);
                        places.extend(here.map(|place| place.unwrap_or(ABSENT)));
                    }
                },
                None => places.resize(places.len() + rows, ABSENT),
            }
        }
        places
    }
}

/// The place of a text that is not there.
const ABSENT: i32 = -1;

fn place<'a>(text: &'a str, seen: &mut HashMap<&'a str, i32>, texts: &mut Vec<&'a str>) -> i32 {
    *seen.entry(text).or_insert_with(|| {
        texts.push(text);
        i32::try_from(texts.len() - 1).expect("a file holds fewer than 2^31 rows")
    })
}

fn sort(texts: &mut [&str], places: &mut [Option<Vec<i32>>]) {
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_unstable_by_key(|at| texts[*at]);
    let mut rank = vec![0; order.len()];
    for (at, place) in order.iter().zip(0..) {
        rank[*at] = place;
    }
    for place in places.iter_mut().flatten().flatten() {
        *place = rank[usize::try_from(*place).expect("places are not negative")];
    }
    texts.sort_unstable();
}

/// One column over all parts, ready to be gathered in slices.
#[derive(Debug)]
pub(super) enum Gatherer<'a> {
    /// Text with a dictionary.
    Texts {
        /// Of every row, part after part.
        places: Vec<i32>,
        /// Where each part begins in them.
        starts: Vec<usize>,
        /// What they are places in.
        texts: ArrayRef,
    },
    /// Ids, which `interleave` would copy one call a row.
    Ids(Vec<&'a ArrayRef>, i32),
    /// Nothing: no row has a value.
    Nothing(DataType),
    /// Everything else.
    Others(Vec<ArrayRef>),
}

impl<'a> Gatherer<'a> {
    /// Over one column of each part; `rows` are the parts' lengths.
    pub(super) fn new(
        data_type: &DataType,
        columns: Vec<Option<&'a ArrayRef>>,
        rows: &[usize],
    ) -> Self {
        let is_null = |column: &&ArrayRef| column.null_count() == column.len();
        if columns.iter().flatten().all(is_null) {
            return Self::Nothing(data_type.clone());
        }
        match data_type {
            DataType::Dictionary(_, _) => {
                let dictionary = Dictionary::new(&columns, false);
                let texts = StringArray::from_iter_values(&dictionary.texts);
                let starts = rows.iter().scan(0, |next, rows| {
                    let start = *next;
                    *next += rows;
                    Some(start)
                });
                Self::Texts {
                    starts: starts.collect(),
                    places: dictionary.all_places(&columns, rows),
                    texts: Arc::new(texts),
                }
            }
            DataType::FixedSizeBinary(bytes) if columns.iter().all(Option::is_some) => {
                Self::Ids(columns.into_iter().flatten().collect(), *bytes)
            }
            _ => {
                let all = columns.into_iter().zip(rows).map(|(column, rows)| {
                    column.map_or_else(|| new_null_array(data_type, *rows), Arc::clone)
                });
                Self::Others(all.collect())
            }
        }
    }

    /// The rows at these places.
    pub(super) fn gather(&self, rows: &[Place]) -> Result<ArrayRef, ArrowError> {
        match self {
            Self::Texts { places, starts, texts } => {
                let keys = rows.iter().map(|(part, row)| places[starts[*part] + row]);
                let keys: Vec<i32> = keys.collect();
                let absent = keys.contains(&ABSENT);
                let nulls = absent.then(|| keys.iter().map(|key| *key != ABSENT).collect());
                let keys = Int32Array::new(keys.into(), nulls);
                Ok(Arc::new(DictionaryArray::new(keys, Arc::clone(texts))))
            }
            Self::Ids(columns, bytes) => gather_ids(columns, *bytes, rows),
            Self::Nothing(data_type) => Ok(new_null_array(data_type, rows.len())),
            Self::Others(columns) => {
                let columns: Vec<&dyn Array> = columns.iter().map(AsRef::as_ref).collect();
                interleave(&columns, rows)
            }
        }
    }
}

fn gather_ids(columns: &[&ArrayRef], bytes: i32, rows: &[Place]) -> Result<ArrayRef, ArrowError> {
    let columns: Vec<&FixedSizeBinaryArray> =
        columns.iter().map(|column| column.as_fixed_size_binary()).collect();
    let width = usize::try_from(bytes).unwrap_or_default();
    let mut values = MutableBuffer::with_capacity(rows.len() * width);
    for (part, row) in rows {
        values.extend_from_slice(columns[*part].value(*row));
    }
    let nulls = columns.iter().any(|column| column.null_count() > 0).then(|| {
        NullBuffer::from_iter(rows.iter().map(|(part, row)| columns[*part].is_valid(*row)))
    });
    Ok(Arc::new(FixedSizeBinaryArray::try_new(bytes, values.into(), nulls)?))
}
