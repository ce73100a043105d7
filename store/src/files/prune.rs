//! What of a file need not be fetched: row groups by statistics and bloom filters, pages by the
//! page index.
//!
//! Invariant: pruning leaves out only rows that cannot match. Where anything is unknown, the rows
//! stay.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, TimeUnit, TimestampMicrosecondType};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::schema::types::SchemaDescriptor;

use crate::model::{Table, TimeRange};

/// Which rows are wanted, as far as statistics can tell.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// Rows of this time.
    pub(super) time: TimeRange,
    /// Rows of this service.
    pub(super) service_name: Option<String>,
}

enum Condition<'a> {
    /// Microseconds, `start` in and `end` out.
    Time {
        start: i64,
        end: i64,
    },
    Service(&'a str),
}

impl Condition<'_> {
    /// Whether rows between a smallest and a largest value may match, for each pair.
    fn keeps(&self, mins: &ArrayRef, maxes: &ArrayRef) -> Vec<bool> {
        let either_null = |at| mins.is_null(at) || maxes.is_null(at);
        match self {
            Self::Time { start, end } => {
                let times = |ends: &'_ ArrayRef| {
                    ends.as_primitive_opt::<TimestampMicrosecondType>().cloned()
                };
                let Some((mins, maxes)) = times(mins).zip(times(maxes)) else {
                    return vec![true; mins.len()];
                };
                let may = |at| mins.value(at) < *end && maxes.value(at) >= *start;
                (0..mins.len()).map(|at| either_null(at) || may(at)).collect()
            }
            Self::Service(name) => {
                let pair = mins.as_string_opt::<i32>().zip(maxes.as_string_opt::<i32>());
                let Some((mins, maxes)) = pair else { return vec![true; mins.len()] };
                let may = |at| mins.value(at) <= *name && *name <= maxes.value(at);
                (0..mins.len()).map(|at| either_null(at) || may(at)).collect()
            }
        }
    }
}

impl Wanted {
    fn conditions(&self, table: Table) -> Vec<(Field, Condition<'_>)> {
        const NANOS: i64 = 1_000;
        let mut conditions = Vec::new();
        if self.time != TimeRange::ALL {
            let (start, end) = (self.time.start().0, self.time.end().0);
            let past = i64::from(end.rem_euclid(NANOS) > 0);
            let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
            conditions.push((
                Field::new(table.time_column(), micros, false),
                Condition::Time {
                    start: start.div_euclid(NANOS),
                    end: end.div_euclid(NANOS) + past,
                },
            ));
        }
        if let Some(name) = &self.service_name {
            let field = Field::new("service_name", DataType::Utf8, false);
            conditions.push((field, Condition::Service(name)));
        }
        conditions
    }

    /// The row groups that may have wanted rows.
    pub(super) fn row_groups(
        &self,
        table: Table,
        file: &ParquetMetaData,
    ) -> Result<Vec<usize>, ParquetError> {
        let mut keep = vec![true; file.num_row_groups()];
        for (field, condition) in self.conditions(table) {
            let schema = file.file_metadata().schema_descr();
            let Some(column) = leaf(schema, field.name()) else { continue };
            let statistics = StatisticsConverter::from_column_index(column, &field, schema)?;
            let mins = statistics.row_group_mins(file.row_groups())?;
            let maxes = statistics.row_group_maxes(file.row_groups())?;
            let keeps = condition.keeps(&mins, &maxes);
            keep.iter_mut().zip(keeps).for_each(|(keep, here)| *keep &= here);
        }
        Ok((0..keep.len()).filter(|at| keep[*at]).collect())
    }

    /// The rows of these row groups whose pages may have wanted rows; `None` where that is all of
    /// them or the file has no page index.
    pub(super) fn pages(
        &self,
        table: Table,
        file: &ParquetMetaData,
        row_groups: &[usize],
    ) -> Result<Option<RowSelection>, ParquetError> {
        let (Some(columns), Some(offsets)) = (file.column_index(), file.offset_index()) else {
            return Ok(None);
        };
        let mut all: Option<RowSelection> = None;
        for (field, condition) in self.conditions(table) {
            let schema = file.file_metadata().schema_descr();
            let Some(column) = leaf(schema, field.name()) else { continue };
            let statistics = StatisticsConverter::from_column_index(column, &field, schema)?;
            let mins = statistics.data_page_mins(columns, offsets, row_groups)?;
            let maxes = statistics.data_page_maxes(columns, offsets, row_groups)?;
            let rows = statistics.data_page_row_counts(offsets, file.row_groups(), row_groups)?;
            let Some(rows) = rows else { return Ok(None) };
            let keeps = condition.keeps(&mins, &maxes);
            if keeps.len() != rows.len() {
                return Ok(None);
            }
            let selectors = keeps.iter().zip(rows.values()).map(|(keep, rows)| {
                let rows = usize::try_from(*rows).unwrap_or(usize::MAX);
                if *keep { RowSelector::select(rows) } else { RowSelector::skip(rows) }
            });
            let selection = RowSelection::from(selectors.collect::<Vec<_>>());
            all = Some(match all {
                None => selection,
                Some(all) => all.intersection(&selection),
            });
        }
        Ok(all.filter(|all| all.skipped_row_count() > 0))
    }
}

/// Where a leaf column that is no part of another stands.
pub(super) fn leaf(schema: &SchemaDescriptor, name: &str) -> Option<usize> {
    schema.columns().iter().position(|column| column.path().parts() == [name])
}
