//! Which group each row belongs to.
//!
//! Invariant: two rows have the same group if, and only if, all their keys are equal, null being
//! equal to null. Groups are numbered from 0 in the order in which they are first seen.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, StringViewBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use datafusion::common::{Result, exec_datafusion_err};
use hashbrown::HashMap;

/// About what an entry of a map of texts takes beside its text.
const TEXT_BYTES: usize = 64;
const PAIR_BYTES: usize = 32;

/// Whether keys of a type can be told apart here.
pub(super) fn is_key(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8View | DataType::Int64 | DataType::Timestamp(_, _) | DataType::Boolean
    ) || is_dictionary(data_type)
}

fn is_dictionary(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Dictionary(key, text)
        if **key == DataType::Int32 && **text == DataType::Utf8)
}

/// The groups seen so far.
#[derive(Debug)]
pub(super) struct Keys {
    columns: Vec<Codes>,
    /// Of the groups by the first columns, and the code in the next one.
    pairs: Vec<Pairs>,
}

impl Keys {
    /// Of so many columns, one at least.
    pub(super) fn new(columns: usize) -> Self {
        Self {
            columns: (0..columns).map(|_| Codes::default()).collect(),
            pairs: (1..columns).map(|_| Pairs::default()).collect(),
        }
    }

    /// How many groups there are.
    pub(super) fn len(&self) -> usize {
        match self.pairs.last() {
            Some(pairs) => pairs.parts.len(),
            None => self.columns.first().map_or(0, Codes::len),
        }
    }

    /// Memory of it, about.
    pub(super) fn bytes(&self) -> usize {
        let pairs: usize = self.pairs.iter().map(|pairs| pairs.parts.len()).sum();
        self.columns.iter().map(Codes::bytes).sum::<usize>() + pairs * PAIR_BYTES
    }

    /// The group of each row.
    pub(super) fn groups(&mut self, keys: &[ArrayRef], groups: &mut Vec<usize>) -> Result<()> {
        groups.clear();
        let mut keys = self.columns.iter_mut().zip(keys);
        let Some((codes, first)) = keys.next() else { return Ok(()) };
        codes.of(first, groups)?;
        let mut next = Vec::with_capacity(groups.len());
        for ((codes, column), pairs) in keys.zip(&mut self.pairs) {
            next.clear();
            codes.of(column, &mut next)?;
            pairs.of(groups, &next);
        }
        Ok(())
    }

    /// The keys of all groups, column by column.
    pub(super) fn values(&self, types: &[DataType]) -> Result<Vec<ArrayRef>> {
        let mut groups: Vec<usize> = (0..self.len()).collect();
        let mut columns = Vec::with_capacity(self.columns.len());
        for (at, codes) in self.columns.iter().enumerate().rev() {
            let here: Vec<usize> = match at.checked_sub(1).and_then(|at| self.pairs.get(at)) {
                Some(pairs) => {
                    let here = groups.iter().map(|group| pairs.parts[*group].1).collect();
                    groups.iter_mut().for_each(|group| *group = pairs.parts[*group].0);
                    here
                }
                None => std::mem::take(&mut groups),
            };
            columns.push(codes.values(&here, &types[at])?);
        }
        columns.reverse();
        Ok(columns)
    }
}

/// Groups by two codes.
#[derive(Debug, Default)]
struct Pairs {
    known: HashMap<(usize, usize), usize>,
    parts: Vec<(usize, usize)>,
}

impl Pairs {
    /// Puts the group of each pair in place of its first part. Rows of one group stand together in
    /// files, so that most are of the group before them.
    fn of(&mut self, groups: &mut [usize], codes: &[usize]) {
        let mut last = None;
        for (group, code) in groups.iter_mut().zip(codes) {
            let pair = (*group, *code);
            *group = match last {
                Some((known, at)) if known == pair => at,
                _ => {
                    let parts = &mut self.parts;
                    let at = *self.known.entry(pair).or_insert_with(|| {
                        parts.push(pair);
                        parts.len() - 1
                    });
                    last = Some((pair, at));
                    at
                }
            };
        }
    }
}

/// Numbers for the distinct values of one column.
#[derive(Debug, Default)]
struct Codes {
    texts: HashMap<Arc<str>, usize>,
    ints: HashMap<i64, usize>,
    values: Vec<Value>,
    null: Option<usize>,
    text_bytes: usize,
    /// From the keys of a dictionary, which batches share, to codes.
    places: Places,
}

#[derive(Debug, Clone)]
enum Value {
    Null,
    Text(Arc<str>),
    Int(i64),
}

