//! One map of a table: a column for each key, and what goes to the overflow.
//!
//! Invariant: an entry is in its column or in the overflow, never in both, never in neither. A
//! column has the type of the first scalar that its key had in the batch.

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, Float64Type, Int64Type};
use arrow::error::ArrowError;
use hashbrown::HashMap;
use icecore_store::schema::{AttributeType, MapColumn};

use super::columns::{Bools, Numbers, Texts};
use super::value::{self, ObjectText, Scalar};
use super::wanted::Keys;
use super::wire::{Broken, text};

/// Attribute columns of one map and batch; the keys that come later go to the overflow.
pub(super) const COLUMNS_MAX: usize = 256;

/// The columns of one map.
#[derive(Debug, Default)]
pub(super) struct Columns {
    columns: Vec<Column>,
    by_key: HashMap<Box<[u8]>, usize>,
    /// The column that came last: its neighbour is where the next key is looked for first.
    last: usize,
}

#[derive(Debug)]
struct Column {
    key: Box<[u8]>,
    /// The column that came after this one last time: senders keep to an order.
    next: usize,
    cells: Cells,
}

#[derive(Debug)]
enum Cells {
    Text(Texts),
    Int(Numbers<Int64Type>),
    Double(Numbers<Float64Type>),
    Bool(Bools),
}

impl Columns {
    pub(super) fn len(&self) -> usize {
        self.columns.len()
    }

    /// The next entry is the first of its row.
    #[inline]
    pub(super) fn start_row(&mut self) {
        self.last = usize::MAX;
    }

    /// Puts a scalar into the column of its key, for `rows` rows from `row` on. `false`: it did not
    /// fit there, and belongs into the overflow.
    #[inline]
    pub(super) fn put(
        &mut self,
        key: &[u8],
        scalar: Scalar<'_>,
        row: usize,
        rows: usize,
    ) -> Result<bool, Broken> {
        let Some(at) = self.find(key, scalar)? else { return Ok(false) };
        let cells = &mut self.columns[at].cells;
        // Where the row is there already, the key is repeated.
        if cells.len() > row {
            return Ok(false);
        }
        match (cells, scalar) {
            (Cells::Text(texts), Scalar::Text(text)) => {
                texts.pad(row);
                if rows == 1 { texts.push(text) } else { texts.extend(Some(text), rows) }
            }
            (Cells::Int(numbers), Scalar::Int(number)) => {
                numbers.pad(row);
                if rows == 1 { numbers.push(number) } else { numbers.extend(Some(number), rows) }
            }
            (Cells::Double(numbers), Scalar::Double(number)) => {
                numbers.pad(row);
                numbers.extend(Some(number), rows);
            }
            (Cells::Bool(bools), Scalar::Bool(flag)) => {
                bools.pad(row);
                bools.extend(Some(flag), rows);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The column of a key; a new one where there is none, and room for one.
    #[inline]
    fn find(&mut self, key: &[u8], scalar: Scalar<'_>) -> Result<Option<usize>, Broken> {
        let guess = self.columns.get(self.last).map_or(0, |column| column.next);
        if self.columns.get(guess).is_some_and(|column| *column.key == *key) {
            self.last = guess;
            return Ok(Some(guess));
        }
        let found = match self.by_key.get(key) {
            Some(at) => Some(*at),
            None => self.add(key, scalar)?,
        };
        if let Some(at) = found {
            if let Some(last) = self.columns.get_mut(self.last) {
                last.next = at;
            }
            self.last = at;
        }
        Ok(found)
    }

    fn add(&mut self, key: &[u8], scalar: Scalar<'_>) -> Result<Option<usize>, Broken> {
        if self.columns.len() == COLUMNS_MAX {
            return Ok(None);
        }
        text(key)?;
        let cells = match scalar {
            Scalar::Text(_) => Cells::Text(Texts::default()),
            Scalar::Int(_) => Cells::Int(Numbers::default()),
            Scalar::Double(_) => Cells::Double(Numbers::default()),
            Scalar::Bool(_) => Cells::Bool(Bools::default()),
        };
        let at = self.columns.len();
        self.columns.push(Column { key: key.into(), next: at + 1, cells });
        self.by_key.insert(key.into(), at);
        Ok(Some(at))
    }

    /// The columns, each `rows` long.
    pub(super) fn finish(
        self,
        map: MapColumn,
        rows: usize,
    ) -> Result<Vec<(Field, ArrayRef)>, ArrowError> {
        let finish = |column: Column| {
            // The key was looked at when the column was made.
            let name = map.column(&String::from_utf8_lossy(&column.key));
            let (kind, cells) = column.cells.finish(rows)?;
            Ok((Field::new(name, kind.data_type(), true), cells))
        };
        self.columns.into_iter().map(finish).collect()
    }
}

impl Cells {
    #[inline]
    fn len(&self) -> usize {
        match self {
            Self::Text(texts) => texts.len(),
            Self::Int(numbers) => numbers.len(),
            Self::Double(numbers) => numbers.len(),
            Self::Bool(bools) => bools.len(),
        }
    }

    fn finish(self, rows: usize) -> Result<(AttributeType, ArrayRef), ArrowError> {
        Ok(match self {
            Self::Text(mut texts) => {
                texts.pad(rows);
                (AttributeType::String, texts.finish()?)
            }
            Self::Int(mut numbers) => {
                numbers.pad(rows);
                (AttributeType::Int, numbers.finish())
            }
            Self::Double(mut numbers) => {
                numbers.pad(rows);
                (AttributeType::Double, numbers.finish())
            }
            Self::Bool(mut bools) => {
                bools.pad(rows);
                (AttributeType::Bool, bools.finish())
            }
        })
    }
}

/// A map being filled: columns first, the rest as text.
#[derive(Debug, Default)]
pub(super) struct Map {
    pub(super) columns: Columns,
    /// The overflow of the row that is being filled.
    pub(super) rest: ObjectText,
    /// What of it is wanted.
    pub(super) keys: Keys,
}

impl Map {
    /// Puts the `KeyValue` messages of `rows` equal rows from `row` on; `limit` is that within
    /// them. The caller takes `rest` afterwards.
    #[inline]
    pub(super) fn put_all(
        &mut self,
        entries: &[&[u8]],
        limit: u32,
        row: usize,
        rows: usize,
    ) -> Result<(), Broken> {
        if self.keys.is_none() {
            return Ok(());
        }
        self.columns.start_row();
        for entry in entries {
            match value::simple(entry) {
                Some((key, _)) if !self.keys.has(key) => {}
                Some((key, scalar)) if self.columns.put(key, scalar, row, rows)? => {}
                _ => self.put_any(entry, limit, row, rows)?,
            }
        }
        Ok(())
    }

    fn put_any(&mut self, entry: &[u8], limit: u32, row: usize, rows: usize) -> Result<(), Broken> {
        let (key, value) = value::key_value(entry, limit)?;
        if !self.keys.has(key) {
            return Ok(());
        }
        match value.scalar() {
            Some(scalar) if self.columns.put(key, scalar, row, rows)? => Ok(()),
            _ => self.rest.push(key, &value, limit.saturating_sub(1)),
        }
    }
}
