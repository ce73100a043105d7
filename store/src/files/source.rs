//! What is decoded of a file for some columns of an answer, and how these are made of it.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, RecordBatchReader};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{FieldRef, Schema};
use arrow::error::ArrowError;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use parquet::arrow::{FieldLevels, ProjectionMask, parquet_to_arrow_field_levels};
use parquet::errors::ParquetError;

use super::chunks::{Fetched, Group};
use super::footer::{Footer, failed};
use super::point::{self, Points};
use super::project::project;
use super::request::ReadColumn;
use super::rows::Rows;
use super::shape::{from_file, parts};
use crate::catalog::FileEntry;
use crate::error::Error;
use crate::schema::{MapColumn, fixed_fields};
use crate::work::both;

/// Rows of one batch.
const BATCH_ROWS: usize = 8_192;

/// From so many columns on, few rows of them are made on two threads: it costs a tenth of a
/// millisecond at most, and a span has some 75.
const COLUMNS_IN_TWO_MIN: usize = 32;

/// See the module.
#[derive(Debug)]
pub(super) struct Source {
    file: Arc<FileEntry>,
    /// The columns of the row shape to decode.
    fixed: Vec<FieldRef>,
    attributes: Vec<String>,
    /// What to make of them; none for whole rows.
    columns: Option<Vec<ReadColumn>>,
    levels: FieldLevels,
    leaves: Vec<usize>,
    roots: Vec<Root>,
}

/// A column of the file, and its leaves.
#[derive(Debug)]
struct Root {
    field: FieldRef,
    leaves: Vec<usize>,
}

impl Source {
    /// For these columns, or for whole rows in row shape.
    pub(super) fn new(
        file: &Arc<FileEntry>,
        footer: &Footer,
        columns: Option<Vec<ReadColumn>>,
    ) -> Result<Self, Error> {
        let wanted = |name: &str| columns.as_ref().is_none_or(|columns| needs(file, columns, name));
        let fixed = fixed_fields(file.table).into_iter().filter(|field| wanted(field.name()));
        let fixed: Vec<FieldRef> = fixed.collect();
        let attributes = file.layout.attributes.iter().map(|column| column.map.column(&column.key));
        let attributes: Vec<String> = attributes.filter(|name| wanted(name)).collect();
        let schema = footer.metadata.file_metadata().schema_descr();
        let names = fixed.iter().flat_map(|field| parts(field.name()));
        let names: HashSet<String> = names.chain(attributes.iter().cloned()).collect();
        let roots = schema.root_schema().get_fields().iter().enumerate();
        let roots = roots.filter(|(_, root)| names.contains(root.name())).map(|(at, _)| at);
        let mask = ProjectionMask::roots(schema, roots);
        let leaves = (0..schema.num_columns()).filter(|leaf| mask.leaf_included(*leaf));
        let leaves: Vec<usize> = leaves.collect();
        let mut roots: Vec<Root> = Vec::new();
        for same in leaves.chunk_by(|one, two| {
            schema.get_column_root_idx(*one) == schema.get_column_root_idx(*two)
        }) {
            let field = footer.types.get(schema.get_column_root_idx(same[0]));
            roots.extend(
                field.map(|field| Root { field: Arc::clone(field), leaves: same.to_vec() }),
            );
        }
        let levels = parquet_to_arrow_field_levels(schema, mask, Some(&footer.types));
        let levels = levels.map_err(|source| failed(&file.path(), source))?;
        Ok(Self { file: Arc::clone(file), fixed, attributes, columns, levels, leaves, roots })
    }

