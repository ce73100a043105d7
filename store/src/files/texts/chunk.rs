//! One chunk of a column: its dictionary, then pages of places in it.
//!
//! Invariant: a page ends between rows; its bounds are those of its texts, cut off where they are long
//! so that they still hold.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, EncodingMask, PageType, Type};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{
    ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder, PageEncodingStats,
};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use zstd::bulk::Compressor;

use super::super::hybrid::{run_bits, runs, width_of, write_hybrid, write_run};
use super::{ABSENT, TextChunk};

/// A longer bound is cut off, as Parquet's own writer does.
const BOUND_BYTES_MAX: usize = 64;

/// Writes `rows`, which are places in `texts`, each of which has a row.
pub(super) fn write(
    texts: &[&str],
    rows: &[u32],
    column: &ColumnDescPtr,
    properties: &WriterProperties,
) -> Result<TextChunk> {
    let mut sink = TrackedWrite::new(Vec::new());
    let mut pages = Pages {
        writer: SerializedPageWriter::new(&mut sink),
        compressor: compressor(properties.compression(column.path()))?,
        optional: column.max_def_level() > 0,
        width: width_of(fits(texts.len().saturating_sub(1))?),
        compressed: 0,
        uncompressed: 0,
    };
    let dictionary_bytes = pages.write_dictionary(texts)?.1;
    let statistics = properties.statistics_enabled(column.path());
    let mut told = Told::new(texts, statistics);
    let page_bytes = properties.column_data_page_size_limit(column.path());
    for page in cut(rows, pages.width, page_bytes) {
        let rows = &rows[page];
        let place = pages.write_rows(rows)?;
        told.add(rows, place)?;
    }
    let metadata = ColumnChunkMetaData::builder(Arc::clone(column))
        .set_compression(properties.compression(column.path()))
        .set_encodings_mask(EncodingMask::new_from_encodings(
            [Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY].iter(),
        ))
        .set_page_encoding_stats(encoding_stats(told.pages))
        .set_total_compressed_size(fits(pages.compressed)?)
        .set_total_uncompressed_size(fits(pages.uncompressed)?)
        .set_num_values(fits(rows.len())?)
        .set_dictionary_page_offset(Some(0))
        .set_data_page_offset(fits(dictionary_bytes)?);
    let metadata = match statistics {
        EnabledStatistics::None => metadata,
        _ => metadata.set_statistics(told.statistics()),
    };
    let Told { offsets, index, .. } = told;
    let close = ColumnCloseResult {
        bytes_written: pages.compressed as u64,
        rows_written: rows.len() as u64,
        metadata: metadata.build()?,
        bloom_filter: None,
        column_index: index.map(|(index, _)| index.build()).transpose()?,
        offset_index: Some(offsets.build()),
    };
    Ok(TextChunk { bytes: sink.into_inner()?.into(), close })
}

fn encoding_stats(pages: i32) -> Vec<PageEncodingStats> {
    let dictionary = PageEncodingStats {
        page_type: PageType::DICTIONARY_PAGE,
        encoding: Encoding::PLAIN,
        count: 1,
    };
    let data = PageEncodingStats {
        page_type: PageType::DATA_PAGE,
        encoding: Encoding::RLE_DICTIONARY,
        count: pages,
    };
    vec![dictionary, data]
}

/// Ranges of rows that take about so many bytes each before they are compressed.
fn cut(rows: &[u32], width: u32, page_bytes: usize) -> Vec<Range<usize>> {
    let (mut pages, mut start, mut bits) = (Vec::new(), 0, 0);
    for run in runs(rows) {
        bits += run_bits(run.len(), width);
        if bits >= page_bytes.saturating_mul(8) {
            pages.push(start..run.end);
            (start, bits) = (run.end, 0);
        }
    }
    if start < rows.len() {
        pages.push(start..rows.len());
    }
    pages
}

/// Where a page begins in the chunk, and how long it is.
type PagePlace = (usize, usize);

struct Pages<'a> {
    writer: SerializedPageWriter<'a, Vec<u8>>,
    compressor: Option<Compressor<'static>>,
    optional: bool,
    width: u32,
    /// Bytes so far, with the pages' heads.
    compressed: usize,
    uncompressed: usize,
}

impl Pages<'_> {
    fn write_dictionary(&mut self, texts: &[&str]) -> Result<PagePlace> {
        let mut plain = Vec::new();
        for text in texts {
            plain.extend_from_slice(&length(text.len())?);
            plain.extend_from_slice(text.as_bytes());
        }
        let num_values = fits(texts.len())?;
        self.write(&plain, |buf| Page::DictionaryPage {
            buf,
            num_values,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        })
    }

    /// Levels, where rows may be without a text, and places of those that have one.
    fn write_rows(&mut self, rows: &[u32]) -> Result<PagePlace> {
        let mut plain = Vec::new();
        let here: Vec<u32>;
        let mut places = rows;
        if self.optional {
            plain.extend_from_slice(&[0; 4]);
            if rows.contains(&ABSENT) {
                let level = |place: &u32| u32::from(*place != ABSENT);
                write_hybrid(&rows.iter().map(level).collect::<Vec<_>>(), 1, &mut plain);
                here = rows.iter().copied().filter(|place| *place != ABSENT).collect();
                places = &here;
            } else {
                write_run(1, rows.len(), 1, &mut plain);
            }
            let levels_length = length(plain.len() - 4)?;
            plain[..4].copy_from_slice(&levels_length);
        }
        plain.push(self.width.to_le_bytes()[0]);
        write_hybrid(places, self.width, &mut plain);
        let num_values = fits(rows.len())?;
        self.write(&plain, |buf| Page::DataPage {
            buf,
            num_values,
            encoding: Encoding::RLE_DICTIONARY,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        })
    }

    fn write(&mut self, plain: &[u8], page: impl FnOnce(Bytes) -> Page) -> Result<PagePlace> {
        let packed = match &mut self.compressor {
            Some(compressor) => compressor.compress(plain)?.into(),
            None => Bytes::copy_from_slice(plain),
        };
        let spec = self.writer.write_page(CompressedPage::new(page(packed), plain.len()))?;
        let begin = self.compressed;
        self.compressed += spec.compressed_size;
        self.uncompressed += spec.uncompressed_size;
        Ok((begin, spec.compressed_size))
    }
}

