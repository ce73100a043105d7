//! Rows in row shape to one sorted Parquet file in memory.
//!
//! Invariant: the file holds each row once, in the order of `order.rs`, and says of itself in its
//! footer all that the catalog says of it.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::{max, min};
use arrow::datatypes::{Field, FieldRef, TimestampNanosecondType};
use arrow::error::ArrowError;
use bytes::Bytes;
use parquet::errors::ParquetError;

use super::columns::{AttributePlan, settle};
use super::encode::{Chunk, ColumnEncoder, FileEncoder, file_fields};
use super::gather::{Gatherer, Place};
use super::metadata::FileMetadata;
use super::order::sorted;
use super::parts::Part;
use super::{layout, shape};
use crate::catalog::{FileAttribute, FileEntry, FileLayout};
use crate::error::Error;
use crate::index::TracePrints;
use crate::model::{FileId, LogPosition, Table, TimeRange, UnixNanos, WriterId};
use crate::schema::{as_stored, fixed_fields};

/// What a file is to be written with.
#[derive(Debug, Clone)]
pub(crate) struct WriteRequest {
    /// The name of the file.
    pub(crate) id: FileId,
    /// The table of the rows.
    pub(crate) table: Table,
    /// The hour that every row belongs to.
    pub(crate) hour: UnixNanos,
    /// The rows, in row shape, in any order; their attribute columns may differ. At least one.
    pub(crate) rows: Vec<RecordBatch>,
    /// What the key-value metadata says about where the file came from.
    pub(crate) origin: FileOrigin,
    /// Rows of a row group.
    pub(crate) row_group_rows_max: usize,
}

/// Where a file came from, kept in its key-value metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileOrigin {
    /// The path of the catalog record that is to add the file. Once another record stands there,
    /// the file can never count: this is how garbage is told from a slow commit.
    pub(crate) record: String,
    /// Whose rows, and which stretch of its log; `None` for merged files.
    pub(crate) log: Option<(WriterId, LogPosition, LogPosition)>,
}

/// A file that is not in the bucket yet.
#[derive(Debug, Clone)]
pub(crate) struct WrittenFile {
    /// What is to be put at the entry's path.
    pub(crate) bytes: Bytes,
    /// What the catalog is to say about it.
    pub(crate) entry: FileEntry,
    /// The traces in it, for the local index.
    pub(crate) trace_prints: Vec<u64>,
}

/// Encodes one file. Takes about a microsecond a row and attribute: never call it on a runtime
/// thread. Besides the rows and the file it holds one column of a row group.
pub(crate) fn write(request: WriteRequest) -> Result<WrittenFile, Error> {
    let WriteRequest { id, table, hour, rows, origin, row_group_rows_max } = request;
    let filled = rows.iter().filter(|batch| batch.num_rows() > 0);
    let trace_prints = TracePrints::of(table, &rows).finish();
    let mut parts = filled.map(|batch| Part::new(table, batch)).collect::<Result<Vec<_>, _>>()?;
    // The parts have the columns from here on, and give each back once it is in its place.
    drop(rows);
    let time = time_range(table, &parts)?;
    let plan = settle(table, &mut parts)?;
    let order = sorted(table, &parts);
    let metadata = FileMetadata::new(table, order.len() as u64, time, &origin, &plan);
    let path = layout::path(table, hour, id);
    let encoder = Encoder { table, path: &path, rows_max: row_group_rows_max.max(1) };
    let bytes = encoder.encode(parts, &plan, &order, &metadata)?;
    let AttributePlan { columns, overflow, overflow_listed } = plan;
    let entry = FileEntry {
        id,
        table,
        bytes: bytes.len() as u64,
        rows: order.len() as u64,
        time,
        hour: hour.hour(),
        layout: Arc::new(FileLayout { attributes: columns, overflow, overflow_listed }),
    };
    Ok(WrittenFile { bytes, entry, trace_prints })
}

