//! Which keys, with values of which types, occur in overflow texts.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::Int32Type;
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::cells::Texts;
use crate::error::Error;
use crate::schema::{AttributeType, MapColumn};

type Kinds = BTreeSet<AttributeType>;

/// Distinct keys that are remembered: what a sender makes up must not fill the memory.
const KEYS_MAX: usize = 10_000;

/// The keys of all texts scanned so far.
#[derive(Debug, Default)]
pub(super) struct KeysSeen {
    keys: [BTreeMap<String, Kinds>; 2],
    overrun: bool,
}

impl KeysSeen {
    /// Adds the keys of an overflow column; of texts with a dictionary each is read once.
    pub(super) fn scan(&mut self, map: MapColumn, column: &ArrayRef) -> Result<(), Error> {
        let distinct = column.as_dictionary_opt::<Int32Type>().map(|shared| shared.values());
        let column = distinct.unwrap_or(column);
        let Some(texts) = Texts::of(column) else { return Ok(()) };
        if column.null_count() == column.len() {
            return Ok(());
        }
        let keys = &mut self.keys[usize::from(map == MapColumn::Resource)];
        let overrun = &mut self.overrun;
        for text in (0..column.len()).filter_map(|row| texts.get(row)) {
            let see = |key: Cow<'_, str>, raw: &str| {
                let kind = kind_of(raw);
                let full = keys.len() == KEYS_MAX;
                match keys.get_mut(key.as_ref()) {
                    Some(kinds) => drop(kinds.insert(kind)),
                    None if full => *overrun = true,
                    None => drop(keys.insert(key.into_owned(), Kinds::from([kind]))),
                }
            };
            each_entry(text, see).map_err(|source| unreadable(map, &source))?;
        }
        Ok(())
    }

    /// Whether there were more keys than are remembered.
    pub(super) const fn overrun(&self) -> bool {
        self.overrun
    }

    /// All that are remembered, sorted.
    pub(super) fn finish(self) -> BTreeMap<(MapColumn, String), Kinds> {
        let [attributes, resource] = self.keys;
        let with = |map: MapColumn, keys: BTreeMap<String, Kinds>| {
            keys.into_iter().map(move |(key, kinds)| ((map, key), kinds))
        };
        let attributes = with(MapColumn::Attributes, attributes);
        attributes.chain(with(MapColumn::Resource, resource)).collect()
    }
}

fn unreadable(map: MapColumn, source: &serde_json::Error) -> Error {
    let reason = format!("an overflow text cannot be read: {source}");
    Error::Damaged { path: map.name().to_owned(), reason }
}

/// How many entries of which key and type could stand in a column.
#[derive(Debug, Default)]
pub(super) struct EntriesSeen(pub(super) BTreeMap<((MapColumn, String), AttributeType), usize>);

impl EntriesSeen {
    /// Counts the entries of an overflow column; keys beyond what is remembered stay uncounted,
    /// and their entries where they are.
    pub(super) fn scan(&mut self, map: MapColumn, column: &ArrayRef) -> Result<(), Error> {
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        let Some(texts) = Texts::of(column) else { return Ok(()) };
        for text in (0..column.len()).filter_map(|row| texts.get(row)) {
            *times.entry(text).or_default() += 1;
        }
        for (text, times) in times {
            let count = |key: Cow<'_, str>, raw: &str| {
                let Some(kind) = column_kind(raw) else { return };
                let entry = ((map, key.into_owned()), kind);
                let full = self.0.len() == KEYS_MAX;
                match self.0.get_mut(&entry) {
                    Some(count) => *count += times,
                    None if full => {}
                    None => drop(self.0.insert(entry, times)),
                }
            };
            each_entry(text, count).map_err(|source| unreadable(map, &source))?;
        }
        Ok(())
    }
}

/// The type of the column that an entry with this JSON text can stand in; `None` where it can
/// only stand in a text.
pub(super) fn column_kind(raw: &str) -> Option<AttributeType> {
    let kind = kind_of(raw);
    (kind != AttributeType::String || raw.starts_with('"')).then_some(kind)
}

/// Calls `entry` with the key and the JSON text of each entry of a text.
fn each_entry(text: &str, entry: impl FnMut(Cow<'_, str>, &str)) -> Result<(), serde_json::Error> {
    struct Scan<F>(F);

    impl<'de, F: FnMut(Cow<'_, str>, &str)> Visitor<'de> for Scan<F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
            while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                (self.0)(key, map.next_value::<&'de RawValue>()?.get());
            }
            Ok(())
        }
    }

    serde_json::Deserializer::from_str(text).deserialize_map(Scan(entry))
}

/// The attribute type of a JSON text; what has none counts as a string.
fn kind_of(raw: &str) -> AttributeType {
    match raw.as_bytes().first() {
        Some(b't' | b'f') => AttributeType::Bool,
        Some(b'-' | b'0'..=b'9') => {
            let double = raw.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
            if double { AttributeType::Double } else { AttributeType::Int }
        }
        Some(b'{') if raw.starts_with("{\"$double\"") => AttributeType::Double,
        _ => AttributeType::String,
    }
}
