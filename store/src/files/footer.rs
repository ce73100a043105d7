//! The footer of a file: where its columns and pages are, and what statistics say of them.
//!
//! Invariant: it says of pages packed with zstd that they are plain, and [`Footer::zstd`] says which
//! those are: see `chunks.rs`.

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields};
use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use parquet::DecodeResult;
use parquet::arrow::parquet_to_arrow_schema;
use parquet::basic::{Compression, Type};
use parquet::bloom_filter::Sbbf;
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData, ParquetMetaDataPushDecoder,
    RowGroupMetaData,
};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::page_index::offset_index::PageLocation;
use tokio::sync::OnceCell;

use super::constant::{Constant, constants};
use super::fetch::{Fetching, bucket_failed};
use super::metadata::FileMetadata;
use super::prune::leaf;
use crate::error::Error;
use crate::schema::text_type;
use crate::work::off_runtime;

/// What is read at the end of a file in the hope that it holds the whole footer and the bloom
/// filters before it, and for each so many bytes of a long file another one.
const TAIL_BYTES: u64 = 128 << 10;
const TAIL_SHARE: u64 = 128;
const TAIL_BYTES_MAX: u64 = 4 << 20;

/// The footer of one file.
#[derive(Debug)]
pub(super) struct Footer {
    /// Row groups, statistics and page indexes.
    pub(super) metadata: ParquetMetaData,
    /// The types to decode into: text into dictionaries where the row shape has them.
    pub(super) types: Fields,
    /// By row group and column.
    zstd: Vec<Vec<bool>>,
    /// By row group and column: what all rows of it have.
    constants: Vec<Vec<Option<Constant>>>,
    /// Of `trace_id`, by row group; fetched when the first trace is looked for.
    blooms: OnceCell<Vec<Option<Sbbf>>>,
}

impl Footer {
    /// Takes up to milliseconds for a large footer: call it off the runtime.
    fn new(metadata: ParquetMetaData, tail: &Tail, path: &str) -> Result<Self, Error> {
        // Refuses files of a later version.
        description(&metadata, path)?;
        let footer = Self::of(metadata).map_err(|source| failed(path, source))?;
        let ranges = footer.bloom_ranges();
        if let Some(here) = ranges.iter().flatten().map(|range| tail.cut(range)).collect() {
            let here: Vec<Bytes> = here;
            footer.blooms.set(blooms(&ranges, here, path)?).ok();
        }
        Ok(footer)
    }

    /// Of any file, whatever it says of itself.
    pub(super) fn of(metadata: ParquetMetaData) -> Result<Self, ParquetError> {
        let types = types(&metadata)?;
        let zstd = metadata.row_groups().iter().map(packed).collect();
        let constants = metadata.row_groups().iter().map(constants).collect();
        let metadata = unpacked(metadata)?;
        Ok(Self { metadata, types, zstd, constants, blooms: OnceCell::new() })
    }

    /// Rows of one group.
    pub(super) fn rows(&self, group: usize) -> usize {
        usize::try_from(self.metadata.row_group(group).num_rows()).unwrap_or_default()
    }

    /// Where the columns of one group are, one behind the other.
    pub(super) fn group_range(&self, group: usize) -> Range<u64> {
        let columns = self.metadata.row_group(group).columns().iter();
        let ranges = columns.map(|column| column.byte_range());
        let joined = ranges.map(|(start, length)| start..start + length);
        joined.reduce(|one, next| one.start.min(next.start)..one.end.max(next.end)).unwrap_or(0..0)
    }

    /// Whether the pages of a column are packed with zstd.
    pub(super) fn zstd(&self, group: usize, leaf: usize) -> bool {
        self.zstd[group][leaf]
    }

    /// What all rows of a column have, where that is known.
    pub(super) fn constant(&self, group: usize, leaf: usize) -> Option<&Constant> {
        self.constants[group][leaf].as_ref()
    }

    /// Where the pages of a column are; `None` where the file has no page index.
    pub(super) fn pages(&self, group: usize, leaf: usize) -> Option<&[PageLocation]> {
        let groups = self.metadata.offset_index().filter(|groups| !groups.is_empty())?;
        Some(groups[group][leaf].page_locations().as_slice())
    }

    /// Memory of it, bloom filters included whether they are there yet or not.
    pub(super) fn bytes(&self) -> usize {
        let blooms = self.bloom_ranges();
        let blooms: u64 = blooms.iter().flatten().map(|range| range.end - range.start).sum();
        let constants = self.constants.iter().map(|group| size_of_val(group.as_slice()));
        let blooms = usize::try_from(blooms).unwrap_or(usize::MAX);
        self.metadata.memory_size().saturating_add(blooms).saturating_add(constants.sum())
    }