fn compressor(compression: Compression) -> Result<Option<Compressor<'static>>> {
    match compression {
        Compression::UNCOMPRESSED => Ok(None),
        Compression::ZSTD(level) => Ok(Some(Compressor::new(level.compression_level())?)),
        other => Err(ParquetError::NYI(format!("texts are not compressed by {other}"))),
    }
}

fn length(bytes: usize) -> Result<[u8; 4]> {
    fits(bytes).map(u32::to_le_bytes)
}

/// The same number in another type.
fn fits<T: TryFrom<usize>>(number: usize) -> Result<T> {
    let too_long = || ParquetError::General(format!("{number} is too much for one chunk of texts"));
    T::try_from(number).ok().ok_or_else(too_long)
}

/// What is told of the pages: where they are, and what is in them.
struct Told<'a> {
    texts: &'a [&'a str],
    offsets: OffsetIndexBuilder,
    /// The bounds of each page, where they are wanted, and the order of the texts.
    index: Option<(ColumnIndexBuilder, Order)>,
    absent: usize,
    pages: i32,
}

impl<'a> Told<'a> {
    fn new(texts: &'a [&'a str], statistics: EnabledStatistics) -> Self {
        let by_page = statistics == EnabledStatistics::Page;
        let index = by_page.then(|| (ColumnIndexBuilder::new(Type::BYTE_ARRAY), Order::new(texts)));
        Self { texts, offsets: OffsetIndexBuilder::new(), index, absent: 0, pages: 0 }
    }

    fn add(&mut self, rows: &[u32], (begin, bytes): PagePlace) -> Result<()> {
        self.offsets.append_row_count(fits(rows.len())?);
        self.offsets.append_offset_and_size(fits(begin)?, fits(bytes)?);
        let absent = rows.iter().filter(|place| **place == ABSENT).count();
        if let Some((index, order)) = &mut self.index {
            let bounds = order.bounds(rows);
            let text = |place: u32| self.texts[place as usize];
            let (least, most) = bounds.map_or(("", ""), |(least, most)| (text(least), text(most)));
            let most = upper(most).unwrap_or_else(|| most.to_owned());
            index.append(bounds.is_none(), lower(least).into(), most.into(), fits(absent)?);
        }
        self.absent += absent;
        self.pages += 1;
        Ok(())
    }

    fn statistics(&self) -> Statistics {
        let bytes = |text: String| ByteArray::from(text.into_bytes());
        let least = self.texts.iter().min().copied();
        let most = self.texts.iter().max().copied();
        let min = least.map(|text| bytes(lower(text).to_owned()));
        let max = most.and_then(upper).map(bytes);
        let is_exact = |text: Option<&str>| text.is_some_and(|text| text.len() <= BOUND_BYTES_MAX);
        let statistics = ValueStatistics::new(min, max, None, Some(self.absent as u64), false);
        let statistics =
            statistics.with_min_is_exact(is_exact(least)).with_max_is_exact(is_exact(most));
        Statistics::ByteArray(statistics)
    }
}

/// Which text is before which.
struct Order {
    /// The rank of each text, and the place of each rank.
    ranks: Vec<u32>,
    places: Vec<u32>,
}

impl Order {
    fn new(texts: &[&str]) -> Self {
        let mut places: Vec<u32> = (0..).take(texts.len()).collect();
        places.sort_unstable_by_key(|place| texts[*place as usize]);
        let mut ranks = vec![0; texts.len()];
        for (rank, place) in (0..).zip(&places) {
            ranks[*place as usize] = rank;
        }
        Self { ranks, places }
    }

    /// The places of the least and of the greatest text of some rows.
    fn bounds(&self, rows: &[u32]) -> Option<(u32, u32)> {
        let here = rows.iter().filter(|place| **place != ABSENT);
        let ranks = here.map(|place| self.ranks[*place as usize]);
        let bounds = ranks.fold(None, |bounds: Option<(u32, u32)>, rank| {
            Some(bounds.map_or((rank, rank), |(least, most)| (least.min(rank), most.max(rank))))
        });
        bounds.map(|(least, most)| (self.places[least as usize], self.places[most as usize]))
    }
}

/// A text that is not above this one.
fn lower(text: &str) -> &str {
    text.split_at(text.floor_char_boundary(BOUND_BYTES_MAX)).0
}

/// A text that is not below this one; `None` where there is none that is short.
fn upper(text: &str) -> Option<String> {
    if text.len() <= BOUND_BYTES_MAX {
        return Some(text.to_owned());
    }
    let mut bound = lower(text).to_owned();
    while let Some(last) = bound.pop() {
        let next = u32::from(last).checked_add(1).and_then(char::from_u32);
        if let Some(next) = next.filter(|next| next.len_utf8() == last.len_utf8()) {
            bound.push(next);
            return Some(bound);
        }
    }
    None
}
