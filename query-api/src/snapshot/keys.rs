//! The keys that rows have in their maps.

use std::collections::BTreeSet;

use icecore_store::schema::MapColumn;
use icecore_store::{Table, TimeRange};

use super::QuerySnapshot;

/// Live blocks whose keys are looked at: making all their rows for a hint would cost too much.
const BLOCKS_ASKED: usize = 4;

impl QuerySnapshot {
    /// Keys of the rows of a table, for hints: all in files, and of the newest live rows those that
    /// have a column.
    pub(crate) fn keys(&self, table: Table) -> BTreeSet<(MapColumn, String)> {
        let mut keys: BTreeSet<_> = self.files.attribute_types(table).keys().cloned().collect();
        let blocks: Vec<_> = self.live_blocks(table, TimeRange::ALL).collect();
        for block in blocks.iter().rev().take(BLOCKS_ASKED) {
            // Only hints come of them: rows that cannot be read are told by who needs the rows.
            for rows in block.read(None).unwrap_or_default() {
                let fields = rows.rows.schema_ref().fields().iter();
                let named = fields.filter_map(|field| MapColumn::parse(field.name()));
                keys.extend(named.map(|(map, key)| (map, key.to_owned())));
            }
        }
        keys
    }
}
