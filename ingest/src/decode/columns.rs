//! Arrow columns that grow row by row, or by many equal rows at once.
//!
//! Invariant: nothing is checked twice. Texts are kept as the bytes they came in and are looked
//! at when the column is finished, each distinct one once.

use std::hash::BuildHasher;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, BooleanBufferBuilder, DictionaryArray, FixedSizeBinaryArray,
    Int32Array, ListArray, NullBufferBuilder, PrimitiveArray, StringArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowPrimitiveType, Field, Int32Type};
use arrow::error::ArrowError;
use hashbrown::{DefaultHashBuilder, HashTable};

/// Columns with their names, in any order.
pub(super) type Named = Vec<(&'static str, ArrayRef)>;

/// A number of bytes or rows as an Arrow offset. What is beyond 2 GiB ends there, and is an error
/// when the column is finished: see [`fits`].
fn offset(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}

/// Refuses a column that offsets of 32 bits do not reach the end of. Batches end long before.
fn fits(length: usize) -> Result<(), ArrowError> {
    i32::try_from(length).map(drop).map_err(|_beyond| ArrowError::OffsetOverflowError(length))
}

/// Which rows are not null.
#[derive(Debug)]
pub(super) struct Nulls(NullBufferBuilder);

impl Default for Nulls {
    fn default() -> Self {
        Self(NullBufferBuilder::new(0))
    }
}

impl Nulls {
    #[inline]
    fn extend(&mut self, valid: bool, rows: usize) {
        match (valid, rows) {
            (true, 1) => self.0.append_non_null(),
            (true, _) => self.0.append_n_non_nulls(rows),
            (false, _) => self.0.append_n_nulls(rows),
        }
    }

    fn finish(mut self) -> Option<NullBuffer> {
        self.0.finish()
    }
}

/// Numbers, timestamps included.
#[derive(Debug)]
pub(super) struct Numbers<T: ArrowPrimitiveType> {
    values: Vec<T::Native>,
    nulls: Nulls,
}

impl<T: ArrowPrimitiveType> Default for Numbers<T> {
    fn default() -> Self {
        Self { values: Vec::new(), nulls: Nulls::default() }
    }
}

impl<T: ArrowPrimitiveType> Numbers<T> {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    #[inline]
    pub(super) fn push(&mut self, value: T::Native) {
        self.values.push(value);
        self.nulls.extend(true, 1);
    }

    pub(super) fn push_option(&mut self, value: Option<T::Native>) {
        self.extend(value, 1);
    }

    pub(super) fn extend(&mut self, value: Option<T::Native>, rows: usize) {
        self.values.resize(self.values.len() + rows, value.unwrap_or_default());
        self.nulls.extend(value.is_some(), rows);
    }

    /// The value of row `row`; the rows that were left out are null.
    pub(super) fn put(&mut self, row: usize, value: Option<T::Native>) {
        self.pad(row);
        self.push_option(value);
    }

    /// Nulls up to `rows`.
    #[inline]
    pub(super) fn pad(&mut self, rows: usize) {
        if self.values.len() < rows {
            self.extend(None, rows - self.values.len());
        }
    }

    pub(super) fn finish_values(self) -> PrimitiveArray<T> {
        PrimitiveArray::new(ScalarBuffer::from(self.values), self.nulls.finish())
    }

    pub(super) fn finish(self) -> ArrayRef {
        Arc::new(self.finish_values())
    }
}

/// True, false, null.
#[derive(Debug)]
pub(super) struct Bools {
    values: BooleanBufferBuilder,
    nulls: Nulls,
}

impl Default for Bools {
    fn default() -> Self {
        Self { values: BooleanBufferBuilder::new(0), nulls: Nulls::default() }
    }
}

impl Bools {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn extend(&mut self, value: Option<bool>, rows: usize) {
        self.values.append_n(rows, value.unwrap_or_default());
        self.nulls.extend(value.is_some(), rows);
    }

    pub(super) fn pad(&mut self, rows: usize) {
        if self.values.len() < rows {
            self.extend(None, rows - self.values.len());
        }
    }

    pub(super) fn finish(mut self) -> ArrayRef {
        Arc::new(BooleanArray::new(self.values.finish(), self.nulls.finish()))
    }
}

/// Ids of `N` bytes.
#[derive(Debug, Default)]
pub(super) struct Ids<const N: usize> {
    bytes: Vec<u8>,
    nulls: Nulls,
}

impl<const N: usize> Ids<N> {
    #[inline]
    pub(super) fn push(&mut self, id: Option<&[u8; N]>) {
        self.bytes.extend_from_slice(id.unwrap_or(&[0; N]));
        self.nulls.extend(id.is_some(), 1);
    }

    pub(super) fn extend(&mut self, id: Option<&[u8; N]>, rows: usize) {
        (0..rows).for_each(|_| self.push(id));
    }

    pub(super) fn finish(self) -> Result<ArrayRef, ArrowError> {
        let (width, nulls) = (offset(N), self.nulls.finish());
        Ok(Arc::new(FixedSizeBinaryArray::try_new(width, Buffer::from_vec(self.bytes), nulls)?))
    }
}

/// Texts one after the other, as they come.
#[derive(Debug)]
pub(super) struct PlainTexts {
    bytes: Vec<u8>,
    ends: Vec<i32>,
    nulls: Nulls,
}

impl Default for PlainTexts {
    fn default() -> Self {
        Self { bytes: Vec::new(), ends: vec![0], nulls: Nulls::default() }
    }
}

impl PlainTexts {
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn push(&mut self, text: Option<&[u8]>) {
        self.bytes.extend_from_slice(text.unwrap_or_default());
        self.ends.push(offset(self.bytes.len()));
        self.nulls.extend(text.is_some(), 1);
    }

    /// An empty text is null.
    pub(super) fn push_unless_empty(&mut self, text: &[u8]) {
        self.push((!text.is_empty()).then_some(text));
    }

    pub(super) fn push_nulls(&mut self, rows: usize) {
        self.ends.resize(self.ends.len() + rows, offset(self.bytes.len()));
        self.nulls.extend(false, rows);
    }

    fn finish_values(self) -> Result<StringArray, ArrowError> {
        fits(self.bytes.len())?;
        let ends = OffsetBuffer::new(ScalarBuffer::from(self.ends));
        StringArray::try_new(ends, Buffer::from_vec(self.bytes), self.nulls.finish())
    }

    pub(super) fn finish(self) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(self.finish_values()?))
    }
}