    /// The bytes of a row group in which its columns have these rows and which are not here: whole
    /// pages, and where there are some, the dictionaries before them. For few rows, of which columns
    /// that the footer tells need none, and dictionaries that are kept are not needed, as in
    /// [`Self::decode`]: some of these rows may be decoded then, and no others.
    pub(super) fn missing(
        &self,
        footer: &Footer,
        group: usize,
        rows: &Rows,
        fetched: &mut Fetched,
        missing: &mut Vec<Range<u64>>,
    ) {
        let few = rows.count() <= point::ROWS_MAX;
        for Root { field, leaves } in &self.roots {
            if few && point::needs_no_pages(footer, group, field, leaves) {
                continue;
            }
            for leaf in leaves {
                let recalled = few && fetched.recall(group, *leaf);
                leaf_ranges(footer, group, *leaf, rows, recalled, &mut |range| {
                    if !fetched.has(&range) {
                        missing.push(range);
                    }
                });
            }
        }
    }

    /// What is decoded of the file.
    pub(super) fn leaves(&self) -> &[usize] {
        &self.leaves
    }

    /// Batches of these rows of a group, in order.
    pub(super) fn decode(
        self: &Arc<Self>,
        footer: &Arc<Footer>,
        fetched: &Arc<Fetched>,
        group: usize,
        rows: &Rows,
    ) -> Result<Decoding, Error> {
        let source = Arc::clone(self);
        if self.leaves.is_empty() {
            return Ok(Decoding { source, batches: Batches::Counted(rows.count()) });
        }
        if rows.count() <= point::ROWS_MAX {
            let batch = self.points(footer, fetched, group, rows)?;
            return Ok(Decoding { source, batches: Batches::Made(Some(batch)) });
        }
        let group = Group { footer, at: group, fetched };
        let read = Read::new(&self.levels, &group, rows).map_err(|source| self.failed(source))?;
        Ok(Decoding { source, batches: Batches::Read(read) })
    }

    /// The same for few rows, in one batch. Many columns are made on two threads.
    fn points(
        self: &Arc<Self>,
        footer: &Arc<Footer>,
        fetched: &Arc<Fetched>,
        group: usize,
        rows: &Rows,
    ) -> Result<RecordBatch, Error> {
        let points = Points { footer, group, fetched };
        let places: Arc<[usize]> = rows.places().into();
        let columns = match self.roots.len() {
            all @ ..COLUMNS_IN_TWO_MIN => self.columns(points, 0..all, &places),
            _ => self.columns_in_two(footer, fetched, group, &places),
        };
        let mut columns = columns.map_err(|source| self.failed(source))?;
        let left = self.roots.iter().zip(&columns).filter(|(_, column)| column.is_none());
        let left: Vec<usize> = left.flat_map(|(root, _)| root.leaves.iter().copied()).collect();
        if !left.is_empty() {
            let rest = self.rest(points, left, rows)?;
            let mut rest = rest.columns().iter().cloned();
            let missing = columns.iter_mut().filter(|column| column.is_none());
            missing.for_each(|column| *column = rest.next());
        }
        let fields: Vec<_> = self.roots.iter().map(|root| Arc::clone(&root.field)).collect();
        let columns: Vec<ArrayRef> = columns.into_iter().flatten().collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
            .map_err(|source| self.misshapen(source))
    }

    /// Some of the columns at these rows; none for each that is left to Parquet's reader.
    fn columns(
        &self,
        points: Points<'_>,
        roots: Range<usize>,
        places: &[usize],
    ) -> Result<Vec<Option<ArrayRef>>, ParquetError> {
        let column = |root: &Root| points.column(&root.field, &root.leaves, places);
        self.roots[roots].iter().map(column).collect()
    }

    /// All of them, each half on a thread.
    fn columns_in_two(
        self: &Arc<Self>,
        footer: &Arc<Footer>,
        fetched: &Arc<Fetched>,
        group: usize,
        places: &Arc<[usize]>,
    ) -> Result<Vec<Option<ArrayRef>>, ParquetError> {
        let (all, half) = (self.roots.len(), self.roots.len() / 2);
        let shared = (Arc::clone(self), Arc::clone(footer), Arc::clone(fetched));
        let shared_places = Arc::clone(places);
        let first = move || {
            let (source, footer, fetched) = shared;
            let points = Points { footer: &footer, group, fetched: &fetched };
            source.columns(points, 0..half, &shared_places)
        };
        let second = || self.columns(Points { footer, group, fetched }, half..all, places);
        let (first, second) = both(first, second);
        let mut columns = first?;
        columns.extend(second?);
        Ok(columns)
    }

