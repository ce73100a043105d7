//! One map of a batch in row shape, row by row: its attribute columns and its overflow.
//!
//! Invariant: the text of a row holds each entry once, sorted by key; of a repeated key the entry
//! with a column comes first, then those of the overflow in their order.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, Float64Array, Int32Array, Int64Array,
    RecordBatch, StringArray, StringBuilder,
};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type};

use crate::model::Value;
use crate::model::value::{
    ObjectWriter, raw_entries, write_bool, write_double, write_int, write_string,
};
use crate::schema::{AttributeType, MapColumn};

/// A text column in row shape, plain or with a dictionary.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Texts<'a> {
    /// `Utf8`.
    Plain(&'a StringArray),
    /// `Dictionary(Int32, Utf8)`.
    Shared(&'a Int32Array, &'a StringArray),
}

impl<'a> Texts<'a> {
    /// `None` where the array is no text of the row shape.
    pub(crate) fn of(array: &'a ArrayRef) -> Option<Self> {
        if let Some(plain) = array.as_string_opt::<i32>() {
            return Some(Self::Plain(plain));
        }
        let shared = array.as_dictionary_opt::<Int32Type>()?;
        Some(Self::Shared(shared.keys(), shared.values().as_string_opt::<i32>()?))
    }

    /// The text of a row.
    pub(crate) fn get(&self, row: usize) -> Option<&'a str> {
        match self {
            Self::Plain(texts) => texts.is_valid(row).then(|| texts.value(row)),
            Self::Shared(keys, texts) => {
                let at = keys.is_valid(row).then(|| keys.value(row))?;
                let at = usize::try_from(at).ok()?;
                texts.is_valid(at).then(|| texts.value(at))
            }
        }
    }

    /// Whether two rows have the same text; may say no for equal texts.
    fn same(&self, one: usize, other: usize) -> bool {
        match self {
            Self::Plain(_) => self.get(one) == self.get(other),
            Self::Shared(keys, _) => {
                let key = |row| keys.is_valid(row).then(|| keys.value(row));
                key(one) == key(other)
            }
        }
    }
}