/// Texts that repeat: each distinct one is kept once, a row is its number.
#[derive(Debug, Default)]
pub(super) struct Texts {
    numbers: Numbers<Int32Type>,
    distinct: Distinct,
}

impl Texts {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    #[inline]
    pub(super) fn push(&mut self, text: &[u8]) {
        let number = self.distinct.number(text);
        self.numbers.push(number);
    }

    /// The number of a text, for [`Self::push_number`].
    pub(super) fn number(&mut self, text: &[u8]) -> i32 {
        self.distinct.number(text)
    }

    /// A text whose number is known.
    #[inline]
    pub(super) fn push_number(&mut self, number: Option<i32>) {
        self.numbers.push_option(number);
    }

    #[inline]
    pub(super) fn push_unless_empty(&mut self, text: &[u8]) {
        if text.is_empty() {
            self.numbers.extend(None, 1);
        } else {
            self.push(text);
        }
    }

    pub(super) fn extend(&mut self, text: Option<&[u8]>, rows: usize) {
        let number = text.map(|text| self.distinct.number(text));
        self.numbers.extend(number, rows);
    }

    pub(super) fn extend_unless_empty(&mut self, text: &[u8], rows: usize) {
        self.extend((!text.is_empty()).then_some(text), rows);
    }

    #[inline]
    pub(super) fn pad(&mut self, rows: usize) {
        self.numbers.pad(rows);
    }

    pub(super) fn finish(self) -> Result<ArrayRef, ArrowError> {
        let numbers: Int32Array = self.numbers.finish_values();
        let values = self.distinct.texts.finish_values()?;
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(numbers, Arc::new(values))?))
    }
}

/// Distinct texts, numbered in the order in which they came.
#[derive(Debug, Default)]
struct Distinct {
    texts: PlainTexts,
    /// The hash and the number of each.
    table: HashTable<(u64, i32)>,
    hasher: DefaultHashBuilder,
    last: i32,
}