    /// By row group.
    fn bloom_ranges(&self) -> Vec<Option<Range<u64>>> {
        (0..self.zstd.len()).map(|group| self.bloom_range(group)).collect()
    }

    fn bloom_range(&self, group: usize) -> Option<Range<u64>> {
        let column = leaf(self.metadata.file_metadata().schema_descr(), "trace_id")?;
        let column = self.metadata.row_group(group).column(column);
        let start = u64::try_from(column.bloom_filter_offset()?).ok()?;
        let length = u64::try_from(column.bloom_filter_length()?).ok()?;
        Some(start..start + length)
    }

    /// For each row group whether it can have a row of one of these traces.
    pub(super) async fn may_have_trace(
        &self,
        from: Fetching<'_>,
        ids: &[Vec<u8>],
    ) -> Result<Vec<bool>, Error> {
        let blooms = self.blooms.get_or_try_init(|| self.fetch_blooms(from)).await?;
        let may = |bloom: &Sbbf| ids.iter().any(|id| bloom.check(id.as_slice()));
        Ok(blooms.iter().map(|bloom| bloom.as_ref().is_none_or(may)).collect())
    }

    async fn fetch_blooms(&self, from: Fetching<'_>) -> Result<Vec<Option<Sbbf>>, Error> {
        let ranges = self.bloom_ranges();
        let wanted: Vec<_> = ranges.iter().flatten().cloned().collect();
        let fetched = from.fetch(&wanted).await?;
        blooms(&ranges, fetched.into_iter().map(|(_, bytes)| bytes).collect(), from.path)
    }
}

/// The filters that stand in these bytes, one for each row group that has one.
fn blooms(
    ranges: &[Option<Range<u64>>],
    bytes: Vec<Bytes>,
    path: &str,
) -> Result<Vec<Option<Sbbf>>, Error> {
    let mut bytes = bytes.into_iter();
    let blooms = ranges.iter().map(|range| {
        let bytes = range.as_ref().and_then(|_| bytes.next());
        let bloom = bytes.map(|bytes| Sbbf::from_bytes(&bytes)).transpose();
        bloom.map_err(|source| failed(path, source))
    });
    blooms.collect()
}

fn packed(group: &RowGroupMetaData) -> Vec<bool> {
    let zstd = |compression| matches!(compression, Compression::ZSTD(_));
    group.columns().iter().map(|column| zstd(column.compression())).collect()
}

/// The same with columns that are packed with zstd called plain, and without statistics of pages
/// that say nothing: those of ids and lists, which nobody asks for by size, and of a column that is
/// one page. A fifth of the memory.
fn unpacked(metadata: ParquetMetaData) -> Result<ParquetMetaData, ParquetError> {
    let useless = |column: &ColumnChunkMetaData| {
        column.column_descr().max_rep_level() > 0
            || column.column_type() == Type::FIXED_LEN_BYTE_ARRAY
    };
    let useless: Vec<Vec<bool>> = metadata
        .row_groups()
        .iter()
        .map(|group| group.columns().iter().map(useless).collect())
        .collect();
    let mut builder = metadata.into_builder();
    let mut index = builder.take_column_index();
    for (pages, useless) in index.iter_mut().flatten().zip(&useless) {
        for (pages, useless) in pages.iter_mut().zip(useless) {
            let one = pages.get_boundary_order().is_some() && pages.num_pages() <= 1;
            if *useless || one {
                *pages = ColumnIndexMetaData::NONE;
            }
        }
    }
    builder = builder.set_column_index(index);
    let groups = builder.take_row_groups().into_iter().map(|group| {
        let mut group = group.into_builder();
        let columns = group.take_columns().into_iter().map(|column| match column.compression() {
            Compression::ZSTD(_) => {
                column.into_builder().set_compression(Compression::UNCOMPRESSED).build()
            }
            _ => Ok(column),
        });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        group.set_column_metadata(columns).build()
    });
    let groups = groups.collect::<Result<Vec<_>, _>>()?;
    Ok(builder.set_row_groups(groups).build())
}