/// An attribute column.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cells<'a> {
    /// Strings.
    String(Texts<'a>),
    /// Ints.
    Int(&'a Int64Array),
    /// Doubles.
    Double(&'a Float64Array),
    /// Bools.
    Bool(&'a BooleanArray),
}

impl<'a> Cells<'a> {
    /// `None` where the array is of no attribute type of the row shape.
    pub(crate) fn of(array: &'a ArrayRef) -> Option<Self> {
        match AttributeType::of(array.data_type())? {
            AttributeType::String => Texts::of(array).map(Self::String),
            AttributeType::Int => array.as_primitive_opt::<Int64Type>().map(Self::Int),
            AttributeType::Double => array.as_primitive_opt::<Float64Type>().map(Self::Double),
            AttributeType::Bool => array.as_boolean_opt().map(Self::Bool),
        }
    }

    fn is_here(&self, row: usize) -> bool {
        match self {
            Self::String(texts) => texts.get(row).is_some(),
            Self::Int(cells) => cells.is_valid(row),
            Self::Double(cells) => cells.is_valid(row),
            Self::Bool(cells) => cells.is_valid(row),
        }
    }

    /// The value of a row.
    pub(crate) fn value(&self, row: usize) -> Option<Value> {
        if !self.is_here(row) {
            return None;
        }
        Some(match self {
            Self::String(texts) => Value::String(texts.get(row)?.to_owned()),
            Self::Int(cells) => Value::Int(cells.value(row)),
            Self::Double(cells) => Value::Double(cells.value(row)),
            Self::Bool(cells) => Value::Bool(cells.value(row)),
        })
    }

    /// Appends the value of a row as JSON text; the row has one.
    pub(crate) fn write(&self, row: usize, out: &mut String) {
        match self {
            Self::String(texts) => write_string(out, texts.get(row).unwrap_or_default()),
            Self::Int(cells) => write_int(out, cells.value(row)),
            Self::Double(cells) => write_double(out, cells.value(row)),
            Self::Bool(cells) => write_bool(out, cells.value(row)),
        }
    }

    fn same(&self, one: usize, other: usize) -> bool {
        match self {
            Self::String(texts) => texts.same(one, other),
            Self::Int(cells) => {
                cells.is_valid(one) == cells.is_valid(other)
                    && cells.value(one) == cells.value(other)
            }
            Self::Double(cells) => {
                cells.is_valid(one) == cells.is_valid(other)
                    && cells.value(one).to_bits() == cells.value(other).to_bits()
            }
            Self::Bool(cells) => {
                cells.is_valid(one) == cells.is_valid(other)
                    && cells.value(one) == cells.value(other)
            }
        }
    }
}

/// Some or all attribute columns of one map, and its overflow.
#[derive(Debug)]
pub(crate) struct MapCells<'a> {
    columns: Vec<(&'a str, Cells<'a>)>,
    overflow: Option<Texts<'a>>,
}

impl<'a> MapCells<'a> {
    /// The columns given, which are of attribute types, and an overflow.
    pub(crate) fn new(
        columns: impl IntoIterator<Item = (&'a str, &'a ArrayRef)>,
        overflow: Option<&'a ArrayRef>,
    ) -> Self {
        let columns = columns.into_iter();
        Self {
            columns: columns.filter_map(|(key, cells)| Some((key, Cells::of(cells)?))).collect(),
            overflow: overflow.and_then(Texts::of),
        }
    }

    /// Every entry of `map` in a batch; the overflow only where the batch has it.
    pub(crate) fn of_batch(rows: &'a RecordBatch, map: MapColumn) -> Self {
        let fields = rows.schema_ref().fields();
        let columns = fields.iter().zip(rows.columns()).filter_map(|(field, cells)| {
            let (of, key) = MapColumn::parse(field.name())?;
            (of == map).then_some((key, cells))
        });
        Self::new(columns, rows.column_by_name(map.name()))
    }

    /// The attribute columns, key by key.
    pub(crate) fn columns(&self) -> &[(&'a str, Cells<'a>)] {
        &self.columns
    }

    /// The overflow text of a row.
    pub(crate) fn overflow(&self, row: usize) -> Option<&'a str> {
        self.overflow.as_ref()?.get(row)
    }

    /// Appends the whole map of a row as JSON text, or nothing where it has no entry. Sorted by
    /// key: equal maps have equal texts wherever their rows are, so that SQL can group by them.
    fn write(&self, row: usize, out: &mut String) {
        let rest = self.overflow(row).and_then(raw_entries).unwrap_or_default();
        let here = self.columns.iter().filter(|(_, cells)| cells.is_here(row));
        let here = here.map(|(key, cells)| (Cow::Borrowed(*key), Entry::Cell(cells)));
        let rest = rest.into_iter().map(|(key, raw)| (key, Entry::Raw(raw)));
        let mut entries: Vec<_> = here.chain(rest).collect();
        if entries.is_empty() {
            return;
        }
        // Stable: of a repeated key the first entry stays the first.
        entries.sort_by(|one, other| one.0.cmp(&other.0));
        let mut object = ObjectWriter::new(out);
        for (key, entry) in entries {
            match entry {
                Entry::Cell(cells) => cells.write(row, object.key(&key)),
                Entry::Raw(raw) => object.key(&key).push_str(raw),
            }
        }
        object.finish();
    }

    /// The whole map of each row as JSON text, sorted by key; null where it has no entry.
    pub(crate) fn texts(&self, rows: usize) -> StringArray {
        let mut texts = StringBuilder::with_capacity(rows, 0);
        let mut text = String::new();
        for row in 0..rows {
            text.clear();
            self.write(row, &mut text);
            texts.append_option((!text.is_empty()).then_some(&text));
        }
        texts.finish()
    }

    /// As [`Self::texts`], writing the text of a run of equal rows once: rows of one resource
    /// stand together, on the wire and in files.
    pub(crate) fn shared_texts(&self, rows: usize) -> DictionaryArray<Int32Type> {
        let mut keys = Vec::with_capacity(rows);
        let mut texts = StringBuilder::new();
        let mut distinct = 0;
        let mut text = String::new();
        for row in 0..rows {
            if row > 0 && self.same(row - 1, row) {
                keys.push(keys[row - 1]);
                continue;
            }
            text.clear();
            self.write(row, &mut text);
            if text.is_empty() {
                keys.push(None);
            } else {
                texts.append_value(&text);
                keys.push(Some(distinct));
                distinct += 1;
            }
        }
        DictionaryArray::new(Int32Array::from(keys), Arc::new(texts.finish()))
    }

    fn same(&self, one: usize, other: usize) -> bool {
        self.columns.iter().all(|(_, cells)| cells.same(one, other))
            && self.overflow.is_none_or(|texts| texts.same(one, other))
    }
}

/// Where the text of an entry comes from.
enum Entry<'e, 'a> {
    Cell(&'e Cells<'a>),
    Raw(&'a str),
}
