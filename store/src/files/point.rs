//! A few rows of a row group, value by value.
//!
//! Invariant: what comes out is what Parquet's own reader gives for the same rows. A column of a
//! shape or encoding that is not known here is left to that reader.
//!
//! Parquet's reader makes arrays of whole pages and dictionaries, which for the rows of one trace is
//! nearly all of its work. Here a page is unpacked only where a wanted row has a value in it, and of
//! a dictionary only the values of those rows are looked at.

mod arrays;
mod column;
mod delta;
mod runs;

use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, new_empty_array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};
use parquet::errors::{ParquetError, Result};

use super::chunks::Fetched;
use super::constant::Constant;
use super::footer::Footer;
use super::rows::Rows;
pub(super) use column::Cell;
use column::Leaf;

/// With more rows Parquet's own reader takes no longer.
pub(super) const ROWS_MAX: usize = 512;

/// Pages of one row group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Points<'a> {
    pub(super) footer: &'a Footer,
    pub(super) group: usize,
    pub(super) fetched: &'a Arc<Fetched>,
}

impl Points<'_> {
    /// A column of the file at these rows; `None` where that is left to Parquet's reader.
    /// `leaves` are all that the column has.
    pub(super) fn column(
        &self,
        field: &Field,
        leaves: &[usize],
        rows: &[usize],
    ) -> Result<Option<ArrayRef>> {
        match (field.data_type(), leaves) {
            (DataType::List(item), [first, ..]) if !field.is_nullable() => {
                let empty = self.leaf(*first).lists_are_empty(rows)?;
                let lists = || {
                    let offsets = OffsetBuffer::new_zeroed(rows.len());
                    let items = new_empty_array(item.data_type());
                    ListArray::try_new(Arc::clone(item), offsets, items, None)
                };
                let lists = empty.then(lists).transpose()?;
                Ok(lists.map(|lists| Arc::new(lists) as ArrayRef))
            }
            (DataType::List(_) | DataType::Struct(_), _) => Ok(None),
            (data_type, [leaf]) => match self.leaf(*leaf).cells(rows)? {
                Some(cells) => arrays::array(data_type, &cells),
                None => Ok(None),
            },
            _ => Ok(None),
        }
    }

    /// Those of the rows whose id is one of these; `None` where that is left to a filter.
    pub(super) fn with_id(
        &self,
        leaf: usize,
        rows: &Rows,
        ids: &[Vec<u8>],
    ) -> Result<Option<Rows>> {
        let found = self.leaf(leaf).with_id(ids, rows)?;
        let all = self.footer.rows(self.group);
        let each = |found: Vec<usize>| Rows::of(all, found.into_iter().map(|row| row..row + 1));
        Ok(found.map(|found| each(found).intersection(rows)))
    }

    fn leaf(&self, leaf: usize) -> Leaf<'_> {
        let Self { footer, group, fetched } = *self;
        Leaf { footer, group, fetched, leaf }
    }
}

/// Whether a column of a row group is told by the footer alone: see [`Points::column`].
pub(super) fn needs_no_pages(
    footer: &Footer,
    group: usize,
    field: &Field,
    leaves: &[usize],
) -> bool {
    match (field.data_type(), leaves) {
        (DataType::List(_), [first, ..]) if !field.is_nullable() => {
            footer.constant(group, *first) == Some(&Constant::Empty)
        }
        (DataType::List(_) | DataType::Struct(_), _) => false,
        (data_type, [leaf]) => footer.constant(group, *leaf).is_some() && arrays::knows(data_type),
        _ => false,
    }
}

/// What is said of bytes that end too soon, or say what cannot be.
fn damaged(what: &str) -> ParquetError {
    ParquetError::General(format!("{what} is damaged"))
}

#[cfg(test)]
mod tests;
