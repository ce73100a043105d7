//! The order of rows in a file: what reads want together stands together.
//!
//! Spans by service, name, start; metrics by name, service, series, time; logs and profiles by
//! service, time.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::TimestampNanosecondType;

use super::cells::Cells;
use super::gather::{Dictionary, Place};
use super::parts::Part;
use crate::model::Table;
use crate::schema::{MapColumn, fixed_fields};

/// The columns that rows of a table are sorted by, as far as they are columns.
pub(super) fn sort_columns(table: Table) -> &'static [&'static str] {
    match table {
        Table::Spans => &["service_name", "name", "start_time"],
        Table::Metrics => &["metric_name", "service_name"],
        Table::Logs | Table::Profiles => &["service_name", "time"],
    }
}

/// One row's key; the order of the fields is the order of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct RowKey {
    /// The ranks of up to two texts, the first in the upper half.
    texts: u64,
    series: u64,
    time: i64,
    part: u32,
    row: u32,
}

/// Where each row of the file comes from, in file order.
pub(super) fn sorted(table: Table, parts: &[Part]) -> Vec<Place> {
    let fields = fixed_fields(table);
    let at = |name: &str| fields.iter().position(|field| field.name() == name);
    let time_at = at(table.time_column()).expect("every table has its time column");
    let is_time = |name: &&&str| **name != table.time_column();
    let texts_at: Vec<usize> =
        sort_columns(table).iter().filter(is_time).filter_map(|name| at(name)).collect();
    let mut keys = unsorted(parts, time_at);
    for (nth, at) in texts_at.iter().enumerate() {
        let columns: Vec<Option<&ArrayRef>> =
            parts.iter().map(|part| Some(&part.fixed[*at])).collect();
        let dictionary = Dictionary::new(&columns, true);
        let mut key = keys.iter_mut();
        for (part, column) in columns.iter().flatten().enumerate() {
            for (rank, key) in dictionary.row_places(part, column).zip(&mut key) {
                let rank = u64::try_from(rank.unwrap_or_default()).unwrap_or_default();
                key.texts |= if nth == 0 { rank << 32 } else { rank };
            }
        }
    }
    if table == Table::Metrics {
        add_series(parts, &mut keys);
    }
    keys.sort_unstable();
    keys.into_iter().map(|key| (key.part as usize, key.row as usize)).collect()
}

/// A key for each row, in the order of the parts.
fn unsorted(parts: &[Part], time_at: usize) -> Vec<RowKey> {
    let mut keys = Vec::with_capacity(parts.iter().map(|part| part.rows).sum());
    for (part_at, part) in (0..).zip(parts) {
        let times = part.fixed[time_at].as_primitive::<TimestampNanosecondType>();
        keys.extend((0..).zip(times.values()).map(|(row, time)| RowKey {
            texts: 0,
            series: 0,
            time: *time,
            part: part_at,
            row,
        }));
    }
    keys
}

/// Adds the series of each row.
fn add_series(parts: &[Part], keys: &mut [RowKey]) {
    let mut keys = keys.iter_mut();
    for part in parts {
        let attributes = part.attributes.iter().map(|((map, key), column)| {
            let key: &str = key;
            ((*map, key), column)
        });
        for (series, key) in series(attributes, part.rows).into_iter().zip(&mut keys) {
            key.series = series;
        }
    }
}

/// A hash of each row's attributes, so that the points of one series stand together. It is a sum
/// over entries: columns come in any order, and a null adds nothing. The hasher has no seed, so
/// that equal rows make equal files.
pub(super) fn series<'a>(
    attributes: impl Iterator<Item = ((MapColumn, &'a str), &'a ArrayRef)>,
    rows: usize,
) -> Vec<u64> {
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    let mut all = vec![0_u64; rows];
    for (name, column) in attributes {
        let name = hasher.hash_one(name);
        match Cells::of(column) {
            Some(Cells::String(_)) => add_texts(&hasher, name, column, &mut all),
            Some(cells) => all.iter_mut().enumerate().for_each(|(row, series)| {
                if let Some(value) = cells.value(row) {
                    let hash = hasher.hash_one((name, format!("{value:?}")));
                    *series = series.wrapping_add(hash);
                }
            }),
            None => {}
        }
    }
    all
}

fn add_texts(
    hasher: &BuildHasherDefault<DefaultHasher>,
    name: u64,
    column: &ArrayRef,
    all: &mut [u64],
) {
    let shared = column.as_dictionary::<arrow::datatypes::Int32Type>();
    let values = shared.values().as_string::<i32>();
    let hashes: Vec<u64> =
        values.iter().map(|text| text.map_or(0, |text| hasher.hash_one((name, text)))).collect();
    for (text, series) in shared.keys().iter().zip(all) {
        let at = text.and_then(|text| usize::try_from(text).ok());
        *series = series.wrapping_add(at.map_or(0, |at| hashes[at]));
    }
}
