//! Sets of rows, and what becomes of a file some of whose rows are to go. Pure.
//!
//! Invariant: a row goes only where something that is due selects it, and nothing that stays does.

use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{and, and_not, or};
use arrow::datatypes::TimestampNanosecondType;

use crate::catalog::{FileEntry, FileLayout};
use crate::compaction::Keep;
use crate::error::Error;
use crate::files::{Bound, ReadColumn, ReadRequest, Values, project};
use crate::model::{Table, TimeRange};
use crate::ports::{Condition, RowPlace};

/// Rows of one table.
#[derive(Debug, Clone)]
pub(super) struct Selection {
    /// Of this time.
    pub(super) time: TimeRange,
    /// That this accepts; all where there is none.
    pub(super) condition: Option<Arc<dyn Condition>>,
}

/// What is to become of the rows of a table.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    /// Rows that are to go.
    pub(super) due: Vec<Selection>,
    /// Rows that rules keep for longer.
    pub(super) spared: Vec<Selection>,
    /// Rows that holds keep.
    pub(super) held: Vec<Selection>,
}

/// What is to become of one file.
#[derive(Debug)]
pub(super) enum Verdict {
    /// All its rows stay.
    Keep,
    /// All its rows go: nobody needs to read it.
    Drop,
    /// It must be read to know.
    Look(RowRule),
}

impl Selection {
    /// All rows of all time.
    pub(super) const ALL: Self = Self { time: TimeRange::ALL, condition: None };

    /// Whether a row of the file can be in it.
    pub(super) fn may_touch(&self, file: &FileEntry) -> bool {
        self.time.overlaps(&file.time)
            && self.condition.as_ref().is_none_or(|condition| may_match(condition.place(), file))
    }

    /// Whether every row of the file is in it.
    fn has_all(&self, file: &FileEntry) -> bool {
        let whole = self.time.start() <= file.time.start() && file.time.end() <= self.time.end();
        self.condition.is_none() && whole
    }

    /// Which rows are in it, given the time column first and then the columns at `places`.
    fn mask(&self, columns: &RecordBatch, places: &[usize]) -> Result<BooleanArray, Error> {
        let in_time = match self.time {
            TimeRange::ALL => BooleanArray::new(BooleanBuffer::new_set(columns.num_rows()), None),
            time => in_time(columns, time)?,
        };
        let Some(condition) = &self.condition else { return Ok(in_time) };
        let columns = columns.project(places).map_err(failed)?;
        let matches = condition.matches(&columns);
        let matches = matches
            .map_err(|source| Error::Condition { what: "apply a condition".to_owned(), source })?;
        and(&in_time, &matches).map_err(failed)
    }
}

/// Whether the catalog rules out that a row of the file matches.
fn may_match(place: &RowPlace, file: &FileEntry) -> bool {
    let Some(time) = place.time else { return false };
    let has = |map, key: &str| {
        let FileLayout { attributes, overflow, overflow_listed } = &*file.layout;
        !overflow_listed
            || attributes.iter().any(|column| column.map == map && column.key == key)
            || overflow.iter().any(|entry| entry.map == map && entry.key == key)
    };
    time.overlaps(&file.time) && place.keys.iter().all(|(map, key)| has(*map, key))
}

fn in_time(columns: &RecordBatch, time: TimeRange) -> Result<BooleanArray, Error> {
    let column = columns.columns().first();
    let times = column.and_then(|column| column.as_primitive_opt::<TimestampNanosecondType>());
    let Some(times) = times else {
        let source = arrow::error::ArrowError::SchemaError("it is not of nanoseconds".to_owned());
        return Err(Error::Arrow { action: "read the time of rows".to_owned(), source });
    };
    let within = times.values().iter().map(|at| time.contains(crate::model::UnixNanos(*at)));
    Ok(BooleanArray::new(within.collect(), None))
}

fn failed(source: arrow::error::ArrowError) -> Error {
    Error::Arrow { action: "select rows".to_owned(), source }
}

