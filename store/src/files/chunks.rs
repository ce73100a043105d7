//! Pieces of a file that were fetched, as the reader of Parquet wants them.
//!
//! Invariant: only pages that were fetched are read; one that was not is an error, never a wait.
//!
//! The reader of Parquet makes two contexts of zstd for each column that it opens, which costs more
//! than most columns do. Its footer here says that pages are not compressed (see `footer.rs`), and
//! they are unpacked with the one context that each thread keeps.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Cursor;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes, buf::Reader};
use parquet::arrow::arrow_reader::RowGroups;
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, Length, SerializedPageReader};

use super::footer::Footer;
use super::footers::Dictionaries;

/// Stretches of a file that were fetched.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    pieces: BTreeMap<u64, Bytes>,
    /// Those that need not be fetched, of a file whose footer is kept.
    dictionaries: Option<Dictionaries>,
}

impl Fetched {
    /// Nothing yet of a file some of whose dictionaries may be kept.
    pub(super) fn with(dictionaries: Option<Dictionaries>) -> Self {
        Self { pieces: BTreeMap::new(), dictionaries }
    }

    /// Whether the dictionary of a column of a row group is here, unpacked; then it stays.
    pub(super) fn recall(&mut self, group: usize, leaf: usize) -> bool {
        self.dictionaries.as_mut().is_some_and(|kept| kept.recall(group, leaf))
    }

    /// A dictionary that was recalled.
    pub(super) fn dictionary(&self, group: usize, leaf: usize) -> Option<&Page> {
        self.dictionaries.as_ref()?.get(group, leaf)
    }

    /// Keeps a dictionary that was unpacked for the next reader.
    pub(super) fn keep(&self, group: usize, leaf: usize, page: &Page) {
        if let Some(kept) = &self.dictionaries {
            kept.keep(group, leaf, page);
        }
    }

    /// Keeps a stretch.
    pub(super) fn add(&mut self, start: u64, bytes: Bytes) {
        self.pieces.insert(start, bytes);
    }

    /// Whether a stretch is here, in one piece.
    pub(super) fn has(&self, range: &Range<u64>) -> bool {
        self.from(range.start).is_some_and(|bytes| bytes.len() as u64 >= range.end - range.start)
    }

    /// What is here from this place on.
    fn from(&self, start: u64) -> Option<Bytes> {
        let (piece_start, bytes) = self.pieces.range(..=start).next_back()?;
        let skip = usize::try_from(start - piece_start).ok()?;
        (skip < bytes.len()).then(|| bytes.slice(skip..))
    }

    fn missing(start: u64) -> ParquetError {
        ParquetError::General(format!("the page at byte {start} was not fetched"))
    }
}

impl Length for Fetched {
    fn len(&self) -> u64 {
        self.pieces.last_key_value().map_or(0, |(start, bytes)| start + bytes.len() as u64)
    }
}

impl ChunkReader for Fetched {
    type T = Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        self.from(start).map(Buf::reader).ok_or_else(|| Self::missing(start))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let bytes = self.from(start).filter(|bytes| bytes.len() >= length);
        bytes.map(|bytes| bytes.slice(..length)).ok_or_else(|| Self::missing(start))
    }
}

/// One row group of a file, of which some pages were fetched.
#[derive(Debug)]
pub(super) struct Group<'a> {
    pub(super) footer: &'a Footer,
    pub(super) at: usize,
    pub(super) fetched: &'a Arc<Fetched>,
}

impl RowGroups for Group<'_> {
    fn num_rows(&self) -> usize {
        self.footer.rows(self.at)
    }

    fn column_chunks(&self, leaf: usize) -> Result<Box<dyn PageIterator>> {
        let metadata = &self.footer.metadata;
        let column = metadata.row_group(self.at).column(leaf);
        let pages = self.footer.pages(self.at, leaf).map(<[_]>::to_vec);
        let fetched = Arc::clone(self.fetched);
        let pages = SerializedPageReader::new(fetched, column, self.num_rows(), pages)?;
        let zstd = self.footer.zstd(self.at, leaf);
        let recalled = self.fetched.dictionary(self.at, leaf).cloned();
        Ok(Box::new(One(Some(Box::new(Pages { pages, zstd, recalled })))))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(std::iter::once(self.footer.metadata.row_group(self.at)))
    }

    fn metadata(&self) -> &ParquetMetaData {
        &self.footer.metadata
    }
}

