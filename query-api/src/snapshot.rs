//! What one query reads: live rows and files, each acknowledged row in exactly one of them.
//!
//! Invariant: live blocks are taken first and the catalog second, as new as the writers of the blocks
//! said it is, and a block that the catalog covers is dropped. A row leaves the live rows only after
//! its commit, so none is missed; a covered block is in files, so none is there twice. A block's rows can be read until the snapshot
//! goes, whatever is committed meanwhile.

mod keys;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::Int32Type;
use futures::future::join_all;
use icecore_store::model::value::find_key;
use icecore_store::schema::{AttributeType, MapColumn};
use icecore_store::{
    LiveBlock, LiveSnapshot, LogPosition, PortError, ReadColumn, Snapshot, Store, Table, TimeRange,
};

use crate::sources::{Sources, behind};

/// The rows that one query sees.
#[derive(Debug)]
pub(crate) struct QuerySnapshot {
    /// The catalog.
    pub(crate) files: Arc<Snapshot>,
    /// Rows that no file of the catalog has, of the tables that were asked for.
    pub(crate) live: Vec<(Table, Arc<dyn LiveBlock>)>,
    /// What is missing, and why; empty where nothing is.
    pub(crate) incomplete: Vec<String>,
}

impl QuerySnapshot {
    /// Takes a snapshot for a query over `tables`, of live rows that overlap `time`. A source that
    /// does not answer in time is named in `incomplete`.
    pub(crate) async fn take(
        store: &Store,
        sources: &Sources,
        tables: &[Table],
        time: TimeRange,
    ) -> Self {
        if tables.is_empty() {
            let (live, incomplete) = Default::default();
            return Self { files: store.snapshot(), live, incomplete };
        }
        let (found, lost) = sources.now().await;
        let wanted =
            found.iter().flat_map(|source| tables.iter().map(move |table| (source, *table)));
        let answers = wanted
            .map(|(source, table)| async move { (table, source.live_rows(table, time).await) });
        let answers = join_all(answers).await;
        let mut incomplete: Vec<String> = lost.iter().map(ToString::to_string).collect();
        let (mut covered, mut live) = (BTreeMap::<_, LogPosition>::new(), BTreeMap::new());
        for (table, answer) in answers {
            match answer {
                Ok(snapshot) => {
                    let to = covered.entry(snapshot.writer).or_default();
                    *to = snapshot.covered_to.max(*to);
                    // Two names can be of one ingester.
                    live.entry((table, snapshot.writer)).or_insert(snapshot);
                }
                Err(error) => incomplete.push(format!("live rows of {table}: {error}")),
            }
        }
        // Only now: see the invariant.
        let files = sources.catalog(store, &covered).await;
        incomplete.extend(behind(&files, &covered).map(|writer| {
            format!("rows of {writer} that were just committed: the catalog could not be read")
        }));
        let mut rows = Vec::new();
        for ((table, _), snapshot) in live {
            let (whole, part) = uncovered(&files, snapshot);
            rows.extend(whole.into_iter().map(|block| (table, block)));
            incomplete.extend(part);
        }
        Self { files, live: rows, incomplete }
    }

    /// Files alone.
    pub(crate) fn of_files(files: Snapshot) -> Self {
        Self { files: Arc::new(files), live: Vec::new(), incomplete: Vec::new() }
    }

    /// The live blocks with rows of one table that overlap `time`.
    pub(crate) fn live_blocks(
        &self,
        table: Table,
        time: TimeRange,
    ) -> impl Iterator<Item = &Arc<dyn LiveBlock>> {
        let of_table = self.live.iter().filter(move |(of, _)| *of == table);
        of_table.map(|(_, block)| block).filter(move |block| block.time().overlaps(&time))
    }

    /// The types that the values of a key of a map have. Makes the live rows with this key, which
    /// takes its time.
    ///
    /// # Errors
    /// Where live rows cannot be read.
    pub(crate) fn kinds(
        &self,
        table: Table,
        map: MapColumn,
        key: &str,
    ) -> Result<BTreeSet<AttributeType>, PortError> {
        let any = AttributeType::String;
        let column = ReadColumn::Attribute { map, key: key.to_owned(), kind: any };
        let known = self.files.attribute_types(table).get(&(map, key.to_owned()));
        let mut kinds = known.cloned().unwrap_or_default();
        for block in self.live_blocks(table, TimeRange::ALL) {
            for rows in block.read(Some(std::slice::from_ref(&column)))? {
                live_kinds(&rows.rows, map, key, &mut kinds);
            }
        }
        Ok(kinds)
    }
}

/// The blocks that no file has, and what is to be said of those that a file has in part: their
/// writer has not heard of a commit of its own yet, and will cut them up once it has.
fn uncovered(files: &Snapshot, live: LiveSnapshot) -> (Vec<Arc<dyn LiveBlock>>, Option<String>) {
    let LiveSnapshot { writer, covered_to: _, blocks } = live;
    let covered = files.covered_to(writer).unwrap_or_default();
    let (whole, rest): (Vec<_>, Vec<_>) =
        blocks.into_iter().partition(|block| block.position() >= covered);
    let torn = rest.iter().any(|block| block.next() > covered);
    let part = torn.then(|| {
        format!("live rows of {writer} that were just committed in part: ask again in a moment")
    });
    (whole, part)
}

/// Adds the types that `key` has in live rows.
fn live_kinds(rows: &RecordBatch, map: MapColumn, key: &str, kinds: &mut BTreeSet<AttributeType>) {
    let column = rows.column_by_name(&map.column(key));
    if let Some(column) = column.filter(|column| column.null_count() < column.len()) {
        kinds.extend(AttributeType::of(column.data_type()));
    }
    if let Some(overflow) = rows.column_by_name(map.name()) {
        overflow_kinds(overflow, key, kinds);
    }
}

/// Adds the types that `key` has in overflow texts.
fn overflow_kinds(overflow: &ArrayRef, key: &str, kinds: &mut BTreeSet<AttributeType>) {
    let texts = match overflow.as_dictionary_opt::<Int32Type>() {
        // Each distinct text once; one that no row uses any more does no harm.
        Some(dictionary) => dictionary.values(),
        None => overflow,
    };
    let Some(texts) = texts.as_string_opt::<i32>() else { return };
    let found = texts.iter().flatten().filter_map(|text| find_key(text, key));
    kinds.extend(found.map(raw_kind));
}

/// The type of a value by its JSON text; what has no type of its own counts as text.
fn raw_kind(raw: &str) -> AttributeType {
    match raw.as_bytes().first() {
        Some(b't' | b'f') => AttributeType::Bool,
        Some(b'-' | b'0'..=b'9') if raw.contains(['.', 'e', 'E']) => AttributeType::Double,
        Some(b'-' | b'0'..=b'9') => AttributeType::Int,
        Some(b'{') if raw.starts_with("{\"$double\"") => AttributeType::Double,
        _ => AttributeType::String,
    }
}

/// The type that a key has in SQL: that of all its values where they agree, double for ints and
/// doubles, text for anything else and for a key that is nowhere.
pub(crate) fn settle(kinds: &BTreeSet<AttributeType>) -> AttributeType {
    let mut kinds = kinds.iter().copied();
    let Some(first) = kinds.next() else { return AttributeType::String };
    kinds.fold(first, |one, other| match (one, other) {
        (AttributeType::Int, AttributeType::Double)
        | (AttributeType::Double, AttributeType::Int) => AttributeType::Double,
        (one, other) if one == other => one,
        _ => AttributeType::String,
    })
}

#[cfg(test)]
mod tests;