/// What is to become of a file.
pub(super) fn judge(mut wanted: Wanted, file: &FileEntry) -> Verdict {
    let Wanted { due, spared, held } = &mut wanted;
    for selections in [&mut *due, &mut *spared, &mut *held] {
        selections.retain(|selection| selection.may_touch(file));
    }
    let stays_whole = || spared.iter().chain(&*held).any(|selection| selection.has_all(file));
    if due.is_empty() || stays_whole() {
        return Verdict::Keep;
    }
    if spared.is_empty() && held.is_empty() && due.iter().any(|due| due.has_all(file)) {
        return Verdict::Drop;
    }
    Verdict::Look(RowRule::new(file.table, wanted))
}

/// Which rows of a file go, row by row.
#[derive(Debug, Clone)]
pub(super) struct RowRule {
    table: Table,
    wanted: Wanted,
    /// What is read: the time first, then what the conditions ask for.
    columns: Vec<ReadColumn>,
}

/// What becomes of the rows of a batch.
#[derive(Debug)]
pub(super) struct Fates {
    /// The rows that go.
    pub(super) goes: BooleanArray,
    /// Rows that would go, were there no hold.
    pub(super) held: u64,
}

impl RowRule {
    /// Rows of `table` by what is wanted of them.
    pub(super) fn new(table: Table, wanted: Wanted) -> Self {
        let mut columns = vec![ReadColumn::Fixed(table.time_column().to_owned())];
        let Wanted { due, spared, held } = &wanted;
        for selection in due.iter().chain(spared).chain(held) {
            let asked = selection.condition.iter().flat_map(|condition| condition.columns());
            for column in asked {
                if !columns.contains(column) {
                    columns.push(column.clone());
                }
            }
        }
        Self { table, wanted, columns }
    }

    /// What is read of a file to count the rows that go. Rows that cannot go may be left out.
    pub(super) fn request(&self, file: &Arc<FileEntry>) -> ReadRequest {
        let mut request = ReadRequest::all(Arc::clone(file), self.columns.clone());
        let [only] = self.wanted.due.as_slice() else { return request };
        let mut within = only.time;
        if let Some(condition) = &only.condition {
            let RowPlace { time, trace_id, service_name, keys: _ } = condition.place();
            within = time.and_then(|time| time.intersection(&only.time)).unwrap_or(only.time);
            request.bounds.extend(trace_id.map(Bound::trace));
            let column = ReadColumn::Fixed("service_name".to_owned());
            let service = service_name.iter().map(|name| Values::Texts(vec![name.clone()]));
            request.bounds.extend(service.map(|values| Bound { column: column.clone(), values }));
        }
        if within != TimeRange::ALL {
            request.bounds.push(Bound::time(file.table, within));
        }
        request
    }

    /// Decides about rows, given the columns of [`Self::request`].
    pub(super) fn fates(&self, columns: &RecordBatch) -> Result<Fates, Error> {
        let Wanted { due, spared, held } = &self.wanted;
        let due = and_not_any(self.any(due, columns)?, &self.any(spared, columns)?)?;
        let held = self.any(held, columns)?;
        let goes = and_not_any(due.clone(), &held)?;
        let held = (due.true_count() - goes.true_count()) as u64;
        Ok(Fates { goes, held })
    }

    /// The rows that any of the selections has.
    fn any(&self, selections: &[Selection], columns: &RecordBatch) -> Result<BooleanArray, Error> {
        let mut all = BooleanArray::new(BooleanBuffer::new_unset(columns.num_rows()), None);
        for selection in selections {
            let mask = selection.mask(columns, &self.places(selection))?;
            all = or(&all, &mask).map_err(failed)?;
        }
        Ok(all)
    }

    /// Where the columns that a selection asks for stand among those that are read.
    fn places(&self, selection: &Selection) -> Vec<usize> {
        let asked = selection.condition.iter().flat_map(|condition| condition.columns());
        let place = |asked| self.columns.iter().position(|column| column == asked);
        asked.filter_map(place).collect()
    }
}

fn and_not_any(one: BooleanArray, other: &BooleanArray) -> Result<BooleanArray, Error> {
    and_not(&one, other).map_err(failed)
}

impl Keep for RowRule {
    fn keeps(&self, rows: &RecordBatch) -> Result<BooleanArray, Error> {
        let columns = project(rows, self.table, &self.columns)?;
        let Fates { goes, held: _ } = self.fates(&columns)?;
        arrow::compute::not(&goes).map_err(failed)
    }
}
