//! What is decoded of a file for some columns of an answer, and how these are made of it.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{FieldRef, Schema};
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use parquet::arrow::{FieldLevels, ProjectionMask, parquet_to_arrow_field_levels};

use super::chunks::{Fetched, Group};
use super::footer::{Footer, failed};
use super::project::project;
use super::request::ReadColumn;
use super::rows::Rows;
use super::shape::{from_file, remainder_name};
use crate::catalog::FileEntry;
use crate::error::Error;
use crate::schema::{MapColumn, fixed_fields};

/// Rows of one batch.
const BATCH_ROWS: usize = 8_192;

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
        let remainders = fixed.iter().map(|field| remainder_name(field.name()));
        let names = fixed.iter().map(|field| field.name().clone()).chain(remainders);
        let names: HashSet<String> = names.chain(attributes.iter().cloned()).collect();
        let roots = schema.root_schema().get_fields().iter().enumerate();
        let roots = roots.filter(|(_, root)| names.contains(root.name())).map(|(at, _)| at);
        let mask = ProjectionMask::roots(schema, roots);
        let leaves = (0..schema.num_columns()).filter(|leaf| mask.leaf_included(*leaf)).collect();
        let levels = parquet_to_arrow_field_levels(schema, mask, Some(&footer.types));
        let levels = levels.map_err(|source| failed(&file.path(), source))?;
        Ok(Self { file: Arc::clone(file), fixed, attributes, columns, levels, leaves })
    }

    /// The bytes of a row group in which its columns have these rows; whole pages, and where there
    /// are some, the dictionaries before them.
    pub(super) fn ranges(
        &self,
        footer: &Footer,
        group: usize,
        rows: &Rows,
        wanted: &mut impl FnMut(Range<u64>),
    ) {
        for leaf in &self.leaves {
            let (start, length) = footer.metadata.row_group(group).column(*leaf).byte_range();
            let end = start + length;
            let Some(pages) = footer.pages(group, *leaf).filter(|pages| !pages.is_empty()) else {
                wanted(start..end);
                continue;
            };
            let place = |offset: i64| u64::try_from(offset).unwrap_or_default();
            let row = |index: i64| usize::try_from(index).unwrap_or_default();
            let first = place(pages[0].offset);
            if first > start {
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
    }

    /// About how many bytes of a row group that is at most.
    pub(super) fn bytes(&self, footer: &Footer, group: usize) -> u64 {
        let column = |leaf: &usize| footer.metadata.row_group(group).column(*leaf).byte_range().1;
        self.leaves.iter().map(column).sum()
    }

    /// Batches of these rows of a group, in order.
    pub(super) fn decode(
        self: &Arc<Self>,
        footer: &Footer,
        fetched: &Arc<Fetched>,
        group: usize,
        rows: &Rows,
    ) -> Result<Decoding, Error> {
        let source = Arc::clone(self);
        if self.leaves.is_empty() {
            return Ok(Decoding { source, batches: Batches::Counted(rows.count()) });
        }
        // Whole pages are fetched, so that rows between those wanted are there.
        let coarse = rows.coarse();
        let selection = (!coarse.is_all()).then(|| coarse.selection());
        let group = Group { footer, at: group, fetched };
        // Each column takes memory for a batch before it reads a row.
        let batch_rows = coarse.count().clamp(1, BATCH_ROWS);
        let reader = ParquetRecordBatchReader::try_new_with_row_groups(
            &self.levels,
            &group,
            batch_rows,
            selection,
        );
        let reader = reader.map_err(|source| failed(&self.file.path(), source))?;
        let mask = rows.mask_in(&coarse);
        Ok(Decoding { source, batches: Batches::Read { reader, mask, done: 0 } })
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

    fn misshapen(&self, source: arrow::error::ArrowError) -> Error {
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
    Read {
        reader: ParquetRecordBatchReader,
        /// Which of the rows that are read are wanted.
        mask: Option<arrow::buffer::BooleanBuffer>,
        done: usize,
    },
}

impl Iterator for Decoding {
    type Item = Result<RecordBatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (batch, wanted) = match &mut self.batches {
                Batches::Counted(0) => return None,
                Batches::Counted(rows) => {
                    let here = (*rows).min(BATCH_ROWS);
                    *rows -= here;
                    let options = RecordBatchOptions::new().with_row_count(Some(here));
                    let none = Arc::new(Schema::empty());
                    (RecordBatch::try_new_with_options(none, Vec::new(), &options), None)
                }
                Batches::Read { reader, mask, done } => {
                    let batch = reader.next()?;
                    let rows = batch.as_ref().map_or(0, RecordBatch::num_rows);
                    let wanted = mask.as_ref().map(|mask| mask.slice(*done, rows));
                    *done += rows;
                    (batch, wanted)
                }
            };
            let finished =
                batch.map_err(|source| self.source.misshapen(source)).and_then(|batch| {
                    let batch = match wanted {
                        Some(wanted) => filter_record_batch(&batch, &wanted.into())
                            .map_err(|source| self.source.misshapen(source))?,
                        None => batch,
                    };
                    self.source.finish(&batch)
                });
            if finished.as_ref().is_ok_and(|batch| batch.num_rows() == 0) {
                continue;
            }
            return Some(finished);
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
