//! The keys that rows have in their maps.

use std::collections::BTreeSet;

use arrow::array::AsArray;
use arrow::datatypes::Int32Type;
use icecore_store::model::value::find_key;
use icecore_store::schema::MapColumn;
use icecore_store::{Table, TimeRange};

use super::QuerySnapshot;

impl QuerySnapshot {
    /// Keys of the rows of a table: all in files, and of live rows those that have a column.
    pub(crate) fn keys(&self, table: Table) -> BTreeSet<(MapColumn, String)> {
        let mut keys: BTreeSet<_> = self.files.attribute_types(table).keys().cloned().collect();
        for rows in self.live_rows(table, TimeRange::ALL) {
            let fields = rows.schema_ref().fields().iter();
            let named = fields.filter_map(|field| MapColumn::parse(field.name()));
            keys.extend(named.map(|(map, key)| (map, key.to_owned())));
        }
        keys
    }

    /// Whether a key is in what live rows have without a column of its own.
    pub(crate) fn is_in_overflow(&self, table: Table, map: MapColumn, key: &str) -> bool {
        self.live_rows(table, TimeRange::ALL).any(|rows| {
            let Some(overflow) = rows.column_by_name(map.name()) else { return false };
            let texts = match overflow.as_dictionary_opt::<Int32Type>() {
                Some(dictionary) => dictionary.values(),
                None => overflow,
            };
            let texts = texts.as_string_opt::<i32>();
            texts.is_some_and(|texts| {
                texts.iter().flatten().any(|text| find_key(text, key).is_some())
            })
        })
    }
}