#[derive(Debug, Default)]
struct Places {
    of: Option<ArrayRef>,
    codes: Vec<Option<usize>>,
}

impl Codes {
    const fn len(&self) -> usize {
        self.values.len()
    }

    fn bytes(&self) -> usize {
        let places = self.places.codes.capacity() * size_of::<Option<usize>>();
        self.text_bytes + self.values.len() * TEXT_BYTES + places
    }

    /// Appends the code of each row.
    fn of(&mut self, column: &ArrayRef, codes: &mut Vec<usize>) -> Result<()> {
        match column.data_type() {
            data_type if is_dictionary(data_type) => self.of_dictionary(column, codes),
            DataType::Utf8View => {
                codes.extend(column.as_string_view().iter().map(|text| match text {
                    Some(text) => self.text(text),
                    None => self.null(),
                }));
                Ok(())
            }
            _ => {
                let ints = match column.as_boolean_opt() {
                    Some(flags) => flags.iter().map(|flag| flag.map(i64::from)).collect(),
                    None => cast(column, &DataType::Int64)?.as_primitive::<Int64Type>().clone(),
                };
                self.of_ints(&ints, codes);
                Ok(())
            }
        }
    }

    fn of_dictionary(&mut self, column: &ArrayRef, codes: &mut Vec<usize>) -> Result<()> {
        let dictionary = column.as_dictionary::<Int32Type>();
        let texts = dictionary.values().as_string::<i32>();
        let mut places = std::mem::take(&mut self.places);
        let same = places.of.as_ref().is_some_and(|of| Arc::ptr_eq(of, dictionary.values()));
        if !same {
            places.codes.clear();
            places.codes.resize(texts.len(), None);
            places.of = Some(Arc::clone(dictionary.values()));
        }
        let mut last = None;
        for key in dictionary.keys() {
            let Some(key) = key else {
                codes.push(self.null());
                continue;
            };
            let code = match last {
                Some((known, code)) if known == key => code,
                _ => {
                    let at = usize::try_from(key).ok().filter(|at| *at < texts.len());
                    let at = at.ok_or_else(|| exec_datafusion_err!("a text has no place {key}"))?;
                    let code = match places.codes[at] {
                        Some(code) => code,
                        None if texts.is_valid(at) => self.text(texts.value(at)),
                        None => self.null(),
                    };
                    places.codes[at] = Some(code);
                    last = Some((key, code));
                    code
                }
            };
            codes.push(code);
        }
        self.places = places;
        Ok(())
    }

    fn of_ints(&mut self, ints: &Int64Array, codes: &mut Vec<usize>) {
        let mut last = None;
        for int in ints {
            let Some(int) = int else {
                codes.push(self.null());
                continue;
            };
            let code = match last {
                Some((known, code)) if known == int => code,
                _ => {
                    let values = &mut self.values;
                    let code = *self.ints.entry(int).or_insert_with(|| {
                        values.push(Value::Int(int));
                        values.len() - 1
                    });
                    last = Some((int, code));
                    code
                }
            };
            codes.push(code);
        }
    }

    fn text(&mut self, text: &str) -> usize {
        if let Some(code) = self.texts.get(text) {
            return *code;
        }
        let text: Arc<str> = text.into();
        self.text_bytes += text.len();
        self.values.push(Value::Text(Arc::clone(&text)));
        self.texts.insert(text, self.values.len() - 1);
        self.values.len() - 1
    }

    fn null(&mut self) -> usize {
        *self.null.get_or_insert_with(|| {
            self.values.push(Value::Null);
            self.values.len() - 1
        })
    }

    /// The values of some codes.
    fn values(&self, codes: &[usize], data_type: &DataType) -> Result<ArrayRef> {
        let int = |code: &usize| match self.values[*code] {
            Value::Int(int) => Some(int),
            _ => None,
        };
        Ok(match data_type {
            DataType::Utf8View => {
                let mut texts = StringViewBuilder::with_capacity(codes.len());
                for code in codes {
                    match &self.values[*code] {
                        Value::Text(text) => texts.append_value(text),
                        _ => texts.append_null(),
                    }
                }
                Arc::new(texts.finish())
            }
            DataType::Boolean => {
                let flags = codes.iter().map(|code| int(code).map(|int| int != 0));
                Arc::new(flags.collect::<BooleanArray>())
            }
            other => {
                let ints: Int64Array = codes.iter().map(int).collect();
                cast(&ints, other)?
            }
        })
    }
}

#[cfg(test)]
mod tests;
