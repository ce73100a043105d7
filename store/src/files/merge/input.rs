//! One file that goes into a merge, read by ranges.
//!
//! Invariant: of a file no more is held than what was fetched of it and the footer.

use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use bytes::{Buf, Bytes};
use object_store::ObjectStore;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::statistics::Statistics;

use super::super::fetch::Bare;
use super::super::footer::{failed, fetch_metadata, types};
use crate::catalog::FileEntry;
use crate::error::Error;
use crate::work::off_runtime;

/// What lies between two ranges is fetched with them where it is shorter: a request costs more.
const GAP_BYTES_MAX: u64 = 64 << 10;

/// What a decoded batch of one column should not much exceed.
const BATCH_BYTES: usize = 512 << 10;

/// The longest batch.
const BATCH_ROWS_MAX: usize = 8_192;

/// See the module.
#[derive(Debug)]
pub(super) struct Input {
    /// What the catalog says of it.
    pub(super) entry: Arc<FileEntry>,
    reader: ArrowReaderMetadata,
}

impl Input {
    /// Reads the footer; fails where it has not as many rows as the catalog says, rather than let
    /// a merge drop rows for good.
    pub(super) async fn open(
        bucket: &Arc<dyn ObjectStore>,
        entry: Arc<FileEntry>,
    ) -> Result<Self, Error> {
        let path = entry.path();
        let metadata = fetch_metadata(Bare::new(bucket).of(&path), entry.bytes).await?;
        let name = path.clone();
        let reader = off_runtime("decoding a footer", move || {
            reader(metadata).map_err(|source| failed(&name, source))
        });
        let input = Self { reader: reader.await?, entry };
        let rows: u64 = input.groups().map(|(_, rows)| rows.end - rows.start).sum();
        if rows == input.entry.rows {
            return Ok(input);
        }
        let reason = format!("it holds {rows} rows, and the catalog says {}", input.entry.rows);
        Err(Error::Damaged { path: input.entry.path(), reason })
    }

    /// The footer.
    pub(super) fn metadata(&self) -> &ParquetMetaData {
        self.reader.metadata()
    }

    /// The type that a column decodes into; `None` where the file does not have it.
    pub(super) fn data_type(&self, root: &str) -> Option<&DataType> {
        self.reader.schema().field_with_name(root).ok().map(|field| field.data_type())
    }

    /// Row groups and their rows.
    pub(super) fn groups(&self) -> impl Iterator<Item = (usize, Range<u64>)> {
        let groups = self.metadata().row_groups().iter().enumerate();
        groups.scan(0, |next, (at, group)| {
            let start = *next;
            *next += u64::try_from(group.num_rows()).unwrap_or_default();
            Some((at, start..*next))
        })
    }

    /// The row groups that have some of these rows.
    pub(super) fn groups_of(&self, rows: &Range<u64>) -> impl Iterator<Item = (usize, Range<u64>)> {
        let (start, end) = (rows.start, rows.end);
        self.groups().filter(move |(_, group)| group.start < end && start < group.end)
    }

    /// Rows that a column is to be decoded in at once.
    fn batch_rows(&self, roots: &[&str]) -> usize {
        let chunks = self.metadata().row_groups().iter().flat_map(|group| group.columns());
        let of_roots = chunks.filter(|chunk| roots.contains(&root_of(chunk)));
        let bytes: u64 = of_roots.map(|chunk| self.decoded_bytes_of(chunk)).sum();
        let a_row = usize::try_from(bytes / self.entry.rows.max(1)).unwrap_or(usize::MAX);
        (BATCH_BYTES / a_row.max(1)).clamp(16, BATCH_ROWS_MAX)
    }

    /// About what a chunk takes when it is decoded. Texts with a dictionary stay places in it.
    fn decoded_bytes_of(&self, chunk: &ColumnChunkMetaData) -> u64 {
        let shared = matches!(self.data_type(root_of(chunk)), Some(DataType::Dictionary(_, _)));
        let texts = chunk.unencoded_byte_array_data_bytes().filter(|_| !shared).unwrap_or_default();
        u64::try_from(texts.max(chunk.uncompressed_size())).unwrap_or_default()
    }

