//! Which keys keep a column in a file.
//!
//! Invariant: no entry is lost or doubled: what loses its column is in the overflow of its row,
//! before what was there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};

use super::cells::MapCells;
use super::overflow::KeysSeen;
use super::parts::Part;
use crate::catalog::{FileAttribute, OverflowKey};
use crate::error::Error;
use crate::model::Table;
use crate::schema::{AttributeType, MapColumn, fixed_fields};

/// A key keeps its column where at least one row in so many has it: below that a column costs
/// more in footers and pages than the overflow does in text.
const ROWS_PER_ENTRY_MAX: usize = 256;

/// Attribute columns of one file; rarer keys beyond it go to the overflow. Every column costs a
/// few hundred bytes of footer a row group, in the file and in the reader's memory.
const COLUMNS_MAX: usize = 200;

/// Overflow keys that an entry names. With more, readers look for any key without a column.
const OVERFLOW_KEYS_MAX: usize = 500;

/// What a file's entry says about attributes.
#[derive(Debug)]
pub(super) struct AttributePlan {
    /// The columns, sorted by map and key.
    pub(super) columns: Vec<FileAttribute>,
    /// Keys in the overflow, sorted.
    pub(super) overflow: Vec<OverflowKey>,
    /// Whether those are all.
    pub(super) overflow_listed: bool,
}

/// Which map, and which of its keys.
pub(super) type Key = (MapColumn, String);

/// Decides over all parts of a file, and moves what keeps no column to the overflow.
pub(super) fn settle(table: Table, parts: &mut [Part]) -> Result<AttributePlan, Error> {
    let kept = choose_of(parts);
    for part in parts.iter_mut() {
        fold(table, part, &kept);
    }
    let mut seen = KeysSeen::default();
    for part in parts.iter() {
        for map in MapColumn::ALL {
            if let Some(at) = overflow_column(table, map) {
                seen.scan(map, &part.fixed[at])?;
            }
        }
    }
    Ok(describe(kept, seen))
}

/// Where the overflow of a map stands among the fixed columns.
fn overflow_column(table: Table, map: MapColumn) -> Option<usize> {
    fixed_fields(table).iter().position(|field| field.name() == map.name())
}

/// The type of each key that keeps a column, over the parts of one file.
fn choose_of(parts: &[Part]) -> BTreeMap<Key, AttributeType> {
    let rows = parts.iter().map(|part| part.rows).sum();
    let columns = parts.iter().flat_map(|part| part.attributes.iter());
    let entries = columns.filter_map(|(key, column)| {
        let kind = AttributeType::of(column.data_type())?;
        Some(((key, kind), column.len() - column.null_count()))
    });
    choose(entries, rows)
}

/// The type of each key that gets a column: the one that most entries have. `entries` says how
/// many entries have which, in any number of parts.
pub(super) fn choose<'a>(
    entries: impl Iterator<Item = ((&'a Key, AttributeType), usize)>,
    rows: usize,
) -> BTreeMap<Key, AttributeType> {
    let mut sums: BTreeMap<(&Key, AttributeType), usize> = BTreeMap::new();
    entries.for_each(|(entry, count)| *sums.entry(entry).or_default() += count);
    let mut best: BTreeMap<&Key, (usize, AttributeType)> = BTreeMap::new();
    for ((key, kind), count) in sums {
        let most = best.entry(key).or_insert((count, kind));
        if count > most.0 {
            *most = (count, kind);
        }
    }
    let frequent = |(count, _): &(usize, AttributeType)| count * ROWS_PER_ENTRY_MAX >= rows;
    let mut ranked: Vec<_> = best.into_iter().filter(|(_, most)| frequent(most)).collect();
    ranked.sort_by(|(key, most), (other_key, other)| other.0.cmp(&most.0).then(key.cmp(other_key)));
    ranked.truncate(COLUMNS_MAX);
    ranked.into_iter().map(|(key, (_, kind))| (key.clone(), kind)).collect()
}

/// Moves the columns that are not kept, by key or by type, into the overflow texts of their rows.
fn fold(table: Table, part: &mut Part, kept: &BTreeMap<Key, AttributeType>) {
    let stays = |key: &Key, column: &ArrayRef| {
        kept.get(key).is_some_and(|kind| AttributeType::of(column.data_type()) == Some(*kind))
    };
    for map in MapColumn::ALL {
        let leaving: BTreeSet<Key> = part
            .attributes
            .iter()
            .filter(|(key, column)| key.0 == map && !stays(key, column))
            .map(|(key, _)| key.clone())
            .collect();
        let Some(at) = overflow_column(table, map).filter(|_| !leaving.is_empty()) else {
            continue;
        };
        let columns = leaving.iter().map(|key| (key.1.as_str(), &part.attributes[key]));
        let cells = MapCells::new(columns, Some(&part.fixed[at]));
        let overflow: ArrayRef = match map {
            MapColumn::Attributes => Arc::new(cells.texts(part.rows)),
            MapColumn::Resource => Arc::new(cells.shared_texts(part.rows)),
        };
        part.fixed[at] = overflow;
        part.attributes.retain(|key, _| !leaving.contains(key));
    }
}

/// What the file's entry says: the columns, and what was seen in the overflow.
pub(super) fn describe(kept: BTreeMap<Key, AttributeType>, seen: KeysSeen) -> AttributePlan {
    let overrun = seen.overrun();
    let seen = seen.finish();
    let columns = kept.into_iter().map(|((map, key), kind)| {
        let whole = !overrun && !seen.contains_key(&(map, key.clone()));
        FileAttribute { map, key, kind, whole }
    });
    let columns = columns.collect();
    let overflow_listed = !overrun && seen.len() <= OVERFLOW_KEYS_MAX;
    let overflow = seen.into_iter().take(OVERFLOW_KEYS_MAX);
    let overflow = overflow
        .map(|((map, key), kinds)| OverflowKey { map, key, kinds: kinds.into_iter().collect() })
        .collect();
    AttributePlan { columns, overflow, overflow_listed }
}
