//! What of a file need not be fetched: row groups by statistics and bloom filters, pages by the
//! page index.
//!
//! Invariant: pruning leaves out only rows that cannot match. Where anything is unknown, the rows
//! stay.

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::errors::ParquetError;
use parquet::schema::types::SchemaDescriptor;

use super::footer::Footer;
use super::request::{Bound, ReadColumn, Values};
use super::rows::Rows;
use crate::catalog::FileEntry;
use crate::schema::AttributeType;

/// Bounds that the statistics of one file can be held against.
#[derive(Debug)]
pub(super) struct Pruning<'a> {
    footer: &'a Footer,
    tests: Vec<Test<'a>>,
}

/// One bound and the column of the file that it is about.
#[derive(Debug)]
struct Test<'a> {
    /// As Arrow reads it.
    column: &'a Field,
    leaf: usize,
    /// Of a time, microseconds.
    values: Values,
}

impl<'a> Pruning<'a> {
    /// Over those bounds that statistics can tell something of.
    pub(super) fn new(file: &FileEntry, footer: &'a Footer, bounds: &[Bound]) -> Self {
        let tests = bounds.iter().filter_map(|bound| test(file, footer, bound));
        Self { footer, tests: tests.collect() }
    }

    /// The row groups that may have wanted rows.
    pub(super) fn row_groups(&self) -> Result<Vec<usize>, ParquetError> {
        let groups = self.footer.metadata.row_groups();
        let mut keep = vec![true; groups.len()];
        for test in &self.tests {
            let statistics = self.statistics(test)?;
            let mins = statistics.row_group_mins(groups)?;
            let maxes = statistics.row_group_maxes(groups)?;
            let keeps = test.keeps(&mins, &maxes);
            keep.iter_mut().zip(keeps).for_each(|(keep, here)| *keep &= here);
        }
        Ok((0..keep.len()).filter(|at| keep[*at]).collect())
    }

    /// The rows of a group whose pages may have wanted rows.
    pub(super) fn rows(&self, group: usize) -> Result<Rows, ParquetError> {
        let metadata = &self.footer.metadata;
        let all = self.footer.rows(group);
        let mut rows = Rows::all(all);
        let (Some(columns), Some(offsets)) = (metadata.column_index(), metadata.offset_index())
        else {
            return Ok(rows);
        };
        for test in &self.tests {
            let Some(pages) = self.footer.pages(group, test.leaf) else { continue };
            // The row group's own statistics said as much of it.
            if pages.len() <= 1 {
                continue;
            }
            let statistics = self.statistics(test)?;
            let mins = statistics.data_page_mins(columns, offsets, &[group])?;
            let maxes = statistics.data_page_maxes(columns, offsets, &[group])?;
            let keeps = test.keeps(&mins, &maxes);
            if keeps.len() != pages.len() {
                continue;
            }
            let first = |at: usize| {
                let page = pages.get(at).map(|page| usize::try_from(page.first_row_index));
                page.map_or(all, |first| first.unwrap_or_default())
            };
            let kept = (0..pages.len()).filter(|at| keeps[*at]).map(|at| first(at)..first(at + 1));
            rows = rows.intersection(&Rows::of(all, kept));
        }
        Ok(rows)
    }

    fn statistics(&self, test: &'a Test<'a>) -> Result<StatisticsConverter<'a>, ParquetError> {
        let schema = self.footer.metadata.file_metadata().schema_descr();
        StatisticsConverter::from_column_index(test.leaf, test.column, schema)
    }
}

/// The bound as statistics of this file know its column; `None` where they do not.
fn test<'a>(file: &FileEntry, footer: &'a Footer, bound: &Bound) -> Option<Test<'a>> {
    const NANOS: i64 = 1_000;
    let name = match &bound.column {
        ReadColumn::Fixed(name) => name.clone(),
        ReadColumn::Map(_) => return None,
        ReadColumn::Attribute { map, key, kind } => {
            let mut columns = file.layout.attributes.iter();
            // A value in the overflow is not in the statistics, and one of another type has
            // another order.
            columns.find(|column| {
                column.map == *map && column.key == *key && column.kind == *kind && column.whole
            })?;
            map.column(key)
        }
    };
    let schema = footer.metadata.file_metadata().schema_descr();
    let (_, column) = footer.types.find(&name)?;
    let leaf = leaf(schema, &name)?;
    let is_text = AttributeType::of(column.data_type()) == Some(AttributeType::String);
    let values = match (&bound.values, column.data_type()) {
        (Values::Ints { min, max }, DataType::Timestamp(_, _)) => {
            Values::Ints { min: min.div_euclid(NANOS), max: max.div_euclid(NANOS) }
        }
        (values @ Values::Ints { .. }, DataType::Int64 | DataType::Int32) => values.clone(),
        (values @ (Values::Texts(_) | Values::Prefix(_)), _) if is_text => values.clone(),
        _ => return None,
    };
    Some(Test { column, leaf, values })
}

impl Test<'_> {
    /// Whether rows between a smallest and a largest value may match, for each pair.
    fn keeps(&self, mins: &ArrayRef, maxes: &ArrayRef) -> Vec<bool> {
        let kept = match &self.values {
            Values::Ints { min, max } => keeps_ints(mins, maxes, *min, *max),
            Values::Texts(texts) => keeps_texts(mins, maxes, |low, high| {
                texts.iter().any(|text| low <= text.as_str() && text.as_str() <= high)
            }),
            Values::Prefix(prefix) => keeps_texts(mins, maxes, |low, high| {
                // The text that begins so lies between, or one of the ends begins so.
                (low <= prefix.as_str() && prefix.as_str() <= high) || low.starts_with(prefix)
            }),
            Values::Ids(_) => None,
        };
        kept.unwrap_or_else(|| vec![true; mins.len()])
    }
}

fn keeps_ints(mins: &ArrayRef, maxes: &ArrayRef, min: i64, max: i64) -> Option<Vec<bool>> {
    let ints = |ends: &ArrayRef| {
        let ends = cast(ends, &DataType::Int64).ok()?;
        ends.as_primitive_opt::<Int64Type>().cloned()
    };
    let (mins, maxes) = ints(mins).zip(ints(maxes))?;
    let keeps = mins.iter().zip(&maxes).map(|ends| match ends {
        (Some(low), Some(high)) => low <= max && high >= min,
        _ => true,
    });
    Some(keeps.collect())
}

fn keeps_texts(
    mins: &ArrayRef,
    maxes: &ArrayRef,
    may: impl Fn(&str, &str) -> bool,
) -> Option<Vec<bool>> {
    let texts = |ends: &ArrayRef| -> Option<StringArray> {
        let ends = cast(ends, &DataType::Utf8).ok()?;
        ends.as_string_opt::<i32>().cloned()
    };
    let (mins, maxes) = texts(mins).zip(texts(maxes))?;
    let keeps = mins.iter().zip(&maxes).map(|ends| match ends {
        (Some(low), Some(high)) => may(low, high),
        _ => true,
    });
    Some(keeps.collect())
}

/// Where a leaf column that is no part of another stands.
pub(super) fn leaf(schema: &SchemaDescriptor, name: &str) -> Option<usize> {
    schema.columns().iter().position(|column| column.path().parts() == [name])
}