    /// About what the rows of each row group take when they are decoded, column by column.
    pub(super) fn decoded_bytes(&self) -> impl Iterator<Item = (&str, u64)> {
        let chunks = self.metadata().row_groups().iter().flat_map(|group| group.columns());
        chunks.map(|chunk| (root_of(chunk), self.decoded_bytes_of(chunk)))
    }

    /// What the footer takes.
    pub(super) fn footer_bytes(&self) -> u64 {
        self.metadata().memory_size() as u64
    }

    /// About what is held of some rows for as long as they are merged, whatever the window: the
    /// keys of a row group, and of the column in the making a dictionary, twice, and a batch.
    pub(super) fn lane_bytes(&self, rows: &Range<u64>, keys: &[String]) -> u64 {
        let unsigned = |number: i64| u64::try_from(number).unwrap_or_default();
        let (mut keys_most, mut column_most, mut batch_most) = (0, 0, 0);
        for (at, _) in self.groups_of(rows) {
            let columns = self.metadata().row_group(at).columns();
            let of_keys =
                columns.iter().filter(|chunk| keys.iter().any(|key| key == root_of(chunk)));
            keys_most = keys_most.max(of_keys.map(|chunk| unsigned(chunk.compressed_size())).sum());
            for chunk in columns {
                let whole = unsigned(chunk.uncompressed_size());
                batch_most = batch_most.max(whole.min(BATCH_BYTES as u64));
                column_most = column_most.max(dictionary_bytes(chunk));
            }
        }
        keys_most + 2 * column_most + batch_most
    }

    /// The last time in a row group, in microseconds; the file's where its statistics are silent.
    pub(super) fn until(&self, group: usize) -> i64 {
        let time = self.entry.table.time_column();
        let mut columns = self.metadata().row_group(group).columns().iter();
        let column = columns.find(|chunk| root_of(chunk) == time);
        match column.and_then(ColumnChunkMetaData::statistics) {
            Some(Statistics::Int64(times)) => times.max_opt().copied(),
            _ => None,
        }
        .unwrap_or(self.entry.time.end().0 / 1_000)
    }

    /// What must be there to decode these rows of these columns.
    fn ranges(&self, rows: &Range<u64>, wanted: impl Fn(&str) -> bool) -> Vec<Range<u64>> {
        let mut ranges = Vec::new();
        for (at, group) in self.groups_of(rows) {
            for (leaf, chunk) in self.metadata().row_group(at).columns().iter().enumerate() {
                if wanted(root_of(chunk)) {
                    self.chunk_ranges((at, leaf), &group, rows, &mut ranges);
                }
            }
        }
        joined(ranges)
    }

    /// The pages of one chunk that have some of the rows, and its dictionary.
    fn chunk_ranges(
        &self,
        (group_at, leaf): (usize, usize),
        group: &Range<u64>,
        rows: &Range<u64>,
        out: &mut Vec<Range<u64>>,
    ) {
        let (start, length) = self.metadata().row_group(group_at).column(leaf).byte_range();
        let whole = start..start + length;
        let pages = self.metadata().offset_index().and_then(|all| all.get(group_at)?.get(leaf));
        let pages = pages.map(|index| index.page_locations().as_slice()).unwrap_or_default();
        let unsigned = |number: i64| u64::try_from(number).unwrap_or_default();
        let first_row = |at: usize| {
            pages.get(at).map_or(group.end, |page| group.start + unsigned(page.first_row_index))
        };
        let has = |at: &usize| first_row(*at) < rows.end && rows.start < first_row(at + 1);
        let Some(first) = (0..pages.len()).find(has) else { return out.push(whole) };
        let last = (first..pages.len()).take_while(has).last().unwrap_or(first);
        let end = pages.get(last + 1).map_or(whole.end, |page| unsigned(page.offset));
        out.push(whole.start..unsigned(pages[0].offset));
        out.push(unsigned(pages[first].offset)..end);
    }

