//! Rows by table and hour.
//!
//! Invariant: every row of every batch is in exactly one part, the one of its own time.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch, TimestampNanosecondArray, UInt64Array};
use arrow::compute::{max, min, take_record_batch};
use arrow::datatypes::TimestampNanosecondType;

use crate::error::Error;
use crate::model::{RowBatch, Table, UnixNanos};

/// Rows of one table and hour.
#[derive(Debug)]
pub(crate) struct Partition {
    /// The table.
    pub(crate) table: Table,
    /// The start of the hour.
    pub(crate) hour: UnixNanos,
    /// The rows, in the order in which they came.
    pub(crate) rows: Vec<RecordBatch>,
}

/// Splits the batches; takes long when hours are mixed.
pub(crate) fn partition(batches: &[RowBatch]) -> Result<Vec<Partition>, Error> {
    let mut parts: BTreeMap<(Table, UnixNanos), Vec<RecordBatch>> = BTreeMap::new();
    for batch in batches {
        for (hour, rows) in split(batch)? {
            parts.entry((batch.table, hour)).or_default().push(rows);
        }
    }
    let part = |((table, hour), rows)| Partition { table, hour, rows };
    Ok(parts.into_iter().map(part).collect())
}

fn split(batch: &RowBatch) -> Result<Vec<(UnixNanos, RecordBatch)>, Error> {
    let RowBatch { table, rows, time: _ } = batch;
    let times = times_of(*table, rows)?;
    let hours = min(times).zip(max(times));
    let hours = hours.map(|(first, last)| (UnixNanos(first).hour(), UnixNanos(last).hour()));
    match hours {
        None => return Ok(Vec::new()),
        // Most batches: rows come when they are made.
        Some((first, last)) if first == last => return Ok(vec![(first, rows.clone())]),
        Some(_) => {}
    }
    let mut places: BTreeMap<UnixNanos, Vec<u64>> = BTreeMap::new();
    for (row, time) in times.values().iter().enumerate() {
        places.entry(UnixNanos(*time).hour()).or_default().push(row as u64);
    }
    let take = |(hour, places)| {
        let taken = take_record_batch(rows, &UInt64Array::from(places));
        let failed = |source| Error::Arrow { action: format!("split rows of {table}"), source };
        taken.map(|rows| (hour, rows)).map_err(failed)
    };
    places.into_iter().map(take).collect()
}

fn times_of(table: Table, rows: &RecordBatch) -> Result<&TimestampNanosecondArray, Error> {
    let name = table.time_column();
    let wrong = |reason: &str| Error::Rows { table, reason: format!("column `{name}` {reason}") };
    let column = rows.column_by_name(name).ok_or_else(|| wrong("is missing"))?;
    let times = column.as_primitive_opt::<TimestampNanosecondType>();
    let times = times.ok_or_else(|| wrong("is not of nanoseconds"))?;
    if times.null_count() > 0 {
        return Err(wrong("has nulls"));
    }
    Ok(times)
}

#[cfg(test)]
mod tests;