impl Distinct {
    #[inline]
    fn number(&mut self, text: &[u8]) -> i32 {
        // Neighbouring rows are often equal, and comparing is cheaper than hashing.
        if Self::get(&self.texts, self.last) == Some(text) {
            return self.last;
        }
        let hash = self.hasher.hash_one(text);
        let same = |&(other, number): &(u64, i32)| {
            other == hash && Self::get(&self.texts, number) == Some(text)
        };
        self.last = match self.table.find(hash, same) {
            Some(&(_, number)) => number,
            None => self.insert(hash, text),
        };
        self.last
    }

    fn insert(&mut self, hash: u64, text: &[u8]) -> i32 {
        let number = offset(self.table.len());
        self.texts.push(Some(text));
        self.table.insert_unique(hash, (hash, number), |&(hash, _)| hash);
        number
    }

    #[inline]
    fn get(texts: &PlainTexts, number: i32) -> Option<&[u8]> {
        let at = usize::try_from(number).ok()?;
        let (start, end) = (*texts.ends.get(at)?, *texts.ends.get(at + 1)?);
        texts.bytes.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
    }
}

/// Names of the numbers of an enumeration; a number without a name is its digits.
#[derive(Debug)]
pub(super) struct Names {
    texts: Texts,
    names: &'static [&'static str],
}

impl Names {
    pub(super) fn new(names: &'static [&'static str]) -> Self {
        Self { texts: Texts::default(), names }
    }

    pub(super) fn extend(&mut self, number: Option<i32>, rows: usize) {
        let Some(number) = number else { return self.texts.extend(None, rows) };
        let name = usize::try_from(number).ok().and_then(|at| self.names.get(at));
        match name {
            Some(name) => self.texts.extend(Some(name.as_bytes()), rows),
            None => self.texts.extend(Some(number.to_string().as_bytes()), rows),
        }
    }

    pub(super) fn finish(self) -> Result<ArrayRef, ArrowError> {
        self.texts.finish()
    }
}

/// Where the lists of a list column end.
#[derive(Debug)]
pub(super) struct Lists {
    ends: Vec<i32>,
    nulls: Nulls,
}

impl Default for Lists {
    fn default() -> Self {
        Self { ends: vec![0], nulls: Nulls::default() }
    }
}

impl Lists {
    /// The list of one row ends where its items now end; `None`: the row has no list.
    pub(super) fn push(&mut self, end: Option<usize>) {
        let last = self.ends.last().copied().unwrap_or_default();
        self.ends.push(end.map_or(last, offset));
        self.nulls.extend(end.is_some(), 1);
    }

    /// Nulls up to `rows`.
    pub(super) fn pad(&mut self, rows: usize) {
        while self.ends.len() <= rows {
            self.push(None);
        }
    }

    pub(super) fn finish(self, items: ArrayRef) -> Result<ArrayRef, ArrowError> {
        fits(items.len())?;
        let item = Field::new("item", items.data_type().clone(), true);
        let ends = OffsetBuffer::new(ScalarBuffer::from(self.ends));
        Ok(Arc::new(ListArray::try_new(Arc::new(item), ends, items, self.nulls.finish())?))
    }
}

/// A column of lists of numbers.
#[derive(Debug)]
pub(super) struct NumberLists<T: ArrowPrimitiveType> {
    lists: Lists,
    items: Vec<T::Native>,
}

impl<T: ArrowPrimitiveType> Default for NumberLists<T> {
    fn default() -> Self {
        Self { lists: Lists::default(), items: Vec::new() }
    }
}

impl<T: ArrowPrimitiveType> NumberLists<T> {
    /// The list of row `row`; the rows that were left out are null.
    pub(super) fn put(&mut self, row: usize, items: &[T::Native]) {
        self.lists.pad(row);
        self.items.extend_from_slice(items);
        self.lists.push(Some(self.items.len()));
    }

    pub(super) fn finish(mut self, rows: usize) -> Result<ArrayRef, ArrowError> {
        self.lists.pad(rows);
        let items: PrimitiveArray<T> = PrimitiveArray::new(ScalarBuffer::from(self.items), None);
        self.lists.finish(Arc::new(items))
    }
}