/// The pages of one column of one row group.
struct One(Option<Box<dyn PageReader>>);

impl Iterator for One {
    type Item = Result<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(Ok)
    }
}

impl PageIterator for One {}

/// Pages, unpacked.
struct Pages {
    pages: SerializedPageReader<Fetched>,
    zstd: bool,
    /// The dictionary, where it was not fetched.
    recalled: Option<Page>,
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        if self.recalled.is_some() && self.pages.peek_next_page()?.is_some_and(|next| next.is_dict)
        {
            self.pages.skip_next_page()?;
            return Ok(self.recalled.take());
        }
        let page = self.pages.get_next_page()?;
        if self.zstd { page.map(unpacked).transpose() } else { Ok(page) }
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.pages.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.pages.at_record_boundary()
    }
}

/// A page of a column that is packed with zstd.
pub(super) fn unpacked(page: Page) -> Result<Page> {
    Ok(match page {
        Page::DictionaryPage { buf, num_values, encoding, is_sorted } => {
            Page::DictionaryPage { buf: unpack(&buf, 0)?, num_values, encoding, is_sorted }
        }
        Page::DataPage {
            buf,
            num_values,
            encoding,
            def_level_encoding,
            rep_level_encoding,
            statistics,
        } => Page::DataPage {
            buf: unpack(&buf, 0)?,
            num_values,
            encoding,
            def_level_encoding,
            rep_level_encoding,
            statistics,
        },
        Page::DataPageV2 {
            buf,
            num_values,
            encoding,
            num_nulls,
            num_rows,
            def_levels_byte_len,
            rep_levels_byte_len,
            is_compressed: true,
            statistics,
        } => Page::DataPageV2 {
            buf: unpack(&buf, (def_levels_byte_len + rep_levels_byte_len) as usize)?,
            num_values,
            encoding,
            num_nulls,
            num_rows,
            def_levels_byte_len,
            rep_levels_byte_len,
            is_compressed: false,
            statistics,
        },
        plain @ Page::DataPageV2 { .. } => plain,
    })
}

/// Larger than any page that is written; a page that claims more is damaged.
const PAGE_BYTES_MAX: usize = 256 << 20;

thread_local! {
    /// Takes 150 KB, and longer to make than most pages take to unpack.
    static CONTEXT: RefCell<Option<zstd::bulk::Decompressor<'static>>> =
        const { RefCell::new(None) };
}

/// A page whose first `plain` bytes are not packed.
fn unpack(page: &Bytes, plain: usize) -> Result<Bytes> {
    let failed = |error: std::io::Error| ParquetError::External(Box::new(error));
    let Some((levels, packed)) = page.split_at_checked(plain) else {
        return Err(ParquetError::General("a page is shorter than its levels".to_owned()));
    };
    if packed.is_empty() {
        return Ok(page.clone());
    }
    let size = zstd::zstd_safe::get_frame_content_size(packed).ok().flatten();
    let size = size.and_then(|size| usize::try_from(size).ok());
    let Some(size) = size.filter(|size| *size <= PAGE_BYTES_MAX) else {
        return Err(ParquetError::General("a page does not say how large it is".to_owned()));
    };
    let mut out = Vec::with_capacity(plain + size);
    out.extend_from_slice(levels);
    let mut rest = Cursor::new(&mut out);
    rest.set_position(plain as u64);
    CONTEXT.with_borrow_mut(|context| {
        let context = match context {
            Some(context) => context,
            None => context.insert(zstd::bulk::Decompressor::new().map_err(failed)?),
        };
        context.decompress_to_buffer(packed, &mut rest).map_err(failed)
    })?;
    Ok(Bytes::from(out))
}