fn time_range(table: Table, parts: &[Part]) -> Result<TimeRange, Error> {
    let fields = fixed_fields(table);
    let at = fields.iter().position(|field| field.name() == table.time_column());
    let mut range: Option<TimeRange> = None;
    for part in parts {
        let times = at.map(|at| part.fixed[at].as_primitive::<TimestampNanosecondType>());
        let Some((first, last)) = times.and_then(|times| min(times).zip(max(times))) else {
            continue;
        };
        let here = TimeRange::covering(UnixNanos(first), UnixNanos(last));
        range = Some(range.map_or(here, |range| range.union(&here)));
    }
    range.ok_or_else(|| Error::Rows { table, reason: "there are none".to_owned() })
}

/// One column of the file, as the parts have it.
struct Column {
    field: FieldRef,
    parts: Vec<Option<ArrayRef>>,
}

fn gatherer<'a>(column: &'a Column, rows: &[usize]) -> Gatherer<'a> {
    let parts = column.parts.iter().map(Option::as_ref).collect();
    Gatherer::new(column.field.data_type(), parts, rows)
}

struct Encoder<'a> {
    table: Table,
    path: &'a str,
    rows_max: usize,
}

impl Encoder<'_> {
    /// Encodes column by column, and lets go of each after its last row group.
    fn encode(
        &self,
        parts: Vec<Part>,
        plan: &AttributePlan,
        order: &[Place],
        metadata: &FileMetadata,
    ) -> Result<Bytes, Error> {
        let rows: Vec<usize> = parts.iter().map(|part| part.rows).collect();
        let mut columns = self.columns(parts, plan);
        let fields: Vec<FieldRef> =
            columns.iter().map(|column| Arc::clone(&column.field)).collect();
        let failed = |source| self.failed(source);
        let mut file =
            FileEncoder::new(self.table, &file_fields(&fields), self.rows_max).map_err(failed)?;
        let mut groups = order.chunks(self.rows_max).peekable();
        while let Some(places) = groups.next() {
            let mut chunks = Vec::new();
            for column in &mut columns {
                let gathered = gatherer(column, &rows).gather(places);
                let gathered = gathered.map_err(|source| self.gather_failed(source))?;
                if groups.peek().is_none() {
                    column.parts.clear();
                }
                chunks.extend(self.column(&column.field, &gathered).map_err(failed)?);
            }
            file.append(chunks).map_err(failed)?;
        }
        Ok(file.finish(metadata.to_key_value()).map_err(failed)?.into())
    }

    /// One column of the row shape in one row group.
    fn column(&self, field: &Field, values: &ArrayRef) -> Result<Vec<Chunk>, ParquetError> {
        let (mut columns, mut chunks) = (Vec::new(), Vec::new());
        shape::to_file(field, values, &mut columns);
        for (field, values) in columns {
            let mut column = ColumnEncoder::new(self.table, &field, Some(&values), self.rows_max)?;
            column.write(&values)?;
            chunks.extend(column.finish()?);
        }
        Ok(chunks)
    }

    /// Each column of the file in row shape, in the order of the file.
    fn columns(&self, mut parts: Vec<Part>, plan: &AttributePlan) -> Vec<Column> {
        let attributes: Vec<Column> = plan
            .columns
            .iter()
            .map(|attribute| {
                let key = (attribute.map, attribute.key.clone());
                let parts = parts.iter_mut().map(|part| part.attributes.remove(&key)).collect();
                Column { field: attribute_field(attribute), parts }
            })
            .collect();
        let mut fixed: Vec<_> = parts.into_iter().map(|part| part.fixed.into_iter()).collect();
        let fixed_fields = fixed_fields(self.table).into_iter().map(|field| {
            let parts = fixed.iter_mut().map(Iterator::next).collect();
            Column { field, parts }
        });
        let mut columns: Vec<Column> = fixed_fields.chain(attributes).collect();
        as_stored(self.table, &mut columns, |column| column.field.name());
        columns
    }

    fn gather_failed(&self, source: ArrowError) -> Error {
        let action = format!("gather rows of {} for `{}`", self.table, self.path);
        Error::Arrow { action, source }
    }

    fn failed(&self, source: ParquetError) -> Error {
        Error::Parquet { action: "write", path: self.path.to_owned(), source }
    }
}

/// The column of the row shape that holds an attribute.
pub(super) fn attribute_field(attribute: &FileAttribute) -> FieldRef {
    let name = attribute.map.column(&attribute.key);
    Arc::new(Field::new(name, attribute.kind.data_type(), true))
}
