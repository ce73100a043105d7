//! The walk from requests down to their items, and what the rows of all tables have in common.
//!
//! Invariants: every item is a row or is counted as rejected; columns of resource and scope are
//! filled after their rows, because the wire may say last what belongs to all.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, FieldRef, Fields, Schema, UInt32Type};
use arrow::error::ArrowError;
use icecore_store::schema::{MapColumn, fixed_fields};
use icecore_store::{RowBatch, Table, TimeRange, UnixNanos};

use super::attributes::Map;
use super::columns::{Named, Numbers, PlainTexts};
use super::shared::Shared;
use super::wanted::Wanted;
use super::wire::{Broken, LIMIT, Pieces, Reader, delimited, fields};

/// Rows that one request may have, and events, links, exemplars and quantiles in all. An item can
/// take two bytes on the wire and a hundred in columns: this bounds the memory of a request.
pub(super) const ITEMS_MAX: usize = 1 << 20;

/// Cells of attribute columns for each byte of payload, beyond [`ITEMS_MAX`] cells. Real requests
/// have one cell in ten bytes or more; many columns with next to nothing in them stop here.
const CELLS_PER_BYTE: usize = 2;

/// Why an item was not taken.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(super) enum Refusal {
    #[error("`{field}` has {bytes} bytes instead of {wanted}")]
    IdLength { field: &'static str, bytes: usize, wanted: usize },
    #[error("`{field}` is {nanos} ns, after the year 2262")]
    Time { field: &'static str, nanos: u64 },
    #[error("the request has more than {bound} {what}")]
    TooMany { what: &'static str, bound: usize },
    #[error("`{field}` is {index}, the dictionary has {entries} {table}")]
    Dangling { field: &'static str, index: i32, table: &'static str, entries: usize },
    #[error("`duration_nano` is {nanos} ns, more than 292 years")]
    Duration { nanos: u64 },
    #[error("a sample has {values} values for {timestamps} timestamps")]
    Observations { values: usize, timestamps: usize },
    #[error("a sample has neither values nor timestamps")]
    NoObservations,
    #[error("the values of a sample add up to more than 64 bits")]
    Sum,
}

/// A time that fits a column.
pub(super) fn time(field: &'static str, nanos: u64) -> Result<i64, Refusal> {
    i64::try_from(nanos).map_err(|_beyond| Refusal::Time { field, nanos })
}

/// An id of the right length.
pub(super) fn id<'a, const N: usize>(
    field: &'static str,
    bytes: &'a [u8],
) -> Result<&'a [u8; N], Refusal> {
    let wrong = |_| Refusal::IdLength { field, bytes: bytes.len(), wanted: N };
    bytes.try_into().map_err(wrong)
}

/// An id of the right length, or none at all.
pub(super) fn id_unless_empty<'a, const N: usize>(
    field: &'static str,
    bytes: &'a [u8],
) -> Result<Option<&'a [u8; N]>, Refusal> {
    if bytes.is_empty() { Ok(None) } else { id(field, bytes).map(Some) }
}

/// An id of something else that the item names, where it is one: of the right length, not all zeros.
pub(super) fn id_if_valid<const N: usize>(bytes: &[u8]) -> Option<&[u8; N]> {
    bytes.try_into().ok().filter(|id: &&[u8; N]| **id != [0; N])
}

/// Collects for one item what the columns take later; beyond the bound it only shows that there
/// was too much, and [`Rows::admit`] refuses the item.
#[inline]
pub(super) fn collect<T>(items: &mut Vec<T>, item: T) {
    if items.len() <= ITEMS_MAX {
        items.push(item);
    }
}

/// Whose items they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// `ResourceSpans` and its like.
    Resource,
    /// `ScopeSpans` and its like.
    Scope,
}

/// What differs from signal to signal.
pub(super) trait Items: Default {
    const TABLE: Table;

    /// The repeated fields of one item; kept from item to item to keep their memory.
    type Parts<'a>: Default;

    /// Looks at a request before its items are taken.
    fn begin<'a>(_parts: &mut Self::Parts<'a>, _payload: &'a [u8]) -> Result<(), Broken> {
        Ok(())
    }

    /// The items that follow are of the resource or scope in these bytes.
    fn enter<'a>(
        _parts: &mut Self::Parts<'a>,
        _level: Level,
        _bytes: &'a [u8],
    ) -> Result<(), Broken> {
        Ok(())
    }

    /// The message of the resource or scope, where it is not to be read as it came.
    fn owner<'p>(_parts: &'p Self::Parts<'_>, _level: Level) -> Option<&'p [u8]> {
        None
    }

    /// Takes one item, the message in field 2 of a scope; `limit` is that within it.
    fn put<'a>(
        &mut self,
        parts: &mut Self::Parts<'a>,
        item: &'a [u8],
        limit: u32,
        rows: &mut Rows,
    ) -> Result<(), Broken>;

    /// Name and array of every own column.
    fn finish(self, rows: usize) -> Result<Named, ArrowError>;
}