    /// The columns of these leaves, by Parquet's reader.
    fn rest(
        &self,
        points: Points<'_>,
        left: Vec<usize>,
        rows: &Rows,
    ) -> Result<RecordBatch, Error> {
        let Points { footer, group, fetched } = points;
        let schema = footer.metadata.file_metadata().schema_descr();
        let mask = ProjectionMask::leaves(schema, left);
        let levels = parquet_to_arrow_field_levels(schema, mask, Some(&footer.types));
        let levels = levels.map_err(|source| self.failed(source))?;
        let group = Group { footer, at: group, fetched };
        let mut read = Read::new(&levels, &group, rows).map_err(|source| self.failed(source))?;
        let schema = read.reader.schema();
        let batches = read.by_ref().collect::<Result<Vec<_>, _>>();
        batches
            .and_then(|batches| concat_batches(&schema, &batches))
            .map_err(|source| self.misshapen(source))
    }

    /// Those of the rows whose id, the one column here, is one of these; `None` where that is left
    /// to a filter.
    pub(super) fn with_id(
        &self,
        points: Points<'_>,
        rows: &Rows,
        ids: &[Vec<u8>],
    ) -> Result<Option<Rows>, Error> {
        let [leaf] = self.leaves.as_slice() else { return Ok(None) };
        points.with_id(*leaf, rows, ids).map_err(|source| self.failed(source))
    }

    /// A batch of the file as rows in row shape, or as the columns asked for.
    fn finish(&self, batch: &RecordBatch) -> Result<RecordBatch, Error> {
        let rows = self.row_shape(batch)?;
        match &self.columns {
            None => Ok(rows),
            Some(columns) => project(&rows, self.file.table, columns),
        }
    }

    fn row_shape(&self, batch: &RecordBatch) -> Result<RecordBatch, Error> {
        let find = |name: &str| batch.column_by_name(name);
        let mut fields = Vec::with_capacity(self.fixed.len() + self.attributes.len());
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(fields.capacity());
        for field in &self.fixed {
            let column = from_file(field, &find).map_err(|source| self.misshapen(source))?;
            let column = column.ok_or_else(|| self.damaged(field.name()))?;
            fields.push(Arc::clone(field));
            columns.push(column);
        }
        for name in &self.attributes {
            let (at, field) =
                batch.schema_ref().fields().find(name).ok_or_else(|| self.damaged(name))?;
            fields.push(Arc::clone(field));
            columns.push(Arc::clone(batch.column(at)));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
            .map_err(|source| self.misshapen(source))
    }

    fn failed(&self, source: ParquetError) -> Error {
        failed(&self.file.path(), source)
    }

    fn misshapen(&self, source: ArrowError) -> Error {
        Error::Arrow {
            action: format!("bring rows of `{}` into row shape", self.file.path()),
            source,
        }
    }

    fn damaged(&self, column: &str) -> Error {
        Error::Damaged { path: self.file.path(), reason: format!("it has no column `{column}`") }
    }
}

/// Rows of one row group as they are decoded.
pub(super) struct Decoding {
    source: Arc<Source>,
    batches: Batches,
}

enum Batches {
    /// Rows of which no column is wanted.
    Counted(usize),
    /// One batch, made already.
    Made(Option<RecordBatch>),
    Read(Read),
}

impl Iterator for Decoding {
    type Item = Result<RecordBatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let batch = match &mut self.batches {
                Batches::Counted(0) => return None,
                Batches::Counted(rows) => {
                    let here = (*rows).min(BATCH_ROWS);
                    *rows -= here;
                    let options = RecordBatchOptions::new().with_row_count(Some(here));
                    let none = Arc::new(Schema::empty());
                    RecordBatch::try_new_with_options(none, Vec::new(), &options)
                }
                Batches::Made(batch) => Ok(batch.take()?),
                Batches::Read(read) => read.next()?,
            };
            let batch = batch.map_err(|source| self.source.misshapen(source));
            let finished = batch.and_then(|batch| self.source.finish(&batch));
            if finished.as_ref().is_ok_and(|batch| batch.num_rows() == 0) {
                continue;
            }
            return Some(finished);
        }
    }
}