    /// Fetches what is needed to decode these rows of the columns that are wanted.
    pub(super) async fn fetch(
        &self,
        bucket: &Arc<dyn ObjectStore>,
        rows: &Range<u64>,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Stretches, Error> {
        let path = self.entry.path();
        let (bare, ranges) = (Bare::new(bucket), self.ranges(rows, wanted));
        let fetched = bare.of(&path).fetch(&ranges).await?.into_iter();
        let stretches = fetched.map(|(range, bytes)| (range.start, bytes)).collect();
        Ok(Stretches { file_bytes: self.entry.bytes, stretches: Arc::new(stretches) })
    }

    /// Decodes these rows of these columns from what was fetched.
    pub(super) fn decode(
        &self,
        fetched: &Stretches,
        rows: &Range<u64>,
        roots: &[&str],
    ) -> Result<ParquetRecordBatchReader, Error> {
        let groups: Vec<_> = self.groups_of(rows).collect();
        let begin = groups.first().map_or(rows.start, |(_, group)| group.start);
        let count = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
        let selection = RowSelection::from(vec![
            RowSelector::skip(count(rows.start - begin)),
            RowSelector::select(count(rows.end - rows.start)),
        ]);
        let schema = self.reader.parquet_schema();
        let fields = schema.root_schema().get_fields().iter().enumerate();
        let fields = fields.filter(|(_, field)| roots.contains(&field.name()));
        let mask = ProjectionMask::roots(schema, fields.map(|(at, _)| at));
        ParquetRecordBatchReaderBuilder::new_with_metadata(fetched.clone(), self.reader.clone())
            .with_projection(mask)
            .with_row_groups(groups.into_iter().map(|(at, _)| at).collect())
            .with_row_selection(selection)
            .with_batch_size(self.batch_rows(roots))
            .build()
            .map_err(|source| failed(&self.entry.path(), source))
    }

    /// An error about what is in the file.
    pub(super) fn damaged(&self, reason: String) -> Error {
        Error::Damaged { path: self.entry.path(), reason }
    }
}

/// With texts as dictionaries where the row shape has them.
fn reader(metadata: ParquetMetaData) -> ParquetResult<ArrowReaderMetadata> {
    let schema = Arc::new(Schema::new(types(&metadata)?));
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true).with_schema(schema);
    ArrowReaderMetadata::try_new(Arc::new(metadata), options)
}

/// About what the dictionary of a chunk takes, which packs as well as all of it does.
fn dictionary_bytes(chunk: &ColumnChunkMetaData) -> u64 {
    let Some(begin) = chunk.dictionary_page_offset() else { return 0 };
    let unsigned = |number: i64| u64::try_from(number).unwrap_or_default();
    let packed = unsigned(chunk.data_page_offset() - begin);
    packed * unsigned(chunk.uncompressed_size()) / unsigned(chunk.compressed_size()).max(1)
}

fn root_of(chunk: &ColumnChunkMetaData) -> &str {
    chunk.column_path().parts().first().map_or("", String::as_str)
}

/// Ranges in order, those that lie close together as one.
fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.retain(|range| range.start < range.end);
    ranges.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end + GAP_BYTES_MAX => {
                last.end = last.end.max(range.end);
            }
            _ => joined.push(range),
        }
    }
    joined
}

/// What was fetched of a file, as if it were the file.
#[derive(Debug, Clone)]
pub(super) struct Stretches {
    file_bytes: u64,
    stretches: Arc<Vec<(u64, Bytes)>>,
}

impl Stretches {
    /// The bytes from `start` on, as far as they were fetched.
    fn from(&self, start: u64) -> ParquetResult<Bytes> {
        let at = self.stretches.partition_point(|(begin, _)| *begin <= start);
        let found = at.checked_sub(1).map(|at| &self.stretches[at]);
        let found = found.and_then(|(begin, bytes)| {
            let skip = usize::try_from(start - begin).ok()?;
            (skip <= bytes.len()).then(|| bytes.slice(skip..))
        });
        found.ok_or_else(|| ParquetError::EOF(format!("byte {start} was not fetched")))
    }
}

impl Length for Stretches {
    fn len(&self) -> u64 {
        self.file_bytes
    }
}

impl ChunkReader for Stretches {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(Box::new(self.from(start)?.reader()))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let bytes = self.from(start)?;
        if bytes.len() < length {
            let reason = format!("{length} bytes at {start} were not fetched");
            return Err(ParquetError::EOF(reason));
        }
        Ok(bytes.slice(..length))
    }
}