/// What one request may still add.
#[derive(Debug)]
pub(super) struct Quota {
    pub(super) rows: usize,
    nested: usize,
    cells_max: usize,
    pub(super) rejected: u64,
    pub(super) reason: Option<String>,
}

impl Quota {
    /// For a request that has all columns to itself.
    pub(super) fn new(payload_bytes: usize) -> Self {
        let cells_max = cells_max(payload_bytes);
        Self { rows: 0, nested: 0, cells_max, rejected: 0, reason: None }
    }

    /// For a request that is known to stay within its cells whatever its columns are.
    pub(super) const fn roomy() -> Self {
        Self { rows: 0, nested: 0, cells_max: usize::MAX, rejected: 0, reason: None }
    }

    /// Whether there is room for a row with this many attributes and nested items, where there
    /// are so many columns.
    pub(super) fn admit(
        &self,
        columns: usize,
        attributes: usize,
        nested: usize,
    ) -> Result<(), Refusal> {
        let too_many = |what, bound| Err(Refusal::TooMany { what, bound });
        if self.rows >= ITEMS_MAX {
            too_many("items", ITEMS_MAX)
        } else if attributes > ITEMS_MAX || self.nested + nested > ITEMS_MAX {
            too_many("nested items", ITEMS_MAX)
        } else if self.rows * columns > self.cells_max {
            too_many("attribute cells for its size", self.cells_max)
        } else {
            Ok(())
        }
    }

    /// Counts an item that was taken.
    pub(super) const fn take(&mut self, nested: usize) {
        self.rows += 1;
        self.nested += nested;
    }

    /// Counts an item that was not taken.
    pub(super) fn reject(&mut self, refusal: &Refusal) {
        self.rejected += 1;
        self.reason.get_or_insert_with(|| refusal.to_string());
    }
}

/// Cells of attribute columns that a request of this size may have.
pub(super) const fn cells_max(payload_bytes: usize) -> usize {
    ITEMS_MAX + payload_bytes * CELLS_PER_BYTE
}

/// The rows so far, as far as all tables have them.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) len: usize,
    pub(super) quota: Quota,
    /// Bytes of texts that many rows share, and that are long.
    pub(super) shared_bytes: usize,
    first: i64,
    last: i64,
    map: Map,
    overflow: PlainTexts,
    dropped: Numbers<UInt32Type>,
    shared: Shared,
}

impl Default for Rows {
    fn default() -> Self {
        Self {
            len: 0,
            quota: Quota::roomy(),
            shared_bytes: 0,
            first: i64::MAX,
            last: i64::MIN,
            map: Map::default(),
            overflow: PlainTexts::default(),
            dropped: Numbers::default(),
            shared: Shared::default(),
        }
    }
}

impl Rows {
    /// No rows yet, of which these keys are wanted.
    pub(super) fn of(wanted: Wanted) -> Self {
        let mut rows = Self::default();
        let Wanted { attributes, resource, .. } = wanted;
        rows.map.keys = attributes;
        rows.shared.map.keys = resource;
        rows
    }

    /// Cells of attribute columns, those included that the columns are filled up with at the end,
    /// and as many as would take the room of the texts that rows share, and of the overflow.
    pub(super) fn cells(&self) -> usize {
        let texts = self.shared_bytes + self.overflow.bytes();
        self.len * self.columns() + texts / size_of::<i32>()
    }

    fn columns(&self) -> usize {
        self.map.columns.len() + self.shared.map.columns.len()
    }

    /// As [`Quota::admit`].
    pub(super) fn admit(&self, attributes: usize, nested: usize) -> Result<(), Refusal> {
        self.quota.admit(self.columns(), attributes, nested)
    }

    /// Ends a row: its time, its attributes (`limit` is that within them), its nested items.
    #[inline]
    pub(super) fn push(
        &mut self,
        time: i64,
        attributes: &[&[u8]],
        limit: u32,
        dropped: u32,
        nested: usize,
    ) -> Result<(), Broken> {
        self.map.put_all(attributes, limit, self.len, 1)?;
        self.map.rest.finish(|rest| self.overflow.push(rest));
        self.dropped.push(dropped);
        self.first = self.first.min(time);
        self.last = self.last.max(time);
        self.quota.take(nested);
        self.len += 1;
        Ok(())
    }
}

/// Reads a whole request, whose items join those of the requests before.
pub(super) fn read<T: Items>(payload: &[u8], items: &mut T, rows: &mut Rows) -> Result<(), Broken> {
    const RESOURCE_ITEMS: u32 = delimited(1);
    let mut walk = Walk { items, parts: T::Parts::default(), rows };
    T::begin(&mut walk.parts, payload)?;
    let mut reader = Reader::new(payload, LIMIT);
    while let Some(key) = reader.key()? {
        match key {
            RESOURCE_ITEMS => walk.resource(reader.message()?, LIMIT - 1)?,
            _ => reader.skip(key, fields(&[1]))?,
        }
    }
    Ok(())
}

