//! The values of one leaf column at some rows.
//!
//! Invariant: a value that is found is at the place that the levels of its page say.

use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Encoding, Type};
use parquet::column::page::{Page, PageReader};
use parquet::errors::Result;
use parquet::file::serialized_reader::SerializedPageReader;

use super::runs::Runs;
use super::{damaged, delta};
use crate::files::chunks::{Fetched, unpacked};
use crate::files::constant::Constant;
use crate::files::footer::Footer;
use crate::files::rows::Rows;

/// A value as the file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::files) enum Cell {
    /// Also a bool, and the bits of a double.
    Int(i64),
    Bytes(Bytes),
}

/// One column of one row group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leaf<'a> {
    pub(super) footer: &'a Footer,
    pub(super) group: usize,
    pub(super) fetched: &'a Arc<Fetched>,
    pub(super) leaf: usize,
}

/// How values stand one after the other.
#[derive(Debug, Clone, Copy)]
struct Shape {
    physical: Type,
    /// Of ids.
    width: usize,
}

/// A page of data; where it is of version 2, its values are packed still.
struct Data {
    page: Page,
    packed: bool,
    rows: usize,
    values: usize,
    /// Where the page says.
    nulls: Option<usize>,
    encoding: Encoding,
    repetitions: usize,
    /// Where levels are.
    levels: std::ops::Range<usize>,
}

/// Where values are found: at once, or as places in the dictionary.
enum Found {
    Values(Vec<Cell>),
    Places(Vec<u32>),
}