/// Text as dictionaries where the row shape has them.
pub(super) fn types(metadata: &ParquetMetaData) -> Result<Fields, ParquetError> {
    let plain = parquet_to_arrow_schema(metadata.file_metadata().schema_descr(), None)?;
    let fields = plain.fields().iter().map(|field| {
        let plain_in_row_shape = matches!(field.name().as_str(), "attributes" | "body");
        if *field.data_type() == DataType::Utf8 && !plain_in_row_shape {
            Arc::new(Field::new(field.name(), text_type(), field.is_nullable()))
        } else {
            Arc::clone(field)
        }
    });
    Ok(fields.collect())
}

/// What a file says of itself.
pub(super) fn description(metadata: &ParquetMetaData, path: &str) -> Result<FileMetadata, Error> {
    FileMetadata::from_key_values(metadata.file_metadata().key_value_metadata())
        .map_err(|reason| Error::Damaged { path: path.to_owned(), reason })
}

/// The footer of a file, from the bucket: one request where it is not longer than usual.
pub(super) async fn fetch_footer(from: Fetching<'_>, file_bytes: u64) -> Result<Footer, Error> {
    let path = from.path.to_owned();
    let (metadata, tail) = fetch_end(from, file_bytes).await?;
    off_runtime("decoding a footer", move || Footer::new(metadata, &tail, &path)).await
}

/// The same as Parquet has it.
pub(super) async fn fetch_metadata(
    from: Fetching<'_>,
    file_bytes: u64,
) -> Result<ParquetMetaData, Error> {
    fetch_end(from, file_bytes).await.map(|(metadata, _)| metadata)
}

/// What is at the end of a file, from this byte on.
struct Tail(u64, Bytes);

impl Tail {
    fn cut(&self, range: &Range<u64>) -> Option<Bytes> {
        let from = usize::try_from(range.start.checked_sub(self.0)?).ok()?;
        let to = usize::try_from(range.end.checked_sub(self.0)?).ok()?;
        (from <= to && to <= self.1.len()).then(|| self.1.slice(from..to))
    }
}

async fn fetch_end(from: Fetching<'_>, file_bytes: u64) -> Result<(ParquetMetaData, Tail), Error> {
    let decoder = ParquetMetaDataPushDecoder::try_new(file_bytes)
        .map_err(|source| failed(from.path, source))?
        .with_page_index_policy(PageIndexPolicy::Optional);
    let tail_bytes = (file_bytes / TAIL_SHARE).clamp(TAIL_BYTES, TAIL_BYTES_MAX);
    let start = file_bytes.saturating_sub(tail_bytes);
    let mut wanted: Vec<_> = std::iter::once(start..file_bytes).collect();
    let mut tail = None;
    let mut decoder = Some(decoder);
    // The tail, what the footer is longer, the page index: never more rounds than that.
    while let Some(mut decoding) = decoder.take() {
        let fetched = from.fetch(&wanted).await?;
        tail = tail.or_else(|| fetched.first().map(|(_, bytes)| Tail(start, bytes.clone())));
        let name = from.path.to_owned();
        let work = move || -> Result<_, Error> {
            let failed = |source| failed(&name, source);
            let (ranges, pieces) = fetched.into_iter().unzip();
            decoding.push_ranges(ranges, pieces).map_err(failed)?;
            Ok(match decoding.try_decode().map_err(failed)? {
                DecodeResult::NeedsData(ranges) => Progress::Wants(decoding, ranges),
                DecodeResult::Data(metadata) => Progress::Done(Box::new(metadata)),
                DecodeResult::Finished => Progress::Ended,
            })
        };
        match off_runtime("decoding a footer", work).await? {
            Progress::Done(metadata) => {
                return Ok((*metadata, tail.unwrap_or(Tail(file_bytes, Bytes::new()))));
            }
            Progress::Ended => break,
            Progress::Wants(decoding, ranges) => {
                decoder = Some(decoding);
                wanted = ranges;
            }
        }
    }
    Err(Error::Damaged { path: from.path.to_owned(), reason: "it has no footer".to_owned() })
}

enum Progress {
    Done(Box<ParquetMetaData>),
    Wants(ParquetMetaDataPushDecoder, Vec<Range<u64>>),
    Ended,
}

/// The length of an object.
pub(super) async fn length(bucket: &Arc<dyn ObjectStore>, path: &str) -> Result<u64, Error> {
    let head = bucket.head(&Path::from(path)).await;
    let head = head.map_err(|source| bucket_failed(path, source))?;
    Ok(head.size)
}

pub(super) fn failed(path: &str, source: ParquetError) -> Error {
    Error::Parquet { action: "read", path: path.to_owned(), source }
}