const OWNER: u32 = delimited(1);
const INNER: u32 = delimited(2);
const SCHEMA_URL: u32 = delimited(3);
const KNOWN: u32 = fields(&[1, 2, 3]);

/// The way down through one request.
struct Walk<'r, 'a, T: Items> {
    items: &'r mut T,
    parts: T::Parts<'a>,
    rows: &'r mut Rows,
}

impl<'a, T: Items> Walk<'_, 'a, T> {
    /// `ResourceSpans` and its like.
    fn resource(&mut self, bytes: &'a [u8], limit: u32) -> Result<(), Broken> {
        T::enter(&mut self.parts, Level::Resource, bytes)?;
        let first = self.rows.len;
        let (mut resource, mut schema_url) = (Pieces::None, &[][..]);
        let mut reader = Reader::new(bytes, limit);
        while let Some(key) = reader.key()? {
            match key {
                OWNER => resource.push(reader.message()?),
                INNER => self.scope(reader.message()?, limit - 1)?,
                SCHEMA_URL => reader.text_into(&mut schema_url)?,
                _ => reader.skip(key, KNOWN)?,
            }
        }
        let rows = self.rows.len - first;
        let resource = T::owner(&self.parts, Level::Resource).map_or(resource, Pieces::One);
        self.rows.shared.put_resource(&resource, schema_url, rows, limit - 1)
    }

    /// `ScopeSpans` and its like.
    fn scope(&mut self, bytes: &'a [u8], limit: u32) -> Result<(), Broken> {
        T::enter(&mut self.parts, Level::Scope, bytes)?;
        let first = self.rows.len;
        let (mut scope, mut schema_url) = (Pieces::None, &[][..]);
        let mut reader = Reader::new(bytes, limit);
        while let Some(key) = reader.key()? {
            match key {
                OWNER => scope.push(reader.message()?),
                INNER => {
                    self.items.put(&mut self.parts, reader.message()?, limit - 1, self.rows)?;
                }
                SCHEMA_URL => reader.text_into(&mut schema_url)?,
                _ => reader.skip(key, KNOWN)?,
            }
        }
        let rows = self.rows.len - first;
        let scope = T::owner(&self.parts, Level::Scope).map_or(scope, Pieces::One);
        self.rows.shared.put_scope(&scope, schema_url, rows, limit - 1)
    }
}

/// Everything as one batch, `None` where there are no rows.
pub(super) fn finish<T: Items>(items: T, rows: Rows) -> Result<Option<RowBatch>, ArrowError> {
    let Rows { len, first, last, map, overflow, dropped, shared, .. } = rows;
    let mut own = items.finish(len)?;
    let (shared, resource) = shared.finish()?;
    own.extend(shared);
    own.push(("attributes", overflow.finish()?));
    own.push(("dropped_attributes_count", dropped.finish()));
    if len == 0 {
        return Ok(None);
    }
    let (mut fields, mut arrays) = in_order(T::TABLE, &own)?;
    let attributes = map.columns.finish(MapColumn::Attributes, len)?;
    let resource = resource.columns.finish(MapColumn::Resource, len)?;
    for (field, array) in attributes.into_iter().chain(resource) {
        fields.push(Arc::new(field));
        arrays.push(array);
    }
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?;
    let time = TimeRange::covering(UnixNanos(first), UnixNanos(last));
    Ok(Some(RowBatch { table: T::TABLE, rows: batch, time }))
}

/// The arrays in the order of the table's fixed fields.
fn in_order(
    table: Table,
    arrays: &[(&'static str, ArrayRef)],
) -> Result<(Vec<FieldRef>, Vec<ArrayRef>), ArrowError> {
    let fields = fixed_fields(table);
    let find = |field: &FieldRef| {
        let found = arrays.iter().find(|(name, _)| name == field.name());
        let missing = || ArrowError::SchemaError(format!("no column `{}`", field.name()));
        found.map(|(_, array)| Arc::clone(array)).ok_or_else(missing)
    };
    let arrays = fields.iter().map(find).collect::<Result<_, _>>()?;
    Ok((fields, arrays))
}

/// The fields of the structs in a list column of a table.
pub(super) fn struct_fields(table: Table, column: &str) -> Fields {
    let fields = fixed_fields(table);
    let list = fields.iter().find(|field| field.name() == column).map(|field| field.data_type());
    match list {
        Some(DataType::List(item)) => match item.data_type() {
            DataType::Struct(fields) => fields.clone(),
            _ => Fields::empty(),
        },
        _ => Fields::empty(),
    }
}

/// The type of timestamp columns.
pub(super) fn utc(times: arrow::array::TimestampNanosecondArray) -> ArrayRef {
    Arc::new(times.with_timezone("UTC"))
}