impl Leaf<'_> {
    /// The value of each of these rows, which are in order; `None` where the column is of a shape
    /// that is not known here.
    pub(super) fn cells(&self, rows: &[usize]) -> Result<Option<Vec<Option<Cell>>>> {
        let schema = self.footer.metadata.file_metadata().schema_descr();
        let column = schema.column(self.leaf);
        if column.max_rep_level() > 0 || column.max_def_level() > 1 {
            return Ok(None);
        }
        match self.footer.constant(self.group, self.leaf) {
            Some(Constant::Value(cell)) => return Ok(Some(vec![Some(cell.clone()); rows.len()])),
            Some(Constant::Absent) => return Ok(Some(vec![None; rows.len()])),
            Some(Constant::Empty) | None => {}
        }
        let nullable = column.max_def_level() == 1;
        let width = usize::try_from(column.type_length()).unwrap_or_default();
        let shape = Shape { physical: column.physical_type(), width };
        let mut cells: Vec<Option<Cell>> = vec![None; rows.len()];
        let mut in_dictionary: Vec<(u32, usize)> = Vec::new();
        let read = self.pages(rows, |data, first, here| {
            let (nth, ranks) = data.present(nullable, first, &rows[here.clone()])?;
            if ranks.is_empty() {
                return Ok(true);
            }
            let values = data.unpacked()?;
            let Some(found) = shape.find(data.encoding, &values, &ranks)? else { return Ok(false) };
            let places = nth.into_iter().map(|nth| here.start + nth);
            match found {
                Found::Values(found) => {
                    places.zip(found).for_each(|(at, cell)| cells[at] = Some(cell));
                }
                Found::Places(found) => in_dictionary.extend(found.into_iter().zip(places)),
            }
            Ok(true)
        })?;
        let Some(dictionary) = read else { return Ok(None) };
        if !in_dictionary.is_empty() {
            in_dictionary.sort_unstable();
            let texts = self.kept_dictionary(dictionary)?;
            let places: Vec<usize> = in_dictionary.iter().map(|(code, _)| *code as usize).collect();
            let found = shape.plain(&texts, &places)?;
            for ((_, at), cell) in in_dictionary.into_iter().zip(found) {
                cells[at] = Some(cell);
            }
        }
        Ok(Some(cells))
    }

    /// Whether the list of each of these rows, which is never null, is empty.
    pub(super) fn lists_are_empty(&self, rows: &[usize]) -> Result<bool> {
        if self.footer.constant(self.group, self.leaf) == Some(&Constant::Empty) {
            return Ok(true);
        }
        let schema = self.footer.metadata.file_metadata().schema_descr();
        let column = schema.column(self.leaf);
        if column.max_rep_level() != 1 {
            return Ok(false);
        }
        let bits = u16::BITS - column.max_def_level().cast_unsigned().leading_zeros();
        let read = self.pages(rows, |data, first, here| {
            let (repetitions, definitions) = data.levels()?;
            let mut repetitions = Runs::new(repetitions, 1)?;
            let mut definitions = Runs::new(definitions, bits as usize)?;
            // Of the rows before: how many, and whether the last of them is still to be passed.
            let (mut row, mut passed) = (first, 0);
            for wanted in &rows[here.clone()] {
                let to = if data.values == data.rows {
                    wanted - first
                } else {
                    passed + repetitions.pass_to_zero(wanted - row)?
                };
                definitions.skip(to - passed)?;
                if definitions.next()? != 0 {
                    return Ok(false);
                }
                (row, passed) = (wanted + 1, to + 1);
                if data.values != data.rows {
                    repetitions.skip(1)?;
                }
            }
            Ok(true)
        })?;
        Ok(read.is_some())
    }

    /// The rows with one of these ids among `rows`, or some more that are not; `None` where the
    /// column is of a shape that is not known here.
    pub(super) fn with_id(&self, ids: &[Vec<u8>], rows: &Rows) -> Result<Option<Vec<usize>>> {
        let schema = self.footer.metadata.file_metadata().schema_descr();
        let column = schema.column(self.leaf);
        let width = usize::try_from(column.type_length()).unwrap_or_default();
        let ids_here = column.physical_type() == Type::FIXED_LEN_BYTE_ARRAY && width > 0;
        if column.max_rep_level() > 0 || column.max_def_level() > 0 || !ids_here {
            return Ok(None);
        }
        let is_wanted = |id: &[u8]| ids.iter().any(|wanted| wanted == id);
        let mut found = Vec::new();
        let mut pages = self.reader()?;
        let mut codes: Option<Vec<u32>> = None;
        let mut first = 0;
        while let Some(next) = pages.peek_next_page()? {
            if next.is_dict {
                let Some(page) = pages.get_next_page()? else { break };
                let page = self.dictionary(Some(page))?;
                let bytes = page.buffer();
                let wanted = (0..).zip(bytes.chunks_exact(width)).filter(|(_, id)| is_wanted(id));
                codes = Some(wanted.map(|(code, _)| code).collect());
                continue;
            }
            let Some(count) = next.num_rows else { return Ok(None) };
            if !rows.touch(first, first + count) {
                pages.skip_next_page()?;
                first += count;
                continue;
            }
            let data = self.data(pages.get_next_page()?)?;
            let Some(data) = data.filter(|data| data.values == count) else { return Ok(None) };
            let values = data.unpacked()?;
            match (data.encoding, &codes) {
                (Encoding::PLAIN, _) => {
                    let ids = (first..).zip(values.chunks_exact(width)).take(count);
                    found.extend(ids.filter(|(_, id)| is_wanted(id)).map(|(row, _)| row));
                }
                (Encoding::RLE_DICTIONARY, Some(codes)) if codes.is_empty() => {}
                (Encoding::RLE_DICTIONARY, Some(codes)) => {
                    let mut runs = places(&values)?;
                    runs.find(count, codes, &mut found, first)?;
                }
                _ => return Ok(None),
            }
            first += count;
        }
        found.sort_unstable();
        Ok(Some(found))
    }

    /// Calls `each` with every page that has some of the rows, the first row of the page, and which
    /// of the rows those are, until it says no. Gives the dictionary, packed; `None` where a page is
    /// not as they are here, or `each` said no.
    fn pages(
        &self,
        rows: &[usize],
        mut each: impl FnMut(&Data, usize, std::ops::Range<usize>) -> Result<bool>,
    ) -> Result<Option<Option<Page>>> {
        let Some(locations) = self.footer.pages(self.group, self.leaf) else { return Ok(None) };
        let mut reader = self.reader()?;
        let mut dictionary = None;
        let (mut page, mut done) = (0, 0);
        while done < rows.len()
            && let Some(next) = reader.peek_next_page()?
        {
            if next.is_dict {
                if self.fetched.dictionary(self.group, self.leaf).is_some() {
                    reader.skip_next_page()?;
                } else {
                    dictionary = reader.get_next_page()?;
                }
                continue;
            }
            let first = |at: usize| {
                let first = locations.get(at).map(|page| usize::try_from(page.first_row_index));
                first.map_or(self.footer.rows(self.group), Result::unwrap_or_default)
            };
            let (first, end) = (first(page), first(page + 1));
            page += 1;
            let here = rows[done..].partition_point(|row| *row < end);
            if here == 0 {
                reader.skip_next_page()?;
                continue;
            }
            let data = self.data(reader.get_next_page()?)?;
            let Some(data) = data.filter(|data| first + data.rows == end) else { return Ok(None) };
            if !each(&data, first, done..done + here)? {
                return Ok(None);
            }
            done += here;
        }
        Ok((done == rows.len()).then_some(dictionary))
    }

    fn reader(&self) -> Result<SerializedPageReader<Fetched>> {
        let column = self.footer.metadata.row_group(self.group).column(self.leaf);
        let pages = self.footer.pages(self.group, self.leaf).map(<[_]>::to_vec);
        SerializedPageReader::new(
            Arc::clone(self.fetched),
            column,
            self.footer.rows(self.group),
            pages,
        )
    }

    /// `None` where it is not a page as they are written here.
    fn data(&self, page: Option<Page>) -> Result<Option<Data>> {
        let zstd = self.footer.zstd(self.group, self.leaf);
        let column = self.footer.metadata.file_metadata().schema_descr().column(self.leaf);
        match page {
            Some(page @ Page::DataPageV2 { .. }) => Ok(Data::second(page, zstd)),
            Some(page @ Page::DataPage { .. }) if column.max_rep_level() == 0 => {
                let page = if zstd { unpacked(page)? } else { page };
                Data::first(page, column.max_def_level() > 0)
            }
            _ => Ok(None),
        }
    }

    fn dictionary(&self, page: Option<Page>) -> Result<Page> {
        let Some(page) = page else { return Err(damaged("a dictionary")) };
        if self.footer.zstd(self.group, self.leaf) { unpacked(page) } else { Ok(page) }
    }

    /// The same where the last reader may have kept it, and the next may want it.
    fn kept_dictionary(&self, page: Option<Page>) -> Result<Bytes> {
        if let Some(kept) = self.fetched.dictionary(self.group, self.leaf) {
            return Ok(kept.buffer().clone());
        }
        let page = self.dictionary(page)?;
        self.fetched.keep(self.group, self.leaf, &page);
        Ok(page.buffer().clone())
    }
}

