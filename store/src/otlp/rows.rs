//! Typed columns of a batch, or an error that names the column.

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryArray, Float64Array, ListArray, PrimitiveArray,
    RecordBatch, StructArray, TimestampNanosecondArray, UInt32Array, UInt64Array,
};
use arrow::datatypes::{ArrowPrimitiveType, TimestampNanosecondType, UInt32Type};

use crate::error::Error;
use crate::files::cells::{MapCells, Texts};
use crate::model::Table;
use crate::schema::MapColumn;

/// The columns of one batch of a table, or of the items of one of its lists.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a> {
    table: Table,
    columns: Columns<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Columns<'a> {
    Batch(&'a RecordBatch),
    Items(&'a StructArray),
}

impl<'a> Rows<'a> {
    pub(super) fn new(table: Table, batch: &'a RecordBatch) -> Self {
        Self { table, columns: Columns::Batch(batch) }
    }

    fn column<T>(&self, name: &str, typed: impl Fn(&'a ArrayRef) -> Option<T>) -> Result<T, Error> {
        let column = match self.columns {
            Columns::Batch(batch) => batch.column_by_name(name),
            Columns::Items(items) => items.column_by_name(name),
        };
        column.and_then(typed).ok_or_else(|| Error::Rows {
            table: self.table,
            reason: format!("`{name}` is missing or of another type"),
        })
    }

    pub(super) fn texts(&self, name: &str) -> Result<Texts<'a>, Error> {
        self.column(name, Texts::of)
    }

    pub(super) fn ids(&self, name: &str) -> Result<Ids<'a>, Error> {
        self.column(name, |column| column.as_fixed_size_binary_opt().map(Ids))
    }

    pub(super) fn times(&self, name: &str) -> Result<Times<'a>, Error> {
        self.column(name, |column| column.as_primitive_opt::<TimestampNanosecondType>().map(Times))
    }

    pub(super) fn counts(&self, name: &str) -> Result<&'a UInt32Array, Error> {
        self.column(name, |column| column.as_primitive_opt::<UInt32Type>())
    }

    pub(super) fn numbers<T: ArrowPrimitiveType>(
        &self,
        name: &str,
    ) -> Result<Numbers<'a, T>, Error> {
        self.column(name, |column| column.as_primitive_opt::<T>().map(Numbers))
    }

    pub(super) fn flags(&self, name: &str) -> Result<&'a arrow::array::BooleanArray, Error> {
        self.column(name, |column| column.as_boolean_opt())
    }

    pub(super) fn list(&self, name: &str) -> Result<&'a ListArray, Error> {
        self.column(name, |column| column.as_list_opt::<i32>())
    }

    /// The items of a list of structs, and where those of each row are.
    pub(super) fn items(&self, name: &str) -> Result<(&'a ListArray, Self), Error> {
        let items = |column: &'a ArrayRef| {
            let list = column.as_list_opt::<i32>()?;
            Some((list, list.values().as_struct_opt()?))
        };
        let (list, items) = self.column(name, items)?;
        Ok((list, Self { table: self.table, columns: Columns::Items(items) }))
    }

    /// One map of the rows; those of list items are plain texts.
    pub(super) fn map(&self, map: MapColumn) -> MapCells<'a> {
        match self.columns {
            Columns::Batch(batch) => MapCells::of_batch(batch, map),
            Columns::Items(items) => MapCells::new([], items.column_by_name(map.name())),
        }
    }
}

/// Where the items of a row are among those of all rows; none where the list is null.
pub(super) fn item_range(list: &ListArray, row: usize) -> std::ops::Range<usize> {
    if list.is_null(row) {
        return 0..0;
    }
    let offsets = list.value_offsets();
    let at = |row: usize| usize::try_from(offsets[row]).unwrap_or_default();
    at(row)..at(row + 1)
}

/// The numbers in a row's list; empty where it is null.
pub(super) fn list_of_counts(list: &ListArray, row: usize) -> Vec<u64> {
    let counts: Option<&UInt64Array> = list.values().as_primitive_opt();
    counts
        .map_or_else(Vec::new, |counts| item_range(list, row).map(|at| counts.value(at)).collect())
}

/// As [`list_of_counts`], of doubles.
pub(super) fn list_of_doubles(list: &ListArray, row: usize) -> Vec<f64> {
    let numbers: Option<&Float64Array> = list.values().as_primitive_opt();
    numbers.map_or_else(Vec::new, |numbers| {
        item_range(list, row).map(|at| numbers.value(at)).collect()
    })
}

/// Ids as OTLP has them: absent is empty.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ids<'a>(&'a FixedSizeBinaryArray);

impl Ids<'_> {
    pub(super) fn get(&self, row: usize) -> Vec<u8> {
        if self.0.is_null(row) { Vec::new() } else { self.0.value(row).to_vec() }
    }
}

/// Times as OTLP has them: absent is 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times<'a>(&'a TimestampNanosecondArray);

impl Times<'_> {
    pub(super) fn get(&self, row: usize) -> u64 {
        if self.0.is_null(row) { 0 } else { self.0.value(row).cast_unsigned() }
    }
}

/// Numbers that may be absent.
#[derive(Debug)]
pub(super) struct Numbers<'a, T: ArrowPrimitiveType>(&'a PrimitiveArray<T>);

impl<T: ArrowPrimitiveType> Numbers<'_, T> {
    pub(super) fn get(&self, row: usize) -> Option<T::Native> {
        self.0.is_valid(row).then(|| self.0.value(row))
    }
}

/// Text as OTLP has it: absent is empty.
pub(super) fn text(texts: &Texts<'_>, row: usize) -> String {
    texts.get(row).unwrap_or_default().to_owned()
}

/// The number of an enumeration's value that has no name here: rows hold its digits. Unspecified
/// and unset are 0.
pub(super) fn unnamed(name: Option<&str>) -> i32 {
    name.and_then(|digits| digits.parse().ok()).unwrap_or_default()
}
