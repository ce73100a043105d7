//! The order of rows in a file: what reads want together stands together.
//!
//! Spans by service, name, start; metrics by name, service, series, time; logs and profiles by
//! service, time.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::TimestampNanosecondType;

use super::cells::{Cells, Texts};
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

/// The series of each row: a hash of its resource, and below it one of its attributes, so that the
/// points of one process stand together, and in them those of one series. Each is a sum over
/// entries: columns come in any order, and a null adds nothing. The hasher has no seed, so that equal
/// rows make equal files. Series that happen to have one hash are merely mixed.
pub(super) fn series<'a>(
    attributes: impl Iterator<Item = ((MapColumn, &'a str), &'a ArrayRef)>,
    rows: usize,
) -> Vec<u64> {
    let mut all = vec![(0_u32, 0_u32); rows];
    for (name, column) in attributes {
        let Some(cells) = Cells::of(column) else { continue };
        let map = name.0;
        let add = |row: usize, hash: u32| {
            let (resource, own) = &mut all[row];
            let sum = match map {
                MapColumn::Resource => resource,
                MapColumn::Attributes => own,
            };
            *sum = sum.wrapping_add(hash);
        };
        add_cells(name, cells, rows, add);
    }
    let joined = all.into_iter().map(|(resource, own)| u64::from(resource) << 32 | u64::from(own));
    joined.collect()
}

/// Calls `add` with the hash of each cell that is there.
fn add_cells(
    name: (MapColumn, &str),
    cells: Cells<'_>,
    rows: usize,
    mut add: impl FnMut(usize, u32),
) {
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    let seed = hasher.hash_one(name);
    match cells {
        Cells::String(Texts::Shared(keys, texts)) => {
            let hashes: Vec<u32> =
                texts.iter().map(|text| mix(seed, hasher.hash_one(text))).collect();
            for (row, key) in keys.iter().enumerate() {
                let at = key.and_then(|key| usize::try_from(key).ok());
                at.filter(|at| texts.is_valid(*at)).into_iter().for_each(|at| add(row, hashes[at]));
            }
        }
        Cells::String(Texts::Plain(texts)) => {
            let here = texts.iter().enumerate().filter_map(|(row, text)| Some((row, text?)));
            here.for_each(|(row, text)| add(row, mix(seed, hasher.hash_one(Some(text)))));
        }
        Cells::Int(ints) => (0..rows).filter(|row| ints.is_valid(*row)).for_each(|row| {
            add(row, mix(seed, ints.value(row).cast_unsigned()));
        }),
        Cells::Double(doubles) => (0..rows).filter(|row| doubles.is_valid(*row)).for_each(|row| {
            add(row, mix(seed, doubles.value(row).to_bits()));
        }),
        Cells::Bool(bools) => (0..rows).filter(|row| bools.is_valid(*row)).for_each(|row| {
            add(row, mix(seed, u64::from(bools.value(row))));
        }),
    }
}

/// Of name and value, well mixed: sums of these tell rows apart.
fn mix(name: u64, value: u64) -> u32 {
    let mixed = (name ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed >> 32) as u32
}