impl Data {
    /// A page of version 1 without lists, unpacked. Each row is a value there.
    fn first(page: Page, nullable: bool) -> Result<Option<Self>> {
        let Page::DataPage { buf, num_values, encoding, def_level_encoding, .. } = &page else {
            return Ok(None);
        };
        if nullable && *def_level_encoding != Encoding::RLE {
            return Ok(None);
        }
        let levels = if nullable {
            let length = buf.first_chunk().map(|length| u32::from_le_bytes(*length) as usize);
            4..4 + length.ok_or_else(|| damaged("a page"))?
        } else {
            0..0
        };
        let (encoding, values) = (*encoding, *num_values as usize);
        let (rows, nulls, packed, repetitions) = (values, None, false, 0);
        Ok(Some(Self { page, packed, rows, values, nulls, encoding, repetitions, levels }))
    }

    fn second(page: Page, zstd: bool) -> Option<Self> {
        let Page::DataPageV2 {
            num_values,
            encoding,
            num_nulls,
            num_rows,
            def_levels_byte_len,
            rep_levels_byte_len,
            ..
        } = &page
        else {
            return None;
        };
        Some(Self {
            packed: zstd,
            rows: *num_rows as usize,
            values: *num_values as usize,
            nulls: Some(*num_nulls as usize),
            encoding: *encoding,
            repetitions: *rep_levels_byte_len as usize,
            levels: 0..(*def_levels_byte_len + *rep_levels_byte_len) as usize,
            page,
        })
    }

    /// Levels of repetition, and of definition.
    fn levels(&self) -> Result<(&[u8], &[u8])> {
        let levels = self.page.buffer().get(self.levels.clone());
        let levels = levels.and_then(|levels| levels.split_at_checked(self.repetitions));
        levels.ok_or_else(|| damaged("a page"))
    }

    /// The bytes after the levels.
    fn unpacked(&self) -> Result<Bytes> {
        let page = if self.packed { unpacked(self.page.clone())? } else { self.page.clone() };
        let bytes = page.buffer();
        if bytes.len() < self.levels.end {
            return Err(damaged("a page"));
        }
        Ok(bytes.slice(self.levels.end..))
    }

    /// Which of the rows have a value, and how many values come before it.
    fn present(
        &self,
        nullable: bool,
        first: usize,
        rows: &[usize],
    ) -> Result<(Vec<usize>, Vec<usize>)> {
        if !nullable || self.nulls == Some(0) {
            return Ok((0..rows.len()).zip(rows.iter().map(|row| row - first)).unzip());
        }
        if self.nulls == Some(self.values) {
            return Ok(Default::default());
        }
        let (_, definitions) = self.levels()?;
        let mut definitions = Runs::new(definitions, 1)?;
        let (mut nth, mut ranks) = (Vec::new(), Vec::new());
        let (mut row, mut rank) = (first, 0);
        for (at, wanted) in rows.iter().enumerate() {
            rank += definitions.ones(wanted - row)?;
            if definitions.next()? == 1 {
                nth.push(at);
                ranks.push(rank);
                rank += 1;
            }
            row = wanted + 1;
        }
        Ok((nth, ranks))
    }
}