/// Rows as Parquet's reader gives them, those left out that are not wanted.
struct Read {
    reader: ParquetRecordBatchReader,
    /// Which of the rows that are read are wanted.
    mask: Option<BooleanBuffer>,
    done: usize,
}

impl Read {
    fn new(levels: &FieldLevels, group: &Group<'_>, rows: &Rows) -> Result<Self, ParquetError> {
        // Whole pages are fetched, so that rows between those wanted are there.
        let coarse = rows.coarse();
        let selection = (!coarse.is_all()).then(|| coarse.selection());
        // Each column takes memory for a batch before it reads a row.
        let batch_rows = coarse.count().clamp(1, BATCH_ROWS);
        let reader = ParquetRecordBatchReader::try_new_with_row_groups(
            levels, group, batch_rows, selection,
        )?;
        Ok(Self { reader, mask: rows.mask_in(&coarse), done: 0 })
    }
}

impl Iterator for Read {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?;
        let Some(mask) = &self.mask else { return Some(batch) };
        let rows = batch.as_ref().map_or(0, RecordBatch::num_rows);
        let wanted = mask.slice(self.done, rows);
        self.done += rows;
        Some(batch.and_then(|batch| filter_record_batch(&batch, &wanted.into())))
    }
}

/// How many bytes of a row group hold these rows of some leaves, at most.
pub(super) fn bytes(footer: &Footer, group: usize, leaves: &[usize], rows: &Rows) -> u64 {
    let mut bytes = 0;
    for leaf in leaves {
        leaf_ranges(footer, group, *leaf, rows, false, &mut |range| {
            bytes += range.end - range.start;
        });
    }
    bytes
}

/// The bytes of one leaf in which it has these rows, without its dictionary where that is here already.
fn leaf_ranges(
    footer: &Footer,
    group: usize,
    leaf: usize,
    rows: &Rows,
    recalled: bool,
    wanted: &mut impl FnMut(Range<u64>),
) {
    let (start, length) = footer.metadata.row_group(group).column(leaf).byte_range();
    let Some(pages) = footer.pages(group, leaf).filter(|pages| !pages.is_empty()) else {
        wanted(start..start + length);
        return;
    };
    let place = |offset: i64| u64::try_from(offset).unwrap_or_default();
    let row = |index: i64| usize::try_from(index).unwrap_or_default();
    let first = place(pages[0].offset);
    if first > start && !recalled {
        wanted(start..first);
    }
    for (at, page) in pages.iter().enumerate() {
        let next = pages.get(at + 1).map_or(footer.rows(group), |n| row(n.first_row_index));
        if rows.touch(row(page.first_row_index), next) {
            let from = place(page.offset);
            wanted(from..from + u64::try_from(page.compressed_page_size).unwrap_or(0));
        }
    }
}

/// Whether some column that is asked for is made from this column of the row shape.
fn needs(file: &FileEntry, columns: &[ReadColumn], name: &str) -> bool {
    columns.iter().any(|column| match column {
        ReadColumn::Fixed(fixed) => fixed == name,
        ReadColumn::Map(map) => {
            *map.name() == *name || MapColumn::parse(name).is_some_and(|(of, _)| of == *map)
        }
        ReadColumn::Attribute { map, key, .. } => {
            MapColumn::parse(name) == Some((*map, key))
                || (*map.name() == *name && may_overflow(file, *map, key))
        }
    })
}

fn may_overflow(file: &FileEntry, map: MapColumn, key: &str) -> bool {
    let layout = &file.layout;
    let column = layout.attributes.iter().find(|column| column.map == map && column.key == key);
    match column {
        Some(column) => !column.whole,
        None => {
            !layout.overflow_listed
                || layout.overflow.iter().any(|it| it.map == map && it.key == key)
        }
    }
}