/// The places in a dictionary that a page has.
fn places(values: &[u8]) -> Result<Runs<'_>> {
    let (width, runs) = values.split_first().ok_or_else(|| damaged("a page"))?;
    Runs::new(runs, usize::from(*width))
}

impl Shape {
    /// The values at these places, in order; `None` where the encoding is not known here.
    fn find(self, encoding: Encoding, bytes: &Bytes, ranks: &[usize]) -> Result<Option<Found>> {
        Ok(Some(match encoding {
            Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY => {
                Found::Places(each(&mut places(bytes)?, ranks)?)
            }
            Encoding::PLAIN => Found::Values(self.plain(bytes, ranks)?),
            Encoding::RLE if self.physical == Type::BOOLEAN => {
                let runs = bytes.get(4..).ok_or_else(|| damaged("a page of bools"))?;
                let bools = each(&mut Runs::new(runs, 1)?, ranks)?;
                Found::Values(bools.into_iter().map(|bool| Cell::Int(i64::from(bool))).collect())
            }
            Encoding::DELTA_BINARY_PACKED => {
                Found::Values(delta::numbers(bytes, ranks)?.into_iter().map(Cell::Int).collect())
            }
            Encoding::BYTE_STREAM_SPLIT if self.physical == Type::DOUBLE => {
                let doubles = ranks.iter().map(|rank| split(bytes, *rank).map(Cell::Int));
                Found::Values(doubles.collect::<Result<_>>()?)
            }
            _ => return Ok(None),
        }))
    }

    /// Values one after the other as they are, at places in order, of which some may be the same.
    fn plain(self, bytes: &Bytes, ranks: &[usize]) -> Result<Vec<Cell>> {
        let short = || damaged("a page of values");
        let at = |rank: usize, width: usize| {
            let from = rank.checked_mul(width).ok_or_else(short)?;
            let to = from.checked_add(width).filter(|to| *to <= bytes.len()).ok_or_else(short)?;
            Ok(bytes.slice(from..to))
        };
        let cell = |rank: &usize| match self.physical {
            Type::BOOLEAN => {
                let byte = bytes.get(rank / 8).ok_or_else(short)?;
                Ok(Cell::Int(i64::from(byte >> (rank % 8) & 1)))
            }
            Type::INT32 => {
                let value = at(*rank, 4)?.first_chunk().map(|chunk| i32::from_le_bytes(*chunk));
                value.map(|value| Cell::Int(i64::from(value))).ok_or_else(short)
            }
            Type::INT64 | Type::DOUBLE => {
                let value = at(*rank, 8)?.first_chunk().map(|chunk| i64::from_le_bytes(*chunk));
                value.map(Cell::Int).ok_or_else(short)
            }
            Type::FIXED_LEN_BYTE_ARRAY => at(*rank, self.width).map(Cell::Bytes),
            _ => Err(damaged("a type of values")),
        };
        if self.physical == Type::BYTE_ARRAY {
            return texts(bytes, ranks);
        }
        ranks.iter().map(cell).collect()
    }
}

/// The numbers at these places.
fn each(runs: &mut Runs<'_>, places: &[usize]) -> Result<Vec<u32>> {
    let mut passed = 0;
    let number = |place: &usize| {
        runs.skip(place - passed)?;
        passed = place + 1;
        runs.next()
    };
    places.iter().map(number).collect()
}

/// The bits of a double whose bytes stand apart: all first ones, then all second ones, and so on.
fn split(bytes: &[u8], rank: usize) -> Result<i64> {
    let count = bytes.len() / 8;
    if rank >= count {
        return Err(damaged("a page of doubles"));
    }
    let bits = (0..8).map(|byte| u64::from(bytes[byte * count + rank]) << (8 * byte));
    Ok(bits.sum::<u64>().cast_signed())
}

/// Texts with their lengths before them.
fn texts(bytes: &Bytes, ranks: &[usize]) -> Result<Vec<Cell>> {
    let short = || damaged("a page of texts");
    let (mut at, mut rank) = (0, 0);
    let mut cells = Vec::with_capacity(ranks.len());
    for wanted in ranks {
        loop {
            let length = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>).ok_or_else(short)?;
            let end = at + 4 + u32::from_le_bytes(*length) as usize;
            if rank == *wanted {
                let text = (end <= bytes.len()).then(|| bytes.slice(at + 4..end));
                cells.push(Cell::Bytes(text.ok_or_else(short)?));
                break;
            }
            (at, rank) = (end, rank + 1);
        }
    }
    Ok(cells)
}
